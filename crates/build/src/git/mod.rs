//! Git repositories as sources of files: `docker build https://host/repo.git#branch:dir` and `ADD`.
//!
//! A reader of git's smart protocol over HTTP, and no more of git than that: no program is run, so there are no options to
//! inject (CVE-2019-13139), no hooks, no configuration of anybody's; nothing but HTTP is spoken, so a submodule names no
//! file of this host (CVE-2022-39253); files are made by descriptor in directories that are new, so no link and no name
//! leads out (CVE-2026-33748).
//!
//! ```text
//!   info/refs ─► which commit ─► upload-pack (one commit deep) ─► pack ─► objects by id ─► files
//! ```

mod address; // what people write
mod directory; // `.git`, where it is wanted
mod fetch; // the conversation
mod pack; // objects
mod tree; // objects become files
mod wire; // lines of the protocol

pub(crate) use address::GitAddress;
pub(crate) use fetch::{Checkout, GitAuth, Repository};
