//! Finding the keeper of an exec-root, or starting one.
//!
//! The keeper holds a lock while it lives, so of several that are started at once one stays; the others
//! say that they are not needed. The keeper makes itself a process of its own (see `process/placement`);
//! what is started here ends as soon as it is ready, and is reaped here.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use hako_sys::{process::Spawn, seqpacket::Channel};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{KeeperError, limits::START};

/// How a keeper is started: a program and what comes before `--exec-root DIR --detach`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperCommand {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

impl Default for KeeperCommand {
    /// The keeper's role of this very binary.
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), arguments: vec!["keeper".into()] }
    }
}

/// Where the keeper of an exec-root listens.
pub(crate) fn socket_path(exec_root: &Path) -> PathBuf {
    exec_root.join("keeper.sock")
}

/// Connects and greets; starts a keeper if there is none, or if it leaves just then.
pub(crate) fn connect_or_start<T>(
    exec_root: &Path,
    command: &KeeperCommand,
    greet: impl Fn(Channel) -> Result<T, KeeperError>,
) -> Result<T, KeeperError> {
    let path = socket_path(exec_root);
    let attempt = || match Channel::connect(&path).map(&greet) {
        Ok(Err(KeeperError::Lost)) => Err(io::ErrorKind::ConnectionReset.into()),
        other => other,
    };
    if let Ok(done) = attempt() {
        return done;
    }
    let mut last = None;
    let done = hako_base::backoff::wait_for(START, || {
        if let Err(error) = spawn(exec_root, command) {
            return Some(Err(error));
        }
        attempt().map_err(|error| last = Some(error)).ok()
    });
    done.unwrap_or_else(|| {
        let source = last.unwrap_or_else(|| io::ErrorKind::TimedOut.into());
        Err(KeeperError::Connect { path, source })
    })
}

/// Starts a keeper and waits until it is ready, or is not needed since another one is there.
fn spawn(exec_root: &Path, command: &KeeperCommand) -> Result<(), KeeperError> {
    let failed = |source| KeeperError::Start { program: command.program.clone(), source };
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let mut arguments = command.arguments.clone();
    arguments.extend(["--exec-root".into(), exec_root.into(), "--detach".into()]);
    let child = hako_sys::process::spawn(&Spawn {
        program: command.program.as_os_str(),
        arguments,
        stdout: Some(writer.as_fd()),
        new_session: true,
        ..Spawn::default()
    })
    .map_err(failed)?;
    drop(writer);
    // It writes one line, and closes the pipe when it has become a process of its own.
    let mut line = String::new();
    let read = std::fs::File::from(reader).take(4096).read_to_string(&mut line);
    hako_sys::process::reap(child.pidfd.as_fd()).map_err(failed)?;
    read.map_err(failed)?;
    match line.trim() {
        "ready" => Ok(()),
        "" => Err(KeeperError::NotReady { reason: "it said nothing".to_owned() }),
        reason => Err(KeeperError::NotReady { reason: reason.to_owned() }),
    }
}
