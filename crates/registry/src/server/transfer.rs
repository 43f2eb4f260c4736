//! Bodies of requests as they come in, with a deadline for each piece.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    StatusCode,
    body::{Body as _, Incoming},
};

use super::error::ApiError;
use crate::limits;

/// The next bytes of a request; `None` at its end.
pub(crate) async fn next_chunk(body: &mut Incoming) -> Option<Result<Bytes, ApiError>> {
    loop {
        let frame = match tokio::time::timeout(limits::STALL_DEADLINE, body.frame()).await {
            Ok(frame) => frame?,
            Err(_) => {
                let why = "the request body has stopped coming";
                return Some(Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "SIZE_INVALID", why)));
            }
        };
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(bytes) => return Some(Ok(bytes)),
                // Trailers say nothing here.
                Err(_) => continue,
            },
            Err(error) => {
                let why = format!("the request body broke off: {error}");
                return Some(Err(ApiError::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", why)));
            }
        }
    }
}

/// A body that is small.
pub(crate) async fn collect(mut body: Incoming, most: usize, what: &str) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::too_large(what, most as u64);
    if body.size_hint().lower() > most as u64 {
        drain(body).await;
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(&mut body).await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() > most {
            drain(body).await;
            return Err(too_large());
        }
    }
    Ok(bytes)
}

/// Reads a body that nobody wants, within reason, so that its sender hears the answer.
pub(crate) async fn drain(mut body: Incoming) {
    let mut drained = 0;
    while let Some(Ok(chunk)) = next_chunk(&mut body).await {
        drained += chunk.len() as u64;
        if drained > limits::BODY_BYTES_DRAINED {
            return;
        }
    }
}
