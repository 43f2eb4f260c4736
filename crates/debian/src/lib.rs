//! Debian's archive: what its keys have signed, what a system needs of it, and what is in a package.
//!
//! Nothing here asks the network or writes a file: bytes come in, and are believed once a signature or a digest that
//! was signed covers them. From them comes a tree in which Debian's own `dpkg` can run and install itself; running it
//! is for the caller, who has containers.
//!
//! Start reading at [`release`]: everything else is believed because of it.
#![forbid(unsafe_code)]

pub mod openpgp; // who signed what

pub mod choose;
mod control; // the stanzas that all of Debian's indexes are made of
pub mod index; // packages of a suite
pub mod release; // what a suite is, and the digests of its indexes
mod version; // which version is newer // which packages a system needs

pub mod package; // what is in a .deb
pub mod system;
pub mod tree; // the tree in which dpkg installs the rest // the finished tree, the same each time

mod error;
pub mod limits; // every limit, with its reason

pub use error::DebianError;
