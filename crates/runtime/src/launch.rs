//! The parent's side of a launch: clone the child, then follow it without ever blocking.
//!
//! The keeper polls [`Pending::channel`] beside everything else it serves and calls [`Pending::advance`] when it
//! is readable. What the child does meanwhile is in `child.rs` and `enter.rs`.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hako_sys::{
    credentials,
    executable::ReadOnly,
    mount,
    process::{self, Child, Clone, Cloned, Namespaces, Standard},
    seqpacket::Channel,
};
use rustix::fs::{Mode, OFlags};

use crate::{
    cgroup::Layout,
    child, enter,
    error::{At, LaunchError, Step},
    idmap,
    message::{self, Message},
    plan::{CgroupJoin, ExecPlan, IdRange, LaunchPlan, UserNamespace},
};

/// Where the program's standard streams lead.
#[derive(Debug)]
pub enum Stdio {
    Streams {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A terminal of the container's own devpts; its other side comes by [`Pending::take_terminal`].
    Terminal {
        rows: u16,
        columns: u16,
        /// Lines come out as the program writes them: nobody's terminal is behind this one.
        lines_as_written: bool,
    },
}

/// How far a launch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Call `advance` again when [`Pending::channel`] is readable.
    Waiting,
    /// It failed, and what was begun is being ended: call `advance` again when [`Pending::ending`] is readable.
    Ending,
    /// The root is about to be entered: run the hooks that are the caller's, then call [`Pending::go`].
    Hooks,
    /// The process waits at its gate; it goes its own way after [`Pending::into_child`].
    Ready,
    /// The program runs (or ran, if it was quick).
    Running,
}

/// A launch under way. Dropping it before it runs kills the child, and does not wait for its end: a process that is
/// stuck in the kernel must not stop the caller, who as its parent reaps it with the rest ([`process::reap_any`]).
#[derive(Debug)]
pub struct Pending {
    channel: Channel,
    /// The process that becomes the program; not yet there while `entering` makes it.
    child: Option<Child>,
    /// The process that enters other namespaces first and then makes the child.
    entering: Option<Child>,
    terminal: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    executing: bool,
    /// To be mapped once the child is there.
    ids: Option<Ids>,
    stage: Stage,
}

#[derive(Debug)]
struct Ids {
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
    oom_score_adj: Option<i32>,
}

#[derive(Debug)]
enum Stage {
    Talking,
    /// Killed; the reason, unless the child went without giving one.
    Ending(Option<LaunchError>),
    Ready,
    Running,
}

/// Starts a container. The caller must have one thread; the descriptors may be closed once this returns (the child has
/// its own), and must be, lest the root stay mounted after the container's end. With `program` the child moves there before
/// anything else, unless the caller comes from such a place itself.
///
/// # Errors
/// [`Step::Plan`], [`Step::JoinCgroup`], [`Step::Clone`] or [`Step::IdMap`]; what fails later comes from `advance`.
pub fn begin(
    plan: &LaunchPlan,
    descriptors: &[OwnedFd],
    stdio: Stdio,
    program: Option<&ReadOnly>,
) -> Result<Pending, LaunchError> {
    let cgroups = match plan.extra.late_cgroups {
        true => Cgroups { unified: Cgroups::open_unified(&plan.cgroup)?, tasks: Vec::new() },
        false => Cgroups::open(&plan.cgroup)?,
    };
    let (channel, childs_end) = channel_pair()?;
    let enters_first = child::enters_first(plan);
    let namespaces = if enters_first { Namespaces::NONE } else { child::new_namespaces(&plan.namespaces) };
    // Another runtime moves what it makes into the group itself, and wants to find it empty.
    let group = if plan.external.is_some() { Clone::default() } else { cgroups.clone_into() };
    let how = Clone { namespaces, ..group };
    match process::clone(&how).at(Step::Clone, String::new)? {
        Cloned::Child => {
            drop(channel);
            child::run(&child::Job { plan, descriptors, stdio, program, channel: childs_end, cgroups })
        }
        Cloned::Parent(cloned) => {
            let pending = Pending::new(channel, cloned, enters_first);
            if enters_first {
                // Its ids are mapped when it is there (`advance`).
                return Ok(pending.with_ids(plan));
            }
            if let UserNamespace::New { uids, gids } = &plan.namespaces.user {
                pending.map_ids(uids, gids, plan.process.oom_score_adj)?;
            }
            Ok(pending)
        }
    }
}

