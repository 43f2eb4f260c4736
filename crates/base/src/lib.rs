//! What the standard library lacks and every other crate of hako needs.
//!
//! Small, dependency-poor, free of behaviour that belongs to a subject: error kinds, atomic files,
//! waiting with a deadline, the clock, durations, identifiers from the kernel's randomness, the database file, telemetry.
#![forbid(unsafe_code)]

pub mod backoff; // waiting for a condition, by a deadline
pub mod chunks; // bytes that come from elsewhere, for code that blocks
pub mod clock; // the time, in one place
pub mod database; // the database file, which gets over a full disk
pub mod duration; // spans of time in Go's spelling
pub mod error; // the kind of an error, which travels through every layer
pub mod file; // files that are either the old or the new, never half
pub mod random; // bytes and hexadecimal names from the kernel
pub mod telemetry; // how the daemon's own log looks
pub mod yaml; // YAML as the JSON it stands for

pub use error::ErrorKind;
