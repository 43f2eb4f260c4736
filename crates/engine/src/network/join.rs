//! A start's way into its networks, and an end's way out.
//!
//! ```text
//! namespace ─ membership ─ plug in, network by network ─ names ─ ports at the way out
//! ```
//! A container joins before its process is made: it gets a namespace that is ready. All of it or nothing.

use std::{collections::BTreeMap, net::IpAddr, os::fd::OwnedFd, sync::Arc};

use hako_model::{ContainerId, NetworkId, NetworkMode};
use hako_network::{Endpoint, EndpointPlan, PublishedPort, Sandbox};

use super::{
    NetworkRecord, error,
    gateway::{self, Candidate, Gateways},
    ports::port_requests,
};
use crate::{
    Engine, EngineError,
    record::{EndpointRecord, Record},
};

/// What a container got in one network.
pub(super) struct Place {
    pub(super) network: Arc<NetworkRecord>,
    /// `None` where there is nothing to plug in: `host`, `none`.
    pub(super) endpoint: Option<Endpoint>,
}

/// What a container got when it joined its networks.
#[derive(Default)]
pub(crate) struct Joined {
    sandbox: Option<Arc<Sandbox>>,
    /// In the order of its interfaces.
    places: Vec<Place>,
    published: Vec<PublishedPort>,
    published_on: Option<String>,
    /// The namespace of its users, if they are not the host's.
    user: Option<Arc<OwnedFd>>,
}

impl Joined {
    /// The container's addresses, in the order of its networks.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.places.iter().filter_map(|place| place.endpoint.as_ref()).flat_map(Endpoint::addresses).collect()
    }

    /// Whether names are served in one of its networks.
    pub(crate) fn serves_names(&self) -> bool {
        self.places.iter().any(|place| place.network.serves_names())
    }

    /// A copy of the namespace, for the plan; `None` when the container has none of its own.
    pub(crate) fn namespace(&self) -> Result<Option<OwnedFd>, EngineError> {
        let copy = self.sandbox.as_ref().map(|sandbox| sandbox.netns().try_clone_to_owned());
        copy.transpose().map_err(|error| EngineError::io("cannot duplicate the network namespace", &error))
    }

    /// What the keeper is to keep with the container.
    pub(crate) fn kept(&self) -> Result<Vec<OwnedFd>, EngineError> {
        Ok(self.namespace()?.into_iter().collect())
    }

    /// Writes the places into the record.
    pub(crate) fn note(&self, record: &mut Record) {
        for place in &self.places {
            note_place(record, place);
        }
        record.published.clone_from(&self.published);
        record.published_on.clone_from(&self.published_on);
    }

    /// The namespace of its users, if they are not the host's.
    pub(crate) fn user(&self) -> Option<Arc<OwnedFd>> {
        self.user.clone()
    }

    pub(crate) fn sandbox(&self) -> Option<Arc<Sandbox>> {
        self.sandbox.clone()
    }
}

/// Writes one place into the record.
pub(super) fn note_place(record: &mut Record, place: &Place) {
    let known = record.endpoints.entry(place.network.spec.name.clone()).or_default();
    known.network = Some(place.network.id);
    known.endpoint_id = NetworkId::random().to_string();
    known.plugged.clone_from(&place.endpoint);
}

impl Engine {
    pub(crate) fn network_record(&self, name: &str) -> Result<Arc<NetworkRecord>, EngineError> {
        self.networks.find(name)
    }

    /// The addresses by which containers reach their host (`host-gateway`): those that the daemon was told, or those
    /// of the default bridge.
    pub(crate) fn host_gateways(&self) -> Vec<IpAddr> {
        if !self.config.host_gateways.is_empty() {
            return self.config.host_gateways.clone();
        }
        let Ok(bridge) = self.networks.find("bridge") else { return Vec::new() };
        let plan = bridge.plan.as_ref();
        [false, true].into_iter().filter_map(|ipv6| plan?.gateway(ipv6)).collect()
    }

    /// A namespace for the container, plugged into its networks, its ports published. All or nothing.
    pub(crate) fn join_networks(&self, record: &Record) -> Result<Joined, EngineError> {
        let (user, network) = self.user_space(record)?.unzip();
        let mut joined = Joined { user: user.map(Arc::new), ..Joined::default() };
        let mode = &record.spec.host.network_mode;
        if matches!(mode, NetworkMode::Container(_)) {
            return Ok(joined);
        }
        let result = self.join(record, network.flatten(), &mut joined);
        if let Err(error) = result {
            self.leave_networks(record.id, &joined);
            return Err(error);
        }
        Ok(joined)
    }

