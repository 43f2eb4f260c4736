//! Containers: from a wish to a process, and back to nothing.
//!
//! One file per operation, named after it. `plan` and `merge` are decisions without effects; `create`
//! and `start` carry them out; `exit` is what happens when a process ends, whoever ended it.

pub(crate) mod archive; // cp: its files as archives
pub(crate) mod attach; // a client joins input and output
mod bind_ids; // whose the files of a bind are
pub(crate) mod cdi; // devices by what they are
pub(crate) mod check; // whether a wish makes sense
pub(crate) mod create;
pub(crate) mod device; // nodes and rules
mod edit; // beyond Docker: ports and labels // a container that could be started
pub(crate) mod exit; // its process has ended
pub(crate) mod files; // hosts, resolv.conf, hostname
pub(crate) mod filesystem; // changes, export
pub(crate) mod inspect; // everything about one
pub mod list; // all of them
pub(crate) mod logs; // what it wrote
pub(crate) mod merge; // the person's wishes over the image's
pub(crate) mod mounts; // where its mounts come from
pub(crate) mod name; // what it is called
pub(crate) mod output; // from the ring to log and clients
pub(crate) mod pause; // the freezer
pub(crate) mod plan; // the launch plan
pub(crate) mod remove; // it is gone
pub(crate) mod rename; // another name
pub(crate) mod resize; // its terminal
pub(crate) mod restart; // its restart policy
pub(crate) mod signal; // kill, stop, restart
pub(crate) mod start; // its process begins
pub mod stats; // what it uses
pub(crate) mod status; // the words of `ps`
pub(crate) mod top; // its processes
pub(crate) mod update; // other limits
pub(crate) mod wait; // its end
