//! Commands for networks. Those that change networks send the daemon's own request, so that they
//! work with any daemon that has them.

pub(crate) mod change; // create, connect, disconnect, rm, prune
pub(crate) mod list;
