//! The way into a running container: `exec`.
//!
//! ```text
//! keeper ── clone ──► intermediate: joins the cgroups, then all namespaces of the container at once, by pidfd
//!   ▲                       └── clone(CLONE_PARENT) ──► the program: a child of the keeper, inside in every respect
//!   └── reaps both
//! ```
//! A process moves into a pid namespace only by being born there, hence the intermediate.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_sys::{
    credentials,
    executable::ReadOnly,
    features,
    process::{self, Namespaces},
    pty,
    seqpacket::Channel,
    walk,
};
use rustix::fs::OFlags;

use crate::{
    child::{clone_sibling, descriptor},
    error::{At, LaunchError, Step},
    external::drive,
    extra,
    launch::{Cgroups, Stdio, keep_needed, write_own},
    message,
    plan::ExecPlan,
    program,
};

/// Everything the intermediate and the program need.
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a ExecPlan,
    pub(crate) descriptors: &'a [OwnedFd],
    pub(crate) stdio: Stdio,
    /// Where the intermediate moves first of all.
    pub(crate) program: Option<&'a ReadOnly>,
    pub(crate) channel: Channel,
    pub(crate) cgroups: Cgroups,
}

/// Enters, then becomes the program; ends in it, or in a message about the step that failed.
pub(crate) fn run(job: &Job<'_>) -> ! {
    let Err(error) = carry_out(job);
    message::send_failed(&job.channel, &error);
    process::exit(1)
}

fn carry_out(job: &Job<'_>) -> Result<std::convert::Infallible, LaunchError> {
    // Before any namespace is joined: from then on processes of the container can see this one (CVE-2019-5736,
    // CVE-2016-9962).
    job.program.map_or(Ok(()), ReadOnly::enter).at(Step::Session, || "program".to_owned())?;
    credentials::set_dumpable(false).at(Step::Session, String::new)?;
    keep_needed(&job.channel, job.descriptors, &job.stdio, &job.cgroups)?;
    process::reset_signals().at(Step::Signals, String::new)?;
    if let Some(external) = &job.plan.external {
        return drive::exec(job, external);
    }
    job.cgroups.join()?;
    extra::set_labels(&job.plan.process.special)?;
    if let Some(score) = job.plan.process.oom_score_adj {
        write_own("oom_score_adj", &score.to_string()).at(Step::OomScore, || score.to_string())?;
    }
    let target = descriptor(job.descriptors, job.plan.target)?;
    join_all(target).at(Step::JoinNamespace, || "of the container".to_owned())?;
    clone_sibling(&job.channel, Namespaces::NONE)?;

    rustix::process::setsid().at(Step::Session, String::new)?;
    let terminal = match job.stdio {
        Stdio::Terminal { rows, columns, lines_as_written } => {
            let pair = open_terminal(rows, columns)?;
            if lines_as_written {
                pty::keep_lines(&pair.master).at(Step::Terminal, String::new)?;
            }
            message::send_terminal(&job.channel, pair.master.as_fd()).at(Step::Terminal, String::new)?;
            Some(pair.slave)
        }
        Stdio::Streams { .. } => None,
    };
    let start = program::Start {
        process: &job.plan.process,
        descriptors: job.descriptors,
        init: None,
        stdio: &job.stdio,
        make_cwd: false,
        channel: &job.channel,
        gate: None,
        hooks: None,
    };
    program::run(&start, terminal)
}

fn join_all(target: BorrowedFd<'_>) -> std::io::Result<()> {
    let mut kinds = Namespaces::MOUNT
        .with(Namespaces::PID)
        .with(Namespaces::IPC)
        .with(Namespaces::UTS)
        .with(Namespaces::NETWORK)
        .with(Namespaces::CGROUP);
    if features::time_namespaces() {
        kinds = kinds.with(Namespaces::TIME);
    }
    match process::join(target, kinds.with(Namespaces::USER)) {
        // The kernel refuses to join the user namespace that one is in already, and then joins nothing at all.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => process::join(target, kinds),
        Err(error) => Err(error),
        // As root of the container's user namespace, not as the nobody that the keeper's user is there.
        Ok(()) => credentials::become_user(0, 0, &[]),
    }
}

fn open_terminal(rows: u16, columns: u16) -> Result<pty::Pair, LaunchError> {
    let root = hako_sys::mount::open_directory("/".as_ref()).at(Step::Terminal, String::new)?;
    let devpts = walk::open_in_root(root.as_fd(), "/dev/pts".as_ref(), OFlags::PATH | OFlags::DIRECTORY)
        .at(Step::Terminal, || "/dev/pts".to_owned())?;
    let pair = pty::open_in(devpts.as_fd()).at(Step::Terminal, || "/dev/pts/ptmx".to_owned())?;
    pty::resize(&pair.master, rows, columns).at(Step::Terminal, String::new)?;
    Ok(pair)
}
