//! Everything that can go wrong with volumes; sentences that clients look at are Docker's.

use std::io;

use hako_base::ErrorKind;
use rustix::mount::MountFlags;

/// Why a volume operation failed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("get {name}: no such volume")]
    NoSuchVolume { name: String },
    #[error("create {name}: volume name is too short, names should be at least two alphanumeric characters")]
    NameTooShort { name: String },
    #[error(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    BadName { name: String },
    #[error("create {name}: {why}")]
    Options { name: String, why: String },
    #[error("error while mounting volume '{path}': failed to mount local volume: mount {device}:{path}, flags: 0x{:x}", flags.bits())]
    Mount { path: String, device: String, flags: MountFlags, source: io::Error },
    #[error("cannot access path {path}: lstat {path}")]
    Subpath { path: String, source: io::Error },
    #[error("path concatenation escapes the base directory, base: {base}, subpath: {subpath}")]
    Escapes { base: String, subpath: String },
    #[error("cannot mount volume {name}: this kernel has no file system {kind} (is its module loaded?)")]
    NoFilesystem { name: String, kind: String },
    #[error("volume {volume} has no snapshot {name}")]
    NoSuchSnapshot { volume: String, name: String },
    #[error("volume {volume} has a snapshot {name} already")]
    SnapshotExists { volume: String, name: String },
    #[error("there is a volume {name} already")]
    Exists { name: String },
    #[error("volume {name} is not empty: say that its content is to be replaced, or import into a new volume")]
    NotEmpty { name: String },
    #[error("the data of volume {name} is where its options say, not in a directory of hako's that could be replaced")]
    Elsewhere { name: String },
    #[error("cannot {what} volume {name}: {text}")]
    Archive { what: &'static str, name: String, kind: ErrorKind, text: String },
    #[error("cannot {what} volume {name}")]
    Io { what: &'static str, name: String, source: io::Error },
    #[error("cannot {what} the volumes")]
    Store { what: &'static str, source: io::Error },
    #[error("cannot {what} the volume records")]
    Database { what: &'static str, source: redb::Error },
    #[error("volume record {name} is damaged: {why}")]
    Record { name: String, why: String },
}

impl VolumeError {
    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchVolume { .. } | Self::NoSuchSnapshot { .. } => ErrorKind::NotFound,
            Self::SnapshotExists { .. } | Self::Exists { .. } | Self::NotEmpty { .. } | Self::Elsewhere { .. } => {
                ErrorKind::Conflict
            }
            Self::Archive { kind, .. } => *kind,
            Self::NameTooShort { .. }
            | Self::BadName { .. }
            | Self::Options { .. }
            | Self::Escapes { .. }
            | Self::NoFilesystem { .. } => ErrorKind::InvalidInput,
            Self::Io { .. }
            | Self::Store { .. }
            | Self::Database { .. }
            | Self::Record { .. }
            | Self::Mount { .. }
            | Self::Subpath { .. } => ErrorKind::Internal,
        }
    }
}

/// For `map_err`: any of redb's many error types, with what was tried.
pub(crate) fn database<E: Into<redb::Error>>(what: &'static str) -> impl FnOnce(E) -> VolumeError {
    move |source| VolumeError::Database { what, source: source.into() }
}
