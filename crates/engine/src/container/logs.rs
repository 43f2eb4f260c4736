//! `container logs`: what a container has written, and what it writes.

use std::sync::Arc;

use bytes::Bytes;
use hako_base::clock;
use hako_model::ContainerState;
use tokio::sync::mpsc;

use crate::{
    Engine, EngineError,
    log::read::{LogLine, Place, beginning, last_lines, read_from},
    table::Container,
    timer,
    view::{LogOptions, LogStream, OutputChunk},
};

impl Engine {
    /// Reads the log as `options` says; with `follow` until the container ends.
    ///
    /// # Errors
    /// No such container, or one whose log is not kept.
    pub async fn container_logs(&self, name: &str, options: LogOptions) -> Result<LogStream, EngineError> {
        let container = self.containers.find(name)?;
        if !container.log().kept {
            return Err(EngineError::NotBuilt {
                text: "configured logging driver does not support reading".to_owned(),
            });
        }
        let tty = container.record().spec.tty;
        let (send, output) = mpsc::channel(16);
        tokio::spawn(deliver(container, options, send));
        Ok(LogStream { tty, output })
    }
}

/// Sends what is there, then what comes, until the container ends, `until` has passed or nobody listens.
async fn deliver(container: Arc<Container>, options: LogOptions, send: mpsc::Sender<OutputChunk>) {
    let mut mark = container.log_mark.subscribe();
    let mut phase = container.phase.subscribe();
    let mut place = {
        let generation = mark.borrow_and_update().0;
        match options.tail {
            Some(lines) => last_lines(&container.log(), generation, lines),
            None => beginning(&container.log(), generation),
        }
    };
    loop {
        let generation = mark.borrow_and_update().0;
        // Asked before reading: what was written before the end is then read for certain.
        let ended = {
            let phase = phase.borrow_and_update();
            !phase.running && !phase.restarting
        } && !is_restarting(&container);
        match read_on(&container, place, generation, &options, &send).await {
            Some(next) => place = next,
            None => return,
        }
        if !options.follow || ended || options.until.is_some_and(|until| clock::now() > until) {
            return;
        }
        tokio::select! {
            _ = mark.changed() => {}
            _ = phase.changed() => {}
            () = send.closed() => return,
            () = timer::at(options.until) => {}
        }
    }
}

fn is_restarting(container: &Container) -> bool {
    container.record().state.status == ContainerState::Restarting
}

async fn read_on(
    container: &Arc<Container>,
    place: Place,
    generation: u64,
    options: &LogOptions,
    send: &mpsc::Sender<OutputChunk>,
) -> Option<Place> {
    let (container, options, send) = (container.clone(), options.clone(), send.clone());
    crate::blocking(move || {
        let mut emit = |line: LogLine| !options.wants(&line) || send.blocking_send(chunk(line, &options)).is_ok();
        match read_from(&container.log(), place, generation, &mut emit) {
            Ok(place) => Some(place),
            Err(error) => {
                tracing::warn!(container = %container.id.short(), %error, "cannot read the log");
                None
            }
        }
    })
    .await
}

fn chunk(line: LogLine, options: &LogOptions) -> OutputChunk {
    let mut text = String::new();
    if options.timestamps {
        text.push_str(&clock::rfc3339_nano_fixed(line.at));
        text.push(' ');
    }
    if options.details {
        text.push_str(&line.attributes);
        text.push(' ');
    }
    text.push_str(&line.text);
    OutputChunk { stream: line.stream, bytes: Bytes::from(text) }
}
