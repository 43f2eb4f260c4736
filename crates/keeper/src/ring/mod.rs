//! The ring that carries a container's output from the keeper to the daemon.
//!
//! One sealed memfd: a page of numbers (`header`), then a circle of records. The keeper writes
//! (`writer`), the daemon reads, writes its log, and commits position and log length together
//! (`reader`). An eventfd each way says "there is something" and "there is room".
//!
//! ```text
//!   position ─ header 16 bytes: length u32, stream u8, 3 zeros, nanoseconds u64
//!              bytes, padded to a multiple of 16
//! ```
//!
//! A record never wraps: where the room up to the end of the circle is too short, a record of the
//! stream `PAD` fills it. Data is copied by `splice`/`pread`, never looked at in place, so that neither
//! side can change it under the other's feet; only the header page is mapped.

mod header;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Chunk, Ring, RingEnds, RingError};
pub(crate) use writer::{Moved, RingWriter};

use serde::{Deserialize, Serialize};

/// Which of a process's outputs some bytes came from. A terminal has only one, called `Stdout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The record's header: its bytes on the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    length: u32,
    stream: u8,
    at_ns: u64,
}

const RECORD_BYTES: u64 = 16;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const PAD: u8 = 3;

impl Record {
    fn encode(self) -> [u8; RECORD_BYTES as usize] {
        let mut bytes = [0; RECORD_BYTES as usize];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.stream;
        bytes[8..].copy_from_slice(&self.at_ns.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        let at_ns = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
        Some(Self { length, stream: *bytes.get(4)?, at_ns })
    }

    /// Header, bytes and padding.
    fn span(self) -> u64 {
        RECORD_BYTES + u64::from(self.length).next_multiple_of(RECORD_BYTES)
    }
}

/// The longest record of a ring of this size: four of them fit, so that one never blocks a whole ring.
fn record_bytes_max(data_bytes: u64) -> u64 {
    (data_bytes / 4).min(crate::limits::RECORD_BYTES_MAX)
}
