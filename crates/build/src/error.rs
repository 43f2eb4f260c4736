//! Why a build did not make an image.

use hako_base::ErrorKind;
use hako_engine::EngineError;
use hako_image::ImageError;

use crate::language::SyntaxError;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{error}")]
    Syntax { error: SyntaxError, excerpt: String },
    /// The Dockerfile asks for something that makes no sense or is not there.
    #[error("{text}")]
    Invalid { text: String },
    #[error("{text}")]
    NotBuilt { text: String },
    /// A command ended with something else than 0. Docker's words.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command { command: String, code: i32 },
    /// A step failed; `source` says why.
    #[error("{source}")]
    Step { step: String, lines: (usize, usize), source: Box<BuildError> },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("{what}")]
    Io { what: String, source: std::io::Error },
    #[error("the build was cancelled")]
    Cancelled,
}

impl BuildError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Syntax { .. } | Self::Invalid { .. } => ErrorKind::InvalidInput,
            Self::NotBuilt { .. } => ErrorKind::NotImplemented,
            Self::Command { .. } | Self::Io { .. } | Self::Cancelled => ErrorKind::Internal,
            Self::Step { source, .. } => source.kind(),
            Self::Engine(error) => error.kind(),
            Self::Image(error) => error.kind(),
        }
    }

    /// The exit code of the command that failed.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Command { code, .. } => Some(*code),
            Self::Step { source, .. } => source.exit_code(),
            _ => None,
        }
    }

    /// The error in the words that BuildKit's users search for.
    pub(crate) fn modern(&self) -> String {
        match self {
            Self::Step { source, .. } => source.modern(),
            Self::Command { command, code } => {
                format!("process {command:?} did not complete successfully: exit code: {code}")
            }
            Self::Syntax { error, .. } => error.to_string(),
            other => hako_base::error::chain(other),
        }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid { text: text.into() }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
