//! Commands for containers, one file each; short ones that only name containers share a file.

pub(crate) mod attach;
pub(crate) mod audit;
pub(crate) mod commit;
pub(crate) mod cp;
mod cp_local; // the trees of this machine that cp reads and writes
pub(crate) mod create;
mod create_body; // flags → the request
mod create_flags; // the flags of run and create
mod create_wiring; // networks, ports and mounts of the request
pub(crate) mod diff;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod kill;
pub(crate) mod list; // ps
pub(crate) mod logs;
pub(crate) mod pause; // pause, unpause
pub(crate) mod port;
pub(crate) mod prune;
#[cfg(test)]
mod recorded; // what docker was recorded to send
pub(crate) mod remove; // rm
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;
pub(crate) mod why;
