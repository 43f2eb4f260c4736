//! A new volume takes over what the image has at the place where it is mounted.
//!
//! As Docker does at the first use of an empty volume: files, links, devices, owners, modes, attributes and times, and
//! the attributes of the directory itself. Both sides are walked by descriptor; the image's paths are resolved
//! inside its root.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

/// Deepest nesting that is copied: each level holds two descriptors.
const DEPTH_MAX: usize = 400;
const COPY_BYTES: usize = 1 << 20;

/// Copies what `path` is in `root` into the volume, if the volume is empty and there is such a directory.
/// Answers whether it did.
///
/// # Errors
/// Those of reading and writing; a volume that was half-filled is emptied again.
pub(crate) fn fill(volume: BorrowedFd<'_>, root: BorrowedFd<'_>, path: &Path) -> io::Result<bool> {
    let volume = reopen(volume)?;
    if !names(volume.as_fd())?.is_empty() {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let source = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if let Err(error) = copy_tree(source.as_fd(), volume.as_fd()) {
        empty(volume.as_fd())?;
        return Err(error);
    }
    Ok(true)
}

/// What a copy was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Bytes of all files, holes included.
    pub bytes: u64,
    /// Bytes that were not written, since both files share their blocks.
    pub shared: u64,
}

/// Copies everything in one directory into another, and its attributes.
///
/// # Errors
/// Those of reading and writing; what was copied stays.
pub(crate) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Copied> {
    let (from, to) = (reopen(from)?, reopen(to)?);
    let mut copy =
        Copy { links: HashMap::new(), target: to.as_fd(), buffer: vec![0; COPY_BYTES], copied: Copied::default() };
    copy.directory(from.as_fd(), to.as_fd(), &mut Vec::new())?;
    attributes(from.as_fd(), to.as_fd())?;
    Ok(copy.copied)
}

struct Copy<'v> {
    /// Where the first name of a file with several stands in the volume.
    links: HashMap<(u64, u64), Vec<u8>>,
    target: BorrowedFd<'v>,
    buffer: Vec<u8>,
    copied: Copied,
}

impl Copy<'_> {
    fn directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &mut Vec<CString>) -> io::Result<()> {
        if path.len() > DEPTH_MAX {
            return Err(io::Error::other(format!("directories are nested deeper than {DEPTH_MAX}")));
        }
        for name in names(from)? {
            let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            path.push(name.clone());
            self.one(from, to, &name, &stat, path)?;
            path.pop();
        }
        Ok(())
    }

    fn one(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &mut Vec<CString>,
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return Ok(rustix::fs::linkat(self.target, &first[..], to, name, AtFlags::empty())?);
            }
            let whole = path.iter().map(|part| part.to_bytes()).collect::<Vec<_>>().join(&b'/');
            self.links.insert((stat.st_dev, stat.st_ino), whole);
        }
        let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
        match kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let inner = open(from, name, flags)?;
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let made = open(to, name, flags)?;
                self.directory(inner.as_fd(), made.as_fd(), path)?;
                attributes(inner.as_fd(), made.as_fd())
            }
            FileType::RegularFile => self.file(from, to, name),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
                rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                Ok(rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                rustix::fs::mknodat(to, name, kind, Mode::RWXU, stat.st_rdev)?;
                let made = open(to, name, OFlags::PATH)?;
                rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                rustix::fs::chmod(format!("/proc/self/fd/{}", made.as_raw_fd()), Mode::from_raw_mode(stat.st_mode))?;
                Ok(rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            // A socket is nothing without the process that listens.
            _ => Ok(()),
        }
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let source = open(from, name, OFlags::RDONLY)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        let length = u64::try_from(rustix::fs::fstat(&source)?.st_size).unwrap_or(0);
        self.copied.bytes += length;
        // Sharing blocks costs nothing; few file systems can.
        if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
            self.copied.shared += length;
        } else {
            self.pieces(&source, &target)?;
            rustix::fs::ftruncate(&target, length)?;
        }
        attributes(source.as_fd(), target.as_fd())
    }

    // Data only: holes stay holes.
    fn pieces(&mut self, source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
        let mut at = 0;
        loop {
            let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => return Ok(()),
                // A file system that knows no holes: everything is data.
                Err(Errno::INVAL) => at,
                Err(error) => return Err(error.into()),
            };
            let end = rustix::fs::seek(source, SeekFrom::Hole(start)).unwrap_or(u64::MAX);
            at = self.piece(source, target, start, end)?;
            if at < end {
                return Ok(());
            }
        }
    }

    // Answers where it ended: at `end`, or before it where the file ends.
    fn piece(&mut self, source: &OwnedFd, target: &OwnedFd, start: u64, end: u64) -> io::Result<u64> {
        let (mut from, mut to) = (start, start);
        while from < end {
            let most = usize::try_from(end - from).unwrap_or(usize::MAX).min(COPY_BYTES);
            match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), most) {
                Ok(0) => return Ok(from),
                Ok(_) | Err(Errno::INTR) => {}
                // Between file systems of different kinds.
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    let count = rustix::io::pread(source, &mut self.buffer[..most], from)?;
                    if count == 0 {
                        return Ok(from);
                    }
                    from += rustix::io::pwrite(target, &self.buffer[..count], from)? as u64;
                    to = from;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(from)
    }
}

// Owner, mode (which the owner's change would clear), extended attributes, times.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    let mut list = vec![0_u8; 65_536];
    let length = rustix::fs::flistxattr(from, &mut list[..]).unwrap_or(0);
    for key in list[..length].split(|byte| *byte == 0) {
        // The volume is on no overlay: marks of one mean nothing there.
        if key.is_empty() || key.starts_with(b"trusted.") {
            continue;
        }
        let mut value = vec![0_u8; 65_536];
        let length = rustix::fs::fgetxattr(from, key, &mut value[..])?;
        match rustix::fs::fsetxattr(to, key, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::futimens(to, &times(&stat))?)
}

fn times(stat: &Stat) -> Timestamps {
    let at = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) };
    Timestamps {
        last_access: at(stat.st_atime, stat.st_atime_nsec),
        last_modification: at(stat.st_mtime, stat.st_mtime_nsec),
    }
}

// One name, not followed, and not out of the file system.
fn open(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(rustix::fs::openat2(directory, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

// What came as `O_PATH` or as a mount can be read.
fn reopen(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What an `O_PATH` descriptor or a mount has in it.
pub(crate) fn names_in(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    names(reopen(directory)?.as_fd())
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        // ext4 makes this at the root of a file system; an otherwise empty one is empty.
        if !matches!(name.to_bytes(), b"." | b".." | b"lost+found") {
            names.push(name);
        }
    }
    Ok(names)
}

fn empty(directory: BorrowedFd<'_>) -> io::Result<()> {
    for name in names(directory)? {
        let path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        let path = [&path, name.to_bytes()].concat();
        let path = Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&path[..]));
        match rustix::fs::unlinkat(directory, &name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => std::fs::remove_dir_all(path)?,
            other => other?,
        }
    }
    Ok(())
}