    fn join(&self, record: &Record, own: Option<OwnedFd>, joined: &mut Joined) -> Result<(), EngineError> {
        let mode = &record.spec.host.network_mode;
        let wanted = wanted_places(record);
        for name in order(&wanted, mode.network_name()) {
            let network = self.networks.enter(&name, record.id)?;
            joined.places.push(Place { network: network.clone(), endpoint: None });
            check_place(&network)?;
        }
        if *mode == NetworkMode::Host {
            return Ok(());
        }
        // A namespace that is ready has one end of a pair of links that waits for a bridge.
        let plan = joined.places.first().and_then(|place| place.network.plan.as_ref());
        let plugs = plan.is_some_and(|plan| plan.more.stacked.is_none());
        let sandbox = match own {
            // Owned by the namespace of its users, who may then do there what root may.
            Some(namespace) => self.network.sandbox_adopt(namespace, true),
            None if plugs => self.network.sandbox_take(),
            None => self.network.sandbox_take_isolated(),
        };
        let sandbox = Arc::new(sandbox.map_err(error)?);
        joined.sandbox = Some(sandbox.clone());
        let gateways = gateways(joined.places.iter().map(|place| {
            let priority = wanted.get(&place.network.spec.name).map_or(0, |asked| asked.spec.gateway_priority);
            (&*place.network, priority)
        }));
        for at in 0..joined.places.len() {
            let network = joined.places[at].network.clone();
            let Some(asked) = wanted.get(&network.spec.name) else { continue };
            let endpoint = self.plug_in(record, &network, asked, &sandbox, &gateways, at == 0)?;
            joined.places[at].endpoint = endpoint;
        }
        self.publish_at(record, joined, gateways.publishing()).map_err(|error| match error {
            EngineError::Mechanism { kind, text } => {
                EngineError::Mechanism { kind, text: format!("failed to set up container networking: {text}") }
            }
            other => other,
        })
    }

    /// Plugs a container into one network; `None` where there is nothing to plug in.
    pub(super) fn plug_in(
        &self,
        record: &Record,
        network: &NetworkRecord,
        asked: &EndpointRecord,
        sandbox: &Sandbox,
        gateways: &Gateways,
        is_first: bool,
    ) -> Result<Option<Endpoint>, EngineError> {
        if network.plan.is_none() {
            return Ok(None);
        }
        let has_route = |chosen: &Option<String>| chosen.as_ref() == Some(&network.spec.name);
        // `--mac-address` without a network means the first one.
        let mac = record.spec.mac_address.as_deref().filter(|_| is_first).and_then(parse_mac);
        let options = &asked.spec.driver_options;
        let sysctls = options.get("com.docker.network.endpoint.sysctls").map_or("", String::as_str);
        let plan = EndpointPlan {
            interface: options.get("com.docker.network.endpoint.ifname").cloned(),
            link_local: asked.spec.link_local.clone(),
            sysctls: hako_network::endpoint_sysctls(sysctls).map_err(error)?,
            ipv4: asked.spec.ipv4,
            ipv6: asked.spec.ipv6,
            mac: asked.spec.mac.or(mac),
            default_route: has_route(&gateways.ipv4),
            default_route_ipv6: has_route(&gateways.ipv6),
            ..EndpointPlan::new(network.id)
        };
        let endpoint = self.network.endpoint_attach(sandbox, &plan).map_err(error)?;
        if let Err(error) = self.names_enter(record, network, &asked.spec, &endpoint, sandbox) {
            self.network.names().remove(network.id, record.id);
            self.unplug(&endpoint);
            return Err(error);
        }
        Ok(Some(endpoint))
    }

    fn publish_at(&self, record: &Record, joined: &mut Joined, network: Option<&str>) -> Result<(), EngineError> {
        let place = joined.places.iter().find(|place| Some(place.network.spec.name.as_str()) == network);
        let Some(endpoint) = place.and_then(|place| place.endpoint.as_ref()) else { return Ok(()) };
        let requests = port_requests(record, self.config.publish_address);
        joined.published = self.publish_ports(record, endpoint, &requests)?;
        joined.published_on = network.map(str::to_owned);
        Ok(())
    }

