//! Everything that can go wrong with volumes; sentences that clients look at are Docker's.

use std::io;

use hako_base::ErrorKind;

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
            Self::NoSuchVolume { .. } => ErrorKind::NotFound,
            Self::NameTooShort { .. } | Self::BadName { .. } | Self::Options { .. } => ErrorKind::InvalidInput,
            Self::Io { .. } | Self::Store { .. } | Self::Database { .. } | Self::Record { .. } => ErrorKind::Internal,
        }
    }
}

/// For `map_err`: any of redb's many error types, with what was tried.
pub(crate) fn database<E: Into<redb::Error>>(what: &'static str) -> impl FnOnce(E) -> VolumeError {
    move |source| VolumeError::Database { what, source: source.into() }
}
