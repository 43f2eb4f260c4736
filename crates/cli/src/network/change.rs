//! `network create`, `connect`, `disconnect`, `rm` and `prune`.

use hako_api::{
    Map,
    network::{
        ConfigReference, EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest,
        NetworkCreateRequest, NetworkDisconnectRequest,
    },
    query::PruneQuery,
};
use hako_client::Client;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::{CommandError, client_message},
    filter::FilterFlag,
    flag::{FlagSet, KeyValue},
    parse::name::{Label, Link},
    system::confirm::confirm,
};

pub(crate) struct Create {
    attachable: bool,
    auxiliary: Vec<KeyValue>,
    config_from: String,
    config_only: bool,
    driver: String,
    gateways: Vec<String>,
    ingress: bool,
    internal: bool,
    ip_ranges: Vec<String>,
    ipam_driver: String,
    ipam_options: Vec<KeyValue>,
    ipv4: Option<bool>,
    ipv6: Option<bool>,
    labels: Vec<Label>,
    options: Vec<KeyValue>,
    scope: String,
    subnets: Vec<String>,
}

impl Default for Create {
    fn default() -> Self {
        Self {
            attachable: false,
            auxiliary: Vec::new(),
            config_from: String::new(),
            config_only: false,
            driver: "bridge".to_owned(),
            gateways: Vec::new(),
            ingress: false,
            internal: false,
            ip_ranges: Vec::new(),
            ipam_driver: "default".to_owned(),
            ipam_options: Vec::new(),
            ipv4: None,
            ipv6: None,
            labels: Vec::new(),
            options: Vec::new(),
            scope: String::new(),
            subnets: Vec::new(),
        }
    }
}

impl Command for Create {
    const SHAPE: &'static Shape = &Shape {
        paths: &["network create"],
        usage: "[OPTIONS] NETWORK",
        about: "Make a network",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.attachable, "--attachable", "Containers may join it by hand");
        set.add(&mut self.auxiliary, "--aux-address", "Address that the driver keeps (name=address)");
        set.add(&mut self.config_from, "--config-from", "Network to take the configuration from");
        set.add(&mut self.config_only, "--config-only", "Make a configuration alone");
        set.add(&mut self.driver, "-d, --driver", "Driver (default \"bridge\")");
        set.add(&mut self.gateways, "--gateway", "Gateway of a subnet").kind("strings");
        set.add(&mut self.ingress, "--ingress", "Make the routing mesh of a swarm");
        set.add(&mut self.internal, "--internal", "Without a way to the outside");
        set.add(&mut self.ip_ranges, "--ip-range", "Part of a subnet to take addresses from").kind("strings");
        set.add(&mut self.ipam_driver, "--ipam-driver", "Driver for addresses (default \"default\")");
        set.add(&mut self.ipam_options, "--ipam-opt", "Option of that driver (name=value)");
        set.add(&mut self.ipv4, "--ipv4", "Give IPv4 addresses (default true)");
        set.add(&mut self.ipv6, "--ipv6", "Give IPv6 addresses");
        set.add(&mut self.labels, "--label", "Label (name=value)");
        set.add(&mut self.options, "-o, --opt", "Option of the driver (name=value)");
        set.add(&mut self.scope, "--scope", "Where it reaches");
        set.add(&mut self.subnets, "--subnet", "Subnet in CIDR form").kind("strings");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let body = self.request(&words[0])?;
        let answer = cx.client()?.network_create(&body).await?;
        if !answer.warning.is_empty() {
            cx.remark(&format!("WARNING: {}", answer.warning));
        }
        cx.print_line(&answer.id)
    }
}

impl Create {
    fn request(self, name: &str) -> Result<NetworkCreateRequest, CommandError> {
        let config = pools(&self.subnets, &self.ip_ranges, &self.gateways, &self.auxiliary)?;
        let pairs = |given: &[KeyValue]| given.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
        let labels = self.labels.iter().map(|label| {
            let (key, value) = label.0.split_once('=').unwrap_or((&label.0, ""));
            (key.to_owned(), value.to_owned())
        });
        Ok(NetworkCreateRequest {
            name: name.to_owned(),
            driver: self.driver,
            scope: self.scope,
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            ipam: Some(Ipam {
                driver: self.ipam_driver,
                options: Some(pairs(&self.ipam_options)),
                config: Some(config),
            }),
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            config_only: self.config_only,
            config_from: (!self.config_from.is_empty()).then_some(ConfigReference { network: self.config_from }),
            options: Some(pairs(&self.options)),
            labels: Some(labels.collect()),
        })
    }
}

// Ranges, gateways and kept addresses go to the subnet that contains them.
fn pools(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    kept: &[KeyValue],
) -> Result<Vec<IpamConfig>, CommandError> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err(CommandError::Said("every ip-range or gateway must have a corresponding subnet".to_owned()));
    }
    let mut pools: Vec<IpamConfig> =
        subnets.iter().map(|subnet| IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() }).collect();
    for range in ranges {
        find_pool(&mut pools, "range", range)?.ip_range.clone_from(range);
    }
    for gateway in gateways {
        find_pool(&mut pools, "gateway", gateway)?.gateway.clone_from(gateway);
    }
    for pair in kept {
        find_pool(&mut pools, "aux-address", &pair.value)?
            .auxiliary_addresses
            .insert(pair.key.clone(), pair.value.clone());
    }
    Ok(pools)
}

