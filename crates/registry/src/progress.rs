//! What pull and push tell while they go on: a line for each layer that later lines replace, in Docker's words.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// One line of progress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// A layer or a tag; empty: a line of its own.
    pub id: String,
    pub status: String,
    /// Bytes done and all bytes, where there is something to count.
    pub current: u64,
    pub total: u64,
}

/// Where steps go.
#[derive(Debug, Clone)]
pub struct Steps(mpsc::Sender<Step>);

/// A bar moves at most so often; more would only be bytes on the wire.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

impl Steps {
    /// Steps to a channel. When nobody listens any more, they go nowhere.
    pub fn new(sender: mpsc::Sender<Step>) -> Self {
        Self(sender)
    }

    pub(crate) async fn say(&self, id: impl Into<String>, status: impl Into<String>) {
        let step = Step { id: id.into(), status: status.into(), current: 0, total: 0 };
        // A client that has gone does not want to know.
        let _ = self.0.send(step).await;
    }

    /// A bar for one layer.
    pub(crate) fn bar(&self, id: &str, status: &'static str, total: u64) -> Bar {
        Bar { steps: self.clone(), id: id.to_owned(), status, total, last: None }
    }
}

/// How far one layer is.
pub(crate) struct Bar {
    steps: Steps,
    id: String,
    status: &'static str,
    total: u64,
    last: Option<Instant>,
}

impl Bar {
    pub(crate) fn set(&mut self, current: u64) {
        if self.last.is_some_and(|last| last.elapsed() < BAR_INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        let step = Step { id: self.id.clone(), status: self.status.to_owned(), current, total: self.total };
        // A listener that is slow misses steps, not the end.
        let _ = self.steps.0.try_send(step);
    }
}
