//! Blobs in: at once, in pieces with resumption, or from another repository.
//!
//! An upload is one file; only one request at a time writes to it. What came of a request that broke off stays, so
//! that the client goes on from there.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName},
};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::{
    Shared,
    access::{Grant, Granted},
    answer::blocking,
    blob::set,
    endpoint::{Parameters, digest},
    error::ApiError,
    transfer,
};
use crate::{
    body::Body,
    digest::{Algorithm, ContentDigest, DigestError},
    limits,
    name::Repository,
    storage::{Appended, Upload},
};

type Answer = Result<Response<Body>, ApiError>;
type Shelf = Arc<AsyncMutex<Option<Upload>>>;

/// Uploads that this process has had in hand, by repository and id.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<(Repository, String), Shelf>>);

impl Uploads {
    // The upload, from memory or from the disk.
    async fn find(&self, shared: &Arc<Shared>, name: &Repository, id: &str) -> Result<Shelf, ApiError> {
        let key = (name.clone(), id.to_owned());
        if let Some(shelf) = self.0.lock().get(&key) {
            return Ok(shelf.clone());
        }
        let (held, known, text) = (shared.clone(), name.clone(), id.to_owned());
        let resumed = blocking("cannot resume an upload", move || held.storage.upload_resume(&known, &text)).await?;
        let upload = resumed.ok_or_else(ApiError::upload_unknown)?;
        let shelf = Arc::new(AsyncMutex::new(Some(upload)));
        Ok(self.keep(key, shelf))
    }

    // Those that nobody writes to are on the disk as well: the many that clients leave behind are forgotten here.
    fn keep(&self, key: (Repository, String), shelf: Shelf) -> Shelf {
        let mut known = self.0.lock();
        if known.len() >= limits::UPLOADS_REMEMBERED_MAX {
            known.retain(|_, shelf| Arc::strong_count(shelf) > 1);
        }
        known.entry(key).or_insert(shelf).clone()
    }

    fn forget(&self, name: &Repository, id: &str) {
        self.0.lock().remove(&(name.clone(), id.to_owned()));
    }
}

/// `POST …/uploads/`: begins one; or takes a blob from another repository; or takes one whole.
pub(crate) async fn begin(
    shared: &Arc<Shared>,
    name: Repository,
    parameters: &Parameters,
    granted: &Granted,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    if let (Some(wanted), Some(from)) = (parameters.get("mount"), parameters.get("from"))
        && let (Ok(wanted), Ok(from)) = (wanted.parse::<ContentDigest>(), from.parse::<Repository>())
        // Nobody gets by mounting what they could not have got by reading.
        && granted.allows(&Grant::repository(from.as_str(), &["pull"]))
    {
        let (held, known) = (shared.clone(), name.clone());
        let mounted = blocking("cannot mount a blob", move || {
            let found = held.storage.has_blob(&from, wanted);
            if found { held.storage.blob_link(&known, wanted).map(|()| true) } else { Ok(false) }
        });
        if mounted.await? {
            transfer::drain(body).await;
            return Ok(created(&name, wanted));
        }
    }
    let algorithm = match algorithm(parameters) {
        Ok(algorithm) => algorithm,
        Err(error) => {
            transfer::drain(body).await;
            return Err(error);
        }
    };
    let id = uuid();
    let (held, known, text) = (shared.clone(), name.clone(), id.clone());
    let begun = blocking("cannot begin an upload", move || held.storage.upload_begin(&known, &text, algorithm));
    let upload = begun.await?;
    let shelf = Arc::new(AsyncMutex::new(Some(upload)));
    shared.uploads.keep((name.clone(), id.clone()), shelf);
    if parameters.get("digest").is_some() {
        return finish(shared, name, &id, parameters, headers, body).await;
    }
    transfer::drain(body).await;
    Ok(progress(StatusCode::ACCEPTED, &name, &id, 0))
}

