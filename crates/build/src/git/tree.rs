//! Objects become files: commits and trees read, files made by descriptor in directories that are new.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_archive::walk;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

use super::pack::{Kind, ObjectId, Pack};
use crate::limits;

/// What a commit says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) id: ObjectId,
    pub(super) tree: ObjectId,
    /// When it was committed, in seconds since 1970.
    pub(super) time: i64,
}

/// One file that was made, for the index of `.git`; or a submodule, which is another repository's commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) id: ObjectId,
    pub(super) size: usize,
}

/// The mode of a submodule.
pub(super) const SUBMODULE: u32 = 0o160_000;

/// The commit that an object is, or that a tag stands for.
pub(super) fn commit(pack: &Pack, id: ObjectId) -> Result<Commit, String> {
    let mut id = id;
    for _ in 0..10 {
        match pack.kind(id) {
            Some(Kind::Tag) => {
                let text = pack.read(id, Kind::Tag)?;
                id = field(&text, "object").and_then(ObjectId::parse).ok_or("a tag stands for nothing")?;
            }
            Some(Kind::Commit) => {
                let text = pack.read(id, Kind::Commit)?;
                let tree = field(&text, "tree").and_then(ObjectId::parse).ok_or("a commit has no tree")?;
                // `committer NAME <ADDRESS> SECONDS ZONE`
                let time = field(&text, "committer").and_then(|line| line.rsplit(' ').nth(1)?.parse().ok());
                return Ok(Commit { id, tree, time: time.unwrap_or(0) });
            }
            Some(_) => return Err(format!("{id} is no commit")),
            None => return Err(format!("the commit {id} was not sent")),
        }
    }
    Err("a tag stands for a tag for a tag".to_owned())
}

fn field<'t>(text: &'t [u8], name: &str) -> Option<&'t str> {
    let head = text.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let mut lines = head.filter_map(|line| std::str::from_utf8(line).ok());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

/// Makes the files of a tree in an empty directory; tells which.
pub(super) fn check_out(pack: &Pack, commit: Commit, root: BorrowedFd<'_>) -> Result<Vec<Made>, String> {
    let mut out = CheckOut { pack, time: commit.time, made: Vec::new() };
    out.tree(commit.tree, root, b"", 0)?;
    Ok(out.made)
}

struct CheckOut<'p> {
    pack: &'p Pack,
    time: i64,
    made: Vec<Made>,
}

impl CheckOut<'_> {
    fn tree(&mut self, id: ObjectId, directory: BorrowedFd<'_>, above: &[u8], depth: usize) -> Result<(), String> {
        if depth > limits::GIT_DEPTH_MAX {
            return Err(format!("directories are nested deeper than {}", limits::GIT_DEPTH_MAX));
        }
        let bytes = self.pack.read(id, Kind::Tree)?;
        for (mode, name, id) in entries(&bytes)? {
            let path = if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() };
            if self.made.len() >= limits::CONTEXT_FILES_MAX {
                return Err("it has too many files".to_owned());
            }
            let failed =
                |error: &dyn std::fmt::Display| format!("cannot make {}: {error}", String::from_utf8_lossy(&path));
            match mode {
                0o40_000 => {
                    let below = make_directory(directory, name).map_err(|error| failed(&error))?;
                    self.tree(id, below.as_fd(), &path, depth + 1)?;
                }
                SUBMODULE => {
                    make_directory(directory, name).map_err(|error| failed(&error))?;
                    self.made.push(Made { path, mode, id, size: 0 });
                }
                0o120_000 => {
                    let target = self.pack.read(id, Kind::Blob)?;
                    let link = rustix::fs::symlinkat(&target[..], directory, name);
                    link.and_then(|()| {
                        rustix::fs::utimensat(directory, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)
                    })
                    .map_err(|error| failed(&error))?;
                    self.made.push(Made { path, mode, id, size: target.len() });
                }
                _ => {
                    let bytes = self.pack.read(id, Kind::Blob)?;
                    let permissions = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
                    let written = write(directory, name, &bytes, permissions, &self.times());
                    written.map_err(|error| failed(&error))?;
                    self.made.push(Made { path, mode: 0o100_000 | permissions, id, size: bytes.len() });
                }
            }
        }
        Ok(())
    }

    fn times(&self) -> Timestamps {
        let at = Timespec { tv_sec: self.time, tv_nsec: 0 };
        Timestamps { last_access: at, last_modification: at }
    }
}

/// Makes a directory that is not there yet.
pub(super) fn make_directory(parent: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<OwnedFd> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    walk::open_leaf(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Makes a file that is not there yet.
pub(super) fn write(
    directory: BorrowedFd<'_>,
    name: &[u8],
    bytes: &[u8],
    permissions: u32,
    times: &Timestamps,
) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(permissions))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = rustix::io::write(&file, rest)?;
        rest = &rest[count..];
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(permissions))?;
    Ok(rustix::fs::futimens(&file, times)?)
}

/// Mode, name and id.
type Entry<'t> = (u32, &'t [u8], ObjectId);

// `MODE NAME\0ID`, one after the other; names that would be something else than names are refused.
fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let broken = || "a tree makes no sense".to_owned();
    let (mut found, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let end = rest.iter().position(|byte| *byte == 0).filter(|end| *end > blank).ok_or_else(broken)?;
        let mode = std::str::from_utf8(&rest[..blank]).ok().and_then(|text| u32::from_str_radix(text, 8).ok());
        let name = &rest[blank + 1..end];
        let id: [u8; 20] = rest.get(end + 1..end + 21).and_then(|id| id.try_into().ok()).ok_or_else(broken)?;
        let is_odd = name.is_empty() || name.contains(&b'/') || matches!(name, b"." | b"..");
        if is_odd || name.eq_ignore_ascii_case(b".git") {
            return Err(format!("{:?} is no name of a file", String::from_utf8_lossy(name)));
        }
        found.push((mode.ok_or_else(broken)?, name, ObjectId(id)));
        rest = &rest[end + 21..];
    }
    Ok(found)
}

/// Where the repository of each submodule is, by its path: what `.gitmodules` says.
pub(super) fn submodules(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_in_one = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_in_one = line.starts_with("[submodule");
            if is_in_one {
                found.push((String::new(), String::new()));
            }
            continue;
        }
        let (Some((key, value)), Some(last), true) = (line.split_once('='), found.last_mut(), is_in_one) else {
            continue;
        };
        match key.trim() {
            "path" => value.trim().trim_matches('"').clone_into(&mut last.0),
            "url" => value.trim().trim_matches('"').clone_into(&mut last.1),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_are_refused() {
        let tree = |name: &str| [b"100644 ", name.as_bytes(), b"\0", &[7; 20][..]].concat();
        assert_eq!(entries(&tree("a")).unwrap(), [(0o100_644, &b"a"[..], ObjectId([7; 20]))]);
        for name in ["", ".", "..", "a/b", ".git", ".GIT"] {
            assert!(entries(&tree(name)).is_err(), "{name:?}");
        }
        assert!(entries(b"100644 a\0short").is_err());
    }

    #[test]
    fn submodules_are_listed() {
        let text = "[core]\n\tpath = x\n[submodule \"lib\"]\n\tpath = vendor/lib\n\turl = ../lib.git\n";
        assert_eq!(submodules(text), [("vendor/lib".to_owned(), "../lib.git".to_owned())]);
    }
}
