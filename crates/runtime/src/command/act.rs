//! What each command of `hako runtime` does: values from flags, one call, the exit code.
//!
//! The words before an error are those that callers know from runc; its codes too: 1, 255 for an exec that did not come
//! about, otherwise that of the process.

use std::{
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use crate::oci::{
    Container, Containers, OciError, change, config, console,
    create::{self, Create},
    end, exec,
    notify::Notify,
    show as facts, start, state,
};
use hako_base::error::chain;
use hako_sys::executable::ReadOnly;

use super::{
    flags::{Command, CreateFlags, ExecFlags, Flags, RunFlags, SpecFlags, UpdateFlags},
    log::Log,
    show,
};

/// What a command ends with when it fails.
pub(super) struct Failure {
    pub(super) text: String,
    pub(super) code: u8,
}

impl From<OciError> for Failure {
    fn from(error: OciError) -> Self {
        Self { text: chain(&error), code: 1 }
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text, code: 1 }
    }
}

/// Processes that are started move to `program` first.
pub(super) fn carry_out(
    flags: &Flags,
    containers: &Containers,
    program: Option<&ReadOnly>,
    log: &Log,
) -> Result<u8, Failure> {
    match &flags.command {
        Command::Create(asked) => return self::create(asked, containers, program, log),
        Command::Run(asked) => return run(asked, containers, program, log),
        Command::Exec(asked) => return self::exec(asked, containers, program, log),
        Command::Start(asked) => {
            let host = notify_socket();
            let unheard = start::start(&containers.open(&asked.id)?, host.as_deref())?;
            unheard.iter().for_each(|error| log.warn(&chain(error)));
        }
        Command::State(asked) => show::pretty(&state::full(&containers.open(&asked.id)?)),
        Command::List(asked) => show::list(&containers.all()?, asked),
        Command::Kill(asked) => {
            // 0 asks whether there is somebody to send to (kill(2)).
            let signal = match asked.signal.as_str() {
                "0" => None,
                name => Some(name.parse().map_err(|_| format!("unknown signal {name:?}"))?),
            };
            end::kill(&containers.open(&asked.id)?, signal, asked.all)?;
        }
        Command::Delete(asked) => {
            end::delete(containers, &asked.id, asked.force)?.iter().for_each(|warning| log.warn(warning));
        }
        Command::Ps(asked) => show::processes(&facts::pids(&containers.open(&asked.id)?)?, &asked.format),
        Command::Pause(asked) => change::pause(&containers.open(&asked.id)?)?,
        Command::Resume(asked) => change::resume(&containers.open(&asked.id)?)?,
        Command::Update(asked) => change::update(&containers.open(&asked.id)?, &resources(asked)?)?,
        Command::Events(asked) => show::events(&containers.open(&asked.id)?, asked)?,
        Command::Spec(asked) => spec(asked)?,
        Command::Features(_) => show::pretty(&facts::features()),
        Command::Checkpoint(_) | Command::Restore(_) => {
            return Err("hako runtime has no checkpoints".to_owned().into());
        }
    }
    Ok(0)
}

fn inherited(count: u32) -> Result<Vec<OwnedFd>, Failure> {
    crate::init::inherited_descriptors(count)
        .map_err(|error| format!("cannot take {count} descriptors from the caller: {error}").into())
}

// Where systemd, or whoever stands for it, waits to hear of the program (sd_notify(3)).
fn notify_socket() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn asked<'a>(
    flags: &'a CreateFlags,
    containers: &'a Containers,
    program: Option<&'a ReadOnly>,
    notify_socket: Option<&'a Path>,
    relays: bool,
) -> Result<Create<'a>, Failure> {
    let sockets = activation_sockets(|name| std::env::var(name).ok(), std::process::id());
    Ok(Create {
        containers,
        program,
        id: &flags.id,
        bundle: &flags.bundle,
        console_socket: flags.console_socket.as_deref(),
        pid_file: flags.pid_file.as_deref(),
        handed_down: inherited(sockets.saturating_add(flags.preserve_fds))?,
        sockets,
        notify_socket,
        relays,
    })
}