/// Starts a process in a running container. As [`begin`] otherwise.
///
/// # Errors
/// As [`begin`].
pub fn begin_exec(
    plan: &ExecPlan,
    descriptors: &[OwnedFd],
    stdio: Stdio,
    program: Option<&ReadOnly>,
) -> Result<Pending, LaunchError> {
    let mut cgroups = Cgroups::open(&plan.cgroup)?;
    let (channel, childs_end) = channel_pair()?;
    if plan.external.is_some() {
        cgroups.unified = None;
    }
    let mut cloned = process::clone(&cgroups.clone_into());
    if cloned.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
        // Something in the container (systemd, say) hands controllers down to groups of its own, after which the
        // container's own group takes no process: where its first process is, another may be too.
        cgroups.unified = Some(cgroup_of(child::descriptor(descriptors, plan.target)?)?);
        cloned = process::clone(&cgroups.clone_into());
    }
    match cloned.at(Step::Clone, String::new)? {
        Cloned::Child => {
            drop(channel);
            enter::run(&enter::Job { plan, descriptors, stdio, program, channel: childs_end, cgroups })
        }
        Cloned::Parent(cloned) => Ok(Pending::new(channel, cloned, true)),
    }
}

// The v2 cgroup that a process is in.
fn cgroup_of(pidfd: BorrowedFd<'_>) -> Result<OwnedFd, LaunchError> {
    let find = || -> std::io::Result<OwnedFd> {
        let pid = process::pid_of(pidfd)?;
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/")).ok_or(std::io::ErrorKind::NotFound)?;
        let top = Layout::of_host().unified.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        mount::open_directory(&top.join(path))
    };
    find().at(Step::JoinCgroup, || "of the container's first process".to_owned())
}

fn channel_pair() -> Result<(Channel, Channel), LaunchError> {
    // Read from procfs once, here, for all the children that need it.
    credentials::last_capability();
    Channel::pair().at(Step::Clone, || "channel".to_owned())
}

impl Pending {
    fn new(channel: Channel, cloned: Child, enters_first: bool) -> Self {
        let (child, entering) = if enters_first { (None, Some(cloned)) } else { (Some(cloned), None) };
        let stage = Stage::Talking;
        Self { channel, child, entering, terminal: None, listener: None, executing: false, ids: None, stage }
    }

