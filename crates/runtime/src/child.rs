//! The child's side of a launch: the steps in their order, each a few system calls.
//!
//! The child is a copy of the keeper, alone in its thread; it must not return. Everything it does before exec it
//! does as root of its user namespace, non-dumpable, with the container's files only ever reached by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_sys::{
    credentials,
    process::{self, Clone, Cloned},
    seqpacket::Channel,
};

use crate::{
    error::{At, LaunchError, Step},
    launch::{Cgroups, Stdio, keep_needed, write_own},
    message,
    plan::{Index, LaunchPlan, Namespace, Namespaces, UserNamespace},
    program, root,
};

/// Everything the child needs.
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a LaunchPlan,
    pub(crate) descriptors: &'a [OwnedFd],
    pub(crate) stdio: Stdio,
    pub(crate) channel: Channel,
    pub(crate) cgroups: Cgroups,
}

/// Carries the plan out; ends in the program, or in a message about the step that failed.
pub(crate) fn run(job: &Job<'_>) -> ! {
    let Err(error) = carry_out(job);
    message::send_failed(&job.channel, &error);
    process::exit(1)
}

fn carry_out(job: &Job<'_>) -> Result<std::convert::Infallible, LaunchError> {
    let plan = job.plan;
    // First of all, so that nothing of the keeper's memory can be read from inside the container (CVE-2016-9962).
    credentials::set_dumpable(false).at(Step::Session, String::new)?;
    keep_needed(&job.channel, job.descriptors, &job.stdio, &job.cgroups)?;
    process::reset_signals().at(Step::Signals, String::new)?;
    job.cgroups.join()?;
    if let Namespace::Join(index) = plan.namespaces.pid {
        enter_pid_namespace(job, index)?;
    }
    if matches!(plan.namespaces.user, UserNamespace::New { .. }) {
        message::wait_for_go(&job.channel).at(Step::IdMap, String::new)?;
        credentials::become_user(0, 0, &[]).at(Step::IdMap, String::new)?;
    } else if let Some(score) = plan.process.oom_score_adj {
        write_own("oom_score_adj", &score.to_string()).at(Step::OomScore, || score.to_string())?;
    }
    rustix::process::setsid().at(Step::Session, String::new)?;
    join_namespaces(job)?;

    let terminal = root::build(job)?;
    set_host_name(plan)?;
    if let Some(pair) = &terminal {
        message::send_terminal(&job.channel, pair.master.as_fd()).at(Step::Terminal, String::new)?;
    }
    let start = program::Start {
        process: &plan.process,
        descriptors: job.descriptors,
        init: plan.init,
        stdio: &job.stdio,
        terminal: terminal.map(|pair| pair.slave),
        make_cwd: true,
        channel: &job.channel,
    };
    program::run(&start)
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

// A pid namespace can only be joined by one's children: this process moves, makes the real child as its sibling, says
// so and ends. In the real child the function returns.
fn enter_pid_namespace(job: &Job<'_>, index: Index) -> Result<(), LaunchError> {
    let target = descriptor(job.descriptors, index)?;
    process::join(target, process::Namespaces::PID).at(Step::JoinNamespace, || "pid".to_owned())?;
    let namespaces = new_namespaces(&job.plan.namespaces);
    clone_sibling(&job.channel, namespaces)
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

fn join_namespaces(job: &Job<'_>) -> Result<(), LaunchError> {
    use process::Namespaces as Kind;
    let asked = &job.plan.namespaces;
    for (name, from, kind) in [
        ("ipc", asked.ipc, Kind::IPC),
        ("uts", asked.uts, Kind::UTS),
        ("network", asked.network, Kind::NETWORK),
        ("time", asked.time, Kind::TIME),
        ("cgroup", asked.cgroup, Kind::CGROUP),
    ] {
        if let Namespace::Join(index) = from {
            let target = descriptor(job.descriptors, index)?;
            process::join(target, kind).at(Step::JoinNamespace, || name.to_owned())?;
        }
    }
    if asked.cgroup == Namespace::New {
        process::unshare(Kind::CGROUP).at(Step::NewNamespace, || "cgroup".to_owned())?;
    }
    Ok(())
}

fn set_host_name(plan: &LaunchPlan) -> Result<(), LaunchError> {
    if plan.namespaces.uts != Namespace::New {
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
