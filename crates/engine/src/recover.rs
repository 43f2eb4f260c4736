//! What the daemon does first: finds what is there, adopts what runs, sweeps what was left half-made.
//!
//! ```text
//! lock ─ database, images, volumes ─ records ─ networks ─ keeper ─► adopt ─ sweep ─ restart policies
//! ```
//! The keeper's list is the truth about what runs; the records say what it is. A process without a record is
//! ended; a record whose process is gone says how it ended, or that nobody knows.

use std::{collections::HashMap, fs, os::fd::OwnedFd, sync::Arc, time::Duration};

use hako_base::{ErrorKind, clock, database::Database};
use hako_keeper::{Adopted, ExitStatus, KeeperCommand, Notice, Subject};
use hako_model::{ContainerId, ContainerState, RestartPolicy};
use hako_network::Alive;
use hako_runtime::cgroup::Cgroup;
use tokio::sync::{mpsc, watch};

use crate::{
    Engine, EngineConfig, EngineError, Parts,
    claim::Claim,
    container::{
        output::{pump_container, pump_exec},
        plan, restart,
        start::open_log,
    },
    event::EventBus,
    exec::Execs,
    keeper::{Keepers, Reign},
    limits,
    log::LogPlan,
    name_service::{self, NameService},
    network::{self, Networks},
    record::{Record, Records},
    stdio::{Listeners, Stdin, open_stdin},
    table::{Container, Live, Table},
};

/// Exit code of a process of which only the end is known.
const UNKNOWN_EXIT: i32 = 255;

/// What `State.Error` says of a container that had to be ended because nobody could follow it any more.
const ORPHANED: &str = "its daemon and its keeper were both killed: the next daemon has ended it";

impl Engine {
    /// Opens the engine on its roots. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Another daemon on the same root, a damaged database, a kernel that lacks something: by name.
    pub async fn open(config: EngineConfig) -> Result<Self, EngineError> {
        let (notices, incoming) = mpsc::unbounded_channel();
        let (engine, adopted) = crate::blocking(move || open_blocking(config, notices)).await?;
        let found = engine.adopt(adopted).await?;
        engine.sweep(&found).await;
        tokio::spawn(engine.clone().heed(incoming));
        tokio::spawn(engine.clone().sample_for_ever());
        for (container, next) in found.to_start {
            match next {
                Next::Goes(pause) => tokio::spawn(engine.clone().restart_later(container, pause)),
                Next::Starts | Next::Stays => tokio::spawn(engine.clone().start_by_policy(container)),
            };
        }
        Ok(engine)
    }

    /// Acts on what keepers say, for as long as the daemon lives.
    async fn heed(self, mut notices: mpsc::UnboundedReceiver<(Reign, Notice)>) {
        while let Some((reign, notice)) = notices.recv().await {
            match notice {
                Notice::KeeperLost => self.keeper_lost(reign).await,
                other => self.heed_one(other).await,
            }
        }
    }

    pub(crate) async fn heed_one(&self, notice: Notice) {
        match notice {
            Notice::Exited { subject: Subject::Container(id, _), status } if self.steps.ended(id, status.clone()) => {}
            Notice::Exited { subject: Subject::Container(id, generation), status } => {
                match self.containers.find(&id.to_string()) {
                    Ok(container) => {
                        tokio::spawn(self.clone().container_exited(container, generation, status));
                    }
                    Err(_) => self.acknowledge(Subject::Container(id, generation)).await,
                }
            }
            Notice::Exited { subject: Subject::Exec(id), status } => match self.execs.get(id) {
                Some(exec) => {
                    tokio::spawn(self.clone().exec_exited(exec, status));
                }
                None => self.acknowledge(Subject::Exec(id)).await,
            },
            Notice::Replaced => {
                tracing::error!("another daemon has taken over this exec-root: this one ends");
                std::process::exit(1);
            }
            Notice::KeeperLost => {}
        }
    }

