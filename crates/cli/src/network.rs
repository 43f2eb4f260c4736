//! Commands for networks.

pub(crate) mod change; // create, connect, disconnect, rm, prune
pub(crate) mod list;
