//! Networks on the wire, and a container's place in them.

use std::collections::BTreeMap;

use crate::{
    ApiVersion,
    wire::{Map, is_default},
};

wire! {
    /// What `create` asks of networks, by name or id.
    pub struct NetworkingConfig {
        pub endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
    }

    /// A container's place in one network: what was asked for and what it got.
    pub struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        pub ipam_config: Option<EndpointIpamConfig>,
        pub links: Option<Vec<String>>,
        pub aliases: Option<Vec<String>>,
        pub mac_address: String,
        pub driver_opts: Option<Map>,
        /// Since 1.48.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub gw_priority: Option<i64>,
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "DNSNames")]
        pub dns_names: Option<Vec<String>>,
    }

    /// Addresses asked for.
    pub struct EndpointIpamConfig {
        #[serde(rename = "IPv4Address", skip_serializing_if = "is_default")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "is_default")]
        pub ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "is_default")]
        pub link_local_ips: Vec<String>,
    }

    /// One network, in a list or alone.
    pub struct Network {
        pub name: String,
        pub id: String,
        pub created: String,
        pub scope: String,
        pub driver: String,
        /// Since 1.48.
        #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
        pub enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_from: ConfigReference,
        pub config_only: bool,
        pub containers: BTreeMap<String, NetworkContainer>,
        pub options: Map,
        pub labels: Map,
    }

    /// Where the addresses come from.
    pub struct Ipam {
        pub driver: String,
        pub options: Option<Map>,
        /// `null` where the driver has no addresses.
        pub config: Option<Vec<IpamConfig>>,
    }

    /// One subnet.
    pub struct IpamConfig {
        #[serde(skip_serializing_if = "is_default")]
        pub subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "is_default")]
        pub ip_range: String,
        #[serde(skip_serializing_if = "is_default")]
        pub gateway: String,
        #[serde(skip_serializing_if = "is_default")]
        pub auxiliary_addresses: Map,
    }

    /// The network that another takes its configuration from.
    pub struct ConfigReference {
        pub network: String,
    }

    /// The body of `POST /networks/create`.
    pub struct NetworkCreateRequest {
        pub name: String,
        pub driver: String,
        pub scope: String,
        #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
        pub enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
        pub enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_only: bool,
        pub config_from: Option<ConfigReference>,
        pub options: Option<Map>,
        pub labels: Option<Map>,
    }

    /// The answer to it.
    pub struct NetworkCreateResponse {
        pub id: String,
        pub warning: String,
    }

    /// The body of `connect`.
    pub struct NetworkConnectRequest {
        pub container: String,
        pub endpoint_config: Option<EndpointSettings>,
    }

    /// The body of `disconnect`.
    pub struct NetworkDisconnectRequest {
        pub container: String,
        pub force: bool,
    }

    /// The answer to `prune`.
    pub struct NetworkPruneResponse {
        pub networks_deleted: Option<Vec<String>>,
    }

    /// A container in a network.
    pub struct NetworkContainer {
        pub name: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub mac_address: String,
        #[serde(rename = "IPv4Address")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        pub ipv6_address: String,
    }
}

impl EndpointSettings {
    /// Makes it what this version of the API shows for the container with this short id.
    pub fn shape(&mut self, version: ApiVersion, short_id: &str) {
        if !version.at_least(48) {
            self.gw_priority = None;
        }
        // Until 1.45 the short id was an alias of its own; since then it is in `DNSNames` alone.
        if !version.at_least(45)
            && let (Some(aliases), Some(names)) = (&mut self.aliases, &self.dns_names)
            && names.iter().any(|name| name == short_id)
            && !aliases.iter().any(|name| name == short_id)
        {
            aliases.push(short_id.to_owned());
        }
    }
}

impl Network {
    /// The same as this version of the API shows it.
    #[must_use]
    pub fn for_version(mut self, version: ApiVersion) -> Self {
        if !version.at_least(48) {
            self.enable_ipv4 = None;
        }
        self
    }
}
