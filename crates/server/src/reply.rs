//! Answers: whole, streamed or upgraded.
//!
//! `application/json` goes out without a charset: Docker's own client compares it byte for byte and
//! prints raw JSON otherwise.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hako_api::error::ErrorResponse;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
    ext::ReasonPhrase,
    header::{self, HeaderValue},
};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::error::Failure;

/// An answer.
pub(crate) type Reply = Response<ReplyBody>;

pub(crate) const JSON: &str = "application/json";
pub(crate) const TAR: &str = "application/x-tar";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// Bytes of a terminal, as they are.
pub(crate) const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// Frames of stdout and stderr.
pub(crate) const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

type Poller = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> + Send>;

/// The body of an answer.
pub(crate) enum ReplyBody {
    Whole(Bytes),
    Stream(Poller),
}

impl ReplyBody {
    /// Chunks as a channel gives them.
    pub(crate) fn channel<T: Send + 'static>(
        mut receiver: mpsc::Receiver<T>,
        mut render: impl FnMut(T) -> io::Result<Bytes> + Send + 'static,
    ) -> Self {
        Self::Stream(Box::new(move |cx| receiver.poll_recv(cx).map(|item| item.map(&mut render))))
    }

    /// One chunk, when it is there; the head goes out before.
    pub(crate) fn later(future: impl Future<Output = Bytes> + Send + 'static) -> Self {
        let mut future = Some(Box::pin(future));
        Self::Stream(Box::new(move |cx| {
            let Some(pending) = &mut future else { return Poll::Ready(None) };
            let bytes = ready!(pending.as_mut().poll(cx));
            future = None;
            Poll::Ready(Some(Ok(bytes)))
        }))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(poll) => poll(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// 200 with JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Reply, Failure> {
    json_with(StatusCode::OK, value)
}

/// 200 with a JSON array of what is JSON already.
pub(crate) fn json_list(entries: &[Bytes]) -> Reply {
    let mut text = Vec::with_capacity(3 + entries.iter().map(|entry| entry.len() + 1).sum::<usize>());
    text.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(entry);
    }
    text.extend_from_slice(b"]\n");
    with_body(StatusCode::OK, JSON, ReplyBody::Whole(text.into()))
}

/// 201 with JSON.
pub(crate) fn created(value: &impl Serialize) -> Result<Reply, Failure> {
    json_with(StatusCode::CREATED, value)
}

fn json_with(status: StatusCode, value: &impl Serialize) -> Result<Reply, Failure> {
    let mut bytes = serde_json::to_vec(value)?;
    // Go's encoder ends with a line feed; so does this.
    bytes.push(b'\n');
    Ok(with_body(status, JSON, ReplyBody::Whole(bytes.into())))
}

/// A status and nothing else: 204, or 201 where Docker has no body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::Whole(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// 204
pub(crate) fn no_content() -> Result<Reply, Failure> {
    Ok(empty(StatusCode::NO_CONTENT))
}

/// 200 with a body that comes as it comes.
pub(crate) fn stream(content_type: &'static str, body: ReplyBody) -> Reply {
    with_body(StatusCode::OK, content_type, body)
}

pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// `101 UPGRADED`: the connection is the client's and the process's from here on.
pub(crate) fn upgraded(content_type: &'static str) -> Reply {
    let mut reply = with_body(StatusCode::SWITCHING_PROTOCOLS, content_type, ReplyBody::Whole(Bytes::new()));
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    reply.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    reply
}

/// `101`: the connection is HTTP/2 from here on, and one of two sides has its services there.
pub(crate) fn upgraded_to_h2c() -> Reply {
    let mut reply = empty(StatusCode::SWITCHING_PROTOCOLS);
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    reply
}

/// What a failure looks like.
pub(crate) fn failure(failure: Failure) -> Reply {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == StatusCode::NOT_MODIFIED {
        return empty(status);
    }
    let message = ErrorResponse { message: failure.message };
    json_with(status, &message).unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR))
}
