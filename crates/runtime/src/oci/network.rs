//! A new network namespace, made on a thread of its own while the caller makes the cgroups: in the clone of the process
//! the kernel would need a tenth of the whole start for it.
//!
//! Only where nothing else decides whose it is: a container with a user namespace of its own gets its network from the
//! clone, and so does one whose thread could not make it (the clone then says why).

use std::{io, os::fd::OwnedFd, thread, time::Duration};

use hako_base::backoff;
use hako_sys::{netlink::namespace, process};

use crate::{
    child,
    plan::{Index, LaunchPlan, Namespace, UserNamespace},
};

/// How long the kernel may take to forget a thread that has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// One under way. The process has one thread again when this is gone.
pub(super) struct Ahead(Option<thread::JoinHandle<io::Result<OwnedFd>>>);

impl Ahead {
    /// Begins, if the plan has a new network namespace that can be made here.
    pub(super) fn begin(plan: &LaunchPlan) -> Option<Self> {
        let asked = &plan.namespaces;
        if asked.network != Namespace::New || asked.user != UserNamespace::Host || !plan.extra.loopback {
            return None;
        }
        let make = || {
            namespace::enter_new()?;
            child::loopback_up()?;
            namespace::current()
        };
        thread::Builder::new().name("netns".into()).spawn(make).ok().map(|thread| Self(Some(thread)))
    }

    /// Waits for it, and has the plan join it as the descriptor `index`.
    pub(super) fn finish(mut self, plan: &mut LaunchPlan, index: Index) -> Option<OwnedFd> {
        let made = self.wait()?;
        plan.namespaces.network = Namespace::Join(index);
        plan.extra.loopback = false;
        Some(made)
    }

    fn wait(&mut self) -> Option<OwnedFd> {
        let made = self.0.take()?.join();
        // The kernel may still be taking the thread away when it is said to have ended.
        backoff::wait_for(PATIENCE, || process::is_single_threaded().then_some(()))?;
        made.ok()?.ok()
    }
}

impl Drop for Ahead {
    // What undoes a start that failed meanwhile runs hooks.
    fn drop(&mut self) {
        let _ = self.wait();
    }
}
