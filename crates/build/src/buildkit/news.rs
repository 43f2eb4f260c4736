//! News in BuildKit's words: vertices by digest, logs, statuses.

use bollard_buildkit_proto::{
    google::protobuf::Timestamp as WireTime,
    moby::buildkit::v1::{StatusResponse, Vertex as WireVertex, VertexLog, VertexStatus, VertexWarning},
};
use hako_base::clock;
use jiff::Timestamp;

use super::solves::Solve;
use crate::{
    cache::digest,
    event::{Event, Progress, Vertex},
};

/// Vertices that are no instruction: transfers and exports. Instructions are numbered by their line.
pub(super) const DEFINITION: u64 = u64::MAX;
pub(super) const IGNORE: u64 = u64::MAX - 1;
pub(super) const CONTEXT: u64 = u64::MAX - 2;
pub(super) const EXPORT: u64 = u64::MAX - 3;
/// Caches elsewhere count down from here: those that are read, and a thousand below them those that are written.
pub(super) const DEPOT: u64 = u64::MAX - 500_000;
/// Pushes and further contexts count down from here.
pub(super) const PUSH: u64 = u64::MAX - 1_000_000;

pub(super) fn time(at: Timestamp) -> WireTime {
    WireTime { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// Remembers what a vertex was, since every word about it repeats that.
#[derive(Default)]
pub(super) struct Teller {
    known: Vec<(Vertex, Option<WireTime>)>,
    /// Why a step was not taken from the cache is told too, as a part of it: hako's own clients ask for that.
    tells_why: bool,
}

fn name(solve: &Solve, id: u64) -> String {
    digest(format!("{} {id}", solve.reference).as_bytes()).to_string()
}

impl Teller {
    pub(super) fn new(tells_why: bool) -> Self {
        Self { known: Vec::new(), tells_why }
    }

    /// One piece of news as BuildKit's clients read it.
    pub(super) fn tell(&mut self, solve: &Solve, event: &Event) {
        let mut news = StatusResponse::default();
        match event {
            Event::Vertex(vertex) => {
                news.vertexes.push(wire(solve, vertex));
                self.known.push((vertex.clone(), None));
            }
            Event::Started { id, at } => {
                let Some((vertex, started)) = self.known.iter_mut().find(|(vertex, _)| vertex.id == *id) else {
                    return;
                };
                *started = Some(time(*at));
                news.vertexes.push(WireVertex { started: *started, ..wire(solve, vertex) });
            }
            Event::Completed(done) => {
                let Some((vertex, started)) = self.known.iter().find(|(vertex, _)| vertex.id == done.id) else {
                    return;
                };
                if let (true, Some(why)) = (self.tells_why, &done.why) {
                    let at = Some(time(done.at));
                    news.statuses.push(VertexStatus {
                        id: "why".to_owned(),
                        vertex: name(solve, done.id),
                        name: why.clone(),
                        timestamp: at,
                        started: at,
                        completed: at,
                        ..VertexStatus::default()
                    });
                }
                news.vertexes.push(WireVertex {
                    started: started.or(Some(time(done.at))),
                    completed: Some(time(done.at)),
                    cached: done.cached,
                    error: done.error.clone().unwrap_or_default(),
                    ..wire(solve, vertex)
                });
            }
            Event::Log { id, stderr, bytes, at } => news.logs.push(VertexLog {
                vertex: name(solve, *id),
                timestamp: Some(time(*at)),
                stream: if *stderr { 2 } else { 1 },
                msg: bytes.to_vec(),
            }),
            Event::Status { id, name: part, current, total, at, done } => news.statuses.push(VertexStatus {
                id: part.clone(),
                vertex: name(solve, *id),
                name: part.clone(),
                current: i64::try_from(*current).unwrap_or(i64::MAX),
                total: i64::try_from(*total).unwrap_or(i64::MAX),
                timestamp: Some(time(*at)),
                started: Some(time(*at)),
                completed: done.then(|| time(*at)),
            }),
            Event::Pull { id, step, at } => {
                if let Some(status) = pulled(name(solve, *id), step, time(*at)) {
                    news.statuses.push(status);
                }
            }
            Event::Warning { line, text } => news.warnings.push(VertexWarning {
                vertex: name(solve, DEFINITION),
                level: 1,
                short: if *line == 0 { text.clone() } else { format!("{text} (line {line})") }.into_bytes(),
                ..VertexWarning::default()
            }),
        }
        solve.tell(news);
    }
}

// A layer on its way, by the name that BuildKit's clients show; the sentences around it are none of theirs.
fn pulled(vertex: String, step: &hako_engine::view::Progress, at: WireTime) -> Option<VertexStatus> {
    let is_layer = step.id.len() == 12 && step.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_over =
        matches!(step.status.as_str(), "Pull complete" | "Already exists" | "Pushed" | "Layer already exists");
    is_layer.then(|| VertexStatus {
        id: step.id.clone(),
        vertex,
        name: if step.status == "Extracting" { format!("extracting {}", step.id) } else { step.id.clone() },
        current: i64::try_from(step.current).unwrap_or(i64::MAX),
        total: i64::try_from(step.total).unwrap_or(i64::MAX),
        timestamp: Some(at),
        started: Some(at),
        completed: is_over.then_some(at),
    })
}

fn wire(solve: &Solve, vertex: &Vertex) -> WireVertex {
    WireVertex {
        digest: name(solve, vertex.id),
        inputs: vertex.inputs.iter().map(|id| name(solve, *id)).collect(),
        name: vertex.name.clone(),
        ..WireVertex::default()
    }
}

/// An error as a vertex shows it: a status without its code.
pub(super) trait Shown {
    fn shown(&self) -> String;
}

impl Shown for tonic::Status {
    fn shown(&self) -> String {
        self.message().to_owned()
    }
}

impl Shown for crate::BuildError {
    fn shown(&self) -> String {
        self.modern()
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.clone()
    }
}

/// Does something, and passes on to the solve's listeners what it tells.
pub(super) async fn told<T, F: Future<Output = T>>(
    solve: &Solve,
    mut teller: Teller,
    work: impl FnOnce(Progress) -> F,
) -> T {
    let (progress, mut events) = Progress::channel();
    let telling = async {
        while let Some(event) = events.recv().await {
            teller.tell(solve, &event);
        }
    };
    // Boxed: what is done has many parts, and the stack of a thread is small.
    let (done, ()) = tokio::join!(Box::pin(work(progress)), telling);
    done
}

/// Tells about one thing that is no instruction, from its beginning to its end.
pub(super) async fn around<T, E: Shown>(
    progress: &Progress,
    id: u64,
    title: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let vertex = Vertex {
        id,
        name: title.to_owned(),
        original: String::new(),
        step: 0,
        steps: 0,
        inputs: Vec::new(),
        lines: (0, 0),
    };
    progress.tell(Event::Vertex(vertex)).await;
    progress.started(id).await;
    let done = work.await;
    let error = done.as_ref().err().map(Shown::shown);
    let completed = crate::event::Completed { id, at: clock::now(), cached: false, error, why: None, image: None };
    progress.tell(Event::Completed(completed)).await;
    done
}

/// Tells how far a part is.
pub(super) async fn status(progress: &Progress, id: u64, name: &str, current: u64, done: bool) {
    let at = clock::now();
    progress.tell(Event::Status { id, name: name.to_owned(), current, total: 0, at, done }).await;
}
