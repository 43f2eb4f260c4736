//! What can go wrong between a daemon and its keeper.

use std::{io, path::PathBuf, time::Duration};

use hako_base::ErrorKind;
use hako_runtime::LaunchError;

use crate::protocol::Failure;

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The process could not be started; the step and the reason are inside.
    #[error(transparent)]
    Launch(LaunchError),
    #[error("cannot start a keeper with {program}")]
    Start { program: PathBuf, source: io::Error },
    #[error("the keeper did not start: {reason}")]
    NotReady { reason: String },
    #[error("cannot connect to the keeper at {path}")]
    Connect { path: PathBuf, source: io::Error },
    /// Nothing of the request has reached it: another keeper may be asked the same.
    #[error("the connection to the keeper is lost")]
    Lost,
    #[error("the keeper has ended while it was asked: whether it was done is not known")]
    Interrupted,
    #[error("the keeper has not answered for {} s", waited.as_secs())]
    Silent { waited: Duration },
    #[error("cannot send {what} to the keeper")]
    Send { what: &'static str, source: io::Error },
    #[error("a message from the keeper makes no sense: {reason}")]
    Nonsense { reason: String },
    #[error("the keeper refused: {text}")]
    Refused { kind: ErrorKind, text: String },
}

impl KeeperError {
    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Launch(error) => error.kind(),
            Self::Refused { kind, .. } => *kind,
            Self::Start { .. }
            | Self::NotReady { .. }
            | Self::Connect { .. }
            | Self::Lost
            | Self::Interrupted
            | Self::Silent { .. } => ErrorKind::Unavailable,
            Self::Send { .. } | Self::Nonsense { .. } => ErrorKind::Internal,
        }
    }
}

impl From<Failure> for KeeperError {
    fn from(failure: Failure) -> Self {
        let kind = failure.kind();
        match failure {
            Failure::Launch(error) => Self::Launch(error),
            Failure::Refused(text) | Failure::NotFound(text) | Failure::Broken(text) => Self::Refused { kind, text },
        }
    }
}
