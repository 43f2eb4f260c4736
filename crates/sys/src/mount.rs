//! Mounts by descriptor: file systems made, trees cloned, attributes set, all before anything has a path.
//!
//! A detached mount belongs to whoever holds its descriptor and is in nobody's mount table; [`attach`] gives it a
//! place. Overlays pick the way that the running kernel has (`features.rs`); the way for older kernels goes
//! through `workshop.rs`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    },
};

use crate::{credentials, features, workshop};

/// How mounts made below travel between copies of a mount (`mount_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spread {
    Private,
    /// Receives what happens at its origin, sends nothing back.
    Slave,
    /// Both ways.
    Shared,
    /// Private, and nobody can bind it elsewhere.
    Unbindable,
}

/// Attributes of one mount or, recursively, of all mounts in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountAttributes {
    pub read_only: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub nosymfollow: bool,
    pub noatime: bool,
    pub nodiratime: bool,
    pub strict_atime: bool,
    /// Also what is mounted below.
    pub recursive: bool,
    /// `None`: as it is.
    pub propagation: Option<Spread>,
}

impl MountAttributes {
    /// What a mount of kernel data (proc, sysfs, mqueue, cgroup) gets.
    pub const KERNEL_DATA: Self = Self {
        nosuid: true,
        nodev: true,
        noexec: true,
        read_only: false,
        nosymfollow: false,
        noatime: false,
        nodiratime: false,
        strict_atime: false,
        recursive: false,
        propagation: None,
    };

    fn bits(self) -> u64 {
        let mut bits = 0;
        for (wanted, bit) in [
            (self.read_only, 0x1),
            (self.nosuid, 0x2),
            (self.nodev, 0x4),
            (self.noexec, 0x8),
            (self.noatime, 0x10),
            (self.strict_atime, 0x20),
            (self.nodiratime, 0x80),
            (self.nosymfollow, 0x20_0000),
        ] {
            if wanted {
                bits |= bit;
            }
        }
        bits
    }
}

const MOUNT_ATTR_ATIME: u64 = 0x70;

/// `struct mount_attr` of the kernel (Linux 5.12).
#[repr(C)]
#[derive(Default)]
struct RawAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Sets attributes (those that are not asked for stay as they are).
///
/// # Errors
/// Those of `mount_setattr(2)`; `EPERM` when the mount is locked by a more privileged owner.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: MountAttributes) -> io::Result<()> {
    let set = attributes.bits();
    let propagation = match attributes.propagation {
        None => 0,
        Some(Spread::Private) => libc::MS_PRIVATE,
        Some(Spread::Slave) => libc::MS_SLAVE,
        Some(Spread::Shared) => libc::MS_SHARED,
        Some(Spread::Unbindable) => libc::MS_UNBINDABLE,
    };
    let raw = RawAttributes {
        set,
        // A change of the access-time mode must clear the old one.
        clear: if set & MOUNT_ATTR_ATIME == 0 { 0 } else { MOUNT_ATTR_ATIME },
        propagation,
        user_namespace: 0,
    };
    raw_set_attributes(mount, &raw, attributes.recursive)
}

/// Sets some attributes and clears others, by the kernel's bits (`MOUNT_ATTR_…`).
///
/// # Errors
/// As [`set_attributes`].
pub fn change_attributes(mount: BorrowedFd<'_>, set: u64, clear: u64, recursive: bool) -> io::Result<()> {
    // A change of the access-time mode must clear the old one.
    let clear = if (set | clear) & MOUNT_ATTR_ATIME == 0 { clear } else { clear | MOUNT_ATTR_ATIME };
    raw_set_attributes(mount, &RawAttributes { set, clear, ..RawAttributes::default() }, recursive)
}

/// How mounts below this one travel from now on.
///
/// # Errors
/// As [`set_attributes`].
pub fn set_propagation(mount: BorrowedFd<'_>, spread: Spread, recursive: bool) -> io::Result<()> {
    set_attributes(mount, MountAttributes { recursive, propagation: Some(spread), ..MountAttributes::default() })
}

/// Lets a detached tree show its files with the ids of another user namespace.
///
/// # Errors
/// `EINVAL` when the file system cannot, `EPERM` when it is mapped already.
pub fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let user_namespace = user_namespace.as_raw_fd() as u64;
    let raw = RawAttributes { set: MOUNT_ATTR_IDMAP, user_namespace, ..RawAttributes::default() };
    raw_set_attributes(mount, &raw, recursive)
}

fn raw_set_attributes(mount: BorrowedFd<'_>, attributes: &RawAttributes, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated string, the structure has the size that is passed; both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<RawAttributes>(),
        )
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes everything in the calling process's mount namespace private (or slave): what is mounted later does not travel.
///
/// # Errors
/// Those of `mount(2)`.
pub fn set_propagation_of_all(spread: Spread) -> io::Result<()> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let attributes = MountAttributes { recursive: true, propagation: Some(spread), ..MountAttributes::default() };
    set_attributes(root.as_fd(), attributes)
}

