//! BuildKit in a container: `buildctl dial-stdio` there joins its standard input and output to BuildKit's socket.

use std::io;

use hako_api::{
    container::{ExecCreateRequest, ExecStartRequest},
    multiplex::{Decoder, Stream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf},
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

// BuildKit speaks first as soon as there is a connection: its settings. A program that cannot connect says why on
// standard error and ends. One that is silent for long may be waiting for us.
async fn begun(
    mut stream: DuplexStream,
    said: oneshot::Receiver<Option<String>>,
    container: &str,
) -> Result<Connection, ClientError> {
    let mut first = vec![0; limits::BUILD_DATA_BYTES];
    let count = match tokio::time::timeout(limits::BUILD_GREETING_WAIT, stream.read(&mut first)).await {
        Err(_) => 0,
        Ok(Ok(count)) if count > 0 => count,
        Ok(_) => {
            let why = said.await.ok().flatten().unwrap_or_else(|| "it ended the connection".to_owned());
            return Err(unavailable(format!("cannot reach BuildKit in the container {container}: {why}")));
        }
    };
    first.truncate(count);
    let (reader, writer) = tokio::io::split(stream);
    Ok(Box::new(tokio::io::join(AsyncReadExt::chain(io::Cursor::new(first), reader), writer)))
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