    /// Readable when `advance` has something to do, until it is [`Progress::Ending`].
    pub fn channel(&self) -> BorrowedFd<'_> {
        message::descriptor(&self.channel)
    }

    /// From [`Progress::Ending`] on, readable when `advance` has something to do: the pidfd of what is to end.
    pub fn ending(&self) -> Option<BorrowedFd<'_>> {
        let ending = matches!(self.stage, Stage::Ending(_));
        self.last_process().filter(|_| ending).map(|last| last.pidfd.as_fd())
    }

    /// The process, once it exists: at once for a container, after the first message for an exec.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(|child| child.pidfd.as_fd())
    }

    /// Its number, in the caller's pid namespace.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(|child| child.pid)
    }

    /// The terminal's other side, if there is one and it has come; at the latest when the program runs.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// The listener of the filter, if there is one and it has come.
    pub fn take_listener(&mut self) -> Option<OwnedFd> {
        self.listener.take()
    }

    /// Says that the v1 cgroups that the plan promises are there. That the child is gone meanwhile is told by
    /// [`Pending::advance`].
    pub fn hand_over_cgroups(&self) {
        let _ = message::send_late(&self.channel, &[]);
    }

    /// Hands over the network namespace that the plan promises, after the cgroups if it promises them too.
    pub fn hand_over_network(&self, network: BorrowedFd<'_>) {
        let _ = message::send_late(&self.channel, &[network]);
    }

    /// Lets the child go on after [`Progress::Hooks`].
    ///
    /// # Errors
    /// When it is gone.
    pub fn go(&self) -> Result<(), LaunchError> {
        message::send_go(&self.channel).at(Step::Hook, String::new)
    }

    fn with_ids(mut self, plan: &LaunchPlan) -> Self {
        if let UserNamespace::New { uids, gids } = &plan.namespaces.user {
            let (uids, gids) = (uids.clone(), gids.clone());
            self.ids = Some(Ids { uids, gids, oom_score_adj: plan.process.oom_score_adj });
        }
        self
    }

    /// The running process, to be watched and reaped by the caller from now on; `None` before [`Progress::Running`]
    /// and [`Progress::Ready`].
    pub fn into_child(mut self) -> Option<Child> {
        if matches!(self.stage, Stage::Running | Stage::Ready) { self.child.take() } else { None }
    }

    /// Why it failed, for a caller who does not wait for the end of a child that is [`Progress::Ending`].
    pub fn into_failure(mut self) -> LaunchError {
        let reason = if let Stage::Ending(reason) = &mut self.stage { reason.take() } else { None };
        reason.unwrap_or_else(|| LaunchError::in_words(Step::Died, "", "it does not end"))
    }

    /// Takes what the child has said. Never blocks.
    ///
    /// # Errors
    /// The step that failed. The child is then gone and reaped.
    pub fn advance(&mut self) -> Result<Progress, LaunchError> {
        match self.stage {
            Stage::Talking => {}
            Stage::Ending(_) => return self.end(),
            Stage::Ready => return Ok(Progress::Ready),
            Stage::Running => return Ok(Progress::Running),
        }
        loop {
            match message::receive(&self.channel) {
                Ok(None) => return Ok(Progress::Waiting),
                Ok(Some(Message::Cloned { pid, pidfd })) => {
                    self.child = Some(Child { pid, pidfd });
                    let mapped = self.ids.take().map(|ids| self.map_ids(&ids.uids, &ids.gids, ids.oom_score_adj));
                    if let Some(Err(error)) = mapped {
                        return self.fail(Some(error));
                    }
                }
                Ok(Some(Message::Terminal(master))) => self.terminal = Some(master),
                Ok(Some(Message::Listener(listener))) => self.listener = Some(listener),
                Ok(Some(Message::Hooks)) => return Ok(Progress::Hooks),
                Ok(Some(Message::Ready)) => return Ok(self.settle(Stage::Ready)),
                Ok(Some(Message::Executing)) => self.executing = true,
                Ok(Some(Message::Failed(error))) | Err(error) => return self.fail(Some(error)),
                // Nobody has the other end any more: exec closed it, or the child died.
                Ok(Some(Message::End)) if self.executing => return Ok(self.settle(Stage::Running)),
                Ok(Some(Message::End)) => return self.fail(None),
            }
        }
    }

    fn settle(&mut self, stage: Stage) -> Progress {
        let progress = if matches!(stage, Stage::Ready) { Progress::Ready } else { Progress::Running };
        self.stage = stage;
        if let Some(entering) = self.entering.take() {
            // It has closed its end by ending. If that is not quite done the caller reaps it with the rest.
            let _ = process::try_reap(entering.pidfd.as_fd());
        }
        progress
    }

    fn fail(&mut self, reason: Option<LaunchError>) -> Result<Progress, LaunchError> {
        self.stage = Stage::Ending(reason);
        self.kill();
        self.end()
    }

    // Whether what was killed is gone; then why.
    fn end(&mut self) -> Result<Progress, LaunchError> {
        let how = match self.last_process().map(|last| process::try_reap(last.pidfd.as_fd())) {
            Some(Ok(None)) => return Ok(Progress::Ending),
            Some(Ok(Some(process::Exit::Signal(signal)))) => format!("killed by signal {signal}"),
            Some(Ok(Some(process::Exit::Code(code)))) => format!("exit code {code}"),
            Some(Err(_)) | None => "it is gone".to_owned(),
        };
        let Stage::Ending(Some(reason)) = &self.stage else {
            return Err(LaunchError::in_words(Step::Died, "", how));
        };
        Err(reason.clone())
    }

    // The one that a failure waits for. The one that enters first ends by itself as soon as there is another.
    fn last_process(&self) -> Option<&Child> {
        self.child.as_ref().or(self.entering.as_ref())
    }

    fn kill(&self) {
        for child in self.entering.iter().chain(&self.child) {
            // An error means that it was reaped already.
            let _ = process::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    // The parent's part of a user namespace; the child waits for it.
    fn map_ids(&self, uids: &[IdRange], gids: &[IdRange], oom_score_adj: Option<i32>) -> Result<(), LaunchError> {
        let pid = self.pid().unwrap_or(0);
        if let Some(score) = oom_score_adj {
            fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
                .at(Step::OomScore, || score.to_string())?;
        }
        for (file, ranges) in [("uid_map", uids), ("gid_map", gids)] {
            fs::write(format!("/proc/{pid}/{file}"), idmap::text(ranges)).at(Step::IdMap, || file.to_owned())?;
        }
        message::send_go(&self.channel).at(Step::IdMap, String::new)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.kill();
        for child in self.entering.iter().chain(&self.child) {
            let _ = process::try_reap(child.pidfd.as_fd());
        }
    }
}

/// The cgroups to join, opened by the parent: in a user namespace the child could not.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// The directory, for `CLONE_INTO_CGROUP`.
    pub(crate) unified: Option<OwnedFd>,
    /// The `tasks` files of v1 hierarchies, by name.
    pub(crate) tasks: Vec<(String, OwnedFd)>,
}

