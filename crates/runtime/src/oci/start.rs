//! `start`: the process of a created container becomes its command.
//!
//! One byte opens the gate; then nothing comes over the other pipe but its end, when exec closes it, or the reason why
//! there was no exec.

use std::{io::Read, os::fd::AsFd, path::Path};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    config::Config,
    console,
    error::OciError,
    notify,
    record::{Container, OPENS, SAYS, Status},
    state, translate,
};
use crate::{error::LaunchError, hook};

/// Starts it. Whoever waits to hear that the program is ready (sd_notify(3)) is named by `host`; then this returns when
/// they have heard it, or when the program has ended. What went wrong with that is returned, and stops nothing.
///
/// # Errors
/// [`OciError::State`] unless it is created; [`OciError::Launch`] when its command cannot be run.
pub fn start(container: &Container, host: Option<&Path>) -> Result<Option<OciError>, OciError> {
    let lock = container.lock()?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(OciError::state("cannot start a container that has stopped")),
        Status::Running => return Err(OciError::state("cannot start an already running container")),
        status => return Err(OciError::state(format!("cannot start a container in the {} state", status.word()))),
    }
    let config = container.config()?;
    let notify = host.map(|host| notify::listen(container, host)).transpose()?.flatten();
    let process = container.process();
    open_gate(container)?;
    after_start(container, &config)?;
    // Others may stop it while it is not yet ready.
    drop(lock);
    let (Some(notify), Some(process)) = (notify, process) else { return Ok(None) };
    Ok(notify.wait(process.as_fd(), container.record.process.pid).err())
}

fn open_gate(container: &Container) -> Result<(), OciError> {
    let open = |name: &str, flags| {
        let path = container.directory.join(name);
        rustix::fs::open(&path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| (errno, OciError::Read { path, source: errno.into() }))
    };
    let says = open(SAYS, OFlags::RDONLY).map_err(|(_, error)| error)?;
    let opened = match open(OPENS, OFlags::WRONLY) {
        // Nobody waits there any more: a start that was killed on its way had opened it.
        Err((Errno::NXIO, _)) => Err(OciError::state("cannot start an already running container")),
        Err((_, error)) => Err(error),
        Ok(opens) => rustix::io::write(&opens, b"s").map_err(|errno| OciError::Open {
            what: "start",
            subject: container.record.id.clone(),
            source: errno.into(),
        }),
    };
    let outcome = opened.and_then(|_| wait(says));
    for name in [OPENS, SAYS] {
        let _ = std::fs::remove_file(container.directory.join(name));
    }
    outcome
}

fn wait(says: std::os::fd::OwnedFd) -> Result<(), OciError> {
    console::wait_readable(says.as_fd())?;
    let mut said = Vec::new();
    // One write, smaller than a pipe's page, so all of it is there.
    match std::fs::File::from(says).take(64 << 10).read_to_end(&mut said) {
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
            return Err(OciError::Open { what: "start", subject: String::new(), source: error });
        }
        _ => {}
    }
    match serde_json::from_slice::<LaunchError>(&said) {
        Ok(error) => Err(OciError::Launch(error)),
        Err(_) if said.is_empty() => Ok(()),
        Err(_) => Err(OciError::state("the container's process said something that is not understood")),
    }
}

/// Hooks of a container that runs. If one fails, so has the start, and the container is ended.
pub(super) fn after_start(container: &Container, config: &Config) -> Result<(), OciError> {
    let hooks = translate::hooks(&config.hooks.poststart)?;
    if hooks.is_empty() {
        return Ok(());
    }
    let record = &container.record;
    let state = state::of(record, Status::Running, record.process.pid, &config.annotations);
    hook::run_all("poststart", &hooks, &state).map_err(|error| {
        super::end::stop(container);
        OciError::Hook(error)
    })
}
