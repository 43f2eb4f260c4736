//! The keeper's end of a ring: moves what a pipe or terminal holds into it, and knows when to stop.
//!
//! The keeper trusts only its own count of what it has written. The reader's position is taken over if
//! it is between the last one and that count, and ignored otherwise: a daemon gone wrong can lose its
//! own output, not the keeper's memory.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
    pipe::{SpliceFlags, splice},
};

use super::{
    PAD, RECORD_BYTES, Record, STDERR, STDOUT, Stream,
    header::{Commit, HEADER_BYTES, Header, Memory, create_memory, data_bytes, is_untouched},
    record_bytes_max,
};

/// Less room than this is none: it would cut output into crumbs.
const ROOM_MIN: u64 = 1024;

/// What a terminal hands out at once.
const TERMINAL_BYTES: usize = 4096;

/// What came of one attempt to move output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    Bytes(u64),
    /// The source holds nothing now.
    Empty,
    /// The ring has no room.
    Full,
    /// The last writer of the source has closed it.
    End,
}

/// The writing end.
pub(crate) struct RingWriter {
    memory: Memory,
    data: OwnedFd,
    space: OwnedFd,
    size: u64,
    head: u64,
    tail: u64,
    ended: bool,
}

impl RingWriter {
    /// A new ring. `bytes` is rounded up to whole pages and held within the limits; `log_length` stands as the
    /// first commit.
    pub(crate) fn create(bytes: u32, log_length: u64) -> io::Result<Self> {
        use crate::limits::{RING_BYTES_MAX, RING_BYTES_MIN};
        let size = u64::from(bytes.clamp(RING_BYTES_MIN, RING_BYTES_MAX)).next_multiple_of(4096);
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let mut memory = Memory::bare(create_memory(size)?);
        if log_length != 0 {
            memory.map()?.commit(Commit { position: 0, log_length });
            memory.unmap();
        }
        Ok(Self { memory, data: event()?, space: event()?, size, head: 0, tail: 0, ended: false })
    }

    /// The ring of a keeper that was replaced in place, from its descriptors and its own count.
    pub(crate) fn resume(fds: [OwnedFd; 3], head: u64, ended: bool) -> io::Result<Self> {
        let [memory, data, space] = fds;
        let size = data_bytes(&memory)?;
        let tail = head.saturating_sub(size);
        Ok(Self { memory: Memory::bare(memory), data, space, size, head, tail, ended })
    }

    /// The ring of a keeper that died: its count is believed from the shared page, there is no other.
    pub(crate) fn take_over(fds: [OwnedFd; 3]) -> io::Result<Self> {
        let (head, ended) = match is_untouched(&fds[0])? {
            true => (0, false),
            false => Header::map(fds[0].as_fd()).map(|header| (header.head(), header.ended()))?,
        };
        Self::resume(fds, head, ended)
    }

    /// Replaces every descriptor by what `place` makes of it. Only before the first output.
    pub(crate) fn place(mut self, place: impl Fn(OwnedFd) -> OwnedFd) -> Self {
        self.memory = self.memory.place(&place);
        self.data = place(self.data);
        self.space = place(self.space);
        self
    }

