//! `container start`: from a record to a running process.
//!
//! ```text
//! wait for the last life's end ─ sandbox, addresses ─ ports ─ root and mounts ─ cgroup ─ plan ─► keeper
//! ```
//! All of it is prepared here and handed to the keeper as descriptors and plain data; the process itself is
//! made by the keeper. Every step takes itself back when a later one fails.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use hako_base::{ErrorKind, clock};
use hako_keeper::{KeeperError, Launched, StdioSpec};
use hako_model::{ContainerState, NetworkMode};
use hako_runtime::{
    LaunchPlan,
    cgroup::Cgroup,
    external::External,
    plan::{Namespace, Namespaces, UserNamespace},
    user::UserError,
};
use tokio::sync::watch;

use super::{
    bind_ids::Users,
    files::TARGETS,
    output::{OpenLog, pump_container},
    plan::{self, Confinement, Prepared, Security},
};
use crate::{
    Engine, EngineError,
    keeper::Reign,
    log::write::LogWriter,
    name_service::note_joining,
    network::join::Joined,
    operation::Operation,
    record::Record,
    stdio::{Stdin, open_stdin},
    table::{Container, Live},
};

/// What Docker says before the runtime's own words; clients look at what follows.
const LAUNCH_PREFIX: &str =
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed";

