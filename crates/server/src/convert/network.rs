//! Networks.

use std::{collections::BTreeMap, net::IpAddr};

use hako_api::network::{Ipam, IpamConfig, Network, NetworkContainer};
use hako_base::clock;
use hako_engine::view::{EndpointView, NetworkView};
use hako_model::AddressPool;

use crate::convert::{endpoint, some_map};

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
            options: some_map(&spec.ipam_options),
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
