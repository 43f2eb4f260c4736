//! `container update`: other limits and another restart policy, also while it runs.

use std::sync::Arc;

use hako_model::{Limits, RestartPolicy};

use crate::{Engine, EngineError};

impl Engine {
    /// Changes the limits that `limits` names (those that are not zero) and, perhaps, the restart policy.
    ///
    /// # Errors
    /// No such container, limits that make no sense, or a kernel that refuses them.
    pub async fn container_update(
        &self,
        name: &str,
        limits: Limits,
        restart: Option<RestartPolicy>,
    ) -> Result<Vec<String>, EngineError> {
        let container = self.containers.find(name)?;
        let _turn = container.operation.lock().await;
        let record = container.record();
        if restart.is_some_and(|policy| policy != RestartPolicy::No) && record.auto_remove() {
            return Err(EngineError::invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        let mut spec = (*record.spec).clone();
        overlay(&mut spec.host.limits, limits);
        if let Some(policy) = restart {
            spec.host.restart = policy;
        }
        let warnings = super::check::spec(&spec, self)?;
        let target = container.clone();
        let wanted = spec.host.limits.clone();
        crate::blocking(move || match target.live.lock().as_ref() {
            Some(live) => live.cgroup.update(&wanted).map_err(|error| EngineError::mechanism(error.kind(), &error)),
            None => Ok(()),
        })
        .await?;
        let record = container.change(|record| record.spec = Arc::new(spec));
        self.settle(&record).await;
        self.publish_container("update", &record, []);
        Ok(warnings)
    }
}

/// Takes over every limit that `new` names.
fn overlay(limits: &mut Limits, new: Limits) {
    let none = Limits::default();
    macro_rules! take {
        ($($field:ident),*) => { $(if new.$field != none.$field { limits.$field = new.$field; })* };
    }
    take!(
        memory_bytes,
        memory_reservation_bytes,
        memory_swap_bytes,
        memory_swappiness,
        nano_cpus,
        cpu_shares,
        cpu_period_us,
        cpu_quota_us,
        cpu_rt_period_us,
        cpu_rt_runtime_us,
        cpuset_cpus,
        cpuset_mems,
        pids_max,
        blkio_weight
    );
}
