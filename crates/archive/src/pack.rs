//! A tree of files becomes an archive: in lexical order, hard links kept, sockets left out.
//!
//! What an archive of an overlay's upper directory says about deleted files is the caller's matter
//! (`store::diff`); this module writes one thing after the other.

use std::{
    collections::HashMap,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{FileType, OFlags, Stat},
    io::Errno,
};

use crate::{
    Ids, limits,
    tar::{Entry, Kind, Time, Writer},
    walk::{self, Visit},
};

/// Why a tree could not be written as an archive.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("cannot read {path:?}")]
    Read { path: String, source: io::Error },
    #[error("cannot read the directory tree")]
    Walk(#[from] io::Error),
    /// The receiver has gone or its disk is full.
    #[error("cannot write the archive")]
    Write { source: io::Error },
}

/// Writes entries of a tree to an archive.
#[derive(Debug)]
pub struct Packer<W> {
    output: Writer<W>,
    /// First path of every file with more than one link.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    ids: Ids,
    /// Nobody else changes the tree meanwhile.
    settled: bool,
}

impl<W: Write> Packer<W> {
    /// Starts an archive.
    pub fn new(output: W) -> Self {
        Self {
            output: Writer::new(output),
            links: HashMap::new(),
            buffer: vec![0; limits::CHUNK_BYTES],
            ids: Ids::default(),
            settled: false,
        }
    }

    /// The same, of files whose owners' ids are shifted.
    #[must_use]
    pub fn with_ids(self, ids: Ids) -> Self {
        Self { ids, ..self }
    }

    /// Everything below `root`, under paths that begin with `prefix`.
    ///
    /// # Errors
    /// When a file cannot be read or the output fails.
    pub fn tree(&mut self, root: BorrowedFd<'_>, prefix: &[u8]) -> Result<(), PackError> {
        self.tree_across(root, prefix, |_| false)
    }

    /// The same, with what is mounted at those paths (relative to `root`) for which `crosses` says so.
    ///
    /// # Errors
    /// As [`Self::tree`].
    pub fn tree_across(
        &mut self,
        root: BorrowedFd<'_>,
        prefix: &[u8],
        crosses: impl Fn(&[u8]) -> bool,
    ) -> Result<(), PackError> {
        walk::tree_across(root, crosses, |visit| {
            let path = [prefix, visit.path].concat();
            self.visit(&visit, &path)?;
            Ok(true)
        })
    }

    /// One name of a walk, under `path`.
    ///
    /// # Errors
    /// As [`Self::tree`].
    pub fn visit(&mut self, visit: &Visit<'_>, path: &[u8]) -> Result<(), PackError> {
        let Some(mut entry) = describe(visit.stat, path) else { return Ok(()) };
        (entry.uid, entry.gid) = self.ids.inside((entry.uid, entry.gid));
        let read = |source| PackError::Read { path: entry_path(path), source };
        match entry.kind {
            Kind::Directory => {
                if let Some(directory) = visit.directory {
                    entry.xattrs = xattrs(directory).map_err(read)?;
                }
                self.entry(&entry)
            }
            Kind::Symlink => {
                entry.link = match rustix::fs::readlinkat(visit.parent, visit.leaf, Vec::new()) {
                    Ok(link) => link.into_bytes(),
                    // It has become something else since the look.
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                    Err(error) => return Err(read(error.into())),
                };
                self.first_or_link(entry, visit.stat).map(drop)
            }
            Kind::File => self.file(visit, entry),
            _ => self.first_or_link(entry, visit.stat).map(drop),
        }
    }

