//! Blobs out: whole, by range, or only whether they are here.

use std::sync::Arc;

use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{self, HeaderValue},
};

use super::{Shared, answer::blocking, error::ApiError};
use crate::{body::Body, digest::ContentDigest, name::Repository};

type Answer = Result<Response<Body>, ApiError>;

pub(crate) async fn read(
    shared: &Arc<Shared>,
    method: &Method,
    headers: &HeaderMap,
    name: Repository,
    digest: ContentDigest,
) -> Answer {
    let (held, known) = (shared.clone(), name.clone());
    let found = blocking("cannot read a blob", move || held.storage.blob_open(&known, digest)).await?;
    let (file, size) = found.ok_or_else(|| ApiError::blob_unknown(&digest.to_string()))?;
    let range =
        headers.get(header::RANGE).and_then(|value| value.to_str().ok()).map_or(Range::Whole, |text| range(text, size));
    let mut response = Response::new(Body::empty());
    let (start, count) = match range {
        Range::Whole => (0, size),
        Range::Part { start, end } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {start}-{end}/{size}"));
            (start, end - start + 1)
        }
        Range::Unsatisfiable => {
            let why = format!("the blob has {size} bytes");
            return Err(ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", why)
                .header(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    // What a digest names never changes.
    set(&mut response, header::CACHE_CONTROL, "max-age=31536000");
    set(&mut response, header::ETAG, &format!("\"{digest}\""));
    set(&mut response, header::HeaderName::from_static("docker-content-digest"), &digest.to_string());
    if method == Method::HEAD {
        set(&mut response, header::CONTENT_LENGTH, &count.to_string());
    } else {
        *response.body_mut() = Body::of_file(Arc::new(file), start, count);
    }
    Ok(response)
}

pub(crate) async fn remove(shared: &Arc<Shared>, name: Repository, digest: ContentDigest) -> Answer {
    let held = shared.clone();
    let removed = blocking("cannot remove a blob", move || held.storage.blob_unlink(&name, digest)).await?;
    if !removed {
        return Err(ApiError::blob_unknown(&digest.to_string()));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    set(&mut response, header::HeaderName::from_static("docker-content-digest"), &digest.to_string());
    Ok(response)
}

pub(crate) fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Which part of a blob is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// Both included.
    Part {
        start: u64,
        end: u64,
    },
    Unsatisfiable,
}

// One range; several at once, and what is malformed, get the whole (RFC 9110, 14.2).
fn range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Range::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (number(first), number(last)) {
        (Some(start), _) if start >= size && (last.trim().is_empty() || number(last).is_some()) => Range::Unsatisfiable,
        (Some(start), Some(end)) if start <= end => Range::Part { start, end: end.min(size - 1) },
        (Some(start), None) if last.trim().is_empty() => Range::Part { start, end: size - 1 },
        (None, Some(0)) if first.is_empty() => Range::Unsatisfiable,
        (None, Some(count)) if first.is_empty() && size > 0 => {
            Range::Part { start: size.saturating_sub(count), end: size - 1 }
        }
        _ => Range::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_has_them() {
        for (text, expected) in [
            ("bytes=0-", Range::Part { start: 0, end: 9 }),
            ("bytes=3-5", Range::Part { start: 3, end: 5 }),
            ("bytes=3-500", Range::Part { start: 3, end: 9 }),
            ("bytes=-4", Range::Part { start: 6, end: 9 }),
            ("bytes=-40", Range::Part { start: 0, end: 9 }),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=5-3", Range::Whole),
            ("bytes=1-2,4-5", Range::Whole),
            ("items=1-2", Range::Whole),
            ("bytes=99999999999999999999-", Range::Whole),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Range::Unsatisfiable);
        assert_eq!(range("bytes=-5", 0), Range::Whole);
    }
}