    /// Undoes [`Engine::join_networks`] for a start that failed later.
    pub(crate) fn leave_networks(&self, id: ContainerId, joined: &Joined) {
        self.free_ports(id, &joined.published);
        self.name_service_stop(id);
        for place in &joined.places {
            self.network.names().remove(place.network.id, id);
            if let Some(endpoint) = &place.endpoint {
                self.unplug(endpoint);
            }
            self.networks.leave(place.network.id, id);
        }
    }

    pub(super) fn unplug(&self, endpoint: &Endpoint) {
        if let Err(error) = self.network.endpoint_detach(endpoint) {
            tracing::warn!(link = %endpoint.link, %error, "cannot unplug");
        }
    }

    /// Addresses are free, links and namespace go.
    pub(crate) fn leave_after_exit(&self, record: &Record, sandbox: Option<Arc<Sandbox>>) {
        for endpoint in record.endpoints.values().filter_map(|place| place.plugged.as_ref()) {
            self.unplug(endpoint);
        }
        // Somebody who still looks at it lets go of it by dropping.
        if let Some(sandbox) = sandbox.and_then(Arc::into_inner) {
            self.network.sandbox_release(sandbox);
        }
    }

    /// A running container of the last daemon is in its networks again: it is a member, and has its names.
    pub(crate) fn rejoin(&self, record: &Record, sandbox: Option<&Sandbox>) {
        for (name, place) in &record.endpoints {
            let Ok(network) = self.networks.enter(name, record.id) else {
                tracing::warn!(container = %record.id.short(), network = %name, "the network is gone");
                continue;
            };
            if let (Some(endpoint), Some(sandbox)) = (&place.plugged, sandbox) {
                let served = self.names_enter(record, &network, &place.spec, endpoint, sandbox);
                if let Err(error) = served {
                    tracing::error!(container = %record.id.short(), %error, "it has no name service");
                }
            }
        }
    }
}

/// Settings that other networks are made with are no network.
pub(super) fn check_place(network: &NetworkRecord) -> Result<(), EngineError> {
    if network.spec.config_only {
        let text = "cannot create endpoint on configuration-only network".to_owned();
        return Err(EngineError::Mechanism { kind: hako_base::ErrorKind::Forbidden, text });
    }
    Ok(())
}

/// The networks that a start joins; a container that has left all of them gets its first one again, as with Docker.
fn wanted_places(record: &Record) -> BTreeMap<String, EndpointRecord> {
    let mut wanted = record.endpoints.clone();
    if record.spec.network_disabled {
        wanted = BTreeMap::from([("none".to_owned(), EndpointRecord::default())]);
    }
    if wanted.is_empty() {
        wanted.extend(
            record.spec.host.network_mode.network_name().map(|name| (name.to_owned(), EndpointRecord::default())),
        );
    }
    wanted
}

/// The network of `--network` first, which becomes `eth0`; then by name.
fn order(wanted: &BTreeMap<String, EndpointRecord>, main: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = wanted.keys().cloned().collect();
    names.sort_by_key(|name| Some(name.as_str()) != main);
    names
}

/// Which of these networks (with the container's priority) has the default routes.
pub(super) fn gateways<'a>(places: impl Iterator<Item = (&'a NetworkRecord, i64)>) -> Gateways {
    let candidates: Vec<Candidate> = places
        .filter_map(|(network, priority)| {
            let plan = network.plan.as_ref().filter(|plan| !plan.internal)?;
            let gateway = (plan.gateway(false).is_some(), plan.gateway(true).is_some());
            Some(Candidate { network: network.spec.name.clone(), priority, gateway })
        })
        .collect();
    gateway::choose(&candidates)
}

/// `92:d0:c6:0a:29:33`
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0_u8; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_links_are_read() {
        assert_eq!(parse_mac("92:d0:c6:0a:29:33"), Some([0x92, 0xd0, 0xc6, 0x0a, 0x29, 0x33]));
        for bad in ["", "92:d0", "92:d0:c6:0a:29:33:44", "xx:d0:c6:0a:29:33"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_first_network_comes_first_and_the_rest_by_name() {
        let wanted: BTreeMap<String, EndpointRecord> =
            ["a", "web", "db"].map(|name| (name.to_owned(), EndpointRecord::default())).into();
        assert_eq!(order(&wanted, Some("web")), ["web", "a", "db"]);
        assert_eq!(order(&wanted, None), ["a", "db", "web"]);
    }
}
