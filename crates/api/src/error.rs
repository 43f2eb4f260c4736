//! How an error looks on the wire, and which HTTP status each kind of error has.

use hako_base::ErrorKind;
use serde::{Deserialize, Serialize};

/// The body of every answer that is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    pub message: String,
}

/// The HTTP status that says this kind.
pub fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::NotModified => 304,
        ErrorKind::InvalidInput => 400,
        ErrorKind::Unauthorized => 401,
        ErrorKind::Forbidden => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::Conflict => 409,
        ErrorKind::Internal => 500,
        ErrorKind::NotImplemented => 501,
        ErrorKind::Unavailable => 503,
    }
}

/// The kind that an HTTP status says; the inverse of [`status`] where there is one.
pub fn kind(status: u16) -> ErrorKind {
    match status {
        304 => ErrorKind::NotModified,
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        501 => ErrorKind::NotImplemented,
        503 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::InvalidInput,
        _ => ErrorKind::Internal,
    }
}
