//! What pull, push, load, import and build report: one JSON object a line, in one stream.
//!
//! The status line has gone out by then, so errors come in band.

use serde::{Deserialize, Serialize};

use crate::wire::is_default;

/// One line of progress.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProgressMessage {
    #[serde(skip_serializing_if = "is_default")]
    pub stream: String,
    #[serde(skip_serializing_if = "is_default")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    #[serde(skip_serializing_if = "is_default")]
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The older form of `error_detail`, which clients still read.
    #[serde(skip_serializing_if = "is_default")]
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    #[serde(skip_serializing_if = "is_default")]
    pub current: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub total: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub start: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub hidecounts: bool,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "crate::wire::null_is_default")]
    pub units: String,
}

impl ProgressDetail {
    /// `current` of `total`; a total of 0 is not known.
    pub fn new(current: u64, total: u64) -> Self {
        let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
        Self { current: signed(current), total: signed(total), ..Self::default() }
    }
}

/// What went wrong after the stream had begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    #[serde(skip_serializing_if = "is_default")]
    pub code: i64,
    pub message: String,
}

impl ProgressMessage {
    /// The line that ends a stream badly.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error: message.clone(), error_detail: Some(ErrorDetail { code: 0, message }), ..Self::default() }
    }

    /// The message of a line that is an error, in either form.
    pub fn error_text(&self) -> Option<&str> {
        match &self.error_detail {
            Some(detail) => Some(&detail.message),
            None if !self.error.is_empty() => Some(&self.error),
            None => None,
        }
    }

    /// The line as bytes; Docker ends it with CR LF.
    pub fn encode(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.extend_from_slice(b"\r\n");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_only_what_they_say() {
        let line = ProgressMessage {
            status: "Loading layer".into(),
            id: "abc".into(),
            progress_detail: Some(ProgressDetail::new(5, 10)),
            ..Default::default()
        };
        let text = String::from_utf8(line.encode()).unwrap();
        assert_eq!(
            text,
            "{\"status\":\"Loading layer\",\"progressDetail\":{\"current\":5,\"total\":10},\"id\":\"abc\"}\r\n"
        );
        let error = String::from_utf8(ProgressMessage::error("no space").encode()).unwrap();
        assert_eq!(error, "{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\r\n");
    }
}
