//! `exec`: further processes in a running container.
//!
//! An exec is first described (`create`), then started once. It lives as long as its container; after
//! its end it is remembered for `inspect`, the oldest being forgotten first.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use hako_keeper::{ExitStatus, KeeperError, RingEnds, StdioSpec, Subject};
use hako_model::{ContainerState, ExecId};
use hako_runtime::{
    plan::{ExecPlan, Process},
    user::User,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::{
    Engine, EngineError,
    container::output::pump_exec,
    limits,
    record::Record,
    stdio::{Listeners, Stdin, StdinSlot, StdinWriter, open_stdin},
    succession::Lifeline,
    table::Container,
    view::{Attachment, ExecSpec, ExecView},
};

/// All execs of all containers.
#[derive(Default)]
pub(crate) struct Execs(RwLock<HashMap<ExecId, Arc<Exec>>>);

/// One exec.
pub(crate) struct Exec {
    pub(crate) id: ExecId,
    container: Arc<Container>,
    spec: ExecSpec,
    state: Mutex<State>,
    listeners: Arc<Listeners>,
    stdin: StdinSlot,
    drained: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    started: bool,
    running: bool,
    pid: u32,
    exit_code: Option<i32>,
    pty: Option<OwnedFd>,
    /// What the next keeper needs if this one dies, for as long as it runs.
    life: Option<(Arc<OwnedFd>, RingEnds)>,
}

impl Exec {
    pub(crate) fn is_running(&self) -> bool {
        self.state.lock().running
    }

    /// Its standard input always ends with the daemon.
    pub(crate) fn lifeline(&self) -> Option<Lifeline> {
        let cgroup = self.container.live.lock().as_ref()?.cgroup.join_plan();
        let state = self.state.lock();
        let (pidfd, ring) = state.life.clone()?;
        Some(Lifeline {
            subject: Subject::Exec(self.id),
            pid: state.pid,
            pidfd,
            ring,
            pty: state.pty.as_ref().and_then(|pty| pty.try_clone().ok()),
            stdin: None,
            wants_stdin: self.spec.attach_stdin,
            non_blocking_output: false,
            cgroup,
            sandbox: None,
        })
    }

    fn check_startable(&self) -> Result<(), EngineError> {
        if self.state.lock().started {
            return Err(EngineError::conflict(format!("Error: Exec command {} is already running", self.id)));
        }
        let record = self.container.record();
        if record.state.status == ContainerState::Paused {
            return Err(EngineError::conflict(format!(
                "Container {} is paused, unpause the container before exec",
                record.id
            )));
        }
        Ok(())
    }

    /// An exec is started once.
    fn claim(&self) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        if state.started {
            return Err(EngineError::conflict(format!("Error: Exec command {} is already running", self.id)));
        }
        state.started = true;
        state.running = true;
        Ok(())
    }
}

impl Execs {
    fn find(&self, id: &str) -> Result<Arc<Exec>, EngineError> {
        let missing = || EngineError::NoExec { name: id.to_owned() };
        let id: ExecId = id.parse().map_err(|_| missing())?;
        self.0.read().get(&id).cloned().ok_or_else(missing)
    }

    /// Those of all that run.
    pub(crate) fn lifelines(&self) -> Vec<Lifeline> {
        self.0.read().values().filter_map(|exec| exec.lifeline()).collect()
    }

    pub(crate) fn get(&self, id: ExecId) -> Option<Arc<Exec>> {
        self.0.read().get(&id).cloned()
    }
}

