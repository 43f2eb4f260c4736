//! All containers, in memory: who is called what, and what each is doing.
//!
//! Reads never wait for an operation: a record is an immutable snapshot that is replaced whole. An
//! operation that changes a container holds its `operation` lock, so that a stop and a start of the
//! same container come one after the other.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    sync::Arc,
};

use hako_model::{ContainerId, ContainerState, ExecId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::{
    EngineError,
    container::{list::Rendered, stats::History},
    exec::Exec,
    log::{LogPlan, write},
    record::Record,
    stdio::{Listeners, Stdin, StdinSlot},
    view::Sample,
};

/// What those who wait for a container look at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase {
    pub(crate) running: bool,
    /// How many times a process of it has ended, and how the last one did.
    pub(crate) exits: u64,
    pub(crate) exit_code: i32,
    pub(crate) error: Option<String>,
    pub(crate) removed: bool,
    /// It is being restarted by hand: the next life follows at once.
    pub(crate) restarting: bool,
}

/// Where the log stands, for followers: (generation, length).
pub(crate) type LogMark = (u64, u64);

/// One container in memory.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    record: RwLock<Arc<Record>>,
    pub(crate) operation: Arc<tokio::sync::Mutex<()>>,
    pub(crate) listeners: Listeners,
    pub(crate) stdin: StdinSlot,
    pub(crate) phase: watch::Sender<Phase>,
    /// Where its log is; a new one when `container update --log-opt` has changed it.
    pub(crate) log_plan: watch::Sender<Arc<LogPlan>>,
    pub(crate) log_mark: watch::Sender<LogMark>,
    pub(crate) live: Mutex<Option<Live>>,
    pub(crate) execs: Mutex<BTreeMap<ExecId, Arc<Exec>>>,
    /// Held while a life that has ended is taken down; the next start waits for it.
    pub(crate) teardown: Arc<tokio::sync::Mutex<()>>,
    /// The last samples of what it uses.
    pub(crate) samples: Mutex<History>,
    /// Those who watch what it uses; the sampler looks after them.
    pub(crate) watched: watch::Sender<Option<Arc<Sample>>>,
    /// Wakes a restart that waits for its back-off, to cancel it.
    pub(crate) restart: tokio::sync::Notify,
    /// What was last made of it for a list.
    pub(crate) rendered: Mutex<Option<Rendered>>,
}

/// What exists only while a container runs.
pub(crate) struct Live {
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) pty: Option<OwnedFd>,
    /// What the next keeper needs if this one dies.
    pub(crate) ring: hako_keeper::RingEnds,
    pub(crate) cgroup: hako_runtime::cgroup::Cgroup,
    pub(crate) sandbox: Option<Arc<hako_network::Sandbox>>,
    /// The seccomp program and the rest of the confinement, for `exec`.
    pub(crate) confinement: Arc<crate::container::plan::Confinement>,
    /// Fires when all of the process's output has been written to the log.
    pub(crate) drained: watch::Receiver<bool>,
}

impl Container {
    pub(crate) fn new(record: Record, log: LogPlan) -> Arc<Self> {
        let phase = Phase {
            running: record.is_running(),
            exits: 0,
            exit_code: record.state.exit_code,
            error: (!record.state.error.is_empty()).then(|| record.state.error.clone()),
            removed: false,
            restarting: false,
        };
        Arc::new(Self {
            id: record.id,
            record: RwLock::new(Arc::new(record)),
            operation: Arc::default(),
            listeners: Listeners::default(),
            stdin: watch::Sender::new(Stdin::Awaited),
            phase: watch::Sender::new(phase),
            log_plan: watch::Sender::new(Arc::new(log)),
            log_mark: watch::Sender::new((write::FIRST_GENERATION, 0)),
            live: Mutex::new(None),
            execs: Mutex::default(),
            teardown: Arc::default(),
            samples: Mutex::default(),
            watched: watch::Sender::new(None),
            restart: tokio::sync::Notify::new(),
            rendered: Mutex::default(),
        })
    }

    /// Where its log is and how large it may grow.
    pub(crate) fn log(&self) -> Arc<LogPlan> {
        self.log_plan.borrow().clone()
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> Arc<Record> {
        self.record.read().clone()
    }

    /// Changes the record and gives the new one. Who has got it before goes on seeing it as it was; only where nobody
    /// has, nothing is copied.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Record)) -> Arc<Record> {
        let mut slot = self.record.write();
        change(Arc::make_mut(&mut slot));
        slot.clone()
    }
}

