//! Volumes: data that outlives containers.
//!
//! [`Volumes`] keeps named and anonymous volumes of the driver `local` in `<data_root>/volumes/<name>/_data`, with one
//! record each. Who uses a volume is the engine's knowledge and is told to it; nothing here is ever mounted at a path.
#![forbid(unsafe_code)]

pub mod bind; // a host path as a detached mount
mod error;
mod fill; // a new volume takes over what the image has at its place
mod name; // which names are names
mod options; // type, device and o of the local driver: as a mount
mod record; // what is known of a volume, and the table of it
mod snapshot; // snapshots, clones, export and import
mod volumes; // create, find, open, fill, remove

pub use error::VolumeError;
pub use fill::Copied;
pub use name::check_name;
pub use record::Volume;
pub use snapshot::Snapshot;
pub use volumes::{Volumes, Wish};
