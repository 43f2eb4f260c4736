//! Which mount a path is on, and whether that mount passes others on: lines of `/proc/self/mountinfo` (proc(5)).
//!
//! Mounting is `mount`'s.

use std::{
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, StatxFlags};

/// The mount that a path is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub mount_point: PathBuf,
    /// Mounts made here appear in others.
    pub is_shared: bool,
    /// Mounts made in another appear here.
    pub is_slave: bool,
}

/// Where `place` is mounted in the calling thread's namespace.
///
/// # Errors
/// Those of `statx(2)` and of reading the table; `NotFound` where the table does not have it.
pub fn standing(place: BorrowedFd<'_>) -> io::Result<Standing> {
    let found = rustix::fs::statx(place, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    find(&table, found.stx_mnt_id).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn find(table: &str, id: u64) -> Option<Standing> {
    let line = table.lines().find(|line| line.split(' ').next().and_then(|word| word.parse().ok()) == Some(id))?;
    let (before, _) = line.split_once(" - ")?;
    let words: Vec<&str> = before.split(' ').collect();
    // Id, parent, device, root, mount point, attributes; then what tells about peers, if anything does.
    let (mount_point, peers) = (words.get(4)?, words.get(6..)?);
    Some(Standing {
        mount_point: unescape(mount_point),
        is_shared: peers.iter().any(|word| word.starts_with("shared:")),
        is_slave: peers.iter().any(|word| word.starts_with("master:")),
    })
}

// The kernel writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.map_or('\\', char::from));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    out.push_str(rest);
    Path::new(&out).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_where_a_mount_is_and_who_its_peers_are() {
        let table = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                     23 22 0:5 / /my\\040dir rw master:1 - tmpfs tmpfs rw\n\
                     24 22 0:6 / /own\\x rw - tmpfs tmpfs rw\n";
        let read = |id| {
            find(table, id)
                .map(|found| format!("{} {} {}", found.mount_point.display(), found.is_shared, found.is_slave))
        };
        assert_eq!(read(22).as_deref(), Some("/ true false"));
        assert_eq!(read(23).as_deref(), Some("/my dir false true"));
        assert_eq!(read(24).as_deref(), Some("/own\\x false false"));
        assert_eq!(read(2), None);
    }
}
