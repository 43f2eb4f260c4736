//! The driver: a child of the keeper that makes the other runtime do what a plan says, and ends.
//!
//! It says to the keeper what a native child would say. What a plan brings as descriptors is mounted below the bundle
//! in a mount namespace of the driver's own, which the program inherits: the host's mount table shows nothing of it.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use hako_sys::{
    mount::{self, MountAttributes, Spread},
    process::{self, Exit, Namespaces, Spawn},
    pty,
    seqpacket::Channel,
    walk,
};
use rustix::{
    fs::{FileType, Mode, OFlags},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags},
};
use serde::Deserialize;

use super::{
    External, MOUNTS,
    config::{self, ROOT, descriptor_name, kinds, namespace_name},
};
use crate::{
    child::{Job, descriptor},
    enter,
    error::{At, LaunchError, Step},
    launch::{Stdio, write_own},
    message,
    plan::{CgroupJoin, LaunchPlan, MountSource, Namespace, Process, UserNamespace},
    program,
};

/// Relative to the bundle, which is the program's directory: the address of a socket is short.
const CONSOLE: &str = "m/console.sock";
/// Bytes of the program's log that are looked at.
const LOG_BYTES_MAX: usize = 64 << 10;

/// Creates and starts the container; ends the process.
pub(crate) fn create(job: &Job<'_>, external: &External) -> Result<Infallible, LaunchError> {
    prepare(&job.plan.process)?;
    let sources = sources(job.plan, job.descriptors)?;
    enter_bundle(external)?;
    for (name, source) in sources {
        place(&name, source.as_fd()).at(Step::Mount, || name.clone())?;
    }
    let begin = Begin { external, stdio: &job.stdio, channel: &job.channel };
    let bundle = external.bundle.display().to_string();
    let pid = begin.run(&["create", "--bundle", &bundle], None)?;
    join_unified(&job.plan.cgroup, pid).at(Step::JoinCgroup, String::new)?;
    begin.command(&["start", &external.id])?;
    end(&job.channel)
}

/// Starts a process in the container; ends the process.
pub(crate) fn exec(job: &enter::Job<'_>, external: &External) -> Result<Infallible, LaunchError> {
    prepare(&job.plan.process)?;
    enter_bundle(external)?;
    let file = external.bundle.join(MOUNTS).join("process.json");
    let terminal = matches!(job.stdio, Stdio::Terminal { .. });
    let text = config::process(&job.plan.process, terminal).to_string();
    fs::write(&file, text).at(Step::External, || "write the process".to_owned())?;
    let begin = Begin { external, stdio: &job.stdio, channel: &job.channel };
    let file = file.display().to_string();
    begin.run(&["exec", "--detach", "--process", &file], Some(&external.id))?;
    end(&job.channel)
}

fn end(channel: &Channel) -> ! {
    message::send_executing(channel);
    process::exit(0)
}

// What the program shall not inherit from the keeper.
fn prepare(process: &Process) -> Result<(), LaunchError> {
    let score = process.oom_score_adj.unwrap_or(0);
    write_own("oom_score_adj", &score.to_string()).at(Step::OomScore, || score.to_string())?;
    rustix::process::setsid().at(Step::Session, String::new)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    program::set_limits(&process.rlimits)
}

// What is to be mounted by which name: made while this is still the keeper's mount namespace, whose mounts they are of.
fn sources(plan: &LaunchPlan, descriptors: &[OwnedFd]) -> Result<Vec<(String, OwnedFd)>, LaunchError> {
    let given = |index: usize| descriptor(descriptors, index);
    let copy = |index: usize| given(index)?.try_clone_to_owned().at(Step::Mount, String::new);
    let mut sources = vec![(ROOT.to_owned(), copy(plan.root.mount)?)];
    for entry in &plan.mounts {
        if let MountSource::Descriptor(index) = entry.source {
            sources.push((descriptor_name(index), copy(index)?));
        }
    }
    if let Some(init) = plan.init {
        let tree = mount::clone_tree_of(given(init)?, false).at(Step::Mount, || "init".to_owned())?;
        sources.push((descriptor_name(init), tree));
    }
    let user = match plan.namespaces.user {
        UserNamespace::Join(index) => Namespace::Join(index),
        _ => Namespace::Host,
    };
    for (kind, from) in kinds(plan).into_iter().chain([("user", user)]) {
        if let Namespace::Join(index) = from {
            let tree = namespace(given(index)?, kind).at(Step::JoinNamespace, || kind.to_owned())?;
            sources.push((namespace_name(kind), tree));
        }
    }
    Ok(sources)
}

