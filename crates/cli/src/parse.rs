//! The small languages within flags: ports, mounts, devices, networks, limits, files of variables.
//!
//! Every parser turns text into a plain value and answers mistakes with Docker's sentences, which
//! scripts and editors match. None of them touches the daemon; `container::create_body` puts their
//! results into the API's types.

pub(crate) mod csv; // one record of comma-separated, possibly quoted fields
pub(crate) mod device; // --device, --device-cgroup-rule, --blkio-weight-device, --device-read-bps …
pub(crate) mod env_file; // --env-file, --label-file
pub(crate) mod gpu; // --gpus
pub(crate) mod limit; // --ulimit, --memory-swap, --restart, --sysctl
pub(crate) mod mount; // --mount, -v
pub(crate) mod name; // --add-host, --dns, --dns-search, --label, --link, capabilities
pub(crate) mod network; // --network
pub(crate) mod path; // relative to absolute, without touching the disk
pub(crate) mod port; // -p, --expose
