//! What requests and answers carry: bytes at hand, or a file as it is read, in bounded memory.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use crate::limits;

/// The body of a request or an answer.
pub(crate) enum Body {
    Whole(Bytes),
    /// `left` bytes still to come; the sender fails by an error.
    File {
        chunks: mpsc::Receiver<io::Result<Bytes>>,
        left: u64,
    },
}

/// How far a file is that is still coming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arriving {
    /// So many bytes are there.
    Here(u64),
    /// All is there, and is what it should be.
    Whole,
    Failed(String),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// `count` bytes of a file from `start` on, read ahead by a few chunks in a thread that may wait.
    pub(crate) fn of_file(file: Arc<File>, start: u64, count: u64) -> Self {
        Self::read(file, start, count, |_| Ok(u64::MAX), |_| ())
    }

    /// The same of a file that is still coming; its last byte is sent once it is known to be right.
    pub(crate) fn of_arriving(
        file: Arc<File>,
        size: u64,
        start: u64,
        count: u64,
        mut arriving: watch::Receiver<Arriving>,
    ) -> Self {
        let handle = Handle::current();
        let ready = move |at: u64| {
            let enough = |state: &Arriving| match state {
                Arriving::Here(bytes) => (*bytes).min(size.saturating_sub(1)) > at,
                Arriving::Whole | Arriving::Failed(_) => true,
            };
            let state = handle.block_on(arriving.wait_for(enough)).map(|state| state.clone());
            match state.map_err(io::Error::other)? {
                Arriving::Here(bytes) => Ok(bytes.min(size.saturating_sub(1))),
                Arriving::Whole => Ok(size),
                Arriving::Failed(why) => Err(io::Error::other(why)),
            }
        };
        Self::read(file, start, count, ready, |_| ())
    }

    /// The same; `sent` hears at which position of the file it is.
    pub(crate) fn of_file_counted(file: Arc<File>, start: u64, count: u64, sent: watch::Sender<u64>) -> Self {
        let tell = move |done| {
            sent.send_replace(start + done);
        };
        Self::read(file, start, count, |_| Ok(u64::MAX), tell)
    }

    // `ready` waits until there is something at a position, and answers up to where there is.
    fn read(
        file: Arc<File>,
        start: u64,
        count: u64,
        mut ready: impl FnMut(u64) -> io::Result<u64> + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(limits::CHUNKS_QUEUED_MAX);
        tokio::task::spawn_blocking(move || {
            let mut at = start;
            while at < start + count {
                let mut size = (start + count - at).min(limits::CHUNK_BYTES as u64);
                let read = ready(at).and_then(|end| {
                    size = size.min(end.saturating_sub(at));
                    let mut chunk = vec![0; usize::try_from(size).unwrap_or(limits::CHUNK_BYTES)];
                    file.read_exact_at(&mut chunk, at).map(|()| chunk.into())
                });
                let failed = read.is_err();
                // Without a receiver the other side has gone.
                if sender.blocking_send(read).is_err() || failed {
                    return;
                }
                at += size;
                tell(at - start);
            }
        });
        Self::File { chunks, left: count }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::File { chunks, left } => chunks.poll_recv(cx).map(|chunk| match chunk {
                Some(Ok(bytes)) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Some(Ok(Frame::data(bytes)))
                }
                Some(Err(error)) => Some(Err(error)),
                None if *left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                None => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::File { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File { left, .. } => SizeHint::with_exact(*left),
        }
    }
}
