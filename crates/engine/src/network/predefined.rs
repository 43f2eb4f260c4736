//! The three networks that every host has, and what a start does with all of them.

use std::{collections::BTreeMap, net::IpAddr};

use hako_base::clock;
use hako_model::{AddressPool, NetworkDriver, NetworkId, NetworkSpec};
use hako_network::{DEFAULT_GATEWAY_IPV4, DEFAULT_GATEWAY_IPV6};
use ipnet::IpNet;

use super::{NetworkRecord, Networks, error};
use crate::{EngineConfig, EngineError};

/// Makes what is missing of the three networks that every host has, and brings the bridges up.
///
/// # Errors
/// No free subnet, or a kernel that has no bridges.
pub(crate) fn prepare(
    config: &EngineConfig,
    networks: &Networks,
    mechanism: &hako_network::Network,
) -> Result<(), EngineError> {
    for (name, driver) in [("host", NetworkDriver::Host), ("none", NetworkDriver::Null)] {
        if networks.find(name).is_err() {
            let spec = self::spec(name, driver);
            networks.put(NetworkRecord { id: NetworkId::random(), created: clock::now(), spec, plan: None })?;
        }
    }
    // Those that a person made come first: what they have is taken when the default bridge chooses.
    for record in networks.all().iter().filter(|record| !record.is_predefined()) {
        raise(record, mechanism);
    }
    if !config.bridge_disabled {
        let wanted = bridge_spec(config, bridge_pool(config, &addresses_there(config, mechanism)?));
        let known = networks.find("bridge").ok();
        let fits = known.as_ref().is_some_and(|known| same_wish(&known.spec, &wanted));
        if !fits {
            let id = known.map_or_else(NetworkId::random, |known| known.id);
            let plan = mechanism.plan(id, &wanted, Some(&bridge_name(config))).map_err(error)?;
            let mut spec = wanted;
            spec.pools.clone_from(&plan.pools);
            networks.put(NetworkRecord { id, created: clock::now(), spec, plan: Some(plan) })?;
        }
        if let Some(plan) = &networks.find("bridge")?.plan {
            mechanism.bridge_up(plan).map_err(error)?;
        }
    }
    Ok(())
}

/// One network that cannot be had is no reason to have no daemon: its containers will say so.
fn raise(record: &NetworkRecord, mechanism: &hako_network::Network) {
    let Some(plan) = &record.plan else { return };
    if let Err(error) = mechanism.bridge_up(plan) {
        let error = hako_base::error::chain(&error);
        tracing::error!(network = %record.spec.name, error, "the network cannot be brought up");
        return;
    }
    if record.serves_names() {
        mechanism.names().network_set(record.id, &record.spec.name, !record.spec.internal);
    }
}

/// The addresses of the bridge that `--bridge` names, which a person has made.
///
/// # Errors
/// There is none: a name that was mistyped is not to become a bridge that leads nowhere.
fn addresses_there(config: &EngineConfig, mechanism: &hako_network::Network) -> Result<Vec<IpNet>, EngineError> {
    let name = bridge_name(config);
    if !config.bridge.is_empty() && !mechanism.link_exists(&name).map_err(error)? {
        return Err(EngineError::invalid(format!(
            "--bridge: there is no bridge {name} on this host: make it first (ip link add {name} type bridge), or leave the flag out for one of hako's own"
        )));
    }
    Ok(mechanism.bridge_foreign(&name).map_err(error)?.map(|bridge| bridge.addresses).unwrap_or_default())
}

/// The default bridge's IPv4 subnet: what the flags name (`--bip`, `--fixed-cidr`), or what a bridge that is there has.
fn bridge_pool(config: &EngineConfig, there: &[IpNet]) -> Option<AddressPool> {
    let pool = |address: IpNet, range: Option<IpNet>, gateway: Option<IpAddr>| AddressPool {
        subnet: address.trunc(),
        range,
        gateway,
        auxiliary: BTreeMap::new(),
    };
    let range = config.bridge_range;
    let own = there.iter().filter(|net| net.addr().is_ipv4());
    match config.bridge_address.or_else(|| own.copied().find(|net| range.is_none_or(|range| net.contains(&range)))) {
        Some(address) => Some(pool(address, range, Some(address.addr()))),
        // Part of nothing: it is all there is.
        None => range.map(|range| pool(range, None, None)),
    }
}

