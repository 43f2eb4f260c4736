//! Files from one root into another, by descriptor: what `COPY` and `ADD` do; and the digest of what they would copy.
//!
//! Both roots belong to somebody else. In the target, links are followed inside the root, as the process of a later
//! step would see it; in the source, a link is copied as a link. Directories that are there already keep their
//! attributes, everything else is replaced.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use crate::{limits, pack::xattrs, walk};

/// Whether a path is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Yes,
    No,
    /// The directory is not, but something in it may be.
    OnlyBelow,
}

/// How files are copied.
pub struct CopyOptions<'o> {
    /// Everything belongs to this user and group; `None`: as in the source.
    pub owner: Option<(u32, u32)>,
    /// Permission bits of files and directories; `None`: as in the source.
    pub mode: Option<u32>,
    /// What is copied, by its path in the source, and whether that is a directory.
    pub keep: &'o dyn Fn(&[u8], bool) -> Keep,
}

/// Copies into one root.
pub struct Copier<'c> {
    to: BorrowedFd<'c>,
    options: &'c CopyOptions<'c>,
    /// The directory of the file before, which is mostly also the next one's.
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    times: Vec<(Vec<u8>, Timestamps)>,
    buffer: Vec<u8>,
}

impl<'c> Copier<'c> {
    /// Begins to copy into `to`.
    pub fn new(to: BorrowedFd<'c>, options: &'c CopyOptions<'c>) -> Self {
        Self { to, options, parent: None, times: Vec::new(), buffer: vec![0; limits::CHUNK_BYTES] }
    }

    /// Everything in a directory whose path in the source is `path`, to the directory `target`.
    ///
    /// # Errors
    /// Those of both file systems.
    pub fn contents(&mut self, directory: BorrowedFd<'_>, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.directory(target, None)?;
        walk::tree(directory, |visit| -> io::Result<bool> {
            let from = join(path, visit.path);
            let is_directory = visit.directory.is_some();
            match (self.options.keep)(&from, is_directory) {
                Keep::No => Ok(false),
                Keep::OnlyBelow => Ok(true),
                Keep::Yes => {
                    self.visit(&visit, &join(target, visit.path))?;
                    Ok(true)
                }
            }
        })
    }

    /// One name that is no directory, to the path `target`.
    ///
    /// # Errors
    /// Those of both file systems.
    pub fn leaf(&mut self, parent: BorrowedFd<'_>, leaf: &[u8], target: &[u8]) -> io::Result<()> {
        let Some(stat) = walk::stat_leaf(parent, leaf)? else { return Err(io::ErrorKind::NotFound.into()) };
        self.visit(&walk::Visit { parent, leaf, path: leaf, stat: &stat, directory: None, across: false }, target)
    }

