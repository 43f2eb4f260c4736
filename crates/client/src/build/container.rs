//! BuildKit in a container: `buildctl dial-stdio` there joins its standard input and output to BuildKit's socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hako_api::{
    container::{ExecCreateRequest, ExecStartRequest},
    multiplex::{Decoder, Stream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, WriteHalf},
    sync::oneshot,
};

use super::builder::{Connection, unavailable};
use crate::{Client, ClientError, HijackedReader, limits};

/// A connection to BuildKit in the container.
pub(super) async fn dial(client: &Client, container: &str) -> Result<Connection, ClientError> {
    let command = ["buildctl", "dial-stdio"].map(str::to_owned).to_vec();
    let request = ExecCreateRequest {
        attach_stdin: true,
        attach_stdout: true,
        attach_stderr: true,
        cmd: Some(command.into()),
        ..ExecCreateRequest::default()
    };
    let id = client.exec_create(container, &request).await?;
    let (reader, mut writer) = client.exec_start(&id, &ExecStartRequest::default()).await?.split();
    let (ours, theirs) = tokio::io::duplex(limits::BUILD_DATA_BYTES);
    let (mut from, to) = tokio::io::split(theirs);
    let (say, said) = oneshot::channel();
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from, &mut writer).await;
        let _ = writer.shutdown().await;
    });
    tokio::spawn(async move {
        let mut complaint = Vec::new();
        let done = unpack(reader, to, &mut complaint).await;
        let text = String::from_utf8_lossy(&complaint).trim().to_owned();
        let _ = say.send(if text.is_empty() { done.err().map(|error| error.to_string()) } else { Some(text) });
    });
    begun(ours, said, container).await
}

/// What every HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// BuildKit greets as soon as there is a connection; one behind something that looks first who comes, when it has heard
// the preface, which is so said here. A program that cannot connect says why on standard error and ends.
async fn begun(
    mut stream: DuplexStream,
    said: oneshot::Receiver<Option<String>>,
    container: &str,
) -> Result<Connection, ClientError> {
    let mut first = vec![0; limits::BUILD_DATA_BYTES];
    let greeting = async {
        // Whoever has gone has said why.
        let _ = stream.write_all(PREFACE).await;
        stream.read(&mut first).await
    };
    let count = match tokio::time::timeout(limits::BUILD_GREETING_WAIT, greeting).await {
        Err(_) => 0,
        Ok(Ok(count)) if count > 0 => count,
        Ok(_) => {
            let why = said.await.ok().flatten().unwrap_or_else(|| "it ended the connection".to_owned());
            return Err(unavailable(format!("cannot reach BuildKit in the container {container}: {why}")));
        }
    };
    first.truncate(count);
    let (reader, writer) = tokio::io::split(stream);
    let writer = Rest { inner: writer, said: PREFACE.len() };
    Ok(Box::new(tokio::io::join(AsyncReadExt::chain(io::Cursor::new(first), reader), writer)))
}

/// Takes what was said already, and writes the rest.
struct Rest {
    inner: WriteHalf<DuplexStream>,
    said: usize,
}

impl AsyncWrite for Rest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.said > 0 {
            let count = self.said.min(bytes.len());
            self.said -= count;
            return Poll::Ready(Ok(count));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

// Standard output is BuildKit's; what is on standard error is kept.
async fn unpack(
    mut reader: HijackedReader,
    mut to: WriteHalf<DuplexStream>,
    complaint: &mut Vec<u8>,
) -> io::Result<()> {
    let (mut decoder, mut buffer, mut payload) = (Decoder::default(), vec![0; limits::BUILD_DATA_BYTES], Vec::new());
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        payload.clear();
        let taken = decoder.feed(&buffer[..count], |stream, piece| match stream {
            Stream::Stdout => payload.extend_from_slice(piece),
            _ if complaint.len() < limits::ERROR_BYTES_MAX => complaint.extend_from_slice(piece),
            _ => {}
        });
        taken.map_err(io::Error::other)?;
        to.write_all(&payload).await?;
    }
}
