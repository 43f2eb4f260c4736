//! A host path as a detached mount, ready to be moved into a container.
//!
//! The clone gets its propagation before it leaves here: a detached clone keeps its peer group, and a mount
//! made in the container would otherwise appear on the host.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use hako_model::Propagation;
use hako_sys::{
    mount::{self, MountAttributes, Spread},
    mountinfo,
};

/// How a path is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub read_only: bool,
    /// With what is mounted below.
    pub recursive: bool,
    /// `read_only` also for what is mounted below.
    pub read_only_recursive: bool,
    pub propagation: Propagation,
}

impl Default for Options {
    fn default() -> Self {
        Self { read_only: false, recursive: true, read_only_recursive: true, propagation: Propagation::RPrivate }
    }
}

/// Opens a path of the host.
///
/// # Errors
/// It does not exist, or the kernel cannot clone its mount.
pub fn open(path: &Path, options: &Options) -> io::Result<OwnedFd> {
    let place = mount::open_place(path)?;
    of(std::os::fd::AsFd::as_fd(&place), options)
}

/// Why mounts cannot travel between this path and a container: they do only where the host's own mount passes them
/// on. Docker's sentence; `None` where they can, or need not.
///
/// # Errors
/// The path does not exist, or `/proc` cannot be read.
pub fn lacks_peers(path: &Path, wanted: Propagation) -> io::Result<Option<String>> {
    let (is_slave_enough, word) = match wanted {
        Propagation::Private | Propagation::RPrivate => return Ok(None),
        Propagation::Shared | Propagation::RShared => (false, "shared"),
        Propagation::Slave | Propagation::RSlave => (true, "shared or slave"),
    };
    let place = mount::open_place(path)?;
    let found = mountinfo::standing(std::os::fd::AsFd::as_fd(&place))?;
    let has_peers = found.is_shared || (is_slave_enough && found.is_slave);
    let (path, on) = (path.display(), found.mount_point.display());
    Ok((!has_peers).then(|| format!("path {path} is mounted on {on} but it is not a {word} mount")))
}

/// A path as the process of a pidfd sees it, without what is mounted below.
///
/// # Errors
/// The process has ended, or the path is none there.
pub fn of_process(process: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    hako_sys::workshop::clone_of_process(process, path)
}

/// The same for what is open already.
///
/// # Errors
/// The kernel cannot clone its mount.
pub fn of(place: BorrowedFd<'_>, options: &Options) -> io::Result<OwnedFd> {
    let spread = match options.propagation {
        Propagation::RPrivate | Propagation::Private => Spread::Private,
        Propagation::RShared | Propagation::Shared => Spread::Shared,
        Propagation::RSlave | Propagation::Slave => Spread::Slave,
    };
    restrict(mount::clone_tree_with(place, options.recursive, spread)?, options)
}

/// Gives a detached mount the ids of a user namespace.
///
/// # Errors
/// `EINVAL` where the file system or the kernel maps none.
pub fn map(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    mount::map_ids(mount, user_namespace, false)
}

/// Makes a detached mount read-only, if that is asked for.
pub(crate) fn restrict(clone: OwnedFd, options: &Options) -> io::Result<OwnedFd> {
    if options.read_only {
        let attributes = MountAttributes {
            read_only: true,
            recursive: options.recursive && options.read_only_recursive,
            ..MountAttributes::default()
        };
        mount::set_attributes(std::os::fd::AsFd::as_fd(&clone), attributes)?;
    }
    Ok(clone)
}
