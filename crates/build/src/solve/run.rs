//! `RUN`: a process in a draft of the next layer, with what is mounted for it alone.
//!
//! Mount points that had to be made for a mount are taken away afterwards: nothing of a mount is in the layer, not
//! even its place. Secrets are in memory while the step runs and part of no key, layer or message.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use hako_archive::{CopyOptions, Keep, TreeDigest, walk};
use hako_engine::{
    step::{StepMount, StepSource, StepSpec},
    view::OutputStream,
};
use hako_image::{Draft, Hold, StackView};
use hako_model::{Digest, HostSpec, NetworkMode, Platform, container::DeviceRequest};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use tokio::sync::OwnedMutexGuard;

use super::{
    Solving, blocking,
    copy::Root,
    history,
    stage::{Done, State},
};
use crate::{
    cache::{Hasher, Key},
    context::Context,
    error::BuildError,
    event::Event,
    language::{self, Command, Device, Heredoc, Instruction, Mount, MountKind, Network, RunFlags, Sharing},
    plan::platform_text,
    request::AgentSocket,
};

/// Where in the Dockerfile a step is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) stage: usize,
    pub(super) line: usize,
}

/// One step, with every variable replaced.
pub(super) struct Job {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<String>,
    /// Further variables, which no result depends on.
    pub(super) predefined: Vec<String>,
    pub(super) mounts: Vec<Mount>,
    pub(super) script: Option<(String, String)>,
    pub(super) network: NetworkMode,
    pub(super) insecure: bool,
    /// Devices by their full names.
    pub(super) devices: Vec<String>,
    /// What new cache mounts begin with, by their target, where that has no name.
    pub(super) begins: BTreeMap<String, Digest>,
}

impl Job {
    /// What a step depends on besides files.
    pub(super) fn words(&self, state: &State, flags: &RunFlags, key: &mut Key) {
        key.input("command", &history::list(&self.argv));
        key.input("script", &format!("{:?}", self.script));
        key.input("environment", &history::list(&self.env));
        key.input("user", &state.config.user);
        key.input("working directory", &state.config.working_dir);
        key.input("network", &format!("{:?} {}", self.network, self.insecure));
        key.input("mounts", &history::list(&flags.mounts));
        if !self.devices.is_empty() {
            key.input("devices", &history::list(&self.devices));
        }
        // The same program may do something else on another machine.
        if state.platform.architecture != Platform::host().architecture {
            key.input("platform", &platform_text(&state.platform));
        }
    }
}

/// What lives as long as a step runs.
#[derive(Default)]
pub(super) struct Held {
    pub(super) mounts: Vec<StepMount>,
    pub(super) env: Vec<String>,
    /// Roots that mounts are parts of.
    pub(super) views: Vec<Arc<StackView>>,
    pub(super) drafts: Vec<Draft>,
    locks: Vec<OwnedMutexGuard<()>>,
    secrets: Option<SecretDir>,
    agents: Vec<AgentSocket>,
    /// Where mounts go, for the taking away of their places.
    pub(super) targets: Vec<String>,
}

/// A directory in memory; dropping it removes it.
struct SecretDir(PathBuf);

impl Drop for SecretDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Solving {
    pub(super) async fn run(
        &self,
        index: usize,
        state: &State,
        instruction: &Instruction,
        flags: &RunFlags,
        command: &Command,
        heredocs: &[Heredoc],
    ) -> Result<Done, BuildError> {
        let job = self.job_of(state, flags, command, heredocs)?;
        let at = Place { stage: index, line: instruction.lines.0 };
        let mut key = Key::new("run", &state.below());
        job.words(state, flags, &mut key);
        let caches = job.mounts.iter().filter(|mount| mount.kind == MountKind::Cache);
        self.trail.lock().mounts.extend(caches.map(|mount| self.cache_name(mount)));
        for mount in job.mounts.iter().filter(|mount| mount.kind == MountKind::Bind) {
            let digest = self.bind_digest(at, mount).await?;
            key.input(&format!("files of the mount at {}", mount.target), &digest.to_string());
        }
        let description = format!("RUN {}", history::command(command, &state.shell()));
        self.cached(key, state, &description, self.is_fresh(index), |hold: Arc<Hold>| {
            self.execute(at, state, job, hold)
        })
        .await
    }

