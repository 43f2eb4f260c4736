//! The finished system: the tree without what installing it left behind, and with no time in it later than the
//! archive's own, so that the same archive gives the same bytes.

use std::io::{self, BufRead, Write};

use hako_archive::tar::{Entry, Kind, Reader, Writer};

use crate::{DebianError, tree};

/// Folders that stay, and what is in them does not: logs, caches that are made again, what a container has of its own.
const EMPTIED: [&str; 10] = [
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "var/cache/apt/archives",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "var/log",
    "var/tmp",
];

/// Files that differ each time, or are a container's own.
const DROPPED: [&str; 9] = [
    ".dockerenv",
    "etc/.pwd.lock",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
];

/// What programs keep of a file's former content.
const BACKUPS: [&str; 3] = ["etc/", "var/lib/dpkg/", "var/cache/debconf/"];

/// Writes the system out of a tree in which it was installed. `seconds` since 1970 is the latest time in it.
///
/// # Errors
/// When the input is no tar, and those of both ends.
pub fn finish(input: impl BufRead, output: impl Write, seconds: i64) -> Result<(), DebianError> {
    let (mut reader, mut writer) = (Reader::new(input), Writer::new(output));
    while let Some(mut entry) = reader.next_entry().map_err(read)? {
        let path = trimmed(&entry.path);
        if path.is_empty() || !stays(&path) {
            continue;
        }
        entry.path = path.into_bytes();
        if entry.kind == Kind::HardLink {
            entry.link = trimmed(&entry.link).into_bytes();
        }
        entry.modified.nanoseconds = 0;
        entry.modified.seconds = entry.modified.seconds.min(seconds);
        copy(&mut reader, &mut writer, &entry)?;
    }
    writer.finish().and_then(|mut output| output.flush()).map_err(written)
}

fn copy<R: BufRead, W: Write>(
    reader: &mut Reader<R>,
    writer: &mut Writer<W>,
    entry: &Entry,
) -> Result<(), DebianError> {
    let Some(sparse) = &entry.sparse else {
        writer.entry(entry).map_err(written)?;
        return reader.copy_payload(|bytes| writer.payload(bytes).map_err(written));
    };
    // Written with its holes filled: layers travel compressed.
    writer.entry(&Entry { size: sparse.length, sparse: None, ..entry.clone() }).map_err(written)?;
    let mut at = 0;
    for (offset, length) in &sparse.pieces {
        zeros(writer, offset - at)?;
        let mut left = *length;
        while left > 0 {
            let bytes = reader.payload().map_err(read)?;
            let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            writer.payload(&bytes[..count]).map_err(written)?;
            reader.advance(count);
            left -= count as u64;
        }
        at = offset + length;
    }
    zeros(writer, sparse.length - at)
}

fn zeros<W: Write>(writer: &mut Writer<W>, mut count: u64) -> Result<(), DebianError> {
    const ZEROS: [u8; 4096] = [0; 4096];
    while count > 0 {
        let some = count.min(ZEROS.len() as u64);
        writer.payload(&ZEROS[..usize::try_from(some).unwrap_or(0)]).map_err(written)?;
        count -= some;
    }
    Ok(())
}

fn trimmed(path: &[u8]) -> String {
    String::from_utf8_lossy(path).trim_start_matches("./").trim_matches('/').to_owned()
}

fn stays(path: &str) -> bool {
    let is_in = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let is_backup = || {
        BACKUPS
            .iter()
            .filter_map(|folder| path.strip_prefix(folder))
            .any(|name| !name.contains('/') && (name.ends_with('-') || name.ends_with("-old")))
    };
    !(path == tree::FOLDER
        || is_in(tree::FOLDER)
        || EMPTIED.iter().any(|folder| is_in(folder))
        || DROPPED.contains(&path)
        || is_backup())
}

fn read(source: hako_archive::tar::TarError) -> DebianError {
    DebianError::Tar { what: "the installed tree".to_owned(), source }
}

fn written(source: io::Error) -> DebianError {
    DebianError::Io { what: "write the finished tree".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_installing_left_behind_is_gone() {
        for path in ["etc/passwd", "var/log", "dev", "var/lib/dpkg/status", "etc/a-old/b", "usr/share/x-old"] {
            assert!(stays(path), "{path}");
        }
        for path in [".bootstrap", ".bootstrap/x.deb", "var/log/dpkg.log", "dev/null", "etc/passwd-", "etc/hosts"] {
            assert!(!stays(path), "{path}");
        }
        assert!(!stays("var/lib/dpkg/status-old") && !stays("var/cache/debconf/config.dat-old"));
    }

    #[test]
    fn times_end_with_the_archives() {
        let mut tar = Writer::new(Vec::new());
        for (path, seconds) in [("./etc/new", 50), ("/etc/old", 5), ("./dev/null", 1)] {
            let mut entry = Entry::new(path, Kind::File);
            entry.modified.seconds = seconds;
            tar.whole(&entry, b"x").expect("memory");
        }
        let input = tar.finish().expect("memory");
        let mut output = Vec::new();
        finish(&input[..], &mut output, 10).expect("it is a tar");
        let mut reader = Reader::new(&output[..]);
        let mut found = Vec::new();
        while let Some(entry) = reader.next_entry().expect("a tar") {
            found.push((entry.shown(), entry.modified.seconds));
        }
        assert_eq!(found, [("etc/new".to_owned(), 10), ("etc/old".to_owned(), 5)]);
    }
}