impl Engine {
    /// Starts a container.
    ///
    /// # Errors
    /// `NotModified` if it runs; else the first step that failed, with the container's exit code set as Docker does.
    pub async fn container_start(&self, name: &str) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let _turn = container.operation.lock().await;
        forget_restarts(&container);
        self.start_locked(&container).await
    }

    pub(crate) async fn start_locked(&self, container: &Arc<Container>) -> Result<(), EngineError> {
        let record = container.record();
        match record.state.status {
            ContainerState::Running => {
                return Err(EngineError::NotModified { text: format!("container {} is already running", record.id) });
            }
            ContainerState::Paused => {
                return Err(EngineError::conflict("cannot start a paused container, try unpause instead"));
            }
            ContainerState::Removing | ContainerState::Dead => {
                return Err(EngineError::conflict("container is marked for removal and cannot be started"));
            }
            _ => {}
        }
        // The last life may still be taken down; this one's end waits until its beginning is complete.
        let birth = container.teardown.clone().lock_owned().await;
        let engine = self.clone();
        let target = container.clone();
        let started = crate::blocking(move || match engine.start(&target) {
            // Nothing has begun, and all is undone.
            Err(EngineError::NoKeeper { reign }) if engine.keepers.wait_for_next(reign) => engine.start(&target),
            other => other,
        });
        match started.await {
            Ok(begun) => {
                let reign = begun.reign;
                self.follow(container, begun);
                self.entrust_container(container, reign);
                drop(birth);
                self.links_follow(&container.record());
                self.publish_network("connect", &container.record());
                self.publish_volumes("mount", &container.record());
                self.publish_container("start", &container.record(), []);
                self.watch_health(container, false);
                Ok(())
            }
            Err(error) => {
                self.note_failed_start(container, &error).await;
                Err(error)
            }
        }
    }

    /// What a start that failed leaves in the record, as Docker does it.
    async fn note_failed_start(&self, container: &Arc<Container>, error: &EngineError) {
        let exit_code = if let EngineError::Start { exit_code, .. } = error { *exit_code } else { 128 };
        let record = container.change(|record| {
            record.state.exit_code = exit_code;
            record.state.error = error.to_string();
            if record.state.status == ContainerState::Restarting {
                record.state.status = ContainerState::Exited;
            }
        });
        self.settle(&record).await;
        self.release_volumes(&record);
        container.phase.send_modify(|phase| {
            phase.running = false;
            phase.exits += 1;
            phase.exit_code = exit_code;
            // Whoever asked for the start gets the error; those who wait get the exit code, as with Docker.
            phase.error = None;
        });
        if record.auto_remove()
            && let Err(error) = self.remove_locked(container, true).await
        {
            tracing::warn!(container = %record.id.short(), %error, "cannot remove after a failed start");
        }
    }

    /// The blocking half: everything up to a running process.
    fn start(&self, container: &Arc<Container>) -> Result<Begun, EngineError> {
        let record = container.record();
        let id = record.id;
        let external = self.external(&record)?;
        let security = self.security(&record.spec.host)?;
        let confinement = plan::confinement(self, &record, &security)?;
        let generation = record.state.generation + 1;
        let link_env = self.link_variables(&record)?;
        // Known before the process is: its end is recognised by it.
        let record = container.change(|record| {
            record.state.generation = generation;
            record.link_env = link_env;
        });
        let record = super::cdi::with_devices(&record, &self.config.cdi_folders)?;

        let mut operation = Operation::begin("container.start", &self.config.exec_root);
        let joined = operation.step_with(
            "network",
            || self.join_networks(&record).map(Arc::new),
            |joined| {
                let joined = joined.clone();
                move || self.leave_networks(id, &joined)
            },
        )?;
        operation.step(
            "files",
            || self.write_network_files(&record, &joined.addresses(), joined.serves_names()),
            || {},
        )?;
        let mut descriptors = Descriptors::default();
        if let Some(user) = joined.user() {
            self.images.snapshot_map(id, user);
        }
        let root = operation.step(
            "root",
            || self.images.snapshot_mount(id, record.auto_remove()).map_err(crate::image::error),
            || self.images.snapshot_release(id),
        )?;
        if let Some(external) = &external {
            // What a life that nobody saw end has left would be in the way, and its group with it.
            external.forget();
        }
        let cgroup = operation.step("cgroup", || self.make_cgroup(&record), || self.unmake_cgroup(id))?;
        let mut launch = self.prepare(&record, &security, &confinement, &joined, root, &cgroup, &mut descriptors)?;
        if let Some(external) = &external {
            operation.step(
                "bundle",
                || self.write_bundle(external, &record, &launch, &security, &confinement),
                || {
                    external.forget();
                    external.remove_bundle();
                },
            )?;
            launch.external = Some(external.clone());
        }
        let log = operation.step("log", || open_log(container, None), || {})?;
        let (reign, launched) = operation.step(
            "process",
            || self.launch(container, generation, &launch, descriptors.0, &joined, log.writer.length()),
            || self.unmake_process(id),
        )?;
        let running = self.note_begun(container, launched.pid, external.clone(), &joined);
        operation.step(
            "record",
            || self.records.begun(&running),
            || drop(container.change(|now| now.take_back(&record))),
        )?;
        operation.finish();
        Ok(Begun { reign, launched, cgroup, joined, confinement: Arc::new(confinement), log })
    }

    /// Writes the beginning into the record in memory.
    fn note_begun(&self, container: &Container, pid: u32, external: Option<External>, joined: &Joined) -> Arc<Record> {
        container.change(|record| {
            record.state.status = ContainerState::Running;
            record.state.pid = pid;
            record.state.exit_code = 0;
            record.state.error.clear();
            record.state.oom_killed = false;
            record.state.health = None;
            record.state.stopped_by_hand = false;
            record.state.started_at = Some(clock::now());
            record.state.cgroup = Some((self.cgroup_parent_of(record), record.id.to_string()));
            record.state.external = external;
            joined.note(record);
        })
    }

    /// Everything that the plan needs, as descriptors in their places.
    #[expect(clippy::too_many_arguments, reason = "each is a separate thing that was made by a step of its own")]
    pub(crate) fn prepare(
        &self,
        record: &Record,
        security: &Security,
        confinement: &Confinement,
        joined: &Joined,
        root: OwnedFd,
        cgroup: &Cgroup,
        descriptors: &mut Descriptors,
    ) -> Result<LaunchPlan, EngineError> {
        let host = &record.spec.host;
        let user = hako_runtime::user::resolve(root.as_fd(), &record.config.user, &host.group_add)
            .map_err(|error| user_error(&error, 128))?;
        let root = descriptors.add(root);
        let namespaces = self.namespaces(record, joined, descriptors)?;
        let user_namespace = joined.user();
        let map = user_namespace.as_ref().map(|user| user.as_fd());
        let whom = |name: &str| match name {
            "" => Ok((user.uid, user.gid)),
            name => hako_runtime::user::resolve(descriptors.get(root), name, &[])
                .map(|user| (user.uid, user.gid))
                .map_err(|error| user_error(&error, 128)),
        };
        let mounts = self.open_mounts(record, &Users { ids: record.ids.as_ref(), namespace: map, find: &whom })?;
        let mounts = mounts.into_iter().map(|mount| mount.map(|mount| descriptors.add(mount))).collect();
        let mut files = Vec::new();
        for (name, target) in TARGETS {
            let source = self.network_files(record).join(name);
            let bound = hako_volume::bind::open(&source, &hako_volume::bind::Options::default())
                .map_err(|error| EngineError::io(format_args!("cannot bind {}", source.display()), &error))?;
            if let Some(map) = map {
                hako_volume::bind::map(bound.as_fd(), map).map_err(|error| {
                    EngineError::io(format_args!("cannot map the ids of {}", source.display()), &error)
                })?;
            }
            files.push((target, descriptors.add(bound)));
        }
        let shm = self.shared_memory(&host.ipc_mode)?.map(|shm| descriptors.add(shm));
        let seccomp = match &confinement.seccomp {
            Some(program) => Some(descriptors.add(seccomp_descriptor(program)?)),
            None => None,
        };
        let init = if host.init.unwrap_or(self.config.init) {
            let program = std::fs::File::open(&self.config.program)
                .map_err(|error| EngineError::io("cannot open the program for --init", &error))?;
            Some(descriptors.add(program.into()))
        } else {
            None
        };
        let prepared = Prepared {
            root,
            namespaces,
            mounts,
            files,
            shm,
            seccomp,
            init,
            cgroup: cgroup.join_plan(),
            devices: super::device::nodes(host)?,
            user,
        };
        Ok(plan::launch(record, security, confinement, prepared))
    }

    /// Somebody else's `/dev/shm`, where that is shared.
    fn shared_memory(&self, mode: &str) -> Result<Option<OwnedFd>, EngineError> {
        let path = std::path::Path::new("/dev/shm");
        if mode == "host" {
            let bound = hako_volume::bind::open(path, &hako_volume::bind::Options::default());
            return bound.map(Some).map_err(|error| EngineError::io("cannot bind the host's /dev/shm", &error));
        }
        let Some(other) = mode.strip_prefix("container:") else { return Ok(None) };
        let bound = hako_volume::bind::of_process(self.ipc_donor(other)?.as_fd(), path);
        bound.map(Some).map_err(|error| EngineError::io("cannot bind the other container's /dev/shm", &error))
    }

    fn namespaces(
        &self,
        record: &Record,
        joined: &Joined,
        descriptors: &mut Descriptors,
    ) -> Result<Namespaces, EngineError> {
        let host = &record.spec.host;
        let pid = match host.pid_mode.as_str() {
            "host" => Namespace::Host,
            mode => match mode.strip_prefix("container:") {
                Some(other) => Namespace::Join(descriptors.add(self.pidfd_of(other, "PID")?)),
                None => Namespace::New,
            },
        };
        let ipc = match host.ipc_mode.as_str() {
            "host" => Namespace::Host,
            mode => match mode.strip_prefix("container:") {
                Some(other) => Namespace::Join(descriptors.add(self.ipc_donor(other)?)),
                None => Namespace::New,
            },
        };
        let network = match (&host.network_mode, joined.namespace()?) {
            (NetworkMode::Host, _) => Namespace::Host,
            (NetworkMode::Container(other), _) => {
                let pidfd = self.pidfd_of(other, "network")?;
                note_joining(record, pidfd.as_fd())?;
                Namespace::Join(descriptors.add(pidfd))
            }
            (_, Some(namespace)) => Namespace::Join(descriptors.add(namespace)),
            (_, None) => Namespace::New,
        };
        Ok(Namespaces {
            pid,
            ipc,
            uts: if host.uts_mode == "host" { Namespace::Host } else { Namespace::New },
            network,
            cgroup: if host.cgroupns_mode == "private" { Namespace::New } else { Namespace::Host },
            time: Namespace::Host,
            user: match joined.user() {
                None => UserNamespace::Host,
                Some(user) => {
                    let copy = user.try_clone();
                    let copy = copy.map_err(|error| EngineError::io("cannot duplicate a descriptor", &error))?;
                    UserNamespace::Join(descriptors.add(copy))
                }
            },
        })
    }

    /// The first process of a container that shares its IPC namespace.
    fn ipc_donor(&self, name: &str) -> Result<OwnedFd, EngineError> {
        let record = self.containers.find(name)?.record();
        if record.spec.host.ipc_mode != "shareable" {
            return Err(EngineError::conflict(format!(
                "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                record.id
            )));
        }
        self.pidfd_of(name, "IPC")
    }

    /// The first process of the container whose `what` is to be joined.
    fn pidfd_of(&self, name: &str, what: &str) -> Result<OwnedFd, EngineError> {
        let container = self.containers.find(name)?;
        let live = container.live.lock();
        let pidfd = live.as_ref().map(|live| live.pidfd.try_clone());
        match pidfd {
            Some(Ok(pidfd)) => Ok(pidfd),
            Some(Err(error)) => Err(EngineError::io("cannot duplicate a descriptor", &error)),
            None => Err(EngineError::Mechanism {
                kind: ErrorKind::Internal,
                text: format!("failed to join {what} namespace: container {} is not running", container.id),
            }),
        }
    }

    /// Binds and volumes as detached mounts; `None` for what the runtime makes in place.
    fn open_mounts(&self, record: &Record, users: &Users<'_>) -> Result<Vec<Option<OwnedFd>>, EngineError> {
        record.mounts.iter().map(|mount| self.open_mount(mount, users)).collect()
    }

    pub(crate) fn cgroup_parent_of(&self, record: &Record) -> String {
        if record.spec.host.cgroup_parent.is_empty() {
            self.cgroup_parent()
        } else {
            record.spec.host.cgroup_parent.clone()
        }
    }

    pub(crate) fn make_cgroup(&self, record: &Record) -> Result<Cgroup, EngineError> {
        let rules = super::device::rules(&record.spec.host)?;
        Cgroup::create(&self.cgroup_parent_of(record), &record.id.to_string(), &record.spec.host.limits, &rules)
            .map_err(|error| EngineError::mechanism(error.kind(), &error))
    }

    fn unmake_cgroup(&self, id: hako_model::ContainerId) {
        let Ok(container) = self.containers.find(&id.to_string()) else { return };
        let parent = self.cgroup_parent_of(&container.record());
        if let Err(error) = Cgroup::open(&parent, &id.to_string()).and_then(|cgroup| cgroup.remove()) {
            tracing::warn!(container = %id.short(), %error, "cannot remove its cgroup");
        }
    }

    fn unmake_process(&self, id: hako_model::ContainerId) {
        let Ok(container) = self.containers.find(&id.to_string()) else { return };
        let parent = self.cgroup_parent_of(&container.record());
        if let Err(error) = Cgroup::open(&parent, &id.to_string()).and_then(|cgroup| cgroup.kill_all()) {
            tracing::warn!(container = %id.short(), %error, "cannot end its processes");
        }
    }

    fn launch(
        &self,
        container: &Container,
        generation: u64,
        plan: &LaunchPlan,
        descriptors: Vec<OwnedFd>,
        joined: &Joined,
        log_length: u64,
    ) -> Result<(Reign, Launched), EngineError> {
        let record = container.record();
        let spec = &record.spec;
        let stdio = StdioSpec {
            tty: spec.tty.then_some(spec.host.console_size),
            stdin: spec.open_stdin,
            stdin_once: spec.stdin_once,
            non_blocking_output: spec.host.output_is_non_blocking(),
            log_length,
            owner: record.ids.as_ref().map(crate::IdMap::root),
            ..StdioSpec::default()
        };
        let kept = joined.kept()?;
        let (reign, keeper) = self.keepers.present();
        match keeper.launch(container.id, generation, plan, descriptors, stdio, kept) {
            Ok(launched) => Ok((reign, launched)),
            Err(KeeperError::Lost) => Err(EngineError::NoKeeper { reign }),
            Err(error) => {
                // Where nobody says that nothing has begun, something may have.
                if !matches!(error, KeeperError::Launch(_)) {
                    self.unmake_process(container.id);
                }
                Err(launch_error(&error, LAUNCH_PREFIX))
            }
        }
    }

    /// The asynchronous half: the daemon's ends of the streams, and the task that moves the output.
    fn follow(&self, container: &Arc<Container>, begun: Begun) {
        let Begun { launched, cgroup, joined, confinement, log, .. } = begun;
        let ring = launched.ring.ends();
        let stdin = match launched.stdin.map(open_stdin) {
            Some(Ok(stdin)) => stdin,
            Some(Err(error)) => {
                tracing::error!(container = %container.id.short(), %error, "stdin cannot be written");
                Stdin::Closed
            }
            None => Stdin::Closed,
        };
        container.stdin.send_replace(stdin);
        let (done, drained) = watch::channel(false);
        tokio::spawn(pump_container(container.clone(), launched.ring, log, done));
        *container.live.lock() = Some(Live {
            pidfd: Arc::new(launched.pidfd),
            pty: launched.pty,
            ring,
            cgroup,
            sandbox: joined.sandbox(),
            confinement,
            drained,
        });
        container.phase.send_modify(|phase| phase.running = true);
    }
}