    pub(super) fn job_of(
        &self,
        state: &State,
        flags: &RunFlags,
        command: &Command,
        heredocs: &[Heredoc],
    ) -> Result<Job, BuildError> {
        let devices = self.devices(state, flags)?;
        let mut mounts = Vec::new();
        for text in &flags.mounts {
            let mut mount = Mount::parse(&state.expand(text)?).map_err(BuildError::invalid)?;
            if !mount.target.is_empty() {
                mount.target = state.absolute(&mount.target);
            }
            mounts.push(mount);
        }
        let mut env = state.config.env.clone();
        for (name, value) in &state.arguments {
            if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
                env.push(format!("{name}={value}"));
            }
        }
        let is_set = |name: &str| env.iter().any(|entry: &String| entry.split('=').next() == Some(name));
        let predefined = state.predefined.iter().filter(|(name, _)| !is_set(name));
        let predefined = predefined.map(|(name, value)| format!("{name}={value}")).collect();
        let network = match flags.network {
            Network::Default => self.request.host.network_mode.clone(),
            Network::None => NetworkMode::None,
            Network::Host if self.request.allow_host_network => NetworkMode::Host,
            Network::Host => {
                return Err(BuildError::invalid("network.host is not allowed: the build needs --allow network.host"));
            }
        };
        if flags.insecure && !self.request.allow_insecure {
            return Err(BuildError::invalid(
                "security.insecure is not allowed: the build needs --allow security.insecure",
            ));
        }
        let (argv, script) = words(state, command, heredocs);
        Ok(Job {
            argv,
            env,
            predefined,
            mounts,
            script,
            network,
            insecure: flags.insecure,
            devices,
            begins: BTreeMap::new(),
        })
    }

    // By their full names. One that is not required may be missing.
    fn devices(&self, state: &State, flags: &RunFlags) -> Result<Vec<String>, BuildError> {
        let wishes = flags.devices.iter().map(|text| Device::parse(&state.expand(text)?).map_err(BuildError::invalid));
        self.granted(&wishes.collect::<Result<Vec<_>, _>>()?)
    }

    /// The devices that a step may have of those that it wishes for.
    pub(super) fn granted(&self, wishes: &[Device]) -> Result<Vec<String>, BuildError> {
        let mut names = Vec::new();
        for wish in wishes {
            let found = self.builder.engine().step_devices(&wish.name);
            if found.is_empty() && wish.required {
                return Err(BuildError::invalid(format!(
                    "required device {:?} is not described by any file of the daemon's CDI folders",
                    wish.name
                )));
            }
            if let Some(closed) = found.iter().find(|one| !one.is_open && !self.request.devices.allows(&one.name)) {
                let name = &closed.name;
                return Err(BuildError::invalid(format!(
                    "device {name} is not allowed: the build needs --allow device={name} (or --allow device)"
                )));
            }
            names.extend(found.into_iter().map(|one| one.name));
        }
        Ok(names)
    }

    /// The digest of what a mount brings. The build's own context is read once, however often it is mounted.
    pub(super) async fn bind_digest(&self, at: Place, mount: &Mount) -> Result<Digest, BuildError> {
        if mount.from.is_some() {
            return self.bind_files(at, mount).await;
        }
        let known = self.foresight.files(format!("mount of {:?}", mount.source));
        Ok(*known.get_or_try_init(|| self.bind_files(at, mount)).await?)
    }

    async fn bind_files(&self, at: Place, mount: &Mount) -> Result<Digest, BuildError> {
        let source = self.bind_source(at, mount).await?;
        let path = mount.source.clone();
        blocking(move || {
            let keep = |_: &[u8], _: bool| Keep::Yes;
            let options = CopyOptions { owner: None, mode: None, keep: &keep };
            let mut hasher = Hasher::default();
            let mut feed = |bytes: &[u8]| hasher.update(bytes);
            let mut digest = TreeDigest::new(&options, &mut feed);
            let failed = |source| BuildError::Io { what: format!("cannot read {path:?}"), source };
            let flags = OFlags::PATH;
            let place = walk::open_in_root(source.as_fd(), path.as_bytes(), flags).map_err(failed)?;
            let stat = rustix::fs::fstat(&place).map_err(|error| failed(error.into()))?;
            if walk::file_type(&stat) == rustix::fs::FileType::Directory {
                let below = walk::open_in_root(source.as_fd(), path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
                digest.contents(below.map_err(failed)?.as_fd(), b"").map_err(failed)?;
            } else {
                let (above, leaf) = path.rsplit_once('/').unwrap_or(("", &path));
                let parent = walk::open_in_root(source.as_fd(), above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
                digest.leaf(parent.map_err(failed)?.as_fd(), leaf.as_bytes(), path.as_bytes()).map_err(failed)?;
            }
            Ok(hasher.finish())
        })
        .await
    }

    async fn bind_source(&self, at: Place, mount: &Mount) -> Result<Source, BuildError> {
        match &mount.from {
            None => Ok(Source::Context(self.request.context.clone())),
            Some(from) => match self.request.contexts.get(&from.to_lowercase()) {
                Some(context) => Ok(Source::Context(context.clone())),
                None => {
                    let stack = self.stack_of(at.stage, from, at.line).await?;
                    Ok(Source::Stack(Arc::new(self.store().stack_view(stack)?), stack))
                }
            },
        }
    }

    async fn execute(&self, at: Place, state: &State, job: Job, hold: Arc<Hold>) -> Result<Option<Digest>, BuildError> {
        self.check_platform(&state.platform)?;
        let _slot = self.builder.0.slots.acquire().await.map_err(|_| BuildError::Cancelled)?;
        let (store, stack) = (self.store().clone(), state.stack);
        let draft = blocking(move || store.draft(stack, true)).await?;
        let mut held = self.mounts(at, &job).await?;
        let created = missing_places(&draft, &held.targets);
        let root = draft.as_fd().try_clone_to_owned().map_err(BuildError::io("cannot copy a descriptor"))?;
        let mut host = self.request.host.clone();
        host.network_mode = job.network.clone();
        host.privileged = job.insecure;
        give_devices(&mut host, job.devices);
        let command = job.argv.join(" ");
        let spec = StepSpec {
            root,
            argv: job.argv,
            env: job.env.into_iter().chain(job.predefined).chain(std::mem::take(&mut held.env)).collect(),
            working_dir: state.config.working_dir.clone(),
            user: state.config.user.clone(),
            hostname: self.hostname(),
            host,
            mounts: std::mem::take(&mut held.mounts),
        };
        self.run_step(at.line, spec, &command, &[]).await?;
        take_places_away(&draft, &created);
        drop(held);
        let (store, limit) = (self.store().clone(), self.times_limit());
        blocking(move || Ok(store.draft_finish(draft, stack, &hold, limit)?.or(stack))).await
    }

    /// Runs a process to its end; `codes` are those that mean it went well, 0 if there are none.
    pub(super) async fn run_step(
        &self,
        line: usize,
        spec: StepSpec,
        command: &str,
        codes: &[i32],
    ) -> Result<(), BuildError> {
        let id = self.vertex(line).map_or(0, |vertex| vertex.id);
        self.run_as(id, spec, command, codes).await
    }

    /// The same, as the step with this id.
    pub(super) async fn run_as(&self, id: u64, spec: StepSpec, command: &str, codes: &[i32]) -> Result<(), BuildError> {
        let mut step = self.builder.engine().step_start(spec).await?;
        while let Some(chunk) = step.output().await {
            if self.progress.is_closed() {
                return Err(BuildError::Cancelled);
            }
            self.progress.log(id, chunk.stream == OutputStream::Stderr, chunk.bytes).await;
        }
        let (code, out_of_memory) = step.wait().await;
        let is_well = if codes.is_empty() { code == 0 } else { codes.contains(&code) };
        if is_well {
            return Ok(());
        }
        if out_of_memory {
            self.progress.log(id, true, "the kernel ended the step: it used more memory than there is\n").await;
        }
        Err(BuildError::Command { command: command.to_owned(), code })
    }

    pub(super) fn check_platform(&self, platform: &Platform) -> Result<(), BuildError> {
        if self.builder.engine().step_runs(platform) {
            return Ok(());
        }
        let (wanted, host) = (platform_text(platform), platform_text(&Platform::host()));
        Err(BuildError::invalid(format!(
            "RUN cannot be done for {wanted}: this machine is {host}, and its kernel has no interpreter for such programs \
             (binfmt_misc, flag F); register one, or do the step in a stage of FROM --platform=$BUILDPLATFORM"
        )))
    }

    pub(super) fn hostname(&self) -> String {
        let asked = self.request.arguments.get("BUILDKIT_SANDBOX_HOSTNAME").cloned().flatten();
        asked.unwrap_or_else(|| "buildkitsandbox".to_owned())
    }

    pub(super) async fn mounts(&self, at: Place, job: &Job) -> Result<Held, BuildError> {
        let mut held = Held::default();
        for mount in &job.mounts {
            match mount.kind {
                MountKind::Bind => self.bind(at, mount, &mut held).await?,
                MountKind::Cache => {
                    let begins = job.begins.get(&mount.target).copied();
                    self.cache_mount(at, mount, begins, &mut held).await?;
                }
                MountKind::Tmpfs => {
                    held.add(&mount.target, StepSource::Tmpfs { size_bytes: mount.size }, false);
                }
                MountKind::Secret => self.secret(mount, &mut held).await?,
                MountKind::Ssh => self.agent(mount, &mut held).await?,
            }
        }
        if let Some((name, script)) = &job.script {
            let file = held.file(&self.builder.engine().secrets_root(), script.as_bytes(), 0o755, (0, 0))?;
            held.add(&format!("/dev/pipes/{name}"), StepSource::Descriptor(file), true);
        }
        Ok(held)
    }

    async fn bind(&self, at: Place, mount: &Mount, held: &mut Held) -> Result<(), BuildError> {
        let source = self.bind_source(at, mount).await?;
        let writable = mount.read_only == Some(false);
        let missing = |source| BuildError::Io { what: format!("cannot mount {:?}", mount.source), source };
        let opened = match &source {
            // What a step writes into a mount is gone with it, and nobody else sees it.
            Source::Stack(_, stack) if writable => {
                let draft = self.store().draft(*stack, false)?;
                let opened = walk::open_in_root(draft.as_fd(), mount.source.as_bytes(), OFlags::PATH);
                held.drafts.push(draft);
                opened
            }
            Source::Context(context) if writable => {
                let stack = self.context_stack(Root::Context(context.clone()), ".", false).await?.0;
                let draft = self.store().draft(stack, false)?;
                let opened = walk::open_in_root(draft.as_fd(), mount.source.as_bytes(), OFlags::PATH);
                held.drafts.push(draft);
                opened
            }
            other => walk::open_in_root(other.as_fd(), mount.source.as_bytes(), OFlags::PATH),
        };
        held.add(&mount.target, StepSource::Descriptor(opened.map_err(missing)?), !writable);
        if let Source::Stack(view, _) = source {
            held.views.push(view);
        }
        Ok(())
    }

    async fn cache_mount(
        &self,
        at: Place,
        mount: &Mount,
        begins: Option<Digest>,
        held: &mut Held,
    ) -> Result<(), BuildError> {
        let id = mount.id.clone().unwrap_or_else(|| mount.target.clone());
        let mut name = self.cache_name(mount);
        match mount.sharing {
            Sharing::Shared => {}
            Sharing::Locked => held.locks.push(self.lock(&name).await.lock_owned().await),
            Sharing::Private => {
                // The first that is free; a new one if all are taken.
                for number in 0.. {
                    let candidate = if number == 0 { name.clone() } else { format!("{name}-{number}") };
                    if let Ok(guard) = self.lock(&candidate).await.try_lock_owned() {
                        held.locks.push(guard);
                        name = candidate;
                        break;
                    }
                }
            }
        }
        let directory = self.builder.0.cache.mounts.join(&name);
        let is_new = !directory.exists();
        let failed = |source| BuildError::Io { what: format!("cannot make the cache mount {id}"), source };
        if is_new {
            std::fs::create_dir_all(&directory).map_err(failed)?;
            let opened = walk::open_trusted(&directory).map_err(failed)?;
            let own = || -> std::io::Result<()> {
                rustix::fs::fchown(&opened, Some(Uid::from_raw(mount.uid)), Some(Gid::from_raw(mount.gid)))?;
                Ok(rustix::fs::fchmod(&opened, Mode::from_raw_mode(mount.mode.unwrap_or(0o755)))?)
            };
            own().map_err(failed)?;
            let is_filled = self.fill_from_depots(&name, &opened).await;
            match begins {
                _ if is_filled => {}
                Some(_) => {
                    let view = Arc::new(self.store().stack_view(begins)?);
                    fill_cache(Source::Stack(view, begins), String::new(), opened).await?;
                }
                None if mount.from.is_some() => {
                    fill_cache(self.bind_source(at, mount).await?, mount.source.clone(), opened).await?;
                }
                None => {}
            }
        }
        let opened = rustix::fs::open(&directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let opened = opened.map_err(|error| failed(error.into()))?;
        let opened = match mount.source.as_str() {
            "" => opened,
            // With `from`, the source was a path there.
            _ if mount.from.is_some() => opened,
            below => walk::open_in_root(opened.as_fd(), below.as_bytes(), OFlags::PATH).map_err(failed)?,
        };
        held.add(&mount.target, StepSource::Descriptor(opened), mount.read_only == Some(true));
        Ok(())
    }

    // The directory that keeps the files of a cache mount: the same name on every machine.
    fn cache_name(&self, mount: &Mount) -> String {
        let namespace = self.request.arguments.get("BUILDKIT_CACHE_MOUNT_NS").cloned().flatten().unwrap_or_default();
        let id = mount.id.as_ref().unwrap_or(&mount.target);
        let name = crate::cache::digest(format!("{namespace} {id}").as_bytes()).hex();
        name.chars().take(32).collect()
    }

    // A new cache begins with what another machine has left of it.
    async fn fill_from_depots(&self, name: &str, directory: &OwnedFd) -> bool {
        for depot in &self.request.depots {
            let filled = match directory.try_clone() {
                Ok(directory) => depot.fill(name, directory).await,
                Err(error) => Err(error.to_string()),
            };
            match filled {
                Ok(true) => return true,
                Ok(false) => {}
                Err(why) => {
                    let text = format!("a cache mount in the cache of {} cannot be used: {why}", depot.name());
                    self.progress.tell(Event::Warning { line: 0, text }).await;
                }
            }
        }
        false
    }

    async fn lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.builder.0.locks.lock().await.entry(name.to_owned()).or_default().clone()
    }

    async fn secret(&self, mount: &Mount, held: &mut Held) -> Result<(), BuildError> {
        let from_target = || mount.target.rsplit('/').next().unwrap_or_default().to_owned();
        let id = match (&mount.id, mount.source.as_str()) {
            (Some(id), _) => id.clone(),
            (None, "") => from_target(),
            (None, source) => source.to_owned(),
        };
        let found = self.request.secrets.secret(&id).await.map_err(BuildError::invalid)?;
        let Some(bytes) = found else {
            if mount.required {
                return Err(BuildError::invalid(format!("secret {id}: not found")));
            }
            return Ok(());
        };
        if let Some(name) = &mount.env {
            let value = String::from_utf8_lossy(&bytes);
            held.env.push(format!("{name}={value}"));
            if mount.target.is_empty() {
                return Ok(());
            }
        }
        let target = if mount.target.is_empty() { format!("/run/secrets/{id}") } else { mount.target.clone() };
        let owner = (mount.uid, mount.gid);
        let root = self.builder.engine().secrets_root();
        let file = held.file(&root, &bytes, mount.mode.unwrap_or(0o400), owner)?;
        held.add(&target, StepSource::Descriptor(file), true);
        Ok(())
    }

    async fn agent(&self, mount: &Mount, held: &mut Held) -> Result<(), BuildError> {
        let id = mount.id.clone().unwrap_or_else(|| "default".to_owned());
        let failed = || BuildError::io("cannot mount the SSH agent's socket");
        let path = held.directory(&self.builder.engine().secrets_root())?.join(hako_base::random::hex(8));
        let found = self.request.secrets.agent(&id, path.clone()).await.map_err(BuildError::invalid)?;
        let Some(agent) = found else {
            if mount.required {
                return Err(BuildError::invalid(format!("unset ssh forward key {id}")));
            }
            return Ok(());
        };
        held.agents.push(agent);
        let own = || -> std::io::Result<OwnedFd> {
            let (uid, gid) = (Uid::from_raw(mount.uid), Gid::from_raw(mount.gid));
            rustix::fs::chown(&path, Some(uid), Some(gid))?;
            rustix::fs::chmod(&path, Mode::from_raw_mode(mount.mode.unwrap_or(0o600)))?;
            Ok(rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
        };
        let opened = own().map_err(failed())?;
        let number = held.env.iter().filter(|entry| entry.starts_with("SSH_AUTH_SOCK=")).count();
        let default = format!("/run/buildkit/ssh_agent.{number}");
        let target = if mount.target.is_empty() { default } else { mount.target.clone() };
        held.env.push(format!("SSH_AUTH_SOCK={target}"));
        held.add(&target, StepSource::Descriptor(opened), false);
        Ok(())
    }
}

/// Where the files of a mount are.
enum Source {
    Context(Arc<Context>),
    Stack(Arc<StackView>, Option<Digest>),
}

impl AsFd for Source {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Context(context) => context.as_fd(),
            Self::Stack(view, _) => view.as_fd(),
        }
    }
}

