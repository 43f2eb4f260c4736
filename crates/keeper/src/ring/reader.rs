//! The daemon's end of a ring: takes records out, and commits what it has put away.
//!
//! The daemon may be killed between any two instructions. What it took but did not commit is taken
//! again by the next one, which first cuts its log back to [`Ring::log_length`]. Nothing here trusts the
//! other side: positions and lengths are checked, and a ring that contradicts itself is an error.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use hako_base::ErrorKind;
use jiff::Timestamp;

use super::{
    PAD, RECORD_BYTES, Record, STDERR, STDOUT, Stream,
    header::{Commit, HEADER_BYTES, Header, data_bytes, is_untouched},
    record_bytes_max,
    writer::ring_bell,
};

/// What can be wrong with a ring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    #[error("the output ring contradicts itself: {what} at position {position}")]
    Corrupt { what: &'static str, position: u64 },
    #[error("cannot {what} the output ring")]
    Io { what: &'static str, source: io::Error },
}

impl RingError {
    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }

    fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// Some output: one read's worth, as the keeper found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub stream: Stream,
    pub at: Timestamp,
    pub bytes: Vec<u8>,
}

/// The reading end of a container's or exec's output. There must be only one at a time.
pub struct Ring {
    ends: RingEnds,
    /// Mapped once there is something to read.
    header: Option<Header>,
    size: u64,
    cursor: u64,
    committed: Commit,
    buffer: Vec<u8>,
}

/// The descriptors of a ring, and the pipes that fill it: what another keeper needs to go on after the death of the
/// one that made it. Cheap to clone; the pipes stay open for as long as one clone lives.
#[derive(Clone)]
pub struct RingEnds(Arc<Ends>);

struct Ends {
    memory: OwnedFd,
    data: OwnedFd,
    space: OwnedFd,
    /// The pipes that the keeper reads. Held so that they outlive it: without a reader at all the
    /// processes would die of `SIGPIPE`.
    pipes: Vec<(Stream, OwnedFd)>,
}

impl RingEnds {
    pub(crate) fn held(&self) -> &[(Stream, OwnedFd)] {
        &self.0.pipes
    }

    /// Memory, data event, space event.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.0.memory.as_fd(), self.0.data.as_fd(), self.0.space.as_fd()]
    }
}

impl fmt::Debug for RingEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RingEnds").field(&self.0.memory).finish()
    }
}

impl Ring {
    /// Takes up a ring where its last commit left it.
    pub(crate) fn open(fds: [OwnedFd; 3], pipes: Vec<(Stream, OwnedFd)>) -> Result<Self, RingError> {
        let [memory, data, space] = fds;
        let size = data_bytes(&memory).map_err(RingError::io("open"))?;
        let mut ring = Self {
            ends: RingEnds(Arc::new(Ends { memory, data, space, pipes })),
            header: None,
            size,
            cursor: 0,
            committed: Commit::default(),
            buffer: Vec::new(),
        };
        if ring.map()? {
            ring.recover()?;
        }
        Ok(ring)
    }

    /// What a keeper after this one needs to fill the ring on.
    pub fn ends(&self) -> RingEnds {
        self.ends.clone()
    }

    fn memory(&self) -> &OwnedFd {
        &self.ends.0.memory
    }

    fn wake(&self, event: &OwnedFd) -> Result<(), RingError> {
        ring_bell(event).map_err(RingError::io("wake"))
    }

    /// Whether the header is mapped now: it is not before the first output.
    fn map(&mut self) -> Result<bool, RingError> {
        if self.header.is_none() && is_untouched(self.memory()).map_err(RingError::io("look at"))? {
            return Ok(false);
        }
        self.map_anyway()?;
        Ok(true)
    }

    fn map_anyway(&mut self) -> Result<(), RingError> {
        if self.header.is_none() {
            self.header = Some(Header::map(self.memory().as_fd()).map_err(RingError::io("map"))?);
        }
        Ok(())
    }

    /// The reader before us may have died between two steps of a wake-up: do them again.
    fn recover(&mut self) -> Result<(), RingError> {
        let Some(header) = &self.header else { return Ok(()) };
        self.committed = header.committed();
        self.cursor = self.committed.position;
        header.swap_signalled(false);
        if (header.head() != self.cursor || header.ended()) && !header.swap_signalled(true) {
            self.wake(&self.ends.0.data)?;
        }
        if header.swap_waiting(false) {
            self.wake(&self.ends.0.space)?;
        }
        Ok(())
    }

