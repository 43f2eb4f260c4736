//! `ExecOp`: a process in the output of another operation, with others mounted. Each mount that is written to and wanted
//! becomes an output.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use bollard_buildkit_proto::pb::{self, CacheSharingOpt, ExecOp, MountType, NetMode, SecurityMode};
use hako_archive::walk;
use hako_engine::step::{StepSource, StepSpec};
use hako_image::{Draft, StackView};
use hako_model::{Digest, NetworkMode, Platform, Ulimit};
use rustix::fs::OFlags;

use super::{
    Solving, blocking,
    graph::{below, input},
    history,
    run::{Held, Job, Place, give_devices, missing_places, take_places_away},
    stage::PATH,
};
use crate::{
    cache::Key,
    error::BuildError,
    language::{Device, Mount, MountKind, Sharing},
    llb::Node,
};

/// Drafts of outputs, each with what it stands on.
type Drafts = Vec<(i64, Draft, Option<Digest>)>;

impl Solving {
    pub(super) async fn graph_exec(
        &self,
        at: usize,
        node: &Node,
        exec: &ExecOp,
        inputs: &[Option<Digest>],
    ) -> Result<(Vec<Option<Digest>>, bool), BuildError> {
        let meta = exec.meta.clone().unwrap_or_default();
        let root = exec.mounts.iter().find(|mount| mount.dest == "/");
        let root = root.ok_or_else(|| BuildError::invalid("the process of a graph has no root file system"))?;
        let mut key = Key::new("graph exec", &below(input(inputs, root.input)?));
        key.input("command", &history::list(&meta.args));
        key.input("environment", &history::list(&meta.env));
        key.input("user", &meta.user);
        key.input("working directory", &meta.cwd);
        key.input("network", &format!("{} {}", exec.network, exec.security));
        if !exec.cdi_devices.is_empty() {
            key.input("devices", &format!("{:?}", exec.cdi_devices));
        }
        for mount in &exec.mounts {
            let stack = below(input(inputs, mount.input)?);
            let words = format!(
                "{stack} {:?} {} {} {:?} {:?}",
                mount.selector,
                mount.output,
                mount.readonly,
                mount.mount_type(),
                mount.cache_opt
            );
            key.input(&format!("mount at {}", mount.dest), &words);
        }
        for secret in &exec.secretenv {
            key.input("secret in the environment", &format!("{} {}", secret.id, secret.name));
        }
        let wanted = exec.mounts.iter().filter(|mount| mount.output >= 0).map(|mount| mount.output).max();
        let count = wanted.and_then(|last| usize::try_from(last).ok()).map_or(0, |last| last + 1);
        if count > exec.mounts.len() {
            return Err(BuildError::invalid("the process of a graph has more outputs than mounts"));
        }
        let (key, inputs_of_key) = key.finish();
        let made = self.execute_node(at, node, exec, inputs, count);
        self.cached_outputs((key, inputs_of_key), count, &node.name, node.is_fresh, made).await
    }

