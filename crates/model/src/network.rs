//! Networks and a container's place in them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What makes a network work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    Bridge,
    Host,
    Null,
    Macvlan,
    Ipvlan,
}

impl NetworkDriver {
    /// Docker's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

/// Addresses of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    pub subnet: IpNet,
    /// Part of the subnet that containers get addresses from by themselves.
    pub range: Option<IpNet>,
    pub gateway: Option<IpAddr>,
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// A network as a person asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub name: String,
    pub driver: NetworkDriver,
    pub internal: bool,
    pub attachable: bool,
    pub ipv4: bool,
    pub ipv6: bool,
    pub pools: Vec<AddressPool>,
    pub ipam_driver: String,
    /// `None` where nobody spoke of them: `inspect` tells that from none at all.
    pub ipam_options: Option<BTreeMap<String, String>>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Nothing but settings that other networks are made with.
    #[serde(default)]
    pub config_only: bool,
    /// The network that the settings are from, by name.
    #[serde(default)]
    pub config_from: Option<String>,
}

/// What a container asks of one network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSpec {
    pub aliases: Vec<String>,
    pub links: Vec<String>,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub link_local: Vec<IpAddr>,
    pub mac: Option<[u8; 6]>,
    pub driver_options: BTreeMap<String, String>,
    pub gateway_priority: i64,
}