// Those that systemd has opened for this very process (sd_listen_fds(3)); they come before the preserved ones.
fn activation_sockets(variable: impl Fn(&str) -> Option<String>, own: u32) -> u32 {
    let number = |name: &str| variable(name)?.parse::<u32>().ok();
    if number("LISTEN_PID") == Some(own) { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

fn create(flags: &CreateFlags, containers: &Containers, program: Option<&ReadOnly>, log: &Log) -> Result<u8, Failure> {
    let failed = |error: OciError| Failure { text: format!("runc create failed: {}", chain(&error)), code: 1 };
    let host = notify_socket();
    let created = create::create(asked(flags, containers, program, host.as_deref(), false)?).map_err(failed)?;
    created.warnings.iter().for_each(|warning| log.warn(warning));
    Ok(0)
}

fn run(flags: &RunFlags, containers: &Containers, program: Option<&ReadOnly>, log: &Log) -> Result<u8, Failure> {
    let failed = |error: OciError| Failure { text: format!("runc run failed: {}", chain(&error)), code: 1 };
    if !flags.detach && !flags.no_subreaper {
        // What the container leaves behind without a pid namespace of its own comes here.
        crate::init::adopt_orphans();
    }
    let host = notify_socket();
    let created = create::run(asked(&flags.create, containers, program, host.as_deref(), !flags.detach)?);
    let created = created.map_err(failed)?;
    created.warnings.iter().for_each(|warning| log.warn(warning));
    if flags.detach {
        let wait = |notify: &Notify| notify.wait(created.child.pidfd.as_fd(), created.child.pid).err();
        created.notify.as_ref().and_then(wait).iter().for_each(|error| log.warn(&chain(error)));
        return Ok(0);
    }
    let code = console::accompany(&created.child, created.terminal.as_ref(), created.notify.as_ref())?;
    if !flags.keep {
        end::delete_ended(&created)?.iter().for_each(|warning| log.warn(warning));
    }
    Ok(shell_code(code))
}

fn shell_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn exec(flags: &ExecFlags, containers: &Containers, program: Option<&ReadOnly>, log: &Log) -> Result<u8, Failure> {
    const NOT_BEGUN: u8 = 255;
    let failed = |failure: Failure| Failure { text: format!("exec failed: {}", failure.text), code: NOT_BEGUN };
    let begin = || -> Result<exec::Execed, Failure> {
        let container = containers.open(&flags.id)?;
        let process = process(flags, &container)?;
        Ok(exec::exec(exec::Exec {
            container: &container,
            program,
            process: &process,
            console_socket: flags.console_socket.as_deref(),
            pid_file: flags.pid_file.as_deref(),
            handed_down: inherited(flags.preserve_fds)?,
            ignore_paused: flags.ignore_paused,
            below: &flags.cgroup,
            relays: !flags.detach,
        })?)
    };
    let execed = begin().map_err(failed)?;
    execed.warnings.iter().for_each(|warning| log.warn(warning));
    if flags.detach {
        return Ok(0);
    }
    Ok(shell_code(console::accompany(&execed.child, execed.terminal.as_ref(), None)?))
}

// The whole from a file, or the container's own with what the flags change.
fn process(flags: &ExecFlags, container: &Container) -> Result<config::Process, Failure> {
    if let Some(path) = &flags.process {
        let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let process = serde_json::from_slice(&text);
        return process.map_err(|error| format!("{} is not understood: {error}", path.display()).into());
    }
    if flags.command.is_empty() {
        return Err("process args cannot be empty".to_owned().into());
    }
    let mut process = container.process_config()?;
    process.args.clone_from(&flags.command);
    process.terminal = flags.tty;
    process.no_new_privileges |= flags.no_new_privs;
    process.env.extend(flags.env.iter().cloned());
    process.user.additional_gids.extend(&flags.additional_gids);
    if let Some(cwd) = &flags.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(label) = &flags.process_label {
        process.selinux_label.clone_from(label);
    }
    if let Some(profile) = &flags.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(user) = &flags.user {
        let (uid, gid) = user.split_once(':').map_or((user.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        let number =
            |text: &str| text.parse::<u32>().map_err(|_| format!("invalid user {user:?}: UID[:GID] is wanted"));
        process.user.uid = number(uid)?;
        if let Some(gid) = gid {
            process.user.gid = number(gid)?;
        }
    }
    let sets = process.capabilities.get_or_insert_default();
    for name in &flags.cap {
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.push(name.clone());
        }
        // Never made inheritable here (CVE-2022-29162), and ambient only where the container's own process has it so.
        if sets.inheritable.contains(name) {
            sets.ambient.push(name.clone());
        }
    }
    Ok(process)
}

fn resources(flags: &UpdateFlags) -> Result<config::Resources, Failure> {
    let mut resources = match &flags.resources {
        Some(path) => read_resources(path)?,
        None => config::Resources::default(),
    };
    let (cpu, memory) = (&mut resources.cpu, &mut resources.memory);
    cpu.period = flags.cpu_period.or(cpu.period);
    cpu.quota = flags.cpu_quota.or(cpu.quota);
    cpu.burst = flags.cpu_burst.or(cpu.burst);
    cpu.realtime_period = flags.cpu_rt_period.or(cpu.realtime_period);
    cpu.realtime_runtime = flags.cpu_rt_runtime.or(cpu.realtime_runtime);
    cpu.shares = flags.cpu_share.or(cpu.shares);
    cpu.idle = flags.cpu_idle.or(cpu.idle);
    if let Some(cpus) = &flags.cpuset_cpus {
        cpu.cpus.clone_from(cpus);
    }
    if let Some(mems) = &flags.cpuset_mems {
        cpu.mems.clone_from(mems);
    }
    memory.limit = flags.memory.or(memory.limit);
    memory.reservation = flags.memory_reservation.or(memory.reservation);
    memory.swap = flags.memory_swap.or(memory.swap);
    resources.pids.limit = flags.pids_limit.or(resources.pids.limit);
    resources.block_io.weight = flags.blkio_weight.or(resources.block_io.weight);
    Ok(resources)
}

fn read_resources(path: &Path) -> Result<config::Resources, Failure> {
    const BYTES_MAX: u64 = 1 << 20;
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(BYTES_MAX).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text)),
    };
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not understood: {error}", path.display()).into())
}

fn spec(flags: &SpecFlags) -> Result<(), Failure> {
    use std::io::Write;
    let ids = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let text = show::pretty_text(&facts::template(flags.rootless.then_some(ids)));
    let path = flags.bundle.join("config.json");
    let new = std::fs::File::options().write(true).create_new(true).open(&path);
    new.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn sockets_are_taken_by_whom_they_are_meant_for() {
        let variables = |name: &str| match name {
            "LISTEN_PID" => Some("7".to_owned()),
            "LISTEN_FDS" => Some("2".to_owned()),
            _ => None,
        };
        assert_eq!(super::activation_sockets(variables, 7), 2);
        assert_eq!(super::activation_sockets(variables, 8), 0);
        assert_eq!(super::activation_sockets(|_| None, 7), 0);
    }
}
