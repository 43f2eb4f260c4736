//! Everything that an operation of the engine can answer instead of doing it.
//!
//! The sentences are those that Docker's clients know and test for; what a mechanism says comes
//! as the cause. The kind decides the HTTP status, in `server/error.rs`.

use hako_base::ErrorKind;
use hako_model::ContainerId;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("No such container: {name}")]
    NoContainer { name: String },
    /// Docker's sentence.
    #[error(
        "image with reference {name} was found but its platform ({own}) does not match the specified platform ({wanted})"
    )]
    OtherPlatform { name: String, own: String, wanted: String },
    #[error("No such image: {name}")]
    NoImage { name: String },
    /// A push of what is not here.
    #[error("An image does not exist locally with the tag: {name}")]
    NoSuchTag { name: String },
    #[error("network {name} not found")]
    NoNetwork { name: String },
    #[error("get {name}: no such volume")]
    NoVolume { name: String },
    #[error("No such exec instance: {name}")]
    NoExec { name: String },
    #[error("Multiple IDs found with provided prefix: {name}")]
    Ambiguous { name: String },
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken { name: String, owner: ContainerId },
    #[error("{text}")]
    Invalid { text: String },
    #[error("{text}")]
    Conflict { text: String },
    #[error("{text}")]
    Forbidden { text: String },
    #[error("{text}")]
    NotBuilt { text: String },
    /// Nothing had to be done.
    #[error("{text}")]
    NotModified { text: String },
    /// A start that failed in or before the container's process.
    #[error("{text}")]
    Start { text: String, exit_code: i32, kind: ErrorKind },
    /// A mechanism's own words.
    #[error("{text}")]
    Mechanism { kind: ErrorKind, text: String },
    /// The keeper has died before it could be asked; another one comes.
    #[error("no keeper is there to start a process: look into the daemon's log")]
    NoKeeper { reign: crate::keeper::Reign },
    #[error("{step} of {operation} failed: {text}")]
    Step { operation: &'static str, step: &'static str, text: String },
}

impl EngineError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoContainer { .. }
            | Self::OtherPlatform { .. }
            | Self::NoImage { .. }
            | Self::NoSuchTag { .. }
            | Self::NoNetwork { .. }
            | Self::NoVolume { .. }
            | Self::NoExec { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } | Self::Invalid { .. } => ErrorKind::InvalidInput,
            Self::NameTaken { .. } | Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::NotBuilt { .. } => ErrorKind::NotImplemented,
            Self::NotModified { .. } => ErrorKind::NotModified,
            Self::Start { kind, .. } | Self::Mechanism { kind, .. } => *kind,
            Self::NoKeeper { .. } => ErrorKind::Unavailable,
            Self::Step { .. } => ErrorKind::Internal,
        }
    }

    /// An invalid request.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid { text: text.into() }
    }

    /// A request that the present state forbids.
    pub(crate) fn conflict(text: impl Into<String>) -> Self {
        Self::Conflict { text: text.into() }
    }

    /// A mechanism's error, with all its causes.
    pub(crate) fn mechanism(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        Self::Mechanism { kind, text: hako_base::error::chain(error) }
    }

    /// An error of the system on some object: `cannot write the log of web: no space left on device`.
    pub(crate) fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
        Self::Mechanism { kind: ErrorKind::Internal, text: format!("{what}: {why}") }
    }
}
