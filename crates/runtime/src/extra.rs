//! What few launches ask for: hooks, a gate before the command, single capability sets, scheduling, labels, offsets of clocks.
//!
//! OCI bundles can ask for all of it, containers of the engine for hardly any. It is part of the plan, and so plain
//! data; the steps are in `child.rs`, `root.rs` and `program.rs`, which find here the ones that are theirs alone.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use hako_sys::schedule::{self, Policy};
use serde::{Deserialize, Serialize};

use crate::{
    capability::CapSet,
    child::descriptor,
    error::{At, LaunchError, Step},
    launch::write_own,
    plan::Index,
};

/// Beside a container's plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Extra {
    /// Clocks of a new time namespace.
    pub clocks: Vec<ClockOffset>,
    pub hooks: Option<Hooks>,
    /// Where the process waits before it becomes its command.
    pub gate: Option<Gate>,
    /// The place of the root among the host's directories, until it becomes the root: where hooks look for it.
    pub root_place: Option<std::path::PathBuf>,
    /// The loopback link of a new network namespace is brought up.
    pub loopback: bool,
    /// The v1 cgroups are made while the child builds its root, and come by `Pending::hand_over_cgroups`.
    pub late_cgroups: bool,
    /// So is the network namespace, which comes after them by `Pending::hand_over_network`; the plan says that it is the
    /// host's.
    pub late_network: bool,
    /// The root's mount can be bound nowhere.
    pub root_unbindable: bool,
}

impl Extra {
    /// Whether the child waits for something while it builds its root, and nobody looks at the root before it has come.
    pub(crate) fn is_late(&self) -> bool {
        (self.late_cgroups || self.late_network) && self.hooks.is_none()
    }
}

/// Beside a process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Special {
    /// `None`: bounding, effective and permitted are one, and the others empty.
    pub capabilities: Option<CapabilitySets>,
    pub scheduling: Option<Policy>,
    /// Class and level.
    pub io_priority: Option<(u16, u16)>,
    /// `PER_LINUX32` and its like.
    pub personality: Option<u32>,
    pub apparmor: String,
    pub selinux: String,
    /// Processors that the process may use, once it is where it belongs.
    pub processors: Vec<u32>,
    /// Descriptors that the program gets as 3, 4, ….
    pub handed_down: Vec<Index>,
    /// `HOME` comes from the container's own `/etc/passwd`, unless the environment has one.
    pub home_from_passwd: bool,
}

/// The five sets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CapabilitySets {
    pub bounding: CapSet,
    pub effective: CapSet,
    pub permitted: CapSet,
    pub inheritable: CapSet,
    pub ambient: CapSet,
}

/// A clock of a time namespace: `monotonic` or `boottime`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    pub clock: String,
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// Programs that are run while a container comes to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hooks {
    /// The parent has some to run before the root is entered; the child waits for them.
    pub parent_waits: bool,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    /// What they read: the container's state as JSON, with a number in place of [`PID_PLACE`].
    pub state: String,
}

/// What in [`Hooks::state`] stands for the process's number, which is not known before there is one.
pub const PID_PLACE: &str = "\u{1}pid\u{1}";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hook {
    pub path: String,
    /// With the program's own name first.
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub timeout_s: Option<u32>,
}

/// Two pipes with names: one byte on the first opens it, the reason of a late failure comes over the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    pub opens: Index,
    pub says: Index,
}

impl Gate {
    /// Waits for the byte.
    pub(crate) fn wait(self, descriptors: &[OwnedFd]) -> Result<(), LaunchError> {
        let opens = descriptor(descriptors, self.opens)?;
        let read = || rustix::io::retry_on_intr(|| rustix::io::read(opens, &mut [0_u8; 1]));
        read().at(Step::Gate, String::new).map(drop)
    }

    /// Says why nothing comes of it, to whoever has opened it.
    pub(crate) fn say(self, descriptors: &[OwnedFd], error: &LaunchError) {
        let (Ok(says), Ok(json)) = (descriptor(descriptors, self.says), serde_json::to_vec(error)) else { return };
        let _ = rustix::io::write(says, &json);
    }
}

/// The descriptors of a gate, in no order.
pub(crate) fn gate_descriptors<'a>(
    gate: Option<Gate>,
    descriptors: &'a [OwnedFd],
) -> Result<Vec<BorrowedFd<'a>>, LaunchError> {
    gate.iter().flat_map(|gate| [gate.opens, gate.says]).map(|index| descriptor(descriptors, index)).collect()
}

/// Gives the clocks of a new time namespace, which nobody is in yet, their offsets.
pub(crate) fn set_clocks(clocks: &[ClockOffset]) -> Result<(), LaunchError> {
    let line = |one: &ClockOffset| format!("{} {} {}\n", one.clock, one.seconds, one.nanoseconds);
    let lines: String = clocks.iter().map(line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    write_own("timens_offsets", &lines).at(Step::NewNamespace, || "time".to_owned())
}

/// Labels of the security modules, which the next exec takes. Written while the host's procfs is at hand: one of the
/// container's could be anything (CVE-2025-52881).
pub(crate) fn set_labels(special: &Special) -> Result<(), LaunchError> {
    if !special.apparmor.is_empty() {
        let text = format!("exec {}", special.apparmor);
        let modern = write_own("attr/apparmor/exec", &text);
        // Before Linux 5.8 the modules shared one file.
        let done = modern.or_else(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => write_own("attr/exec", &text),
            _ => Err(error),
        });
        done.at(Step::Label, || format!("{} (apparmor)", special.apparmor))?;
    }
    if !special.selinux.is_empty() {
        write_own("attr/exec", &special.selinux).at(Step::Label, || special.selinux.clone())?;
    }
    Ok(())
}

/// Scheduling and its like, while the process still has the rights of root.
pub(crate) fn set_schedule(special: &Special) -> Result<(), LaunchError> {
    let at = |result: io::Result<()>, what: &str| result.at(Step::Schedule, || what.to_owned());
    if let Some((class, level)) = special.io_priority {
        at(schedule::set_io_priority(class, level), "io priority")?;
    }
    if let Some(asked) = special.scheduling {
        match schedule::set_policy(asked) {
            // A deadline is for all processors or for none (sched_setattr(2)).
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && asked.deadline_ns > 0 => {
                let text = "process scheduler can't be used together with AllowedCPUs";
                return Err(LaunchError::in_words(Step::Schedule, "scheduler", text));
            }
            done => at(done, "scheduler")?,
        }
    }
    // Those that are asked for, else all that its cgroup has: whoever started the engine on a few of them (`taskset`,
    // systemd's `CPUAffinity=`) does not mean its containers.
    let limit = rustix::thread::CpuSet::MAX_CPU as u32;
    let mut set = rustix::thread::CpuSet::new();
    let all = if special.processors.is_empty() { 0..limit } else { 0..0 };
    all.chain(special.processors.iter().copied()).filter(|number| *number < limit).for_each(|number| {
        set.set(number as usize);
    });
    at(rustix::thread::sched_setaffinity(None, &set).map_err(io::Error::from), "processors")?;
    match special.personality {
        Some(personality) => at(schedule::set_personality(personality), "personality"),
        None => Ok(()),
    }
}
