//! What is done here and not by a builder: told as a step among those of a build.

use hako_api::build::{BuildLog, BuildNews, BuildStatus, BuildVertex};
use hako_base::clock;
use tokio::sync::mpsc;

/// A step of our own.
pub(crate) struct Step {
    news: mpsc::Sender<BuildNews>,
    vertex: BuildVertex,
}

fn now() -> String {
    clock::rfc3339_nano(clock::now())
}

impl Step {
    pub(crate) async fn begin(news: mpsc::Sender<BuildNews>, name: String) -> Self {
        let digest = format!("sha256:{}", hako_base::random::hex(32));
        let vertex = BuildVertex { digest, name, started: Some(now()), ..BuildVertex::default() };
        let step = Self { news, vertex };
        step.tell().await;
        step
    }

    /// Something that is done within the step.
    pub(crate) async fn part<T>(&self, name: &str, doing: impl Future<Output = T>) -> T {
        let mut status = BuildStatus {
            id: name.to_owned(),
            vertex: self.vertex.digest.clone(),
            timestamp: now(),
            started: Some(now()),
            ..BuildStatus::default()
        };
        self.send(BuildNews { statuses: vec![status.clone()], ..BuildNews::default() }).await;
        let done = doing.await;
        (status.timestamp, status.completed) = (now(), Some(now()));
        self.send(BuildNews { statuses: vec![status], ..BuildNews::default() }).await;
        done
    }

    /// A line that it says.
    pub(crate) async fn log(&self, line: &str) {
        let (vertex, data) = (self.vertex.digest.clone(), format!("{line}\n").into_bytes());
        let log = BuildLog { vertex, stream: 1, data, timestamp: now() };
        self.send(BuildNews { logs: vec![log], ..BuildNews::default() }).await;
    }

    pub(crate) async fn end(mut self, error: Option<String>) {
        self.vertex.completed = Some(now());
        self.vertex.error = error.unwrap_or_default().trim_start_matches("ERROR: ").to_owned();
        self.tell().await;
    }

    async fn tell(&self) {
        self.send(BuildNews { vertexes: vec![self.vertex.clone()], ..BuildNews::default() }).await;
    }

    // Nobody may be looking.
    async fn send(&self, news: BuildNews) {
        let _ = self.news.send(news).await;
    }
}
