//! What requests carry and what answers stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use crate::ClientError;

/// The body of a request.
#[derive(Debug, Default)]
pub enum RequestBody {
    #[default]
    Empty,
    Bytes(Bytes),
    /// Chunks as they come, until the sender is dropped; an error breaks the request off.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(chunks) => chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// The body of an answer, piece by piece.
#[derive(Debug)]
pub struct BodyReader {
    operation: &'static str,
    incoming: Incoming,
}

impl BodyReader {
    pub(crate) fn new(operation: &'static str, incoming: Incoming) -> Self {
        Self { operation, incoming }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks off before the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|source| ClientError::Transport { operation: self.operation, source })?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Everything that is left, up to `bytes_max`.
    ///
    /// # Errors
    /// When it is longer, or the connection breaks off.
    pub async fn collect(mut self, bytes_max: usize) -> Result<Bytes, ClientError> {
        let mut first = Bytes::new();
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if all.is_empty() && first.is_empty() {
                first = chunk;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&chunk);
            if all.len() > bytes_max {
                return Err(ClientError::TooLong { operation: self.operation, bytes_max });
            }
        }
        Ok(if all.is_empty() { first } else { all.into() })
    }
}
