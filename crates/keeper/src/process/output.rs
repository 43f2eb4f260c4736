//! One process's output: its pipes or its terminal on one side, its ring on the other.
//!
//! The keeper is their only reader. One event moves one record at most, so no container can keep the
//! others waiting. When the ring is full the sources are no longer watched, which makes the writer wait
//! (or what they hold is thrown away and counted, as `--log-opt mode=non-blocking` wants).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{io::Errno, pipe::SpliceFlags};

use super::{
    child::park,
    poll::{Poll, Token, Watch},
    slots::Key,
};
use crate::ring::{Moved, RingWriter, Stream};

/// Where output comes from.
#[derive(Debug)]
pub(super) enum Source {
    Pipe {
        reader: OwnedFd,
        stream: Stream,
    },
    /// `hung_up`: nobody in the container has the terminal open at present.
    Terminal {
        master: OwnedFd,
        hung_up: bool,
    },
}

impl Source {
    fn parked(self) -> Self {
        match self {
            Self::Pipe { reader, stream } => Self::Pipe { reader: park(reader), stream },
            Self::Terminal { master, hung_up } => Self::Terminal { master: park(master), hung_up },
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pipe { reader, .. } => reader.as_fd(),
            Self::Terminal { master, .. } => master.as_fd(),
        }
    }
}

/// What is done when the ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    Wait,
    Drop,
}

/// Sources, ring, and the state between them.
pub(super) struct Output {
    ring: RingWriter,
    sources: [Option<Source>; 2],
    when_full: WhenFull,
    /// The sources are not watched: the ring is full.
    stalled: bool,
    space_watched: bool,
}

/// How many records may be moved at once from a process that has ended: more than its pipes can hold
/// unless a grandchild goes on writing.
const DRAIN_RECORDS: usize = 32;

impl Output {
    pub(super) fn new(ring: RingWriter, sources: [Option<Source>; 2], when_full: WhenFull) -> Self {
        Self { ring, sources, when_full, stalled: false, space_watched: false }
    }

    pub(super) fn parked(mut self) -> Self {
        self.ring = self.ring.place(park);
        self.sources = self.sources.map(|source| source.map(Source::parked));
        self
    }

    pub(super) fn ring(&self) -> &RingWriter {
        &self.ring
    }

    pub(super) fn when_full(&self) -> WhenFull {
        self.when_full
    }

    pub(super) fn sources(&self) -> &[Option<Source>; 2] {
        &self.sources
    }

