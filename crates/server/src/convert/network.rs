//! Networks.

use std::{collections::BTreeMap, net::IpAddr};

use hako_api::network::{ConfigReference, Ipam, IpamConfig, Network, NetworkContainer, NetworkCreateRequest};
use hako_base::{ErrorKind, clock};
use hako_engine::{
    Families,
    view::{EndpointView, NetworkView},
};
use hako_model::{AddressPool, NetworkDriver, NetworkSpec};
use ipnet::IpNet;

use crate::{convert::endpoint, error::Failure};

/// One network; a list does not show who is in it.
pub(crate) fn network(view: &NetworkView, with_containers: bool) -> Network {
    let spec = &view.spec;
    Network {
        name: spec.name.clone(),
        id: view.id.to_string(),
        created: clock::rfc3339_nano(view.created),
        scope: "local".to_owned(),
        driver: spec.driver.name().to_owned(),
        enable_ipv4: Some(spec.ipv4),
        enable_ipv6: spec.ipv6,
        ipam: Ipam {
            driver: if spec.ipam_driver.is_empty() { "default".to_owned() } else { spec.ipam_driver.clone() },
            options: spec.ipam_options.clone(),
            config: (!spec.pools.is_empty()).then(|| spec.pools.iter().map(pool).collect()),
        },
        internal: spec.internal,
        attachable: spec.attachable,
        containers: if with_containers {
            view.containers.iter().map(|(id, (name, view))| (id.clone(), member(name, view))).collect()
        } else {
            BTreeMap::new()
        },
        options: spec.options.clone(),
        labels: spec.labels.clone(),
        config_only: spec.config_only,
        config_from: ConfigReference { network: spec.config_from.clone().unwrap_or_default() },
        ..Network::default()
    }
}

fn pool(from: &AddressPool) -> IpamConfig {
    IpamConfig {
        subnet: from.subnet.to_string(),
        ip_range: from.range.map_or_else(String::new, |range| range.to_string()),
        gateway: from.gateway.map_or_else(String::new, |gateway| gateway.to_string()),
        auxiliary_addresses: from.auxiliary.iter().map(|(name, address)| (name.clone(), address.to_string())).collect(),
    }
}

fn member(name: &str, view: &EndpointView) -> NetworkContainer {
    let with_prefix =
        |address: Option<IpAddr>, prefix: u8| address.map_or_else(String::new, |address| format!("{address}/{prefix}"));
    NetworkContainer {
        name: name.to_owned(),
        endpoint_id: view.endpoint_id.clone(),
        mac_address: endpoint::mac_text(view.mac),
        ipv4_address: with_prefix(view.address.map(IpAddr::V4), view.prefix),
        ipv6_address: with_prefix(view.address6.map(IpAddr::V6), view.prefix6),
    }
}

/// What is asked for, and which families of addresses by name.
///
/// # Errors
/// Everything that makes no sense about subnets and addresses at once, as Docker tells it; what only a swarm has.
pub(crate) fn spec(request: NetworkCreateRequest) -> Result<(NetworkSpec, Families), Failure> {
    let driver = driver(&request)?;
    let ipam = request.ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | "default" | "null") {
        return Err(Failure::not_found(format!("plugin \"{}\" not found", ipam.driver)));
    }
    let mut wrong = Vec::new();
    let families = Families { ipv4: request.enable_ipv4, ipv6: request.enable_ipv6 };
    let pools = ipam.config.unwrap_or_default().iter().filter_map(|config| read_pool(config, &mut wrong)).collect();
    if !wrong.is_empty() {
        return Err(Failure::invalid(format!("invalid network config:\n{}", wrong.join("\n"))));
    }
    let spec = NetworkSpec {
        name: request.name,
        driver,
        internal: request.internal,
        attachable: request.attachable,
        ipv4: families.ipv4.unwrap_or(true),
        ipv6: families.ipv6.unwrap_or(false),
        pools,
        ipam_driver: if ipam.driver.is_empty() { "default".to_owned() } else { ipam.driver },
        ipam_options: ipam.options,
        options: request.options.unwrap_or_default(),
        labels: request.labels.unwrap_or_default(),
        config_only: request.config_only,
        config_from: request.config_from.map(|from| from.network).filter(|name| !name.is_empty()),
    };
    Ok((spec, families))
}

