//! Files that are either the old or the new, never half.
//!
//! Whether a file also survives a power cut is the caller's choice: `Durable` costs a flush.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Whether the write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives the death of the process (enough for what is under `/run`).
    Process,
    /// Survives a power cut: the file and its directory are flushed.
    Power,
}

/// Replaces `path` by `bytes` in one step, with permission bits `mode`.
///
/// # Errors
/// Those of the file system; the old content is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", crate::random::hex(4)));
    let temporary = directory.join(temporary);
    let written = write_new(&temporary, bytes, mode, durability).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    if durability == Durability::Power {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    if durability == Durability::Power {
        file.sync_all()?;
    }
    Ok(())
}

/// Makes a directory (and its parents) with `mode`; one that exists keeps its mode.
///
/// # Errors
/// Those of the file system.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let directory = std::env::temp_dir().join(format!("hako-base-{}", crate::random::hex(8)));
        fs::create_dir(&directory).unwrap();
        let target = directory.join("occupied");
        fs::create_dir(&target).unwrap();
        assert!(write_atomic(&target, b"x", 0o600, Durability::Process).is_err());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
