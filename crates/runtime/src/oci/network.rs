//! A new network namespace, made on a thread of its own while the caller makes the cgroups: in the clone of the process
//! the kernel would need a tenth of the whole start for it.
//!
//! Only where nothing else decides whose it is: a container with a user namespace of its own gets its network from the
//! clone, and so does one whose thread could not make it (the clone then says why).

use std::{io, os::fd::OwnedFd, thread};

use hako_sys::netlink::namespace;

use crate::{
    child,
    plan::{Index, LaunchPlan, Namespace, UserNamespace},
};

/// One under way.
pub(super) struct Ahead(thread::JoinHandle<io::Result<OwnedFd>>);

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
        thread::Builder::new().name("netns".into()).spawn(make).ok().map(Self)
    }

    /// Waits for it, after which the process has one thread again, and has the plan join it as the descriptor `index`.
    pub(super) fn finish(self, plan: &mut LaunchPlan, index: Index) -> Option<OwnedFd> {
        let made = self.0.join().ok()?.ok()?;
        plan.namespaces.network = Namespace::Join(index);
        plan.extra.loopback = false;
        Some(made)
    }
}