fn find_pool<'p>(pools: &'p mut [IpamConfig], what: &str, address: &str) -> Result<&'p mut IpamConfig, CommandError> {
    let bare = address.split('/').next().unwrap_or(address);
    pools
        .iter_mut()
        .find(|pool| contains(&pool.subnet, bare))
        .ok_or_else(|| CommandError::Said(format!("no matching subnet for {what} {address}")))
}

fn contains(subnet: &str, address: &str) -> bool {
    use std::net::IpAddr;
    let Some((base, bits)) = subnet.split_once('/') else { return false };
    match (base.parse(), address.parse(), bits.parse::<u32>()) {
        (Ok(IpAddr::V4(base)), Ok(IpAddr::V4(address)), Ok(bits @ 0..=32)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(base) & mask == u32::from(address) & mask
        }
        (Ok(IpAddr::V6(base)), Ok(IpAddr::V6(address)), Ok(bits @ 0..=128)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(base) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

#[derive(Default)]
pub(crate) struct Connect {
    aliases: Vec<String>,
    driver_options: Vec<KeyValue>,
    priority: i64,
    ipv4: String,
    ipv6: String,
    links: Vec<Link>,
    link_local: Vec<String>,
}

impl Command for Connect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["network connect"],
        usage: "[OPTIONS] NETWORK CONTAINER",
        about: "Put a container into a network",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.aliases, "--alias", "Further name in the network").kind("strings");
        set.add(&mut self.driver_options, "--driver-opt", "Option of the driver (name=value)");
        set.add(&mut self.priority, "--gw-priority", "The network of highest priority has the default gateway");
        set.add(&mut self.ipv4, "--ip", "IPv4 address");
        set.add(&mut self.ipv6, "--ip6", "IPv6 address");
        set.add(&mut self.links, "--link", "Container to reach by name (container[:alias])");
        set.add(&mut self.link_local, "--link-local-ip", "Link-local address").kind("strings");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let addresses =
            EndpointIpamConfig { ipv4_address: self.ipv4, ipv6_address: self.ipv6, link_local_ips: self.link_local };
        let options: Map = self.driver_options.into_iter().map(|pair| (pair.key, pair.value)).collect();
        let body = NetworkConnectRequest {
            container: words[1].clone(),
            endpoint_config: Some(EndpointSettings {
                ipam_config: Some(addresses),
                links: some(self.links.into_iter().map(|link| link.0).collect()),
                aliases: some(self.aliases),
                driver_opts: Some(options),
                gw_priority: Some(self.priority),
                ..EndpointSettings::default()
            }),
        };
        Ok(cx.client()?.network_connect(&words[0], &body).await?)
    }
}

#[derive(Default)]
pub(crate) struct Disconnect {
    force: bool,
}

impl Command for Disconnect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["network disconnect"],
        usage: "[OPTIONS] NETWORK CONTAINER",
        about: "Take a container out of a network",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.force, "-f, --force", "Even if it does not answer");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let body = NetworkDisconnectRequest { container: words[1].clone(), force: self.force };
        Ok(cx.client()?.network_disconnect(&words[0], &body).await?)
    }
}

#[derive(Default)]
pub(crate) struct Remove {
    force: bool,
}

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["network rm", "network remove"],
        usage: "NETWORK [NETWORK...]",
        about: "Remove networks",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.force, "-f, --force", "Say nothing about those that are not there");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let client = cx.client()?;
        let mut failures = Vec::new();
        for name in names {
            match client.network_remove(&name).await {
                Ok(()) => cx.print_line(&name)?,
                Err(error) if self.force && error.kind() == hako_base::ErrorKind::NotFound => {}
                Err(error) => failures.push(client_message(&error)),
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(CommandError::Several(failures)) }
    }
}

#[derive(Default)]
pub(crate) struct Prune {
    filter: FilterFlag,
    force: bool,
}

impl Command for Prune {
    const SHAPE: &'static Shape = &Shape {
        paths: &["network prune"],
        usage: "[OPTIONS]",
        about: "Remove networks that no container is in",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.filter, "--filter", "Only those that match (\"until=24h\", \"label=name\")");
        set.add(&mut self.force, "-f, --force", "Do not ask");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let warning = "WARNING! This will remove all custom networks not used by at least one container.";
        if !self.force && !confirm(cx, warning)? {
            return Ok(());
        }
        let text = prune(&cx.client()?, self.filter).await?;
        cx.print(&text)
    }
}

/// Prunes and tells what is gone.
///
/// # Errors
/// What the daemon says.
pub(crate) async fn prune(client: &Client, filter: FilterFlag) -> Result<String, CommandError> {
    let answer = client.network_prune(&PruneQuery { filters: filter.0 }).await?;
    match answer.networks_deleted.filter(|deleted| !deleted.is_empty()) {
        Some(deleted) => Ok(format!("Deleted Networks:\n{}\n\n", deleted.join("\n"))),
        None => Ok(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_to_the_subnet_that_contains_them() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let subnets = texts(&["10.1.0.0/16", "fd00::/64"]);
        let got = pools(&subnets, &texts(&["10.1.5.0/24"]), &texts(&["fd00::1", "10.1.0.9"]), &[]).unwrap();
        assert_eq!((got[0].ip_range.as_str(), got[0].gateway.as_str()), ("10.1.5.0/24", "10.1.0.9"));
        assert_eq!(got[1].gateway, "fd00::1");
        let error = pools(&subnets, &[], &texts(&["192.168.0.1"]), &[]).unwrap_err();
        assert_eq!(error.to_string(), "no matching subnet for gateway 192.168.0.1");
    }
}
