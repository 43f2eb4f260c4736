//! `pause`, `resume` and `update`.

use std::fs;

use super::{
    config::Resources,
    create::{check_controllers, settings},
    error::OciError,
    record::{Container, Status},
};

/// Stops everything in it where it is.
///
/// # Errors
/// [`OciError::State`] unless it is created or running.
pub fn pause(container: &Container) -> Result<(), OciError> {
    match container.status() {
        Status::Created | Status::Running => Ok(container.cgroup()?.freeze()?),
        status => Err(OciError::state(format!("container not running or created: {}", status.word()))),
    }
}

/// Lets it go on.
///
/// # Errors
/// [`OciError::State`] unless it is paused.
pub fn resume(container: &Container) -> Result<(), OciError> {
    match container.status() {
        Status::Paused => Ok(container.cgroup()?.thaw()?),
        _ => Err(OciError::state("container not paused")),
    }
}

/// Changes what it may use.
///
/// # Errors
/// For what the host or the kernel refuses, [`OciError::NotRunning`].
pub fn update(container: &Container, resources: &Resources) -> Result<(), OciError> {
    if matches!(container.status(), Status::Stopped | Status::Creating) {
        return Err(OciError::NotRunning);
    }
    let cgroup = container.cgroup()?;
    check_controllers(resources, &cgroup)?;
    let memory = &resources.memory;
    if memory.check_before_update == Some(true)
        && let (Some(limit @ 1..), Some(path)) = (memory.limit, cgroup.unified())
        && let Ok(used) = fs::read_to_string(path.join("memory.current")).map(|text| text.trim().parse::<i64>())
        && used.is_ok_and(|used| used > limit)
    {
        return Err(OciError::state("unable to set a memory limit below the memory that is in use"));
    }
    cgroup.change(&settings(resources))
}
