//! Bytes on their way through several hands at once, in bounded memory.
//!
//! ```text
//!   input ──► Tap ──► reader (inflate, untar)
//!              ├────► Worker: hash
//!              └────► Worker: compress, write
//! ```
//! Every chunk is read once and shared; a queue to a worker holds at most `CHUNKS_QUEUED_MAX` of them, so the
//! slowest hand sets the pace. [`pipe`] joins a writer and a reader in two threads the same way.

use std::{
    io::{self, BufRead, Read, Write},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use crate::limits;

/// Takes every chunk of a stream.
pub(crate) trait Sink: Send + 'static {
    type Output: Send;
    fn take(&mut self, chunk: &[u8]) -> io::Result<()>;
    fn done(self) -> io::Result<Self::Output>;
}

/// A sink in a thread of its own. Dropping it unfinished ends the thread.
pub(crate) struct Worker<T> {
    queue: Option<SyncSender<Arc<Vec<u8>>>>,
    thread: Option<JoinHandle<io::Result<T>>>,
}

impl<T: Send + 'static> Worker<T> {
    pub(crate) fn start<S: Sink<Output = T>>(name: &str, mut sink: S) -> io::Result<Self> {
        let (queue, chunks) = sync_channel::<Arc<Vec<u8>>>(limits::CHUNKS_QUEUED_MAX);
        let work = move || {
            for chunk in chunks {
                sink.take(&chunk)?;
            }
            sink.done()
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// A handle by which a [`Tap`] feeds this worker.
    pub(crate) fn feed(&mut self) -> Option<SyncSender<Arc<Vec<u8>>>> {
        self.queue.take()
    }

    /// Waits for the worker; every feeding [`Tap`] must be gone.
    pub(crate) fn finish(mut self) -> io::Result<T> {
        self.queue = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(io::Error::other("a worker thread panicked")),
        }
    }
}

/// A stream whose bytes also go to workers.
pub(crate) struct Tap<'t, R> {
    input: R,
    chunk: Arc<Vec<u8>>,
    position: usize,
    feeds: Vec<SyncSender<Arc<Vec<u8>>>>,
    /// Hears of the bytes of each chunk.
    told: Option<&'t dyn Fn(u64)>,
    /// Bytes read from `input` so far.
    pub(crate) count: u64,
    ended: bool,
}

impl<'t, R: Read> Tap<'t, R> {
    pub(crate) fn new(input: R, feeds: Vec<SyncSender<Arc<Vec<u8>>>>) -> Self {
        Self { input, chunk: Arc::default(), position: 0, feeds, told: None, count: 0, ended: false }
    }

    pub(crate) fn told(self, told: &'t dyn Fn(u64)) -> Self {
        Self { told: Some(told), ..self }
    }

    /// Reads what is left, so that the workers see the whole stream.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        loop {
            let count = self.fill_buf()?.len();
            if count == 0 {
                return Ok(());
            }
            self.consume(count);
        }
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(limits::CHUNK_BYTES);
        self.input.by_ref().take(limits::CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
        self.ended = bytes.is_empty();
        self.count += bytes.len() as u64;
        if let Some(told) = self.told {
            told(bytes.len() as u64);
        }
        if self.count > limits::LAYER_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the stream is longer than a layer may be"));
        }
        self.chunk = Arc::new(bytes);
        self.position = 0;
        if self.ended {
            return Ok(());
        }
        for feed in &self.feeds {
            // The worker has failed; `finish` says why.
            feed.send(self.chunk.clone()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(())
    }
}

impl<R: Read> BufRead for Tap<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.chunk.len() && !self.ended {
            self.next_chunk()?;
        }
        Ok(&self.chunk[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl<R: Read> Read for Tap<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let count = chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&chunk[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// A writer whose bytes go to workers.
pub(crate) struct Feeder {
    pending: Vec<u8>,
    feeds: Vec<SyncSender<Arc<Vec<u8>>>>,
    /// Bytes written so far.
    pub(crate) count: u64,
}

impl Feeder {
    pub(crate) fn new(feeds: Vec<SyncSender<Arc<Vec<u8>>>>) -> Self {
        Self { pending: Vec::with_capacity(limits::CHUNK_BYTES), feeds, count: 0 }
    }
}

impl Write for Feeder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = limits::CHUNK_BYTES - self.pending.len();
        let count = room.min(bytes.len());
        self.pending.extend_from_slice(&bytes[..count]);
        self.count += count as u64;
        if self.pending.len() == limits::CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = Arc::new(std::mem::replace(&mut self.pending, Vec::with_capacity(limits::CHUNK_BYTES)));
        for feed in &self.feeds {
            feed.send(chunk.clone()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(())
    }
}

/// Joins a writer in one thread with a reader in another.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, chunks) = sync_channel(limits::CHUNKS_QUEUED_MAX);
    let writer = PipeWriter { sender, pending: Vec::with_capacity(limits::CHUNK_BYTES) };
    (writer, PipeReader { chunks, chunk: Vec::new(), position: 0, ended: false })
}

/// The writing end; the reader fails unless [`Self::finish`] was called.
pub(crate) struct PipeWriter {
    // An empty chunk is the end.
    sender: SyncSender<Vec<u8>>,
    pending: Vec<u8>,
}

impl PipeWriter {
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Vec::new())
    }

    fn send(&self, chunk: Vec<u8>) -> io::Result<()> {
        self.sender.send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = limits::CHUNK_BYTES - self.pending.len();
        let count = room.min(bytes.len());
        self.pending.extend_from_slice(&bytes[..count]);
        if self.pending.len() == limits::CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.pending, Vec::with_capacity(limits::CHUNK_BYTES));
        self.send(chunk)
    }
}

/// The reading end.
pub(crate) struct PipeReader {
    chunks: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
    ended: bool,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() && !self.ended {
            // Without an end mark the writer has failed, and what came is not the whole.
            self.chunk = self.chunks.recv().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            self.position = 0;
            self.ended = self.chunk.is_empty();
        }
        let left = &self.chunk[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_was_not_finished_is_an_error_to_its_reader() {
        let (mut writer, mut reader) = pipe();
        writer.write_all(b"half").unwrap();
        writer.flush().unwrap();
        drop(writer);
        let mut all = Vec::new();
        assert_eq!(reader.read_to_end(&mut all).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(all, b"half");
    }

    struct Failing;
    impl Sink for Failing {
        type Output = ();
        fn take(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn done(self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_worker_that_fails_stops_the_stream_and_says_why() {
        let mut worker = Worker::start("test", Failing).unwrap();
        let mut tap = Tap::new(io::repeat(0), worker.feed().into_iter().collect());
        assert_eq!(tap.drain().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(tap);
        assert_eq!(worker.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
