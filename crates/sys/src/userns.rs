//! User namespaces made by a process that has threads: for their mapping alone, or for a container to join.
//!
//! A process is born into the namespace and waits until its ids are mapped and the namespaces have descriptors; after the
//! fork it makes system calls only. What holds a namespace afterwards is its descriptor.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    pipe::{PipeFlags, pipe_with},
};

use crate::process::{self, Namespaces, exit, open_pidfd, reap};

/// What was made.
#[derive(Debug)]
pub struct Made {
    pub user: OwnedFd,
    /// Owned by the user namespace.
    pub network: Option<OwnedFd>,
}

/// Makes a user namespace with these maps (the text of `uid_map` and `gid_map`), and a network namespace of its own if
/// that is asked for.
///
/// # Errors
/// `ENOSPC` beyond `user.max_user_namespaces`, `EINVAL` for maps that the kernel refuses, and those of fork.
pub fn make(uids: &str, gids: &str, with_network: bool) -> io::Result<Made> {
    let mut kinds = Namespaces::USER;
    if with_network {
        kinds = kinds.with(Namespaces::NETWORK);
    }
    let (go, keep) = pipe_with(PipeFlags::CLOEXEC)?;
    let (report, said) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes system calls only (`wait_inside`), on memory that is there already, as a process with
    // threads must.
    let pid = unsafe { libc::fork() };
    if pid == -1 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        drop(keep);
        wait_inside(kinds, &said, &go);
    }
    drop((said, go));
    let pidfd = open_pidfd(pid as u32)?;
    let made = look(pid as u32, &report, uids, gids, with_network);
    drop(keep);
    reap(pidfd.as_fd())?;
    made
}

// In the child: enters the namespaces, says how that went, and is there until the parent has what it wants or is gone.
fn wait_inside(kinds: Namespaces, said: &OwnedFd, go: &OwnedFd) -> ! {
    let errno = match process::unshare(kinds) {
        Ok(()) => 0_i32,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    let _ = rustix::io::write(said, &errno.to_ne_bytes());
    let _ = rustix::io::read(go, &mut [0_u8; 1]);
    exit(0)
}

fn look(pid: u32, report: &OwnedFd, uids: &str, gids: &str, with_network: bool) -> io::Result<Made> {
    let mut errno = [0_u8; 4];
    rustix::io::retry_on_intr(|| rustix::io::read(report, &mut errno))?;
    match i32::from_ne_bytes(errno) {
        0 => {}
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    fs::write(format!("/proc/{pid}/uid_map"), uids)?;
    fs::write(format!("/proc/{pid}/gid_map"), gids)?;
    let open = |name: &str| {
        rustix::fs::open(format!("/proc/{pid}/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    let network = if with_network { Some(open("net")?) } else { None };
    Ok(Made { user: open("user")?, network })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_the_kernel_refuses_is_an_error_and_leaves_no_child() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        assert!(make("nonsense", "0 0 1", false).is_err());
        let made = make("0 100000 65536\n", "0 200000 65536\n", true).unwrap();
        assert!(made.network.is_some());
    }
}