    /// Takes up every process the keeper has.
    async fn adopt(&self, adopted: Vec<Adopted>) -> Result<Found, EngineError> {
        let kept: Vec<(String, Vec<OwnedFd>)> = {
            let engine = self.clone();
            crate::blocking(move || engine.keepers.ask(hako_keeper::Keeper::kept))
                .await
                .map_err(|error| EngineError::mechanism(error.kind(), &error))?
        };
        let mut listeners: HashMap<ContainerId, Vec<Arc<OwnedFd>>> = HashMap::new();
        for (name, descriptors) in kept {
            let descriptors: Vec<Arc<OwnedFd>> = descriptors.into_iter().map(Arc::new).collect();
            let copies = || descriptors.iter().map(|one| one.try_clone()).collect::<std::io::Result<Vec<_>>>();
            if let Some(id) = network::ports_owner(&name) {
                listeners.insert(id, descriptors.clone());
            } else if let (Some(id), Ok(copies)) = (name_service::owner(&name), copies()) {
                self.name_service.adopt(id, copies);
            }
            self.keepers.remember(&name, descriptors);
        }
        let mut found = Found::default();
        let mut alive = Vec::new();
        for process in adopted {
            let Subject::Container(id, generation) = process.subject else {
                self.adopt_exec(process).await;
                continue;
            };
            let container = self.containers.find(&id.to_string()).ok();
            let container = container.filter(|container| container.record().state.generation == generation);
            let Some(container) = container else {
                self.end_stray(&process).await;
                continue;
            };
            found.with_process.push(id);
            alive.extend(self.endpoints_alive(&container.record(), listeners.remove(&id).unwrap_or_default()));
            if let Some(status) = self.adopt_one(&container, process)? {
                found.ended.push((container, generation, status));
            }
        }
        let engine = self.clone();
        let recovered = crate::blocking(move || engine.network.recover(alive))
            .await
            .map_err(|error| EngineError::mechanism(error.kind(), &error))?;
        for port in &recovered.lost {
            tracing::error!(port = %port.host, "a published port was taken by another program while no daemon ran");
        }
        for id in listeners.into_keys() {
            let engine = self.clone();
            let _ = crate::blocking(move || engine.keepers.discard(&network::ports_key(id))).await;
        }
        let engine = self.clone();
        crate::blocking(move || engine.name_service_sweep()).await;
        for (container, generation, status) in std::mem::take(&mut found.ended) {
            tokio::spawn(self.clone().container_exited(container, generation, status));
        }
        self.settle_vanished(&mut found).await;
        Ok(found)
    }

    fn endpoints_alive(&self, record: &Record, mut listeners: Vec<Arc<OwnedFd>>) -> Vec<Alive> {
        let main = record.published_on.as_deref().or(record.spec.host.network_mode.network_name());
        record
            .endpoints
            .iter()
            .filter_map(|(name, place)| {
                let is_main = Some(name.as_str()) == main;
                Some(Alive {
                    endpoint: place.plugged.clone()?,
                    ports: if is_main { record.published.clone() } else { Vec::new() },
                    listeners: if is_main { std::mem::take(&mut listeners) } else { Vec::new() },
                })
            })
            .collect()
    }

    /// Takes up one container's process; answers how it ended, if it has.
    fn adopt_one(&self, container: &Arc<Container>, process: Adopted) -> Result<Option<ExitStatus>, EngineError> {
        let record = container.change(|record| {
            record.state.status = match record.state.status {
                ContainerState::Paused => ContainerState::Paused,
                _ => ContainerState::Running,
            };
            record.state.pid = process.pid;
        });
        let security = self.security(&record.spec.host)?;
        let confinement = plan::confinement(self, &record, &security)?;
        let (parent, name) =
            record.state.cgroup.clone().unwrap_or_else(|| (self.cgroup_parent(), record.id.to_string()));
        let cgroup = Cgroup::open(&parent, &name).map_err(|error| EngineError::mechanism(error.kind(), &error))?;
        let sandbox = match process.kept.into_iter().next() {
            Some(netns) => {
                let sandbox = self.network.sandbox_adopt(netns, false);
                Some(Arc::new(sandbox.map_err(|error| EngineError::mechanism(error.kind(), &error))?))
            }
            None => None,
        };
        self.rejoin(&record, sandbox.as_deref());
        if process.exited.is_none() {
            let adopted = hako_runtime::observe::root_to_copy(process.pid)
                .map_err(|error| EngineError::io("cannot open the root of its process", &error))
                .and_then(|root| self.images.snapshot_adopt(record.id, &root).map_err(crate::image::error));
            if let Err(error) = adopted {
                tracing::warn!(container = %record.id.short(), %error, "its files cannot be looked at");
            }
            self.adopt_volumes(&record);
            // A copy of a volume may have frozen it, and died with the last daemon.
            if record.state.status == ContainerState::Running
                && let Err(error) = cgroup.thaw()
            {
                tracing::debug!(container = %record.id.short(), %error, "cannot thaw");
            }
        }
        let ring = process.ring.ends();
        let log = open_log(container, Some(process.ring.log_length()))?;
        let (done, drained) = watch::channel(false);
        tokio::spawn(pump_container(container.clone(), process.ring, log, done));
        let stdin = process.stdin.and_then(|stdin| open_stdin(stdin).ok()).unwrap_or(Stdin::Closed);
        container.stdin.send_replace(stdin);
        *container.live.lock() = Some(Live {
            pidfd: Arc::new(process.pidfd),
            pty: process.pty,
            ring,
            cgroup,
            sandbox,
            confinement: Arc::new(confinement),
            drained,
        });
        container.phase.send_modify(|phase| phase.running = true);
        if process.exited.is_none() {
            self.watch_health(container, true);
        }
        Ok(process.exited)
    }

