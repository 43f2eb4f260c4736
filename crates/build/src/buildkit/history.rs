//! Which builds there were, how they ended and what they told: `ListenBuildHistory`, and `Status` of builds long over.
//!
//! One file for each build: its record, then its news, each with its length before it. It is written when the build is
//! over, by whoever ends it, so that builds whose client has gone are remembered too. The oldest go first.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bollard_buildkit_proto::{
    google::rpc,
    moby::buildkit::v1::{BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, SolveRequest, StatusResponse},
};
use hako_base::{
    clock,
    file::{Durability, write_atomic},
};
use prost::Message;
use tokio::sync::broadcast;
use tonic::{Code, Status};

use super::{
    attested::{Attestations, Attested},
    attributes,
    news::time,
    solves::Solve,
};
use crate::limits;

/// Events that wait for a slow listener; one that is slower hears less.
const EVENTS_QUEUED: usize = 256;

/// All builds that are remembered.
pub(super) struct History {
    root: PathBuf,
    attestations: Attestations,
    records: Mutex<BTreeMap<String, BuildHistoryRecord>>,
    changes: broadcast::Sender<BuildHistoryEvent>,
}

/// A build that goes on; dropping it writes down how it ended.
pub(super) struct Noting {
    history: Arc<History>,
    solve: Arc<Solve>,
    record: BuildHistoryRecord,
    /// The client says that nobody is to hear of it.
    is_internal: bool,
    /// Stays so when nobody waits for the build any more.
    error: Option<Status>,
}