// A descriptor of a namespace is one, that of a process stands for its namespace.
fn namespace(given: BorrowedFd<'_>, kind: &str) -> io::Result<OwnedFd> {
    let Ok(pid) = process::pid_of(given) else { return mount::clone_tree_of(given, false) };
    let name = if kind == "network" { "net" } else { kind };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(format!("/proc/{pid}/ns/{name}"), flags, Mode::empty())?;
    mount::clone_tree_of(opened.as_fd(), false)
}

// A mount namespace of one's own with an empty place in the bundle.
fn enter_bundle(external: &External) -> Result<(), LaunchError> {
    let at = || external.bundle.display().to_string();
    process::unshare(Namespaces::MOUNT).at(Step::NewNamespace, || "mount".to_owned())?;
    mount::set_propagation_of_all(Spread::Slave).at(Step::Root, || "propagation".to_owned())?;
    rustix::process::chdir(&external.bundle).at(Step::Root, at)?;
    let directory = mount::open_directory(&external.bundle.join(MOUNTS)).at(Step::Root, at)?;
    let fresh = mount::tmpfs(&[("mode", "0700")], MountAttributes::default()).at(Step::Root, at)?;
    mount::attach(fresh.as_fd(), directory.as_fd()).at(Step::Root, at)?;
    // runc starts everything in the directory of the root, an exec as well.
    rustix::fs::mkdirat(&fresh, ROOT, Mode::from_raw_mode(0o755)).at(Step::Root, at)
}

fn place(name: &str, source: BorrowedFd<'_>) -> io::Result<()> {
    let root = mount::open_directory(Path::new(MOUNTS))?;
    let directory = FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode) == FileType::Directory;
    let target = if directory {
        walk::make_dirs_in_root(root.as_fd(), Path::new(name), Mode::from_raw_mode(0o755))?
    } else {
        walk::make_file_in_root(root.as_fd(), Path::new(name), Mode::from_raw_mode(0o644))?
    };
    mount::attach(source, target.as_fd())
}

// Where v1 hierarchies are mounted beside it, runtimes know nothing of the v2 tree; whoever ends all processes does.
fn join_unified(cgroup: &CgroupJoin, pid: u32) -> io::Result<()> {
    match &cgroup.unified {
        Some(directory) if !cgroup.hierarchies.is_empty() => fs::write(directory.join("cgroup.procs"), pid.to_string()),
        _ => Ok(()),
    }
}

struct Begin<'a> {
    external: &'a External,
    stdio: &'a Stdio,
    channel: &'a Channel,
}

