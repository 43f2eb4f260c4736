//! The child's side of a launch: the steps in their order, each a few system calls.
//!
//! The child is a copy of the keeper, alone in its thread; it must not return. Everything it does before exec it
//! does as root of its user namespace, non-dumpable, with the container's files only ever reached by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_sys::{
    credentials,
    executable::ReadOnly,
    netlink::{
        Batch, Protocol, Socket,
        route::{self, LinkChange},
    },
    process::{self, Clone, Cloned},
    seqpacket::Channel,
};

use crate::{
    error::{At, LaunchError, Step},
    external::drive,
    extra,
    launch::{Cgroups, Stdio, keep_needed, write_own},
    message,
    plan::{CgroupJoin, Index, LaunchPlan, Namespace, Namespaces, UserNamespace},
    program, root,
};

/// Everything the child needs.
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a LaunchPlan,
    pub(crate) descriptors: &'a [OwnedFd],
    pub(crate) stdio: Stdio,
    /// Where the child moves first of all.
    pub(crate) program: Option<&'a ReadOnly>,
    pub(crate) channel: Channel,
    pub(crate) cgroups: Cgroups,
}

/// Carries the plan out; ends in the program, or in a message about the step that failed.
pub(crate) fn run(job: &Job<'_>) -> ! {
    let Err(error) = carry_out(job);
    message::send_failed(&job.channel, &error);
    if let Some(gate) = job.plan.extra.gate {
        gate.say(job.descriptors, &error);
    }
    process::exit(1)
}

fn carry_out(job: &Job<'_>) -> Result<std::convert::Infallible, LaunchError> {
    let plan = job.plan;
    // The host's program must not be in reach of the container (CVE-2019-5736), nor the memory of the keeper (CVE-2016-9962).
    job.program.map_or(Ok(()), ReadOnly::enter).at(Step::Session, || "program".to_owned())?;
    credentials::set_dumpable(false).at(Step::Session, String::new)?;
    keep_needed(&job.channel, job.descriptors, &job.stdio, &job.cgroups)?;
    process::reset_signals().at(Step::Signals, String::new)?;
    if let Some(external) = &plan.external {
        return drive::create(job, external);
    }
    job.cgroups.join()?;
    extra::set_labels(&plan.process.special)?;
    let joined = if enters_first(plan) { enter_first(job)? } else { process::Namespaces::NONE };
    if matches!(plan.namespaces.user, UserNamespace::New { .. }) {
        message::wait_for_go(&job.channel).at(Step::IdMap, String::new)?;
        credentials::become_user(0, 0, &[]).at(Step::IdMap, String::new)?;
    } else if matches!(plan.namespaces.user, UserNamespace::Join(_)) {
        credentials::become_user(0, 0, &[]).at(Step::JoinNamespace, || "user".to_owned())?;
    } else if let Some(score) = plan.process.oom_score_adj {
        write_own("oom_score_adj", &score.to_string()).at(Step::OomScore, || score.to_string())?;
    }
    rustix::process::setsid().at(Step::Session, String::new)?;
    join_namespaces(job, joined)?;
    if plan.extra.loopback {
        loopback_up().at(Step::NewNamespace, || "network".to_owned())?;
    }
    set_host_name(plan)?;
    let terminal = root::build(job)?;
    if let Some(pair) = &terminal {
        message::send_terminal(&job.channel, pair.master.as_fd()).at(Step::Terminal, String::new)?;
    }
    let start = program::Start {
        process: &plan.process,
        descriptors: job.descriptors,
        init: plan.init,
        stdio: &job.stdio,
        make_cwd: true,
        channel: &job.channel,
        gate: plan.extra.gate,
        hooks: plan.extra.hooks.as_ref(),
    };
    program::run(&start, terminal.map(|pair| pair.slave))
}

/// The namespaces that `clone3` makes together with the child. The cgroup namespace is not among them: it takes the
/// cgroup that its maker is in as its root, and the child has yet to join its own.
pub(crate) fn new_namespaces(asked: &Namespaces) -> process::Namespaces {
    use process::Namespaces as Kind;
    let mut namespaces = Kind::MOUNT;
    for (from, kind) in [
        (asked.pid, Kind::PID),
        (asked.ipc, Kind::IPC),
        (asked.uts, Kind::UTS),
        (asked.network, Kind::NETWORK),
        (asked.time, Kind::TIME),
    ] {
        if from == Namespace::New {
            namespaces = namespaces.with(kind);
        }
    }
    if matches!(asked.user, UserNamespace::New { .. }) {
        namespaces = namespaces.with(Kind::USER);
    }
    namespaces
}

/// Whether a first process moves and the real one is born where it went: a pid namespace is joined by one's children
/// only, clocks are set before anybody is in their namespace, what a user namespace shall own is made inside it, and what
/// the host's root owns is joined outside of it.
pub(crate) fn enters_first(plan: &LaunchPlan) -> bool {
    let asked = &plan.namespaces;
    plan.external.is_some()
        || matches!(asked.pid, Namespace::Join(_))
        || matches!(asked.user, UserNamespace::Join(_))
        || !plan.extra.clocks.is_empty()
        || (asked.user != UserNamespace::Host && joinable(asked).iter().any(|one| matches!(one.1, Namespace::Join(_))))
}