/// All containers.
#[derive(Default)]
pub(crate) struct Table(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    by_name: HashMap<String, ContainerId>,
}

impl Table {
    /// Reserves a name, before there is a container.
    pub(crate) fn claim(&self, name: &str, id: ContainerId) -> Result<(), EngineError> {
        let mut inner = self.0.write();
        match inner.by_name.get(name) {
            Some(owner) => Err(EngineError::NameTaken { name: name.to_owned(), owner: *owner }),
            None => {
                inner.by_name.insert(name.to_owned(), id);
                Ok(())
            }
        }
    }

    /// Gives a name back, if it is this container's.
    pub(crate) fn release(&self, name: &str, id: ContainerId) {
        let mut inner = self.0.write();
        if inner.by_name.get(name) == Some(&id) {
            inner.by_name.remove(name);
        }
    }

    /// Gives back whatever name this container has claimed.
    pub(crate) fn release_all(&self, id: ContainerId) {
        self.0.write().by_name.retain(|_, owner| *owner != id);
    }

    /// Adds a container whose name is claimed.
    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.0.write().by_id.insert(container.id, container);
    }

    /// Takes a container out of every list and frees its name.
    pub(crate) fn remove(&self, id: ContainerId) {
        let mut inner = self.0.write();
        if let Some(container) = inner.by_id.remove(&id) {
            let name = container.record().name.clone();
            if inner.by_name.get(&name) == Some(&id) {
                inner.by_name.remove(&name);
            }
        }
    }

    /// By full id, name (with or without the slash, or as another's link) or unique prefix of the id, in this order.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Container>, EngineError> {
        let missing = || EngineError::NoContainer { name: name.to_owned() };
        let inner = self.0.read();
        if let Some(container) = name.parse().ok().and_then(|id: ContainerId| inner.by_id.get(&id)) {
            return Ok(container.clone());
        }
        let plain = name.strip_prefix('/').unwrap_or(name);
        if let Some(container) = inner.by_name.get(plain).and_then(|id| inner.by_id.get(id)) {
            return Ok(container.clone());
        }
        // `web/db` is what `web` knows as `db` by a link.
        if let Some((owner, alias)) = plain.split_once('/') {
            let owner = inner.by_name.get(owner).and_then(|id| inner.by_id.get(id)).cloned().ok_or_else(missing)?;
            drop(inner);
            let linked = crate::network::link::target(&owner.record(), alias).ok_or_else(missing)?;
            return self.find(&linked).map_err(|_| missing());
        }
        let is_prefix = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !is_prefix || name.len() >= 64 {
            return Err(missing());
        }
        let mut found = inner.by_id.values().filter(|container| container.id.to_string().starts_with(name));
        match (found.next(), found.next()) {
            (Some(container), None) => Ok(container.clone()),
            (Some(_), Some(_)) => Err(EngineError::Ambiguous { name: name.to_owned() }),
            (None, _) => Err(missing()),
        }
    }

    /// Every container, in no particular order.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.0.read().by_id.values().cloned().collect()
    }

    /// Those that are chosen.
    pub(crate) fn chosen(&self, is: impl Fn(&Container) -> bool) -> Vec<Arc<Container>> {
        self.0.read().by_id.values().filter(|container| is(container)).cloned().collect()
    }

    /// How many there are: (running, paused, stopped).
    pub(crate) fn count(&self) -> (usize, usize, usize) {
        let mut count = (0, 0, 0);
        for container in self.0.read().by_id.values() {
            match container.record.read().state.status {
                ContainerState::Running | ContainerState::Restarting => count.0 += 1,
                ContainerState::Paused => count.1 += 1,
                _ => count.2 += 1,
            }
        }
        count
    }

    /// Renames, both names being held during the change.
    pub(crate) fn rename(&self, container: &Container, name: &str) -> Result<Arc<Record>, EngineError> {
        self.claim(name, container.id)?;
        let old = container.record().name.clone();
        let record = container.change(|record| name.clone_into(&mut record.name));
        self.release(&old, container.id);
        Ok(record)
    }
}