fn bridge_name(config: &EngineConfig) -> String {
    match (config.bridge.as_str(), config.is_default_instance()) {
        ("", true) => "hako0".to_owned(),
        ("", false) => format!("hako-{}", config.instance()),
        (name, _) => name.to_owned(),
    }
}

/// A network without a wish.
pub(super) fn spec(name: &str, driver: NetworkDriver) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        driver,
        internal: false,
        attachable: false,
        ipv4: true,
        ipv6: false,
        pools: Vec::new(),
        ipam_driver: "default".to_owned(),
        ipam_options: None,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        config_only: false,
        config_from: None,
    }
}

/// The default bridge, as the daemon's flags want it.
fn bridge_spec(config: &EngineConfig, ipv4: Option<AddressPool>) -> NetworkSpec {
    let mut spec = self::spec("bridge", NetworkDriver::Bridge);
    spec.ipv6 = config.ipv6;
    let auxiliary = |key: &str, gateway: Option<IpAddr>| gateway.map(|address| (key.to_owned(), address));
    if let Some(mut pool) = ipv4 {
        pool.auxiliary.extend(auxiliary(DEFAULT_GATEWAY_IPV4, config.bridge_gateway));
        spec.pools.push(pool);
    }
    if let Some(subnet) = config.bridge_subnet_ipv6.filter(|_| config.ipv6) {
        spec.pools.push(AddressPool {
            subnet: subnet.trunc(),
            range: None,
            gateway: None,
            auxiliary: auxiliary(DEFAULT_GATEWAY_IPV6, config.bridge_gateway_ipv6).into_iter().collect(),
        });
    }
    let binding = config.publish_address.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string());
    for (key, value) in [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", config.icc.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", config.masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", binding),
        ("com.docker.network.bridge.name", bridge_name(config)),
        ("com.docker.network.driver.mtu", config.mtu.to_string()),
    ] {
        spec.options.insert(key.to_owned(), value);
    }
    spec
}

/// Whether the network that is there is what the flags want; subnets that were chosen stay chosen.
fn same_wish(known: &NetworkSpec, wanted: &NetworkSpec) -> bool {
    let fits = |wanted: &AddressPool| {
        known.pools.iter().any(|known| {
            (known.subnet, known.range, &known.auxiliary) == (wanted.subnet, wanted.range, &wanted.auxiliary)
                && wanted.gateway.is_none_or(|gateway| known.gateway == Some(gateway))
        })
    };
    // One with a gateway of its own was asked for by an earlier daemon's flags.
    let asked = |known: &AddressPool| wanted.pools.iter().any(|wanted| wanted.subnet == known.subnet);
    let pools = wanted.pools.iter().all(fits)
        && known.pools.iter().all(|known| (known.auxiliary.is_empty() && known.range.is_none()) || asked(known));
    known.options == wanted.options && known.ipv6 == wanted.ipv6 && pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bip: &str, range: &str, there: &str, expected: &str) {
        let mut config = EngineConfig::new("/data".into(), "/run".into());
        (config.bridge_address, config.bridge_range) = (bip.parse().ok(), range.parse().ok());
        let there: Vec<IpNet> = there.split_whitespace().map(|net| net.parse().unwrap()).collect();
        let shown = bridge_pool(&config, &there).map_or_else(String::new, |pool| {
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let (range, gateway) = (pool.range.map(|it| it.to_string()), pool.gateway.map(|it| it.to_string()));
            format!("{} {} {}", pool.subnet, or_none(range), or_none(gateway))
        });
        assert_eq!(shown, expected, "--bip {bip:?} --fixed-cidr {range:?}, {there:?}");
    }

    #[test]
    fn the_default_bridge_has_the_subnet_that_is_named_or_there() {
        check("", "", "", "");
        check("10.9.0.1/16", "", "", "10.9.0.0/16 - 10.9.0.1");
        check("10.9.0.1/16", "10.9.1.0/24", "", "10.9.0.0/16 10.9.1.0/24 10.9.0.1");
        check("", "10.9.1.0/24", "", "10.9.1.0/24 - -");
        check("", "", "fe80::1/64 10.7.0.5/24", "10.7.0.0/24 - 10.7.0.5");
        check("", "10.7.0.128/25", "10.6.0.1/24 10.7.0.5/24", "10.7.0.0/24 10.7.0.128/25 10.7.0.5");
        check("", "10.8.0.0/24", "10.7.0.5/24", "10.8.0.0/24 - -");
        check("10.9.0.1/16", "", "10.7.0.5/24", "10.9.0.0/16 - 10.9.0.1");
    }
}
