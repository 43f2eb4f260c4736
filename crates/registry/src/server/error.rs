//! Errors as the protocol tells them: a code that clients know, a sentence, a status.

use std::io;

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::json;

use crate::{body::Body, digest::ContentDigest};

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// One error is told for each; one without detail if there is none.
    details: Vec<serde_json::Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Vec::new(), headers: Vec::new() }
    }

    #[must_use]
    pub(crate) fn detail(mut self, detail: serde_json::Value) -> Self {
        self.details.push(detail);
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn name_invalid(name: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name").detail(json!({ "name": name }))
    }

    pub(crate) fn name_unknown(name: &str) -> Self {
        let message = "repository name not known to registry";
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message).detail(json!({ "name": name }))
    }

    pub(crate) fn digest_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", why)
    }

    pub(crate) fn blob_unknown(digest: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry").detail(json!({ "digest": digest }))
    }

    pub(crate) fn upload_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
    }

    pub(crate) fn upload_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", why)
    }

    pub(crate) fn manifest_unknown(target: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown").detail(json!({ "reference": target }))
    }

    /// The last part of a path is to become a tag and cannot be one.
    pub(crate) fn tag_invalid(path: &str) -> Self {
        let tag = path.rsplit('/').next().unwrap_or_default();
        Self::new(StatusCode::BAD_REQUEST, "TAG_INVALID", format!("{tag:?} is not a tag"))
    }

    pub(crate) fn manifest_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why)
    }

    pub(crate) fn manifest_blob_unknown(missing: &[ContentDigest]) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
        missing.iter().fold(error, |error, digest| error.detail(json!({ "digest": digest })))
    }

    pub(crate) fn too_large(what: &str, most: u64) -> Self {
        let message = format!("{what} is larger than {most} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
    }

    pub(crate) fn unsupported(why: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", why)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is nothing at this path")
    }

    /// The disk's failure: told to the log in full, to the client in kind.
    pub(crate) fn storage(what: &str) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_owned();
        move |error| {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
            tracing::error!("{what}: {why}");
            let status = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Self::new(status, "UNKNOWN", format!("{what}: {why}"))
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let (code, message) = (self.code, self.message);
        let mut errors: Vec<_> = self
            .details
            .into_iter()
            .map(|detail| json!({ "code": code, "message": message, "detail": detail }))
            .collect();
        if errors.is_empty() {
            errors.push(json!({ "code": code, "message": message }));
        }
        let text = json!({ "errors": errors }).to_string();
        let mut response = Response::new(Body::Whole(Bytes::from(text)));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().extend(self.headers);
        response
    }
}
