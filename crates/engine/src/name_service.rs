//! The name service of containers in user-defined networks: started with the first such network, stopped at the
//! container's end. Its sockets are the keeper's too, so that questions wait for the next daemon.
//!
//! What the service answers is `hako_network::dns`'s matter; who is called what, `network::names`'s.

use std::{
    collections::HashMap,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use hako_model::ContainerId;
use hako_network::{
    Sandbox,
    dns::{NameServer, NameSockets, Upstreams, track_loopback},
    names::NameTables,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    Engine, EngineError,
    container::{files::HOST_RESOLV_CONF, plan::capabilities},
    record::Record,
};

/// The server, and the sockets of the last daemon that wait to be served again.
pub(crate) struct NameService {
    server: NameServer,
    adopted: Mutex<HashMap<ContainerId, NameSockets>>,
}

impl NameService {
    pub(crate) fn new(runtime: Handle, names: Arc<NameTables>) -> Self {
        Self { server: NameServer::new(runtime, names), adopted: Mutex::default() }
    }

    /// What the keeper has kept of a container's service.
    pub(crate) fn adopt(&self, id: ContainerId, descriptors: Vec<OwnedFd>) {
        match NameSockets::adopt(descriptors) {
            Some(sockets) => drop(self.adopted.lock().insert(id, sockets)),
            None => tracing::error!(container = %id.short(), "what the keeper kept is no name service"),
        }
    }
}

impl Engine {
    /// Serves names to a container, if that is not done already.
    pub(crate) fn name_service_start(&self, record: &Record, sandbox: &Sandbox) -> Result<(), EngineError> {
        let service = &self.name_service;
        if service.server.serves(record.id) {
            return Ok(());
        }
        let failed = |error: hako_network::NetworkError| EngineError::mechanism(error.kind(), &error);
        let adopted = service.adopted.lock().remove(&record.id);
        let sockets = match adopted {
            Some(sockets) => sockets,
            None => {
                let sockets = NameSockets::open(sandbox.netns(), makes_rules(record)).map_err(failed)?;
                let copies = sockets.copies().map_err(failed)?.into_iter().map(Arc::new).collect();
                let kept = self.keepers.keep(&key(record.id), copies);
                kept.map_err(|error| EngineError::mechanism(error.kind(), &error))?;
                sockets
            }
        };
        let upstreams = Upstreams::new(&self.dns_plan(record).servers, Path::new(HOST_RESOLV_CONF));
        service.server.start(record.id, sockets, sandbox.netns(), upstreams).map_err(failed)
    }

    /// The container has ended: its namespace can go.
    pub(crate) fn name_service_stop(&self, id: ContainerId) {
        if !self.name_service.server.stop(id) {
            return;
        }
        if let Err(error) = self.keepers.discard(&key(id)) {
            tracing::warn!(container = %id.short(), %error, "the keeper still holds its name service");
        }
    }

    /// After every container has been adopted: sockets of those that are gone are closed.
    pub(crate) fn name_service_sweep(&self) {
        let gone = std::mem::take(&mut *self.name_service.adopted.lock());
        for id in gone.into_keys() {
            if let Err(error) = self.keepers.discard(&key(id)) {
                tracing::warn!(container = %id.short(), %error, "the keeper still holds its name service");
            }
        }
    }
}

/// Whether a container may make rules in its network.
fn makes_rules(record: &Record) -> bool {
    capabilities(&record.spec.host).is_ok_and(|capabilities| capabilities.has("CAP_NET_ADMIN"))
}

/// A container joins the network of the one whose process `pidfd` names.
pub(crate) fn note_joining(record: &Record, pidfd: BorrowedFd<'_>) -> Result<(), EngineError> {
    if makes_rules(record) { note_ruler(pidfd) } else { Ok(()) }
}

/// Who has come into the network of this process may make rules there.
pub(crate) fn note_ruler(pidfd: BorrowedFd<'_>) -> Result<(), EngineError> {
    track_loopback(pidfd).map_err(|error| EngineError::mechanism(error.kind(), &error))
}

/// The name under which the keeper holds a container's sockets.
fn key(id: ContainerId) -> String {
    format!("names {id}")
}

/// Which container's sockets these are.
pub(crate) fn owner(key: &str) -> Option<ContainerId> {
    key.strip_prefix("names ")?.parse().ok()
}