    /// Memory, data event, space event: what the reader is given.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.memory.as_fd(), self.data.as_fd(), self.space.as_fd()]
    }

    /// Becomes readable when the reader has made room for a keeper that waits for it.
    pub(crate) fn space_event(&self) -> BorrowedFd<'_> {
        self.space.as_fd()
    }

    /// Bytes of records ever written.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Mapped at the first output.
    fn header(&mut self) -> io::Result<&Header> {
        self.memory.map()
    }

    fn room(&mut self) -> io::Result<u64> {
        let position = self.header()?.committed().position;
        if (self.tail..=self.head).contains(&position) {
            self.tail = position;
        }
        Ok(self.size - (self.head - self.tail))
    }

    /// Where the next record goes (its offset in the memory) and how many bytes it may have.
    fn reserve(&mut self) -> io::Result<Option<(u64, u64)>> {
        loop {
            let room = self.room()?;
            let offset = self.head % self.size;
            let contiguous = self.size - offset;
            if contiguous >= ROOM_MIN {
                let available = room.min(contiguous);
                let fits = available >= ROOM_MIN;
                let bytes = record_bytes_max(self.size).min(available.saturating_sub(RECORD_BYTES));
                return Ok(fits.then_some((HEADER_BYTES + offset, bytes)));
            }
            if room < contiguous {
                return Ok(None);
            }
            let pad = Record { length: (contiguous - RECORD_BYTES) as u32, stream: PAD, at_ns: 0 };
            self.put(HEADER_BYTES + offset, &pad.encode())?;
            self.head += contiguous;
        }
    }

    fn put(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = rustix::io::pwrite(&self.memory, bytes, offset)?;
            offset += written as u64;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Moves what `pipe` holds, at most one record, without copying it through this process.
    pub(crate) fn fill_from_pipe(&mut self, stream: Stream, pipe: BorrowedFd<'_>) -> io::Result<Moved> {
        let Some((offset, bytes)) = self.reserve()? else { return Ok(Moved::Full) };
        let mut at = offset + RECORD_BYTES;
        match splice(pipe, None, &self.memory, Some(&mut at), bytes as usize, SpliceFlags::NONBLOCK) {
            Ok(0) => Ok(Moved::End),
            Ok(moved) => self.publish(stream, offset, moved as u64),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Empty),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves what a terminal's master holds. `EIO` says that nobody has its other side open.
    pub(crate) fn fill_from_terminal(&mut self, master: BorrowedFd<'_>) -> io::Result<Moved> {
        let Some((offset, bytes)) = self.reserve()? else { return Ok(Moved::Full) };
        let mut buffer = [0; TERMINAL_BYTES];
        let wanted = TERMINAL_BYTES.min(bytes as usize);
        match rustix::io::read(master, &mut buffer[..wanted]) {
            Ok(0) | Err(Errno::IO) => Ok(Moved::End),
            Ok(moved) => {
                self.put(offset + RECORD_BYTES, &buffer[..moved])?;
                self.publish(Stream::Stdout, offset, moved as u64)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Empty),
            Err(error) => Err(error.into()),
        }
    }

    fn publish(&mut self, stream: Stream, offset: u64, length: u64) -> io::Result<Moved> {
        let record = Record {
            length: length as u32,
            stream: if stream == Stream::Stdout { STDOUT } else { STDERR },
            at_ns: u64::try_from(hako_base::clock::now().as_nanosecond()).unwrap_or_default(),
        };
        self.put(offset, &record.encode())?;
        self.head += record.span();
        let head = self.head;
        self.header()?.set_head(head);
        self.wake_reader()?;
        Ok(Moved::Bytes(length))
    }

    fn wake_reader(&mut self) -> io::Result<()> {
        if !self.header()?.swap_signalled(true) {
            ring_bell(&self.data)?;
        }
        Ok(())
    }

    /// Counts output that was thrown away.
    pub(crate) fn count_dropped(&mut self, bytes: u64) -> io::Result<()> {
        self.header()?.add_dropped(bytes);
        Ok(())
    }

    /// Asks the reader for a wake-up once there is room; `false` if there is room by now.
    pub(crate) fn wait_for_room(&mut self) -> io::Result<bool> {
        // First the wish, then the second look: the reader does it in the opposite order, so one of
        // the two sees the other.
        self.header()?.swap_waiting(true);
        if self.reserve()?.is_some() {
            self.header()?.swap_waiting(false);
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes back the wake-up that came.
    pub(crate) fn quiet_space_event(&self) {
        let _ = rustix::io::read(&self.space, &mut [0; 8]);
    }

    /// No more output will come.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.header()?.end();
        self.ended = true;
        self.header()?.swap_signalled(true);
        ring_bell(&self.data)?;
        // Whoever has ended needs the page no more; the reader has its own mapping.
        self.memory.unmap();
        Ok(())
    }
}

/// Makes an eventfd readable. One that is full is readable already.
pub(super) fn ring_bell(event: &OwnedFd) -> io::Result<()> {
    match rustix::io::write(event, &1_u64.to_ne_bytes()) {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
