//! Manifests in and out, by tag and by digest.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName},
};

use super::{
    Shared,
    answer::blocking,
    blob::{is_known, set},
    endpoint::Parameters,
    error::ApiError,
    transfer,
};
use crate::{
    body::Body,
    digest::Algorithm,
    limits,
    name::{Repository, Target, is_tag},
    wire::{Document, DocumentError, OCI_INDEX},
};

type Answer = Result<Response<Body>, ApiError>;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

pub(crate) async fn read(
    shared: &Arc<Shared>,
    method: &Method,
    headers: &HeaderMap,
    name: Repository,
    target: Target,
) -> Answer {
    if let Some(upstream) = &shared.upstream {
        upstream.manifest(shared, &name, &target).await?;
    }
    let (held, wanted) = (shared.clone(), target.clone());
    let found = blocking("cannot read a manifest", move || {
        let digest = match wanted {
            Target::Digest(digest) => Some(digest),
            Target::Tag(tag) => held.storage.tag_read(&name, &tag)?,
        };
        let Some(digest) = digest else { return Ok(None) };
        Ok(held.storage.manifest_read(&name, digest)?.map(|bytes| (digest, bytes)))
    });
    let (digest, bytes) = found.await?.ok_or_else(|| ApiError::manifest_unknown(&target.to_string()))?;
    // The storage keeps no types: the manifest says what it is.
    let media_type = Document::parse(&bytes, "").map_or_else(|_| OCI_INDEX.to_owned(), |document| document.media_type);
    let mut response = Response::new(Body::empty());
    set(&mut response, header::ETAG, &format!("\"{digest}\""));
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    if is_known(headers, digest) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    set(&mut response, header::CONTENT_TYPE, &media_type);
    set(&mut response, header::CONTENT_LENGTH, &bytes.len().to_string());
    if method != Method::HEAD {
        *response.body_mut() = Body::Whole(Bytes::from(bytes));
    }
    Ok(response)
}

pub(crate) async fn write(
    shared: &Arc<Shared>,
    name: Repository,
    target: Target,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    let bytes = transfer::collect(body, limits::MANIFEST_BYTES_MAX, "the manifest").await?;
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let document = Document::parse(&bytes, media_type).map_err(invalid)?;
    let also: Vec<String> = parameters.all("tag").map(str::to_owned).collect();
    if also.len() > limits::TAGS_AT_ONCE_MAX {
        let why = format!("at most {} tags can be given at once", limits::TAGS_AT_ONCE_MAX);
        return Err(ApiError::new(StatusCode::URI_TOO_LONG, "TAG_INVALID", why));
    }
    let mut tags = also.clone();
    let algorithm = match &target {
        Target::Digest(expected) => expected.algorithm(),
        Target::Tag(_) => Algorithm::Sha256,
    };
    let digest = algorithm.of(&bytes);
    match &target {
        Target::Digest(expected) if *expected != digest => {
            return Err(ApiError::digest_invalid(format!(
                "the manifest that came has digest {digest}, not {expected}"
            )));
        }
        Target::Digest(_) => {}
        Target::Tag(tag) => tags.push(tag.clone()),
    }
    if let Some(bad) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(ApiError::tag_invalid(bad));
    }
    let subject = document.subject.as_ref().map(|subject| subject.digest);
    let (held, known) = (shared.clone(), name.clone());
    let written = blocking("cannot keep a manifest", move || {
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        held.storage.manifest_write_checked(&known, digest, &bytes, &document, &tags)
    });
    let missing = written.await?;
    if !missing.is_empty() {
        return Err(ApiError::manifest_blob_unknown(&missing));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    set(&mut response, header::LOCATION, &format!("/v2/{name}/manifests/{digest}"));
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    if let Some(subject) = subject {
        set(&mut response, HeaderName::from_static("oci-subject"), &subject.to_string());
    }
    if !also.is_empty() {
        set(&mut response, HeaderName::from_static("oci-tag"), &also.join(", "));
    }
    Ok(response)
}

pub(crate) async fn remove(shared: &Arc<Shared>, name: Repository, target: Target) -> Answer {
    let (held, wanted) = (shared.clone(), target.clone());
    let removed = blocking("cannot remove a manifest", move || match wanted {
        Target::Tag(tag) => held.storage.tag_remove(&name, &tag),
        Target::Digest(digest) => held.storage.manifest_remove(&name, digest),
    });
    if !removed.await? {
        return Err(ApiError::manifest_unknown(&target.to_string()));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn invalid(error: DocumentError) -> ApiError {
    ApiError::manifest_invalid(error.to_string())
}