    /// The terminal's master, if there is one.
    pub(super) fn master(&self) -> Option<BorrowedFd<'_>> {
        match &self.sources[0] {
            Some(Source::Terminal { master, .. }) => Some(master.as_fd()),
            _ => None,
        }
    }

    /// Begins to watch the sources.
    pub(super) fn watch(&self, poll: &Poll, key: Key) -> io::Result<()> {
        for (index, source) in self.sources.iter().enumerate() {
            if let Some(source) = source {
                poll.add(source, Token::Source(key, index), Watch::Readable)?;
            }
        }
        Ok(())
    }

    /// Moves what one source holds now, a record at most. `alive`: the process has not ended.
    pub(super) fn relay(&mut self, index: usize, poll: &Poll, key: Key, alive: bool) -> io::Result<Moved> {
        let Some(source) = &self.sources[index] else { return Ok(Moved::End) };
        let moved = match source {
            Source::Pipe { reader, stream } => self.ring.fill_from_pipe(*stream, reader.as_fd()),
            Source::Terminal { master, .. } => self.ring.fill_from_terminal(master.as_fd()),
        };
        match moved {
            // A ring that cannot be written (no memory, say) must not stop the process for ever.
            Err(_) => self.discard(index, poll, key, alive),
            Ok(Moved::Full) if self.when_full == WhenFull::Drop => self.discard(index, poll, key, alive),
            Ok(Moved::Full) => {
                self.stall(poll, key)?;
                Ok(Moved::Full)
            }
            Ok(Moved::End) => {
                self.source_ended(index, poll, key, alive)?;
                Ok(Moved::End)
            }
            Ok(Moved::Bytes(count)) => {
                self.terminal_is_back(index, poll, key)?;
                Ok(Moved::Bytes(count))
            }
            Ok(Moved::Empty) => Ok(Moved::Empty),
        }
    }

    /// Throws away what a source holds now.
    fn discard(&mut self, index: usize, poll: &Poll, key: Key, alive: bool) -> io::Result<Moved> {
        let taken = match &self.sources[index] {
            None => return Ok(Moved::End),
            Some(Source::Pipe { reader, .. }) => {
                let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty())?;
                let bytes = crate::limits::RECORD_BYTES_MAX as usize;
                rustix::pipe::splice(reader, None, &null, None, bytes, SpliceFlags::NONBLOCK)
            }
            Some(Source::Terminal { master, .. }) => rustix::io::read(master, &mut [0; 4096]),
        };
        match taken {
            Ok(0) | Err(Errno::IO) => {
                self.source_ended(index, poll, key, alive)?;
                Ok(Moved::End)
            }
            Ok(bytes) => {
                let _ = self.ring.count_dropped(bytes as u64);
                Ok(Moved::Bytes(bytes as u64))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Empty),
            Err(error) => Err(error.into()),
        }
    }

    fn source_ended(&mut self, index: usize, poll: &Poll, key: Key, alive: bool) -> io::Result<()> {
        if let Some(Source::Terminal { master, hung_up }) = &mut self.sources[index]
            && alive
        {
            // A terminal may be opened again by name. Its hang-up stays readable for ever, so from now
            // on only changes are told.
            if !*hung_up {
                *hung_up = true;
                poll.change(&*master, Token::Source(key, index), Watch::ReadableEdge)?;
            }
            return Ok(());
        }
        if let Some(source) = self.sources[index].take() {
            poll.remove(&source);
        }
        Ok(())
    }

    fn terminal_is_back(&mut self, index: usize, poll: &Poll, key: Key) -> io::Result<()> {
        if let Some(Source::Terminal { master, hung_up }) = &mut self.sources[index]
            && *hung_up
        {
            *hung_up = false;
            poll.change(&*master, Token::Source(key, index), Watch::Readable)?;
        }
        Ok(())
    }

    /// Stops reading until the reader has made room.
    fn stall(&mut self, poll: &Poll, key: Key) -> io::Result<()> {
        if self.stalled || !self.ring.wait_for_room()? {
            return Ok(());
        }
        if !self.space_watched {
            poll.add(self.ring.space_event(), Token::Space(key), Watch::Readable)?;
            self.space_watched = true;
        }
        // Watching for nothing would not do: the hang-up of a pipe is always told.
        for source in self.sources.iter().flatten() {
            poll.remove(source);
        }
        self.stalled = true;
        Ok(())
    }

    /// The reader says that there is room.
    pub(super) fn room_made(&mut self, poll: &Poll, key: Key) -> io::Result<()> {
        self.ring.quiet_space_event();
        if self.stalled {
            self.stalled = false;
            self.watch(poll, key)?;
        }
        Ok(())
    }

    /// The process has ended: moves what its pipes still hold. Answers whether anything moved.
    pub(super) fn drain(&mut self, poll: &Poll, key: Key) -> io::Result<bool> {
        let mut any = false;
        for index in 0..self.sources.len() {
            for _ in 0..DRAIN_RECORDS {
                match self.relay(index, poll, key, false)? {
                    Moved::Bytes(_) => any = true,
                    Moved::Empty | Moved::Full | Moved::End => break,
                }
            }
        }
        Ok(any)
    }

    /// Whether every source has been read to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.sources.iter().all(Option::is_none)
    }

    /// Whether output waits for the reader.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Reads no more and marks the end.
    pub(super) fn end(&mut self, poll: &Poll) -> io::Result<()> {
        for source in self.sources.iter_mut().filter_map(Option::take) {
            poll.remove(&source);
        }
        if self.space_watched {
            poll.remove(self.ring.space_event());
            self.space_watched = false;
        }
        self.ring.end()
    }
}
