//! The workshop: a thread with a mount namespace and a current directory of its own.
//!
//! Kernels such as 6.1 take overlay layers only as one option string of at most 255 bytes, and no layers that are
//! detached mounts. Here the layers get names of one byte each in a tmpfs that is the thread's current directory,
//! so that even the 127 layers of the largest image fit, and detached layers are attached where only this thread
//! sees them. What leaves the workshop is a descriptor.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    credentials,
    mount::{self, Filesystem, MountAttributes, Spread},
    process::{self, Namespaces},
    walk,
};

/// Layers that have one-byte names. Docker's own limit for an image is 127.
const LAYERS_MAX: usize = 127;

/// Runs `work` on a thread that has a mount namespace of its own (nothing in it travels to the host's) and waits for it.
///
/// # Errors
/// Those of `unshare(2)` and of `work`.
pub fn run<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("workshop".to_owned()).spawn_scoped(scope, || {
            // A new mount namespace implies that root and current directory are the thread's own too.
            process::unshare(Namespaces::MOUNT)?;
            mount::set_propagation_of_all(Spread::Slave)?;
            work()
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A detached copy of the mount at `path`, as the process of a pidfd sees it. The kernel clones mounts of its caller's
/// own namespace only, so the workshop's thread goes there; symbolic links on the way are not followed, since the path
/// is that process's to arrange.
///
/// # Errors
/// Those of `setns(2)`, `openat2(2)` and `open_tree(2)`; `ELOOP` for a link.
pub fn clone_of_process(process: std::os::fd::BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    run(|| {
        process::join(process, Namespaces::MOUNT)?;
        let (flags, mode) = (OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let place = rustix::fs::openat2(rustix::fs::CWD, path, flags, mode, rustix::fs::ResolveFlags::NO_SYMLINKS)?;
        mount::clone_tree_of(place.as_fd(), false)
    })
}

/// What `mount::overlay` does, for kernels that take layers as text.
///
/// # Errors
/// Those of overlayfs; `InvalidInput` for more than 127 layers.
pub fn overlay(lowers: &[PathBuf], upper_work: Option<(&Path, &Path)>, volatile: bool) -> io::Result<OwnedFd> {
    if lowers.len() > LAYERS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    run(|| overlay_by_names(lowers, upper_work, volatile))
}

fn overlay_by_names(lowers: &[PathBuf], upper_work: Option<(&Path, &Path)>, volatile: bool) -> io::Result<OwnedFd> {
    let names = mount::tmpfs(&[("mode", "700")], MountAttributes::default())?;
    for (lower, name) in lowers.iter().zip(layer_names()) {
        rustix::fs::symlinkat(std::path::absolute(lower)?, &names, OsStr::from_bytes(&[name]))?;
    }
    overlay_of_names(&names, lowers.len(), upper_work, volatile)
}

// Every byte that is no separator of paths, lists or options, and no dot.
fn layer_names() -> impl Iterator<Item = u8> {
    (1..=u8::MAX).filter(|byte| !matches!(byte, b'/' | b':' | b',' | b'\\' | b'.' | b'=' | b' ' | b'\n' | b'\t'))
}

/// An overlay with the ids of a user namespace: its layers are detached mounts, which these kernels cannot take as
/// descriptors and which are therefore attached in the workshop first.
///
/// # Errors
/// Those of overlayfs and of `mount_setattr(2)`; `InvalidInput` for more than 127 layers.
pub fn overlay_mapped(
    lowers: &[PathBuf],
    upper_work: Option<(&Path, &Path)>,
    volatile: bool,
    map: std::os::fd::BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    if lowers.len() > LAYERS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if let Some((upper, _)) = upper_work {
        let owner = mount::root_in(map, upper)?;
        return credentials::with_file_owner(owner, || overlay_of_layers(lowers, upper_work, volatile, map))?;
    }
    overlay_of_layers(lowers, upper_work, volatile, map)
}

fn overlay_of_layers(
    lowers: &[PathBuf],
    upper_work: Option<(&Path, &Path)>,
    volatile: bool,
    map: std::os::fd::BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let layers = mount::Layers::mapped(lowers, upper_work, map)?;
    let lowers = &layers.lowers;
    run(|| {
        // Any directory does as a place: only this thread sees what is put there.
        let place = mount::open_directory(Path::new("/"))?;
        let stage = mount::tmpfs(&[("mode", "700")], MountAttributes::default())?;
        mount::attach(stage.as_fd(), place.as_fd())?;
        for (lower, name) in lowers.iter().zip(layer_names()) {
            let name = [name];
            let name = OsStr::from_bytes(&name);
            rustix::fs::mkdirat(&stage, name, Mode::RWXU)?;
            let target = rustix::fs::openat(&stage, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            mount::attach(lower.as_fd(), target.as_fd())?;
        }
        let Some((upper, work, tree)) = &layers.upper_work else {
            return overlay_of_names(&stage, lowers.len(), None, volatile);
        };
        rustix::fs::mkdirat(&stage, "both", Mode::RWXU)?;
        let target = rustix::fs::openat(&stage, "both", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        mount::attach(tree.as_fd(), target.as_fd())?;
        // Descriptors of what is attached now: their paths lead there.
        let path = |descriptor: &OwnedFd| PathBuf::from(format!("/proc/thread-self/fd/{}", descriptor.as_raw_fd()));
        overlay_of_names(&stage, lowers.len(), Some((&path(upper), &path(work))), volatile)
    })
}

/// A detached tree of `root` (a detached mount) with each mount at its path inside. Missing places are made.
///
/// # Errors
/// Those of walking, `move_mount(2)` and `open_tree(2)`.
pub fn tree(root: OwnedFd, mounts: Vec<(PathBuf, OwnedFd)>) -> io::Result<OwnedFd> {
    run(|| {
        let place = mount::open_directory(Path::new("/"))?;
        mount::attach(root.as_fd(), place.as_fd())?;
        for (path, inner) in mounts {
            let stat = rustix::fs::fstat(&inner)?;
            let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
            let place = match is_directory {
                true => walk::make_dirs_in_root(root.as_fd(), &path, Mode::from_raw_mode(0o755))?,
                false => walk::make_file_in_root(root.as_fd(), &path, Mode::from_raw_mode(0o644))?,
            };
            mount::attach(inner.as_fd(), place.as_fd())?;
        }
        mount::clone_tree_of(root.as_fd(), true)
    })
}

// The first `count` names are in the directory `names`; so are, after this, `upper` and `work`.
fn overlay_of_names(
    names: &OwnedFd,
    count: usize,
    upper_work: Option<(&Path, &Path)>,
    volatile: bool,
) -> io::Result<OwnedFd> {
    let list: Vec<[u8; 1]> = layer_names().take(count).map(|name| [name]).collect();
    if let Some((upper, work)) = upper_work {
        rustix::fs::symlinkat(std::path::absolute(upper)?, names, "upper")?;
        rustix::fs::symlinkat(std::path::absolute(work)?, names, "work")?;
    }
    rustix::process::fchdir(names)?;
    let filesystem = Filesystem::new("overlay")?;
    filesystem.option_bytes("lowerdir", &list.join(&b':'))?;
    if upper_work.is_some() {
        filesystem.option("upperdir", Some("upper"))?.option("workdir", Some("work"))?;
    }
    mount::overlay_options(&filesystem, upper_work.is_some(), volatile)?;
    filesystem.mount(MountAttributes::default())
}
