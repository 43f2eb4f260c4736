//! The skeleton: what every container's root filesystem has whether its image has it or not.
//!
//! Mount points (`/proc`, `/dev`, `/etc/hosts` …) and `/.dockerenv`, by which programs recognise a container. As
//! in Docker they lie in a layer of their own between the image and the container, so that neither `diff` nor
//! `commit` sees them; but hako makes it once for a stack of layers, not once for every container.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use hako_model::Digest;
use rustix::fs::{Mode, OFlags};

use super::Inner;
use crate::archive::walk;

/// Whose root filesystem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum For {
    Containers,
    /// Steps of builds: nothing tells them that they are in a container, and their hostname is in no file.
    Steps,
}

impl For {
    fn name(self) -> &'static str {
        match self {
            Self::Containers => "skeleton",
            Self::Steps => "skeleton.steps",
        }
    }

    fn wants(self, path: &str) -> bool {
        self == Self::Containers || ![".dockerenv", "etc/hostname", "etc/mtab"].contains(&path)
    }
}

/// What is made where it is missing.
enum Thing {
    Directory,
    File,
    Link(&'static str),
}

const SKELETON: [(&str, Thing); 11] = [
    ("dev", Thing::Directory),
    ("dev/pts", Thing::Directory),
    ("dev/shm", Thing::Directory),
    ("proc", Thing::Directory),
    ("sys", Thing::Directory),
    (".dockerenv", Thing::File),
    ("dev/console", Thing::File),
    ("etc/hostname", Thing::File),
    ("etc/hosts", Thing::File),
    ("etc/resolv.conf", Thing::File),
    ("etc/mtab", Thing::Link("/proc/mounts")),
];

impl Inner {
    /// The skeleton's directory for a stack, made if it is not there.
    pub(super) fn skeleton(&self, stack: Option<Digest>, whose: For) -> io::Result<PathBuf> {
        let path = self.layers.directory(stack).join(whose.name());
        let mut known = self.skeletons.lock();
        if known.contains(&(stack, whose)) {
            return Ok(path);
        }
        if !path.exists() {
            let making = path.with_file_name(format!("skeleton-{}", hako_base::random::hex(4)));
            let work = making.with_extension("work");
            let made = self.make(stack, whose, &making, &work).and_then(|()| fs::rename(&making, &path));
            for directory in [&making, &work] {
                if directory.exists() {
                    fs::remove_dir_all(directory)?;
                }
            }
            made?;
        }
        known.insert((stack, whose));
        Ok(path)
    }

    fn make(&self, stack: Option<Digest>, whose: For, upper: &PathBuf, work: &PathBuf) -> io::Result<()> {
        let lowers = self.lowers(stack);
        fs::create_dir(upper)?;
        fs::create_dir(work)?;
        open_to_all(upper)?;
        let mount = hako_sys::mount::overlay(&lowers, Some((upper, work)), true)?;
        let root = walk::open_in_root(mount.as_fd(), b".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        for (path, thing) in SKELETON.iter().filter(|(path, _)| whose.wants(path)) {
            ensure(root.as_fd(), path, thing)?;
        }
        Ok(())
    }
}

/// The merged root directory shows the attributes of the topmost layer's: root's and open to everybody, as with Docker,
/// whatever the image's archive says of it. Archives are often made of a directory of `mktemp -d`, which is closed to
/// all but its owner; users other than root could run nothing at all in such a container.
pub(super) fn open_to_all(root: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(root, PermissionsExt::from_mode(0o755))
}

fn ensure(root: BorrowedFd<'_>, path: &str, thing: &Thing) -> io::Result<()> {
    let (above, leaf) = path.rsplit_once('/').unwrap_or(("", path));
    // An image may have a link or a file where a directory is expected (`/etc -> usr/etc`): links are followed inside.
    let parent = match parent(root, above) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        other => other?,
    };
    if walk::stat_leaf(parent.as_fd(), leaf.as_bytes())?.is_some() {
        return Ok(());
    }
    let mode = Mode::from_raw_mode(0o755);
    match thing {
        Thing::Directory => rustix::fs::mkdirat(&parent, leaf, mode)?,
        Thing::Link(target) => rustix::fs::symlinkat(*target, &parent, leaf)?,
        Thing::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&parent, leaf, flags, mode)?;
            // Docker's have 755 too, whatever the umask is.
            rustix::fs::fchmod(file, mode)?;
        }
    }
    Ok(())
}

fn parent(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    match walk::open_in_root(root, path.as_bytes(), flags) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            rustix::fs::mkdirat(root, path, Mode::from_raw_mode(0o755))?;
            walk::open_in_root(root, path.as_bytes(), flags)
        }
        other => other,
    }
}