// A new cache begins with what is there.
async fn fill_cache(source: Source, path: String, directory: OwnedFd) -> Result<(), BuildError> {
    blocking(move || {
        let failed = |source| BuildError::Io { what: format!("cannot fill a cache mount from {path:?}"), source };
        let below = walk::open_in_root(source.as_fd(), path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        let keep = |_: &[u8], _: bool| Keep::Yes;
        let options = CopyOptions { owner: None, mode: None, keep: &keep };
        let mut copier = hako_archive::Copier::new(directory.as_fd(), &options);
        copier.contents(below.map_err(failed)?.as_fd(), b"", b"").map_err(failed)?;
        copier.finish().map_err(failed)
    })
    .await
}

impl Held {
    pub(super) fn add(&mut self, target: &str, source: StepSource, read_only: bool) {
        self.targets.push(target.to_owned());
        self.mounts.push(StepMount { target: target.to_owned(), source, read_only });
    }

    /// A directory in memory for as long as the step runs.
    fn directory(&mut self, root: &std::path::Path) -> Result<PathBuf, BuildError> {
        if let Some(directory) = &self.secrets {
            return Ok(directory.0.clone());
        }
        let failed = || BuildError::io("cannot make a directory for secrets");
        let path = root.join(hako_base::random::hex(8));
        hako_base::file::make_dir(root, 0o700).map_err(failed())?;
        hako_base::file::make_dir(&path, 0o700).map_err(failed())?;
        self.secrets = Some(SecretDir(path.clone()));
        Ok(path)
    }

    /// A file in memory for as long as the step runs.
    fn file(
        &mut self,
        root: &std::path::Path,
        bytes: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<OwnedFd, BuildError> {
        let failed = || BuildError::io("cannot put a secret into memory");
        let directory = self.directory(root)?;
        let directory = walk::open_trusted(&directory).map_err(failed())?;
        let name = hako_base::random::hex(8);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let write = || -> std::io::Result<OwnedFd> {
            let file = rustix::fs::openat(&directory, &name, flags, Mode::from_raw_mode(0o600))?;
            let mut rest = bytes;
            while !rest.is_empty() {
                let count = rustix::io::write(&file, rest)?;
                rest = &rest[count..];
            }
            rustix::fs::fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            Ok(rustix::fs::openat(&directory, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
        };
        write().map_err(failed())
    }
}

// The words of the command; a script of its own when the here-document is the whole command.
fn words(state: &State, command: &Command, heredocs: &[Heredoc]) -> (Vec<String>, Option<(String, String)>) {
    let Command::Shell(text) = command else { return (state.argv(command), None) };
    let Some(first) = heredocs.first() else { return (state.argv(command), None) };
    let is_alone = language::announced(text.trim()).is_some();
    if !is_alone {
        let whole = language::with_documents(text, heredocs);
        return (state.argv(&Command::Shell(whole)), None);
    }
    if first.content.starts_with("#!") {
        let path = format!("/dev/pipes/{}", first.name);
        return (vec![path], Some((first.name.clone(), first.content.clone())));
    }
    (state.argv(&Command::Shell(first.content.clone())), None)
}

pub(super) fn give_devices(host: &mut HostSpec, ids: Vec<String>) {
    if !ids.is_empty() {
        host.device_requests.push(DeviceRequest { driver: "cdi".to_owned(), ids, ..DeviceRequest::default() });
    }
}

/// The command as histories have it.
pub(super) fn told(state: &State, command: &Command, heredocs: &[Heredoc]) -> String {
    let (argv, script) = words(state, command, heredocs);
    let shell = if script.is_some() { state.shell() } else { Vec::new() };
    shell.into_iter().chain(argv).collect::<Vec<_>>().join(" ")
}

// Which of the places of mounts, and of the directories above them, are not there yet: deepest last.
pub(super) fn missing_places(draft: &Draft, targets: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for target in targets {
        let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty()).collect();
        for end in 1..=parts.len() {
            let path = parts[..end].join("/");
            let is_there = walk::open_in_root(draft.as_fd(), path.as_bytes(), OFlags::PATH).is_ok();
            if !is_there && !missing.contains(&path) {
                missing.push(path);
            }
        }
    }
    missing
}

// Takes them away again if nothing was put there.
pub(super) fn take_places_away(draft: &Draft, missing: &[String]) {
    for path in missing.iter().rev() {
        let (above, leaf) = path.rsplit_once('/').unwrap_or(("", path));
        let Ok(parent) = walk::open_in_root(draft.as_fd(), above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) else {
            continue;
        };
        let Ok(Some(stat)) = walk::stat_leaf(parent.as_fd(), leaf.as_bytes()) else { continue };
        let is_directory = walk::file_type(&stat) == rustix::fs::FileType::Directory;
        // A directory goes only if it is empty; a file only if it still is the empty one that was made.
        if is_directory {
            let _ = rustix::fs::unlinkat(&parent, leaf, AtFlags::REMOVEDIR);
        } else if stat.st_size == 0 {
            let _ = rustix::fs::unlinkat(&parent, leaf, AtFlags::empty());
        }
    }
}