/// Somebody starts it: what its restart policy has counted is of the past.
pub(crate) fn forget_restarts(container: &Container) {
    if !container.record().is_running() {
        container.change(|record| {
            record.state.restart_count = 0;
            record.state.doublings = 0;
        });
    }
}

/// A process has begun.
struct Begun {
    /// Whose child it is.
    reign: Reign,
    launched: Launched,
    cgroup: Cgroup,
    joined: Arc<Joined>,
    confinement: Arc<Confinement>,
    log: OpenLog,
}

/// The descriptors that travel with a plan.
#[derive(Default)]
pub(crate) struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    fn get(&self, index: usize) -> BorrowedFd<'_> {
        self.0[index].as_fd()
    }

    pub(crate) fn add(&mut self, descriptor: OwnedFd) -> usize {
        self.0.push(descriptor);
        self.0.len() - 1
    }

    /// All of them, in their order.
    pub(crate) fn take(self) -> Vec<OwnedFd> {
        self.0
    }
}

/// Opens the log, and the way to where else its lines go.
pub(crate) fn open_log(container: &Container, committed: Option<u64>) -> Result<OpenLog, EngineError> {
    let (plan, record) = (container.log(), container.record());
    let mut noted = plan.attributes.of(&record);
    let tag = plan.attributes.tag(&record);
    let adopted = committed.is_some();
    let queue = match plan.forward.as_ref().map(|forward| forward.start(&record, tag.clone(), &noted)) {
        None => None,
        Some(Ok(queue)) => Some(queue),
        Some(Err(error)) if adopted => {
            // It runs already: better without this log than not at all.
            tracing::error!(container = %container.id.short(), %error, "its log is no longer forwarded");
            None
        }
        Some(Err(error)) => {
            let text = format!("failed to create task for container: failed to initialize logging driver: {error}");
            return Err(start_error(text, 128, ErrorKind::Internal));
        }
    };
    if plan.forward.is_none() && !tag.is_empty() {
        noted.insert("tag".to_owned(), tag);
    }
    let writer = LogWriter::open((*plan).clone(), committed, &noted)
        .map_err(|error| EngineError::io(format_args!("cannot open {}", plan.path.display()), &error))?;
    container.log_mark.send_replace((writer.generation(), writer.length()));
    Ok(OpenLog { writer, queue })
}

