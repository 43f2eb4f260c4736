//! From the keeper's ring to the log and to everybody attached.
//!
//! One task per running process. It does bounded work per turn and writes small pieces into the page
//! cache itself: handing each to another thread would cost more than the write.

use std::sync::Arc;

use bytes::Bytes;
use hako_keeper::{Ring, Stream};
use tokio::{io::Interest, sync::watch};

use crate::{
    limits,
    log::{
        LogPlan,
        forward::{Line, Queue},
        line::Lines,
        write::LogWriter,
    },
    stdio::{Listeners, register},
    table::Container,
    view::{OutputChunk, OutputStream},
};

/// Moves a container's output until its end; `drained` turns true after the last byte.
pub(crate) async fn pump_container(container: Arc<Container>, ring: Ring, log: OpenLog, drained: watch::Sender<bool>) {
    let OpenLog { writer: log, queue } = log;
    let mut phase = container.phase.subscribe();
    let exits = phase.borrow().exits;
    let plan = container.log_plan.subscribe();
    let mut sink = LogSink { container: &container, log, plan, queue, passing: Vec::new(), lines: Lines::default() };
    if let Err(error) = pump(ring, &container.listeners, Some(&mut sink)).await {
        tracing::error!(container = %container.id.short(), %error, "the output ends early");
    }
    drop(sink);
    drained.send_replace(true);
    // Those attached hear the end when the exit is known (`exit.rs`): clients ask for it as soon as the stream has ended.
    let noted = phase.wait_for(|phase| phase.exits != exits || phase.removed);
    if tokio::time::timeout(limits::LAST_OUTPUT_DEADLINE, noted).await.is_err() {
        container.listeners.end();
    }
}

/// Moves an exec's output until its end; nothing of it is logged. Its listeners hear the end when the exit status is
/// known too: clients ask for it as soon as the stream has ended.
pub(crate) async fn pump_exec(listeners: &Listeners, ring: Ring) {
    if let Err(error) = pump(ring, listeners, None).await {
        tracing::error!(%error, "the output of an exec ends early");
    }
}

async fn pump(mut ring: Ring, listeners: &Listeners, mut sink: Option<&mut LogSink<'_>>) -> std::io::Result<()> {
    let event = register(ring.event_fd().try_clone_to_owned()?, Interest::READABLE)?;
    loop {
        let chunks = ring.take(limits::OUTPUT_TURN_BYTES).map_err(std::io::Error::other)?;
        if chunks.is_empty() {
            if ring.finished() {
                break;
            }
            event.readable().await?.clear_ready();
            continue;
        }
        for chunk in chunks {
            let stream = match chunk.stream {
                Stream::Stdout => OutputStream::Stdout,
                Stream::Stderr => OutputStream::Stderr,
            };
            if let Some(sink) = sink.as_deref_mut() {
                sink.push(stream, chunk.at, &chunk.bytes);
            }
            if !listeners.is_empty() {
                listeners.send(&OutputChunk { stream, bytes: Bytes::from(chunk.bytes) }).await;
            }
        }
        match sink.as_deref_mut() {
            Some(sink) => {
                sink.settle(&mut ring)?;
                sink.pass_on().await;
            }
            None => ring.commit(0).map_err(std::io::Error::other)?,
        }
        tokio::task::yield_now().await;
    }
    if let Some(sink) = sink {
        sink.end(&mut ring)?;
        sink.pass_on().await;
    }
    Ok(())
}

/// The log of a container that is about to run: the end that is written, and the way to elsewhere.
pub(crate) struct OpenLog {
    pub(crate) writer: LogWriter,
    pub(crate) queue: Option<Queue>,
}

/// The log of a container, as the pump writes it.
struct LogSink<'a> {
    container: &'a Container,
    log: LogWriter,
    /// Changes when somebody changes the log's options while it is written.
    plan: watch::Receiver<Arc<LogPlan>>,
    queue: Option<Queue>,
    /// Lines that are yet to be put into the queue.
    passing: Vec<Line>,
    lines: Lines,
}

impl LogSink<'_> {
    fn push(&mut self, stream: OutputStream, at: jiff::Timestamp, bytes: &[u8]) {
        // Before the line is written: it may be one too many for the limits that were.
        if self.plan.has_changed().unwrap_or(false) {
            self.log.retune(&self.plan.borrow_and_update());
        }
        let at_ns = u64::try_from(at.as_nanosecond()).unwrap_or_default();
        let (log, passing, forwarded) = (&mut self.log, &mut self.passing, self.queue.is_some());
        self.lines.push(stream, at_ns, bytes, |stream, at_ns, line| {
            log.append(stream, at_ns, line);
            if forwarded {
                passing.push(Line { stream, at_ns, text: line.to_vec() });
            }
        });
    }

    fn flush_lines(&mut self) {
        let (log, passing, forwarded) = (&mut self.log, &mut self.passing, self.queue.is_some());
        self.lines.flush(|stream, at_ns, line| {
            log.append(stream, at_ns, line);
            if forwarded {
                passing.push(Line { stream, at_ns, text: line.to_vec() });
            }
        });
    }

    /// Hands over what goes elsewhere; a slow receiver is waited for, unless lines may be lost.
    async fn pass_on(&mut self) {
        if let Some(queue) = &self.queue {
            for line in self.passing.drain(..) {
                queue.put(line).await;
            }
        }
    }

    /// Writes what is complete; commits if nothing is left over, or if too much is.
    fn settle(&mut self, ring: &mut Ring) -> std::io::Result<()> {
        // A quarter of the ring: a prompt without newline never stops a container that writes on.
        if ring.unread_bytes() > ring.size_bytes() / 4 {
            self.flush_lines();
        }
        // A full disk stops the log, never the container.
        if let Err(error) = self.log.flush() {
            tracing::warn!(container = %self.container.id.short(), %error, "some output is not in the log");
        }
        if self.lines.is_empty() {
            ring.commit(self.log.length()).map_err(std::io::Error::other)?;
        }
        self.container.log_mark.send_replace((self.log.generation(), self.log.length()));
        Ok(())
    }

    fn end(&mut self, ring: &mut Ring) -> std::io::Result<()> {
        self.flush_lines();
        self.settle(ring)
    }
}
