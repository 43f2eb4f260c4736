//! Requests for which the client has no method, because hako's daemon does not have them yet. They
//! are sent all the same: another daemon may have them, and ours says itself that it does not.

use bytes::Bytes;
use hako_api::error::ErrorResponse;
use hako_client::{Client, ClientError, RequestBody};
use serde::de::DeserializeOwned;

use crate::error::CommandError;

/// The longest answer to such a request; honest ones have a few KiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Sends a request and gives the body of a good answer.
///
/// # Errors
/// When the daemon does not answer, or with an error.
pub(crate) async fn send(
    client: &Client,
    method: &str,
    target: &str,
    body: RequestBody,
) -> Result<Bytes, CommandError> {
    let headers: &[(&str, &str)] = match body {
        RequestBody::Empty => &[],
        _ => &[("content-type", "application/json")],
    };
    let answer = client.raw(method, target, headers, body).await?;
    let status = answer.status;
    let bytes = answer.body.collect(ANSWER_BYTES_MAX).await?;
    if (200..300).contains(&status) {
        return Ok(bytes);
    }
    let message = match serde_json::from_slice::<ErrorResponse>(&bytes) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
    };
    Err(CommandError::Client(ClientError::Api { status, message }))
}

/// Reads an answer.
///
/// # Errors
/// When it is something else.
pub(crate) fn json_from<T: DeserializeOwned>(bytes: Bytes) -> Result<T, CommandError> {
    serde_json::from_slice(&bytes)
        .map_err(|error| CommandError::Said(format!("cannot read the daemon's answer: {error}")))
}