    /// Whoever asked for an exec has gone with the last daemon. One that sat at a terminal or wrote to it is waited for
    /// by nobody; everything else is somebody's work, which goes on while its output goes nowhere.
    async fn adopt_exec(&self, process: Adopted) {
        if process.exited.is_some() || process.pty.is_some() || process.stdin.is_some() {
            self.end_stray(&process).await;
            return;
        }
        tokio::spawn(async move { pump_exec(&Listeners::default(), process.ring).await });
    }

    /// Ends a process that nobody knows any more.
    pub(crate) async fn end_stray(&self, process: &Adopted) {
        tracing::warn!(subject = %process.subject, pid = process.pid, "is not known here: it is ended");
        if process.exited.is_none()
            && let Err(error) = hako_runtime::observe::signal(&process.pidfd, hako_model::Signal::KILL)
        {
            tracing::warn!(%error, "cannot end it");
        }
        if process.exited.is_some() {
            self.acknowledge(process.subject).await;
        }
    }

    /// Records that say "running" without a process: the host was restarted, or the keeper was killed. Those that were
    /// between two lives have none either, and go on where they were.
    async fn settle_vanished(&self, found: &mut Found) {
        for container in self.containers.all() {
            let record = container.record();
            if found.with_process.contains(&record.id) {
                continue;
            }
            let next = Next::of(&record);
            if record.is_running() || record.state.status == ContainerState::Restarting {
                let record = self.settle_one(&container, next).await;
                if record.auto_remove() {
                    if let Err(error) = self.remove_locked(&container, true).await {
                        tracing::warn!(container = %record.id.short(), %error, "cannot remove");
                    }
                    continue;
                }
            }
            if next != Next::Stays {
                found.to_start.push((container, next));
            }
        }
    }

    /// How a container ended that has no process any more, and whether it is to live again: should this daemon die before
    /// that, the next one knows.
    async fn settle_one(&self, container: &Container, next: Next) -> Arc<Record> {
        let record = container.record();
        let orphaned = self.end_orphans(&record).await;
        let is_known = record.state.status == ContainerState::Restarting;
        let record = container.change(|record| {
            record.state.status = if next == Next::Stays { ContainerState::Exited } else { ContainerState::Restarting };
            if !is_known {
                record.state.error = if orphaned { ORPHANED.to_owned() } else { String::new() };
                record.state.exit_code = UNKNOWN_EXIT;
                record.state.finished_at = Some(clock::now());
            }
            record.state.pid = 0;
            record.state.cgroup = None;
            record.state.external = None;
            record.published.clear();
            record.endpoints.values_mut().for_each(|place| place.plugged = None);
        });
        container.phase.send_modify(|phase| {
            phase.running = false;
            phase.exit_code = record.state.exit_code;
        });
        self.settle(&record).await;
        record
    }

