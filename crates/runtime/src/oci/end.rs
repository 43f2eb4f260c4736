//! `kill` and `delete`.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use hako_model::Signal;
use hako_sys::process;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{
    config::Config,
    create::Created,
    error::OciError,
    record::{Container, Containers, Status},
    state, translate,
};
use crate::hook;

/// How long a killed process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a signal to the container's process, or to all of its processes; without one it only looks whether there is
/// somebody to send to.
///
/// # Errors
/// [`OciError::NotRunning`] unless it is created, running or paused; for all of them that is no error, as with runc.
pub fn kill(container: &Container, signal: Option<Signal>, all: bool) -> Result<(), OciError> {
    let Some(pidfd) = container.process() else {
        // Without a pid namespace of its own others of it may go on when the first has ended.
        let left = container.record.cgroup_made && !container.cgroup()?.pids().unwrap_or_default().is_empty();
        if left && signal == Some(Signal::KILL) {
            return Ok(container.cgroup()?.kill_all()?);
        }
        return if all { Ok(()) } else { Err(OciError::NotRunning) };
    };
    let Some(signal) = signal else { return Ok(()) };
    let config = container.config()?;
    let own_pids = config.linux.namespaces.iter().any(|one| one.kind == "pid" && one.path.is_empty());
    if signal == Signal::KILL && !own_pids && container.record.cgroup_made {
        container.cgroup()?.kill_all()?;
        return Ok(());
    }
    if all {
        for pid in container.cgroup()?.pids()? {
            if let Ok(pidfd) = process::open_pidfd(pid) {
                // One that has ended meanwhile needs no signal.
                let _ = process::send_signal(pidfd.as_fd(), signal.number());
            }
        }
        return Ok(());
    }
    send(pidfd.as_fd(), signal, container)?;
    // A process that is frozen on v1 ends only when it is thawed; who kills wants it gone.
    if signal == Signal::KILL && container.status() == Status::Paused {
        container.cgroup()?.thaw()?;
    }
    Ok(())
}

fn send(pidfd: BorrowedFd<'_>, signal: Signal, container: &Container) -> Result<(), OciError> {
    process::send_signal(pidfd, signal.number()).map_err(|source| match source.raw_os_error() {
        Some(libc::ESRCH) => OciError::NotRunning,
        _ => OciError::Open { what: "signal", subject: container.record.id.clone(), source },
    })
}

/// Takes away what `create` made; returns what went wrong without stopping it. One that is only created is ended, as
/// callers of runc expect; one that runs only with `force`.
///
/// # Errors
/// [`OciError::Missing`], unless forced; [`OciError::State`] for one that runs.
pub fn delete(containers: &Containers, id: &str, force: bool) -> Result<Vec<String>, OciError> {
    let container = match containers.open(id) {
        Err(OciError::Missing { .. }) if force => return Ok(Vec::new()),
        other => other?,
    };
    let _lock = container.lock()?;
    match container.status() {
        Status::Stopped => {}
        Status::Created | Status::Creating => stop(&container),
        _ if force => stop(&container),
        status => {
            let text = format!("cannot delete container {id} that is not stopped: {}", status.word());
            return Err(OciError::state(text));
        }
    }
    destroy(&container, &container.config()?)
}

/// Deletes the container that `run` made, when its process has ended.
///
/// # Errors
/// As [`delete`].
pub fn delete_ended(created: &Created) -> Result<Vec<String>, OciError> {
    let _lock = match created.container.lock() {
        // Somebody was faster.
        Err(OciError::Missing { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    destroy(&created.container, &created.config)
}

/// Ends its processes and waits until the first one is gone.
pub(super) fn stop(container: &Container) {
    let Ok(cgroup) = container.cgroup() else { return };
    if let Some(pidfd) = container.process() {
        let _ = process::send_signal(pidfd.as_fd(), libc::SIGKILL);
        if cgroup.is_frozen() {
            let _ = cgroup.thaw();
        }
        wait_for_end(pidfd.as_fd());
    } else if container.record.cgroup_made && cgroup.kill_all().is_ok() {
        // A create that was killed, or what goes on without a pid namespace when the first process has ended.
        hako_base::backoff::wait_for(PATIENCE, || cgroup.pids().is_ok_and(|pids| pids.is_empty()).then_some(()));
    }
}

fn wait_for_end(pidfd: BorrowedFd<'_>) {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut polled = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut polled, Some(&timeout)), Err(rustix::io::Errno::INTR)) {
            return;
        }
    }
}

/// Undoes the create, whatever of it there is, then runs the hooks of the end.
pub(super) fn destroy(container: &Container, config: &Config) -> Result<Vec<String>, OciError> {
    let mut warnings = Vec::new();
    if container.process().is_some() {
        stop(container);
    }
    let cgroup = container.cgroup()?;
    // Whatever else is in there ends with it.
    if container.record.cgroup_made {
        cgroup.remove()?;
    }
    container.forget()?;
    let state = state::of(&container.record, Status::Stopped, 0, &config.annotations);
    for one in translate::hooks(&config.hooks.poststop)? {
        // The end is the end: a hook that fails is worth a word and stops nothing.
        if let Err(error) = hook::run_all("poststop", &[one], &state) {
            warnings.push(error.to_string());
        }
    }
    Ok(warnings)
}
