//! The process of a configuration, and that of an `exec`: pure.
//!
//! Capabilities that there are none of, or that the runtime has not itself, are warnings, as the specification says;
//! everything else that cannot be is an error.

use hako_sys::schedule::Policy;

use super::{
    config::{Capabilities, Personality, Process as Asked, Scheduler},
    error::OciError,
};
use crate::{
    capability::CapSet,
    extra::{CapabilitySets, Special},
    plan::{Process, Rlimit, RlimitResource},
    user::User,
};

/// Bits of the mask of a process when its configuration has none; what callers of runc get.
const UMASK: u32 = 0o022;

/// Translates it. A configuration without a process becomes one without a command.
///
/// # Errors
/// [`OciError::Invalid`].
pub(super) fn translate(
    asked: Option<&Asked>,
    personality: Option<&Personality>,
    warnings: &mut Vec<String>,
) -> Result<Process, OciError> {
    let Some(asked) = asked else { return Ok(Process { argv: Vec::new(), ..Process::default() }) };
    if asked.args.first().is_none_or(String::is_empty) {
        return Err(OciError::invalid("process.args", "there is no command"));
    }
    if !asked.cwd.starts_with('/') {
        return Err(OciError::invalid("process.cwd", format!("{:?} is not absolute", asked.cwd)));
    }
    let user = &asked.user;
    let special = Special {
        capabilities: Some(capabilities(asked.capabilities.as_ref(), warnings)),
        scheduling: asked.scheduler.as_ref().map(scheduling).transpose()?,
        io_priority: io_priority(asked)?,
        personality: personality.map(domain).transpose()?,
        apparmor: asked.apparmor_profile.clone(),
        selinux: asked.selinux_label.clone(),
        processors: Vec::new(),
        handed_down: Vec::new(),
        home_from_passwd: true,
    };
    Ok(Process {
        argv: asked.args.clone(),
        env: last_of_each(&asked.env),
        cwd: asked.cwd.clone(),
        user: User { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone(), ..User::default() },
        umask: Some(user.umask.unwrap_or(UMASK)),
        capabilities: CapSet::NONE,
        no_new_privileges: asked.no_new_privileges,
        seccomp: None,
        rlimits: rlimits(asked)?,
        oom_score_adj: asked.oom_score_adj,
        special,
    })
}

// A variable that is there twice has its last value, as with runc; programs differ in which one they would see.
fn last_of_each(env: &[String]) -> Vec<String> {
    let name = |line: &String| line.split('=').next().unwrap_or_default().to_owned();
    let is_last = |(index, line): &(usize, &String)| !env[index + 1..].iter().any(|later| name(later) == name(line));
    env.iter().enumerate().filter(is_last).map(|(_, line)| line.clone()).collect()
}

fn capabilities(asked: Option<&Capabilities>, warnings: &mut Vec<String>) -> CapabilitySets {
    let nothing = Capabilities::default();
    let asked = asked.unwrap_or(&nothing);
    let own = CapSet::all();
    let mut set = |names: &[String]| {
        let mut bits = 0;
        for name in names {
            // Exactly as capabilities(7) spells them.
            match CapSet::by_name(name).filter(|_| name.starts_with("CAP_")) {
                Some(one) if one.bits() & own.bits() != 0 => bits |= one.bits(),
                _ => warnings.push(format!("capability {name:?} cannot be granted")),
            }
        }
        CapSet::from_bits(bits)
    };
    let (bounding, permitted) = (set(&asked.bounding), set(&asked.permitted));
    let (effective, inheritable, ambient) = (set(&asked.effective), set(&asked.inheritable), set(&asked.ambient));
    let mut within = |what: &str, wanted: CapSet, limit: CapSet| {
        let granted = CapSet::from_bits(wanted.bits() & limit.bits());
        for name in CapSet::from_bits(wanted.bits() & !limit.bits()).names() {
            warnings.push(format!("can't raise {what} capability {name}: it is not in the sets that it needs"));
        }
        granted
    };
    // What the kernel demands: effective is of permitted, and ambient of permitted and inheritable. One that is inheritable
    // and not bounding is the kernel's error, as with runc.
    let effective = within("effective", effective, permitted);
    let ambient = within("ambient", ambient, CapSet::from_bits(permitted.bits() & inheritable.bits()));
    CapabilitySets { bounding, effective, permitted, inheritable, ambient }
}

