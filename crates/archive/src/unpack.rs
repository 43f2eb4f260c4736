//! An archive's entries become files below a directory.
//!
//! Layers go into a fresh private directory; whatever stands there already came from the same archive, and
//! whiteouts speak of the layers below (OCI image specification, "Whiteouts"): they become overlayfs's marks.
//! The order of attributes matters: `chown` clears set-id bits and capabilities, writing clears
//! capabilities, making an entry changes its directory's time. So: bytes, owner, mode, attributes, time, and
//! the times of directories last of all.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use hako_base::ErrorKind;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use crate::{
    Ids, limits,
    tar::{Entry, Kind, Reader, TarError, Time},
    walk,
};

/// What an archive is unpacked for.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// Names that begin with `.wh.` are whiteouts (layers), not files (root filesystems, copies).
    pub whiteouts: bool,
    /// Everything belongs to this user and group, whatever the archive says.
    pub owner: Option<(u32, u32)>,
    /// Where ids are shifted.
    pub ids: Ids,
    /// Refuse to put a directory in the place of something else, or the reverse (`docker cp`).
    pub keep_kind: bool,
    /// The directory below the root that the archive's paths begin at; links still lead where they lead from the root.
    /// It exists, and keeps its attributes whatever the archive says of `./`. Empty: the root itself.
    pub below: Vec<u8>,
    /// Whether directories that are file systems of their own may be entered.
    pub across: bool,
    /// What begins with the first gets the second in its place; `.` is the whole archive.
    pub rename: Option<(Vec<u8>, Vec<u8>)>,
}

impl UnpackOptions {
    fn owner_of(&self, entry: &Entry) -> (u32, u32) {
        self.ids.outside(self.owner.unwrap_or((entry.uid, entry.gid)))
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Default)]
pub struct Unpacked {
    /// Bytes in files.
    pub bytes: u64,
    pub entries: u64,
    /// Directories that the archive did not name but needed: their attributes are those of the layers below.
    pub implied: BTreeSet<Vec<u8>>,
    /// The layer hides everything below it.
    pub opaque_root: bool,
}

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("entry {path:?} lies outside of its root")]
    Escapes { path: String },
    #[error("entry {path:?} is a hard link to {target:?}, which lies outside of its root")]
    LinkEscapes { path: String, target: String },
    #[error("cannot overwrite {} {path:?} with {}", kind_word(*.was_directory), kind_word(!.was_directory))]
    KindDiffers { path: String, was_directory: bool },
    #[error("the archive has {what} beyond {limit}")]
    Limit { what: &'static str, limit: u64 },
    #[error("cannot {what} {path:?}")]
    Write { what: &'static str, path: String, source: io::Error },
}

fn kind_word(is_directory: bool) -> &'static str {
    if is_directory { "directory" } else { "non-directory" }
}

impl UnpackError {
    /// A bad archive is its sender's fault; a failing disk is not.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tar(error) => error.kind(),
            Self::Escapes { .. } | Self::LinkEscapes { .. } | Self::KindDiffers { .. } | Self::Limit { .. } => {
                ErrorKind::InvalidInput
            }
            // A link to what the archive does not have, a name with a file for its parent, a name too long.
            Self::Write { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::ISDIR | Errno::EXIST) => {
                    ErrorKind::InvalidInput
                }
                _ => ErrorKind::Internal,
            },
        }
    }
}

/// Hears what becomes of an archive's bytes.
pub(crate) trait Witness {
    /// What is taken from now on is all of the file at this path, which has no links in it.
    fn begin(&self, path: &[u8]);
    fn end(&self);
    /// What has this path makes room for another entry; answers the number that it gets.
    fn moved(&self, path: &[u8]) -> u64;
}

/// An unpacking that somebody listens to: nothing that came is removed.
#[derive(Clone, Copy)]
pub(crate) struct Watched<'a> {
    pub(crate) witness: &'a dyn Witness,
    /// What makes room is moved to [`ASIDE`] in here, by its number.
    pub(crate) beside: BorrowedFd<'a>,
}

/// The directory of what made room.
pub(crate) const ASIDE: &str = "aside";