impl Engine {
    /// Describes a process to be started in a running container.
    ///
    /// # Errors
    /// No such container, one that does not run or is paused, or no command.
    pub async fn exec_create(&self, name: &str, mut spec: ExecSpec) -> Result<ExecId, EngineError> {
        let container = self.containers.find(name)?;
        let record = container.record();
        if spec.argv.is_empty() {
            return Err(EngineError::invalid("No exec command specified"));
        }
        match record.state.status {
            ContainerState::Running => {}
            ContainerState::Paused => {
                return Err(EngineError::conflict(format!(
                    "Container {} is paused, unpause the container before exec",
                    record.name
                )));
            }
            _ => return Err(EngineError::conflict(format!("container {} is not running", record.id))),
        }
        if spec.user.is_empty() {
            spec.user.clone_from(&record.config.user);
        } else if spec.user.bytes().any(|byte| !byte.is_ascii_digit()) {
            // As Docker since 28: before anybody attaches. Who is meant is looked up again at the start.
            let (record, user) = (record.clone(), spec.user.clone());
            crate::blocking(move || user_of(&record, &user)).await.map_err(|error| match error {
                EngineError::Start { text, kind, .. } => EngineError::Mechanism { kind, text },
                other => other,
            })?;
        }
        let id = ExecId::random();
        let action = format!("exec_create: {}", spec.argv.join(" "));
        let exec = Arc::new(Exec {
            id,
            container: container.clone(),
            spec,
            state: Mutex::default(),
            listeners: Arc::default(),
            stdin: watch::Sender::new(Stdin::Awaited),
            drained: watch::Sender::new(false),
        });
        self.forget_old_execs(&container);
        container.execs.lock().insert(id, exec.clone());
        self.execs.0.write().insert(id, exec);
        self.publish_container(&action, &record, [("execID", id.to_string().as_str())]);
        Ok(id)
    }

    /// Joins the streams of an exec that is yet to be started.
    ///
    /// # Errors
    /// No such exec, one that was started before, or a container that is paused.
    pub fn exec_attach(&self, id: &str) -> Result<Attachment, EngineError> {
        let exec = self.execs.find(id)?;
        exec.check_startable()?;
        let tty = exec.spec.tty;
        Ok(Attachment {
            tty,
            stdin: exec.spec.attach_stdin.then(|| StdinWriter::new(&exec.stdin, !tty)),
            output: exec.listeners.add(exec.spec.attach_stdout, exec.spec.attach_stderr),
        })
    }

    /// Tells that a client has left the exec's terminal by its keys.
    pub fn exec_detached(&self, id: &str) {
        if let Ok(exec) = self.execs.find(id) {
            self.publish_container("exec_detach", &exec.container.record(), [("execID", id)]);
        }
    }

    /// Starts an exec; with `detach`, nobody hears its output.
    ///
    /// # Errors
    /// No such exec, one that was started before, a container that has ended, or a command that cannot be run.
    pub async fn exec_start(
        &self,
        id: &str,
        detach: bool,
        console_size: Option<(u16, u16)>,
    ) -> Result<(), EngineError> {
        let exec = self.execs.find(id)?;
        exec.check_startable()?;
        exec.claim()?;
        let engine = self.clone();
        let target = exec.clone();
        let size = console_size.or(exec.spec.console_size).unwrap_or((0, 0));
        let tty = exec.spec.tty.then_some(size);
        let started = crate::blocking(move || engine.launch_exec(&target, tty, detach)).await;
        match started {
            Ok(ring) => {
                let (listeners, task) = (exec.listeners.clone(), exec.clone());
                tokio::spawn(async move {
                    pump_exec(&listeners, ring).await;
                    task.drained.send_replace(true);
                });
                let action = format!("exec_start: {}", exec.spec.argv.join(" "));
                self.publish_container(&action, &exec.container.record(), [("execID", id)]);
                Ok(())
            }
            Err(error) => {
                let mut state = exec.state.lock();
                state.running = false;
                state.exit_code =
                    Some(if let EngineError::Start { exit_code, .. } = &error { *exit_code } else { 126 });
                exec.listeners.end();
                Err(error)
            }
        }
    }

