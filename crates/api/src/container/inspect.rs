//! `GET /containers/{id}/json`: everything about one container.

use std::collections::BTreeMap;

use crate::{
    ApiVersion,
    container::{ContainerConfig, HostConfig, PortMap},
    network::EndpointSettings,
    wire::{Map, is_default},
};

wire! {
    /// Everything about one container.
    pub struct ContainerInspect {
        pub id: String,
        pub created: String,
        pub path: String,
        pub args: Vec<String>,
        pub state: ContainerState,
        pub image: String,
        pub resolv_conf_path: String,
        pub hostname_path: String,
        pub hosts_path: String,
        pub log_path: String,
        pub name: String,
        pub restart_count: i64,
        pub driver: String,
        pub platform: String,
        pub mount_label: String,
        pub process_label: String,
        pub app_armor_profile: String,
        #[serde(rename = "ExecIDs")]
        pub exec_ids: Option<Vec<String>>,
        pub host_config: HostConfig,
        pub graph_driver: DriverData,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        pub mounts: Vec<MountPoint>,
        pub config: ContainerConfig,
        pub network_settings: NetworkSettings,
    }

    /// Where it stands.
    pub struct ContainerState {
        pub status: String,
        pub running: bool,
        pub paused: bool,
        pub restarting: bool,
        #[serde(rename = "OOMKilled")]
        pub oom_killed: bool,
        pub dead: bool,
        pub pid: i64,
        pub exit_code: i64,
        pub error: String,
        pub started_at: String,
        pub finished_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<Health>,
    }

    /// How well it is.
    pub struct Health {
        pub status: String,
        pub failing_streak: i64,
        pub log: Vec<HealthcheckResult>,
    }

    /// One look at how well it is.
    pub struct HealthcheckResult {
        pub start: String,
        pub end: String,
        pub exit_code: i64,
        pub output: String,
    }

    /// The storage behind a container or an image.
    pub struct DriverData {
        pub data: Option<Map>,
        pub name: String,
    }

    /// A mount as it was carried out.
    pub struct MountPoint {
        #[serde(rename = "Type", skip_serializing_if = "is_default")]
        pub kind: String,
        #[serde(skip_serializing_if = "is_default")]
        pub name: String,
        pub source: String,
        pub destination: String,
        #[serde(skip_serializing_if = "is_default")]
        pub driver: String,
        pub mode: String,
        #[serde(rename = "RW")]
        pub rw: bool,
        pub propagation: String,
    }

    /// Networks, and the legacy copy of the default bridge's endpoint beside them.
    pub struct NetworkSettings {
        pub bridge: String,
        #[serde(rename = "SandboxID")]
        pub sandbox_id: String,
        pub sandbox_key: String,
        pub ports: PortMap,
        pub hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        pub link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        pub link_local_ipv6_prefix_len: i64,
        #[serde(rename = "SecondaryIPAddresses")]
        pub secondary_ip_addresses: Option<Vec<String>>,
        #[serde(rename = "SecondaryIPv6Addresses")]
        pub secondary_ipv6_addresses: Option<Vec<String>>,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        pub mac_address: String,
        pub networks: BTreeMap<String, EndpointSettings>,
    }
}

impl ContainerInspect {
    /// The same as this version of the API shows it.
    #[must_use]
    pub fn for_version(mut self, version: ApiVersion) -> Self {
        let short: String = self.id.chars().take(12).collect();
        for endpoint in self.network_settings.networks.values_mut() {
            endpoint.shape(version, &short);
        }
        self
    }
}
