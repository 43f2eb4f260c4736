//! A step of a build: a process in a root filesystem that becomes a layer. No container, no record, no name.
//!
//! The step runs as a container's process does — same plan, same confinement, same keeper — but nothing of it is
//! written down: a daemon that dies takes it along (the next one ends what the keeper still has, as a stray). Dropping
//! [`Step`] ends the process.

use std::{collections::HashMap, os::fd::OwnedFd, sync::Arc};

use hako_base::clock;
use hako_keeper::{ExitStatus, Launched, StdioSpec, Subject};
use hako_model::{ContainerId, ContainerSpec, Digest, HostSpec, ImageConfig, Platform};
use hako_runtime::{
    cgroup::Cgroup,
    plan::{Mount, MountFlags, MountSource},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Engine, EngineError,
    container::{
        cdi::{self, FoundDevice},
        output::pump_exec,
        plan,
        start::{Descriptors, launch_error},
    },
    network::join::Joined,
    operation::Operation,
    record::{EndpointRecord, Record, StateRecord, VERSION},
    stdio::Listeners,
    view::OutputChunk,
};

/// What is to be run, and in what.
#[derive(Debug)]
pub struct StepSpec {
    /// A detached mount: the process's root.
    pub root: OwnedFd,
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub hostname: String,
    /// Network, limits, shared memory, further names, privileges.
    pub host: HostSpec,
    pub mounts: Vec<StepMount>,
}

/// Something mounted for one step.
#[derive(Debug)]
pub struct StepMount {
    pub target: String,
    pub source: StepSource,
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug)]
pub enum StepSource {
    /// A file or directory that is open.
    Descriptor(OwnedFd),
    Tmpfs {
        size_bytes: Option<u64>,
    },
}

/// Steps that run, by the id their process has with the keeper.
#[derive(Default)]
pub(crate) struct Steps(Mutex<HashMap<ContainerId, Running>>);

struct Running {
    end: oneshot::Sender<ExitStatus>,
    listeners: Arc<Listeners>,
}

impl Steps {
    /// A process has ended; `false` when it was no step's.
    pub(crate) fn ended(&self, id: ContainerId, status: ExitStatus) -> bool {
        match self.0.lock().remove(&id) {
            // Whoever waited may have gone.
            Some(running) => {
                let _ = running.end.send(status);
                true
            }
            None => false,
        }
    }

    /// The keeper has died. Steps are not handed on: what they have done so far would be half a layer, and a build is
    /// easily begun again. Nobody fills their output any more, and nobody tells their end.
    pub(crate) fn keeper_lost(&self) {
        for running in std::mem::take(&mut *self.0.lock()).into_values() {
            running.listeners.end();
        }
    }
}

/// A step that runs. Dropping it ends its process and takes everything down.
pub struct Step {
    engine: Engine,
    id: ContainerId,
    ended: oneshot::Receiver<ExitStatus>,
    output: mpsc::Receiver<OutputChunk>,
    live: Option<LiveStep>,
}

struct LiveStep {
    cgroup: Cgroup,
    joined: Arc<Joined>,
}

impl Step {
    /// The next piece of output; `None` at its end.
    pub async fn output(&mut self) -> Option<OutputChunk> {
        self.output.recv().await
    }

    /// Waits for the end and takes everything down; answers the exit code, and whether the kernel ended it for want of
    /// memory.
    pub async fn wait(mut self) -> (i32, bool) {
        let status = (&mut self.ended).await;
        if let Some(live) = self.live.take() {
            let (engine, id, is_over) = (self.engine.clone(), self.id, status.is_ok());
            crate::blocking(move || if is_over { engine.take_step_down(id, live) } else { engine.end_step(id, live) })
                .await;
        }
        status.map_or((255, false), |status| (status.code, status.oom_killed))
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        let (engine, id) = (self.engine.clone(), self.id);
        // Not here: ending a process takes the kernel a moment, and a future is dropped on the reactor's thread.
        std::thread::spawn(move || engine.end_step(id, live));
    }
}

impl Engine {
    /// The image store, for the builder.
    pub fn image_store(&self) -> &hako_image::Store {
        &self.images
    }

    /// Whether programs for this platform run here, by the processor or an interpreter.
    pub fn step_runs(&self, platform: &Platform) -> bool {
        hako_runtime::emulation::runs(&platform.architecture, &Platform::host().architecture)
    }

