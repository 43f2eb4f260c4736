//! `tmpcopyup`: a new tmpfs begins with what was at its place in the root.
//!
//! Both trees are walked by descriptor and no link is followed: the root's content is the image's. Owners, modes and
//! times of directories and files come along; what is no directory, file, link or pipe stays behind.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};

/// Directories below each other that are followed.
const DEPTH_MAX: usize = 64;

/// Fills `tmpfs` with what is in the directory `place`.
pub(crate) fn copy_up(place: BorrowedFd<'_>, tmpfs: BorrowedFd<'_>) -> io::Result<()> {
    let from = rustix::fs::openat(place, ".", DIRECTORY, Mode::empty())?;
    let into = rustix::fs::openat(tmpfs, ".", DIRECTORY, Mode::empty())?;
    copy_directory(&from, &into, 0)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn copy_directory(from: &OwnedFd, into: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            copy_entry(from, into, name, depth)?;
        }
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, into: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(into, name, Mode::RWXU)?;
            let source = rustix::fs::openat(from, name, DIRECTORY, Mode::empty())?;
            let made = rustix::fs::openat(into, name, DIRECTORY, Mode::empty())?;
            copy_directory(&source, &made, depth + 1)?;
            finish(made.as_fd(), &stat, mode)
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut source = std::fs::File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut made = std::fs::File::from(rustix::fs::openat(into, name, flags, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut source, &mut made)?;
            finish(made.as_fd(), &stat, mode)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, into, name)?;
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            Ok(rustix::fs::chownat(into, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
        }
        FileType::Fifo => Ok(rustix::fs::mknodat(into, name, FileType::Fifo, mode, 0)?),
        _ => Ok(()),
    }
}

fn finish(made: BorrowedFd<'_>, stat: &Stat, mode: Mode) -> io::Result<()> {
    rustix::fs::fchown(made, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(made, mode)?;
    let time = |seconds: i64, nanoseconds: u64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = rustix::fs::Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(made, &times)?)
}
