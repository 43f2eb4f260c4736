//! Networks of a container, the ports it shows and publishes, and the names it knows others by.

use std::collections::BTreeMap;

use hako_api::{
    Empty,
    container::{PortBinding, PortMap},
    network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig},
};

use super::{Exposed, Known, namespace};
use crate::{
    project::Project,
    service::{Endpoint, Service},
};

/// The option by which a daemon is told what an interface is called in its container.
const INTERFACE_NAME: &str = "com.docker.network.endpoint.ifname";

pub(super) struct Network {
    pub mode: String,
    pub networking: NetworkingConfig,
    pub exposed: Exposed,
    pub bindings: PortMap,
    pub links: Vec<String>,
}

pub(super) fn network(project: &Project, service: &Service, name: &str, known: &Known) -> Result<Network, String> {
    let (exposed, bindings) = ports(service);
    let links = links(service, known);
    if !service.network_mode.is_empty() {
        let mode = namespace(&service.network_mode, known)?;
        return Ok(Network { mode, networking: NetworkingConfig::default(), exposed, bindings, links });
    }
    let mut ordered: Vec<(&String, Endpoint)> =
        service.networks.iter().map(|(key, endpoint)| (key, endpoint.clone().unwrap_or_default())).collect();
    ordered.sort_by_key(|(_, endpoint)| std::cmp::Reverse(endpoint.priority));
    let mut endpoints = BTreeMap::new();
    let mut mode = String::new();
    for (key, mut endpoint) in ordered {
        let Some(network) = project.networks.get(key) else {
            return Err(format!("service {} refers to undefined network {key}", service.name));
        };
        if mode.is_empty() {
            mode.clone_from(&network.name);
            // The service's own address is that of its first network.
            if endpoint.mac_address.is_empty() {
                endpoint.mac_address.clone_from(&service.mac_address);
            }
        }
        endpoints.insert(network.name.clone(), Some(settings(service, name, &endpoint, &links)));
    }
    if mode.is_empty() {
        "none".clone_into(&mut mode);
    }
    let networking = NetworkingConfig { endpoints_config: endpoints };
    Ok(Network { mode, networking, exposed, bindings, links })
}

fn settings(service: &Service, name: &str, endpoint: &Endpoint, links: &[String]) -> EndpointSettings {
    let mut aliases = vec![name.to_owned(), service.name.clone()];
    aliases.extend(endpoint.aliases.iter().filter(|alias| !aliases.contains(alias)).cloned().collect::<Vec<_>>());
    let mut options = endpoint.driver_opts.clone();
    if !endpoint.interface_name.is_empty() {
        options.insert(INTERFACE_NAME.to_owned(), endpoint.interface_name.clone());
    }
    EndpointSettings {
        aliases: Some(aliases),
        links: (!links.is_empty()).then(|| links.to_vec()),
        mac_address: endpoint.mac_address.clone(),
        driver_opts: (!options.is_empty()).then_some(options),
        gw_priority: endpoint.gw_priority,
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: endpoint.ipv4_address.clone(),
            ipv6_address: endpoint.ipv6_address.clone(),
            link_local_ips: endpoint.link_local_ips.clone(),
        }),
        ..EndpointSettings::default()
    }
}

// Every container of the service, by the link's name, by `service-1`, and by its own name.
fn links(service: &Service, known: &Known) -> Vec<String> {
    let mut links = Vec::new();
    for link in &service.links {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        for (at, (name, _)) in known.containers.get(target).into_iter().flatten().enumerate() {
            links.push(format!("{name}:{alias}"));
            links.push(format!("{name}:{target}-{}", at + 1));
            links.push(format!("{name}:{name}"));
        }
    }
    for link in &service.external_links {
        let (name, alias) = link.split_once(':').unwrap_or((link, link));
        links.push(format!("{name}:{alias}"));
    }
    links
}

fn ports(service: &Service) -> (Exposed, PortMap) {
    let mut exposed = Exposed::new();
    let mut bindings = PortMap::new();
    for port in &service.expose {
        let (range, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            exposed.extend((first..=last).map(|port| (format!("{port}/{protocol}"), Empty)));
        }
    }
    for port in &service.ports {
        let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
        let key = format!("{}/{protocol}", port.target);
        exposed.insert(key.clone(), Empty);
        let binding = PortBinding { host_ip: port.host_ip.clone(), host_port: port.published.clone() };
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    (exposed, bindings)
}
