//! What a container changed, read off its upper directory: as Docker's list, and as a layer's tar.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
};

use rustix::fs::{FileType, OFlags, Stat};

use crate::{
    Change, ChangeKind,
    archive::{PackError, Unpacked, pack_layer, walk},
};

/// The upper directory as a layer: overlayfs's marks become OCI's whiteouts.
pub(super) fn pack<W: Write>(upper: &Path, output: W) -> Result<W, PackError> {
    let root = walk::open_trusted(upper)?;
    pack_layer(root.as_fd(), output, &mut Unpacked::default())
}

/// Docker's list, sorted by path: what is in `upper`, against `lowers` (top first).
pub(super) fn changes(upper: &Path, lowers: &[std::path::PathBuf]) -> io::Result<Vec<Change>> {
    let root = walk::open_trusted(upper)?;
    let lowers = lowers.iter().map(|path| walk::open_trusted(path)).collect::<io::Result<Vec<_>>>()?;
    let mut found: BTreeMap<Vec<u8>, ChangeKind> = BTreeMap::new();
    walk::tree(root.as_fd(), |visit| -> io::Result<bool> {
        if walk::is_whiteout(visit.stat) {
            note(&mut found, visit.path, ChangeKind::Deleted);
            return Ok(false);
        }
        let below = lookup(&lowers, visit.path)?;
        let kind = match &below {
            None => ChangeKind::Added,
            Some(old) if is_same_directory(old, visit.stat) => {
                // Only on the way to what changed; that will say so of its parents. An opaque one is new by itself.
                if visit.directory.is_some_and(walk::is_opaque) {
                    hidden(&lowers, visit.directory, visit.path, &mut found)?;
                }
                return Ok(true);
            }
            Some(_) => ChangeKind::Changed,
        };
        note(&mut found, visit.path, kind);
        if visit.directory.is_some_and(walk::is_opaque) {
            hidden(&lowers, visit.directory, visit.path, &mut found)?;
        }
        Ok(true)
    })?;
    let shown = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
    Ok(found.into_iter().map(|(path, kind)| Change { path: shown(&path), kind }).collect())
}

// A change of a path is a change of every directory above it, as Docker lists them.
fn note(found: &mut BTreeMap<Vec<u8>, ChangeKind>, path: &[u8], kind: ChangeKind) {
    for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        found.entry(path[..at].to_vec()).or_insert(ChangeKind::Changed);
    }
    found.insert(path.to_vec(), kind);
}

fn is_same_directory(old: &Stat, new: &Stat) -> bool {
    walk::file_type(old) == FileType::Directory
        && walk::file_type(new) == FileType::Directory
        && old.st_mode == new.st_mode
        && (old.st_uid, old.st_gid) == (new.st_uid, new.st_gid)
        && (old.st_mtime, old.st_mtime_nsec) == (new.st_mtime, new.st_mtime_nsec)
}

// What the merged lower layers show at `path`: the topmost layer that says anything of it decides.
fn lookup(lowers: &[rustix::fd::OwnedFd], path: &[u8]) -> io::Result<Option<Stat>> {
    for layer in lowers {
        let mut fd = layer.try_clone()?;
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        let mut hides_below = false;
        while let Some(part) = parts.next() {
            let Some(stat) = walk::stat_leaf(fd.as_fd(), part)? else { break };
            if walk::is_whiteout(&stat) {
                return Ok(None);
            }
            if parts.peek().is_none() {
                return Ok(Some(stat));
            }
            if walk::file_type(&stat) != FileType::Directory {
                return Ok(None);
            }
            fd = walk::open_leaf(fd.as_fd(), part, OFlags::RDONLY | OFlags::DIRECTORY)?;
            hides_below |= walk::is_opaque(fd.as_fd());
        }
        if hides_below {
            return Ok(None);
        }
    }
    Ok(None)
}

// Names of the lower layers that an opaque directory does not have again: the container deleted them.
fn hidden(
    lowers: &[rustix::fd::OwnedFd],
    directory: Option<rustix::fd::BorrowedFd<'_>>,
    path: &[u8],
    found: &mut BTreeMap<Vec<u8>, ChangeKind>,
) -> io::Result<()> {
    let Some(directory) = directory else { return Ok(()) };
    for layer in lowers {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(there) = walk::open_in_root(layer.as_fd(), path, flags | OFlags::NOFOLLOW) else { continue };
        for name in walk::names(there.as_fd())? {
            let whole = [path, b"/", name.to_bytes()].concat();
            let is_again = walk::stat_leaf(directory, name.to_bytes())?.is_some();
            if !is_again && lookup(lowers, &whole)?.is_some() {
                note(found, &whole, ChangeKind::Deleted);
            }
        }
    }
    Ok(())
}
