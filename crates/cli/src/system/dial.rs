//! `system dial-stdio`: joins standard input and output to the daemon's socket, for clients that
//! reach this machine by ssh.

use std::io::{self, Write};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    stream,
};

const CHUNK_BYTES: usize = 32 << 10;

#[derive(Default)]
pub(crate) struct DialStdio;

impl Command for DialStdio {
    const SHAPE: &'static Shape = &Shape {
        paths: &["system dial-stdio"],
        usage: "",
        about: "Join standard input and output to the daemon, for use by other programs",
        arguments: Arguments::None,
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        relay(cx.client()?.dial().await?).await
    }
}

async fn relay(socket: impl AsyncRead + AsyncWrite + Send + 'static) -> Result<(), CommandError> {
    let (mut reader, mut writer) = tokio::io::split(socket);
    let input = tokio::spawn(async move {
        let mut chunks = stream::read_stdin();
        while let Some(chunk) = chunks.recv().await {
            if writer.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The daemon may still answer what it was asked last.
        let _ = writer.shutdown().await;
    });
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = reader.read(&mut buffer).await.map_err(CommandError::local("read from the daemon"))?;
        if count == 0 {
            input.abort();
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(&buffer[..count]).and_then(|()| out.flush()).map_err(CommandError::Output)?;
    }
}