    fn launch_exec(
        &self,
        exec: &Exec,
        tty: Option<(u16, u16)>,
        detach: bool,
    ) -> Result<hako_keeper::Ring, EngineError> {
        let container = &exec.container;
        let stdio = StdioSpec {
            tty,
            stdin: exec.spec.attach_stdin,
            stdin_once: true,
            discard_output: detach && tty.is_none(),
            owner: container.record().ids.as_ref().map(crate::IdMap::root),
            ..StdioSpec::default()
        };
        let ask = || {
            let (plan, descriptors) = self.plan_exec(exec)?;
            let (reign, keeper) = self.keepers.present();
            match keeper.exec(exec.id, container.id, &plan, descriptors, stdio.clone()) {
                Ok(launched) => Ok((reign, launched)),
                Err(KeeperError::Lost) => Err(EngineError::NoKeeper { reign }),
                Err(error) => {
                    Err(crate::container::start::launch_error(&error, "OCI runtime exec failed: exec failed"))
                }
            }
        };
        let (reign, launched) = match ask() {
            Err(EngineError::NoKeeper { reign }) if self.keepers.wait_for_next(reign) => ask(),
            other => other,
        }?;
        let mut state = exec.state.lock();
        state.pid = launched.pid;
        state.pty = launched.pty;
        state.life = Some((Arc::new(launched.pidfd), launched.ring.ends()));
        drop(state);
        self.entrust_exec(exec, reign);
        let stdin = match launched.stdin {
            Some(descriptor) => open_stdin(descriptor).map_err(|error| EngineError::io("cannot open stdin", &error))?,
            None => Stdin::Closed,
        };
        exec.stdin.send_replace(stdin);
        Ok(launched.ring)
    }

    fn plan_exec(&self, exec: &Exec) -> Result<(ExecPlan, Vec<OwnedFd>), EngineError> {
        let (container, spec) = (&exec.container, &exec.spec);
        let record = container.record();
        let live = container.live.lock();
        let Some(live) = live.as_ref() else {
            return Err(EngineError::conflict(format!("container {} is not running", record.id)));
        };
        let duplicate =
            |fd: &OwnedFd| fd.try_clone().map_err(|error| EngineError::io("cannot duplicate a descriptor", &error));
        let mut descriptors = vec![duplicate(&live.pidfd)?];
        let confinement = &live.confinement;
        if spec.privileged {
            crate::name_service::note_ruler(live.pidfd.as_fd())?;
        }
        let user = user_of(&record, &spec.user)?;
        let seccomp = match &confinement.seccomp {
            Some(program) if !spec.privileged => {
                descriptors.push(crate::container::start::seccomp_descriptor(program)?);
                Some(descriptors.len() - 1)
            }
            _ => None,
        };
        let mut env = crate::container::plan::environment(&record, &user);
        if spec.tty && !env.iter().any(|variable| variable.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        for variable in &spec.env {
            let name = variable.split('=').next().unwrap_or_default();
            env.retain(|known| known.split('=').next() != Some(name));
            if variable.contains('=') {
                env.push(variable.clone());
            }
        }
        let cwd = [&spec.working_dir, &record.config.working_dir].into_iter().find(|text| !text.is_empty());
        if cwd.is_some_and(|directory| !directory.starts_with('/')) {
            let text = "OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown".to_owned();
            return Err(EngineError::Start { text, exit_code: 126, kind: hako_base::ErrorKind::InvalidInput });
        }
        let plan = ExecPlan {
            target: 0,
            cgroup: live.cgroup.join_plan(),
            process: Process {
                argv: spec.argv.clone(),
                env,
                cwd: cwd.cloned().unwrap_or_else(|| "/".to_owned()),
                user,
                umask: None,
                capabilities: if spec.privileged {
                    hako_runtime::capability::CapSet::all()
                } else {
                    confinement.capabilities
                },
                no_new_privileges: confinement.no_new_privileges && !spec.privileged,
                seccomp,
                rlimits: confinement.rlimits.clone(),
                oom_score_adj: confinement.oom_score_adj,
                special: confinement.special(),
            },
            external: record.state.external.clone(),
        };
        Ok((plan, descriptors))
    }

    /// An exec's process has ended.
    pub(crate) async fn exec_exited(self, exec: Arc<Exec>, status: ExitStatus) {
        exec.stdin.send_replace(Stdin::Closed);
        let mut drained = exec.drained.subscribe();
        let _ = tokio::time::timeout(limits::LAST_OUTPUT_DEADLINE, drained.wait_for(|drained| *drained)).await;
        {
            let mut state = exec.state.lock();
            state.running = false;
            state.exit_code = Some(status.code);
            state.pty = None;
            state.life = None;
        }
        exec.listeners.end();
        let attributes = [("execID", exec.id.to_string()), ("exitCode", status.code.to_string())];
        let attributes = attributes.iter().map(|(key, value)| (*key, value.as_str()));
        self.publish_container("exec_die", &exec.container.record(), attributes);
        self.acknowledge(Subject::Exec(exec.id)).await;
    }

    /// What is known about an exec.
    ///
    /// # Errors
    /// No such exec.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecView, EngineError> {
        let exec = self.execs.find(id)?;
        let state = exec.state.lock();
        Ok(ExecView {
            id: exec.id,
            container: exec.container.id,
            spec: exec.spec.clone(),
            running: state.running,
            exit_code: state.exit_code,
            pid: state.pid,
            can_remove: state.started && !state.running,
        })
    }

