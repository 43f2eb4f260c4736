//! Commands for images, one file each.

pub(crate) mod anatomy; // verify, explain, diff
pub(crate) mod bootstrap;
pub(crate) mod copy;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod list; // images
pub(crate) mod load;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove; // rmi
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod tag;

mod tree; // images --tree
