//! The engine's figures for Prometheus (`--metrics-addr`), by the names that dockerd gives them where it has them.
//!
//! What the engine counts comes from [`Engine::metrics`]; how long requests took is counted here, since a request is
//! what a client waits for.

use std::{
    convert::Infallible,
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hako_api::Operation;
use hako_engine::{Engine, view::MetricsView};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    limits,
    reply::{self, Reply, ReplyBody},
    serve::Settings,
};

/// The format's version that this is.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets, in microseconds: from half a millisecond, since starts take a few of them.
const BUCKETS_US: [u64; 13] =
    [500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

/// The operations that are timed, with dockerd's word for what is done.
const TIMED: [(Operation, &str); 5] = [
    (Operation::ContainerChanges, "changes"),
    (Operation::ImageCommit, "commit"),
    (Operation::ContainerCreate, "create"),
    (Operation::ContainerRemove, "delete"),
    (Operation::ContainerStart, "start"),
];

/// How long timed operations took.
#[derive(Debug, Default)]
pub(crate) struct Timings([Histogram; TIMED.len()]);

#[derive(Debug, Default)]
struct Histogram {
    /// Per bucket, and those above all of them; not cumulated.
    counts: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Timings {
    /// Notes one that has succeeded.
    pub(crate) fn note(&self, operation: Operation, took: Duration) {
        let Some(at) = TIMED.iter().position(|(timed, _)| *timed == operation) else { return };
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        self.0[at].counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0[at].sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// Serves `/metrics` until it is dropped.
pub(crate) async fn serve(listener: TcpListener, engine: Engine, settings: Settings, timings: &Timings) {
    let page = || {
        let view = engine.metrics();
        text(&view, &settings, timings)
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let page = page();
                    connections.spawn(connection(TokioIo::new(socket), page));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for figures");
                    let _ = tokio::time::timeout(limits::ACCEPT_PAUSE, connections.join_next()).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One page a connection: who scrapes comes again in seconds.
async fn connection(socket: TokioIo<tokio::net::TcpStream>, page: String) {
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = answer(request.uri().path(), &page);
        async move { Ok::<_, Infallible>(reply) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_DEADLINE)
        .keep_alive(false)
        .serve_connection(socket, service);
    if let Err(error) = connection.await {
        tracing::debug!(error = %hako_base::error::chain(&error), "a connection for figures ended early");
    }
}

fn answer(path: &str, page: &str) -> Reply {
    if path == "/metrics" {
        return reply::with_body(StatusCode::OK, CONTENT_TYPE, ReplyBody::Whole(page.to_owned().into()));
    }
    let mut reply = Response::new(ReplyBody::Whole("404 page not found\n".into()));
    *reply.status_mut() = StatusCode::NOT_FOUND;
    reply
}

fn text(view: &MetricsView, settings: &Settings, timings: &Timings) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    page.head("engine_daemon_container_actions_seconds", "histogram", "How long container operations took, in seconds");
    for (histogram, (_, action)) in timings.0.iter().zip(TIMED) {
        page.histogram("engine_daemon_container_actions_seconds", action, histogram);
    }
    page.head("engine_daemon_container_states_containers", "gauge", "Containers by their state");
    for (state, count) in [("paused", view.paused), ("running", view.running), ("stopped", view.stopped)] {
        page.line(&format!("engine_daemon_container_states_containers{{state=\"{state}\"}}"), count);
    }
    page.one("engine_daemon_engine_cpus_cpus", "gauge", "Processors of the host", view.cpus);
    page.head("engine_daemon_engine_info", "gauge", "The engine and its host");
    let labels = [
        ("architecture", view.architecture.as_str()),
        ("commit", &settings.git_commit),
        ("daemon_id", &view.id),
        ("graphdriver", "overlay2"),
        ("kernel", &view.kernel),
        ("os", &view.operating_system),
        ("os_type", "linux"),
        ("os_version", &view.os_version),
        ("version", &settings.version),
    ];
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    page.line(&format!("engine_daemon_engine_info{{{}}}", labels.join(",")), 1);
    page.one("engine_daemon_engine_memory_bytes", "gauge", "Memory of the host", view.memory_bytes);
    page.one("engine_daemon_events_subscribers_total", "gauge", "Who watches events now", view.event_listeners);
    page.one("engine_daemon_events_total", "counter", "Events so far", view.events);
    page.one("engine_daemon_health_checks_failed_total", "counter", "Health checks that failed", view.checks_failed);
    page.one("engine_daemon_health_checks_total", "counter", "Health checks made", view.checks);
    page.one("process_cpu_seconds_total", "counter", "Processor time of the daemon", view.own_cpu_s);
    page.one("process_open_fds", "gauge", "Open descriptors of the daemon", view.own_descriptors);
    page.one("process_resident_memory_bytes", "gauge", "Resident memory of the daemon", view.own_memory_bytes);
    page.one("process_start_time_seconds", "gauge", "When the daemon started, in Unix time", view.started_s);
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, value);
    }

    fn histogram(&mut self, name: &str, action: &str, histogram: &Histogram) {
        let mut total = 0;
        let bounds = BUCKETS_US.iter().map(|us| seconds(*us).to_string()).chain(["+Inf".to_owned()]);
        for (count, bound) in histogram.counts.iter().zip(bounds) {
            total += count.load(Ordering::Relaxed);
            self.line(&format!("{name}_bucket{{action=\"{action}\",le=\"{bound}\"}}"), total);
        }
        let sum = seconds(histogram.sum_us.load(Ordering::Relaxed));
        self.line(&format!("{name}_sum{{action=\"{action}\"}}"), sum);
        self.line(&format!("{name}_count{{action=\"{action}\"}}"), total);
    }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

/// A label's value as the format wants it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulated() {
        let timings = Timings::default();
        for ms in [1, 4, 4, 20_000] {
            timings.note(Operation::ContainerStart, Duration::from_millis(ms));
        }
        timings.note(Operation::ContainerList, Duration::from_secs(1));
        let mut page = Page(String::new());
        page.histogram("x", "start", &timings.0[4]);
        let lines: Vec<&str> = page.0.lines().collect();
        assert_eq!(lines[1], "x_bucket{action=\"start\",le=\"0.001\"} 1");
        assert_eq!(lines[3], "x_bucket{action=\"start\",le=\"0.005\"} 3");
        assert_eq!(
            lines[12..].join(" "),
            "x_bucket{action=\"start\",le=\"10\"} 3 x_bucket{action=\"start\",le=\"+Inf\"} 4 x_sum{action=\"start\"} 20.009 x_count{action=\"start\"} 4"
        );
    }

    #[test]
    fn values_of_labels_are_quoted() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\n""#);
    }
}
