//! What a build tells while it goes on: vertices begin, print and end.

use bytes::Bytes;
use hako_base::clock;
use hako_model::Digest;
use jiff::Timestamp;
use tokio::sync::mpsc;

/// Pieces that wait for a slow reader.
const QUEUED: usize = 256;

/// One piece of news.
#[derive(Debug, Clone)]
pub enum Event {
    /// There is such a step.
    Vertex(Vertex),
    Started {
        id: u64,
        at: Timestamp,
    },
    Log {
        id: u64,
        stderr: bool,
        bytes: Bytes,
        at: Timestamp,
    },
    /// A part of a step's work: a transfer, an export.
    Status {
        id: u64,
        name: String,
        current: u64,
        total: u64,
        at: Timestamp,
        done: bool,
    },
    /// An image comes from a registry: a layer of it, or the whole.
    Pull {
        id: u64,
        step: hako_engine::view::Progress,
        at: Timestamp,
    },
    Completed(Completed),
    /// Something that is not wrong yet: line and text.
    Warning {
        line: usize,
        text: String,
    },
}

/// A step as the plan knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    pub id: u64,
    /// `[stage 2/3] RUN make`
    pub name: String,
    /// The instruction alone, as the classic builder prints it.
    pub original: String,
    /// Place among the instructions of the file, from 1, and their number; 0 for what is no instruction.
    pub step: usize,
    pub steps: usize,
    pub inputs: Vec<u64>,
    /// Lines in the Dockerfile.
    pub lines: (usize, usize),
}

/// The end of a step.
#[derive(Debug, Clone)]
pub struct Completed {
    pub id: u64,
    pub at: Timestamp,
    pub cached: bool,
    pub error: Option<String>,
    /// Why it was not taken from the cache.
    pub why: Option<String>,
    /// The image so far (classic builds).
    pub image: Option<Digest>,
}

/// Where news goes.
#[derive(Debug, Clone)]
pub struct Progress(mpsc::Sender<Event>);

impl Progress {
    /// A place for news, and its end to read from.
    pub fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (send, receive) = mpsc::channel(QUEUED);
        (Self(send), receive)
    }

    /// Tells; whoever has hung up does not want to know.
    pub async fn tell(&self, event: Event) {
        let _ = self.0.send(event).await;
    }

    /// Tells that a step begins.
    pub async fn started(&self, id: u64) {
        self.tell(Event::Started { id, at: clock::now() }).await;
    }

    /// Tells a line about a step.
    pub async fn log(&self, id: u64, stderr: bool, bytes: impl Into<Bytes>) {
        self.tell(Event::Log { id, stderr, bytes: bytes.into(), at: clock::now() }).await;
    }

    /// Whether nobody listens any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
