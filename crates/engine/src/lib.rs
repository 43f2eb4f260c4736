//! The truth about this host.
//!
//! [`Engine`] owns every container, image, network and volume record, and every operation that
//! takes more than one step. It asks mechanisms (`image`, `keeper`, `network`, `volume`) to act
//! and never touches the kernel itself. It knows nothing of HTTP, Docker JSON or clusters.
//!
//! Start reading at `container/create.rs`: it shows the shape of every operation.
#![forbid(unsafe_code)]

mod artifact; // what registries keep beside images
mod claim; // whose exec-root this is
pub mod config; // what the daemon was told
pub mod container; // create, start, stop, remove, list, inspect, logs, attach, …
mod error;
mod event; // what happened, for those who watch
mod exec; // further processes in running containers
mod health; // whether a container does its work
mod image; // images, and what containers make of them
mod image_anatomy; // layers looked at closely
mod keeper; // the keeper, and the one after it
mod limits; // every limit, with its reason
mod log; // what containers wrote
mod name_service; // containers ask it for each other's names
mod network; // networks, endpoints, published ports
mod operation; // steps with undo; how an operation survives a crash
mod prune; // which objects a prune is about
mod record; // what is on disk, one document per container
mod recover; // what the daemon does first
mod registry; // images from and to registries
mod runtime; // which code starts a container
pub mod stdio; // a process's input and output as the daemon holds them
pub mod step; // a process of a build: no container, a layer in the end
mod succession; // what the daemon does when a keeper dies
mod system; // info, events
mod table; // what is in memory: containers by name and id
pub mod timer; // deadlines
mod usage; // what takes room on the disk
mod userns; // which users of the host a container's users are
pub mod view; // what operations take and give
mod view_anatomy; // of images looked at closely
mod volume; // volumes and who uses them
mod volume_copy; // snapshots, clones, export and import of volumes // why an operation did not happen

use std::{ops::Deref, path::PathBuf, sync::Arc};

use hako_model::ContainerId;
use jiff::Timestamp;

pub use config::{EngineConfig, Reloadable};
pub use error::EngineError;
pub use network::Families;
pub use runtime::{RuntimeProgram, Runtimes};
pub use userns::IdMap;

/// The engine; cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Parts>);

/// What the engine is made of.
pub struct Parts {
    pub(crate) config: EngineConfig,
    /// The settings that may have changed since.
    pub(crate) reloadable: parking_lot::RwLock<Reloadable>,
    /// Identifies this data root for as long as it lives.
    pub(crate) id: String,
    pub(crate) started: Timestamp,
    pub(crate) containers: table::Table,
    pub(crate) execs: exec::Execs,
    pub(crate) steps: step::Steps,
    pub(crate) records: record::Records,
    pub(crate) networks: network::Networks,
    pub(crate) events: Arc<event::EventBus>,
    pub(crate) checks: health::Count,
    pub(crate) images: hako_image::Store,
    pub(crate) registry: hako_registry::client::Client,
    pub(crate) volumes: hako_volume::Volumes,
    pub(crate) network: hako_network::Network,
    pub(crate) name_service: name_service::NameService,
    pub(crate) visitor: hako_network::Visitor,
    pub(crate) keepers: keeper::Keepers,
    /// Whether the kernel has our AppArmor profile (not where it has no AppArmor), or why it has not.
    pub(crate) apparmor: Result<bool, String>,
    /// Ids of containers that are being created.
    pub(crate) id_claims: userns::Claims,
    /// Held for as long as the engine is there.
    _claim: claim::Claim,
}

impl Deref for Engine {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Engine {
    /// Where a container's own files are: log, hosts, resolv.conf, hostname.
    pub(crate) fn container_files(&self, id: ContainerId) -> PathBuf {
        self.config.data_root.join("containers").join(id.to_string())
    }

    /// The cgroup that this daemon's containers are below.
    pub(crate) fn cgroup_parent(&self) -> String {
        match (self.config.cgroup_parent.as_str(), self.config.is_default_instance()) {
            ("", true) => "/hako".to_owned(),
            ("", false) => format!("/hako-{}", self.config.instance()),
            (parent, _) => parent.to_owned(),
        }
    }
}

/// Does kernel work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down; nobody is left to see the value.
            Err(_) => std::future::pending().await,
        },
    }
}