// By which algorithm the blob will be named, as far as the client says so before it sends it.
fn algorithm(parameters: &Parameters) -> Result<Algorithm, ApiError> {
    match (parameters.get("digest-algorithm"), parameters.get("digest").map(digest)) {
        (_, Some(known)) => known.map(ContentDigest::algorithm),
        (Some(text), None) => text.parse().map_err(|error: DigestError| ApiError::digest_invalid(error.to_string())),
        (None, None) => Ok(Algorithm::Sha256),
    }
}

/// `GET …/uploads/UUID`: how far it is.
pub(crate) async fn status(shared: &Arc<Shared>, name: Repository, id: &str) -> Answer {
    let shelf = shared.uploads.find(shared, &name, id).await?;
    let upload = shelf.lock().await;
    let size = upload.as_ref().ok_or_else(ApiError::upload_unknown)?.size;
    Ok(progress(StatusCode::NO_CONTENT, &name, id, size))
}

/// `PATCH …/uploads/UUID`: a piece more.
pub(crate) async fn piece(
    shared: &Arc<Shared>,
    name: Repository,
    id: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    let shelf = shared.uploads.find(shared, &name, id).await?;
    let mut place = shelf.lock().await;
    let size = place.as_ref().ok_or_else(ApiError::upload_unknown)?.size;
    if let Err(error) = in_order(headers, size) {
        transfer::drain(body).await;
        return Err(located(error, &name, id, size));
    }
    append(&mut place, body).await?;
    let size = place.as_ref().ok_or_else(ApiError::upload_unknown)?.size;
    Ok(progress(StatusCode::ACCEPTED, &name, id, size))
}

/// `PUT …/uploads/UUID?digest=`: the last piece, which may be empty, and what it all is.
pub(crate) async fn finish(
    shared: &Arc<Shared>,
    name: Repository,
    id: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    let shelf = shared.uploads.find(shared, &name, id).await?;
    let mut place = shelf.lock().await;
    let size = place.as_ref().ok_or_else(ApiError::upload_unknown)?.size;
    let expected = match parameters.get("digest").map(digest) {
        Some(Ok(expected)) => expected,
        refused => {
            transfer::drain(body).await;
            let missing = || ApiError::digest_invalid("the digest of the blob is missing");
            return Err(refused.and_then(Result::err).unwrap_or_else(missing));
        }
    };
    if let Err(error) = in_order(headers, size) {
        transfer::drain(body).await;
        return Err(located(error, &name, id, size));
    }
    append(&mut place, body).await?;
    let upload = place.take().ok_or_else(ApiError::upload_unknown)?;
    shared.uploads.forget(&name, id);
    let (upload, found) = blocking("cannot read an upload", move || {
        let found = upload.digest(expected.algorithm())?;
        Ok((upload, found))
    })
    .await?;
    if found != expected {
        blocking("cannot remove an upload", move || upload.cancel()).await?;
        return Err(ApiError::digest_invalid(format!("the blob that came has digest {found}, not {expected}")));
    }
    let (held, known) = (shared.clone(), name.clone());
    blocking("cannot keep a blob", move || held.storage.upload_finish(&known, upload, expected)).await?;
    Ok(created(&name, expected))
}

