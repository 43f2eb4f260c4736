//! One tree made like another by touching nothing but what differs: written above `lower`, what was touched is the layer
//! that leads to `upper`.
//!
//! ```text
//!   lower ─┐
//!          ├─► Differences (paths) ─► applied to a writable view of lower ─► upper
//!   upper ─┘
//! ```
//! Both trees belong to somebody else: they are walked by descriptor, and no link is followed. What differs is what
//! BuildKit calls so (merge-diff.md): kind, mode, owner, extended attributes, time of the last change, and bytes; those
//! are compared even if all else is the same, for times of images are often all the same.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags},
    io::Errno,
};

use crate::{Copier, CopyOptions, Keep, copy::times_of, limits, pack::xattrs, walk};

/// Makes `to`, which shows what `lower` has, show what `upper` has.
///
/// # Errors
/// Those of the file systems.
pub fn align(to: BorrowedFd<'_>, lower: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> io::Result<()> {
    let mut differences = Differences::default();
    differences.look_at_upper(lower, upper)?;
    differences.look_at_lower(lower, upper)?;
    differences.apply(to, upper)
}

/// Paths below the roots.
#[derive(Debug, Default)]
struct Differences {
    /// What goes, the topmost of each tree.
    gone: Vec<Vec<u8>>,
    /// What comes, or comes anew.
    new: BTreeSet<Vec<u8>>,
    /// Directories of both that are to look as they do in `upper`.
    described: BTreeSet<Vec<u8>>,
}

