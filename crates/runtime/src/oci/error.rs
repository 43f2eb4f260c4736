//! What can go wrong with a bundle, and with an operation on a container.
//!
//! The sentences that callers look for are runc's: containerd and Podman tell by "container does not exist",
//! "container not running" and "already exists" what an error means.

use std::{io, path::PathBuf};

use hako_base::ErrorKind;

use crate::{cgroup::CgroupError, error::LaunchError, seccomp::ProfileError};

/// Everything that can go wrong here.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{path} is not understood: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("invalid {what}: {reason}")]
    Invalid { what: String, reason: String },
    #[error("{what} is not supported: {reason}")]
    Unsupported { what: String, reason: String },
    #[error("invalid container id format: {id:?}")]
    Id { id: String },
    #[error("container with id {id} already exists")]
    Exists { id: String },
    #[error("container {id:?} does not exist")]
    Missing { id: String },
    #[error("container not running")]
    NotRunning,
    #[error("{0}")]
    State(String),
    #[error("unable to start container process")]
    Launch(#[source] LaunchError),
    #[error(transparent)]
    Hook(LaunchError),
    #[error("cannot {what} {subject}")]
    Open { what: &'static str, subject: String, source: io::Error },
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Seccomp(#[from] ProfileError),
}

impl OciError {
    pub(super) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), reason: reason.into() }
    }

    pub(super) fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), reason: reason.into() }
    }

    pub(super) fn state(text: impl Into<String>) -> Self {
        Self::State(text.into())
    }

    /// The kind, for whoever answers a client.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Exists { .. } | Self::State(_) | Self::NotRunning => ErrorKind::Conflict,
            Self::Unsupported { .. } => ErrorKind::NotImplemented,
            Self::Id { .. } | Self::Invalid { .. } | Self::Malformed { .. } | Self::TooLarge { .. } => {
                ErrorKind::InvalidInput
            }
            Self::Launch(error) | Self::Hook(error) => error.kind(),
            Self::Cgroup(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
            Self::Read { .. } | Self::Write { .. } | Self::Open { .. } => ErrorKind::Internal,
        }
    }
}
