//! `.git`, where it is wanted (`--keep-git-dir`): one commit, detached, with its pack and an index, so that `git describe`
//! and `git status` say what they would say in a shallow clone.

use std::{
    io::Read,
    os::fd::{AsFd, BorrowedFd},
};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY as SHA1};
use rustix::fs::{Timespec, Timestamps};

use super::{
    pack::{ObjectId, Pack},
    tree::{Commit, Made, make_directory, write},
};

/// Writes the directory. `url` is where the repository is, without who we are there.
pub(super) fn keep(
    root: BorrowedFd<'_>,
    url: &str,
    name: Option<&str>,
    tip: ObjectId,
    commit: Commit,
    pack: &Pack,
    made: &[Made],
) -> std::io::Result<()> {
    let at = Timespec { tv_sec: commit.time, tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    let git = make_directory(root, b".git")?;
    let file = |name: &str, bytes: &[u8]| write(git.as_fd(), name.as_bytes(), bytes, 0o644, &times);
    file("HEAD", format!("{}\n", commit.id).as_bytes())?;
    file("shallow", format!("{}\n", commit.id).as_bytes())?;
    let quoted = url.replace('\\', "\\\\").replace('"', "\\\"");
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
         [remote \"origin\"]\n\turl = \"{quoted}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    );
    file("config", config.as_bytes())?;
    let packed = name.map(|name| format!("{tip} {name}\n")).unwrap_or_default();
    file("packed-refs", format!("# pack-refs with: sorted\n{packed}").as_bytes())?;
    file("index", &index(made))?;
    make_directory(git.as_fd(), b"refs")?;
    let objects = make_directory(git.as_fd(), b"objects")?;
    let packs = make_directory(objects.as_fd(), b"pack")?;
    let stem = format!("pack-{}", ObjectId(pack.checksum));
    let mut bytes = Vec::new();
    let mut whole = pack.file().try_clone()?;
    std::io::Seek::rewind(&mut whole)?;
    whole.read_to_end(&mut bytes)?;
    write(packs.as_fd(), format!("{stem}.pack").as_bytes(), &bytes, 0o444, &times)?;
    write(packs.as_fd(), format!("{stem}.idx").as_bytes(), &pack_index(pack), 0o444, &times)
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut hash = Context::new(&SHA1);
    hash.update(&bytes);
    bytes.extend_from_slice(hash.finish().as_ref());
    bytes
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes()
}

// Where each object of the pack begins (gitformat-pack, version 2).
fn pack_index(pack: &Pack) -> Vec<u8> {
    let mut entries: Vec<_> = pack.entries.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.id);
    let mut bytes = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..=255_u8 {
        bytes.extend(number(entries.partition_point(|entry| entry.id.0[0] <= first)));
    }
    entries.iter().for_each(|entry| bytes.extend(entry.id.0));
    entries.iter().for_each(|entry| bytes.extend(entry.crc.to_be_bytes()));
    let mut far = Vec::new();
    for entry in &entries {
        match u32::try_from(entry.offset) {
            Ok(offset) if offset < 1 << 31 => bytes.extend(offset.to_be_bytes()),
            _ => {
                bytes.extend((1_u32 << 31 | u32::try_from(far.len() / 8).unwrap_or(0)).to_be_bytes());
                far.extend(entry.offset.to_be_bytes());
            }
        }
    }
    bytes.extend(far);
    bytes.extend(pack.checksum);
    with_checksum(bytes)
}

// What is checked out (gitformat-index, version 2). Nothing is said of the files' attributes: git looks at them itself.
fn index(made: &[Made]) -> Vec<u8> {
    let mut made: Vec<&Made> = made.iter().collect();
    made.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut bytes = b"DIRC\0\0\0\x02".to_vec();
    bytes.extend(number(made.len()));
    for file in made {
        let start = bytes.len();
        bytes.extend([0; 24]);
        bytes.extend(file.mode.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(number(file.size));
        bytes.extend(file.id.0);
        let length = u16::try_from(file.path.len()).unwrap_or(0xfff).min(0xfff);
        bytes.extend(length.to_be_bytes());
        bytes.extend(&file.path);
        // At least one zero, and a multiple of eight.
        let padded = (bytes.len() - start + 8) / 8 * 8;
        bytes.resize(start + padded, 0);
    }
    with_checksum(bytes)
}
