//! Published ports of containers: they lead to the network that has the way out, and move with it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hako_model::{ContainerId, PortBinding, PortKey};
use hako_network::{
    Endpoint, NetworkError, PortRequest, PublishedPort,
    firewall::{Exposure, Reach},
};

use crate::{Engine, EngineError, record::Record, view::ExposureView};

impl Engine {
    /// Publishes what the container asks for, at this endpoint: all of it or nothing.
    pub(crate) fn publish_ports(
        &self,
        record: &Record,
        endpoint: &Endpoint,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>, EngineError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let publication = self.network.publish(endpoint, requests).map_err(|error| EngineError::Mechanism {
            kind: error.kind(),
            text: format!(
                "driver failed programming external connectivity on endpoint {} ({}): {}{}",
                record.name,
                record.id,
                hako_base::error::chain(&error),
                self.owner_text(&error)
            ),
        })?;
        if publication.listeners.is_empty() {
            return Ok(publication.ports);
        }
        match self.keepers.keep(&ports_key(record.id), publication.listeners) {
            Ok(()) => Ok(publication.ports),
            Err(error) => {
                if let Err(error) = self.network.unpublish(&publication.ports) {
                    tracing::warn!(%error, "cannot take published ports back");
                }
                Err(EngineError::mechanism(error.kind(), &error))
            }
        }
    }

    /// Whose port it is that cannot be had, if it is a container's: Docker's sentence goes on before.
    fn owner_text(&self, error: &NetworkError) -> String {
        let NetworkError::PortAllocated { host } = error else { return String::new() };
        let taken = |port: &PublishedPort| {
            let (ip, wanted) = (port.host.ip(), host.ip());
            port.host.port() == host.port()
                && ip.is_ipv4() == wanted.is_ipv4()
                && (ip == wanted || ip.is_unspecified() || wanted.is_unspecified())
        };
        let records = self.containers.all().into_iter().map(|container| container.record());
        let owner = records.into_iter().find(|record| record.published.iter().any(taken));
        owner.map(|record| format!(" (by container {})", record.name)).unwrap_or_default()
    }

    /// Who can reach a container's published ports, and which rules of the host decide.
    ///
    /// # Errors
    /// No such container.
    pub fn container_exposure(&self, name: &str) -> Result<Vec<ExposureView>, EngineError> {
        let record = self.containers.find(name)?.record();
        let view = |port: Exposure| ExposureView {
            container: port.container,
            host: port.host,
            reach: match port.reach {
                Reach::ThisHost => "this host",
                Reach::Everyone => "everyone",
                Reach::Some => "some",
                Reach::Unknown => "unknown",
            },
            reasons: port.reasons,
            translated: port.translated,
        };
        Ok(self.network.exposure(&record.published).into_iter().map(view).collect())
    }

    /// The way out of a running container leads elsewhere now, or nowhere: its ports follow.
    pub(crate) fn move_ports(&self, record: &Record, to: Option<&Endpoint>) -> Result<Vec<PublishedPort>, EngineError> {
        match to {
            None => {
                self.free_ports(record.id, &record.published);
                Ok(Vec::new())
            }
            Some(endpoint)
                if !self.network.translates(endpoint.network)
                    || record.published.iter().any(PublishedPort::is_routed) =>
            {
                self.free_ports(record.id, &record.published);
                self.publish_ports(record, endpoint, &port_requests(record, self.config.publish_address))
            }
            Some(endpoint) if record.published.is_empty() => {
                self.publish_ports(record, endpoint, &port_requests(record, self.config.publish_address))
            }
            Some(endpoint) => {
                self.network.ports_move(&record.published, endpoint).map_err(super::error)?;
                Ok(record.published.clone())
            }
        }
    }

    /// The ports of a container that has ended are free again.
    pub(crate) async fn release_ports(&self, record: &Arc<Record>) {
        if record.published.is_empty() {
            return;
        }
        let (engine, record) = (self.clone(), record.clone());
        crate::blocking(move || engine.free_ports(record.id, &record.published)).await;
    }

    pub(crate) fn free_ports(&self, id: ContainerId, published: &[PublishedPort]) {
        if published.is_empty() {
            return;
        }
        if let Err(error) = self.network.unpublish(published) {
            tracing::warn!(container = %id.short(), %error, "cannot take published ports back");
        }
        if let Err(error) = self.keepers.discard(&ports_key(id)) {
            tracing::warn!(container = %id.short(), %error, "the keeper still holds published ports");
        }
    }
}

/// The name under which the keeper holds a container's ports.
pub(crate) fn ports_key(id: ContainerId) -> String {
    format!("ports {id}")
}

/// Which container's ports these are.
pub(crate) fn ports_owner(key: &str) -> Option<ContainerId> {
    key.strip_prefix("ports ")?.parse().ok()
}

/// `-p` and `-P` of a container.
pub(crate) fn port_requests(record: &Record, default: Option<IpAddr>) -> Vec<PortRequest> {
    let host = &record.spec.host;
    let mut requests = port_requests_of(&host.port_bindings, default);
    if host.publish_all {
        let exposed = record.config.exposed_ports.iter().filter(|port| !host.port_bindings.contains_key(port));
        requests.extend(exposed.map(|port| PortRequest {
            container: *port,
            host: PortBinding { address: default, port: 0, port_end: 0, zero_is_written: false },
        }));
    }
    requests
}

/// The same of some wishes alone.
pub(crate) fn port_requests_of(
    wishes: &BTreeMap<PortKey, Vec<PortBinding>>,
    default: Option<IpAddr>,
) -> Vec<PortRequest> {
    let each = wishes.iter().flat_map(|(port, bindings)| bindings.iter().map(move |binding| (*port, binding)));
    let request = |(container, binding): (PortKey, &PortBinding)| PortRequest {
        container,
        host: PortBinding { address: binding.address.or(default), ..binding.clone() },
    };
    each.map(request).collect()
}