impl Stdio {
    /// Puts the program's streams in their places; until there is a terminal, nothing.
    fn place(&self) -> Result<(), LaunchError> {
        let null;
        let [stdin, stdout, stderr] = match self {
            Self::Streams { stdin, stdout, stderr } => [stdin, stdout, stderr],
            Self::Terminal { .. } => {
                null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                    .at(Step::Stdio, || "/dev/null".to_owned())?;
                [&null; 3]
            }
        };
        process::place_standard(stdin, Standard::Input)
            .and_then(|()| process::place_standard(stdout, Standard::Output))
            .and_then(|()| process::place_standard(stderr, Standard::Error))
            .at(Step::Stdio, String::new)
    }
}

/// Closes what the child has from the keeper and does not need: other containers' namespaces, terminals and pipes, the
/// daemon's connection, the keeper's log. The child may soon be seen by processes of a container, and whoever of them
/// has `CAP_SYS_PTRACE` can open `/proc/PID/fd` (CVE-2016-9962, CVE-2024-21626).
pub(crate) fn keep_needed(
    channel: &Channel,
    descriptors: &[OwnedFd],
    stdio: &Stdio,
    cgroups: &Cgroups,
) -> Result<(), LaunchError> {
    stdio.place()?;
    let mut kept = vec![message::descriptor(channel)];
    kept.extend(descriptors.iter().map(AsFd::as_fd));
    kept.extend(cgroups.tasks.iter().map(|(_, tasks)| tasks.as_fd()));
    process::keep_only(&kept).at(Step::CloseDescriptors, String::new)
}

impl Cgroups {
    fn open_unified(join: &CgroupJoin) -> Result<Option<OwnedFd>, LaunchError> {
        let directory =
            |path: &std::path::Path| mount::open_directory(path).at(Step::JoinCgroup, || path.display().to_string());
        join.unified.as_deref().map(directory).transpose()
    }

    pub(crate) fn open(join: &CgroupJoin) -> Result<Self, LaunchError> {
        let unified = Self::open_unified(join)?;
        let mut tasks = Vec::with_capacity(join.hierarchies.len());
        for (name, path) in &join.hierarchies {
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::open(path.join("tasks"), flags, Mode::empty())
                .at(Step::JoinCgroup, || path.display().to_string())?;
            tasks.push((name.clone(), file));
        }
        Ok(Self { unified, tasks })
    }

    fn clone_into(&self) -> Clone<'_> {
        Clone { cgroup: self.unified.as_ref().map(AsFd::as_fd), ..Clone::default() }
    }

    /// Joins the v1 hierarchies. A thread that moves itself through `tasks` takes no lock that other forks of the
    /// machine wait for, which moving a process through `cgroup.procs` does (several milliseconds); the child has one.
    pub(crate) fn join(&self) -> Result<(), LaunchError> {
        for (name, tasks) in &self.tasks {
            rustix::io::write(tasks, b"0").at(Step::JoinCgroup, || name.clone())?;
        }
        Ok(())
    }
}

/// Opens a file of the host's procfs that concerns the calling process.
pub(crate) fn write_own(file: &str, text: &str) -> std::io::Result<()> {
    let path = format!("/proc/self/{file}");
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}
