//! Ports, exposed and published.

use std::{collections::BTreeMap, net::IpAddr};

use hako_api::{
    Empty,
    container::{self, PortMap},
};
use hako_engine::view::PortChoice;
use hako_model::{PortBinding, PortKey};

use crate::error::Failure;

fn invalid(text: &str) -> Failure {
    Failure::invalid(format!("invalid port specification: {text:?}"))
}

/// `80`, `8000-8010`; empty is any free one.
fn range(text: &str) -> Option<(u16, u16)> {
    if text.is_empty() {
        return Some((0, 0));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// The keys of `ExposedPorts`; a range stands for its ports.
pub(crate) fn exposed(from: &BTreeMap<String, Empty>) -> Result<Vec<PortKey>, Failure> {
    let mut ports = Vec::new();
    for text in from.keys() {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range(number).filter(|(first, _)| *first > 0).ok_or_else(|| invalid(text))?;
        let key: PortKey = format!("{first}/{protocol}").parse().map_err(|_| invalid(text))?;
        ports.extend((first..=last).map(|port| PortKey { port, protocol: key.protocol }));
    }
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

pub(crate) fn exposed_to_api(ports: &[PortKey]) -> BTreeMap<String, Empty> {
    ports.iter().map(|port| (port.to_string(), Empty)).collect()
}

/// `PortBindings`. A port without a binding gets a free one on every address, as Docker backfills.
pub(crate) fn bindings(from: &PortMap) -> Result<BTreeMap<PortKey, Vec<PortBinding>>, Failure> {
    let mut ports = BTreeMap::new();
    for (key, bindings) in from {
        let key: PortKey = key.parse().map_err(|_| invalid(key))?;
        let mut list = bindings.iter().flatten().map(binding).collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            list.push(PortBinding { address: None, port: 0, port_end: 0, zero_is_written: false });
        }
        ports.insert(key, list);
    }
    Ok(ports)
}

fn binding(from: &container::PortBinding) -> Result<PortBinding, Failure> {
    let bare = from.host_ip.trim_start_matches('[').trim_end_matches(']');
    let address = match bare {
        "" => None,
        text => {
            let parsed: Result<IpAddr, _> = text.parse();
            Some(parsed.map_err(|_| Failure::invalid(format!("invalid IP address: {text}")))?)
        }
    };
    let (port, port_end) = range(&from.host_port)
        .ok_or_else(|| Failure::invalid(format!("invalid port specification: {:?}", from.host_port)))?;
    Ok(PortBinding { address, port, port_end, zero_is_written: from.host_port == "0" })
}

/// `80/tcp`, or `8080:80/tcp` for what is at one port of the host.
pub(crate) fn choice(text: &str) -> Result<PortChoice, Failure> {
    let (host, container) = text.rsplit_once(':').unwrap_or(("0", text));
    let wrong = || invalid(text);
    let protocol = if container.contains('/') { "" } else { "/tcp" };
    Ok(PortChoice {
        container: format!("{container}{protocol}").parse().map_err(|_| wrong())?,
        host: host.parse().map_err(|_| wrong())?,
    })
}

/// What was asked for.
pub(crate) fn bindings_to_api(ports: &BTreeMap<PortKey, Vec<PortBinding>>) -> PortMap {
    let render = |binding: &PortBinding| container::PortBinding {
        host_ip: binding.address.map_or_else(String::new, |address| address.to_string()),
        host_port: match (binding.port, binding.port_end) {
            (0, _) if binding.zero_is_written => "0".to_owned(),
            (0, _) => String::new(),
            (first, last) if last > first => format!("{first}-{last}"),
            (port, _) => port.to_string(),
        },
    };
    ports.iter().map(|(key, list)| (key.to_string(), Some(list.iter().map(render).collect()))).collect()
}

/// Where ports are published; `null` for one that is only exposed.
pub(crate) fn published_to_api(
    published: &BTreeMap<PortKey, Vec<PortBinding>>,
    exposed: &[PortKey],
    running: bool,
) -> PortMap {
    if !running {
        return PortMap::new();
    }
    let mut map: PortMap = exposed.iter().map(|key| (key.to_string(), None)).collect();
    map.extend(bindings_to_api(published).into_iter().map(|(key, list)| (key, list.filter(|list| !list.is_empty()))));
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_survive_both_ways() {
        let text = r#"{"53/udp":[{"HostIp":"127.0.0.1","HostPort":"5353"},{"HostIp":"::1","HostPort":"5353"}],
            "80/tcp":[{"HostIp":"","HostPort":"8000-8010"}],"90/tcp":[{"HostIp":"","HostPort":""}]}"#;
        let asked: PortMap = serde_json::from_str(text).unwrap();
        assert_eq!(bindings_to_api(&bindings(&asked).unwrap()), asked);
    }

    #[test]
    fn a_port_without_binding_gets_any() {
        for text in [r#"{"80/tcp":null}"#, r#"{"80/tcp":[]}"#] {
            let asked: PortMap = serde_json::from_str(text).unwrap();
            let any = PortBinding { address: None, port: 0, port_end: 0, zero_is_written: false };
            assert_eq!(bindings(&asked).unwrap().into_values().next(), Some(vec![any]), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (text, message) in [
            (r#"{"x/tcp":[]}"#, "invalid port specification: \"x/tcp\""),
            (r#"{"80/icmp":[]}"#, "invalid port specification: \"80/icmp\""),
            (r#"{"80/tcp":[{"HostPort":"70000"}]}"#, "invalid port specification: \"70000\""),
            (r#"{"80/tcp":[{"HostPort":"9-8"}]}"#, "invalid port specification: \"9-8\""),
            (r#"{"80/tcp":[{"HostIp":"localhost"}]}"#, "invalid IP address: localhost"),
        ] {
            let asked: PortMap = serde_json::from_str(text).unwrap();
            assert_eq!(bindings(&asked).unwrap_err().message, message);
        }
        let ranges = exposed(&[("8000-8002/udp".to_owned(), Empty)].into()).unwrap();
        assert_eq!(ranges.iter().map(PortKey::to_string).collect::<Vec<_>>(), ["8000/udp", "8001/udp", "8002/udp"]);
    }
}
