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
            return Err(EngineError::conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        fits(&record.spec.host.limits, &limits)?;
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
        container.samples.lock().outdate();
        let record = container.change(|record| record.spec = Arc::new(spec));
        self.settle(&record).await;
        self.publish_container("update", &record, []);
        Ok(warnings)
    }
}

/// Whether new limits go with the old ones that stay.
///
/// # Errors
/// In Docker's words, which say what to change at the same time.
fn fits(old: &Limits, new: &Limits) -> Result<(), EngineError> {
    let swap = old.memory_swap_bytes;
    if new.memory_swap_bytes == 0 && swap > 0 && new.memory_bytes > swap.unsigned_abs() {
        return Err(EngineError::invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    let period_and_quota = [(old.cpu_period_us != 0, "CPU Period"), (old.cpu_quota_us != 0, "CPU Quota")];
    if let Some((_, name)) = period_and_quota.iter().find(|(is_set, _)| *is_set && new.nano_cpus > 0) {
        return Err(EngineError::invalid(format!(
            "Conflicting options: Nano CPUs cannot be updated as {name} has already been set"
        )));
    }
    if old.nano_cpus > 0 && (new.cpu_period_us != 0 || new.cpu_quota_us != 0) {
        let name = if new.cpu_period_us == 0 { "CPU Quota" } else { "CPU Period" };
        return Err(EngineError::invalid(format!(
            "Conflicting options: {name} cannot be updated as NanoCPUs has already been set"
        )));
    }
    Ok(())
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