impl History {
    /// Reads what is remembered below `root`.
    pub(super) fn open(root: PathBuf) -> Arc<Self> {
        let mut records = BTreeMap::new();
        let files = fs::read_dir(&root).into_iter().flatten().filter_map(Result::ok);
        for entry in files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
            let record = fs::read(entry.path()).ok();
            match record.and_then(|bytes| BuildHistoryRecord::decode_length_delimited(&bytes[..]).ok()) {
                Some(record) => drop(records.insert(record.r#ref.clone(), record)),
                // Half a file of a write that was cut off.
                None => drop(fs::remove_file(entry.path())),
            }
        }
        let attestations = Attestations::open(root.join("attestations"), records.values());
        let changes = broadcast::Sender::new(EVENTS_QUEUED);
        Arc::new(Self { root, attestations, records: Mutex::new(records), changes })
    }

    /// What is attested of builds, to be read.
    pub(super) fn attestations(&self) -> Attestations {
        self.attestations.clone()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<String, BuildHistoryRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // References are the client's words and no names of files.
    fn file(&self, reference: &str) -> PathBuf {
        self.root.join(crate::cache::digest(reference.as_bytes()).hex())
    }

    /// Notes that a build begins.
    pub(super) fn begin(self: &Arc<Self>, solve: &Arc<Solve>, request: &SolveRequest) -> Noting {
        let record = BuildHistoryRecord {
            r#ref: request.r#ref.clone(),
            frontend: request.frontend.clone(),
            frontend_attrs: request.frontend_attrs.clone(),
            exporters: request.exporters.clone(),
            created_at: Some(time(clock::now())),
            ..BuildHistoryRecord::default()
        };
        if !request.internal {
            self.records().insert(record.r#ref.clone(), record.clone());
            self.tell(BuildHistoryEventType::Started, record.clone());
        }
        let error = Some(Status::cancelled("the build was cancelled"));
        Noting { history: self.clone(), solve: solve.clone(), record, is_internal: request.internal, error }
    }

    fn tell(&self, kind: BuildHistoryEventType, record: BuildHistoryRecord) {
        // Mostly nobody listens.
        let _ = self.changes.send(BuildHistoryEvent { r#type: kind.into(), record: Some(record) });
    }

    /// What there is, the oldest first, and what comes after it.
    pub(super) fn listen(&self, reference: &str) -> (Vec<BuildHistoryEvent>, broadcast::Receiver<BuildHistoryEvent>) {
        let changes = self.changes.subscribe();
        let mut records: Vec<BuildHistoryRecord> = self.records().values().cloned().collect();
        records.retain(|record| reference.is_empty() || record.r#ref == reference);
        records.sort_by_key(|record| record.created_at.map(|at| (at.seconds, at.nanos)));
        let event = |record: BuildHistoryRecord| {
            let is_over = record.completed_at.is_some();
            let kind = if is_over { BuildHistoryEventType::Complete } else { BuildHistoryEventType::Started };
            BuildHistoryEvent { r#type: kind.into(), record: Some(record) }
        };
        (records.into_iter().map(event).collect(), changes)
    }

    /// What a build that is over has told.
    pub(super) fn news(&self, reference: &str) -> Option<Vec<StatusResponse>> {
        let record = self.records().get(reference).cloned()?;
        record.completed_at?;
        let bytes = fs::read(self.file(reference)).ok()?;
        let mut rest = &bytes[..];
        BuildHistoryRecord::decode_length_delimited(&mut rest).ok()?;
        let mut news = Vec::new();
        while !rest.is_empty() {
            news.push(StatusResponse::decode_length_delimited(&mut rest).ok()?);
        }
        Some(news)
    }

    /// Forgets a build.
    pub(super) fn remove(&self, reference: &str) -> Result<(), Status> {
        let record = {
            let mut records = self.records();
            let is_over = records.get(reference).is_some_and(|record| record.completed_at.is_some());
            let record = if is_over { records.remove(reference) } else { None };
            record.ok_or_else(|| Status::not_found(format!("no build {reference} that is over")))?
        };
        // A record without a file is gone with the daemon.
        let _ = fs::remove_file(self.file(reference));
        self.attestations.remove(&record);
        self.tell(BuildHistoryEventType::Deleted, record);
        Ok(())
    }

    /// Keeps a build when older ones go, or lets it go with them.
    pub(super) fn pin(&self, reference: &str, pinned: bool) -> Result<(), Status> {
        let record = {
            let mut records = self.records();
            let record = records.get_mut(reference).filter(|record| record.completed_at.is_some());
            let record = record.ok_or_else(|| Status::not_found(format!("no build {reference} that is over")))?;
            record.pinned = pinned;
            record.clone()
        };
        let news = self.news(reference).unwrap_or_default();
        self.write(&record, &news)
            .map_err(|error| Status::internal(format!("cannot write the build's record: {error}")))?;
        self.tell(BuildHistoryEventType::Complete, record);
        Ok(())
    }

    fn write(&self, record: &BuildHistoryRecord, news: &[StatusResponse]) -> io::Result<()> {
        let mut bytes = record.encode_length_delimited_to_vec();
        for message in news {
            // What a build printed beyond that is gone; how it ended comes with the last messages and is in the record.
            if bytes.len() + message.encoded_len() > limits::HISTORY_BYTES_MAX {
                break;
            }
            bytes.extend(message.encode_length_delimited_to_vec());
        }
        hako_base::file::make_dir(&self.root, 0o700)?;
        write_atomic(&self.file(&record.r#ref), &bytes, 0o600, Durability::Process)
    }

    // The oldest builds that are over go when there are too many.
    fn thin(&self) {
        let gone: Vec<String> = {
            let records = self.records();
            let mut over: Vec<&BuildHistoryRecord> =
                records.values().filter(|record| record.completed_at.is_some() && !record.pinned).collect();
            over.sort_by_key(|record| record.created_at.map(|at| (at.seconds, at.nanos)));
            let count = over.len().saturating_sub(limits::HISTORY_BUILDS_MAX);
            over.iter().take(count).map(|record| record.r#ref.clone()).collect()
        };
        // One that somebody has removed meanwhile is gone as well.
        gone.iter().for_each(|reference| drop(self.remove(reference)));
    }

    fn settle(&self, mut record: BuildHistoryRecord, news: &[StatusResponse], attested: &[Attested]) {
        let kept = self.attestations.keep(&mut record, attested);
        if let Err(error) = kept.and_then(|()| self.write(&record, news)) {
            tracing::warn!(%error, "a build is not remembered");
        }
        self.records().insert(record.r#ref.clone(), record.clone());
        self.tell(BuildHistoryEventType::Complete, record);
        self.thin();
    }

    fn forget(&self, reference: &str) {
        self.records().remove(reference);
    }
}

impl Noting {
    /// How the build ended.
    pub(super) fn ended(mut self, outcome: &Result<HashMap<String, String>, Status>) {
        match outcome {
            Ok(answer) => {
                self.error = None;
                self.record.exporter_response.clone_from(answer);
            }
            Err(status) => self.error = Some(status.clone()),
        }
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        let (history, mut record) = (self.history.clone(), std::mem::take(&mut self.record));
        let (news, attested) = (self.solve.told(), self.solve.take_attested());
        // Whoever drives a build through the bridge asks there.
        let asked = self.solve.asked(|asked| attributes::is_question(&asked.attributes));
        if self.is_internal || asked || attributes::is_question(&record.frontend_attrs) {
            // A client's own business, or a question about a Dockerfile, is no build.
            history.forget(&record.r#ref);
            return;
        }
        record.completed_at = Some(time(clock::now()));
        record.error = self.error.take().map(|status| wire(&status));
        count(&mut record, &news);
        // Whoever ends a build waits for its answer, not for the disk.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || history.settle(record, &news, &attested))),
            Err(_) => history.settle(record, &news, &attested),
        }
    }
}

fn wire(status: &Status) -> rpc::Status {
    let details = rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let code = if status.code() == Code::Ok { Code::Unknown } else { status.code() };
    rpc::Status { code: code.into(), message: status.message().to_owned(), details }
}

// How many steps there were, and what became of them.
fn count(record: &mut BuildHistoryRecord, news: &[StatusResponse]) {
    let mut steps: HashMap<&str, (bool, bool)> = HashMap::new();
    for vertex in news.iter().flat_map(|message| &message.vertexes) {
        let step = steps.entry(&vertex.digest).or_default();
        step.0 |= vertex.completed.is_some();
        step.1 |= vertex.cached;
    }
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    record.num_total_steps = number(steps.len());
    record.num_completed_steps = number(steps.values().filter(|step| step.0).count());
    record.num_cached_steps = number(steps.values().filter(|step| step.1).count());
    record.num_warnings = number(news.iter().map(|message| message.warnings.len()).sum());
}