/// The filter in a memfd, a duplicate of the one that is kept with it.
pub(crate) fn seccomp_descriptor(program: &hako_runtime::seccomp::Program) -> Result<OwnedFd, EngineError> {
    let memory = program.memfd().and_then(|memory| memory.try_clone_to_owned());
    memory.map_err(|error| EngineError::io("cannot pass the seccomp filter", &error))
}

pub(crate) fn start_error(text: String, exit_code: i32, kind: ErrorKind) -> EngineError {
    EngineError::Start { text, exit_code, kind }
}

/// Docker's words for a user or group that the image does not know; its exit code is 128 for a start, 126 for an exec.
pub(crate) fn user_error(error: &UserError, exit_code: i32) -> EngineError {
    start_error(hako_base::error::chain(error), exit_code, error.kind())
}

/// A launch that failed, in Docker's words: the command line derives 126 and 127 from them.
pub(crate) fn launch_error(error: &KeeperError, prefix: &str) -> EngineError {
    match error {
        // The other runtime's own words, which Docker passes on as they are.
        KeeperError::Launch(error) if error.is_foreign() => {
            let (before, _) = prefix.split_once(": runc create failed").unwrap_or((prefix, ""));
            start_error(format!("{before}: {error}: unknown"), error.exit_code(), error.kind())
        }
        KeeperError::Launch(error) => {
            let text = format!("{prefix}: unable to start container process: {error}: unknown");
            start_error(text, error.exit_code(), error.kind())
        }
        other => EngineError::mechanism(other.kind(), other),
    }
}
