//! The tar format, read strictly and written reproducibly.
//!
//! Reading understands what images contain: v7, ustar, PAX, GNU long names and all four spellings of
//! sparse files. It does not touch the file system (that is `archive`'s work) and allocates nothing that a
//! header merely claims. Writing makes PAX where ustar does not suffice, and the same bytes for the same tree.

mod pax;
mod read;
mod sparse;
mod write;

use std::io;

use hako_base::ErrorKind;

pub use read::Reader;
pub use write::Writer;

/// The unit of everything in a tar.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Character,
    Block,
    Fifo,
}

/// An instant as tar knows it: seconds since 1970, perhaps before, and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// Where the bytes of a sparse file belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    /// `(offset, length)` of the pieces that the payload carries, in order, without overlap.
    pub pieces: Vec<(u64, u64)>,
    /// The file's length with its holes.
    pub length: u64,
}

/// One entry, with everything its extension headers say applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As it stands in the archive: it may be absolute, climb, or be empty.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of payload that follow.
    pub size: u64,
    pub modified: Time,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<Sparse>,
}

impl Entry {
    /// An entry of this kind at this path, owned by root, with mode 0 and no payload.
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self {
            path: path.into(),
            link: Vec::new(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            modified: Time::default(),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// The path for a message.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Why a tar could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("the archive ends in the middle of {at}")]
    Truncated { at: String },
    #[error("not a tar header at byte {offset}: {why}")]
    Header { offset: u64, why: &'static str },
    #[error("the header at byte {offset} says {field} is {value:?}")]
    Field { offset: u64, field: &'static str, value: String },
    #[error("{what} has {found}, more than {limit}")]
    Limit { what: String, found: u64, limit: u64 },
    #[error("entry {path:?} has type {kind:?}, which hako does not know")]
    Kind { path: String, kind: char },
    /// The stream below failed: the network, the disk, or the decompressor.
    #[error("cannot read the archive")]
    Read { source: io::Error },
}

impl TarError {
    /// Bad bytes are the sender's fault; a broken stream is nobody's.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source }
                if !matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                ErrorKind::Internal
            }
            _ => ErrorKind::InvalidInput,
        }
    }
}
