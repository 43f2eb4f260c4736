//! An error becomes a status and a sentence: here and nowhere else.

use hako_api::{error, query::QueryError};
use hako_base::ErrorKind;
use hako_engine::EngineError;

/// Why a request is not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status: error::status(kind), message: message.into() }
    }

    /// A request that makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Something that is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A wish that hako knows and cannot fulfil yet.
    pub(crate) fn not_built(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotImplemented, message)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::new(error.kind(), hako_base::error::chain(&error))
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::invalid(error.text)
    }
}

impl From<serde_json::Error> for Failure {
    /// Of printing an answer; what cannot be read is told where it is read.
    fn from(error: serde_json::Error) -> Self {
        Self::new(ErrorKind::Internal, format!("cannot print the answer as JSON: {error}"))
    }
}
