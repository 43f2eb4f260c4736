//! What is on disk about a container, and who writes it there.
//!
//! | what | where | survives |
//! |---|---|---|
//! | a container that is to stay | `state.redb`, table `containers` | a power cut |
//! | what it is doing while it runs; all of a `--rm` container | `<exec-root>/containers/ID.json` | the daemon |
//!
//! A `--rm` container so costs no flush at all: after a power cut it would have been removed anyway.
//! Durable writes of many operations are committed together by one thread. What a container has become is in `/run`
//! until it is committed, so that neither a crash nor a full disk takes it back to what it was before.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use hako_base::{
    database::Database,
    file::{Durability, write_atomic},
};
use hako_model::{
    ContainerId, ContainerSpec, ContainerState, Digest, EndpointSpec, ImageConfig, MountKind, NetworkId, PortBinding,
    PortKey, Propagation,
};
use hako_network::{Endpoint, PublishedPort};
use hako_runtime::external::External;
use jiff::Timestamp;
use parking_lot::Mutex;
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::{EngineError, health::HealthRecord};

/// The form of the documents below. A daemon that finds a newer one refuses to start rather than guess.
pub(crate) const VERSION: u32 = 1;

const CONTAINERS: TableDefinition<&str, &[u8]> = TableDefinition::new("containers");

/// Everything about one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) spec: Arc<ContainerSpec>,
    /// The spec's process settings with the image's filled in.
    pub(crate) config: Arc<ImageConfig>,
    pub(crate) image: Digest,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    pub(crate) hostname: String,
    pub(crate) mounts: Vec<MountRecord>,
    pub(crate) state: StateRecord,
    pub(crate) endpoints: BTreeMap<String, EndpointRecord>,
    /// What is published, while it runs, and at which of its networks.
    pub(crate) published: Vec<PublishedPort>,
    #[serde(default)]
    pub(crate) published_on: Option<String>,
    /// Variables that its links gave it at its last start.
    #[serde(default)]
    pub(crate) link_env: Vec<String>,
    /// Its users outside; `None`: they are the host's.
    #[serde(default)]
    pub(crate) ids: Option<crate::IdMap>,
}

/// One mount, resolved: where its content is on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    pub(crate) kind: MountKind,
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) driver: String,
    pub(crate) mode: String,
    pub(crate) writable: bool,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) anonymous: bool,
    /// Of an image mount: the layers, `None` for an image that has none.
    #[serde(default)]
    pub(crate) stack: Option<hako_model::Digest>,
    /// The wish it came from, for the options that only the start needs.
    pub(crate) spec: hako_model::MountSpec,
}

/// What the container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    pub(crate) status: ContainerState,
    /// Counts the starts: a notice about an earlier one is recognised by it.
    pub(crate) generation: u64,
    pub(crate) pid: u32,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
    pub(crate) oom_killed: bool,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) restart_count: u32,
    /// How often the pause before the next start has been doubled: back to 0 after a life that lasted.
    #[serde(default)]
    pub(crate) doublings: u32,
    /// A person stopped it: `unless-stopped` does not start it again.
    pub(crate) stopped_by_hand: bool,
    /// Where its cgroup is, while it runs.
    pub(crate) cgroup: Option<(String, String)>,
    /// How well it is, if that is checked.
    #[serde(default)]
    pub(crate) health: Option<HealthRecord>,
    /// The other runtime that this life was begun by.
    #[serde(default)]
    pub(crate) external: Option<External>,
}

impl Default for StateRecord {
    fn default() -> Self {
        Self {
            status: ContainerState::Created,
            generation: 0,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started_at: None,
            finished_at: None,
            restart_count: 0,
            doublings: 0,
            stopped_by_hand: false,
            cgroup: None,
            health: None,
            external: None,
        }
    }
}

/// A container's place in one network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointRecord {
    pub(crate) spec: EndpointSpec,
    pub(crate) network: Option<NetworkId>,
    /// Changes with every start.
    pub(crate) endpoint_id: String,
    /// How it is plugged in, while the container runs.
    pub(crate) plugged: Option<Endpoint>,
}

impl Record {
    /// Undoes what a start that failed has noted.
    pub(crate) fn take_back(&mut self, before: &Self) {
        self.state.clone_from(&before.state);
        self.endpoints.clone_from(&before.endpoints);
        self.published.clone_from(&before.published);
        self.published_on.clone_from(&before.published_on);
    }

    /// Whether it shall vanish when its process ends.
    pub(crate) fn auto_remove(&self) -> bool {
        self.spec.host.auto_remove
    }

    /// Published ports by the container's port.
    pub(crate) fn ports(&self) -> BTreeMap<PortKey, Vec<PortBinding>> {
        let mut ports: BTreeMap<PortKey, Vec<PortBinding>> = BTreeMap::new();
        for published in &self.published {
            ports.entry(published.container).or_default().push(PortBinding {
                address: Some(published.host.ip()),
                port: published.host.port(),
                port_end: published.host.port(),
                zero_is_written: false,
            });
        }
        ports
    }