    async fn execute_node(
        &self,
        at: usize,
        node: &Node,
        exec: &ExecOp,
        inputs: &[Option<Digest>],
        count: usize,
    ) -> Result<Vec<Option<Digest>>, BuildError> {
        self.check_platform(&node.platform.clone().unwrap_or_else(Platform::host))?;
        let meta = exec.meta.clone().unwrap_or_default();
        let job = self.graph_job(exec, &meta, inputs)?;
        let _slot = self.builder.0.slots.acquire().await.map_err(|_| BuildError::Cancelled)?;
        let mut held = self.mounts(Place { stage: 0, line: at }, &job).await?;
        let (mut root, mut drafts) = (None, Drafts::new());
        for mount in exec.mounts.iter().filter(|mount| mount.mount_type() == MountType::Bind) {
            let stack = input(inputs, mount.input)?;
            let is_root = mount.dest == "/";
            let opened = self.graph_mount(mount, stack, &mut held, &mut drafts).await?;
            match is_root {
                true => root = Some(opened),
                false => held.add(&mount.dest, StepSource::Descriptor(opened), mount.readonly),
            }
        }
        let root = root.ok_or_else(|| BuildError::invalid("the process of a graph has no root file system"))?;
        let made_for = drafts.iter().position(|(output, ..)| *output == ROOT);
        let created = made_for.map(|at| missing_places(&drafts[at].1, &held.targets)).unwrap_or_default();
        let mut host = self.request.host.clone();
        host.network_mode = job.network.clone();
        host.privileged = job.insecure;
        if !meta.cgroup_parent.is_empty() {
            host.cgroup_parent.clone_from(&meta.cgroup_parent);
        }
        give_devices(&mut host, job.devices);
        host.extra_hosts.extend(meta.extra_hosts.iter().map(|one| format!("{}:{}", one.host, one.ip)));
        let limit = |one: &pb::Ulimit| Ulimit { name: one.name.clone(), soft: one.soft, hard: one.hard };
        host.limits.ulimits.extend(meta.ulimit.iter().map(limit));
        let hostname = if meta.hostname.is_empty() { self.hostname() } else { meta.hostname.clone() };
        let spec = StepSpec {
            root,
            argv: job.argv.clone(),
            env: job.env.into_iter().chain(job.predefined).chain(std::mem::take(&mut held.env)).collect(),
            working_dir: meta.cwd.clone(),
            user: meta.user.clone(),
            hostname,
            host,
            mounts: std::mem::take(&mut held.mounts),
        };
        self.run_step(at, spec, &job.argv.join(" "), &meta.valid_exit_codes).await?;
        if let Some(at) = made_for {
            take_places_away(&drafts[at].1, &created);
        }
        drop(held);
        let root_output = exec.mounts.iter().find(|mount| mount.dest == "/").map_or(-1, |mount| mount.output);
        self.graph_outputs(exec, inputs, drafts, root_output, count).await
    }

    // What mounts became, by the number of the output. What nobody wrote to is what it was.
    async fn graph_outputs(
        &self,
        exec: &ExecOp,
        inputs: &[Option<Digest>],
        drafts: Drafts,
        root_output: i64,
        count: usize,
    ) -> Result<Vec<Option<Digest>>, BuildError> {
        let mut outputs = vec![None; count];
        for mount in exec.mounts.iter().filter(|mount| mount.output >= 0) {
            let at = usize::try_from(mount.output).unwrap_or_default();
            outputs[at] = input(inputs, mount.input)?;
        }
        for (output, draft, stack) in drafts {
            let Ok(at) = usize::try_from(if output == ROOT { root_output } else { output }) else { continue };
            let (store, hold, limit) = (self.store().clone(), self.hold.clone(), self.times_limit());
            let finished = blocking(move || store.draft_finish(draft, stack, &hold, limit)).await?;
            outputs[at] = finished.or(stack);
        }
        Ok(outputs)
    }

    async fn graph_mount(
        &self,
        mount: &pb::Mount,
        stack: Option<Digest>,
        held: &mut Held,
        drafts: &mut Drafts,
    ) -> Result<OwnedFd, BuildError> {
        let is_root = mount.dest == "/";
        let failed =
            |source| BuildError::Io { what: format!("cannot mount {:?} at {}", mount.selector, mount.dest), source };
        if !is_root && mount.readonly {
            let view: Arc<StackView> = Arc::new(self.store().stack_view(stack)?);
            let opened = walk::open_in_root(view.as_fd(), mount.selector.as_bytes(), OFlags::PATH).map_err(failed)?;
            held.views.push(view);
            return Ok(opened);
        }
        let store = self.store().clone();
        let draft = blocking(move || store.draft(stack, is_root)).await?;
        let opened = match is_root {
            true => draft.as_fd().try_clone_to_owned().map_err(failed)?,
            false => walk::open_in_root(draft.as_fd(), mount.selector.as_bytes(), OFlags::PATH).map_err(failed)?,
        };
        match (is_root, mount.output) {
            (true, _) => drafts.push((ROOT, draft, stack)),
            (false, output) if output >= 0 => drafts.push((output, draft, stack)),
            // What is written into it is gone with it.
            (false, _) => held.drafts.push(draft),
        }
        Ok(opened)
    }

