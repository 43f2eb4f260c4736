//! Commands about the daemon itself, and what commands of several subjects share when they talk to
//! it: questions before something is removed.

pub(crate) mod confirm; // "are you sure"
pub(crate) mod dial; // dial-stdio
pub(crate) mod disk; // df
mod disk_objects; // df -v
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod prune;
pub(crate) mod version;