/// Unpacks everything that `input` has below `root`.
///
/// # Errors
/// [`UnpackError`]; what was unpacked before it stays, for the caller to remove.
pub fn unpack<R: BufRead>(
    input: R,
    root: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<(Unpacked, R), UnpackError> {
    unpack_watched(input, root, options, None)
}

/// The same, and tells what becomes of what.
pub(crate) fn unpack_watched<R: BufRead>(
    input: R,
    root: BorrowedFd<'_>,
    options: &UnpackOptions,
    watched: Option<Watched<'_>>,
) -> Result<(Unpacked, R), UnpackError> {
    let mut unpacker = Unpacker {
        root,
        options,
        watched,
        parent: None,
        done: Unpacked::default(),
        directory_times: BTreeMap::new(),
        is_root_described: false,
    };
    let mut reader = Reader::new(input);
    while let Some(mut entry) = reader.next_entry()? {
        unpacker.done.entries += 1;
        if unpacker.done.entries > limits::LAYER_ENTRIES_MAX {
            return Err(UnpackError::Limit { what: "entries", limit: limits::LAYER_ENTRIES_MAX });
        }
        if let Some((from, to)) = &options.rename {
            renamed(&mut entry.path, from, to);
            if entry.kind == Kind::HardLink {
                renamed(&mut entry.link, from, to);
            }
        }
        unpacker.entry(&entry, &mut reader)?;
    }
    if !unpacker.is_root_described {
        unpacker.done.implied.insert(Vec::new());
    }
    unpacker.set_directory_times()?;
    Ok((unpacker.done, reader.into_inner()))
}

fn renamed(path: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let Some(parts) = walk::components(path) else { return };
    let Some(from) = walk::components(from) else { return };
    if let Some(rest) = parts.strip_prefix(&from[..]) {
        let whole: Vec<&[u8]> = std::iter::once(to).chain(rest.iter().copied()).collect();
        *path = whole.join(&b'/');
    }
}

struct Unpacker<'a> {
    root: BorrowedFd<'a>,
    options: &'a UnpackOptions,
    watched: Option<Watched<'a>>,
    /// The directory of the entry before, which is mostly also the next one's.
    parent: Option<Parent>,
    done: Unpacked,
    directory_times: BTreeMap<Vec<u8>, Time>,
    is_root_described: bool,
}

// A directory that entries go into.
struct Parent {
    path: Vec<u8>,
    fd: Rc<OwnedFd>,
    /// Its path without links, if somebody asks and the kernel can say it.
    real: Option<Vec<u8>>,
}

// Where an entry goes, and what its name says.
struct Place<'p> {
    parent: BorrowedFd<'p>,
    leaf: &'p [u8],
    entry: &'p Entry,
}

impl Place<'_> {
    fn error(&self, what: &'static str) -> impl FnOnce(io::Error) -> UnpackError {
        move |source| UnpackError::Write { what, path: self.entry.shown(), source }
    }
}

const OPAQUE: &str = "trusted.overlay.opaque";

