//! Manifests in and out, by tag and by digest, and who refers to them.

use std::sync::Arc;

use bytes::Bytes;
use hako_model::Digest;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName},
};

use super::{Shared, answer::blocking, blob::set, endpoint::Parameters, error::ApiError, transfer};
use crate::{
    body::Body,
    limits,
    name::{Repository, Target, is_tag},
    storage::Storage,
    wire::{Descriptor, Document, DocumentError, OCI_INDEX},
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
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    if known.flat_map(|value| value.split(',')).any(|tag| tag.trim().trim_matches('"') == digest.to_string()) {
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
    let digest = digest_of(&bytes);
    let mut tags: Vec<String> = parameters.all("tag").map(str::to_owned).collect();
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
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "TAG_INVALID", format!("{bad:?} is not a tag")));
    }
    let subject = document.subject.as_ref().map(|subject| subject.digest);
    let (held, known) = (shared.clone(), name.clone());
    let written = blocking("cannot keep a manifest", move || {
        if let Some(missing) = missing(&held.storage, &known, &document) {
            return Ok(Err(missing));
        }
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        held.storage.manifest_write(&known, digest, &bytes, subject, &tags).map(Ok)
    });
    if let Err(missing) = written.await? {
        return Err(ApiError::manifest_blob_unknown(&missing.to_string()));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    set(&mut response, header::LOCATION, &format!("/v2/{name}/manifests/{digest}"));
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    if let Some(subject) = subject {
        set(&mut response, HeaderName::from_static("oci-subject"), &subject.to_string());
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

/// `GET …/referrers/DIGEST`: an index of what refers to it.
pub(crate) async fn referrers(
    shared: &Arc<Shared>,
    name: Repository,
    subject: Digest,
    parameters: &Parameters,
) -> Answer {
    let held = shared.clone();
    let all = blocking("cannot read referrers", move || referring(&held.storage, &name, subject)).await?;
    let wanted = parameters.get("artifactType");
    let chosen: Vec<&Descriptor> =
        all.iter().filter(|one| wanted.is_none() || one.artifact_type.as_deref() == wanted).collect();
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": chosen });
    let mut response = Response::new(Body::Whole(Bytes::from(index.to_string())));
    set(&mut response, header::CONTENT_TYPE, OCI_INDEX);
    if wanted.is_some() {
        set(&mut response, HeaderName::from_static("oci-filters-applied"), "artifactType");
    }
    Ok(response)
}

fn referring(storage: &Storage, name: &Repository, subject: Digest) -> std::io::Result<Vec<Descriptor>> {
    let mut all: Vec<Descriptor> = Vec::new();
    for digest in storage.referrers(name, subject)? {
        let Some(bytes) = storage.manifest_read(name, digest)? else { continue };
        let Ok(document) = Document::parse(&bytes, "") else { continue };
        let of_config = || document.config.as_ref().map(|config| config.media_type.clone());
        all.push(Descriptor {
            artifact_type: document.artifact_type.clone().filter(|kind| !kind.is_empty()).or_else(of_config),
            media_type: document.media_type,
            digest,
            size: bytes.len() as u64,
            annotations: document.annotations.unwrap_or_default(),
            platform: None,
            urls: Vec::new(),
        });
    }
    // Clients of registries without this endpoint kept such an index themselves, under this tag.
    let fallback = format!("sha256-{}", subject.hex());
    let kept = storage.tag_read(name, &fallback)?.map(|digest| storage.manifest_read(name, digest)).transpose()?;
    let kept = kept.flatten().and_then(|bytes| Document::parse(&bytes, "").ok());
    for descriptor in kept.and_then(|index| index.manifests).unwrap_or_default() {
        if !all.iter().any(|known| known.digest == descriptor.digest) {
            all.push(descriptor);
        }
    }
    Ok(all)
}

// The first thing that a manifest needs and the repository lacks. A subject may come later.
fn missing(storage: &Storage, name: &Repository, document: &Document) -> Option<Digest> {
    let blob = document.blobs().map(|blob| blob.digest).find(|digest| !storage.has_blob(name, *digest));
    let inner = document.manifests.iter().flatten().map(|inner| inner.digest);
    blob.or_else(|| inner.into_iter().find(|digest| !storage.has_manifest(name, *digest)))
}

fn invalid(error: DocumentError) -> ApiError {
    ApiError::manifest_invalid(error.to_string())
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    Digest::from_sha256(digest)
}
