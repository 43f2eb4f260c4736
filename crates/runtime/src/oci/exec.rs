//! `exec`: one more process in a container.

use std::{
    os::fd::OwnedFd,
    path::{Component, Path},
};

use hako_sys::{executable::ReadOnly, process::Child};
use rustix::{
    fs::{Mode, OFlags},
    thread::CpuSet,
};

use super::{
    config::{Affinity, Config, Process as Asked},
    console,
    create::write_pid_file,
    error::OciError,
    process,
    record::{Container, FILTER, Status},
    state,
};
use crate::{
    launch::{self, Progress, Stdio},
    plan::{CgroupJoin, ExecPlan},
    seccomp,
};

/// What is asked for.
#[derive(Debug)]
pub struct Exec<'a> {
    pub container: &'a Container,
    /// As of [`super::create::Create`].
    pub program: Option<&'a ReadOnly>,
    pub process: &'a Asked,
    pub console_socket: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
    pub handed_down: Vec<OwnedFd>,
    pub ignore_paused: bool,
    /// Cgroups below the container's own: `PATH`, or `CONTROLLER,…:PATH` for some hierarchies of v1.
    pub below: &'a [String],
    /// As of [`super::create::Create`].
    pub relays: bool,
}

/// What runs then.
#[derive(Debug)]
pub struct Execed {
    pub child: Child,
    pub terminal: Option<OwnedFd>,
    pub warnings: Vec<String>,
}

/// Starts it.
///
/// # Errors
/// [`OciError::State`] unless the container lives; [`OciError::Launch`].
pub fn exec(asked: Exec<'_>) -> Result<Execed, OciError> {
    let container = asked.container;
    let paused = || OciError::state("cannot exec in a paused container (use --ignore-paused to override)");
    let target = match container.status() {
        Status::Stopped | Status::Creating => None,
        Status::Paused if !asked.ignore_paused => return Err(paused()),
        _ => container.process(),
    };
    let target = target.ok_or_else(|| OciError::state("cannot exec in a stopped container"))?;
    if asked.process.terminal && asked.console_socket.is_none() && !asked.relays {
        return Err(OciError::state("cannot allocate tty if runc will detach without setting console socket"));
    }
    let mut warnings = Vec::new();
    let config = container.config()?;
    let mut process = process::translate(Some(asked.process), config.linux.personality.as_ref(), &mut warnings)?;
    if let Some(affinity) = &asked.process.exec_affinity {
        process.special.processors = affinity_of(affinity)?;
    }
    let mut descriptors = vec![target];
    for descriptor in asked.handed_down {
        process.special.handed_down.push(descriptors.len());
        descriptors.push(descriptor);
    }
    let filter = container.directory.join(FILTER);
    if let Ok(filter) = rustix::fs::open(&filter, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        process.seccomp = Some(descriptors.len());
        descriptors.push(filter);
    }
    let cgroup = below(container.cgroup()?.join_plan(), asked.below)?;
    let plan = ExecPlan { target: 0, cgroup, process, external: None };
    let stdio = match asked.process.terminal {
        true => {
            let size = asked.process.console_size;
            let (rows, columns) = size.map_or_else(console::own_size, |size| (size.height, size.width));
            Stdio::Terminal { rows, columns, lines_as_written: asked.relays && !console::is_terminal() }
        }
        false => console::own_streams()?,
    };
    let pending = launch::begin_exec(&plan, &descriptors, stdio, asked.program);
    let mut pending = pending.map_err(OciError::Launch)?;
    drop(descriptors);
    follow(&mut pending, container, &config)?;
    let terminal = match (pending.take_terminal(), asked.console_socket) {
        (Some(terminal), Some(socket)) => console::send(socket, &terminal).map(|()| None)?,
        (terminal, _) => terminal,
    };
    let child = pending.into_child().ok_or_else(|| OciError::state("the process is gone"))?;
    if let Some(path) = asked.pid_file {
        write_pid_file(path, child.pid)?;
    }
    Ok(Execed { child, terminal, warnings })
}

// The first is this process's own until the new one has joined the cgroup, as the specification says; without a last one
// it is kept.
fn affinity_of(asked: &Affinity) -> Result<Vec<u32>, OciError> {
    let (first, last) = (process::processors(&asked.initial)?, process::processors(&asked.last)?);
    if first.is_empty() {
        return Ok(last);
    }
    let mut set = CpuSet::new();
    first.iter().filter(|number| **number < CpuSet::MAX_CPU as u32).for_each(|number| set.set(*number as usize));
    rustix::thread::sched_setaffinity(None, &set).map_err(|errno| OciError::Open {
        what: "run on the processors",
        subject: asked.initial.clone(),
        source: errno.into(),
    })?;
    Ok(if last.is_empty() { first } else { last })
}

fn below(mut join: CgroupJoin, asked: &[String]) -> Result<CgroupJoin, OciError> {
    for text in asked {
        let (controllers, path) = text.split_once(':').map_or((None, text.as_str()), |(some, path)| (Some(some), path));
        let path = Path::new(path.trim_start_matches('/'));
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(OciError::state(format!("bad sub cgroup path: {text}")));
        }
        let names = controllers.map(|names| names.split(',').collect::<Vec<_>>());
        let has = |hierarchy: &str, name: &str| hierarchy.split(',').any(|one| one == name);
        for name in names.iter().flatten() {
            if !join.hierarchies.iter().any(|(hierarchy, _)| has(hierarchy, name)) {
                return Err(OciError::state(format!("unknown controller {name} in SUBCGROUP {text}")));
            }
        }
        for (hierarchy, directory) in &mut join.hierarchies {
            if names.as_ref().is_none_or(|names| names.iter().any(|name| has(hierarchy, name))) {
                directory.push(path);
            }
        }
        if let (None, Some(directory)) = (&names, &mut join.unified) {
            directory.push(path);
        }
    }
    Ok(join)
}

fn follow(pending: &mut launch::Pending, container: &Container, config: &Config) -> Result<(), OciError> {
    loop {
        let progress = pending.advance().map_err(OciError::Launch)?;
        if let (Some(listener), Some(text)) = (pending.take_listener(), &config.linux.seccomp)
            && let Some(whom) = seccomp::from_oci(text.get())?.listener
        {
            let record = &container.record;
            let state = state::of(record, Status::Running, record.process.pid, &config.annotations);
            console::send_process_state(&whom, &listener, pending.pid().unwrap_or(0), &state)?;
        }
        match progress {
            Progress::Running | Progress::Ready => return Ok(()),
            Progress::Ending => match pending.ending() {
                Some(ending) => console::wait_readable(ending)?,
                None => return Err(OciError::state("the process is gone")),
            },
            Progress::Waiting | Progress::Hooks => console::wait_readable(pending.channel())?,
        }
    }
}
