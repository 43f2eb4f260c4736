//! Connections that become streams in both directions: attach and exec.
//!
//! ```text
//! client ── input ──► (detach keys) ──► stdin      ends: the client half-closes, output goes on
//! client ◄── frames or raw bytes ◄── output        ends: the process has ended, the rest is drained
//! ```

use std::io;

use bytes::{Bytes, BytesMut};
use hako_api::{ApiVersion, multiplex};
use hako_engine::{
    stdio::StdinWriter,
    view::{Attachment, OutputChunk, OutputStream},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::{
    call::{Call, next_chunk},
    detach::{DetachKeys, Typed, Watch},
    first_line::FirstLine,
    limits,
    listen::Socket,
    reply::{self, MULTIPLEXED_STREAM, RAW_STREAM, Reply, ReplyBody},
};

/// Where input goes. [`StdinWriter`] outside of tests.
pub(crate) trait Input: Send {
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

impl Input for StdinWriter {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::write(self, bytes).await
    }

    async fn close(&mut self) {
        Self::close(self).await;
    }
}

/// How output looks on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    tty: bool,
}

impl Format {
    pub(crate) fn new(tty: bool) -> Self {
        Self { tty }
    }

    /// Below 1.42 everything was called raw, frames too.
    pub(crate) fn content_type(self, version: ApiVersion) -> &'static str {
        if !self.tty && version.at_least(42) { MULTIPLEXED_STREAM } else { RAW_STREAM }
    }

    pub(crate) fn encode(self, chunk: &OutputChunk, into: &mut Vec<u8>) {
        if self.tty {
            into.extend_from_slice(&chunk.bytes);
            return;
        }
        let stream = match chunk.stream {
            OutputStream::Stdout => multiplex::Stream::Stdout,
            OutputStream::Stderr => multiplex::Stream::Stderr,
        };
        multiplex::encode(stream, &chunk.bytes, into);
    }

    /// Output as the body of an ordinary answer.
    pub(crate) fn body(self, output: mpsc::Receiver<OutputChunk>) -> ReplyBody {
        ReplyBody::channel(output, move |chunk| {
            if self.tty {
                return Ok(chunk.bytes);
            }
            let mut framed = Vec::with_capacity(chunk.bytes.len() + multiplex::HEADER_BYTES);
            self.encode(&chunk, &mut framed);
            Ok(framed.into())
        })
    }
}

/// What an attached client gets.
pub(crate) struct Session<I> {
    pub(crate) format: Format,
    pub(crate) input: Option<I>,
    pub(crate) output: mpsc::Receiver<OutputChunk>,
    /// Whether there is output to wait for; a client may attach to stdin alone.
    pub(crate) has_output: bool,
    /// Only a terminal can be left by keys.
    pub(crate) detach: Option<Detach>,
}

/// The keys that a terminal is left by, and who is told.
pub(crate) struct Detach {
    pub(crate) keys: DetachKeys,
    pub(crate) tell: Box<dyn FnOnce() + Send>,
}

impl Session<StdinWriter> {
    pub(crate) fn new(attachment: Attachment, has_output: bool, detach: Detach) -> Self {
        Self {
            format: Format::new(attachment.tty),
            input: attachment.stdin,
            output: attachment.output,
            has_output,
            detach: attachment.tty.then_some(detach),
        }
    }
}

/// Answers with the streams of a session: on the connection itself if the client asked for it, else
/// output as the answer's body and input from the request's.
///
/// On a connection that is taken over, `begin` runs once the head is out: clients that read the head
/// through a buffer lose what arrives together with it (docker-py does).
pub(crate) async fn answer<I: Input + 'static>(
    mut call: Call,
    format: Format,
    begin: impl Future<Output = Session<I>> + Send + 'static,
) -> Reply {
    let content_type = format.content_type(call.version);
    if let Some(upgrade) = call.upgrade.take() {
        // What the reactor has to say about the connection being new, it says before the head is out:
        // see `Socket::head_taken`.
        tokio::task::yield_now().await;
        tokio::spawn(take_over(upgrade, begin, call.daemon.stopped()));
        return reply::upgraded(content_type);
    }
    let session = begin.await;
    if let Some(input) = session.input {
        tokio::spawn(feed_from_body(call, input));
    }
    // Docker's type where nothing is upgraded, framed or not.
    reply::stream(RAW_STREAM, format.body(session.output))
}

