//! What containers are called in their networks, and where the name service is told of them.
//!
//! Every way into a network (start, connect, adoption) ends in [`Engine::names_enter`], every way out in
//! [`Engine::names_leave`]; a rename enters again. The table itself is `hako_network::names`.

use hako_model::EndpointSpec;
use hako_network::{
    Endpoint, Sandbox,
    names::{EndpointNames, Links},
};

use super::NetworkRecord;
use crate::{Engine, EngineError, record::Record};

impl Engine {
    /// The container is in this network, with this endpoint: others find it from now on, and its own name service
    /// answers for the network too.
    ///
    /// # Errors
    /// Its name service cannot be started.
    pub(crate) fn names_enter(
        &self,
        record: &Record,
        network: &NetworkRecord,
        asked: &EndpointSpec,
        endpoint: &Endpoint,
        sandbox: &Sandbox,
    ) -> Result<(), EngineError> {
        if !network.serves_names() {
            return Ok(());
        }
        let names = EndpointNames { names: dns_names(record, asked), addresses: endpoint.addresses().collect() };
        self.network.names().insert(network.id, record.id, names);
        let mut links = Self::link_names(record);
        links.extend(Self::link_pairs(asked));
        self.network.names().links_set(record.id, Links { names: links });
        self.name_service_start(record, sandbox)
    }

    /// The container has left its networks: nobody finds it any more, and it holds none of them.
    pub(crate) fn names_leave(&self, record: &Record) {
        self.name_service_stop(record.id);
        for network in record.endpoints.values().filter_map(|place| place.network) {
            self.network.names().remove(network, record.id);
            self.networks.leave(network, record.id);
        }
    }

    /// The container has another name now.
    pub(crate) fn names_renamed(&self, record: &Record) {
        for (name, place) in &record.endpoints {
            let (Some(endpoint), Ok(network)) = (&place.plugged, self.networks.find(name)) else { continue };
            if network.serves_names() {
                let names =
                    EndpointNames { names: dns_names(record, &place.spec), addresses: endpoint.addresses().collect() };
                self.network.names().insert(network.id, record.id, names);
            }
        }
    }
}

/// Name, aliases, short id and host name, as Docker lists them; each once.
pub(crate) fn dns_names(record: &Record, asked: &EndpointSpec) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let (id, hostname) = (record.id.short(), record.spec.hostname.clone());
    let all = std::iter::once(record.name.clone()).chain(asked.aliases.iter().cloned()).chain([id, hostname]);
    for name in all.filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
