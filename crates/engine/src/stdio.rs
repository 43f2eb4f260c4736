//! A process's input and output as the daemon holds them: who writes stdin, who hears stdout.
//!
//! The keeper is the only reader of a container's output; it arrives here through the ring, goes
//! into the log and to everybody attached. Input is written by the daemon alone.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, watch},
};

use crate::{
    limits,
    view::{OutputChunk, OutputStream},
};

/// The daemon's end of a process's stdin.
pub(crate) type StdinSlot = watch::Sender<Stdin>;

/// Where a process's stdin stands.
#[derive(Clone)]
pub(crate) enum Stdin {
    /// The process is not there yet; writers wait.
    Awaited,
    /// It is open.
    Open(Arc<AsyncFd<OwnedFd>>),
    /// It has ended, or nobody may write.
    Closed,
}

/// Makes a descriptor (pipe or pty master) into an asynchronous stdin.
pub(crate) fn open_stdin(descriptor: OwnedFd) -> io::Result<Stdin> {
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    Ok(Stdin::Open(Arc::new(register(descriptor, Interest::WRITABLE)?)))
}

/// A descriptor as the reactor wants it.
#[expect(deprecated, reason = "unsound only for types whose descriptor can change: this one is owned")]
pub(crate) fn register(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, interest)
}

/// Writes to a process's stdin; may be made before the process is started.
#[derive(Debug)]
pub struct StdinWriter {
    slot: StdinSlot,
    watch: watch::Receiver<Stdin>,
    /// Whether the end of this client is the end of the process's input.
    once: bool,
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Awaited => "Awaited",
            Self::Open(_) => "Open",
            Self::Closed => "Closed",
        })
    }
}

impl StdinWriter {
    pub(crate) fn new(slot: &StdinSlot, once: bool) -> Self {
        Self { slot: slot.clone(), watch: slot.subscribe(), once }
    }

    /// Writes all of `bytes`, waiting for the process to be started and to read.
    ///
    /// # Errors
    /// `BrokenPipe` once the process has ended or closed its stdin.
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        while !bytes.is_empty() {
            let stdin = match &*self.opened().await.ok_or_else(gone)? {
                Stdin::Open(descriptor) => descriptor.clone(),
                Stdin::Awaited | Stdin::Closed => return Err(gone()),
            };
            tokio::select! {
                // A process that has ended never reads the rest; its pty would wait for ever.
                _ = self.watch.wait_for(|stdin| matches!(stdin, Stdin::Closed)) => return Err(gone()),
                written = write_some(&stdin, bytes) => bytes = &bytes[written?..],
            }
        }
        Ok(())
    }

    /// Says that nothing more comes: the process sees end of file if it was made for one client
    /// (`StdinOnce`) and has no terminal.
    pub async fn close(&mut self) {
        // A client may have nothing to say before the process exists.
        if self.once && self.opened().await.is_some() {
            self.slot.send_replace(Stdin::Closed);
        }
    }

    async fn opened(&mut self) -> Option<watch::Ref<'_, Stdin>> {
        self.watch.wait_for(|stdin| !matches!(stdin, Stdin::Awaited)).await.ok()
    }
}

async fn write_some(stdin: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let mut ready = stdin.writable().await?;
        match ready.try_io(|inner| rustix::io::write(inner.as_fd(), bytes).map_err(io::Error::from)) {
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

/// Everybody attached to a process's output.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Vec<Listener>>);

struct Listener {
    stdout: bool,
    stderr: bool,
    send: mpsc::Sender<OutputChunk>,
}

impl Listeners {
    /// Adds a listener; its receiver ends with the process's output.
    pub(crate) fn add(&self, stdout: bool, stderr: bool) -> mpsc::Receiver<OutputChunk> {
        let (send, receive) = mpsc::channel(limits::OUTPUT_QUEUED_MAX);
        self.0.lock().push(Listener { stdout, stderr, send });
        receive
    }

    /// Gives a chunk to everybody who wants it, waiting for the slow ones (as Docker does); those
    /// who hung up are forgotten.
    pub(crate) async fn send(&self, chunk: &OutputChunk) {
        let wanted: Vec<mpsc::Sender<OutputChunk>> = {
            let mut all = self.0.lock();
            all.retain(|listener| !listener.send.is_closed());
            all.iter().filter(|listener| listener.wants(chunk.stream)).map(|listener| listener.send.clone()).collect()
        };
        for send in wanted {
            let _ = send.send(chunk.clone()).await;
        }
    }

    /// Whether anybody listens at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// The output has ended: every receiver ends.
    pub(crate) fn end(&self) {
        self.0.lock().clear();
    }
}

impl Listener {
    fn wants(&self, stream: OutputStream) -> bool {
        match stream {
            OutputStream::Stdout => self.stdout,
            OutputStream::Stderr => self.stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn a_writer_made_before_the_start_waits_for_it() {
        let slot = watch::Sender::new(Stdin::Awaited);
        let mut writer = StdinWriter::new(&slot, true);
        let writing = tokio::spawn(async move { writer.write(b"hello").await });
        let (read, write) = rustix::pipe::pipe().unwrap();
        slot.send_replace(open_stdin(write).unwrap());
        writing.await.unwrap().unwrap();
        slot.send_replace(Stdin::Closed);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
}