/// A detached copy of the tree at `path`, private, with what is mounted below it or without.
///
/// # Errors
/// Those of `open_tree(2)`.
pub fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    clone_tree_as(path, MountAttributes { recursive, ..MountAttributes::default() })
}

/// As [`clone_tree`], with attributes.
///
/// # Errors
/// Those of `open_tree(2)` and `mount_setattr(2)`.
pub fn clone_tree_as(path: &Path, attributes: MountAttributes) -> io::Result<OwnedFd> {
    private_clone(CWD, path, attributes, OpenTreeFlags::empty())
}

/// As [`clone_tree`], of what a descriptor stands for (a file or a directory).
///
/// # Errors
/// Those of `open_tree(2)`; `EINVAL` for something in another mount namespace.
pub fn clone_tree_of(descriptor: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    clone_tree_of_as(descriptor, MountAttributes { recursive, ..MountAttributes::default() })
}

/// As [`clone_tree_of`], with attributes.
///
/// # Errors
/// As [`clone_tree_as`].
pub fn clone_tree_of_as(descriptor: BorrowedFd<'_>, attributes: MountAttributes) -> io::Result<OwnedFd> {
    private_clone(descriptor, Path::new(""), attributes, OpenTreeFlags::AT_EMPTY_PATH)
}

fn private_clone(
    at: BorrowedFd<'_>,
    path: &Path,
    attributes: MountAttributes,
    more: OpenTreeFlags,
) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | more;
    if attributes.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(at, path, flags)?;
    // A detached clone stays in its origin's peer group: without this, what a container mounts would appear on the host.
    set_attributes(tree.as_fd(), MountAttributes { propagation: Some(Spread::Private), ..attributes })?;
    Ok(tree)
}

/// A detached copy that keeps its place in the peer group (slave or shared), for binds that ask for propagation.
///
/// # Errors
/// Those of `open_tree(2)`; `EINVAL` from the kernel when a slave of a mount that is not shared is asked for.
pub fn clone_tree_with(descriptor: BorrowedFd<'_>, recursive: bool, spread: Spread) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(descriptor, "", flags)?;
    let attributes = MountAttributes { recursive, propagation: Some(spread), ..MountAttributes::default() };
    set_attributes(tree.as_fd(), attributes)?;
    Ok(tree)
}

/// Gives a detached mount its place: on what `target` stands for.
///
/// # Errors
/// Those of `move_mount(2)`; `ENOTDIR` when one is a file and the other a directory.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// Takes away what is mounted at the current directory, as soon as nobody uses it.
///
/// # Errors
/// `EINVAL` when nothing is mounted there.
pub fn detach_current_directory() -> io::Result<()> {
    Ok(rustix::mount::unmount(".", UnmountFlags::DETACH)?)
}

/// A file system to be made: type, source, options, in the order that they are given.
#[derive(Debug)]
pub struct Filesystem {
    context: OwnedFd,
}

impl Filesystem {
    /// Begins; `kind` is a type as in `/proc/filesystems`.
    ///
    /// # Errors
    /// `ENODEV` when the kernel does not have it.
    pub fn new(kind: &str) -> io::Result<Self> {
        Ok(Self { context: fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)? })
    }

    /// An option with a value, or one without.
    ///
    /// # Errors
    /// `EINVAL` for one that the file system does not know; what it said about it is in the message.
    pub fn option(&self, name: &str, value: Option<&str>) -> io::Result<&Self> {
        let done = match value {
            Some(value) => fsconfig_set_string(&self.context, name, value),
            None => fsconfig_set_flag(&self.context, name),
        };
        done.map_err(|errno| self.explain(errno))?;
        Ok(self)
    }

    /// An option whose value is bytes that need not be text.
    ///
    /// # Errors
    /// As [`Filesystem::option`].
    pub fn option_bytes(&self, name: &str, value: &[u8]) -> io::Result<&Self> {
        fsconfig_set_string(&self.context, name, value).map_err(|errno| self.explain(errno))?;
        Ok(self)
    }

    /// An option whose value is a descriptor.
    ///
    /// # Errors
    /// As [`Filesystem::option`].
    pub fn option_descriptor(&self, name: &str, value: BorrowedFd<'_>) -> io::Result<&Self> {
        fsconfig_set_fd(&self.context, name, value).map_err(|errno| self.explain(errno))?;
        Ok(self)
    }

    /// Makes it, and a detached mount of it.
    ///
    /// # Errors
    /// Those of the file system, with its own words where it left any.
    pub fn mount(&self, attributes: MountAttributes) -> io::Result<OwnedFd> {
        fsconfig_create(&self.context).map_err(|errno| self.explain(errno))?;
        let bits = MountAttrFlags::from_bits_retain(attributes.bits() as u32);
        let mount = fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, bits)?;
        if let Some(propagation) = attributes.propagation {
            let attributes =
                MountAttributes { recursive: false, propagation: Some(propagation), ..MountAttributes::default() };
            set_attributes(mount.as_fd(), attributes)?;
        }
        Ok(mount)
    }

    // The kernel leaves messages in the context ("e overlay: …"); the last one usually says why.
    fn explain(&self, errno: Errno) -> io::Error {
        let mut last = None;
        let mut line = [0_u8; 512];
        while let Ok(length) = rustix::io::read(&self.context, &mut line) {
            if length == 0 {
                break;
            }
            last = Some(String::from_utf8_lossy(&line[..length]).trim_end().to_owned());
        }
        let plain = io::Error::from(errno);
        match last {
            Some(text) => io::Error::new(plain.kind(), Explained { text, errno: errno.raw_os_error() }),
            None => plain,
        }
    }
}

