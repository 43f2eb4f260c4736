//! What can go wrong with networks.
//!
//! Where Docker has a sentence that clients and scripts know, it is that sentence.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use hako_base::ErrorKind;
use hako_model::{NetworkId, PortKey};
use hako_sys::netlink::NetlinkError;
use ipnet::IpNet;

/// A failure of the network mechanism.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("network {id} is not up", id = .id.short())]
    NotUp { id: NetworkId },
    #[error("all predefined address pools have been fully subnetted")]
    PoolsExhausted,
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    Overlap { subnet: IpNet },
    #[error(
        "cannot create network {id} ({bridge}): conflicts with network {other} ({bridge}): networks have same bridge name"
    )]
    BridgeTaken { id: NetworkId, bridge: String, other: NetworkId },
    #[error("gateway mode 'isolated' can only be used for an internal network")]
    IsolatedOutside,
    #[error("the kernel has no {kind} links (CONFIG_{option})")]
    NoLinkKind { kind: &'static str, option: String },
    #[error("requested {what} '{asked}' is not valid, {default} is the {driver} driver default", default = default_of(what), driver = what.split(' ').next().unwrap_or_default())]
    StackedMode { what: &'static str, asked: String },
    #[error("loopback interface is not a valid {driver} parent link")]
    LoopbackParent { driver: &'static str },
    #[error("-o parent interface was not found on the host: {parent}")]
    NoParent { parent: String },
    #[error("invalid subinterface vlan name {name}, example formatting is eth0.10")]
    SubInterface { name: String },
    #[error("vlan id must be between 1-4094, received: {parent}")]
    VlanId { parent: String },
    #[error("parent interface {parent} is used by network {other}, and the two cannot share it")]
    ParentTaken { parent: String, other: String },
    #[error("cannot set sysctl {name} for an endpoint: it has to be net.*.*.IFNAME.*")]
    EndpointSysctl { name: String },
    #[error("error renaming interface: the container has a link {name} already: file exists")]
    InterfaceTaken { name: String },
    #[error("bridge driver doesn't support multiple subnets")]
    SeveralSubnets,
    #[error("failed to allocate gateway ({gateway}): Address already in use")]
    GatewayTaken { gateway: IpAddr },
    #[error("no matching subnet for gateway {gateway}")]
    GatewayOutside { gateway: IpAddr },
    #[error("no matching subnet for range {range}")]
    RangeOutside { range: IpNet },
    #[error("failed to parse {option} value: {value} (invalid for this option)")]
    Option { option: String, value: String },
    #[error(
        "an MTU of {mtu} is too small for this network: IPv6 needs 1280 (com.docker.network.driver.mtu, or no --ipv6)"
    )]
    SmallMtu { mtu: u32 },
    #[error("no available {family} addresses on this network's address pools: {name} ({id})")]
    AddressesExhausted { family: &'static str, name: String, id: NetworkId },
    #[error("Address already in use")]
    AddressTaken { address: IpAddr },
    #[error("invalid address {address}: It does not belong to any of this network's subnets")]
    AddressOutside { address: IpAddr },
    #[error("network {name} is full: a Linux bridge has 1023 ports")]
    BridgeFull { name: String },
    #[error("bridge {bridge} belongs to another daemon ({alias})")]
    BridgeForeign { bridge: String, alias: String },
    #[error("link {bridge} exists and is not a bridge")]
    NotABridge { bridge: String },
    #[error("Bind for {host} failed: port is already allocated")]
    PortAllocated { host: SocketAddr },
    #[error("failed to bind host port for {host}:{target}:{container}")]
    PortBind { host: SocketAddr, target: IpAddr, container: PortKey, source: io::Error },
    #[error("all ports are allocated")]
    PortsExhausted,
    #[error("cannot publish {container}: the container has no address on this network")]
    NoTarget { container: PortKey },
    #[error("cannot {what} {subject}")]
    Netlink { what: &'static str, subject: String, source: NetlinkError },
    #[error("cannot {what} {subject}")]
    System { what: &'static str, subject: String, source: io::Error },
}

impl NetworkError {
    /// What the layers above make of it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotUp { .. } => ErrorKind::NotFound,
            Self::Overlap { .. } | Self::BridgeTaken { .. } | Self::ParentTaken { .. } | Self::SeveralSubnets | Self::AddressTaken { .. } | Self::BridgeForeign { .. } => ErrorKind::Forbidden,
            Self::NoLinkKind { .. } => ErrorKind::NotImplemented,
            Self::InterfaceTaken { .. } => ErrorKind::Conflict,
            Self::GatewayOutside { .. }
            | Self::IsolatedOutside
            | Self::StackedMode { .. }
            | Self::LoopbackParent { .. }
            | Self::NoParent { .. }
            | Self::SubInterface { .. }
            | Self::VlanId { .. }
            | Self::EndpointSysctl { .. }
            | Self::RangeOutside { .. }
            | Self::Option { .. }
            | Self::SmallMtu { .. }
            | Self::AddressOutside { .. } => ErrorKind::InvalidInput,
            Self::PoolsExhausted
            | Self::AddressesExhausted { .. }
            | Self::GatewayTaken { .. }
            | Self::BridgeFull { .. }
            | Self::NotABridge { .. }
            // Docker answers 500 to a port that is taken, and clients match the sentence.
            | Self::PortAllocated { .. }
            | Self::PortBind { .. }
            | Self::PortsExhausted
            | Self::NoTarget { .. }
            | Self::Netlink { .. }
            | Self::System { .. } => ErrorKind::Internal,
        }
    }
}

fn default_of(what: &str) -> &'static str {
    match what {
        "macvlan mode" => "'bridge' mode",
        "ipvlan mode" => "'l2' mode",
        _ => "'bridge'",
    }
}

/// Adds what was being done, and to what, to a refusal of the kernel.
pub(crate) trait Context<T> {
    fn context(self, what: &'static str, subject: impl Into<String>) -> Result<T, NetworkError>;
}

impl<T> Context<T> for Result<T, NetlinkError> {
    fn context(self, what: &'static str, subject: impl Into<String>) -> Result<T, NetworkError> {
        self.map_err(|source| NetworkError::Netlink { what, subject: subject.into(), source })
    }
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: &'static str, subject: impl Into<String>) -> Result<T, NetworkError> {
        self.map_err(|source| NetworkError::System { what, subject: subject.into(), source })
    }
}
