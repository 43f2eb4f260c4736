//! Walking below a directory by descriptor, never by a path from the host's root.
//!
//! A directory's own contents decide where its links lead, and they are somebody else's. Every path is
//! resolved by the kernel with `RESOLVE_IN_ROOT`: `..` and links stop at the root (class A of the container
//! CVEs: docker cp, containerd unpack, buildah, …).

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use crate::limits;

/// Opens a directory of the engine's own (its path is trusted).
pub fn open_trusted(path: &std::path::Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens `path` as if `root` were `/`.
pub fn open_in_root(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    retry(|| rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// Opens `leaf`, which is a single name, without following it and without leaving the file system.
pub fn open_leaf(parent: BorrowedFd<'_>, leaf: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    retry(|| rustix::fs::openat2(parent, leaf, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// As [`open_leaf`], also where another file system is mounted.
pub fn open_leaf_across(parent: BorrowedFd<'_>, leaf: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    retry(|| rustix::fs::openat2(parent, leaf, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// Opens `leaf` for reading if it is a regular file; `None` if it is not. Nothing else is opened even for a moment: a
/// process that swaps a file for a device must not have it opened by somebody who may.
pub fn open_file(parent: BorrowedFd<'_>, leaf: &[u8], across: bool) -> io::Result<Option<(OwnedFd, Stat)>> {
    let open = if across { open_leaf_across } else { open_leaf };
    let place = match open(parent, leaf, OFlags::PATH) {
        Ok(place) => place,
        // It has just been removed, or something is mounted there that is not wanted.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::XDEV)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&place)?;
    if file_type(&stat) != FileType::RegularFile {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(Some((rustix::fs::open(through_proc(place.as_fd(), None), flags, Mode::empty())?, stat)))
}

// The kernel answers EAGAIN when a rename elsewhere raced with the walk (openat2(2)).
fn retry(mut open: impl FnMut() -> Result<OwnedFd, Errno>) -> io::Result<OwnedFd> {
    for _ in 0..100 {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// What `leaf` is, itself; `None` if it is not there.
pub fn stat_leaf(parent: BorrowedFd<'_>, leaf: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(parent, leaf, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a path leads when its last part is a link, or a link to one; what it names in the end need not be there.
///
/// # Errors
/// Those of the file system, and links that lead round in circles.
pub fn led(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Vec<u8>> {
    let mut path = path.to_vec();
    for _ in 0..limits::LINKS_MAX {
        let end = path.iter().rposition(|byte| *byte == b'/');
        let (above, leaf) = end.map_or((&path[..0], &path[..]), |end| (&path[..end], &path[end + 1..]));
        match leaf {
            // Only the kernel knows what is above a directory that a link may lead to; but here it must not say so.
            b"" | b"." | b".." => return Ok(within(&path)),
            _ => {}
        }
        let parent = match open_in_root(root, above, OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(path);
            }
            other => other?,
        };
        let is_link = |stat: &Stat| file_type(stat) == FileType::Symlink;
        if !stat_leaf(parent.as_fd(), leaf)?.as_ref().is_some_and(is_link) {
            return Ok(path);
        }
        let link = rustix::fs::readlinkat(&parent, leaf, Vec::new())?.into_bytes();
        path = if link.starts_with(b"/") { link } else { [above, b"/", &link[..]].concat() };
    }
    Err(Errno::LOOP.into())
}

// `.` and `..` taken out; nothing is above the root.
fn within(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join(&b'/')
}

/// Adds the numbers of everything below a directory that is no directory itself: quickly, since nothing is looked at.
///
/// # Errors
/// Those of the file system.
pub fn numbers(root: BorrowedFd<'_>, into: &mut std::collections::HashSet<u64>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut levels = vec![numbered(open_leaf(root, b".", flags)?, into)?];
    while let Some((directory, below)) = levels.last_mut() {
        let Some(name) = below.pop() else {
            levels.pop();
            continue;
        };
        let next = open_leaf(directory.as_fd(), name.to_bytes(), flags)?;
        if levels.len() >= limits::TREE_DEPTH_MAX {
            return Err(too_deep());
        }
        levels.push(numbered(next, into)?);
    }
    Ok(())
}

// A directory, and those in it.
fn numbered(directory: OwnedFd, into: &mut std::collections::HashSet<u64>) -> io::Result<(OwnedFd, Vec<CString>)> {
    let mut below = Vec::new();
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            // Not every file system says it in its directories.
            FileType::Unknown => stat_leaf(directory.as_fd(), name.to_bytes())?.as_ref().map(file_type),
            known => Some(known),
        };
        match kind {
            Some(FileType::Directory) => below.push(name.to_owned()),
            _ => drop(into.insert(entry.ino())),
        }
    }
    Ok((directory, below))
}

fn too_deep() -> io::Error {
    io::Error::other(format!("directories are nested deeper than {}", limits::TREE_DEPTH_MAX))
}

/// The type bits of a `stat`.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether a `stat` is overlayfs's mark for "deleted": a character device 0:0.
pub fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether the kernel would show nothing of lower layers in this directory.
pub fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0_u8; 4];
    rustix::fs::fgetxattr(directory, "trusted.overlay.opaque", &mut value[..])
        .is_ok_and(|length| length == 1 && value[0] == b'y')
}

/// Splits a tar's path into its components, `.` and `..` taken out lexically as Docker does.
/// `None` when it climbs above its start.
pub fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts)
}

/// A path by which calls that take none but paths (`lsetxattr`, `chmod` of a device) reach what `fd` is.
/// It leads through procfs of this process only and nothing in it can be exchanged by another.
pub fn through_proc(fd: BorrowedFd<'_>, leaf: Option<&[u8]>) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
    if let Some(leaf) = leaf {
        path.push(b'/');
        path.extend_from_slice(leaf);
    }
    path
}

/// The names in a directory, sorted; it needs a descriptor that can be read.
pub fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// One directory that a walk stands in.
#[derive(Debug)]
struct Level {
    fd: OwnedFd,
    names: std::vec::IntoIter<CString>,
    path_length: usize,
}

/// What a walk shows of one name.
pub struct Visit<'a> {
    pub parent: BorrowedFd<'a>,
    pub leaf: &'a [u8],
    /// Relative to where the walk began.
    pub path: &'a [u8],
    pub stat: &'a Stat,
    /// The directory itself, open for reading, where it is one.
    pub directory: Option<BorrowedFd<'a>>,
    /// Whether what is mounted there is wanted.
    pub across: bool,
}

/// Visits everything below `root` in lexical order, directories before what is in them.
/// What vanishes meanwhile is passed over, and so is what is mounted. `visit` says whether to go into a directory.
pub fn tree<E: From<io::Error>>(
    root: BorrowedFd<'_>,
    visit: impl FnMut(Visit<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    tree_across(root, |_| false, visit)
}

/// As [`tree`], and into what is mounted at those paths (relative to `root`) for which `crosses` says so.
pub fn tree_across<E: From<io::Error>>(
    root: BorrowedFd<'_>,
    crosses: impl Fn(&[u8]) -> bool,
    mut visit: impl FnMut(Visit<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    let fd = open_leaf(root, b".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let first = names(fd.as_fd())?;
    let mut path = Vec::new();
    let mut levels = vec![Level { fd, names: first.into_iter(), path_length: 0 }];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.path_length);
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let Some(stat) = stat_leaf(level.fd.as_fd(), name.to_bytes())? else { continue };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let (parent, across) = (level.fd.as_fd(), crosses(&path));
        let leaf = name.to_bytes();
        if file_type(&stat) != FileType::Directory {
            visit(Visit { parent, leaf, path: &path, stat: &stat, directory: None, across })?;
            continue;
        }
        let open = if across { open_leaf_across } else { open_leaf };
        let fd = match open(parent, leaf, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(error) => match Errno::from_io_error(&error) {
                // Another file system is mounted there.
                Some(Errno::XDEV) => {
                    visit(Visit { parent, leaf, path: &path, stat: &stat, directory: None, across })?;
                    continue;
                }
                // It has just been removed, or replaced by something else.
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                _ => return Err(error.into()),
            },
        };
        let directory = Some(fd.as_fd());
        if visit(Visit { parent, leaf, path: &path, stat: &stat, directory, across })? {
            if levels.len() >= limits::TREE_DEPTH_MAX {
                return Err(too_deep().into());
            }
            let below = names(fd.as_fd())?;
            levels.push(Level { fd, names: below.into_iter(), path_length: path.len() });
        }
    }
    Ok(())
}

/// Removes `leaf` and everything below it.
pub fn remove_tree(parent: BorrowedFd<'_>, leaf: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, leaf, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // `remove_dir_all` walks by descriptors from its starting point and follows no link.
    let path = PathBuf::from(std::ffi::OsString::from_vec(through_proc(parent, Some(leaf))));
    fs::remove_dir_all(path)
}

use std::os::unix::ffi::OsStringExt;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_climb_have_no_components() {
        let shown = |path: &str| {
            components(path.as_bytes())
                .map(|parts| parts.iter().map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join("/"))
        };
        for (path, expected) in [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a/../b", Some("b")),
            ("", Some("")),
            ("../a", None),
            ("a/../../b", None),
            ("/..", None),
        ] {
            assert_eq!(shown(path).as_deref(), expected, "{path}");
        }
    }
}