async fn feed_from_body(call: Call, mut input: impl Input) {
    let mut body = call.into_body();
    while let Some(Ok(bytes)) = next_chunk(&mut body).await {
        if input.write(&bytes).await.is_err() {
            return;
        }
    }
    input.close().await;
}

async fn take_over<I: Input>(
    upgrade: OnUpgrade,
    begin: impl Future<Output = Session<I>>,
    stopped: impl Future<Output = ()>,
) {
    let upgraded = upgrade.await;
    let begin_and_relay = async {
        let socket = match upgraded {
            Ok(upgraded) => upgraded.downcast::<TokioIo<FirstLine<Socket>>>().ok(),
            Err(error) => {
                tracing::debug!(%error, "the client left before it was upgraded");
                None
            }
        };
        // What was asked for happens, whether the client stays or not.
        let session = begin.await;
        let Some(parts) = socket else { return };
        let relayed = match parts.io.into_inner().into_inner().head_taken().await {
            Ok(socket) => relay(socket, parts.read_buf, session).await,
            Err(error) => Err(error),
        };
        if let Err(error) = relayed {
            tracing::debug!(%error, "an attached client went away");
        }
    };
    tokio::select! {
        () = begin_and_relay => {}
        () = stopped => {}
    }
}

/// Copies in both directions until the output ends, the client goes away or its keys say so.
async fn relay<S, I>(socket: S, first: Bytes, session: Session<I>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
    I: Input,
{
    let (mut read, mut write) = tokio::io::split(socket);
    let Session { format, input, output, has_output, detach } = session;
    let (keys, tell) = detach.map(|detach| (detach.keys, detach.tell)).unzip();
    let ended = {
        let incoming = copy_input(&mut read, first, input, keys);
        let outgoing = copy_output(&mut write, output, format);
        tokio::pin!(incoming, outgoing);
        tokio::select! {
            left = &mut incoming => match left? {
                Left::Detached => {
                    tell.into_iter().for_each(|tell| tell());
                    Ended::Input
                }
                Left::HalfClosed => {
                    outgoing.await?;
                    Ended::Both
                }
            },
            sent = &mut outgoing => {
                sent?;
                if has_output {
                    Ended::Output
                } else {
                    incoming.await?;
                    Ended::Both
                }
            }
        }
    };
    write.shutdown().await?;
    if ended == Ended::Output {
        // Unread input would turn the client's end of file into a reset.
        let _ = tokio::time::timeout(limits::LINGER, tokio::io::copy(&mut read, &mut tokio::io::sink())).await;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Input,
    Output,
    Both,
}

enum Left {
    Detached,
    HalfClosed,
}

async fn copy_input(
    read: &mut (impl AsyncRead + Unpin),
    first: Bytes,
    mut input: Option<impl Input>,
    keys: Option<DetachKeys>,
) -> io::Result<Left> {
    let mut watch = keys.map(Watch::new);
    let mut buffer = BytesMut::from(&first[..]);
    loop {
        if buffer.is_empty() {
            buffer.reserve(limits::INPUT_BYTES);
            if read.read_buf(&mut buffer).await? == 0 {
                break;
            }
        }
        let typed = match &mut watch {
            Some(watch) => watch.feed(&buffer),
            None => Typed::Pass(buffer.to_vec()),
        };
        buffer.clear();
        let (Typed::Pass(bytes) | Typed::Leave(bytes)) = &typed;
        if let Some(writer) = &mut input {
            // A process that has closed its stdin may still print; the client's input is then
            // read and dropped.
            if writer.write(bytes).await.is_err() {
                input = None;
            }
        }
        if matches!(typed, Typed::Leave(_)) {
            return Ok(Left::Detached);
        }
    }
    if let Some(writer) = &mut input {
        writer.close().await;
    }
    Ok(Left::HalfClosed)
}

async fn copy_output(
    write: &mut (impl AsyncWrite + Unpin),
    mut output: mpsc::Receiver<OutputChunk>,
    format: Format,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Some(chunk) = output.recv().await {
        bytes.clear();
        format.encode(&chunk, &mut bytes);
        while bytes.len() < limits::OUTPUT_BYTES_JOINED {
            let Ok(more) = output.try_recv() else { break };
            format.encode(&more, &mut bytes);
        }
        write.write_all(&bytes).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