/// An error that the kernel explained in words. [`errno`] finds the number in it.
#[derive(Debug)]
struct Explained {
    text: String,
    errno: i32,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // "e overlay: text" and "w overlay: text": the letter is the level.
        let text = self.text.get(2..).unwrap_or(&self.text);
        write!(f, "{} ({})", hako_base::error::errno_text(self.errno), text)
    }
}

impl std::error::Error for Explained {}

/// The number of an error from this crate, also of one that the kernel explained in words.
pub fn errno(error: &io::Error) -> Option<i32> {
    let explained = error.get_ref().and_then(|inner| inner.downcast_ref::<Explained>());
    error.raw_os_error().or_else(|| explained.map(|explained| explained.errno))
}

/// A tmpfs with these options (`size`, `mode`, `nr_inodes`, …); without a `source` it calls itself `tmpfs`.
///
/// # Errors
/// Those of [`Filesystem`].
pub fn tmpfs(options: &[(&str, &str)], attributes: MountAttributes) -> io::Result<OwnedFd> {
    let filesystem = Filesystem::new("tmpfs")?;
    if options.iter().all(|(name, _)| *name != "source") {
        filesystem.option("source", Some("tmpfs"))?;
    }
    for (name, value) in options {
        filesystem.option(name, Some(value))?;
    }
    filesystem.mount(attributes)
}

/// An overlay as a detached mount: `lowers` from the top down, and a writable layer on top of them if asked for.
///
/// `upper_work` are the directories of that layer; the work directory must be fresh (reusing one costs over a
/// millisecond). `volatile` skips every flush, for what does not have to survive a power cut.
///
/// # Errors
/// Those of overlayfs; `EROFS` when the kernel fell back to a read-only mount although a writable one was asked for
/// (it does so without a word when it cannot make the work directory).
pub fn overlay(lowers: &[PathBuf], upper_work: Option<(&Path, &Path)>, volatile: bool) -> io::Result<OwnedFd> {
    overlay_mapped(lowers, upper_work, volatile, None)
}

/// The same with the ids of a user namespace: who is 0 on the disk is whoever the namespace's 0 is outside, and the other
/// way round. Nothing is changed on the disk.
///
/// # Errors
/// As [`overlay`]; `EINVAL` where the layers' file system or the kernel (before 5.19) maps no ids.
pub fn overlay_mapped(
    lowers: &[PathBuf],
    upper_work: Option<(&Path, &Path)>,
    volatile: bool,
    map: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    if let ([only], None) = (lowers, upper_work) {
        // The kernel wants two layers; one without a writable one is a read-only view of itself.
        let tree = clone_tree(only, false)?;
        if let Some(map) = map {
            map_ids(tree.as_fd(), map, false)?;
        }
        set_attributes(tree.as_fd(), MountAttributes { read_only: true, ..MountAttributes::default() })?;
        return Ok(tree);
    }
    let by_descriptors = || overlay_by_descriptors(lowers, upper_work, volatile, map);
    let mount = match (features::overlay_layer_descriptors(), map, upper_work) {
        // What overlayfs does by itself it does as whoever mounts it: that has to be somebody who has an id on the disk.
        (true, Some(map), Some((upper, _))) => credentials::with_file_owner(root_in(map, upper)?, by_descriptors)??,
        (true, ..) => by_descriptors()?,
        (false, None, _) => workshop::overlay(lowers, upper_work, volatile)?,
        (false, Some(map), _) => workshop::overlay_mapped(lowers, upper_work, volatile, map)?,
    };
    if upper_work.is_some() && is_read_only(mount.as_fd())? {
        return Err(io::Error::from_raw_os_error(libc::EROFS));
    }
    Ok(mount)
}

