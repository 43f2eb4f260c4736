//! Blobs out: whole, by range, or only whether they are here.

use std::{fs::File, sync::Arc};

use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{self, HeaderValue},
};

use super::{Shared, answer::blocking, error::ApiError, upstream::Coming};
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
    let is_here = move || Ok(held.storage.has_blob(&known, digest));
    if is_known(headers, digest) && blocking("cannot look for a blob", is_here).await? {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        set(&mut response, header::ETAG, &format!("\"{digest}\""));
        return Ok(response);
    }
    let source = source(shared, method, &name, digest).await?;
    let source = source.ok_or_else(|| ApiError::blob_unknown(&digest.to_string()))?;
    let size = source.size();
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
        *response.body_mut() = source.body(start, count);
    }
    Ok(response)
}

/// Whether the client has what is of this digest: `If-None-Match` lists what it has.
pub(crate) fn is_known(headers: &HeaderMap, digest: ContentDigest) -> bool {
    let listed = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|tag| tag.trim().trim_matches('"') == digest.to_string())
}

/// Where a blob's bytes are.
enum Source {
    Here(File, u64),
    /// Upstream, and coming.
    Coming(Coming),
    /// Upstream, and nobody wants more than to know so.
    There(u64),
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Self::Here(_, size) | Self::There(size) => *size,
            Self::Coming(coming) => coming.size,
        }
    }

    fn body(self, start: u64, count: u64) -> Body {
        match self {
            Self::Here(file, _) => Body::of_file(Arc::new(file), start, count),
            Self::Coming(Coming { file, size, arriving }) => Body::of_arriving(file, size, start, count, arriving),
            Self::There(_) => Body::empty(),
        }
    }
}

async fn source(
    shared: &Arc<Shared>,
    method: &Method,
    name: &Repository,
    digest: ContentDigest,
) -> Result<Option<Source>, ApiError> {
    let (held, known, is_read_only) = (shared.clone(), name.clone(), shared.settings.read_only);
    let here = blocking("cannot read a blob", move || {
        let found = held.storage.blob_open(&known, digest)?;
        if found.is_some() && !is_read_only {
            held.storage.blob_freshen(&known, digest)?;
        }
        Ok(found)
    });
    match (here.await?, &shared.upstream) {
        (Some((file, size)), _) => Ok(Some(Source::Here(file, size))),
        (None, None) => Ok(None),
        (None, Some(upstream)) if method == Method::HEAD => {
            Ok(upstream.blob_size(name, digest).await?.map(Source::There))
        }
        (None, Some(upstream)) => Ok(upstream.blob(shared, name, digest).await?.map(Source::Coming)),
    }
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