    /// A directory's own entry, under `path`.
    ///
    /// # Errors
    /// As [`Self::tree`].
    pub fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), PackError> {
        let read = |source| PackError::Read { path: entry_path(path), source };
        let stat = rustix::fs::fstat(directory).map_err(|error| read(error.into()))?;
        let Some(mut entry) = describe(&stat, path) else { return Ok(()) };
        (entry.uid, entry.gid) = self.ids.inside((entry.uid, entry.gid));
        entry.xattrs = xattrs(directory).map_err(read)?;
        self.entry(&entry)
    }

    /// One name that is no directory, under `path`; also where something is mounted over it.
    ///
    /// # Errors
    /// As [`Self::tree`].
    pub fn leaf(&mut self, parent: BorrowedFd<'_>, leaf: &[u8], path: &[u8]) -> Result<(), PackError> {
        let read = |source| PackError::Read { path: entry_path(path), source };
        let stat = walk::stat_leaf(parent, leaf).map_err(read)?;
        let stat =
            stat.ok_or_else(|| PackError::Read { path: entry_path(path), source: io::ErrorKind::NotFound.into() })?;
        self.visit(&Visit { parent, leaf, path, stat: &stat, directory: None, across: true }, path)
    }

    /// An entry without payload, as it is.
    ///
    /// # Errors
    /// Those of the output.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), PackError> {
        self.output.entry(entry).map_err(|source| PackError::Write { source })
    }

    /// An entry with its payload at hand.
    ///
    /// # Errors
    /// Those of the output.
    pub fn whole(&mut self, entry: &Entry, payload: &[u8]) -> Result<(), PackError> {
        self.output.whole(entry, payload).map_err(|source| PackError::Write { source })
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> Result<W, PackError> {
        self.output.finish().map_err(|source| PackError::Write { source })
    }

    // The second name of a file is a hard link to the first. Answers whether the entry's own form was written.
    fn first_or_link(&mut self, mut entry: Entry, stat: &Stat) -> Result<bool, PackError> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first);
                entry.size = 0;
                entry.xattrs.clear();
                self.entry(&entry)?;
                return Ok(false);
            }
            self.links.insert((stat.st_dev, stat.st_ino), entry.path.clone());
        }
        self.entry(&entry)?;
        Ok(true)
    }

    fn file(&mut self, visit: &Visit<'_>, mut entry: Entry) -> Result<(), PackError> {
        let path = entry.shown();
        let read = |source| PackError::Read { path: path.clone(), source };
        let opened = if self.settled {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            walk::open_leaf(visit.parent, visit.leaf, flags).map(|file| Some((file, *visit.stat)))
        } else {
            walk::open_file(visit.parent, visit.leaf, visit.across)
        };
        // It may have gone, or have become something else, between the look and the opening.
        let Some((file, stat)) = opened.map_err(read)? else { return Ok(()) };
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.xattrs = xattrs(file.as_fd()).map_err(read)?;
        if self.first_or_link(entry, &stat)? {
            self.content(file.as_fd(), &path)?;
        }
        Ok(())
    }

    // The header has said the size: a file that grows meanwhile is cut, one that shrinks is filled with zeros.
    fn content(&mut self, file: BorrowedFd<'_>, path: &str) -> Result<(), PackError> {
        while self.output.missing() > 0 {
            let most = usize::try_from(self.output.missing()).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = rustix::io::read(file, &mut self.buffer[..most])
                .map_err(|error| PackError::Read { path: path.to_owned(), source: error.into() })?;
            let count = if count == 0 {
                self.buffer[..most].fill(0);
                most
            } else {
                count
            };
            self.output.payload(&self.buffer[..count]).map_err(|source| PackError::Write { source })?;
        }
        Ok(())
    }
}

/// A directory that overlayfs wrote into, as a layer: its marks become OCI's whiteouts. `found` counts what is in it.
///
/// # Errors
/// When a file cannot be read or the output fails.
pub fn pack_layer<W: Write>(root: BorrowedFd<'_>, output: W, found: &mut crate::Unpacked) -> Result<W, PackError> {
    let mut packer = Packer { settled: true, ..Packer::new(output) };
    walk::tree(root, |visit| -> Result<bool, PackError> {
        found.entries += 1;
        let (above, leaf) = visit.path.split_at(visit.path.len() - visit.leaf.len());
        if walk::is_whiteout(visit.stat) {
            packer.entry(&Entry::new([above, b".wh.", leaf].concat(), Kind::File))?;
            return Ok(false);
        }
        if walk::file_type(visit.stat) == FileType::RegularFile {
            found.bytes += u64::try_from(visit.stat.st_size).unwrap_or(0);
        }
        packer.visit(&visit, visit.path)?;
        if visit.directory.is_some_and(walk::is_opaque) {
            packer.entry(&Entry::new([visit.path, b"/.wh..wh..opq"].concat(), Kind::File))?;
        }
        Ok(true)
    })?;
    packer.finish()
}

fn entry_path(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The header of what a `stat` describes; `None` for sockets, which tar does not know.
pub(crate) fn describe(stat: &Stat, path: &[u8]) -> Option<Entry> {
    let kind = match walk::file_type(stat) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        _ => return None,
    };
    let mut entry = Entry::new(path, kind);
    if kind == Kind::Directory && !path.ends_with(b"/") {
        entry.path.push(b'/');
    }
    entry.mode = stat.st_mode & 0o7777;
    entry.uid = stat.st_uid;
    entry.gid = stat.st_gid;
    // Whole seconds, as Docker's layers have them.
    entry.modified = Time { seconds: stat.st_mtime, nanoseconds: 0 };
    if matches!(kind, Kind::Character | Kind::Block) {
        entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    }
    Some(entry)
}

// File capabilities and what users set; labels of the host's security modules and overlayfs's own stay here.
pub(crate) fn xattrs(file: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0_u8; 4096];
    let length = loop {
        match rustix::fs::flistxattr(file, &mut list[..]) {
            Ok(length) => break length,
            Err(Errno::RANGE) if list.len() < limits::XATTR_BYTES_MAX => {
                list = vec![0; limits::XATTR_BYTES_MAX];
            }
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let mut found = Vec::new();
    for key in list[..length].split(|byte| *byte == 0) {
        let kept = key == b"security.capability" || (key.starts_with(b"user.") && !key.starts_with(b"user.overlay."));
        if !kept {
            continue;
        }
        let mut value = vec![0_u8; limits::XATTR_BYTES_MAX];
        if let Ok(length) = rustix::fs::fgetxattr(file, key, &mut value[..]) {
            value.truncate(length);
            found.push((key.to_vec(), value));
        }
    }
    found.sort_unstable();
    Ok(found)
}
