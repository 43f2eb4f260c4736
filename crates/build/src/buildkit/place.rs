//! Where in a Dockerfile a build failed, as a detail of the answer: clients show the lines around it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard_buildkit_proto::google::{protobuf::Any, rpc};
use prost::Message;
use serde_json::json;
use tonic::Status;

use super::bridge::failed;
use crate::error::BuildError;

/// By this name BuildKit's clients know a place in a source, written as JSON.
const SOURCE: &str = "github.com/moby/buildkit/errdefs.Source+json";

/// The error with its place, if it is about an instruction.
pub(super) fn failed_in(error: &BuildError, file: &str, text: &str) -> Status {
    let status = failed(error);
    let (first, last, excerpt) = match error {
        BuildError::Step { lines: (first, last), .. } => (*first, *last, None),
        BuildError::Syntax { error, excerpt } => {
            let line = error.place(text).0;
            (line, line, Some(excerpt))
        }
        _ => return status,
    };
    // Docker's clients look for the step that failed by these words.
    let missing = status.message().starts_with("failed to calculate checksum");
    let message = if missing { "failed to compute cache key: " } else { "" }.to_owned() + status.message();
    let range = json!({ "start": { "line": first }, "end": { "line": last } });
    let source = json!({
        "info": { "filename": file, "data": STANDARD.encode(text), "language": "Dockerfile" },
        "ranges": [range],
        // With marks under the words that are wrong; only hako's own client looks here.
        "hako": excerpt,
    });
    let detail = Any { type_url: SOURCE.to_owned(), value: source.to_string().into_bytes() };
    with_details(&rpc::Status { code: status.code().into(), message, details: vec![detail] })
}

/// An answer with everything that somebody's status says.
pub(super) fn with_details(status: &rpc::Status) -> Status {
    Status::with_details(status.code.into(), status.message.clone(), status.encode_to_vec().into())
}