impl Differences {
    fn look_at_upper(&mut self, lower: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> io::Result<()> {
        let mut old = Looker::new(lower);
        walk::tree(upper, |visit| -> io::Result<bool> {
            if walk::is_whiteout(visit.stat) {
                return Ok(false);
            }
            let Some((parent, stat)) = old.stat(visit.path)? else {
                self.comes(visit.path);
                return Ok(true);
            };
            match (walk::file_type(&stat) == FileType::Directory, visit.directory) {
                (true, Some(directory)) => {
                    let below = walk::open_leaf(parent, visit.leaf, OFlags::RDONLY | OFlags::DIRECTORY)?;
                    if !is_described_alike(&stat, visit.stat) || !has_same_xattrs(below.as_fd(), directory)? {
                        self.described.insert(visit.path.to_vec());
                    }
                }
                (false, None) => {
                    if !is_same((parent, visit.leaf, &stat), (visit.parent, visit.leaf, visit.stat))? {
                        self.comes(visit.path);
                    }
                }
                _ => {
                    self.gone.push(visit.path.to_vec());
                    self.comes(visit.path);
                }
            }
            Ok(true)
        })
    }

    fn look_at_lower(&mut self, lower: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> io::Result<()> {
        let mut new = Looker::new(upper);
        walk::tree(lower, |visit| -> io::Result<bool> {
            if walk::is_whiteout(visit.stat) {
                return Ok(false);
            }
            let found = new.stat(visit.path)?;
            if found.is_none() {
                self.gone.push(visit.path.to_vec());
                self.described.insert(above(visit.path).to_vec());
            }
            let is_directory = |(_, stat): (_, Stat)| walk::file_type(&stat) == FileType::Directory;
            Ok(found.is_some_and(is_directory))
        })
    }

    // What is put into a directory changes its time.
    fn comes(&mut self, path: &[u8]) {
        self.new.insert(path.to_vec());
        if !self.new.contains(above(path)) {
            self.described.insert(above(path).to_vec());
        }
    }

    fn apply(&self, to: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> io::Result<()> {
        for path in &self.gone {
            let parent = open_directory(to, above(path))?;
            let leaf = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
            walk::remove_tree(parent.as_fd(), leaf)?;
        }
        let keep = |path: &[u8], is_directory: bool| match (self.new.contains(path), is_directory) {
            (true, _) => Keep::Yes,
            (false, true) => Keep::OnlyBelow,
            (false, false) => Keep::No,
        };
        let options = CopyOptions { owner: None, mode: None, keep: &keep };
        let mut copier = Copier::new(to, &options);
        copier.contents(upper, b"", b"")?;
        copier.finish()?;
        for path in self.described.iter().rev() {
            describe(open_directory(to, path)?.as_fd(), open_directory(upper, path)?.as_fd())?;
        }
        Ok(())
    }
}

/// Looks paths up below a root; the directory of the one before is mostly that of the next.
struct Looker<'r> {
    root: BorrowedFd<'r>,
    parent: Option<(Vec<u8>, Option<OwnedFd>)>,
}

impl<'r> Looker<'r> {
    fn new(root: BorrowedFd<'r>) -> Self {
        Self { root, parent: None }
    }

    // What a path is, and the directory that it is in; nothing behind a link.
    fn stat(&mut self, path: &[u8]) -> io::Result<Option<(BorrowedFd<'_>, Stat)>> {
        let wanted = above(path);
        if self.parent.as_ref().is_none_or(|(known, _)| known != wanted) {
            let opened = match open_directory(self.root, wanted) {
                Ok(opened) => Some(opened),
                Err(error) if is_elsewhere(&error) => None,
                Err(error) => return Err(error),
            };
            self.parent = Some((wanted.to_vec(), opened));
        }
        let Some((_, Some(parent))) = &self.parent else { return Ok(None) };
        let leaf = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let stat = walk::stat_leaf(parent.as_fd(), leaf)?.filter(|stat| !walk::is_whiteout(stat));
        Ok(stat.map(|stat| (parent.as_fd(), stat)))
    }
}

fn is_elsewhere(error: &io::Error) -> bool {
    // The last is what a link in the way says.
    let all = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    all.iter().any(|one| error.raw_os_error() == Some(one.raw_os_error()))
}

fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    walk::open_leaf(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn above(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |end| &path[..end])
}

fn is_described_alike(one: &Stat, other: &Stat) -> bool {
    one.st_mode == other.st_mode
        && (one.st_uid, one.st_gid) == (other.st_uid, other.st_gid)
        && (one.st_mtime, one.st_mtime_nsec) == (other.st_mtime, other.st_mtime_nsec)
}

type Leaf<'l> = (BorrowedFd<'l>, &'l [u8], &'l Stat);

fn is_same(one: Leaf<'_>, other: Leaf<'_>) -> io::Result<bool> {
    if !is_described_alike(one.2, other.2) {
        return Ok(false);
    }
    match walk::file_type(one.2) {
        FileType::RegularFile if one.2.st_size != other.2.st_size => Ok(false),
        FileType::RegularFile => {
            let open = |leaf: Leaf<'_>| walk::open_leaf(leaf.0, leaf.1, OFlags::RDONLY | OFlags::NONBLOCK);
            let (one, other) = (open(one)?, open(other)?);
            Ok(has_same_xattrs(one.as_fd(), other.as_fd())? && has_same_bytes(&one, &other)?)
        }
        FileType::Symlink => {
            let link = |leaf: Leaf<'_>| rustix::fs::readlinkat(leaf.0, leaf.1, Vec::new());
            Ok(link(one)? == link(other)?)
        }
        FileType::CharacterDevice | FileType::BlockDevice => Ok(one.2.st_rdev == other.2.st_rdev),
        _ => Ok(true),
    }
}

fn has_same_xattrs(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let sorted = |fd| -> io::Result<BTreeSet<_>> { Ok(xattrs(fd)?.into_iter().collect()) };
    Ok(sorted(one)? == sorted(other)?)
}

fn has_same_bytes(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; limits::CHUNK_BYTES], vec![0; limits::CHUNK_BYTES]);
    loop {
        let (a, b) = (fill(one, &mut left)?, fill(other, &mut right)?);
        if left[..a] != right[..b] {
            return Ok(false);
        }
        if a < left.len() {
            return Ok(true);
        }
    }
}

