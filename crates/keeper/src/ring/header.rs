//! The first page of a ring: the numbers that keeper and daemon share.
//!
//! Two processes write it, each its own cache lines: the keeper `HEAD` … `WAITING`, the daemon
//! `SEQUENCE` … `SIGNALLED`. Neither believes what it reads before checking it against what it knows by
//! itself. A page that was never touched reads as a ring that is empty and open.
//!
//! The daemon's commit is two slots and a sequence number: it fills the slot that is not current, then
//! one store makes it current. Whatever the instruction at which it is killed, one whole commit stands.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use hako_sys::shared::Shared;
use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes before the data: one page, so that the data is page aligned for `splice`.
pub(super) const HEADER_BYTES: u64 = 4096;

/// A field, by its offset in the page.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// Bytes of records ever written.
    Head = 0,
    /// Bytes of output thrown away because the ring was full (non-blocking mode).
    Dropped = 8,
    /// 1 once no more output can come.
    Ended = 16,
    /// 1 while the keeper waits for room.
    Waiting = 24,
    /// How many commits there have been; its lowest bit says which slot is current.
    Sequence = 128,
    Position0 = 136,
    LogLength0 = 144,
    Position1 = 152,
    LogLength1 = 160,
    /// 1 from the keeper's wake-up until the reader has found nothing more to read.
    Signalled = 192,
}

/// What the reader has put away for good: how far it has read, and how long its log was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Commit {
    pub(super) position: u64,
    pub(super) log_length: u64,
}

/// The mapping. All of the ring is mapped, but only the first page is ever touched, so only that is resident.
pub(super) struct Header(Shared);

impl Header {
    pub(super) fn map(memory: BorrowedFd<'_>) -> io::Result<Self> {
        Shared::map(memory).map(Self)
    }

    fn field(&self, field: Field) -> &AtomicU64 {
        self.0.word(field as usize)
    }

    pub(super) fn head(&self) -> u64 {
        self.field(Field::Head).load(SeqCst)
    }

    pub(super) fn set_head(&self, head: u64) {
        self.field(Field::Head).store(head, SeqCst);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.field(Field::Dropped).load(SeqCst)
    }

    pub(super) fn add_dropped(&self, bytes: u64) {
        self.field(Field::Dropped).fetch_add(bytes, SeqCst);
    }

    pub(super) fn ended(&self) -> bool {
        self.field(Field::Ended).load(SeqCst) != 0
    }

    pub(super) fn end(&self) {
        self.field(Field::Ended).store(1, SeqCst);
    }

    /// Says whether the keeper waits for room; answers what was said before.
    pub(super) fn swap_waiting(&self, waiting: bool) -> bool {
        self.field(Field::Waiting).swap(u64::from(waiting), SeqCst) != 0
    }

    /// Says whether the reader has been woken; answers what was said before.
    pub(super) fn swap_signalled(&self, signalled: bool) -> bool {
        self.field(Field::Signalled).swap(u64::from(signalled), SeqCst) != 0
    }

    fn slot(&self, sequence: u64) -> (&AtomicU64, &AtomicU64) {
        match sequence & 1 {
            0 => (self.field(Field::Position0), self.field(Field::LogLength0)),
            _ => (self.field(Field::Position1), self.field(Field::LogLength1)),
        }
    }

    /// The current commit. A reader at work may overtake this one; then it is read again.
    pub(super) fn committed(&self) -> Commit {
        // Two commits would have to fall between two loads to need a second turn; a reader that
        // spins here to hang the keeper gets sixteen and then a value that is checked like any other.
        let mut commit = Commit::default();
        for _ in 0..16 {
            let sequence = self.field(Field::Sequence).load(SeqCst);
            let (position, log_length) = self.slot(sequence);
            commit = Commit { position: position.load(SeqCst), log_length: log_length.load(SeqCst) };
            if self.field(Field::Sequence).load(SeqCst) == sequence {
                break;
            }
        }
        commit
    }

    pub(super) fn commit(&self, commit: Commit) {
        let next = self.field(Field::Sequence).load(SeqCst).wrapping_add(1);
        let (position, log_length) = self.slot(next);
        position.store(commit.position, SeqCst);
        log_length.store(commit.log_length, SeqCst);
        self.field(Field::Sequence).store(next, SeqCst);
    }
}

/// A ring's memory as its writer has it: a descriptor, and a mapping for as long as there is output.
pub(super) struct Memory {
    descriptor: OwnedFd,
    header: Option<Header>,
}

impl Memory {
    pub(super) fn bare(descriptor: OwnedFd) -> Self {
        Self { descriptor, header: None }
    }

    /// The header, mapped if it was not.
    pub(super) fn map(&mut self) -> io::Result<&Header> {
        let header = match self.header.take() {
            Some(header) => header,
            None => Header::map(self.descriptor.as_fd())?,
        };
        Ok(self.header.insert(header))
    }

    /// Gives the mapping up.
    pub(super) fn unmap(&mut self) {
        self.header = None;
    }

    /// The same with another descriptor of it.
    pub(super) fn place(self, place: impl Fn(OwnedFd) -> OwnedFd) -> Self {
        Self { descriptor: place(self.descriptor), ..self }
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A memfd for a ring of `data_bytes`, which can neither grow nor shrink. Its pages come into being when
/// they are first written, so a container that prints nothing costs none.
pub(super) fn create_memory(data_bytes: u64) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("hako-ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memory, HEADER_BYTES + data_bytes)?;
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(memory)
}

/// How many bytes of data the ring in `memory` has; an error if it is not sealed, since the other side
/// could then cut it short under our feet (`SIGBUS`).
pub(super) fn data_bytes(memory: impl AsFd) -> io::Result<u64> {
    let seals = rustix::fs::fcntl_get_seals(&memory)?;
    if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the ring's memory is not sealed"));
    }
    let bytes = rustix::fs::fstat(&memory)?.st_size as u64;
    match bytes.checked_sub(HEADER_BYTES) {
        Some(data) if data >= 4096 && data % 16 == 0 => Ok(data),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a ring of {bytes} bytes"))),
    }
}

/// Whether any page of the ring exists: asked before mapping, because looking at the page would make it.
pub(super) fn is_untouched(memory: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstat(memory)?.st_blocks == 0)
}
