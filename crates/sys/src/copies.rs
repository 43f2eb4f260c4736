//! One mount, and as many copies of it as are wanted.
//!
//! Kernels before 6.15 copy no mount that is in nobody's namespace. There the original gets a namespace of its own, and a
//! thread of the workshop goes there for each copy; the same way leads to the root of a running process.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

use crate::{
    features, mount,
    process::{self, Namespaces},
    walk, workshop,
};

/// A mount that copies are made of. It lives as long as this or any copy.
#[derive(Debug)]
pub struct Original {
    mount: OwnedFd,
    /// The mount namespace that it is in, where that must be entered for a copy.
    home: Option<OwnedFd>,
}

impl AsFd for Original {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

impl Original {
    /// Takes a detached mount that was made in the caller's namespace.
    ///
    /// # Errors
    /// Those of `unshare(2)` and `move_mount(2)`, on kernels that need a namespace for it.
    pub fn new(detached: OwnedFd) -> io::Result<Self> {
        match features::copies_of_detached_mounts() {
            true => Ok(Self { mount: detached, home: None }),
            false => Self::housed(detached),
        }
    }

    /// Takes a detached mount from anywhere: the kernel copies those of other namespaces only where they came from.
    ///
    /// # Errors
    /// Those of `unshare(2)` and `move_mount(2)`.
    pub fn housed(detached: OwnedFd) -> io::Result<Self> {
        let home = workshop::run(|| {
            let home = open_namespace("/proc/thread-self/ns/mnt")?;
            // Any directory does as a place: only those who enter see what is put there.
            mount::attach(detached.as_fd(), mount::open_directory(Path::new("/"))?.as_fd())?;
            Ok(home)
        })?;
        Ok(Self { mount: detached, home: Some(home) })
    }

    /// The root of a running process, as that process sees it.
    ///
    /// # Errors
    /// The process has ended, or may not be looked at.
    pub fn root_of(pid: u32) -> io::Result<Self> {
        let home = open_namespace(&format!("/proc/{pid}/ns/mnt"))?;
        Ok(Self { mount: mount::open_directory(Path::new(&format!("/proc/{pid}/root")))?, home: Some(home) })
    }

    /// What is mounted at a path of a running process.
    ///
    /// # Errors
    /// As [`Original::root_of`], and those of walking.
    pub fn in_process(pid: u32, path: &Path) -> io::Result<Self> {
        let root = Self::root_of(pid)?;
        let mount = walk::open_in_root(root.as_fd(), path, OFlags::PATH)?;
        Ok(Self { mount, home: root.home })
    }

    /// A detached mount of the same, private, without what is mounted below it.
    ///
    /// # Errors
    /// Those of `setns(2)` and `open_tree(2)`; `EINVAL` once the namespace that it was in has gone.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        self.at_home(|| mount::clone_tree_of(self.as_fd(), false))
    }

    /// A detached mount of a directory or file in it; a link that leads out is an error (`EXDEV`).
    ///
    /// # Errors
    /// As [`Original::copy`], and those of walking.
    pub fn copy_below(&self, path: &Path) -> io::Result<OwnedFd> {
        self.at_home(|| mount::clone_tree_of(walk::open_beneath(self.as_fd(), path, OFlags::PATH)?.as_fd(), false))
    }

    fn at_home(&self, work: impl FnOnce() -> io::Result<OwnedFd> + Send) -> io::Result<OwnedFd> {
        let Some(home) = &self.home else { return work() };
        workshop::run(|| {
            process::join(home.as_fd(), Namespaces::MOUNT)?;
            work()
        })
    }
}

fn open_namespace(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