    /// The platforms that steps run for, this machine's own first.
    pub fn step_platforms(&self) -> Vec<Platform> {
        let host = Platform::host();
        let all = hako_runtime::emulation::architectures(&host.architecture);
        let others = all.into_iter().skip(1);
        let others = others.map(|architecture| Platform { architecture, variant: None, ..host.clone() });
        std::iter::once(host.clone()).chain(others).collect()
    }

    /// An image that a Dockerfile names, if it is here.
    ///
    /// # Errors
    /// No such image.
    pub fn image_for_build(&self, name: &str) -> Result<Arc<hako_image::Image>, EngineError> {
        self.images.resolve(name).map_err(crate::image::error)
    }

    /// Whom `user[:group]` names in a root file system. A user by name brings its own group, a number the group of the
    /// same number.
    ///
    /// # Errors
    /// A name that the root's own files do not know.
    pub fn step_owner(&self, root: std::os::fd::BorrowedFd<'_>, owner: &str) -> Result<(u32, u32), EngineError> {
        let found = hako_runtime::user::resolve(root, owner, &[]);
        let found = found.map_err(|error| EngineError::invalid(hako_base::error::chain(&error)))?;
        let is_number = owner.parse::<u32>().is_ok();
        Ok((found.uid, if is_number { found.uid } else { found.gid }))
    }

    /// The devices that `RUN --device` means by a name.
    pub fn step_devices(&self, wish: &str) -> Vec<FoundDevice> {
        cdi::find(wish, &self.config.cdi_folders)
    }

    /// Where the builder keeps its own files: contexts, cache mounts, the cache's records.
    pub fn build_root(&self) -> std::path::PathBuf {
        self.config.data_root.join("build")
    }

    /// A directory in memory for what must not reach a disk (secrets of builds).
    pub fn secrets_root(&self) -> std::path::PathBuf {
        self.config.exec_root.join("secrets")
    }

    /// Tells those who watch that a build made or named an image.
    pub fn publish_built(&self, id: Digest, names: &[String]) {
        self.publish_image("build", &id.to_string(), &id.to_string());
        for name in names {
            self.publish_image("tag", &id.to_string(), name);
        }
    }

    /// Starts a step.
    ///
    /// # Errors
    /// As for starting a container.
    pub async fn step_start(&self, spec: StepSpec) -> Result<Step, EngineError> {
        let engine = self.clone();
        let id = ContainerId::random();
        let (end, ended) = oneshot::channel();
        let listeners = Arc::new(Listeners::default());
        let output = listeners.add(true, true);
        self.steps.0.lock().insert(id, Running { end, listeners: listeners.clone() });
        let started = crate::blocking(move || engine.start_step(id, spec)).await;
        match started {
            Ok((launched, live)) => {
                let ring = launched.ring;
                tokio::spawn(async move {
                    pump_exec(&listeners, ring).await;
                    listeners.end();
                });
                Ok(Step { engine: self.clone(), id, ended, output, live: Some(live) })
            }
            Err(error) => {
                self.steps.0.lock().remove(&id);
                Err(error)
            }
        }
    }