    /// Readable while there is output to take or the end has come. Non-blocking; only to be polled.
    /// It is quiet again after a [`Ring::take`] that gave nothing.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.ends.0.data.as_fd()
    }

    /// The next records, about `bytes_max` bytes of them but at least one if there is any. Nothing of
    /// it counts as read before [`Ring::commit`].
    ///
    /// # Errors
    /// If the ring contradicts itself or its memory cannot be read.
    pub fn take(&mut self, bytes_max: usize) -> Result<Vec<Chunk>, RingError> {
        if !self.map()? {
            self.hush()?;
            return Ok(Vec::new());
        }
        let mut chunks = Vec::new();
        let mut taken = 0;
        while chunks.is_empty() || taken < bytes_max {
            let available = self.available()?;
            if available == 0 {
                // A partial answer must not put the event out: there may be more by the next call.
                if !chunks.is_empty() || !self.hush()? {
                    break;
                }
                continue;
            }
            taken += self.read_span(available, bytes_max - taken.min(bytes_max), &mut chunks)?;
        }
        Ok(chunks)
    }

    fn available(&self) -> Result<u64, RingError> {
        let head = self.header.as_ref().map_or(self.cursor, Header::head);
        match head.checked_sub(self.cursor) {
            Some(available) if available <= self.size && available % RECORD_BYTES == 0 => Ok(available),
            _ => Err(RingError::Corrupt { what: "an impossible end of data", position: head }),
        }
    }

    /// Puts the event out, unless something came meanwhile (`true`) or the end has.
    fn hush(&mut self) -> Result<bool, RingError> {
        // A reader at rest keeps no memory.
        self.buffer = Vec::new();
        let header = match &self.header {
            Some(header) if header.ended() => return Ok(false),
            Some(header) => header,
            None => {
                // The wake-up precedes the page only in time, never in order: look once more.
                let _ = rustix::io::read(&self.ends.0.data, &mut [0; 8]);
                if self.map()? {
                    self.wake(&self.ends.0.data)?;
                }
                return Ok(false);
            }
        };
        let _ = rustix::io::read(&self.ends.0.data, &mut [0; 8]);
        header.swap_signalled(false);
        let more = header.head() != self.cursor;
        if (more || header.ended()) && !header.swap_signalled(true) {
            self.wake(&self.ends.0.data)?;
        }
        Ok(more)
    }

    /// Reads one stretch without a wrap and cuts it into chunks; answers how many bytes they have.
    fn read_span(&mut self, available: u64, wanted: usize, chunks: &mut Vec<Chunk>) -> Result<usize, RingError> {
        let offset = self.cursor % self.size;
        // Whole records only: one of the longest must fit whatever is wanted.
        let record = RECORD_BYTES + record_bytes_max(self.size);
        let span = available.min(self.size - offset).min(record.max(wanted as u64));
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(span as usize, 0);
        self.fill(&mut buffer, HEADER_BYTES + offset)?;
        let mut rest = buffer.as_slice();
        let mut taken = 0;
        let before = self.cursor;
        while let Some(record) = self.next_record(rest)? {
            let span = record.span() as usize;
            if span > rest.len() {
                break;
            }
            if record.stream != PAD {
                let bytes = rest[RECORD_BYTES as usize..][..record.length as usize].to_vec();
                taken += bytes.len();
                chunks.push(chunk(record, bytes));
            }
            self.cursor += span as u64;
            rest = &rest[span..];
        }
        self.buffer = buffer;
        if self.cursor == before {
            return Err(RingError::Corrupt { what: "a record that goes beyond its end", position: before });
        }
        Ok(taken)
    }

    fn next_record(&self, bytes: &[u8]) -> Result<Option<Record>, RingError> {
        let corrupt = |what| RingError::Corrupt { what, position: self.cursor };
        let Some(record) = Record::decode(bytes) else { return Ok(None) };
        if u64::from(record.length) > record_bytes_max(self.size) {
            return Err(corrupt("a record longer than any"));
        }
        if !matches!(record.stream, STDOUT | STDERR | PAD) {
            return Err(corrupt("a record of no stream"));
        }
        Ok(Some(record))
    }

    fn fill(&self, mut buffer: &mut [u8], mut offset: u64) -> Result<(), RingError> {
        while !buffer.is_empty() {
            let read = rustix::io::pread(self.memory(), &mut *buffer, offset)
                .map_err(|errno| RingError::Io { what: "read", source: errno.into() })?;
            if read == 0 {
                return Err(RingError::Corrupt { what: "the memory's end", position: self.cursor });
            }
            offset += read as u64;
            buffer = &mut buffer[read..];
        }
        Ok(())
    }

    /// Everything taken so far is put away, and the log is `log_length` bytes long now. The two are
    /// stored together: whoever takes the ring up later finds both or neither.
    ///
    /// # Errors
    /// If the keeper cannot be woken.
    pub fn commit(&mut self, log_length: u64) -> Result<(), RingError> {
        // A container that is started again goes on in an old log: that length must stand before any output.
        if log_length != 0 {
            self.map_anyway()?;
        }
        if !self.map()? {
            return Ok(());
        }
        let Some(header) = &self.header else { return Ok(()) };
        self.committed = Commit { position: self.cursor, log_length };
        header.commit(self.committed);
        if header.swap_waiting(false) {
            self.wake(&self.ends.0.space)?;
        }
        Ok(())
    }

    /// The position of the last commit, in bytes of records since the beginning.
    pub fn position(&self) -> u64 {
        self.committed.position
    }

    /// The log length of the last commit: what the log is to be cut back to before going on.
    pub fn log_length(&self) -> u64 {
        self.committed.log_length
    }

    /// Whether everything has been taken and no more can come.
    pub fn finished(&mut self) -> bool {
        match self.map() {
            Ok(true) => self.header.as_ref().is_some_and(|header| header.ended() && header.head() == self.cursor),
            _ => false,
        }
    }

    /// How many bytes of records the ring holds. A reader that holds commits back (for the end of a line, say) must
    /// commit long before [`Ring::unread_bytes`] gets there: then the writer waits for it.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// How much of the ring is taken by records that are not committed. Each record has 16 bytes of its own and is
    /// padded to 16, so a byte printed by itself takes 32.
    pub fn unread_bytes(&mut self) -> u64 {
        match self.map() {
            Ok(true) => self.header.as_ref().map_or(0, |header| header.head().saturating_sub(self.committed.position)),
            _ => 0,
        }
    }

    /// Bytes thrown away because the ring was full (non-blocking mode only).
    pub fn dropped_bytes(&self) -> u64 {
        self.header.as_ref().map_or(0, Header::dropped)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("cursor", &self.cursor).field("committed", &self.committed).finish()
    }
}

fn chunk(record: Record, bytes: Vec<u8>) -> Chunk {
    let stream = if record.stream == STDERR { Stream::Stderr } else { Stream::Stdout };
    let at = Timestamp::from_nanosecond(i128::from(record.at_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    Chunk { stream, at, bytes }
}
