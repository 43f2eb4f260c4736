//! Paths inside a root that somebody else controls.
//!
//! Most container escapes of recent years are a path of the container resolved from the host's root. Here the
//! kernel resolves it inside a descriptor (`RESOLVE_IN_ROOT`: symlinks and `..` stay inside) and never through
//! magic links; what comes back is a descriptor, on which the caller then acts.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Symlinks that one walk follows by itself while making directories; the kernel's own limit.
const SYMLINKS_MAX: u32 = 40;

/// Opens `path` as a process whose root is `root` would see it.
///
/// # Errors
/// Those of `openat2(2)`.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    open_resolved(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below `directory`; links are followed as long as they stay there, and absolute ones do not.
///
/// # Errors
/// Those of `openat2(2)`; `EXDEV` where the way leads out.
pub fn open_beneath(directory: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    open_resolved(directory, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below `directory` without following any symlink or leaving the mount: for files of procfs and cgroupfs.
///
/// # Errors
/// Those of `openat2(2)`; `ELOOP` at a symlink, `EXDEV` at another mount.
pub fn open_plain(directory: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    open_resolved(directory, path, flags, Mode::empty(), resolve)
}

fn open_resolved(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    // The kernel answers EAGAIN when a rename somewhere made it unsure whether ".." stayed inside.
    for _ in 0..64 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Makes a directory and its missing parents, and opens it. Those that exist keep their mode and owner; symlinks on the
/// way are followed inside the root, also those whose target is yet to be made.
///
/// # Errors
/// `ENOTDIR` when something on the way is no directory; else those of `mkdirat(2)`.
pub fn make_dirs_in_root(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    match open_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    if let Some(made) = make_last(root, path, mode) {
        return Ok(made);
    }
    let mut walk = Walk::new(root, path)?;
    while let Some(name) = walk.rest.pop() {
        walk.step(&name, mode)?;
    }
    walk.current()
}

// The usual case: all but the last directory is there. Whatever is unusual is left to the walk.
fn make_last(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> Option<OwnedFd> {
    let (parent, name) = (path.parent()?, path.file_name()?);
    let parent = open_in_root(root, parent, OFlags::PATH | OFlags::DIRECTORY).ok()?;
    rustix::fs::mkdirat(&parent, name, mode).ok()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent, name, flags, Mode::empty()).ok()
}

/// Makes an empty file at `path` (and its missing parents), if nothing is there, and opens it (`O_PATH`).
///
/// # Errors
/// As [`make_dirs_in_root`].
pub fn make_file_in_root(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    match open_in_root(root, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut walk = Walk::new(root, path)?;
    while let Some(name) = walk.rest.pop() {
        if !walk.rest.is_empty() {
            walk.step(&name, Mode::from_raw_mode(0o755))?;
        } else if let Some(file) = walk.last(&name, mode)? {
            return Ok(file);
        }
    }
    Err(io::ErrorKind::InvalidInput.into())
}

// A walk component by component: a stack of directories from the root down, and the names still to come (last first).
struct Walk {
    above: Vec<OwnedFd>,
    rest: Vec<Vec<u8>>,
    symlinks: u32,
}

impl Walk {
    fn new(root: BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        let root = open_in_root(root, Path::new("/"), OFlags::PATH | OFlags::DIRECTORY)?;
        let mut walk = Self { above: vec![root], rest: Vec::new(), symlinks: 0 };
        walk.push(path);
        Ok(walk)
    }

    fn push(&mut self, path: &Path) {
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.rest.push(name.as_bytes().to_vec()),
                Component::ParentDir => self.rest.push(b"..".to_vec()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }

    fn top(&self) -> BorrowedFd<'_> {
        self.above[self.above.len() - 1].as_fd()
    }

    fn current(mut self) -> io::Result<OwnedFd> {
        self.above.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn step(&mut self, name: &[u8], mode: Mode) -> io::Result<()> {
        if name == b".." {
            if self.above.len() > 1 {
                self.above.pop();
            }
            return Ok(());
        }
        let name = OsStr::from_bytes(name);
        match rustix::fs::mkdirat(self.top(), name, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = rustix::fs::openat(self.top(), name, flags, Mode::empty())?;
        let stat = rustix::fs::statat(&next, "", AtFlags::EMPTY_PATH)?;
        match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Directory => self.above.push(next),
            rustix::fs::FileType::Symlink => self.follow(next)?,
            _ => return Err(Errno::NOTDIR.into()),
        }
        Ok(())
    }

    // The file at the end; none yet where a link leads on.
    fn last(&mut self, name: &[u8], mode: Mode) -> io::Result<Option<OwnedFd>> {
        if name == b".." {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let name = OsStr::from_bytes(name);
        let new = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(self.top(), name, new, mode) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.top(), name, flags, Mode::empty())?;
        let stat = rustix::fs::statat(&file, "", AtFlags::EMPTY_PATH)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink {
            return self.follow(file).map(|()| None);
        }
        Ok(Some(file))
    }

    fn follow(&mut self, link: OwnedFd) -> io::Result<()> {
        self.symlinks += 1;
        if self.symlinks > SYMLINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
        // A magic link of procfs has a target that is text only for show; it must not be walked as if it were one.
        const PROC_MAGIC: i64 = 0x9fa0;
        if rustix::fs::fstatfs(&link)?.f_type == PROC_MAGIC {
            return Err(Errno::LOOP.into());
        }
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            self.above.truncate(1);
        }
        self.push(target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Root(std::path::PathBuf, OwnedFd);

    impl Root {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("hako-walk-{}", hako_base::random::hex(8)));
            fs::create_dir(&path).unwrap();
            let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            Self(path, fd)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

    #[test]
    fn an_absolute_symlink_stays_inside_the_root() {
        let root = Root::new();
        fs::create_dir(root.0.join("etc")).unwrap();
        fs::write(root.0.join("etc/passwd"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.0.join("link")).unwrap();
        let file = open_in_root(root.1.as_fd(), Path::new("/link"), OFlags::RDONLY).unwrap();
        assert_eq!(std::io::read_to_string(fs::File::from(file)).unwrap(), "inside");
    }

    #[test]
    fn directories_are_made_inside_the_root_whatever_the_path() {
        let root = Root::new();
        std::os::unix::fs::symlink("/made/by/link", root.0.join("link")).unwrap();
        make_dirs_in_root(root.1.as_fd(), Path::new("/link/deep"), DIRECTORY_MODE).unwrap();
        assert!(root.0.join("made/by/link/deep").is_dir());
        make_dirs_in_root(root.1.as_fd(), Path::new("../../../up"), DIRECTORY_MODE).unwrap();
        assert!(root.0.join("up").is_dir());
        make_file_in_root(root.1.as_fd(), Path::new("/a/b/file"), Mode::from_raw_mode(0o644)).unwrap();
        assert!(root.0.join("a/b/file").is_file());
        std::os::unix::fs::symlink("/jump/there/file", root.0.join("dangling")).unwrap();
        std::os::unix::fs::symlink("../../further", root.0.join("jump")).unwrap();
        make_file_in_root(root.1.as_fd(), Path::new("/dangling"), Mode::from_raw_mode(0o644)).unwrap();
        assert!(root.0.join("further/there/file").is_file());
        std::os::unix::fs::symlink("loop", root.0.join("loop")).unwrap();
        make_file_in_root(root.1.as_fd(), Path::new("/loop"), Mode::from_raw_mode(0o644)).unwrap_err();
    }

    #[test]
    fn loops_and_files_on_the_way_are_errors() {
        let root = Root::new();
        std::os::unix::fs::symlink("loop", root.0.join("loop")).unwrap();
        fs::write(root.0.join("file"), "").unwrap();
        let error = |path| make_dirs_in_root(root.1.as_fd(), Path::new(path), DIRECTORY_MODE).unwrap_err();
        assert_eq!(error("/loop/x").raw_os_error(), Some(libc::ELOOP));
        assert_eq!(error("/file/x").raw_os_error(), Some(libc::ENOTDIR));
    }
}
