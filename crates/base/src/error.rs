//! The kind of an error: the one thing about it that every layer above understands.
//!
//! Each subject has its own error enum and says its kind by `kind()`. The kind becomes an HTTP
//! status in `server/error.rs` and an exit code in `cli/error.rs`, nowhere else.

use std::{fmt, io};

/// What sort of failure an error is; the rest of it is text for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object does not exist (HTTP 404).
    NotFound,
    /// The request makes no sense as it stands (HTTP 400).
    InvalidInput,
    /// The request makes sense, but not in the present state (HTTP 409).
    Conflict,
    /// The caller has not proved who they are (HTTP 401).
    Unauthorized,
    /// The caller may not do this (HTTP 403).
    Forbidden,
    /// Nothing had to be done (HTTP 304).
    NotModified,
    /// A part that is needed does not answer at present (HTTP 503).
    Unavailable,
    /// hako does not have this (HTTP 501).
    NotImplemented,
    /// Something failed that should not (HTTP 500).
    Internal,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::InvalidInput => "invalid input",
            Self::Conflict => "conflict",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotModified => "not modified",
            Self::Unavailable => "unavailable",
            Self::NotImplemented => "not implemented",
            Self::Internal => "internal",
        })
    }
}

/// Prints an error with all its causes: `what failed: why: why that`.
///
/// A cause whose text the line already ends with is not repeated.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = plain(inner);
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = inner.source();
    }
    line
}

// `io::Error` prints "No such file or directory (os error 2)"; people want the words alone.
fn plain(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
        Some(code) => errno_text(code),
        None => error.to_string(),
    }
}

/// The kernel's sentence for an errno, in lower case and without the number.
pub fn errno_text(code: i32) -> String {
    let text = io::Error::from_raw_os_error(code).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write {path}")]
    struct Write {
        path: &'static str,
        source: io::Error,
    }

    #[test]
    fn a_chain_reads_as_one_sentence_without_numbers() {
        let error = Write { path: "/etc/passwd", source: io::Error::from_raw_os_error(28) };
        assert_eq!(chain(&error), "cannot write /etc/passwd: no space left on device");
    }
}
