//! Safe functions over Linux calls: the only crate of hako with `unsafe`.
//!
//! What `rustix` has safely, the mechanisms take from `rustix` themselves. Here lives what it lacks or what
//! needs `unsafe`: processes by `clone3`, mounts by descriptor, shared memory, seccomp, eBPF, pseudo-terminals,
//! messages with descriptors. Nothing here decides anything; every function is one kernel service with a type.
#![expect(unsafe_code, reason = "this is the one crate that may; every block says why it is sound")]

pub mod executable; // the file that this process runs
pub mod process; // clone3, exec, pidfds, waiting, namespaces, signals of the calling process
pub mod signal; // signals taken from a descriptor or waited for
mod spawn; // starting a program from a process with threads; its names are those of `process`
pub mod userns; // user namespaces, from a process with threads

pub mod credentials; // capabilities, users, no_new_privs, keyring of the calling thread
pub mod schedule; // processor time and disk turns of the calling process
pub mod seccomp; // loads a compiled filter

pub mod copies; // one mount, and copies of it
pub mod mount; // file systems, clones of trees and their attributes, all by descriptor
pub mod mountinfo; // which mount a path is on
pub mod workshop; // a thread with a private mount namespace, for kernels that need one

pub mod walk; // paths inside a root that somebody else controls

pub mod memory; // giving back what a process does not need
pub mod pty; // pseudo-terminals
pub mod seqpacket; // messages of bytes and descriptors between processes
pub mod shared; // memory shared between processes

pub mod bpf; // the device filter of cgroup v2
pub mod features; // what this kernel can do, probed once

pub mod netlink; // links, addresses, routes, neighbours, conntrack
pub mod nft; // the firewall: nf_tables transactions
