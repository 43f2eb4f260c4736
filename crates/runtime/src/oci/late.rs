//! What the container's process joins while it builds its root, made meanwhile: the cgroups of v1 hierarchies and a new
//! network namespace. Together they take a fifth of a start, and none of it is needed before the first mount that shows it.
//!
//! Only where nothing else decides whose they are: a container with a user namespace of its own gets its network from the
//! clone, and who joins other namespaces joins its cgroups first.

use std::{io, os::fd::OwnedFd, thread, time::Duration};

use hako_base::backoff;
use hako_sys::{netlink::namespace, process};

use super::error::OciError;
use crate::{
    cgroup::Cgroup,
    child,
    error::{At, LaunchError, Step},
    launch::Pending,
    plan::{CgroupJoin, LaunchPlan, Namespace, UserNamespace},
};

/// How long the kernel may take to forget a thread that has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be made.
pub(super) struct Join {
    network: bool,
}

impl Join {
    /// Decides, and says it in the plan. `None`: everything is to be there before the process is.
    pub(super) fn plan(plan: &mut LaunchPlan, cgroup: &Cgroup) -> Option<Self> {
        if plan.namespaces.user != UserNamespace::Host || child::enters_first(plan) {
            return None;
        }
        let network = plan.namespaces.network == Namespace::New && plan.extra.loopback;
        if !network && cgroup.layout().hierarchies.is_empty() {
            return None;
        }
        if network {
            plan.namespaces.network = Namespace::Host;
            plan.extra.loopback = false;
        }
        plan.extra.late = true;
        Some(Self { network })
    }

    /// Makes the network on a thread of its own while the caller makes the cgroups, and hands both over. The process has
    /// one thread again then, whatever happened.
    pub(super) fn carry_out(
        self,
        pending: &Pending,
        join: &CgroupJoin,
        make_cgroups: impl FnOnce() -> Result<(), OciError>,
    ) -> Result<(), OciError> {
        let thread = if self.network { Some(begin_network().at(Step::NewNamespace, what)) } else { None };
        let made = make_cgroups();
        let network = thread.map(|thread| finish_network(thread?));
        made?;
        let network = network.transpose().map_err(OciError::Launch)?;
        pending.hand_over(join, network.as_ref()).map_err(OciError::Launch)
    }
}

type Making = thread::JoinHandle<io::Result<OwnedFd>>;

fn what() -> String {
    "network".to_owned()
}

fn begin_network() -> io::Result<Making> {
    let make = || {
        namespace::enter_new()?;
        child::loopback_up()?;
        namespace::current()
    };
    thread::Builder::new().name("netns".into()).spawn(make)
}

fn finish_network(thread: Making) -> Result<OwnedFd, LaunchError> {
    let died = || Err(io::Error::other("the thread that makes it died"));
    let made = thread.join().unwrap_or_else(|_| died());
    // The kernel may still be taking the thread away when it is said to have ended; hooks are for a process of one.
    backoff::wait_for(PATIENCE, || process::is_single_threaded().then_some(()));
    made.at(Step::NewNamespace, what)
}
