//! A container's input and output: this program's streams joined to a connection.
//!
//! Input is read by a thread of its own, because a terminal or pipe of somebody else must not be
//! made non-blocking under them. Output is written as it comes; where it cannot be written any
//! more, nobody wants the rest.

use std::io::{self, Read, Write};

use hako_api::multiplex::{Decoder, Stream};
use hako_client::{Hijacked, HijackedReader, HijackedWriter, LogReader};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use crate::{detach::DetachKeys, error::CommandError};

/// Docker's clients copy in pieces of this size too.
const CHUNK_BYTES: usize = 32 << 10;
/// Pieces of input read ahead of the daemon.
const CHUNKS_AHEAD: usize = 4;

/// Which streams are joined, and how.
pub(crate) struct Joined {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Output comes raw, and the detach keys are looked for.
    pub tty: bool,
    pub keys: DetachKeys,
}

/// Why the streams are no longer joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parted {
    /// The process has closed its output.
    Ended,
    /// The person typed the detach keys.
    Detached,
}

/// Joins the streams until the output ends or the person detaches.
///
/// # Errors
/// When the connection breaks off or the output cannot be written.
pub(crate) async fn join(connection: Hijacked, joined: Joined) -> Result<Parted, CommandError> {
    let multiplexed = connection.multiplexed.unwrap_or(!joined.tty);
    let (reader, writer) = connection.split();
    if !joined.stdin {
        // The writing half lives as long as the output: closing it means "I am leaving".
        copy_output(reader, multiplexed, joined.stdout, joined.stderr).await?;
        drop(writer);
        return Ok(Parted::Ended);
    }
    let keys = joined.tty.then_some(joined.keys);
    let mut input = tokio::spawn(forward_input(writer, keys));
    tokio::select! {
        done = copy_output(reader, multiplexed, joined.stdout, joined.stderr) => {
            input.abort();
            done.map(|()| Parted::Ended)
        }
        true = detached(&mut input) => Ok(Parted::Detached),
    }
}

// Resolves when the person detaches; an end of the input alone is no reason to leave.
async fn detached(input: &mut tokio::task::JoinHandle<bool>) -> bool {
    match input.await {
        Ok(true) => true,
        _ => std::future::pending().await,
    }
}

// Gives whether the detach keys ended it. A failing write means that the process is gone; its
// output, which is still being read, says the rest.
async fn forward_input(mut writer: HijackedWriter, mut keys: Option<DetachKeys>) -> bool {
    let mut chunks = read_stdin();
    while let Some(chunk) = chunks.recv().await {
        let (bytes, detach) = match &mut keys {
            Some(keys) => {
                let typed = keys.feed(&chunk);
                (typed.pass, typed.detach)
            }
            None => (chunk, false),
        };
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return false;
        }
        if detach {
            return true;
        }
    }
    // The other side sees the end of its input and may still write.
    let _ = writer.close().await;
    false
}

/// Standard input in pieces, until its end.
pub(crate) fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if send.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receive
}

async fn copy_output(
    mut reader: HijackedReader,
    multiplexed: bool,
    stdout: bool,
    stderr: bool,
) -> Result<(), CommandError> {
    let mut output = Output::new(multiplexed, stdout, stderr);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            // The daemon closes the connection together with the process.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(CommandError::Local { action: "read the output".to_owned(), source: error }),
        };
        output.write(&buffer[..count])?;
    }
}

/// Copies a log to where it belongs.
///
/// # Errors
/// When the connection breaks off or the output cannot be written.
pub(crate) async fn copy_log(mut log: LogReader, tty: bool) -> Result<(), CommandError> {
    let mut output = Output::new(log.multiplexed.unwrap_or(!tty), true, true);
    while let Some(chunk) = log.body.chunk().await? {
        output.write(&chunk)?;
    }
    Ok(())
}

/// Where output goes: raw to standard output, or frames taken apart to both streams.
struct Output {
    decoder: Option<Decoder>,
    stdout: bool,
    stderr: bool,
}

impl Output {
    fn new(multiplexed: bool, stdout: bool, stderr: bool) -> Self {
        Self { decoder: multiplexed.then(Decoder::default), stdout, stderr }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        let Some(decoder) = &mut self.decoder else {
            return write_through(&mut io::stdout().lock(), bytes);
        };
        // The decoder's callback cannot fail; the first failure is kept beside it.
        let mut failure = None;
        let mut system = Vec::new();
        let (stdout, stderr) = (self.stdout, self.stderr);
        let decoded = decoder.feed(bytes, |stream, piece| {
            let written = match stream {
                Stream::Stdin | Stream::Stdout if stdout => write_through(&mut io::stdout().lock(), piece),
                Stream::Stderr if stderr => write_through(&mut io::stderr().lock(), piece),
                Stream::System => {
                    system.extend_from_slice(piece);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(error) = written {
                failure.get_or_insert(error);
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        decoded.map_err(|error| CommandError::Said(error.to_string()))?;
        match system.is_empty() {
            true => Ok(()),
            false => {
                let text = String::from_utf8_lossy(&system).into_owned();
                Err(CommandError::Said(format!("error from daemon in stream: {text}")))
            }
        }
    }
}

fn write_through(to: &mut impl Write, bytes: &[u8]) -> Result<(), CommandError> {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(CommandError::Output)
}
