//! What the container's process joins while it builds its root, made meanwhile: the cgroups of v1 hierarchies and a new
//! network namespace. Together they take a fifth of a start, and none of it is needed before the first mount that shows it.
//!
//! Only where nothing else decides whose they are: a container with a user namespace of its own gets its network from the
//! clone, and who joins other namespaces joins its cgroups first.

use std::os::fd::AsFd;

use hako_sys::netlink::namespace;

use super::error::OciError;
use crate::{
    cgroup::Cgroup,
    child,
    error::{At, Step},
    launch::Pending,
    plan::{LaunchPlan, Namespace, UserNamespace},
};

/// Decides what of it there is, and says it in the plan.
pub(super) fn plan(plan: &mut LaunchPlan, cgroup: &Cgroup) {
    if plan.namespaces.user != UserNamespace::Host || child::enters_first(plan) {
        return;
    }
    plan.extra.late_cgroups = !cgroup.layout().hierarchies.is_empty();
    plan.extra.late_network = plan.namespaces.network == Namespace::New && plan.extra.loopback;
    if plan.extra.late_network {
        plan.namespaces.network = Namespace::Host;
        plan.extra.loopback = false;
    }
}

/// Makes what the plan promises and hands it over.
pub(super) fn carry_out(
    plan: &LaunchPlan,
    pending: &Pending,
    make_cgroups: impl FnOnce() -> Result<(), OciError>,
) -> Result<(), OciError> {
    if plan.extra.late_cgroups {
        make_cgroups()?;
        pending.hand_over_cgroups();
    }
    if plan.extra.late_network {
        // Not on a thread of its own: on two processors, one of them the container's, it would only begin when this one waits.
        let network = namespace::create_here(child::loopback_up);
        let network = network.at(Step::NewNamespace, || "network".to_owned()).map_err(OciError::Launch)?;
        pending.hand_over_network(network.as_fd());
    }
    Ok(())
}