    fn start_step(&self, id: ContainerId, spec: StepSpec) -> Result<(Launched, LiveStep), EngineError> {
        let root = spec.root.try_clone().map_err(|error| EngineError::io("cannot duplicate a descriptor", &error))?;
        let record = cdi::with_devices(&Arc::new(self.step_record(id, &spec)), &self.config.cdi_folders)?;
        let security = self.security(&record.spec.host)?;
        let confinement = plan::confinement(self, &record, &security)?;
        let mut operation = Operation::begin("step.start", &self.config.exec_root);
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
            || {
                let directory = self.container_files(id);
                hako_base::file::make_dir(&directory, 0o710)
                    .map_err(|error| EngineError::io(format_args!("cannot make {}", directory.display()), &error))?;
                self.write_network_files(&record, &joined.addresses(), joined.serves_names())
            },
            || drop(std::fs::remove_dir_all(self.container_files(id))),
        )?;
        let cgroup = operation.step("cgroup", || self.make_cgroup(&record), || self.unmake_step(id))?;
        let mut descriptors = Descriptors::default();
        let mut launch = self.prepare(&record, &security, &confinement, &joined, root, &cgroup, &mut descriptors)?;
        // What a step says its hostname is stays in the layer, and depends on nothing: as with BuildKit.
        launch.mounts.retain(|mount| mount.target != "/etc/hostname");
        if !spec.env.iter().any(|variable| variable.starts_with("HOSTNAME=")) {
            launch.process.env.retain(|variable| !variable.starts_with("HOSTNAME="));
        }
        for mount in spec.mounts {
            let source = match mount.source {
                StepSource::Descriptor(place) => MountSource::Descriptor(descriptors.add(bound(&place)?)),
                StepSource::Tmpfs { size_bytes } => MountSource::Tmpfs(
                    [("mode".to_owned(), "1777".to_owned())]
                        .into_iter()
                        .chain(size_bytes.map(|size| ("size".to_owned(), size.to_string())))
                        .collect(),
                ),
            };
            let flags = MountFlags { read_only: mount.read_only, ..MountFlags::default() };
            launch.mounts.push(Mount { target: mount.target, source, flags });
        }
        let stdio = StdioSpec::default();
        let kept = joined.kept()?;
        let (_, keeper) = self.keepers.present();
        let launched = keeper
            .launch(id, 1, &launch, descriptors.take(), stdio, kept)
            .map_err(|error| launch_error(&error, "cannot run the step"))?;
        operation.finish();
        Ok((launched, LiveStep { cgroup, joined }))
    }

    fn unmake_step(&self, id: ContainerId) {
        let removed = Cgroup::open(&self.cgroup_parent(), &id.to_string()).and_then(|cgroup| cgroup.remove());
        if let Err(error) = removed {
            tracing::warn!(step = %id.short(), %error, "cannot remove its cgroup");
        }
    }

    /// Ends what runs, and takes it down.
    fn end_step(&self, id: ContainerId, live: LiveStep) {
        if let Err(error) = live.cgroup.kill_all() {
            tracing::warn!(step = %id.short(), %error, "cannot end a build step");
        }
        self.take_step_down(id, live);
    }

    fn take_step_down(&self, id: ContainerId, live: LiveStep) {
        self.leave_networks(id, &live.joined);
        let sandbox = live.joined.sandbox();
        drop(live.joined);
        if let Some(sandbox) = sandbox.and_then(Arc::into_inner) {
            self.network.sandbox_release(sandbox);
        }
        if let Err(error) = live.cgroup.remove() {
            tracing::debug!(step = %id.short(), %error, "cannot remove its cgroup; the next start will");
        }
        let _ = std::fs::remove_dir_all(self.container_files(id));
        self.steps.0.lock().remove(&id);
        if let Err(error) = self.keepers.present().1.acknowledge(Subject::Container(id, 1)) {
            tracing::debug!(step = %id.short(), %error, "cannot acknowledge the end of a build step yet");
        }
    }
}

// The descriptor as a mount of its own.
fn bound(place: &OwnedFd) -> Result<OwnedFd, EngineError> {
    let options = hako_volume::bind::Options { recursive: false, ..hako_volume::bind::Options::default() };
    hako_volume::bind::of(std::os::fd::AsFd::as_fd(place), &options)
        .map_err(|error| EngineError::io("cannot bind what a build step mounts", &error))
}

impl Engine {
    /// What a start wants to know of a container, of one that is none.
    fn step_record(&self, id: ContainerId, spec: &StepSpec) -> Record {
        let config = ImageConfig {
            user: spec.user.clone(),
            env: spec.env.clone(),
            working_dir: spec.working_dir.clone(),
            ..ImageConfig::default()
        };
        let (path, args) =
            spec.argv.split_first().map_or((String::new(), Vec::new()), |(path, args)| (path.clone(), args.to_vec()));
        let endpoints = spec.host.network_mode.network_name();
        // A network may be meant by its id; one that is not there is told when it is joined.
        let endpoints = endpoints.map(|name| match self.networks.find(name) {
            Ok(network) => network.spec.name.clone(),
            Err(_) => name.to_owned(),
        });
        let endpoints = endpoints.map(|name| (name, EndpointRecord::default())).into_iter().collect();
        let mut spec =
            ContainerSpec { host: spec.host.clone(), hostname: spec.hostname.clone(), ..ContainerSpec::default() };
        self.fill_defaults(&mut spec);
        Record {
            version: VERSION,
            id,
            name: format!("build-{}", id.short()),
            created: clock::now(),
            hostname: if spec.hostname.is_empty() { id.short() } else { spec.hostname.clone() },
            spec: Arc::new(spec),
            config: Arc::new(config),
            image: Digest::from_sha256([0; 32]),
            path,
            args,
            mounts: Vec::new(),
            state: StateRecord::default(),
            endpoints,
            published: Vec::new(),
            published_on: None,
            link_env: Vec::new(),
            ids: None,
        }
    }
}
