//! Files as fsutil's protocol describes them, and their modes as Go writes those.

use std::io;

use rustix::fs::{FileType, Stat};

use crate::walk::{Visit, file_type};

/// What both ends of the protocol say of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub path: String,
    pub mode: u32,
    /// Of regular files; 0 of others.
    pub size: i64,
    /// In nanoseconds since 1970.
    pub modified: i64,
    /// Where a symbolic link leads.
    pub link: String,
}

/// Describes a file that a walk has come to.
///
/// # Errors
/// A link that cannot be read.
pub fn describe(visit: &Visit<'_>) -> io::Result<Described> {
    let kind = file_type(visit.stat);
    let link = if kind == FileType::Symlink {
        let link = rustix::fs::readlinkat(visit.parent, visit.leaf, Vec::new())?;
        String::from_utf8_lossy(link.as_bytes()).into_owned()
    } else {
        String::new()
    };
    let size = if kind == FileType::RegularFile { visit.stat.st_size } else { 0 };
    let path = String::from_utf8_lossy(visit.path).into_owned();
    Ok(Described { path, mode: of(visit.stat), size, modified: modified(visit.stat), link })
}

/// When a file was written last, in nanoseconds since 1970.
pub fn modified(stat: &Stat) -> i64 {
    let seconds = stat.st_mtime.saturating_mul(1_000_000_000);
    seconds.saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// A directory.
pub const DIRECTORY: u32 = 1 << 31;
/// A symbolic link.
pub const SYMLINK: u32 = 1 << 27;
/// A device; a character device has another bit.
pub const DEVICE: u32 = 1 << 26;
/// A named pipe.
pub const FIFO: u32 = 1 << 25;
/// A socket.
pub const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

/// The mode of a file that is here.
pub fn of(stat: &Stat) -> u32 {
    let bit = |bit: u32, flag: u32| if stat.st_mode & bit == 0 { 0 } else { flag };
    let kind = match file_type(stat) {
        FileType::Directory => DIRECTORY,
        FileType::Symlink => SYMLINK,
        FileType::Fifo => FIFO,
        FileType::Socket => SOCKET,
        FileType::CharacterDevice => DEVICE | CHARACTER,
        FileType::BlockDevice => DEVICE,
        _ => 0,
    };
    kind | (stat.st_mode & 0o777) | bit(0o4000, SET_UID) | bit(0o2000, SET_GID) | bit(0o1000, STICKY)
}

/// The bits of a mode that came, as the kernel has them.
pub fn bits(go: u32) -> u32 {
    let bit = |flag: u32, bit: u32| if go & flag == 0 { 0 } else { bit };
    (go & 0o777) | bit(SET_UID, 0o4000) | bit(SET_GID, 0o2000) | bit(STICKY, 0o1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bits_travel_elsewhere() {
        assert_eq!(bits(DIRECTORY | STICKY | 0o777), 0o1777);
        assert_eq!(bits(SET_UID | 0o755), 0o4755);
    }
}
