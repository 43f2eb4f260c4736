//! Connections that have become streams in both directions: attach and exec.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use hyper::{Response, body::Incoming, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

use crate::{ClientError, socket::Socket};

/// A connection after `101 UPGRADED`.
#[derive(Debug)]
pub struct Hijacked {
    /// Whether output comes in frames (`multiplex`); not known below API 1.42.
    pub multiplexed: Option<bool>,
    socket: Socket,
    /// What came together with the head.
    first: Bytes,
}

/// Output, until the process has ended.
#[derive(Debug)]
pub struct HijackedReader {
    first: Bytes,
    socket: ReadHalf<Socket>,
}

/// Input.
#[derive(Debug)]
pub struct HijackedWriter {
    socket: WriteHalf<Socket>,
}

impl Hijacked {
    pub(crate) async fn from_response(
        operation: &'static str,
        response: Response<Incoming>,
    ) -> Result<Self, ClientError> {
        let status = response.status().as_u16();
        if status != 101 {
            return Err(ClientError::NotUpgraded { status });
        }
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let multiplexed = match content_type {
            Some("application/vnd.docker.multiplexed-stream") => Some(true),
            _ => None,
        };
        let upgraded =
            hyper::upgrade::on(response).await.map_err(|source| ClientError::Transport { operation, source })?;
        match upgraded.downcast::<TokioIo<Socket>>() {
            Ok(parts) => Ok(Self { multiplexed, socket: parts.io.into_inner(), first: parts.read_buf }),
            Err(_) => Err(ClientError::NotUpgraded { status }),
        }
    }

    /// Whether the daemon has hung up already; what has come meanwhile is kept for the reader.
    ///
    /// Since connections queue while no daemon runs, a request made after this one may have been answered by the next
    /// daemon, which knows nothing of this connection.
    pub async fn has_ended(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        let ended = std::future::poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
                Poll::Pending => false,
                Poll::Ready(Ok(())) => buffer.filled().is_empty(),
                Poll::Ready(Err(_)) => true,
            })
        });
        let ended = ended.await;
        if !buffer.filled().is_empty() {
            self.first = [&self.first, buffer.filled()].concat().into();
        }
        ended
    }

    /// Reads and writes independently.
    pub fn split(self) -> (HijackedReader, HijackedWriter) {
        let (read, write) = tokio::io::split(self.socket);
        (HijackedReader { first: self.first, socket: read }, HijackedWriter { socket: write })
    }
}

impl HijackedWriter {
    /// Ends the input; output goes on.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn close(mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }
}

impl AsyncRead for HijackedReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HijackedWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
