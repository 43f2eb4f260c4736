//! A user namespace for its mapping alone: what mounts with mapped ids are made with.
//!
//! A process is born in it, waits until its ids are mapped and the namespace has a descriptor, and ends.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use hako_sys::process::{self, Clone, Cloned, Namespaces};
use rustix::fs::{Mode, OFlags};

use crate::plan::IdRange;

pub use hako_sys::{
    credentials::with_file_owner as as_file_owner,
    userns::{Made, make},
};

/// Makes one. The caller must have one thread, as for `launch::begin`.
///
/// # Errors
/// Those of `clone3(2)` and of writing the maps: `EINVAL` for ranges that overlap or are too many.
pub fn user_namespace(uids: &[IdRange], gids: &[IdRange]) -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match process::clone(&Clone { namespaces: Namespaces::USER, ..Clone::default() })? {
        Cloned::Child => {
            drop(writer);
            // Ends when the parent has what it wants, or is gone itself.
            let _ = rustix::io::read(&reader, &mut [0_u8; 1]);
            process::exit(0)
        }
        Cloned::Parent(child) => {
            drop(reader);
            let made = map(child.pid, uids, gids);
            drop(writer);
            process::reap(child.pidfd.as_fd())?;
            made
        }
    }
}

fn map(pid: u32, uids: &[IdRange], gids: &[IdRange]) -> io::Result<OwnedFd> {
    fs::write(format!("/proc/{pid}/uid_map"), text(uids))?;
    fs::write(format!("/proc/{pid}/gid_map"), text(gids))?;
    Ok(rustix::fs::open(format!("/proc/{pid}/ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Ranges as `uid_map` and `gid_map` take them.
pub fn text(ranges: &[IdRange]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.container, range.host, range.count)).collect()
}
