//! How results are printed: tables, Go templates, JSON, sizes and durations as Docker shows them.
//!
//! A listing command describes its columns once (`listing`); templates, headers and the JSON
//! form follow from that. Nothing here talks to the daemon.

pub(crate) mod duration; // "2 hours ago", Go durations, --since and --until
pub(crate) mod go; // structs as Go prints them
pub(crate) mod json; // documents that keep their order; indentation as Go's
pub(crate) mod listing; // rows with named columns, in every output form
pub(crate) mod size; // 1.2kB, 512m
pub(crate) mod table; // columns padded by three blanks
pub(crate) mod template; // --format
pub(crate) mod text; // ids, times and long texts in tables
