//! Files from one root into another, by descriptor: what `COPY` and `ADD` do; and the digest of what they would copy.
//!
//! Both roots belong to somebody else. In the target, links are followed inside the root, as the process of a later
//! step would see it; in the source, a link is copied as a link. Directories that are there already keep their
//! attributes, other files are replaced, and neither becomes the other. What has several names in a directory of the
//! source is one file with several names afterwards.
//!
//! A target that is a union of layers is slow to make files in. What a directory that is made here will have is known
//! to be new, so it is put straight into the layer ([`Copier::straight_into`]), and a file that already is as it is
//! wanted gets a second name there instead of a copy.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use ring::digest::{Context, SHA256};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use crate::{limits, mode::ModeWish, pack::xattrs, walk};

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
    pub mode: Option<&'o ModeWish>,
    /// What is copied, by its path in the source, and whether that is a directory.
    pub keep: &'o dyn Fn(&[u8], bool) -> Keep,
}

impl CopyOptions<'_> {
    fn mode(&self, mode: u32, is_directory: bool) -> u32 {
        self.mode.map_or(mode & 0o7777, |wish| wish.of(mode, is_directory))
    }

    fn mode_of(&self, stat: &Stat) -> u32 {
        self.mode(stat.st_mode, walk::file_type(stat) == FileType::Directory)
    }
}

/// Copies into one root.
pub struct Copier<'c> {
    to: BorrowedFd<'c>,
    options: &'c CopyOptions<'c>,
    /// The directory of the file before, which is mostly also the next one's.
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    times: Vec<(Vec<u8>, Timestamps)>,
    buffer: Vec<u8>,
    layer: Option<Layer<'c>>,
    /// Where files with further names were put, by what they are in the source.
    several: HashMap<(u64, u64), Vec<u8>>,
}

/// Says by their numbers which files the layers below have.
pub type FilesBelow<'b> = &'b dyn Fn() -> io::Result<HashSet<u64>>;

/// The top layer of a union.
struct Layer<'c> {
    root: BorrowedFd<'c>,
    /// Directories that only this layer has, each with everything below it.
    new: Vec<Vec<u8>>,
    /// Files of the source may get a second name here.
    links: Option<FilesBelow<'c>>,
    /// Those that did: what is copied twice is two files, within one layer and with those below.
    linked: HashSet<u64>,
    /// Whether those of the layers below are among them.
    knows_below: bool,
}