    /// Ends what still runs of a container that nobody follows: when its keeper and its daemon were both killed, nobody
    /// holds the other ends of its output any more, nor its terminal. Answers whether anything did.
    async fn end_orphans(&self, record: &Record) -> bool {
        let Some((parent, name)) = record.state.cgroup.clone() else { return false };
        let external = record.state.external.clone();
        crate::blocking(move || {
            if let Some(external) = &external {
                external.forget();
            }
            let Ok(cgroup) = Cgroup::open(&parent, &name) else { return false };
            let orphaned = cgroup.pids().is_ok_and(|pids| !pids.is_empty());
            if let Err(error) = cgroup.remove() {
                tracing::warn!(cgroup = name, %error, "cannot end what is left in it");
            }
            orphaned
        })
        .await
    }

    async fn start_by_policy(self, container: Arc<Container>) {
        let _turn = container.operation.lock().await;
        match self.start_locked(&container).await {
            Ok(()) | Err(EngineError::NotModified { .. }) => {}
            Err(error) => tracing::warn!(container = %container.id.short(), %error, "cannot start it again"),
        }
    }

    /// Removes what a crash left of containers that do not exist: snapshots, directories, cgroups.
    async fn sweep(&self, found: &Found) {
        let engine = self.clone();
        let with_process = found.with_process.clone();
        crate::blocking(move || {
            let known = |id: &ContainerId| engine.containers.find(&id.to_string()).is_ok();
            match engine.images.snapshot_list() {
                Ok(snapshots) => {
                    for id in snapshots.iter().filter(|id| !known(id)) {
                        if let Err(error) = engine.images.snapshot_remove(*id) {
                            tracing::warn!(container = %id.short(), %error, "cannot sweep its snapshot");
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot list snapshots"),
            }
            for id in directories(&engine.config.data_root.join("containers")).into_iter().filter(|id| !known(id)) {
                let _ = fs::remove_dir_all(engine.container_files(id));
            }
            crate::runtime::sweep(&engine.config.exec_root, |id| with_process.contains(id));
            for id in hako_runtime::observe::cgroup_children(&engine.cgroup_parent()) {
                let alive = id.parse().is_ok_and(|id: ContainerId| with_process.contains(&id));
                if !alive
                    && let Err(error) = Cgroup::open(&engine.cgroup_parent(), &id).and_then(|cgroup| cgroup.remove())
                {
                    tracing::debug!(cgroup = id, %error, "cannot sweep");
                }
            }
        })
        .await;
    }
}

/// What was found at the start.
#[derive(Default)]
struct Found {
    with_process: Vec<ContainerId>,
    ended: Vec<(Arc<Container>, u64, ExitStatus)>,
    to_start: Vec<(Arc<Container>, Next)>,
}

/// What becomes of a container without a process when a daemon comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stays,
    /// Its policy has it run wherever there is a daemon.
    Starts,
    /// It was between two lives, and has what is left of the pause before it.
    Goes(Duration),
}

impl Next {
    fn of(record: &Record) -> Self {
        let (policy, state) = (record.spec.host.restart, &record.state);
        let waited = state.status == ContainerState::Restarting;
        if waited && let Some(pause) = restart::decide(policy, state, Duration::ZERO) {
            let waited =
                state.finished_at.and_then(|ended| Duration::try_from(clock::now().duration_since(ended)).ok());
            return Self::Goes(pause.saturating_sub(waited.unwrap_or_default()));
        }
        let starts = match policy {
            _ if state.status == ContainerState::Created => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !state.stopped_by_hand && state.started_at.is_some(),
            RestartPolicy::OnFailure(_) => record.is_running(),
            RestartPolicy::No => false,
        };
        if starts { Self::Starts } else { Self::Stays }
    }
}

pub(crate) fn directories(root: &std::path::Path) -> Vec<ContainerId> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn open_blocking(
    config: EngineConfig,
    notices: mpsc::UnboundedSender<(Reign, Notice)>,
) -> Result<(Engine, Vec<Adopted>), EngineError> {
    for (root, mode) in [(&config.data_root, 0o710), (&config.exec_root, 0o711)] {
        hako_base::file::make_dir(root, mode)
            .map_err(|error| EngineError::io(format_args!("cannot make {}", root.display()), &error))?;
    }
    let claim = Claim::take(&config.exec_root, &config.data_root, limits::LAST_DAEMON_DEADLINE)?;
    let id = identity(&config)?;
    let database = Arc::new(open_database(&config)?);
    let images = hako_image::Store::open(&config.data_root, database.clone()).map_err(crate::image::error)?;
    let volumes = hako_volume::Volumes::open(&config.data_root, database.clone())
        .map_err(|error| EngineError::mechanism(error.kind(), &error))?;
    let (records, known) = Records::open(database, &config.exec_root)?;
    let networks = Networks::open(&config.data_root)?;
    let mut settings = hako_network::Settings::new(config.instance(), tokio::runtime::Handle::current());
    settings.pool_size = if config.bridge_disabled { 0 } else { config.sandboxes };
    settings.pools_set(&config.address_pools);
    settings.firewall = config.firewall;
    settings.ip_forward = config.ip_forward;
    settings.obey_input = !config.publish_past_firewall;
    let network =
        hako_network::Network::open(settings).map_err(|error| EngineError::mechanism(error.kind(), &error))?;
    network::prepare(&config, &networks, &network)?;
    let command =
        KeeperCommand { program: config.keeper.0.clone(), arguments: config.keeper.1.iter().map(Into::into).collect() };
    let (keepers, adopted) = Keepers::open(config.exec_root.clone(), command, notices)
        .map_err(|error| EngineError::mechanism(error.kind(), &error))?;
    let engine = Engine(Arc::new(Parts {
        id,
        started: clock::now(),
        containers: Table::default(),
        steps: crate::step::Steps::default(),
        execs: Execs::default(),
        records,
        networks,
        events: EventBus::new(),
        checks: crate::health::Count::default(),
        images,
        registry: hako_registry::client::Client::new(config.registry.clone()),
        volumes,
        name_service: NameService::new(tokio::runtime::Handle::current(), network.names().clone()),
        network,
        visitor: hako_network::Visitor::default(),
        reloadable: parking_lot::RwLock::new(config.reloadable()),
        keepers,
        id_claims: crate::userns::Claims::default(),
        apparmor: confine_by_default(&config.exec_root),
        config,
        _claim: claim,
    }));
    for record in known {
        engine.take_in(record);
    }
    Ok((engine, adopted))
}

// What cannot be had is said here and by `info`; everything else that confines is there all the same.
fn confine_by_default(exec_root: &std::path::Path) -> Result<bool, String> {
    hako_runtime::apparmor::ensure_default(exec_root).map_err(|error| {
        let text = hako_base::error::chain(&error);
        tracing::warn!(error = text, "containers have no AppArmor profile of hako's");
        text
    })
}

impl Engine {
    /// A container from its record, as it was.
    fn take_in(&self, record: Record) {
        let path = self.container_files(record.id).join(format!("{}-json.log", record.id));
        let log = LogPlan::new(&path, &record.spec.host.log_driver, &record.spec.host.log_options);
        let log = match log {
            Ok(log) => log,
            Err(error) => {
                tracing::error!(container = %record.id.short(), %error, "its log cannot be kept");
                return;
            }
        };
        if let Err(error) = self.containers.claim(&record.name, record.id) {
            tracing::error!(container = %record.id.short(), %error, "two containers have one name");
            return;
        }
        self.containers.insert(Container::new(record, log));
    }
}

/// The database is also the lock: it lets one process in.
fn open_database(config: &EngineConfig) -> Result<Database, EngineError> {
    let path = config.data_root.join("state.redb");
    Database::create(&path).map_err(|error| EngineError::Mechanism {
        kind: ErrorKind::Unavailable,
        text: match error {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                format!("another daemon uses {}: give this one a --data-root of its own", config.data_root.display())
            }
            other => format!("cannot open {}: {other}", path.display()),
        },
    })
}

/// A name that stays with the data root, as `info` shows it.
fn identity(config: &EngineConfig) -> Result<String, EngineError> {
    let path = config.data_root.join("engine-id");
    if let Ok(text) = fs::read_to_string(&path)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().to_owned());
    }
    let hex = hako_base::random::hex(16);
    let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    hako_base::file::write_atomic(&path, id.as_bytes(), 0o600, hako_base::file::Durability::Power)
        .map_err(|error| EngineError::io(format_args!("cannot write {}", path.display()), &error))?;
    Ok(id)
}
