//! Everything that can be wrong with a Compose file and with what is done with it.

use std::{io, path::PathBuf};

use hako_base::ErrorKind;
use hako_client::ClientError;

use crate::node::Place;

/// A mistake in a file: where it is, below which key, what is wrong and what was probably meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}{message}{}", key_text(.key), hint_text(.hint.as_deref()))]
pub struct Mistake {
    pub place: Place,
    /// `services.web.ports[0]`; empty for the file as a whole.
    pub key: String,
    pub message: String,
    pub hint: Option<String>,
}

fn key_text(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

fn hint_text(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}

impl Mistake {
    pub fn new(place: &Place, key: impl Into<String>, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { place: place.clone(), key: key.into(), message: message.into(), hint: None })
    }

    #[must_use]
    pub fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }
}

/// Why a project could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Mistake(#[from] Box<Mistake>),
    #[error("no configuration file provided: not found (looked for compose.yaml in {} and above)", .directory.display())]
    NoFile { directory: PathBuf },
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("couldn't find env file: {}", .path.display())]
    NoEnvironmentFile { path: PathBuf },
    #[error("{file}:{line}: {message}")]
    Dotenv { file: String, line: usize, message: String },
    #[error(
        "invalid project name {name:?}: must consist only of lowercase alphanumeric characters, hyphens, and underscores as well as start with a letter or number"
    )]
    Name { name: String },
    #[error("project name must not be empty (name the directory, use -p, or put \"name:\" into the file)")]
    NoName,
    #[error("no such service: {name}{}", hint_text(.hint.as_deref()))]
    NoService { name: String, hint: Option<String> },
    #[error("{0}")]
    Project(String),
}

impl LoadError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoFile { .. } | Self::NoEnvironmentFile { .. } | Self::NoService { .. } => ErrorKind::NotFound,
            Self::Read { .. } => ErrorKind::Internal,
            _ => ErrorKind::InvalidInput,
        }
    }
}

/// Why something could not be done with a project.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{what}: {message}")]
    Object { what: String, message: String },
    /// An image could not be had: scripts tell this from other failures.
    #[error(transparent)]
    Pull(Box<ApplyError>),
    #[error("{0}")]
    Said(String),
}

impl ApplyError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Client(error) => error.kind(),
            Self::Pull(error) => error.kind(),
            Self::Object { .. } | Self::Said(_) => ErrorKind::Internal,
        }
    }
}