    fn graph_job(&self, exec: &ExecOp, meta: &pb::Meta, inputs: &[Option<Digest>]) -> Result<Job, BuildError> {
        let wish = |one: &pb::CdiDevice| Device { name: one.name.clone(), required: !one.optional };
        let devices = self.granted(&exec.cdi_devices.iter().map(wish).collect::<Vec<_>>())?;
        let network = match exec.network() {
            NetMode::Unset => self.request.host.network_mode.clone(),
            NetMode::None => NetworkMode::None,
            NetMode::Host if self.request.allow_host_network => NetworkMode::Host,
            NetMode::Host => return Err(BuildError::invalid("network.host is not allowed")),
        };
        let insecure = exec.security() == SecurityMode::Insecure;
        if insecure && !self.request.allow_insecure {
            return Err(BuildError::invalid("security.insecure is not allowed"));
        }
        let (mut mounts, mut begins) = (Vec::new(), BTreeMap::new());
        for mount in &exec.mounts {
            let stack = input(inputs, mount.input)?;
            if mount.mount_type() == MountType::Cache {
                begins.extend(stack.map(|stack| (mount.dest.clone(), stack)));
            }
            mounts.extend(graph_mount_of(mount, stack));
        }
        let secret = |one: &pb::SecretEnv| Mount {
            id: Some(one.id.clone()),
            env: Some(one.name.clone()),
            required: !one.optional,
            ..Mount::new(MountKind::Secret, "")
        };
        mounts.extend(exec.secretenv.iter().map(secret));
        let (argv, mut env) = (meta.args.clone(), meta.env.clone());
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            env.push(PATH.to_owned());
        }
        let predefined = meta.proxy_env.as_ref().map(proxies).unwrap_or_default();
        Ok(Job { argv, env, predefined, mounts, script: None, network, insecure, devices, begins })
    }
}

/// Stands for the root among the outputs, whatever its number.
const ROOT: i64 = i64::MAX;

// Both spellings of each, as nothing agrees on one.
fn proxies(proxy: &pb::ProxyEnv) -> Vec<String> {
    let all = [
        ("http_proxy", &proxy.http_proxy),
        ("https_proxy", &proxy.https_proxy),
        ("ftp_proxy", &proxy.ftp_proxy),
        ("no_proxy", &proxy.no_proxy),
        ("all_proxy", &proxy.all_proxy),
    ];
    let said = all.into_iter().filter(|(_, value)| !value.is_empty());
    said.flat_map(|(name, value)| [format!("{}={value}", name.to_uppercase()), format!("{name}={value}")]).collect()
}

// Mounts that are no output of another operation, in the words of RUN --mount. A cache that begins with files is
// another one than one that begins with others.
fn graph_mount_of(mount: &pb::Mount, stack: Option<Digest>) -> Option<Mount> {
    let one = |kind| Mount::new(kind, &mount.dest);
    Some(match mount.mount_type() {
        MountType::Bind => return None,
        MountType::Cache => {
            let options = mount.cache_opt.clone().unwrap_or_default();
            let sharing = match options.sharing() {
                CacheSharingOpt::Shared => Sharing::Shared,
                CacheSharingOpt::Private => Sharing::Private,
                CacheSharingOpt::Locked => Sharing::Locked,
            };
            let files = stack.map(|stack| format!(" {stack}")).unwrap_or_default();
            let (id, source) = (Some(format!("{}{files}", options.id)), mount.selector.clone());
            Mount { id, sharing, source, read_only: Some(mount.readonly), ..one(MountKind::Cache) }
        }
        MountType::Tmpfs => {
            let size = mount.tmpfs_opt.as_ref().and_then(|options| u64::try_from(options.size).ok());
            Mount { size: size.filter(|size| *size > 0), ..one(MountKind::Tmpfs) }
        }
        MountType::Secret => {
            let options = mount.secret_opt.clone().unwrap_or_default();
            let (id, required) = (Some(options.id), !options.optional);
            let mode = Some(options.mode & 0o7777).filter(|mode| *mode != 0);
            Mount { id, required, mode, uid: options.uid, gid: options.gid, ..one(MountKind::Secret) }
        }
        MountType::Ssh => {
            let options = mount.ssh_opt.clone().unwrap_or_default();
            let (id, required) = (Some(options.id).filter(|id| !id.is_empty()), !options.optional);
            let mode = Some(options.mode & 0o7777).filter(|mode| *mode != 0);
            Mount { id, required, mode, uid: options.uid, gid: options.gid, ..one(MountKind::Ssh) }
        }
    })
}
