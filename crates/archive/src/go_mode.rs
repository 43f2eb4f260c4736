//! File modes as Go writes them, which is how they travel.

use rustix::fs::{FileType, Stat};

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
    let kind = match crate::walk::file_type(stat) {
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
