//! What a container asks of its networks: names and ids resolved, and checked as Docker checks it.

use std::{collections::BTreeMap, net::IpAddr};

use hako_base::ErrorKind;
use hako_model::{ContainerSpec, EndpointSpec, NetworkMode};
use ipnet::IpNet;

use super::NetworkRecord;
use crate::{
    Engine, EngineError,
    record::{EndpointRecord, Record},
};

pub(super) const WITH_HOST: &str = "container cannot be disconnected from host network or connected to host network";
pub(super) const WITH_NONE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";
pub(super) const SHARED: &str =
    "container sharing network namespace with another container or host cannot be connected to any other network";

impl Engine {
    /// The networks a new container is to join, by their names, with what it asks of each.
    ///
    /// # Errors
    /// A network that is not there, or a wish that it cannot fulfil.
    pub(crate) fn places(&self, spec: &ContainerSpec) -> Result<BTreeMap<String, EndpointRecord>, EngineError> {
        let mut places = BTreeMap::new();
        let Some(main) = spec.host.network_mode.network_name() else {
            return if spec.networks.is_empty() { Ok(places) } else { Err(EngineError::invalid(SHARED)) };
        };
        // As with Docker: who asks for places in networks, and for none as the first of them, has those alone.
        let main = match spec.networks.keys().next() {
            Some(first) if spec.host.network_mode == NetworkMode::Default => first.as_str(),
            _ => main,
        };
        // `--bridge none`: who wants the default bridge has a network of its own with nothing in it.
        if self.config.bridge_disabled && matches!(main, "bridge" | "default") {
            return Ok(places);
        }
        let main = self.networks.find(main)?.spec.name.clone();
        places.insert(main.clone(), EndpointRecord::default());
        for (name, asked) in &spec.networks {
            let network = self.networks.find(name)?;
            self.check_company(&main, &network.spec.name)?;
            check(&network, asked).map_err(|why| {
                EngineError::invalid(format!("invalid config for network {}: {why}", network.spec.name))
            })?;
            let place = EndpointRecord { spec: asked.clone(), ..EndpointRecord::default() };
            places.insert(network.spec.name.clone(), place);
        }
        Ok(places)
    }

    // `host` and `none` stand alone.
    fn check_company(&self, main: &str, other: &str) -> Result<(), EngineError> {
        match (main, other) {
            (main, other) if main == other => Ok(()),
            ("host", _) => Err(EngineError::invalid(SHARED)),
            (_, "host") => Err(EngineError::invalid(WITH_HOST)),
            ("none", _) | (_, "none") => Err(EngineError::invalid(WITH_NONE)),
            _ => Ok(()),
        }
    }

    /// Whether a container that is there may join this network.
    pub(super) fn check_connect(
        &self,
        record: &Record,
        network: &NetworkRecord,
        asked: &EndpointSpec,
    ) -> Result<(), EngineError> {
        let name = network.spec.name.as_str();
        if matches!(record.spec.host.network_mode, NetworkMode::Host | NetworkMode::Container(_)) {
            return Err(forbidden(SHARED));
        }
        super::join::check_place(network)?;
        if name == "host" {
            return Err(forbidden(WITH_HOST));
        }
        let alone = record.endpoints.keys().all(|known| known == name);
        if (name == "none" && !alone) || (name != "none" && record.endpoints.contains_key("none")) {
            return Err(forbidden(WITH_NONE));
        }
        check(network, asked).map_err(EngineError::invalid)
    }
}

// Docker's status for these is 403.
fn forbidden(text: &str) -> EngineError {
    EngineError::Mechanism { kind: ErrorKind::Forbidden, text: text.to_owned() }
}

/// Whether a network can give what is asked; all that it cannot, in Docker's words.
fn check(network: &NetworkRecord, asked: &EndpointSpec) -> Result<(), String> {
    let mut wrong: Vec<String> = Vec::new();
    let addresses: Vec<IpAddr> = asked.ipv4.map(IpAddr::V4).into_iter().chain(asked.ipv6.map(IpAddr::V6)).collect();
    if network.is_predefined() {
        if !addresses.is_empty() {
            wrong.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        if !asked.aliases.is_empty() {
            wrong.push("network-scoped alias is supported only for containers in user defined networks".to_owned());
        }
    } else {
        for address in addresses {
            wrong.extend(check_address(network, address));
        }
    }
    if let Some(name) =
        asked.driver_options.get("com.docker.network.endpoint.ifname").filter(|name| !is_link_name(name))
    {
        wrong.push(format!("invalid interface name: {name}"));
    }
    for address in asked.link_local.iter().filter(|address| !is_link_local(**address)) {
        wrong.push(format!("invalid link-local IP address: {address}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("invalid endpoint settings:\n{}", wrong.join("\n"))) }
}

// Only subnets that a person named keep their addresses over a new life of the network.
fn check_address(network: &NetworkRecord, address: IpAddr) -> Option<String> {
    let family = |net: &IpNet| matches!(net, IpNet::V6(_)) == address.is_ipv6();
    let mut asked = network.spec.pools.iter().map(|pool| pool.subnet).filter(family).peekable();
    if asked.peek().is_none() {
        let text =
            "user specified IP address is supported only when connecting to networks with user configured subnets";
        return Some(text.to_owned());
    }
    (!asked.any(|subnet| subnet.contains(&address)))
        .then(|| format!("no configured subnet contains IP address {address}"))
}

/// What the kernel takes for a link's name, and `lo` is not to be had.
fn is_link_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace();
    (1..=15).contains(&name.len()) && !matches!(name, "." | ".." | "lo") && !name.contains(odd)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