    /// Whether there is a process.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state.status, ContainerState::Running | ContainerState::Paused)
    }
}

enum Request {
    /// With the file under `/run` that is superfluous afterwards.
    Put {
        key: String,
        value: Vec<u8>,
        superfluous: Option<Written>,
        done: Option<mpsc::SyncSender<Result<(), String>>>,
    },
    Remove {
        key: String,
        done: Option<mpsc::SyncSender<Result<(), String>>>,
    },
}

/// The container documents, on disk and under `/run`.
pub(crate) struct Records {
    run: Arc<RunFiles>,
    requests: mpsc::Sender<Request>,
}

/// The documents under `/run`. Each write has a number, so that a commit removes the file it has made superfluous and
/// never one that was written since: the container may have been started again meanwhile.
struct RunFiles {
    directory: PathBuf,
    numbers: Mutex<HashMap<ContainerId, u64>>,
}

/// One write of one file under `/run`.
#[derive(Debug, Clone, Copy)]
struct Written {
    id: ContainerId,
    number: u64,
}

impl RunFiles {
    fn file(&self, id: ContainerId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    fn write(&self, id: ContainerId, value: &[u8]) -> Result<Written, EngineError> {
        let path = self.file(id);
        let mut numbers = self.numbers.lock();
        write_atomic(&path, value, 0o600, Durability::Process)
            .map_err(|error| EngineError::io(format_args!("cannot write {}", path.display()), &error))?;
        let number = numbers.entry(id).or_default();
        *number += 1;
        Ok(Written { id, number: *number })
    }

    /// Removes the file, whoever wrote it last.
    fn remove(&self, id: ContainerId) {
        self.numbers.lock().remove(&id);
        let _ = std::fs::remove_file(self.file(id));
    }

    /// Removes the file if this was the last write of it.
    fn remove_if_last(&self, written: Written) {
        let mut numbers = self.numbers.lock();
        if numbers.get(&written.id) == Some(&written.number) {
            numbers.remove(&written.id);
            let _ = std::fs::remove_file(self.file(written.id));
        }
    }
}

impl Records {
    /// Opens the documents and reads them all.
    ///
    /// # Errors
    /// A damaged database, a document of a newer version, or an unreadable directory.
    pub(crate) fn open(database: Arc<Database>, exec_root: &Path) -> Result<(Self, Vec<Record>), EngineError> {
        let directory = exec_root.join("containers");
        hako_base::file::make_dir(&directory, 0o700).map_err(|error| EngineError::io(directory.display(), &error))?;
        let mut found: BTreeMap<ContainerId, Record> = BTreeMap::new();
        for record in read_all(&database)? {
            found.insert(record.id, record);
        }
        let younger = read_run(&directory);
        let run = Arc::new(RunFiles { directory, numbers: Mutex::default() });
        let (requests, work) = mpsc::channel();
        let files = run.clone();
        std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || commit_all(&database, &files, &work))
            .map_err(|error| EngineError::io("cannot start the thread that writes records", &error))?;
        let records = Self { run, requests };
        for record in younger {
            // The last daemon could not commit it any more.
            if !record.auto_remove() && !record.is_running() {
                records.settled(&record);
            }
            found.insert(record.id, record);
        }
        Ok((records, found.into_values().collect()))
    }

    /// Writes a container that did not exist; durable unless it is to vanish with its process. Blocks.
    pub(crate) fn create(&self, record: &Record) -> Result<(), EngineError> {
        if record.auto_remove() {
            return self.running(record);
        }
        let (done, finished) = mpsc::sync_channel(1);
        let put =
            Request::Put { key: record.id.to_string(), value: encode(record)?, superfluous: None, done: Some(done) };
        self.ask(put, Some(&finished))
    }

    /// Writes a container that has just been started. Its place in the database is written too, without waiting: after
    /// a power cut it is known that it ran, and its restart policy holds.
    pub(crate) fn begun(&self, record: &Record) -> Result<(), EngineError> {
        let value = encode(record)?;
        self.run.write(record.id, &value)?;
        if record.auto_remove() {
            return Ok(());
        }
        self.ask(Request::Put { key: record.id.to_string(), value, superfluous: None, done: None }, None)
    }

    /// Writes what a running container does; survives the daemon, not the host.
    pub(crate) fn running(&self, record: &Record) -> Result<(), EngineError> {
        self.run.write(record.id, &encode(record)?).map(drop)
    }

    /// Writes a container that has stopped or been changed. The disk is not waited for.
    pub(crate) fn settled(&self, record: &Record) {
        if let Err(error) = self.settle(record) {
            tracing::error!(container = %record.id.short(), %error, "cannot write the record");
        }
    }

    /// Writes a change that outlives the container's present life, whether it runs or not. The disk is not waited for.
    pub(crate) fn changed(&self, record: &Record) -> Result<(), EngineError> {
        if record.auto_remove() || !record.is_running() {
            return self.settle(record);
        }
        self.running(record)?;
        // Its file under /run stays: what the process does next is written there only.
        let (key, value) = (record.id.to_string(), encode(record)?);
        self.ask(Request::Put { key, value, superfluous: None, done: None }, None)
    }