impl Begin<'_> {
    // Runs a command that leaves a process behind, and tells the keeper of that; returns its number.
    fn run(&self, command: &[&str], last: Option<&str>) -> Result<u32, LaunchError> {
        let place = |name: &str| self.external.bundle.join(MOUNTS).join(name);
        let pid_file = place("pid");
        let pid_text = pid_file.display().to_string();
        let mut words: Vec<&str> = command.to_vec();
        words.extend(["--pid-file", &pid_text]);
        let listener = match self.stdio {
            Stdio::Terminal { .. } => {
                words.extend(["--console-socket", CONSOLE]);
                Some(UnixListener::bind(CONSOLE).at(Step::Terminal, || "of the runtime".to_owned())?)
            }
            Stdio::Streams { .. } => None,
        };
        words.push(last.unwrap_or(&self.external.id));
        self.call(&words, true)?;
        let text = fs::read_to_string(&pid_file).at(Step::External, || "find the process".to_owned())?;
        let pid = text.trim().parse::<u32>().map_err(|_| self.failed("it wrote no process number"))?;
        let pidfd = process::open_pidfd(pid).at(Step::External, || "find the process".to_owned())?;
        message::send_cloned(self.channel, pid, pidfd.as_fd()).at(Step::Clone, String::new)?;
        if let Some(listener) = listener {
            let master = receive(&listener).at(Step::Terminal, || "of the runtime".to_owned())?;
            if let Stdio::Terminal { rows, columns, .. } = *self.stdio
                && (rows > 0 || columns > 0)
            {
                pty::resize(&master, rows, columns).at(Step::Terminal, String::new)?;
            }
            message::send_terminal(self.channel, master.as_fd()).at(Step::Terminal, String::new)?;
        }
        Ok(pid)
    }

    // Runs a command that leaves nothing behind.
    fn command(&self, words: &[&str]) -> Result<(), LaunchError> {
        self.call(words, false)
    }

    fn call(&self, words: &[&str], with_streams: bool) -> Result<(), LaunchError> {
        let log = self.external.bundle.join(MOUNTS).join("log.json");
        let log_text = log.display().to_string();
        let mut line = vec!["--log", log_text.as_str(), "--log-format", "json"];
        line.extend(words);
        let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let [stdin, stdout, stderr] = streams.map(|stream| with_streams.then_some(stream));
        let spawn = Spawn {
            program: self.external.program.as_os_str(),
            arguments: self.external.line(&line),
            stdin,
            stdout,
            stderr,
            environment: Some(environment(std::env::vars_os())),
            ..Spawn::default()
        };
        let child = process::spawn(&spawn).map_err(|error| self.failed(&text(&error)))?;
        match process::reap(child.pidfd.as_fd()).map_err(|error| self.failed(&text(&error)))? {
            Exit::Code(0) => Ok(()),
            Exit::Code(code) => Err(last_error(&log).map_or_else(
                || self.failed(&format!("{} ended with {code} and no word", words.first().unwrap_or(&""))),
                |said| LaunchError::in_words(Step::External, "", said),
            )),
            Exit::Signal(signal) => Err(self.failed(&format!("it was killed by signal {signal}"))),
        }
    }

    fn failed(&self, why: &str) -> LaunchError {
        LaunchError::in_words(Step::External, "", format!("{}: {why}", self.external.program.display()))
    }
}

// That of the daemon, without what is meant for the daemon alone: a runtime that is told of a service manager waits until
// the container says that it is ready.
fn environment(daemons: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    daemons.filter(|(name, _)| name != "NOTIFY_SOCKET").collect()
}

fn text(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text)
}

// The last thing in the program's log that is more than a warning.
fn last_error(log: &PathBuf) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let bytes = fs::read(log).ok()?;
    let tail = &bytes[bytes.len().saturating_sub(LOG_BYTES_MAX)..];
    let lines = String::from_utf8_lossy(tail).into_owned();
    let mut errors = lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    errors.rfind(|line| matches!(line.level.as_str(), "error" | "fatal")).map(|line| line.msg)
}

// The program has ended: what it sent is there, or will never be.
fn receive(listener: &UnixListener) -> io::Result<OwnedFd> {
    listener.set_nonblocking(true)?;
    let (stream, _) = listener.accept()?;
    let mut bytes = [0_u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut messages = control.drain();
    let found = messages.find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    found.ok_or_else(|| io::Error::other("it sent none"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_runtime_is_not_told_of_the_daemons_service_manager() {
        let pair = |name: &str| (name.into(), "x".into());
        let daemons = [pair("PATH"), pair("NOTIFY_SOCKET"), pair("NOTIFY_SOCKET_OF_OTHERS")];
        assert_eq!(super::environment(daemons.into_iter()), [pair("PATH"), pair("NOTIFY_SOCKET_OF_OTHERS")]);
    }
}
