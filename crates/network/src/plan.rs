//! Bridges, endpoints and ports: what is wanted, and what was made of it.
//!
//! All of it is plain data that the engine writes into its records and hands back after a restart.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
};

use hako_model::{AddressPool, NetworkId, PortBinding, PortKey};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Auxiliary addresses by these names are where the default routes of a network's containers lead (Docker's names).
pub const DEFAULT_GATEWAY_IPV4: &str = "DefaultGatewayIPv4";
pub const DEFAULT_GATEWAY_IPV6: &str = "DefaultGatewayIPv6";

/// A bridge network, every choice made; [`crate::Network::plan`] makes the choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePlan {
    pub id: NetworkId,
    /// The network's name, for people.
    pub name: String,
    /// The bridge's name on the host.
    pub bridge: String,
    /// Subnets; each has its gateway set, which is the bridge's own address.
    pub pools: Vec<AddressPool>,
    pub mtu: u32,
    /// No way out and none in.
    pub internal: bool,
    /// Whether its containers may talk to each other without publishing.
    pub icc: bool,
    /// Whether what leaves the host carries the host's address.
    pub masquerade: bool,
    /// Where ports are published that name no address (`com.docker.network.bridge.host_binding_ipv4`).
    pub host_binding: Option<IpAddr>,
    /// Driver options that few networks have.
    #[serde(default)]
    pub more: BridgeOptions,
}

impl BridgePlan {
    /// Whether it has an IPv6 subnet.
    pub fn has_ipv6(&self) -> bool {
        self.pools.iter().any(|pool| matches!(pool.subnet, IpNet::V6(_)))
    }

    /// The subnets alone.
    pub fn subnets(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.pools.iter().map(|pool| pool.subnet.trunc())
    }

    /// The bridge's link-layer address: the same whenever the bridge is made again, since containers
    /// remember it for good.
    pub(crate) fn mac(&self) -> [u8; 6] {
        let digits = self.id.to_string();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_default();
        // Beside Docker's 02:42, which containers have.
        [0x02, 0x48, byte(0), byte(2), byte(4), byte(6)]
    }

    /// Where the default route of containers leads: to the bridge, or to the auxiliary address of Docker's name for it.
    pub(crate) fn way_out(&self, ipv6: bool) -> Option<IpAddr> {
        let key = if ipv6 { DEFAULT_GATEWAY_IPV6 } else { DEFAULT_GATEWAY_IPV4 };
        let other = self.pools.iter().find_map(|pool| pool.auxiliary.get(key).copied());
        self.gateway(ipv6).and(other).or(self.gateway(ipv6))
    }

    /// The bridge's address of one family.
    pub fn gateway(&self, ipv6: bool) -> Option<IpAddr> {
        let has_one = self.gateway_mode(ipv6) != GatewayMode::Isolated;
        self.pools.iter().filter_map(|pool| pool.gateway).find(|address| address.is_ipv6() == ipv6 && has_one)
    }
}

/// Driver options that few networks have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeOptions {
    /// How the outside and containers reach each other, by family.
    pub gateway_mode: GatewayMode,
    pub gateway_mode_ipv6: GatewayMode,
    /// What names of links in containers begin with (`com.docker.network.container_iface_prefix`).
    pub interface_prefix: Option<String>,
    /// The bridge itself has no IPv4 address (`com.docker.network.bridge.inhibit_ipv4`).
    pub inhibit_ipv4: bool,
    /// Links from which containers may be reached at their own addresses.
    pub trusted_interfaces: Vec<String>,
    /// There is no bridge: containers' links stand on one of the host's.
    pub stacked: Option<StackedPlan>,
}

/// What a macvlan or ipvlan network stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackedPlan {
    pub mode: StackedMode,
    /// The link's name on the host.
    pub parent: String,
    /// How the parent is made where it is missing; it goes with the network then.
    pub made: Option<MadeParent>,
    /// `None`: the parent's.
    pub mtu: Option<u32>,
}

/// `macvlan_mode`, or `ipvlan_mode` and `ipvlan_flag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackedMode {
    Macvlan(MacvlanMode),
    Ipvlan(IpvlanMode, IpvlanFlag),
}

