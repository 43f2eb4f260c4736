//! What happened, for those who watch: a bounded past and a live stream.
//!
//! Nobody who watches can slow down what happens: a watcher that falls behind by
//! [`limits::EVENTS_QUEUED_MAX`] loses the oldest events, and is told in the daemon's log.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hako_base::clock;
use hako_model::{Event, EventKind, Filters};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

use crate::{EngineError, limits, timer};

const KNOWN_FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

pub(crate) struct EventBus {
    past: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
    count: AtomicU64,
}

impl EventBus {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            past: Mutex::new(VecDeque::with_capacity(limits::EVENTS_KEPT)),
            live: broadcast::channel(limits::EVENTS_QUEUED_MAX).0,
            count: AtomicU64::new(0),
        })
    }

    pub(crate) fn publish<'a>(
        &self,
        kind: EventKind,
        action: &str,
        actor: &str,
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let event = Event { kind, action: action.to_owned(), actor: actor.to_owned(), attributes, at: clock::now() };
        // Under the lock, so that a watcher that reads the past and then the stream misses nothing
        // and sees nothing twice.
        let mut past = self.past.lock();
        if past.len() == limits::EVENTS_KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        let _ = self.live.send(event);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Events so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }

    /// The past since `since`, then what comes, until `until` or until the receiver is dropped.
    pub(crate) fn watch(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        filters: &Filters,
    ) -> Result<mpsc::Receiver<Event>, EngineError> {
        if let Some(key) = filters.unknown_key(KNOWN_FILTERS) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        let (past, live) = {
            let kept = self.past.lock();
            // Without either end, only what comes is asked for.
            let wants_past = since.is_some() || until.is_some();
            let fits = |event: &&Event| {
                since.is_none_or(|since| event.at >= since) && until.is_none_or(|until| event.at <= until)
            };
            let past: Vec<Event> = kept.iter().filter(|_| wants_past).filter(fits).cloned().collect();
            (past, self.live.subscribe())
        };
        let (send, receive) = mpsc::channel(64);
        tokio::spawn(forward(past, live, until, filters.clone(), send));
        Ok(receive)
    }
}

async fn forward(
    past: Vec<Event>,
    mut live: broadcast::Receiver<Event>,
    until: Option<Timestamp>,
    filters: Filters,
    send: mpsc::Sender<Event>,
) {
    for event in past {
        if matches(&event, &filters) && send.send(event).await.is_err() {
            return;
        }
    }
    let end = timer::at(until);
    tokio::pin!(end);
    loop {
        let event = tokio::select! {
            event = live.recv() => event,
            () = &mut end => return,
            () = send.closed() => return,
        };
        match event {
            Ok(event) => {
                if matches(&event, &filters) && send.send(event).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "a watcher of events is too slow and missed some");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Whether an event satisfies every filter, as Docker judges it.
fn matches(event: &Event, filters: &Filters) -> bool {
    let named = |key: &str, kind: EventKind, attribute: &str| {
        filters.any(key, |wanted| {
            let name = event.attributes.get("name").map_or("", String::as_str);
            if event.kind == kind {
                return event.actor == wanted
                    || name == wanted
                    || (!wanted.is_empty() && event.actor.starts_with(wanted))
                    || (kind == EventKind::Image && name.split(':').next() == Some(wanted));
            }
            event.attributes.get(attribute).is_some_and(|found| {
                found == wanted || (kind == EventKind::Image && found.split(':').next() == Some(wanted))
            })
        })
    };
    filters.any("type", |wanted| wanted == event.kind.name())
        && filters.any("event", |wanted| {
            event.action == wanted || event.action.split_once(':').is_some_and(|(action, _)| action == wanted)
        })
        && filters.any("scope", |wanted| wanted == "local")
        && filters.labels("label", &event.attributes)
        && named("container", EventKind::Container, "container")
        && named("image", EventKind::Image, "image")
        && named("network", EventKind::Network, "network")
        && named("volume", EventKind::Volume, "volume")
        && named("daemon", EventKind::Daemon, "daemon")
        && ["node", "service", "secret", "config", "plugin"].iter().all(|key| !filters.has(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, action: &str, actor: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Event { kind, action: action.to_owned(), actor: actor.to_owned(), attributes, at: clock::now() }
    }

    #[test]
    fn filters_match_names_ids_and_labels() {
        let start = event(
            EventKind::Container,
            "start",
            "0123456789ab",
            &[("name", "web"), ("image", "nginx:1"), ("tier", "front")],
        );
        for (key, value, expected) in [
            ("container", "web", true),
            ("container", "0123", true),
            ("container", "db", false),
            ("image", "nginx", true),
            ("image", "nginx:1", true),
            ("image", "redis", false),
            ("label", "tier=front", true),
            ("label", "tier=back", false),
            ("event", "start", true),
            ("event", "die", false),
            ("type", "container", true),
            ("type", "network", false),
        ] {
            let mut filters = Filters::default();
            filters.add(key, value);
            assert_eq!(matches(&start, &filters), expected, "{key}={value}");
        }
        let mut filters = Filters::default();
        filters.add("event", "exec_start");
        assert!(matches(&event(EventKind::Container, "exec_start: sh", "x", &[]), &filters));
    }
}
