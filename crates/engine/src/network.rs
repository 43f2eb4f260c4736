//! Networks, and containers' places in them: what there is, and who is in it.
//!
//! The three networks that every host has (`bridge`, `host`, `none`) are made at the first start and keep
//! their ids. A network is one document below `networks/`; it is written last when a network is made and removed
//! first when one goes, so that a crash leaves at most a bridge that the next start sweeps.

mod change; // create, rm, prune
mod connect; // a container joins or leaves while it is there
mod gateway; // which network has the default routes
pub(crate) mod join; // a start's way into its networks, and the way out
pub(crate) mod link; // `--link`: names and variables of another container
pub(crate) mod names; // what containers are called, and the name service's hook
mod place; // what a container asks of its networks, checked
mod ports; // published ports of containers
mod predefined; // bridge, host and none
mod show; // ls, inspect, events

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_base::file::{Durability, write_atomic};
use hako_model::{ContainerId, NetworkId, NetworkSpec};
use hako_network::{BridgePlan, NetworkError};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

pub use change::Families;
pub(crate) use ports::{port_requests_of, ports_key, ports_owner};
pub(crate) use predefined::prepare;

use crate::EngineError;

/// One network, as it is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub(crate) id: NetworkId,
    pub(crate) created: Timestamp,
    /// As it was asked for; the subnets that were chosen are in `plan`.
    pub(crate) spec: NetworkSpec,
    /// For bridges: every choice made.
    pub(crate) plan: Option<BridgePlan>,
}

impl NetworkRecord {
    /// Whether every host has it, and nobody can remove it.
    pub(crate) fn is_predefined(&self) -> bool {
        is_predefined(&self.spec.name)
    }

    /// Whether its containers find each other by name.
    pub(crate) fn serves_names(&self) -> bool {
        self.plan.is_some() && !self.is_predefined()
    }
}

/// Whether this is one of the names that Docker keeps for itself.
pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

/// All networks and their members.
pub(crate) struct Networks {
    directory: PathBuf,
    inner: RwLock<Inner>,
    /// Held by whoever makes or removes a network: a subnet is chosen by what the others have.
    pub(crate) changes: Mutex<()>,
}

#[derive(Default)]
struct Inner {
    by_name: BTreeMap<String, Arc<NetworkRecord>>,
    /// Who is in a network, or on the way into it. A network with members is not removed.
    members: HashMap<NetworkId, BTreeSet<ContainerId>>,
}

impl Networks {
    /// Reads the networks of this data root.
    ///
    /// # Errors
    /// An unreadable or damaged record.
    pub(crate) fn open(data_root: &Path) -> Result<Self, EngineError> {
        let directory = data_root.join("networks");
        let failed = |error: &std::io::Error| EngineError::io(directory.display(), error);
        hako_base::file::make_dir(&directory, 0o700).map_err(|error| failed(&error))?;
        let mut inner = Inner::default();
        for entry in std::fs::read_dir(&directory).map_err(|error| failed(&error))? {
            let path = entry.map_err(|error| failed(&error))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|error| EngineError::io(path.display(), &error))?;
            let record: NetworkRecord = serde_json::from_slice(&bytes)
                .map_err(|error| EngineError::invalid(format!("{} is damaged: {error}", path.display())))?;
            inner.by_name.insert(record.spec.name.clone(), Arc::new(record));
        }
        Ok(Self { directory, inner: RwLock::new(inner), changes: Mutex::new(()) })
    }

    pub(crate) fn all(&self) -> Vec<Arc<NetworkRecord>> {
        self.inner.read().by_name.values().cloned().collect()
    }

    /// By full id, name or unique prefix of the id, in this order.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<NetworkRecord>, EngineError> {
        self.inner.read().find(name)
    }

    /// Finds a network and makes the container a member of it in one step: from now on it is not removed.
    pub(crate) fn enter(&self, name: &str, container: ContainerId) -> Result<Arc<NetworkRecord>, EngineError> {
        let mut inner = self.inner.write();
        let record = inner.find(name)?;
        inner.members.entry(record.id).or_default().insert(container);
        Ok(record)
    }

    /// The container is no member any more.
    pub(crate) fn leave(&self, network: NetworkId, container: ContainerId) {
        let mut inner = self.inner.write();
        if let Some(members) = inner.members.get_mut(&network) {
            members.remove(&container);
            if members.is_empty() {
                inner.members.remove(&network);
            }
        }
    }

    /// Who is in a network.
    pub(crate) fn members(&self, network: NetworkId) -> Vec<ContainerId> {
        self.inner.read().members.get(&network).into_iter().flatten().copied().collect()
    }

    /// Writes a network, and then lets others see it.
    pub(crate) fn put(&self, record: NetworkRecord) -> Result<Arc<NetworkRecord>, EngineError> {
        let path = self.file(record.id);
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| EngineError::invalid(format!("cannot encode the network: {error}")))?;
        write_atomic(&path, &bytes, 0o600, Durability::Power)
            .map_err(|error| EngineError::io(format_args!("cannot write {}", path.display()), &error))?;
        let record = Arc::new(record);
        self.inner.write().by_name.insert(record.spec.name.clone(), record.clone());
        Ok(record)
    }

    /// Forgets a network that nobody is in; else says who is.
    pub(crate) fn remove(&self, record: &NetworkRecord) -> Result<(), Removal> {
        let mut inner = self.inner.write();
        if let Some(members) = inner.members.get(&record.id).filter(|members| !members.is_empty()) {
            return Err(Removal::InUse(members.iter().copied().collect()));
        }
        let path = self.file(record.id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Removal::Failed(EngineError::io(format_args!("cannot remove {}", path.display()), &error)));
            }
            _ => {}
        }
        inner.by_name.remove(&record.spec.name);
        Ok(())
    }

    fn file(&self, id: NetworkId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}

impl Inner {
    fn find(&self, name: &str) -> Result<Arc<NetworkRecord>, EngineError> {
        let name = if name == "default" { "bridge" } else { name };
        // A whole id is never a name: nobody can hide a network behind a name that is another's id.
        if let Some(record) = self.by_name.values().find(|record| name.len() == 64 && record.id.to_string() == name) {
            return Ok(record.clone());
        }
        if let Some(record) = self.by_name.get(name) {
            return Ok(record.clone());
        }
        let mut found =
            self.by_name.values().filter(|record| !name.is_empty() && record.id.to_string().starts_with(name));
        match (found.next(), found.next()) {
            (Some(record), None) => Ok(record.clone()),
            (Some(_), Some(_)) => {
                Err(EngineError::invalid(format!("network {name} is ambiguous (several matches found on ID prefix)")))
            }
            (None, _) => Err(EngineError::NoNetwork { name: name.to_owned() }),
        }
    }
}

/// Why a network was not forgotten.
pub(crate) enum Removal {
    InUse(Vec<ContainerId>),
    Failed(EngineError),
}

pub(crate) fn error(error: NetworkError) -> EngineError {
    EngineError::mechanism(error.kind(), &error)
}
