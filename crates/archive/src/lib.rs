//! Trees of files from and to tar archives, by descriptor.
//!
//! [`unpack`] writes an archive's entries below a directory, [`Packer`] reads a directory into an archive, [`walk`] is how
//! both find their way without trusting a single name in it. The rules for what an entry means are here and nowhere
//! else: layers, root filesystems, volumes and copies into and out of containers share them, on both sides of the API.
#![forbid(unsafe_code)]

mod align; // one tree made like another
mod copy; // files from one root into another
mod ids; // owners where ids are shifted
mod ignore; // which files of a tree are left out (.dockerignore)
mod mode; // permission bits that are wanted
mod pack; // a tree becomes an archive
mod recipe; // an archive without its files, and together with them
mod unpack; // an archive becomes a tree
mod xz; // a compression of archives

pub mod exchange; // out of and into a root that somebody else controls

pub mod bundle; // many messages as one, between hako and hako
pub mod content; // blobs of a client's, as its session offers them
pub mod go_mode; // file modes as Go's programs send them
pub mod tar; // the format itself
pub mod walk; // below a directory by descriptor

pub mod codec; // compression, recognised by the first bytes
pub mod limits; // every limit, with its reason

pub use align::align;
pub use copy::{Copier, CopyOptions, FilesBelow, Keep, KnownDigests, TreeDigest};
pub use ids::Ids;
pub use ignore::{Ignore, IgnoreError, path_matches};
pub use mode::{ModeWish, NoMode};
pub use pack::{PackError, Packer, pack_layer};
pub use recipe::{DamagedFile, Spliced, unpack_recorded};
pub use unpack::{UnpackError, UnpackOptions, Unpacked, unpack};

/// The plain bytes of an archive that may be compressed (gzip, zstd).
///
/// # Errors
/// Those of the input.
pub fn plain<'r>(input: impl std::io::Read + 'r) -> std::io::Result<impl std::io::BufRead + 'r> {
    crate::codec::plain(input).map(|(_, plain)| plain)
}

/// Bytes of the files below a directory whose own path is trusted, each file once however many names it has.
///
/// # Errors
/// Those of the disk.
pub fn size_of(path: &std::path::Path) -> std::io::Result<u64> {
    use std::os::fd::AsFd;
    let root = walk::open_trusted(path)?;
    let (mut bytes, mut seen) = (0, std::collections::HashSet::new());
    walk::tree(root.as_fd(), |visit| -> std::io::Result<bool> {
        let is_file = walk::file_type(visit.stat) == rustix::fs::FileType::RegularFile;
        if is_file && (visit.stat.st_nlink == 1 || seen.insert(visit.stat.st_ino)) {
            bytes += u64::try_from(visit.stat.st_size).unwrap_or(0);
        }
        Ok(true)
    })?;
    Ok(bytes)
}

/// The directory `path` below `root`, made with those above it where they are missing, for this user and group.
///
/// # Errors
/// Those of the file system.
pub fn make_directory(
    root: &impl std::os::fd::AsFd,
    path: &[u8],
    owner: (u32, u32),
) -> std::io::Result<std::os::fd::OwnedFd> {
    let options = CopyOptions { owner: Some(owner), mode: None, keep: &|_, _| Keep::Yes };
    Copier::new(root.as_fd(), &options).directory(path, None)
}

/// Whether a file is a tar, plain or compressed as [`plain`] reads it.
pub fn is_tar(file: impl std::io::Read) -> bool {
    let Ok(plain) = plain(file) else { return false };
    matches!(crate::tar::Reader::new(plain).next_entry(), Ok(Some(_)))
}