    /// Tells an exec's terminal its size.
    ///
    /// # Errors
    /// No such exec, or one that does not run.
    pub fn exec_resize(&self, id: &str, rows: u16, columns: u16) -> Result<(), EngineError> {
        let exec = self.execs.find(id)?;
        let state = exec.state.lock();
        if !state.running {
            return Err(EngineError::conflict(format!("exec {id} is not running")));
        }
        match &state.pty {
            Some(pty) => hako_runtime::observe::resize(pty, rows, columns)
                .map_err(|error| EngineError::io("cannot resize the terminal", &error)),
            None => Ok(()),
        }
    }

    /// Ends an exec's process, if it runs.
    pub(crate) fn exec_kill(&self, id: &str) {
        let Ok(exec) = self.execs.find(id) else { return };
        if let Some((process, _)) = &exec.state.lock().life
            && let Err(error) = hako_runtime::observe::signal(process, hako_model::Signal::KILL)
        {
            tracing::debug!(exec = id, %error, "cannot be ended");
        }
    }

    /// Nobody asks for this exec any more.
    pub(crate) fn forget_exec(&self, id: &str) {
        let Ok(exec) = self.execs.find(id) else { return };
        exec.container.execs.lock().remove(&exec.id);
        self.execs.0.write().remove(&exec.id);
    }

    /// The container goes: nobody asks for its execs any more. Until then the exit codes of the last ones are known, since
    /// clients ask after the container has taken its execs with it, and it may live again by then.
    pub(crate) fn forget_execs(&self, container: &Container) {
        let execs = std::mem::take(&mut *container.execs.lock());
        let mut all = self.execs.0.write();
        for id in execs.keys() {
            all.remove(id);
        }
    }

    fn forget_old_execs(&self, container: &Container) {
        let mut execs = container.execs.lock();
        while execs.len() >= limits::EXECS_KEPT {
            let ended = execs.values().find(|exec| exec.state.lock().started && !exec.is_running()).map(|exec| exec.id);
            let Some(id) = ended else { return };
            execs.remove(&id);
            self.execs.0.write().remove(&id);
        }
    }
}

/// Who `user` is in a running container.
fn user_of(record: &Record, user: &str) -> Result<User, EngineError> {
    let root = hako_runtime::observe::root_of(record.state.pid)
        .map_err(|error| EngineError::io("cannot open the container's root", &error))?;
    hako_runtime::user::resolve(root.as_fd(), user, &record.spec.host.group_add)
        .map_err(|error| crate::container::start::user_error(&error, 126))
}