// This process moves, makes the real child as its sibling, says so and ends. In the real child the function returns, with
// the namespaces that it has been born in.
fn enter_first(job: &Job<'_>) -> Result<process::Namespaces, LaunchError> {
    let asked = &job.plan.namespaces;
    let mut namespaces = new_namespaces(asked);
    if let Namespace::Join(index) = asked.pid {
        let target = descriptor(job.descriptors, index)?;
        process::join(target, process::Namespaces::PID).at(Step::JoinNamespace, || "pid".to_owned())?;
    }
    if !job.plan.extra.clocks.is_empty() {
        process::unshare(process::Namespaces::TIME).at(Step::NewNamespace, || "time".to_owned())?;
        extra::set_clocks(&job.plan.extra.clocks)?;
        namespaces = namespaces.without(process::Namespaces::TIME);
    }
    let joined = join_what_is_ours(job)?;
    if let UserNamespace::Join(index) = asked.user {
        if let Some(score) = job.plan.process.oom_score_adj {
            write_own("oom_score_adj", &score.to_string()).at(Step::OomScore, || score.to_string())?;
        }
        // Root in there may raise none.
        program::allow_limits(&job.plan.process.rlimits)?;
        let target = descriptor(job.descriptors, index)?;
        process::join(target, process::Namespaces::USER).at(Step::JoinNamespace, || "user".to_owned())?;
    }
    clone_sibling(&job.channel, namespaces)?;
    Ok(joined)
}

// Before a user namespace is entered: what belongs to the host's root, or to another user namespace, cannot be joined from
// inside. What cannot be joined from here may well be the user namespace's own.
fn join_what_is_ours(job: &Job<'_>) -> Result<process::Namespaces, LaunchError> {
    let mut joined = process::Namespaces::NONE;
    if job.plan.namespaces.user == UserNamespace::Host {
        return Ok(joined);
    }
    for (_, from, kind) in joinable(&job.plan.namespaces) {
        let Namespace::Join(index) = from else { continue };
        if process::join(descriptor(job.descriptors, index)?, kind).is_ok() {
            joined = joined.with(kind);
        }
    }
    Ok(joined)
}

/// Makes the real child as a sibling of the calling process, which then ends; returns in the real child.
pub(crate) fn clone_sibling(channel: &Channel, namespaces: process::Namespaces) -> Result<(), LaunchError> {
    let how = Clone { namespaces, cgroup: None, sibling: true };
    match process::clone(&how).at(Step::Clone, String::new)? {
        Cloned::Child => Ok(()),
        Cloned::Parent(child) => {
            let said = message::send_cloned(channel, child.pid, child.pidfd.as_fd());
            process::exit(i32::from(said.is_err()))
        }
    }
}

fn joinable(asked: &Namespaces) -> [(&'static str, Namespace, process::Namespaces); 5] {
    use process::Namespaces as Kind;
    [
        ("ipc", asked.ipc, Kind::IPC),
        ("uts", asked.uts, Kind::UTS),
        ("network", asked.network, Kind::NETWORK),
        ("time", asked.time, Kind::TIME),
        ("cgroup", asked.cgroup, Kind::CGROUP),
    ]
}

fn join_namespaces(job: &Job<'_>, joined: process::Namespaces) -> Result<(), LaunchError> {
    let asked = &job.plan.namespaces;
    for (name, from, kind) in joinable(asked) {
        if let Namespace::Join(index) = from
            && !joined.contains(kind)
        {
            let target = descriptor(job.descriptors, index)?;
            process::join(target, kind).at(Step::JoinNamespace, || name.to_owned())?;
        }
    }
    if job.plan.extra.late_cgroups { Ok(()) } else { leave_cgroup_namespace(job) }
}

// Its root is the cgroup that this process is in by now.
fn leave_cgroup_namespace(job: &Job<'_>) -> Result<(), LaunchError> {
    if job.plan.namespaces.cgroup == Namespace::New {
        process::unshare(process::Namespaces::CGROUP).at(Step::NewNamespace, || "cgroup".to_owned())?;
    }
    Ok(())
}

/// Joins what the parent makes meanwhile, and waits for it.
pub(crate) fn join_late(job: &Job<'_>) -> Result<(), LaunchError> {
    let extra = &job.plan.extra;
    if extra.late_cgroups {
        message::wait_for_late(&job.channel).at(Step::JoinCgroup, String::new)?;
        Cgroups::open(&CgroupJoin { unified: None, ..job.plan.cgroup.clone() })?.join()?;
        leave_cgroup_namespace(job)?;
    }
    if extra.late_network {
        let network = || "network".to_owned();
        let come = message::wait_for_late(&job.channel).at(Step::NewNamespace, network)?;
        process::join(descriptor(&come, 0)?, process::Namespaces::NETWORK).at(Step::JoinNamespace, network)?;
    }
    Ok(())
}

/// Brings up the one link that a new network namespace has, and that programs rely on.
pub(crate) fn loopback_up() -> std::io::Result<()> {
    const LOOPBACK: u32 = 1;
    let mut batch = Batch::new();
    route::link_change(&mut batch, LOOPBACK, LinkChange { up: Some(true), ..LinkChange::default() });
    Socket::open(Protocol::Route)?
        .transact(&mut batch)
        .map_err(|error| std::io::Error::from_raw_os_error(error.errno()))
}

fn set_host_name(plan: &LaunchPlan) -> Result<(), LaunchError> {
    if plan.namespaces.uts == Namespace::Host {
        return Ok(());
    }
    if !plan.hostname.is_empty() {
        rustix::system::sethostname(plan.hostname.as_bytes()).at(Step::Hostname, || plan.hostname.clone())?;
    }
    if !plan.domainname.is_empty() {
        rustix::system::setdomainname(plan.domainname.as_bytes()).at(Step::Hostname, || plan.domainname.clone())?;
    }
    Ok(())
}

/// The descriptor that a plan means.
pub(crate) fn descriptor(descriptors: &[OwnedFd], index: Index) -> Result<BorrowedFd<'_>, LaunchError> {
    descriptors.get(index).map(AsFd::as_fd).ok_or_else(|| {
        LaunchError::in_words(Step::Plan, "", format!("descriptor {index} was not sent ({} were)", descriptors.len()))
    })
}
