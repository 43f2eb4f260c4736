//! Bundles of the Open Container Initiative, and runc's operations on them.
//!
//! A configuration is translated into a plan by pure functions; each operation is one file. The command line that calls
//! them is in the binary (`hako runtime`). All of it is for a process of its own, with one thread and few descriptors:
//! the engine does not come this way. Start reading at [`create`], then `translate`.

pub mod config; // config.json
mod delegation; // whose a cgroup is
mod late; // what the process joins while it builds its root
mod mount_option; // words of mount(8)
mod open; // descriptors that a plan needs
mod process; // the process of a configuration
mod resources; // cgroup files
mod translate; // a configuration becomes a plan

pub mod record; // what is remembered of a container
pub mod state; // what others are told

pub mod change; // pause, resume, update
pub mod console; // streams and terminals of the caller
pub mod create; // create, run
pub mod end; // kill, delete
pub mod exec; // one more process
pub mod notify; // sd_notify(3)
pub mod show; // ps, events, features, a template
pub mod start; // the gate opens

mod error;

/// What our own runtime makes of a configuration.
#[cfg(test)]
pub(crate) fn plan_of(text: &str, bundle: &std::path::Path) -> Result<crate::LaunchPlan, OciError> {
    let config = serde_json::from_str(text).map_err(|error| OciError::invalid("config.json", error.to_string()))?;
    translate::translate(&config, bundle).map(|done| done.plan)
}

pub use error::OciError;
pub use record::{Container, Containers, Status, USUAL_ROOT};