impl Layer<'_> {
    fn has_alone(&self, path: &[u8]) -> bool {
        let is_below = |above: &Vec<u8>| {
            above.is_empty() || path.strip_prefix(&above[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.new.iter().any(is_below) && !path.split(|byte| *byte == b'/').any(|part| part == b"..")
    }

    /// Whether this file of the source may get a name here; from then on it has one.
    fn may_link(&mut self, stat: &Stat) -> io::Result<bool> {
        let Some(below) = self.links else { return Ok(false) };
        if stat.st_nlink > 1 && !self.knows_below {
            self.linked.extend(below()?);
            self.knows_below = true;
        }
        Ok(self.linked.insert(stat.st_ino))
    }
}

impl<'c> Copier<'c> {
    /// Begins to copy into `to`.
    pub fn new(to: BorrowedFd<'c>, options: &'c CopyOptions<'c>) -> Self {
        let buffer = vec![0; limits::CHUNK_BYTES];
        Self { to, options, parent: None, times: Vec::new(), buffer, layer: None, several: HashMap::new() }
    }

    /// `layer` is the top layer of the union `to`: what directories that are made have goes there at once. `alone`: there
    /// is nothing below it. `links`: files of the source are never written again, and may be the layer's as well, unless
    /// a layer below has them.
    #[must_use]
    pub fn straight_into(mut self, layer: BorrowedFd<'c>, alone: bool, links: Option<FilesBelow<'c>>) -> Self {
        let new = if alone { vec![Vec::new()] } else { Vec::new() };
        self.layer = Some(Layer { root: layer, new, links, linked: HashSet::new(), knows_below: false });
        self
    }

    // Where a path is reached.
    fn base(&self, path: &[u8]) -> BorrowedFd<'c> {
        match &self.layer {
            Some(layer) if layer.has_alone(path) => layer.root,
            _ => self.to,
        }
    }

    // A directory was made: what it will have, only the layer has. Not if a link leads there, since the layer alone
    // may lead elsewhere.
    fn is_new(&mut self, path: &[u8]) {
        let Some(layer) = self.layer.as_mut().filter(|layer| !layer.has_alone(path)) else { return };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let is_plain = |root: BorrowedFd<'_>| walk::open_leaf(root, path, flags).is_ok();
        if is_plain(self.to) && is_plain(layer.root) {
            layer.new.push(path.to_vec());
        }
    }

    // Gives a file of the source its second name, if it is what the copy would be.
    fn link(&mut self, visit: &walk::Visit<'_>, target: &[u8]) -> io::Result<bool> {
        let wanted = self.owner(visit.stat);
        let has = (Some(Uid::from_raw(visit.stat.st_uid)), Some(Gid::from_raw(visit.stat.st_gid)));
        let mode = visit.stat.st_mode & 0o7777;
        if wanted != has || self.options.mode_of(visit.stat) != mode {
            return Ok(false);
        }
        let path = parts(target).join(&b'/');
        let Some(layer) = self.layer.as_mut().filter(|layer| layer.has_alone(&path)) else { return Ok(false) };
        if !layer.may_link(visit.stat)? {
            return Ok(false);
        }
        let (parent, name) = self.place(target)?;
        let made = make(parent.as_fd(), &name, || {
            rustix::fs::linkat(visit.parent, visit.leaf, &parent, &name[..], AtFlags::empty())
        });
        // Another file system, or too many names: then it is copied.
        Ok(made.is_ok())
    }

    // A further name of a file that was put somewhere already.
    fn name_again(&mut self, visit: &walk::Visit<'_>, target: &[u8]) -> io::Result<bool> {
        let Some(first) = self.several.get(&(visit.stat.st_dev, visit.stat.st_ino)).cloned() else { return Ok(false) };
        let (there, known) = self.place(&first)?;
        let (parent, name) = self.place(target)?;
        let made = make(parent.as_fd(), &name, || {
            rustix::fs::linkat(&there, &known[..], &parent, &name[..], AtFlags::empty())
        });
        // One is in the layer and one in the union, or there are too many names: then it is copied.
        Ok(made.is_ok())
    }

    /// Everything in a directory whose path in the source is `path`, to the directory `target`. If that is made, it has
    /// the source's times.
    ///
    /// # Errors
    /// Those of both file systems.
    pub fn contents(&mut self, directory: BorrowedFd<'_>, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.several.clear();
        let whole = parts(target).join(&b'/');
        let is_there = walk::open_in_root(self.base(&whole), &whole, OFlags::PATH).is_ok();
        self.directory(target, None)?;
        if !is_there {
            self.times.push((whole, times_of(&rustix::fs::fstat(directory)?)));
        }
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
        self.several.clear();
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
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.options.mode(mode, false)))?;
        rustix::fs::futimens(&file, &whole_second(modified))?;
        Ok(())
    }

    /// Gives directories their times; nothing may be copied after it.
    ///
    /// # Errors
    /// Those of the target's file system.
    pub fn finish(self) -> io::Result<()> {
        for (path, times) in self.times.iter().rev() {
            let directory = walk::open_in_root(self.base(path), path, OFlags::RDONLY | OFlags::DIRECTORY)?;
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
            FileType::RegularFile => {
                if !self.name_again(visit, target)? && !self.link(visit, target)? {
                    self.file(visit, target)?;
                }
                if visit.stat.st_nlink > 1 {
                    self.several.entry((visit.stat.st_dev, visit.stat.st_ino)).or_insert_with(|| target.to_vec());
                }
                Ok(())
            }
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
            let mode = Mode::from_raw_mode(self.options.mode_of(stat));
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
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.options.mode_of(visit.stat)))?;
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

    /// The directory `path` of the target, made with those above it where they are missing. A link to nothing is followed
    /// to where a directory is missing.
    ///
    /// # Errors
    /// Those of the target's file system; a file is not replaced by a directory.
    pub fn directory(&mut self, path: &[u8], like: Option<(&Stat, Option<BorrowedFd<'_>>)>) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let parts = parts(path);
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let whole = parts.join(&b'/');
        match walk::open_in_root(self.base(&whole), &whole, flags) {
            Err(error) if is_missing(&error) => {}
            other => return other,
        }
        let mut reached = walk::open_in_root(self.base(b""), b".", flags)?;
        for end in 1..=parts.len() {
            let so_far = parts[..end].join(&b'/');
            let base = self.base(&so_far);
            reached = match walk::open_in_root(base, &so_far, flags) {
                Ok(there) => there,
                Err(error) if is_missing(&error) => {
                    let leaf = parts[end - 1];
                    let like = if end == parts.len() { like } else { None };
                    match rustix::fs::mkdirat(&reached, leaf, Mode::from_raw_mode(0o755)) {
                        Ok(()) => {
                            let made = walk::open_leaf(reached.as_fd(), leaf, flags)?;
                            self.describe(made.as_fd(), &so_far, like)?;
                            self.is_new(&so_far);
                        }
                        // The kernel has said already that links do not go round in circles here.
                        Err(Errno::EXIST) => drop(self.directory(&walk::led(base, &so_far)?, like)?),
                        Err(error) => return Err(error.into()),
                    }
                    // What is made next is made where this directory is reached from now on.
                    walk::open_in_root(self.base(&so_far), &so_far, flags)?
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
                let mode = self.options.mode_of(stat);
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

pub(crate) fn times_of(stat: &Stat) -> Timestamps {
    let at = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    Timestamps { last_access: at, last_modification: at }
}

fn whole_second(seconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

/// The SHA-256 of a file's bytes by its path in the source, where it is known.
pub type KnownDigests<'d> = &'d dyn Fn(&[u8]) -> Option<[u8; 32]>;

/// What decides the digest of what would be copied: kinds, names, modes, owners and bytes, but no times.
pub struct TreeDigest<'d> {
    hash: &'d mut dyn FnMut(&[u8]),
    options: &'d CopyOptions<'d>,
    known: Option<KnownDigests<'d>>,
    buffer: Vec<u8>,
}

impl<'d> TreeDigest<'d> {
    /// Begins to feed `hash`.
    pub fn new(options: &'d CopyOptions<'d>, hash: &'d mut dyn FnMut(&[u8])) -> Self {
        Self { hash, options, known: None, buffer: vec![0; limits::CHUNK_BYTES] }
    }

    /// Files whose digests are known are not read.
    #[must_use]
    pub fn knowing(mut self, known: KnownDigests<'d>) -> Self {
        self.known = Some(known);
        self
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
            let from = join(path, visit.path);
            match (self.options.keep)(&from, visit.directory.is_some()) {
                Keep::No => Ok(false),
                Keep::OnlyBelow => Ok(true),
                Keep::Yes => {
                    self.visit(&visit, &from)?;
                    Ok(true)
                }
            }
        })
    }

    /// One name, as [`Copier::leaf`] would copy it; `path` is where it is in the source.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn leaf(&mut self, parent: BorrowedFd<'_>, leaf: &[u8], path: &[u8]) -> io::Result<()> {
        let Some(stat) = walk::stat_leaf(parent, leaf)? else { return Err(io::ErrorKind::NotFound.into()) };
        self.visit(&walk::Visit { parent, leaf, path: leaf, stat: &stat, directory: None, across: false }, path)
    }

    fn visit(&mut self, visit: &walk::Visit<'_>, path: &[u8]) -> io::Result<()> {
        let kind = walk::file_type(visit.stat);
        let mode = if kind == FileType::Symlink { 0 } else { self.options.mode_of(visit.stat) };
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
            FileType::RegularFile => {
                let known = self.known.and_then(|known| known(path));
                let digest = known.map_or_else(|| self.bytes_of(visit), Ok)?;
                (self.hash)(&digest);
            }
            _ => {}
        }
        Ok(())
    }

    fn bytes_of(&mut self, visit: &walk::Visit<'_>) -> io::Result<[u8; 32]> {
        let file = walk::open_leaf(visit.parent, visit.leaf, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let mut context = Context::new(&SHA256);
        loop {
            let count = rustix::io::read(&file, &mut self.buffer[..])?;
            if count == 0 {
                let mut digest = [0; 32];
                digest.copy_from_slice(context.finish().as_ref());
                return Ok(digest);
            }
            context.update(&self.buffer[..count]);
        }
    }
}
