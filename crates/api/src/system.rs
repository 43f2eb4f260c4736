//! The host and the daemon on the wire: `info`, `version`, `system df`, `events`.

use std::collections::BTreeMap;

use crate::{
    ApiVersion,
    container::ContainerSummary,
    image::ImageSummary,
    volume::Volume,
    wire::{Map, is_default},
};

wire! {
    /// The answer of `GET /version`.
    pub struct SystemVersion {
        pub platform: PlatformName,
        #[serde(skip_serializing_if = "is_default")]
        pub components: Vec<ComponentVersion>,
        pub version: String,
        pub api_version: String,
        #[serde(rename = "MinAPIVersion", skip_serializing_if = "is_default")]
        pub min_api_version: String,
        pub git_commit: String,
        pub go_version: String,
        pub os: String,
        pub arch: String,
        #[serde(skip_serializing_if = "is_default")]
        pub kernel_version: String,
        #[serde(skip_serializing_if = "is_default")]
        pub experimental: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub build_time: String,
    }

    /// What the whole calls itself.
    pub struct PlatformName {
        pub name: String,
    }

    /// One part of the whole.
    pub struct ComponentVersion {
        pub name: String,
        pub version: String,
        #[serde(skip_serializing_if = "is_default")]
        pub details: Map,
    }

    /// The answer of `GET /info`.
    pub struct SystemInfo {
        #[serde(rename = "ID")]
        pub id: String,
        pub containers: i64,
        pub containers_running: i64,
        pub containers_paused: i64,
        pub containers_stopped: i64,
        pub images: i64,
        pub driver: String,
        pub driver_status: Vec<[String; 2]>,
        pub plugins: PluginsInfo,
        pub memory_limit: bool,
        pub swap_limit: bool,
        #[serde(rename = "CpuCfsPeriod")]
        pub cpu_cfs_period: bool,
        #[serde(rename = "CpuCfsQuota")]
        pub cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        pub pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        /// Until 1.49, always false.
        #[serde(rename = "BridgeNfIptables", skip_serializing_if = "Option::is_none")]
        pub bridge_nf_iptables: Option<bool>,
        #[serde(rename = "BridgeNfIp6tables", skip_serializing_if = "Option::is_none")]
        pub bridge_nf_ip6tables: Option<bool>,
        pub debug: bool,
        #[serde(rename = "NFd")]
        pub file_descriptors: i64,
        pub oom_kill_disable: bool,
        #[serde(rename = "NGoroutines")]
        pub tasks: i64,
        pub system_time: String,
        pub logging_driver: String,
        pub cgroup_driver: String,
        #[serde(skip_serializing_if = "is_default")]
        pub cgroup_version: String,
        #[serde(rename = "NEventsListener")]
        pub event_listeners: i64,
        pub kernel_version: String,
        pub operating_system: String,
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        #[serde(rename = "OSType")]
        pub os_type: String,
        pub architecture: String,
        pub index_server_address: String,
        pub registry_config: Option<RegistryServiceConfig>,
        #[serde(rename = "NCPU")]
        pub cpus: i64,
        pub mem_total: i64,
        pub generic_resources: Option<Vec<serde_json::Value>>,
        pub docker_root_dir: String,
        pub http_proxy: String,
        pub https_proxy: String,
        pub no_proxy: String,
        pub name: String,
        pub labels: Vec<String>,
        pub experimental_build: bool,
        pub server_version: String,
        pub runtimes: BTreeMap<String, RuntimeInfo>,
        pub default_runtime: String,
        pub swarm: SwarmInfo,
        pub live_restore_enabled: bool,
        pub isolation: String,
        pub init_binary: String,
        pub containerd_commit: Commit,
        pub runc_commit: Commit,
        pub init_commit: Commit,
        pub security_options: Vec<String>,
        #[serde(skip_serializing_if = "is_default")]
        pub product_license: String,
        #[serde(skip_serializing_if = "is_default")]
        pub default_address_pools: Vec<AddressPool>,
        /// Since 1.49.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub firewall_backend: Option<FirewallInfo>,
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: Vec<String>,
        /// Since 1.50.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub discovered_devices: Vec<DeviceInfo>,
        pub warnings: Option<Vec<String>>,
    }

    /// A device that containers may be given by its name.
    pub struct DeviceInfo {
        /// `cdi`
        pub source: String,
        #[serde(rename = "ID")]
        pub id: String,
    }

    /// Drivers by what they drive.
    pub struct PluginsInfo {
        pub volume: Vec<String>,
        pub network: Vec<String>,
        pub authorization: Option<Vec<String>>,
        pub log: Vec<String>,
    }

    /// Registries and how far they are trusted.
    pub struct RegistryServiceConfig {
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: Vec<String>,
        pub index_configs: BTreeMap<String, IndexInfo>,
        pub mirrors: Option<Vec<String>>,
    }

    /// One registry.
    pub struct IndexInfo {
        pub name: String,
        pub mirrors: Vec<String>,
        pub secure: bool,
        pub official: bool,
    }

    /// One OCI runtime.
    pub struct RuntimeInfo {
        #[serde(rename = "path", skip_serializing_if = "is_default")]
        pub path: String,
        #[serde(rename = "runtimeArgs", skip_serializing_if = "is_default")]
        pub runtime_args: Vec<String>,
    }

    /// The commit a part was built from.
    pub struct Commit {
        #[serde(rename = "ID")]
        pub id: String,
        /// Until 1.48; the same as `id`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub expected: Option<String>,
    }

    /// Whether this node is in a swarm.
    pub struct SwarmInfo {
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub node_addr: String,
        pub local_node_state: String,
        pub control_available: bool,
        pub error: String,
        pub remote_managers: Option<Vec<serde_json::Value>>,
    }

    /// Networks are made from these.
    pub struct AddressPool {
        pub base: String,
        pub size: i64,
    }

    /// What carries out the firewall.
    pub struct FirewallInfo {
        pub driver: String,
        #[serde(skip_serializing_if = "is_default")]
        pub info: Vec<[String; 2]>,
    }

    /// The answer of `GET /system/df`; `null` for what was not asked for.
    pub struct DiskUsage {
        pub layers_size: i64,
        pub images: Option<Vec<ImageSummary>>,
        pub containers: Option<Vec<ContainerSummary>>,
        pub volumes: Option<Vec<Volume>>,
        pub build_cache: Option<Vec<crate::build::BuildCache>>,
        /// Until 1.41.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub builder_size: Option<i64>,
    }

    /// One thing that happened.
    pub struct EventMessage {
        /// The action again, for containers and images; like the two below until 1.51.
        #[serde(rename = "status", skip_serializing_if = "is_default")]
        pub status: String,
        #[serde(rename = "id", skip_serializing_if = "is_default")]
        pub id: String,
        #[serde(rename = "from", skip_serializing_if = "is_default")]
        pub from: String,
        #[serde(rename = "Type")]
        pub kind: String,
        pub action: String,
        pub actor: EventActor,
        #[serde(rename = "scope", skip_serializing_if = "is_default")]
        pub scope: String,
        #[serde(rename = "time", skip_serializing_if = "is_default")]
        pub time: i64,
        #[serde(rename = "timeNano", skip_serializing_if = "is_default")]
        pub time_nano: i64,
    }

    /// What it happened to.
    pub struct EventActor {
        #[serde(rename = "ID")]
        pub id: String,
        pub attributes: Map,
    }
}

impl SystemInfo {
    /// The same as this version of the API shows it.
    #[must_use]
    pub fn for_version(mut self, version: ApiVersion) -> Self {
        if !version.at_least(50) {
            self.discovered_devices.clear();
            (self.bridge_nf_iptables, self.bridge_nf_ip6tables) = (Some(false), Some(false));
        }
        if !version.at_least(49) {
            self.firewall_backend = None;
            for commit in [&mut self.containerd_commit, &mut self.runc_commit, &mut self.init_commit] {
                commit.expected = Some(commit.id.clone());
            }
        }
        self
    }
}

impl DiskUsage {
    /// The same as this version of the API shows it.
    #[must_use]
    pub fn for_version(mut self, version: ApiVersion) -> Self {
        if !version.at_least(42) {
            self.builder_size = Some(0);
        }
        self
    }
}