fn overlay_by_descriptors(
    lowers: &[PathBuf],
    upper_work: Option<(&Path, &Path)>,
    volatile: bool,
    map: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let filesystem = Filesystem::new("overlay")?;
    if let Some(map) = map {
        let layers = Layers::mapped(lowers, upper_work, map)?;
        for lower in &layers.lowers {
            filesystem.option_descriptor("lowerdir+", lower.as_fd())?;
        }
        if let Some((upper, work, _)) = &layers.upper_work {
            filesystem.option_descriptor("upperdir", upper.as_fd())?;
            filesystem.option_descriptor("workdir", work.as_fd())?;
        }
        overlay_options(&filesystem, upper_work.is_some(), volatile)?;
        return filesystem.mount(MountAttributes::default());
    }
    for lower in lowers {
        filesystem.option_descriptor("lowerdir+", open_directory(lower)?.as_fd())?;
    }
    if let Some((upper, work)) = upper_work {
        filesystem.option_descriptor("upperdir", open_directory(upper)?.as_fd())?;
        filesystem.option_descriptor("workdir", open_directory(work)?.as_fd())?;
    }
    overlay_options(&filesystem, upper_work.is_some(), volatile)?;
    filesystem.mount(MountAttributes::default())
}

// Who root of a user namespace is outside: whoever owns, on a mount with its ids, the directory that `upper` is in, which
// is root's on the disk.
pub(crate) fn root_in(map: BorrowedFd<'_>, upper: &Path) -> io::Result<(u32, u32)> {
    let tree = clone_tree(upper.parent().ok_or(io::ErrorKind::InvalidInput)?, false)?;
    map_ids(tree.as_fd(), map, false)?;
    let stat = rustix::fs::fstat(&tree)?;
    Ok((stat.st_uid, stat.st_gid))
}

/// Layers as detached mounts with the ids of a user namespace.
pub(crate) struct Layers {
    pub(crate) lowers: Vec<OwnedFd>,
    /// Both directories and the one mount that they are in, since overlayfs wants them in the same.
    pub(crate) upper_work: Option<(OwnedFd, OwnedFd, OwnedFd)>,
}

impl Layers {
    pub(crate) fn mapped(
        lowers: &[PathBuf],
        upper_work: Option<(&Path, &Path)>,
        map: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let mapped = |path: &Path| -> io::Result<OwnedFd> {
            let tree = clone_tree(path, false)?;
            map_ids(tree.as_fd(), map, false)?;
            Ok(tree)
        };
        let lowers = lowers.iter().map(|lower| mapped(lower)).collect::<io::Result<_>>()?;
        let upper_work = match upper_work {
            None => None,
            Some((upper, work)) => {
                let both = upper.parent().filter(|parent| work.parent() == Some(*parent));
                let tree = mapped(both.ok_or(io::ErrorKind::InvalidInput)?)?;
                let open = |path: &Path| -> io::Result<OwnedFd> {
                    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    Ok(rustix::fs::openat(&tree, name, flags, Mode::empty())?)
                };
                Some((open(upper)?, open(work)?, tree))
            }
        };
        Ok(Self { lowers, upper_work })
    }
}

/// What every overlay of hako has, whatever the kernel's build-time defaults are: plain layers that `diff` can read.
pub(crate) fn overlay_options(filesystem: &Filesystem, writable: bool, volatile: bool) -> io::Result<()> {
    filesystem.option("source", Some("overlay"))?;
    filesystem.option("index", Some("off"))?;
    filesystem.option("metacopy", Some("off"))?;
    filesystem.option("redirect_dir", Some(if writable { "off" } else { "nofollow" }))?;
    if writable && volatile {
        filesystem.option("volatile", None)?;
    }
    Ok(())
}

/// Opens whatever a path of the host leads to, links followed (`O_PATH`).
///
/// # Errors
/// There is nothing.
pub fn open_place(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a directory for use as a layer or a place (`O_PATH`).
///
/// # Errors
/// `ENOTDIR` when it is none.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether the file system behind a mount, or the mount, is read-only.
///
/// # Errors
/// None that is known.
pub fn is_read_only(mount: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatvfs(mount)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Makes what is mounted as `root` (already attached in the calling process's namespace) the root directory, and takes
/// the old root away.
///
/// # Errors
/// Those of `pivot_root(2)` and `chroot(2)`.
pub fn enter_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    match rustix::process::pivot_root(".", ".") {
        // The old root now lies on top of the new one, and the current directory is below it.
        Ok(()) => detach_current_directory()?,
        // The first root of all (an initramfs) cannot be pivoted away from; it can be covered.
        Err(Errno::INVAL) => rustix::process::chroot(".")?,
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::process::chdir("/")?)
}