// As much as there is.
fn fill(file: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match rustix::io::read(file, &mut buffer[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

// A directory as another is: owner, mode, attributes, and at last its time.
fn describe(to: BorrowedFd<'_>, like: BorrowedFd<'_>) -> io::Result<()> {
    let stat = rustix::fs::fstat(like)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let wanted = xattrs(like)?;
    for (key, _) in xattrs(to)?.into_iter().filter(|(key, _)| !wanted.iter().any(|(other, _)| other == key)) {
        rustix::fs::fremovexattr(to, &key[..])?;
    }
    for (key, value) in wanted {
        rustix::fs::fsetxattr(to, &key[..], &value, XattrFlags::empty())?;
    }
    Ok(rustix::fs::futimens(to, &times_of(&stat))?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    /// A folder that goes with its value.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let number = std::thread::current().id();
            let path = std::env::temp_dir().join(format!("hako-align-{}-{number:?}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    // A tree from lines: `dir/`, `name=text`, `name->link`; a mode may stand before: `700 dir/`.
    fn tree(root: &Path, lines: &[&str]) {
        fs::create_dir(root).unwrap();
        for line in lines {
            let (mode, rest) = line.split_once(' ').unwrap_or(("", line));
            let path = if let Some((name, text)) = rest.split_once('=') {
                fs::write(root.join(name), text).unwrap();
                name
            } else if let Some((name, link)) = rest.split_once("->") {
                std::os::unix::fs::symlink(link, root.join(name)).unwrap();
                continue;
            } else {
                fs::create_dir(root.join(rest)).unwrap();
                rest
            };
            let mode = if mode.is_empty() { 0o755 } else { u32::from_str_radix(mode, 8).unwrap() };
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        let root = walk::open_trusted(root).unwrap();
        walk::tree(root.as_fd(), |visit| -> io::Result<bool> {
            let at = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: at, last_modification: at };
            rustix::fs::utimensat(visit.parent, visit.leaf, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(true)
        })
        .unwrap();
    }

    // What is to be seen of a tree, and which files were written anew.
    fn shown(root: &Path) -> Vec<String> {
        let mut all = Vec::new();
        let opened = walk::open_trusted(root).unwrap();
        walk::tree(opened.as_fd(), |visit| -> io::Result<bool> {
            let path = String::from_utf8_lossy(visit.path).into_owned();
            let what = match walk::file_type(visit.stat) {
                FileType::RegularFile => fs::read_to_string(root.join(&path))?,
                FileType::Symlink => format!("->{}", fs::read_link(root.join(&path))?.display()),
                _ => "/".to_owned(),
            };
            let mode = if what.starts_with("->") { 0 } else { visit.stat.st_mode & 0o7777 };
            all.push(format!("{path} {what} {mode:o} {}", visit.stat.st_mtime));
            Ok(true)
        })
        .unwrap();
        all.sort();
        all
    }

    fn check(lower: &[&str], upper: &[&str], gone: &[&str], new: &[&str], described: &[&str]) {
        let at = Folder::new();
        let path = |name: &str| at.0.join(name);
        tree(&path("lower"), lower);
        tree(&path("to"), lower);
        tree(&path("upper"), upper);
        let open = |name: &str| walk::open_trusted(&path(name)).unwrap();
        let (from, to) = (open("lower"), open("upper"));
        let mut differences = Differences::default();
        differences.look_at_upper(from.as_fd(), to.as_fd()).unwrap();
        differences.look_at_lower(from.as_fd(), to.as_fd()).unwrap();
        let texts = |paths: &mut dyn Iterator<Item = &Vec<u8>>| -> Vec<String> {
            paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
        };
        assert_eq!(texts(&mut differences.gone.iter()), gone, "gone");
        assert_eq!(texts(&mut differences.new.iter()), new, "new");
        assert_eq!(texts(&mut differences.described.iter()), described, "described");
        align(open("to").as_fd(), from.as_fd(), to.as_fd()).unwrap();
        assert_eq!(shown(&path("to")), shown(&path("upper")));
    }

    #[test]
    fn what_is_the_same_is_not_touched() {
        let same = ["d/", "d/f=text", "l->d/f"];
        check(&same, &same, &[], &[], &[]);
    }

    #[test]
    fn files_come_change_and_go() {
        check(
            &["d/", "d/same=1", "d/bytes=one", "d/gone=1", "d/mode=1", "whole/", "whole/below=1", "link->a"],
            &["d/", "d/same=1", "d/bytes=two", "600 d/mode=1", "d/new=1", "tree/", "tree/leaf=1", "link->b"],
            &["d/gone", "whole"],
            &["d/bytes", "d/mode", "d/new", "link", "tree", "tree/leaf"],
            &["", "d"],
        );
    }

    #[test]
    fn kinds_change() {
        check(
            &["a/", "a/deep/", "a/deep/f=1", "b=1", "c->a", "e/", "e/f=1"],
            &["a=1", "b/", "b/f=1", "c/", "c/deep/", "c/deep/f=2", "700 e/", "e/f=1"],
            &["a", "b", "c"],
            &["a", "b", "b/f", "c", "c/deep", "c/deep/f"],
            &["", "e"],
        );
    }
}