fn driver(request: &NetworkCreateRequest) -> Result<NetworkDriver, Failure> {
    let forbidden = |text: &str| Err(Failure::new(ErrorKind::Forbidden, text));
    match request.scope.as_str() {
        "" | "local" => {}
        "swarm" => return forbidden("cannot create a swarm scoped network when swarm is not active"),
        other => return Err(Failure::invalid(format!("invalid network scope: {other}"))),
    }
    if request.ingress {
        return forbidden("Ingress network can only be global scope network");
    }
    if request.config_only {
        // Its driver is for the networks that are made from it to say.
        return Ok(NetworkDriver::Null);
    }
    match request.driver.as_str() {
        "" | "bridge" => Ok(NetworkDriver::Bridge),
        "macvlan" => Ok(NetworkDriver::Macvlan),
        "ipvlan" => Ok(NetworkDriver::Ipvlan),
        "host" => Ok(NetworkDriver::Host),
        "null" | "none" => Ok(NetworkDriver::Null),
        "overlay" => forbidden(crate::dispatch::NOT_A_MANAGER),
        other => Err(Failure::not_found(format!("plugin \"{other}\" not found"))),
    }
}

/// One subnet; what is wrong with it is added to `wrong`.
fn read_pool(config: &IpamConfig, wrong: &mut Vec<String>) -> Option<AddressPool> {
    let Ok(subnet) = config.subnet.parse::<IpNet>() else {
        wrong.push(format!("invalid subnet {}: invalid CIDR block notation", config.subnet));
        return None;
    };
    if subnet != subnet.trunc() {
        wrong.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
    }
    let mut inside = |what: &str, text: &str| -> Option<IpAddr> {
        let Ok(address) = text.parse::<IpAddr>() else {
            wrong.push(format!("invalid {what} {text}: invalid address"));
            return None;
        };
        if !subnet.contains(&address) {
            wrong.push(format!("invalid {what} {text}: parent subnet {subnet} doesn't contain this address"));
        }
        Some(address)
    };
    let gateway = Some(&config.gateway).filter(|text| !text.is_empty()).and_then(|text| inside("gateway", text));
    let auxiliary = config
        .auxiliary_addresses
        .iter()
        .filter_map(|(name, text)| Some((name.clone(), inside(&format!("auxiliary address {name}:"), text)?)))
        .collect();
    let range = Some(&config.ip_range).filter(|text| !text.is_empty()).and_then(|text| read_range(text, subnet, wrong));
    Some(AddressPool { subnet, range, gateway, auxiliary })
}

fn read_range(text: &str, subnet: IpNet, wrong: &mut Vec<String>) -> Option<IpNet> {
    let Ok(range) = text.parse::<IpNet>() else {
        wrong.push(format!("invalid ip-range {text}: invalid CIDR block notation"));
        return None;
    };
    if range != range.trunc() {
        wrong.push(format!("invalid ip-range {range}: it should be {}", range.trunc()));
    }
    if !subnet.contains(&range) {
        wrong.push(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"));
    }
    Some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match spec(serde_json::from_str(text).unwrap()) {
            Ok((spec, _)) => format!("{} {} {:?}", spec.driver.name(), spec.ipv6, spec.pools.len()),
            Err(failure) => format!("{} {}", failure.status, failure.message),
        }
    }

    #[test]
    fn a_body_as_the_docker_cli_sends_it_is_understood() {
        let text = r#"{"Name":"n","CheckDuplicate":true,"Driver":"bridge","Scope":"","EnableIPv6":true,"IPAM":{"Driver":"default",
            "Options":{},"Config":[{"Subnet":"10.1.0.0/16","IPRange":"10.1.5.0/24","Gateway":"10.1.0.9",
            "AuxiliaryAddresses":{"a":"10.1.0.2"}}]},"Internal":false,"Attachable":false,"Ingress":false,
            "ConfigOnly":false,"ConfigFrom":null,"Options":{},"Labels":{}}"#;
        assert_eq!(read(text), "bridge true 1");
        assert_eq!(read(r#"{"Name":"n","IPAM":null}"#), "bridge false 0");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let text = r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"10.1.2.3/16","Gateway":"10.2.0.1"},{"Subnet":"10.0.0.0/33"}]}}"#;
        assert_eq!(
            read(text),
            "400 invalid network config:\n\
             invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16\n\
             invalid gateway 10.2.0.1: parent subnet 10.1.2.3/16 doesn't contain this address\n\
             invalid subnet 10.0.0.0/33: invalid CIDR block notation"
        );
        assert_eq!(read(r#"{"Driver":"nosuch"}"#), "404 plugin \"nosuch\" not found");
        assert!(read(r#"{"Driver":"overlay"}"#).starts_with("403 This node is not a swarm manager."));
        assert_eq!(read(r#"{"Scope":"swarm"}"#), "403 cannot create a swarm scoped network when swarm is not active");
    }
}
