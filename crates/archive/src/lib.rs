//! Trees of files from and to tar archives, by descriptor.
//!
//! [`unpack`] writes an archive's entries below a directory, [`Packer`] reads a directory into an archive, [`walk`] is how
//! both find their way without trusting a single name in it. The rules for what an entry means are here and nowhere
//! else: layers, root filesystems, volumes and copies into and out of containers share them, on both sides of the API.
#![forbid(unsafe_code)]

mod pack; // a tree becomes an archive
mod unpack; // an archive becomes a tree

pub mod tar; // the format itself
pub mod walk; // below a directory by descriptor

pub mod codec; // compression, recognised by the first bytes
pub mod limits; // every limit, with its reason

pub use pack::{PackError, Packer};
pub use unpack::{UnpackError, UnpackOptions, Unpacked, unpack};