/// `DELETE …/uploads/UUID`
pub(crate) async fn cancel(shared: &Arc<Shared>, name: Repository, id: &str) -> Answer {
    let shelf = shared.uploads.find(shared, &name, id).await?;
    let upload = shelf.lock().await.take().ok_or_else(ApiError::upload_unknown)?;
    shared.uploads.forget(&name, id);
    blocking("cannot remove an upload", move || upload.cancel()).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

// Writes the body to the file, in a thread of its own; the upload comes back with what was written, come what may.
async fn append(place: &mut Option<Upload>, mut body: Incoming) -> Result<(), ApiError> {
    let mut upload = place.take().ok_or_else(ApiError::upload_unknown)?;
    let (sender, mut chunks) = mpsc::channel::<Bytes>(limits::CHUNKS_QUEUED_MAX);
    let writing = tokio::task::spawn_blocking(move || {
        let mut write = || -> std::io::Result<Appended> {
            let mut file = upload.open()?;
            while let Some(chunk) = chunks.blocking_recv() {
                if upload.append(&mut file, &chunk)? == Appended::TooLong {
                    return Ok(Appended::TooLong);
                }
            }
            Ok(Appended::Whole)
        };
        let written = write();
        (upload, written)
    });
    let mut broken = None;
    while let Some(chunk) = transfer::next_chunk(&mut body).await {
        match chunk {
            // A writer that has stopped says why below.
            Ok(chunk) => {
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    drop(sender);
    let (upload, written) = writing.await.map_err(|_| ApiError::upload_invalid("the upload was cut off"))?;
    *place = Some(upload);
    if written.map_err(ApiError::storage("cannot write an upload"))? == Appended::TooLong {
        return Err(ApiError::too_large("the blob", limits::BLOB_BYTES_MAX));
    }
    broken.map_or(Ok(()), Err)
}

// `Content-Range: START-END`, as this protocol writes it, must begin where the upload ends.
fn in_order(headers: &HeaderMap, size: u64) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let text = text.strip_prefix("bytes ").unwrap_or(text);
    let numbers = text.split_once('-').and_then(|(start, end)| {
        let end = end.split('/').next().unwrap_or(end);
        Some((start.trim().parse::<u64>().ok()?, end.trim().parse::<u64>().ok()?))
    });
    let Some((start, end)) = numbers else {
        return Err(ApiError::upload_invalid(format!("{text:?} is not a range: expected START-END")));
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let fits = length.is_none_or(|length| end.checked_sub(start).and_then(|span| span.checked_add(1)) == Some(length));
    if start == size && fits {
        return Ok(());
    }
    let why = format!("the piece {text} does not follow the {size} bytes that are here");
    Err(ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", why))
}

fn located(error: ApiError, name: &Repository, id: &str, size: u64) -> ApiError {
    error
        .header(header::LOCATION, &location(name, id))
        .header(header::RANGE, &format!("0-{}", size.saturating_sub(1)))
        .header(HeaderName::from_static("docker-upload-uuid"), id)
}

fn location(name: &Repository, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

fn progress(status: StatusCode, name: &Repository, id: &str, size: u64) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    set(&mut response, header::LOCATION, &location(name, id));
    set(&mut response, header::RANGE, &format!("0-{}", size.saturating_sub(1)));
    set(&mut response, HeaderName::from_static("docker-upload-uuid"), id);
    response
}

fn created(name: &Repository, digest: ContentDigest) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    set(&mut response, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    set(&mut response, HeaderName::from_static("docker-content-digest"), &digest.to_string());
    response
}

// A random UUID (version 4), which is what the reference registry takes for an upload's id.
pub(crate) fn uuid() -> String {
    let mut bytes = hako_base::random::bytes::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hako_base::random::encode_hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_must_follow_each_other() {
        let check = |range: &str, length: Option<&str>, size: u64| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, range.parse().unwrap());
            if let Some(length) = length {
                headers.insert(header::CONTENT_LENGTH, length.parse().unwrap());
            }
            in_order(&headers, size).map_err(|error| error.status.as_u16())
        };
        assert_eq!(check("0-9", Some("10"), 0), Ok(()));
        assert_eq!(check("10-19", Some("10"), 10), Ok(()));
        assert_eq!(check("bytes 10-19/20", None, 10), Ok(()));
        assert_eq!(check("10-19", Some("10"), 5), Err(416));
        assert_eq!(check("0-9", Some("5"), 0), Err(416));
        assert_eq!(check("x", None, 0), Err(400));
        assert_eq!(check("5-1", Some("1"), 5), Err(416));
        assert_eq!(check("0-18446744073709551615", Some("1"), 0), Err(416));
    }

    #[test]
    fn ids_are_uuids() {
        let id = uuid();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'));
    }
}