    /// Bytes that are no file yet.
    ///
    /// # Errors
    /// Those of the target's file system.
    pub fn bytes(&mut self, bytes: &[u8], mode: u32, modified: i64, target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.place(target)?;
        let file = create(parent.as_fd(), &name)?;
        write_all(&file, bytes)?;
        let (uid, gid) = self.options.owner.unwrap_or((0, 0));
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.options.mode.unwrap_or(mode)))?;
        rustix::fs::futimens(&file, &whole_second(modified))?;
        Ok(())
    }

    /// Gives directories their times; nothing may be copied after it.
    ///
    /// # Errors
    /// Those of the target's file system.
    pub fn finish(self) -> io::Result<()> {
        for (path, times) in self.times.iter().rev() {
            let directory = walk::open_in_root(self.to, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::futimens(&directory, times)?;
        }
        Ok(())
    }

    fn visit(&mut self, visit: &walk::Visit<'_>, target: &[u8]) -> io::Result<()> {
        if walk::is_whiteout(visit.stat) {
            return Ok(());
        }
        match walk::file_type(visit.stat) {
            FileType::Directory => {
                self.directory(target, Some((visit.stat, visit.directory)))?;
                Ok(())
            }
            FileType::RegularFile => self.file(visit, target),
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(visit.parent, visit.leaf, Vec::new())?;
                let (parent, name) = self.place(target)?;
                make(parent.as_fd(), &name, || rustix::fs::symlinkat(&link, &parent, &name[..]))?;
                self.attributes_of_leaf(parent.as_fd(), &name, visit.stat, false)
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                let (parent, name) = self.place(target)?;
                let (kind, mode) = (walk::file_type(visit.stat), Mode::from_raw_mode(visit.stat.st_mode & 0o7777));
                make(parent.as_fd(), &name, || {
                    rustix::fs::mknodat(&parent, &name[..], kind, mode, visit.stat.st_rdev)
                })?;
                self.attributes_of_leaf(parent.as_fd(), &name, visit.stat, true)
            }
            _ => Ok(()),
        }
    }

    fn owner(&self, stat: &Stat) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = self.options.owner.unwrap_or((stat.st_uid, stat.st_gid));
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    fn attributes_of_leaf(&self, parent: BorrowedFd<'_>, name: &[u8], stat: &Stat, has_mode: bool) -> io::Result<()> {
        let (uid, gid) = self.owner(stat);
        rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if has_mode {
            let mode = Mode::from_raw_mode(self.options.mode.unwrap_or(stat.st_mode & 0o7777));
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times_of(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn file(&mut self, visit: &walk::Visit<'_>, target: &[u8]) -> io::Result<()> {
        let source = walk::open_leaf(visit.parent, visit.leaf, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let (parent, name) = self.place(target)?;
        let file = create(parent.as_fd(), &name)?;
        loop {
            let count = rustix::io::read(&source, &mut self.buffer[..])?;
            if count == 0 {
                break;
            }
            write_all(&file, &self.buffer[..count])?;
        }
        let (uid, gid) = self.owner(visit.stat);
        rustix::fs::fchown(&file, uid, gid)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.options.mode.unwrap_or(visit.stat.st_mode & 0o7777)))?;
        set_xattrs(source.as_fd(), file.as_fd())?;
        Ok(rustix::fs::futimens(&file, &times_of(visit.stat))?)
    }

    // The directory above `target`, made if it is missing, and the last name.
    fn place(&mut self, target: &[u8]) -> io::Result<(Rc<OwnedFd>, Vec<u8>)> {
        let parts = parts(target);
        let Some((leaf, above)) = parts.split_last() else { return Err(io::ErrorKind::IsADirectory.into()) };
        let above = above.join(&b'/');
        if let Some((known, fd)) = &self.parent
            && *known == above
        {
            return Ok((fd.clone(), leaf.to_vec()));
        }
        let fd = Rc::new(self.directory(&above, None)?);
        self.parent = Some((above, fd.clone()));
        Ok((fd, leaf.to_vec()))
    }

    /// The directory `path` of the target, made with those above it where they are missing.
    ///
    /// # Errors
    /// Those of the target's file system.
    pub fn directory(&mut self, path: &[u8], like: Option<(&Stat, Option<BorrowedFd<'_>>)>) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match walk::open_in_root(self.to, path, flags) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            other => return other,
        }
        let parts = parts(path);
        let mut reached = walk::open_in_root(self.to, b".", flags)?;
        for end in 1..=parts.len() {
            let so_far = parts[..end].join(&b'/');
            reached = match walk::open_in_root(self.to, &so_far, flags) {
                Ok(there) => there,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    let leaf = parts[end - 1];
                    make(reached.as_fd(), leaf, || rustix::fs::mkdirat(&reached, leaf, Mode::from_raw_mode(0o755)))?;
                    let made = walk::open_leaf(reached.as_fd(), leaf, flags)?;
                    let like = if end == parts.len() { like } else { None };
                    self.describe(made.as_fd(), &so_far, like)?;
                    made
                }
                Err(error) => return Err(error),
            };
        }
        self.parent = None;
        Ok(reached)
    }

    fn describe(
        &mut self,
        made: BorrowedFd<'_>,
        path: &[u8],
        like: Option<(&Stat, Option<BorrowedFd<'_>>)>,
    ) -> io::Result<()> {
        match like {
            Some((stat, source)) => {
                let (uid, gid) = self.owner(stat);
                rustix::fs::fchown(made, uid, gid)?;
                let mode = self.options.mode.unwrap_or(stat.st_mode & 0o7777);
                rustix::fs::fchmod(made, Mode::from_raw_mode(mode))?;
                if let Some(source) = source {
                    set_xattrs(source, made)?;
                }
                self.times.push((path.to_vec(), times_of(stat)));
            }
            None => {
                rustix::fs::fchmod(made, Mode::from_raw_mode(0o755))?;
                if let Some((uid, gid)) = self.options.owner {
                    rustix::fs::fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
                }
            }
        }
        Ok(())
    }
}

fn parts(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect()
}

fn join(above: &[u8], below: &[u8]) -> Vec<u8> {
    let above = above.strip_suffix(b"/").unwrap_or(above);
    if above.is_empty() { below.to_vec() } else { [above, b"/", below].concat() }
}

fn create(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    make(parent, name, || rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)))
}