impl Unpacker<'_> {
    fn entry<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), UnpackError> {
        let escapes = || UnpackError::Escapes { path: entry.shown() };
        let parts = walk::components(&entry.path).ok_or_else(escapes)?;
        let Some((leaf, parents)) = parts.split_last() else {
            return self.root_entry(entry);
        };
        let parent_path = self.below(&parents.join(&b'/'));
        if self.options.whiteouts && leaf.starts_with(b".wh.") {
            return self.whiteout(entry, &parent_path, &leaf[4..]);
        }
        self.enter(&parent_path, entry)?;
        let Some(Parent { fd, .. }) = &self.parent else { return Err(escapes()) };
        let fd = fd.clone();
        let place = Place { parent: fd.as_fd(), leaf, entry };
        match entry.kind {
            Kind::Directory => self.directory(&place, &self.below(&parts.join(&b'/')))?,
            Kind::File => self.file(&place, reader)?,
            Kind::HardLink => self.hard_link(&place)?,
            Kind::Symlink => self.symlink(&place)?,
            Kind::Character | Kind::Block | Kind::Fifo => self.node(&place)?,
        }
        Ok(())
    }

    // A path of the archive as one from the root.
    fn below(&self, path: &[u8]) -> Vec<u8> {
        match (&self.options.below[..], path) {
            (b"", path) => path.to_vec(),
            (below, b"") => below.to_vec(),
            (below, path) => [below, b"/", path].concat(),
        }
    }

    // `./` in an archive speaks of the root itself.
    fn root_entry(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::Escapes { path: entry.shown() });
        }
        if !self.options.below.is_empty() {
            return Ok(());
        }
        let fd = walk::open_in_root(self.root, b".", OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|source| UnpackError::Write { what: "open", path: entry.shown(), source })?;
        let place = Place { parent: self.root, leaf: b".", entry };
        self.attributes(fd.as_fd(), &place)?;
        self.directory_times.insert(Vec::new(), entry.modified);
        self.is_root_described = true;
        Ok(())
    }

    // Makes `self.parent` the directory `path`, with what is missing of it.
    fn enter(&mut self, path: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        if self.parent.as_ref().is_some_and(|known| known.path == path) {
            return Ok(());
        }
        let error = |what| move |source| UnpackError::Write { what, path: entry.shown(), source };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let fd = match walk::open_in_root(self.root, path, flags) {
            Ok(fd) => fd,
            // A whiteout, too, is not a directory.
            Err(missing) if matches!(missing.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.make_parents(path).map_err(error("make the directories of"))?;
                walk::open_in_root(self.root, path, flags).map_err(error("reach"))?
            }
            Err(other) => return Err(error("reach")(other)),
        };
        let real = self.real(path, fd.as_fd());
        self.parent = Some(Parent { path: path.to_vec(), fd: Rc::new(fd), real });
        Ok(())
    }

    // The path of a directory without the links that led there.
    fn real(&self, path: &[u8], directory: BorrowedFd<'_>) -> Option<Vec<u8>> {
        self.watched?;
        if path.is_empty() || walk::open_leaf(self.root, path, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
            return Some(path.to_vec());
        }
        let place = |fd| rustix::fs::readlink(walk::through_proc(fd, None), Vec::new()).ok();
        let (root, real) = (place(self.root)?, place(directory)?);
        let below = real.as_bytes().strip_prefix(root.as_bytes())?;
        Some(below.strip_prefix(b"/").unwrap_or(below).to_vec())
    }

    // The path, without links, of what is in the present directory.
    fn real_leaf(&self, leaf: &[u8]) -> Option<Vec<u8>> {
        match self.parent.as_ref()?.real.as_deref()? {
            b"" => Some(leaf.to_vec()),
            above => Some([above, b"/", leaf].concat()),
        }
    }

    fn make_parents(&mut self, path: &[u8]) -> io::Result<()> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let part = &path[..end];
            let missing = match walk::open_in_root(self.root, part, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(_) => continue,
                Err(error) => error,
            };
            let (above, leaf) = match part.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => (&part[..slash], &part[slash + 1..]),
                None => (&b""[..], part),
            };
            let above = walk::open_in_root(self.root, above, OFlags::PATH | OFlags::DIRECTORY)?;
            let there = walk::stat_leaf(above.as_fd(), leaf)?;
            let opaque = self.options.whiteouts && there.as_ref().is_some_and(walk::is_whiteout);
            if opaque {
                rustix::fs::unlinkat(&above, leaf, AtFlags::empty())?;
            } else if there.is_some() {
                return Err(missing);
            }
            rustix::fs::mkdirat(&above, leaf, Mode::from_raw_mode(0o755))?;
            let made = walk::open_leaf(above.as_fd(), leaf, OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
            if opaque {
                rustix::fs::fsetxattr(&made, OPAQUE, b"y", XattrFlags::empty())?;
            } else {
                self.done.implied.insert(part.to_vec());
            }
        }
        Ok(())
    }

    // Makes the entry; mostly nothing stands in its way, so that is looked at only if making it fails.
    fn make<T>(
        &mut self,
        place: &Place<'_>,
        what: &'static str,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let made = match make() {
            Err(Errno::EXIST) => {
                self.make_room(place)?;
                make()
            }
            other => other,
        };
        made.map_err(|error| place.error(what)(error.into()))
    }

    // Removes what stands in the entry's way, unless both are directories, and says whether it was a whiteout.
    fn make_room(&mut self, place: &Place<'_>) -> Result<bool, UnpackError> {
        let Some(stat) = walk::stat_leaf(place.parent, place.leaf).map_err(place.error("look at"))? else {
            return Ok(false);
        };
        let was_directory = walk::file_type(&stat) == FileType::Directory;
        let is_directory = place.entry.kind == Kind::Directory;
        if was_directory && is_directory {
            return Ok(false);
        }
        if self.options.keep_kind && was_directory != is_directory {
            return Err(UnpackError::KindDiffers { path: place.entry.shown(), was_directory });
        }
        match self.watched {
            Some(watched) => self.move_aside(watched, place, &stat)?,
            None => walk::remove_tree(place.parent, place.leaf).map_err(place.error("replace"))?,
        }
        if was_directory {
            self.forget_below(&place.entry.path);
        }
        Ok(self.options.whiteouts && walk::is_whiteout(&stat))
    }

    // What is replaced is still part of the archive.
    fn move_aside(&self, watched: Watched<'_>, place: &Place<'_>, stat: &Stat) -> Result<(), UnpackError> {
        let failed = |error: Errno| place.error("replace")(error.into());
        if !matches!(walk::file_type(stat), FileType::RegularFile | FileType::Directory) {
            return rustix::fs::unlinkat(place.parent, place.leaf, AtFlags::empty()).map_err(failed);
        }
        let path = self.real_leaf(place.leaf).ok_or_else(|| failed(Errno::NAMETOOLONG))?;
        let number = watched.witness.moved(&path);
        if number > limits::REPLACED_MAX {
            return Err(UnpackError::Limit { what: "entries that replace others", limit: limits::REPLACED_MAX });
        }
        match rustix::fs::mkdirat(watched.beside, ASIDE, Mode::RWXU) {
            Err(Errno::EXIST) | Ok(()) => {}
            Err(error) => return Err(failed(error)),
        }
        let aside = walk::open_leaf(watched.beside, ASIDE.as_bytes(), OFlags::PATH | OFlags::DIRECTORY)
            .map_err(place.error("replace"))?;
        rustix::fs::renameat(place.parent, place.leaf, &aside, number.to_string()).map_err(failed)
    }

    // A directory went: nothing that was remembered of it may be used for its successor.
    fn forget_below(&mut self, path: &[u8]) {
        self.parent = None;
        let Some(gone) = walk::components(path).map(|parts| self.below(&parts.join(&b'/'))) else { return };
        // Everything between `gone/` and `gone0`, the next byte after the slash; no scan, since a hostile archive could
        // have a million directories and replace as many.
        let (from, to) = ([&gone[..], b"/"].concat(), [&gone[..], b"0"].concat());
        self.directory_times.remove(&gone);
        self.done.implied.remove(&gone);
        while let Some(path) = self.directory_times.range(from.clone()..to.clone()).next().map(|(path, _)| path.clone())
        {
            self.directory_times.remove(&path);
        }
        while let Some(path) = self.done.implied.range(from.clone()..to.clone()).next().cloned() {
            self.done.implied.remove(&path);
        }
    }

    fn whiteout(&mut self, entry: &Entry, parent: &[u8], hidden: &[u8]) -> Result<(), UnpackError> {
        if hidden == b".wh..opq" {
            return self.opaque(entry, parent);
        }
        // Other names that begin with `.wh..wh.` are AUFS's own book-keeping; `.wh...` would hide `..`.
        if hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(UnpackError::Escapes { path: entry.shown() });
        }
        self.enter(parent, entry)?;
        let Some(Parent { fd, .. }) = &self.parent else { return Ok(()) };
        let place = Place { parent: fd.as_fd(), leaf: hidden, entry };
        match walk::stat_leaf(place.parent, hidden).map_err(place.error("look at"))? {
            // The layer has its own: the whiteout speaks of the one below, which a directory would show through.
            Some(stat) if walk::file_type(&stat) == FileType::Directory => {
                let directory = walk::open_leaf(place.parent, hidden, OFlags::RDONLY | OFlags::DIRECTORY)
                    .map_err(place.error("open"))?;
                set_opaque(directory.as_fd()).map_err(place.error("hide what is below"))
            }
            Some(_) => Ok(()),
            None => rustix::fs::mknodat(place.parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(io::Error::from)
                .and_then(|()| set_whiteouts(place.parent))
                .map_err(place.error("make the whiteout")),
        }
    }

    fn opaque(&mut self, entry: &Entry, directory: &[u8]) -> Result<(), UnpackError> {
        let error = |what| move |source| UnpackError::Write { what, path: entry.shown(), source };
        self.enter(directory, entry)?;
        if directory.is_empty() {
            // overlayfs always merges the roots of its layers: the stack has to be cut there instead.
            self.done.opaque_root = true;
            return Ok(());
        }
        let fd = walk::open_in_root(self.root, directory, OFlags::RDONLY | OFlags::DIRECTORY).map_err(error("open"))?;
        set_opaque(fd.as_fd()).map_err(error("hide what is below"))
    }

    fn directory(&mut self, place: &Place<'_>, path: &[u8]) -> Result<(), UnpackError> {
        let make = || rustix::fs::mkdirat(place.parent, place.leaf, Mode::from_raw_mode(place.entry.mode & 0o777));
        let mut was_whiteout = false;
        let made = match make() {
            Err(Errno::EXIST) => {
                was_whiteout = self.make_room(place)?;
                make()
            }
            other => other,
        };
        match made {
            // One that is there already only gets its attributes.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(place.error("make the directory")(error.into())),
        }
        let open = if self.options.across { walk::open_leaf_across } else { walk::open_leaf };
        let fd = open(place.parent, place.leaf, OFlags::RDONLY | OFlags::DIRECTORY).map_err(place.error("open"))?;
        self.attributes(fd.as_fd(), place)?;
        if was_whiteout {
            set_opaque(fd.as_fd()).map_err(place.error("hide what is below"))?;
        }
        self.done.implied.remove(path);
        self.directory_times.insert(path.to_vec(), place.entry.modified);
        Ok(())
    }

    fn file<R: BufRead>(&mut self, place: &Place<'_>, reader: &mut Reader<R>) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(place.entry.mode & 0o777);
        let file = self.make(place, "create", || rustix::fs::openat(place.parent, place.leaf, flags, mode))?;
        // The payload of a sparse file is not what the file has.
        let is_whole = place.entry.sparse.is_none() && place.entry.size > 0;
        let watched = self.watched.filter(|_| is_whole).zip(self.real_leaf(place.leaf));
        if let Some((watched, path)) = &watched {
            watched.witness.begin(path);
        }
        let length = self.payload(&file, place, reader)?;
        if let Some((watched, _)) = &watched {
            watched.witness.end();
        }
        self.done.bytes += length;
        if self.done.bytes > limits::LAYER_BYTES_MAX {
            return Err(UnpackError::Limit { what: "bytes", limit: limits::LAYER_BYTES_MAX });
        }
        self.attributes(file.as_fd(), place)?;
        rustix::fs::futimens(&file, &times(place.entry.modified))
            .map_err(|error| place.error("set the time of")(error.into()))
    }

    // Writes the payload, holes and all; answers the file's length.
    fn payload<R: BufRead>(
        &self,
        file: &OwnedFd,
        place: &Place<'_>,
        reader: &mut Reader<R>,
    ) -> Result<u64, UnpackError> {
        let entry = place.entry;
        let Some(sparse) = &entry.sparse else {
            reader.copy_payload(|chunk| write_all(file, chunk).map_err(place.error("write")))?;
            return Ok(entry.size);
        };
        rustix::fs::ftruncate(file, sparse.length).map_err(|error| place.error("size")(error.into()))?;
        let mut pieces = sparse.pieces.iter().copied();
        let mut piece = (0, 0);
        reader.copy_payload(|mut chunk| {
            while !chunk.is_empty() {
                if piece.1 == 0 {
                    piece = pieces.next().unwrap_or((sparse.length, chunk.len() as u64));
                }
                let count = chunk.len().min(usize::try_from(piece.1).unwrap_or(usize::MAX));
                write_all_at(file, &chunk[..count], piece.0).map_err(place.error("write"))?;
                piece = (piece.0 + count as u64, piece.1 - count as u64);
                chunk = &chunk[count..];
            }
            Ok::<(), UnpackError>(())
        })?;
        Ok(sparse.length)
    }

    fn hard_link(&mut self, place: &Place<'_>) -> Result<(), UnpackError> {
        let outside = || UnpackError::LinkEscapes { path: place.entry.shown(), target: shown(&place.entry.link) };
        let parts = walk::components(&place.entry.link).ok_or_else(outside)?;
        let (leaf, parents) = parts.split_last().ok_or_else(outside)?;
        let above = walk::open_in_root(self.root, &self.below(&parents.join(&b'/')), OFlags::PATH | OFlags::DIRECTORY)
            .map_err(place.error("find the target of the hard link"))?;
        let link = || rustix::fs::linkat(&above, *leaf, place.parent, place.leaf, AtFlags::empty());
        self.make(place, "make the hard link", link)
    }

    // Where a link leads is its reader's matter: nothing here ever follows it out of the root.
    fn symlink(&mut self, place: &Place<'_>) -> Result<(), UnpackError> {
        let entry = place.entry;
        self.make(place, "make the link", || rustix::fs::symlinkat(&entry.link[..], place.parent, place.leaf))?;
        let (uid, gid) = self.options.owner_of(entry);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(place.parent, place.leaf, uid, gid, flags)
            .map_err(|error| place.error("set the owner of")(error.into()))?;
        for (key, value) in wanted_xattrs(entry) {
            let path = walk::through_proc(place.parent, Some(place.leaf));
            allow(rustix::fs::lsetxattr(path, key, value, XattrFlags::empty()))
                .map_err(place.error("set the extended attributes of"))?;
        }
        rustix::fs::utimensat(place.parent, place.leaf, &times(entry.modified), flags)
            .map_err(|error| place.error("set the time of")(error.into()))
    }

    fn node(&mut self, place: &Place<'_>) -> Result<(), UnpackError> {
        let entry = place.entry;
        let kind = match entry.kind {
            Kind::Character => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        let mode = Mode::RUSR | Mode::WUSR;
        self.make(place, "make the node", || rustix::fs::mknodat(place.parent, place.leaf, kind, mode, device))?;
        let fd = walk::open_leaf(place.parent, place.leaf, OFlags::PATH).map_err(place.error("open"))?;
        let (uid, gid) = self.options.owner_of(entry);
        let path = walk::through_proc(fd.as_fd(), None);
        rustix::fs::chownat(&fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
            .map_err(|error| place.error("set the owner of")(error.into()))?;
        rustix::fs::chmod(&path[..], Mode::from_raw_mode(entry.mode))
            .map_err(|error| place.error("set the mode of")(error.into()))?;
        for (key, value) in wanted_xattrs(entry) {
            allow(rustix::fs::setxattr(&path[..], key, value, XattrFlags::empty()))
                .map_err(place.error("set the extended attributes of"))?;
        }
        rustix::fs::utimensat(place.parent, place.leaf, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| place.error("set the time of")(error.into()))
    }

    // Owner, then mode (which `chown` would clear), then attributes (which it would clear as well).
    fn attributes(&self, fd: BorrowedFd<'_>, place: &Place<'_>) -> Result<(), UnpackError> {
        let entry = place.entry;
        let (uid, gid) = self.options.owner_of(entry);
        // A look is cheaper than a change, which goes through the file system's journal even where nothing changes.
        let stat = rustix::fs::fstat(fd).map_err(|error| place.error("look at")(error.into()))?;
        let is_owner = (stat.st_uid, stat.st_gid) == (uid, gid);
        if !is_owner {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|error| place.error("set the owner of")(error.into()))?;
        }
        if !is_owner || stat.st_mode & 0o7777 != entry.mode {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
                .map_err(|error| place.error("set the mode of")(error.into()))?;
        }
        for (key, value) in wanted_xattrs(entry) {
            allow(rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty()))
                .map_err(place.error("set the extended attributes of"))?;
        }
        Ok(())
    }

    fn set_directory_times(&mut self) -> Result<(), UnpackError> {
        for (path, time) in std::mem::take(&mut self.directory_times) {
            let error = |source| UnpackError::Write { what: "set the time of", path: shown(&path), source };
            let fd = walk::open_in_root(self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(error)?;
            let error = |source| UnpackError::Write { what: "set the time of", path: shown(&path), source };
            rustix::fs::futimens(&fd, &times(time)).map_err(|source| error(source.into()))?;
        }
        Ok(())
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

// Where no layer below has a directory, overlayfs lists what is in it as it is, whiteouts too (as names that nothing
// stands for), unless it has this attribute, which it gives to what it copies up itself.
fn set_whiteouts(directory: BorrowedFd<'_>) -> io::Result<()> {
    let directory = walk::open_leaf(directory, b".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    Ok(rustix::fs::fsetxattr(directory, "trusted.overlay.origin", b"", XattrFlags::empty())?)
}

fn set_opaque(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())?)
}

// overlayfs trusts its own attributes (redirect, metacopy, opaque …): an archive may not set them.
fn wanted_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let wanted = |key: &[u8]| !key.starts_with(b"trusted.overlay.") && !key.starts_with(b"user.overlay.");
    entry
        .xattrs
        .iter()
        .filter(move |(key, _)| wanted(key) && !key.contains(&0))
        .map(|(key, value)| (&key[..], &value[..]))
}

// A file system that does not keep attributes, or may not here (user namespaces), is no error (as in Docker).
fn allow(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn times(time: Time) -> Timestamps {
    let at = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: at, last_modification: at }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
