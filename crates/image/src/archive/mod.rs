//! Trees of files from and to tar archives, by descriptor.
//!
//! `unpack` writes an archive's entries below a directory, `pack` reads a directory into an archive,
//! `walk` is how both find their way without trusting a single name in it. The rules for what an entry
//! means are here and nowhere else: layers, root filesystems and copies into containers share them.

mod pack;
mod unpack;
pub mod walk;

pub use pack::{PackError, Packer};
pub use unpack::{UnpackError, UnpackOptions, Unpacked, unpack};
