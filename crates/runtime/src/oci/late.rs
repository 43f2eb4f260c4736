//! What the container's process joins while it builds its root, made meanwhile: the cgroups of v1 hierarchies and a new
//! network namespace. Together they take a fifth of a start, and none of it is needed before the first mount that shows it.
//!
//! Only where nothing else decides whose they are: a container with a user namespace of its own gets its network from the
//! clone, and who joins other namespaces joins its cgroups first.

use hako_sys::netlink::namespace;

use super::error::OciError;
use crate::{
    cgroup::Cgroup,
    child,
    error::{At, Step},
    launch::Pending,
    plan::{CgroupJoin, LaunchPlan, Namespace, UserNamespace},
};

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

    /// Makes both and hands them over.
    pub(super) fn carry_out(
        self,
        pending: &Pending,
        join: &CgroupJoin,
        make_cgroups: impl FnOnce() -> Result<(), OciError>,
    ) -> Result<(), OciError> {
        make_cgroups()?;
        // Not on a thread of its own: on two processors, one of them the container's, it would only begin when this one waits.
        let network = self.network.then(|| namespace::create_here(child::loopback_up));
        let network = network.transpose().at(Step::NewNamespace, || "network".to_owned()).map_err(OciError::Launch)?;
        pending.hand_over(join, network.as_ref()).map_err(OciError::Launch)
    }
}