/// Which links of one parent reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacvlanMode {
    Bridge,
    Private,
    Vepa,
    Passthru,
}

/// Where the kernel decides where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpvlanMode {
    L2,
    L3,
    L3s,
}

/// Which links of one parent reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpvlanFlag {
    Bridge,
    Private,
    Vepa,
}

/// A parent that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MadeParent {
    /// A link that leads nowhere.
    Dummy,
    /// `eth0.10`: the network 10 of `eth0`.
    Vlan { master: String, id: u16 },
}

/// `com.docker.network.bridge.gateway_mode_ipv4` and `_ipv6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// The host's address outwards, published ports inwards.
    #[default]
    Nat,
    /// The same, but every port of a container may be reached at its own address.
    NatUnprotected,
    /// Of internal networks: the host has no address on the bridge.
    Isolated,
    /// No translation either way: published ports are open at containers' own addresses.
    Routed,
}

impl BridgeOptions {
    /// How one family reaches the outside.
    pub(crate) fn gateway_mode_of(&self, ipv6: bool) -> GatewayMode {
        if ipv6 { self.gateway_mode_ipv6 } else { self.gateway_mode }
    }
}

impl BridgePlan {
    /// How one family reaches the outside.
    pub fn gateway_mode(&self, ipv6: bool) -> GatewayMode {
        self.more.gateway_mode_of(ipv6)
    }
}

/// How a sandbox is to be plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPlan {
    pub network: NetworkId,
    /// Name inside; `None`: `eth0`, or the next free number.
    pub interface: Option<String>,
    /// Addresses that were asked for; `None`: the lowest free one.
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub mac: Option<[u8; 6]>,
    /// Link-local addresses beside them.
    pub link_local: Vec<IpAddr>,
    /// Switches below /proc/sys of the container, once its link is there: path with `IFNAME` in it, value.
    pub sysctls: Vec<(String, String)>,
    /// Whether the default routes lead here: for each family one network of a container has it.
    pub default_route: bool,
    pub default_route_ipv6: bool,
}

impl EndpointPlan {
    /// Everything chosen by itself.
    pub fn new(network: NetworkId) -> Self {
        Self {
            network,
            interface: None,
            ipv4: None,
            ipv6: None,
            mac: None,
            link_local: Vec::new(),
            sysctls: Vec::new(),
            default_route: true,
            default_route_ipv6: true,
        }
    }
}

/// A sandbox plugged into a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: NetworkId,
    /// Name inside.
    pub interface: String,
    /// Name of the other end, on the host; empty where there is none (macvlan, ipvlan).
    pub link: String,
    pub mac: [u8; 6],
    pub ipv4: Option<Ipv4Net>,
    pub ipv6: Option<Ipv6Net>,
    /// The network's gateways (`None` for internal networks).
    pub gateway: Option<Ipv4Addr>,
    pub gateway_ipv6: Option<Ipv6Addr>,
}

impl Endpoint {
    /// Where a port published on this host address leads: the same family if the container has it.
    pub(crate) fn target(&self, host: IpAddr) -> Option<IpAddr> {
        let v4 = self.ipv4.map(|net| IpAddr::V4(net.addr()));
        let v6 = self.ipv6.map(|net| IpAddr::V6(net.addr()));
        if host.is_ipv6() { v6.or(v4) } else { v4.or(v6) }
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ipv4.iter().map(|net| net.addr().into()).chain(self.ipv6.iter().map(|net| net.addr().into()))
    }

    /// The MAC address as Docker prints it.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// A port of a container that is to be reachable at the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    pub container: PortKey,
    pub host: PortBinding,
}

/// A port as it was published: one per host address (a binding without one has two).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    pub container: PortKey,
    pub host: SocketAddr,
}

impl PublishedPort {
    /// Whether it is open at the container's own address, and the host has no port for it.
    pub fn is_routed(&self) -> bool {
        self.host.port() == 0
    }
}

/// What publishing gives: the ports, and the sockets that reserve them. The keeper keeps the
/// sockets, so that nobody else gets the ports while the daemon is away.
#[derive(Debug)]
pub struct Publication {
    pub ports: Vec<PublishedPort>,
    pub listeners: Vec<Arc<OwnedFd>>,
}