fn rlimits(asked: &Asked) -> Result<Vec<Rlimit>, OciError> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for one in &asked.rlimits {
        let name = one.kind.strip_prefix("RLIMIT_").map(str::to_ascii_lowercase);
        let resource = name.and_then(|name| RlimitResource::by_name(&name));
        let resource = resource.filter(|_| one.kind == one.kind.to_ascii_uppercase());
        let resource =
            resource.ok_or_else(|| OciError::invalid("process.rlimits", format!("{:?} is none", one.kind)))?;
        if limits.iter().any(|limit| limit.resource == resource) {
            return Err(OciError::invalid("process.rlimits", format!("{} is there twice", one.kind)));
        }
        let value = |value: u64| (value != u64::MAX).then_some(value);
        limits.push(Rlimit { resource, soft: value(one.soft), hard: value(one.hard) });
    }
    Ok(limits)
}

fn scheduling(asked: &Scheduler) -> Result<Policy, OciError> {
    const POLICIES: [(&str, u32); 7] = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    const FLAGS: [(&str, u64); 7] = [
        ("SCHED_FLAG_RESET_ON_FORK", 0x01),
        ("SCHED_FLAG_RECLAIM", 0x02),
        ("SCHED_FLAG_DL_OVERRUN", 0x04),
        ("SCHED_FLAG_KEEP_POLICY", 0x08),
        ("SCHED_FLAG_KEEP_PARAMS", 0x10),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
    ];
    let none = |what: &str| OciError::invalid("process.scheduler", format!("{what:?} is none"));
    let policy = POLICIES.iter().find(|(name, _)| *name == asked.policy).ok_or_else(|| none(&asked.policy))?.1;
    let mut flags = 0;
    for flag in &asked.flags {
        flags |= FLAGS.iter().find(|(name, _)| name == flag).ok_or_else(|| none(flag))?.1;
    }
    Ok(Policy {
        policy,
        flags,
        nice: asked.nice,
        priority: u32::try_from(asked.priority).map_err(|_| none("a negative priority"))?,
        runtime_ns: asked.runtime,
        deadline_ns: asked.deadline,
        period_ns: asked.period,
    })
}

fn io_priority(asked: &Asked) -> Result<Option<(u16, u16)>, OciError> {
    let Some(priority) = &asked.io_priority else { return Ok(None) };
    let none = |reason: String| OciError::invalid("process.ioPriority", reason);
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(none(format!("{other:?} is no class"))),
    };
    let level = u16::try_from(priority.priority).ok().filter(|level| *level <= 7);
    let level = level.ok_or_else(|| none(format!("{} is not of 0 to 7", priority.priority)))?;
    Ok(Some((class, level)))
}

fn domain(asked: &Personality) -> Result<u32, OciError> {
    if !asked.flags.is_empty() {
        return Err(OciError::unsupported("linux.personality.flags", "none are defined"));
    }
    match asked.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(OciError::invalid("linux.personality.domain", format!("{other:?} is none"))),
    }
}

/// `0-3,7` as numbers.
///
/// # Errors
/// For another text.
pub(super) fn processors(text: &str) -> Result<Vec<u32>, OciError> {
    const NUMBER_MAX: u32 = 8191;
    let none = || OciError::invalid("process.execCPUAffinity", format!("{text:?} is no list of processors"));
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= NUMBER_MAX);
        let (first, last) = (number(first).ok_or_else(none)?, number(last).ok_or_else(none)?);
        if first > last {
            return Err(none());
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}
