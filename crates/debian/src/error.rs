//! Why no system could be made of an archive.

use std::io;

use hako_archive::tar::TarError;
use hako_base::ErrorKind;

use crate::openpgp::SignatureError;

/// What went wrong with Debian's archive.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    #[error("{what} is not to be trusted")]
    Signature { what: String, source: SignatureError },
    #[error("{what} says {field} is {found:?}, not {wanted:?}")]
    Other { what: String, field: &'static str, found: String, wanted: String },
    #[error("{what} was valid until {until}: the mirror is out of date, or somebody withholds what is newer")]
    Outdated { what: String, until: String },
    #[error("{what} is malformed: {why}")]
    Malformed { what: String, why: String },
    #[error("{what} is not what the signed index says: its {property} is {found}, not {wanted}")]
    Mismatch { what: String, property: &'static str, found: String, wanted: String },
    #[error("{what} has {found}, more than {limit}")]
    Limit { what: String, found: u64, limit: u64 },
    #[error("the archive has no package {name:?}{because}")]
    NoPackage { name: String, because: String },
    #[error("cannot read {what}")]
    Tar { what: String, source: TarError },
    #[error("cannot {what}")]
    Io { what: String, source: io::Error },
}

impl DebianError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPackage { .. } => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Internal,
            Self::Tar { source, .. } => source.kind(),
            _ => ErrorKind::InvalidInput,
        }
    }

    pub(crate) fn malformed(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Malformed { what: what.into(), why: why.into() }
    }
}