// Mostly nothing stands in the way; what does is replaced, unless it is a directory.
fn make<T>(parent: BorrowedFd<'_>, name: &[u8], make: impl Fn() -> Result<T, Errno>) -> io::Result<T> {
    match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            Ok(make()?)
        }
        other => Ok(other?),
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::write(file, bytes)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn set_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    for (key, value) in xattrs(from)? {
        match rustix::fs::fsetxattr(to, &key[..], &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn times_of(stat: &Stat) -> Timestamps {
    let at = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    Timestamps { last_access: at, last_modification: at }
}

fn whole_second(seconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

/// What decides the digest of what would be copied: kinds, names, modes, owners and bytes, but no times.
pub struct TreeDigest<'d> {
    hash: &'d mut dyn FnMut(&[u8]),
    options: &'d CopyOptions<'d>,
    buffer: Vec<u8>,
}

impl<'d> TreeDigest<'d> {
    /// Begins to feed `hash`.
    pub fn new(options: &'d CopyOptions<'d>, hash: &'d mut dyn FnMut(&[u8])) -> Self {
        Self { hash, options, buffer: vec![0; limits::CHUNK_BYTES] }
    }

    /// Something that matters beside the files.
    pub fn word(&mut self, word: &[u8]) {
        (self.hash)(&(word.len() as u64).to_le_bytes());
        (self.hash)(word);
    }

    /// Everything in a directory, as [`Copier::contents`] would copy it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn contents(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
        self.word(b"directory");
        walk::tree(directory, |visit| -> io::Result<bool> {
            match (self.options.keep)(&join(path, visit.path), visit.directory.is_some()) {
                Keep::No => Ok(false),
                Keep::OnlyBelow => Ok(true),
                Keep::Yes => {
                    self.visit(&visit)?;
                    Ok(true)
                }
            }
        })
    }

    /// One name, as [`Copier::leaf`] would copy it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn leaf(&mut self, parent: BorrowedFd<'_>, leaf: &[u8]) -> io::Result<()> {
        let Some(stat) = walk::stat_leaf(parent, leaf)? else { return Err(io::ErrorKind::NotFound.into()) };
        self.visit(&walk::Visit { parent, leaf, path: leaf, stat: &stat, directory: None, across: false })
    }

    fn visit(&mut self, visit: &walk::Visit<'_>) -> io::Result<()> {
        let kind = walk::file_type(visit.stat);
        let mode = if kind == FileType::Symlink { 0 } else { self.options.mode.unwrap_or(visit.stat.st_mode & 0o7777) };
        let (uid, gid) = self.options.owner.unwrap_or((visit.stat.st_uid, visit.stat.st_gid));
        self.word(visit.path);
        self.word(format!("{} {mode:o} {uid} {gid}", kind.as_raw_mode()).as_bytes());
        match kind {
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(visit.parent, visit.leaf, Vec::new())?;
                self.word(link.as_bytes());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.word(&visit.stat.st_rdev.to_le_bytes());
            }
            FileType::RegularFile => self.bytes_of(visit)?,
            _ => {}
        }
        Ok(())
    }

    fn bytes_of(&mut self, visit: &walk::Visit<'_>) -> io::Result<()> {
        let file = walk::open_leaf(visit.parent, visit.leaf, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        (self.hash)(&visit.stat.st_size.to_le_bytes());
        loop {
            let count = rustix::io::read(&file, &mut self.buffer[..])?;
            if count == 0 {
                return Ok(());
            }
            (self.hash)(&self.buffer[..count]);
        }
    }
}