    fn settle(&self, record: &Record) -> Result<(), EngineError> {
        let (key, value) = (record.id.to_string(), encode(record)?);
        let written = self.run.write(record.id, &value)?;
        if record.auto_remove() || record.is_running() {
            return Ok(());
        }
        self.ask(Request::Put { key, value, superfluous: Some(written), done: None }, None)
    }

    /// Forgets a container. The disk is waited for only if the container was on it.
    pub(crate) fn remove(&self, record: &Record) -> Result<(), EngineError> {
        // First, or a crash in between would leave it to the next daemon as a container that is there.
        self.run.remove(record.id);
        if record.auto_remove() {
            return Ok(());
        }
        let (done, wait) = mpsc::sync_channel(1);
        self.ask(Request::Remove { key: record.id.to_string(), done: Some(done) }, Some(&wait))
    }

    fn ask(&self, request: Request, wait: Option<&mpsc::Receiver<Result<(), String>>>) -> Result<(), EngineError> {
        let gone = || EngineError::Mechanism {
            kind: hako_base::ErrorKind::Internal,
            text: "the thread that writes records has ended".to_owned(),
        };
        self.requests.send(request).map_err(|_| gone())?;
        match wait {
            Some(wait) => wait.recv().map_err(|_| gone())?.map_err(|text| EngineError::Mechanism {
                kind: hako_base::ErrorKind::Internal,
                text: format!("cannot write the container's record: {text}"),
            }),
            None => Ok(()),
        }
    }
}

fn encode(record: &Record) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(record).map_err(|error| EngineError::invalid(format!("cannot encode the record: {error}")))
}

/// Commits what has come together, as long as requests come: one flush for all of them.
fn commit_all(database: &Database, run: &RunFiles, work: &mpsc::Receiver<Request>) {
    while let Ok(first) = work.recv() {
        let mut batch = vec![first];
        batch.extend(work.try_iter().take(255));
        let result = commit(database, &batch).map_err(|error| error.to_string());
        if let Err(error) = &result {
            tracing::error!(%error, "cannot commit records");
        }
        for request in batch {
            if let (Ok(()), Request::Put { superfluous: Some(written), .. }) = (&result, &request) {
                run.remove_if_last(*written);
            }
            let (Request::Put { done, .. } | Request::Remove { done, .. }) = request;
            if let Some(done) = done {
                let _ = done.send(result.clone());
            }
        }
    }
}

fn commit(database: &Database, batch: &[Request]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(CONTAINERS)?;
        for request in batch {
            match request {
                Request::Put { key, value, .. } => table.insert(key.as_str(), value.as_slice())?,
                Request::Remove { key, .. } => table.remove(key.as_str())?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}

fn read_all(database: &Database) -> Result<Vec<Record>, EngineError> {
    let damaged = |error: redb::Error| EngineError::Mechanism {
        kind: hako_base::ErrorKind::Internal,
        text: format!("cannot read the containers from state.redb: {error}"),
    };
    let transaction = database.begin_read().map_err(damaged)?;
    let table = match transaction.open_table(CONTAINERS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(damaged(error.into())),
    };
    let mut records = Vec::new();
    for entry in table.iter().map_err(|error| damaged(error.into()))? {
        let (key, value) = entry.map_err(|error| damaged(error.into()))?;
        records.push(decode(key.value(), value.value())?);
    }
    Ok(records)
}

fn decode(key: &str, value: &[u8]) -> Result<Record, EngineError> {
    let record: Record = serde_json::from_slice(value)
        .map_err(|error| EngineError::invalid(format!("the record of container {key} is damaged: {error}")))?;
    if record.version > VERSION {
        return Err(EngineError::invalid(format!(
            "the record of container {key} is of version {}; this program knows up to {VERSION}",
            record.version
        )));
    }
    Ok(record)
}

/// The records under `/run`; a half-written one is not there (they are replaced by renaming).
fn read_run(directory: &Path) -> Vec<Record> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
        .filter_map(|entry| {
            let bytes = std::fs::read(entry.path()).ok()?;
            decode(&entry.file_name().to_string_lossy(), &bytes)
                .inspect_err(|error| tracing::error!(%error, "ignored"))
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_files() -> RunFiles {
        let directory = std::env::temp_dir().join(format!("hako-records-{}", hako_base::random::hex(8)));
        std::fs::create_dir(&directory).unwrap();
        RunFiles { directory, numbers: Mutex::default() }
    }

    #[test]
    fn a_late_commit_never_takes_the_file_of_a_later_start() {
        let run = run_files();
        let id = ContainerId::random();
        let stopped = run.write(id, b"stopped").unwrap();
        let started = run.write(id, b"started").unwrap();
        run.remove_if_last(stopped);
        assert!(run.file(id).exists());
        run.remove_if_last(started);
        assert!(!run.file(id).exists());
        std::fs::remove_dir_all(&run.directory).unwrap();
    }
}
