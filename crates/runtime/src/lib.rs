//! A plan becomes a process: namespaces, mounts, confinement, exec. No async, no decisions; one thread
//! for a bundle's network (`oci/network.rs`), which is gone before anything is cloned.
//!
//! The engine decides everything first and writes it down as a [`LaunchPlan`] or [`ExecPlan`], plain data with
//! descriptors beside it. The keeper calls [`launch::begin`]; the child carries the plan out as a straight list
//! of system calls and says over a channel how far it came. Start reading at [`launch`], then `child`.
#![forbid(unsafe_code)]

pub mod launch; // the parent's side: clone, then follow without ever blocking
pub mod plan; // what to do, as data

pub mod extra; // what few launches ask for
pub mod hook; // programs run on the way
pub mod idmap; // user namespaces for mapped mounts

mod child; // the child's side: the steps in their order
mod copy; // what a new tmpfs begins with
mod enter; // the way into a running container
mod message; // what parent and child say to each other
mod program; // its last steps: credentials, filter, exec
mod root; // its root file system: mounts, devices, masks

pub mod apparmor; // the profile of those that name none
pub mod capability; // which parts of root's power it has
pub mod cgroup; // what a container may use, and what it used
pub mod seccomp; // which system calls it may make
pub mod sysctl; // which parameters of the kernel are its own
pub mod user; // who it runs as, from the image's own files

pub mod external; // other runtimes behind runc's command line

pub mod command; // runc's command line
pub mod oci; // bundles, and runc's operations on them

pub mod emulation; // which machines' programs run here
pub mod error; // which step failed, on what, why
pub mod init; // pid 1 of a container that asked for one
pub mod observe; // what the host and its processes are doing

#[cfg(test)]
mod hunt; // what reads foreign bytes, against a corpus

pub use error::{LaunchError, Outcome, Step};
pub use launch::{Pending, Progress, Stdio};
pub use plan::{ExecPlan, LaunchPlan};
