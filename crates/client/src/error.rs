//! Everything that can go wrong between a command and its daemon.

use std::io;

use hako_api::version::Unsupported;
use hako_base::ErrorKind;

use crate::HostError;

/// Why a request has no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("failed to connect to the docker API at {host}; check if the path is correct and if the daemon is running")]
    NoSocket { host: String, source: io::Error },
    #[error("permission denied while trying to connect to the docker API at {host}")]
    NoPermission { host: String, source: io::Error },
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Connect { host: String, source: io::Error },
    /// The daemon's own sentence.
    #[error("{message}")]
    Api { status: u16, message: String },
    #[error("{0}")]
    Version(Unsupported),
    #[error("error during connect: {operation} failed")]
    Transport { operation: &'static str, source: hyper::Error },
    #[error("cannot read the answer to {operation}")]
    Decode { operation: &'static str, source: serde_json::Error },
    #[error("the answer to {operation} is longer than {bytes_max} bytes")]
    TooLong { operation: &'static str, bytes_max: usize },
    #[error("unable to upgrade to tcp, received {status}")]
    NotUpgraded { status: u16 },
    #[error("cannot encode the request of {operation}")]
    Encode { operation: &'static str, source: serde_json::Error },
    #[error("invalid request line or header for {operation}")]
    Request { operation: &'static str, source: hyper::http::Error },
    /// A build that failed, in the daemon's words.
    #[error("{message}")]
    Build {
        kind: ErrorKind,
        message: String,
        /// The lines of the Dockerfile that it is about, if the daemon told.
        excerpt: String,
    },
    #[error("the stream of {operation} broke off")]
    Stream { operation: &'static str, source: io::Error },
}

impl ClientError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Host(HostError::Unparsable { .. } | HostError::Ssh { .. })
            | Self::Encode { .. }
            | Self::Request { .. } => ErrorKind::InvalidInput,
            Self::Host(HostError::NotBuilt { .. }) => ErrorKind::NotImplemented,
            Self::Api { status, .. } => hako_api::error::kind(*status),
            Self::NoPermission { .. } => ErrorKind::Forbidden,
            Self::NoSocket { .. } | Self::Connect { .. } | Self::Transport { .. } => ErrorKind::Unavailable,
            Self::Build { kind, .. } => *kind,
            Self::Version(_) => ErrorKind::InvalidInput,
            Self::Decode { .. } | Self::TooLong { .. } | Self::NotUpgraded { .. } | Self::Stream { .. } => {
                ErrorKind::Internal
            }
        }
    }

    /// Whether the daemon answered at all: then its sentence follows "Error response from daemon: ".
    pub fn is_from_daemon(&self) -> bool {
        matches!(self, Self::Api { .. })
    }

    pub(crate) fn connect(host: &crate::Host, source: io::Error) -> Self {
        let host = host.to_string();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoSocket { host, source },
            io::ErrorKind::PermissionDenied => Self::NoPermission { host, source },
            _ => Self::Connect { host, source },
        }
    }
}
