//! A service with types: what the plan and the requests of the API are made from.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer};

type Texts = Vec<String>;
type Mapping = BTreeMap<String, String>;

/// One service. Sizes are bytes in text, durations have Go's spelling: the canonical form.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    #[serde(skip)]
    pub name: String,
    /// docker compose's configuration hash.
    #[serde(skip)]
    pub hash: String,
    pub annotations: Mapping,
    pub attach: Option<bool>,
    pub build: Option<Build>,
    pub blkio_config: Option<Blkio>,
    pub cap_add: Texts,
    pub cap_drop: Texts,
    pub cgroup_parent: String,
    pub cgroup: String,
    pub cpu_count: i64,
    pub cpu_percent: f64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpu_rt_period: i64,
    pub cpu_rt_runtime: i64,
    pub cpus: f64,
    pub cpuset: String,
    pub cpu_shares: i64,
    pub command: Option<Texts>,
    pub configs: Vec<FileReference>,
    pub container_name: String,
    pub depends_on: BTreeMap<String, Dependency>,
    pub deploy: Option<Deploy>,
    pub develop: Option<Develop>,
    pub device_cgroup_rules: Texts,
    pub devices: Vec<Device>,
    pub dns: Texts,
    pub dns_opt: Texts,
    pub dns_search: Texts,
    pub domainname: String,
    pub entrypoint: Option<Texts>,
    pub environment: BTreeMap<String, Option<String>>,
    pub expose: Texts,
    pub external_links: Texts,
    pub extra_hosts: BTreeMap<String, Texts>,
    pub group_add: Texts,
    pub gpus: Vec<DeviceRequest>,
    pub hostname: String,
    pub healthcheck: Option<Healthcheck>,
    pub image: String,
    pub init: Option<bool>,
    pub ipc: String,
    pub isolation: String,
    pub labels: Mapping,
    pub links: Texts,
    pub logging: Option<Logging>,
    #[serde(deserialize_with = "bytes")]
    pub mem_limit: i64,
    #[serde(deserialize_with = "bytes")]
    pub mem_reservation: i64,
    #[serde(deserialize_with = "bytes")]
    pub memswap_limit: i64,
    pub mem_swappiness: Option<String>,
    pub mac_address: String,
    pub network_mode: String,
    pub networks: BTreeMap<String, Option<Endpoint>>,
    pub oom_kill_disable: bool,
    pub oom_score_adj: i64,
    pub pid: String,
    pub pids_limit: i64,
    pub platform: String,
    pub ports: Vec<Port>,
    pub post_start: Vec<Hook>,
    pub pre_stop: Vec<Hook>,
    pub privileged: bool,
    pub profiles: Texts,
    pub pull_policy: String,
    pub read_only: bool,
    pub restart: String,
    pub runtime: String,
    pub scale: Option<u32>,
    pub secrets: Vec<FileReference>,
    pub security_opt: Texts,
    #[serde(deserialize_with = "bytes")]
    pub shm_size: i64,
    pub stdin_open: bool,
    #[serde(deserialize_with = "nanos")]
    pub stop_grace_period: Option<i64>,
    pub stop_signal: String,
    pub storage_opt: Mapping,
    pub sysctls: Mapping,
    pub tmpfs: Texts,
    pub tty: bool,
    pub ulimits: BTreeMap<String, Limit>,
    pub user: String,
    pub userns_mode: String,
    pub uts: String,
    pub volume_driver: String,
    pub volumes: Vec<Mount>,
    pub volumes_from: Texts,
    pub working_dir: String,
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Option::<String>::deserialize(from).map(|text| text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn nanos<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Option::<String>::deserialize(from).map(|text| text.and_then(|text| hako_base::duration::parse_go(&text).ok()))
}

/// How an image is built.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Build {
    pub context: String,
    pub dockerfile: String,
    pub dockerfile_inline: Option<String>,
    pub args: BTreeMap<String, Option<String>>,
    pub labels: Mapping,
    pub cache_from: Texts,
    pub cache_to: Texts,
    pub entitlements: Texts,
    pub no_cache: bool,
    pub no_cache_filter: Texts,
    pub privileged: bool,
    pub provenance: Option<serde_json::Value>,
    pub sbom: Option<serde_json::Value>,
    pub pull: bool,
    pub extra_hosts: BTreeMap<String, Texts>,
    pub network: String,
    pub target: String,
    #[serde(deserialize_with = "bytes")]
    pub shm_size: i64,
    pub tags: Texts,
    pub platforms: Texts,
    pub secrets: Vec<FileReference>,
    pub additional_contexts: Mapping,
    pub ssh: Mapping,
    pub ulimits: BTreeMap<String, Limit>,
}

/// What one service waits for before it starts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Dependency {
    pub condition: Condition,
    pub restart: bool,
    pub required: bool,
}

impl Default for Dependency {
    fn default() -> Self {
        Self { condition: Condition::Started, restart: false, required: true }
    }
}

/// What must be true of a dependency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Condition {
    #[default]
    #[serde(rename = "service_started")]
    Started,
    #[serde(rename = "service_healthy")]
    Healthy,
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

impl Condition {
    /// The condition of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Started, Self::Healthy, Self::Completed].into_iter().find(|it| it.name() == name)
    }

    /// As files and labels spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::Completed => "service_completed_successfully",
        }
    }
}

/// Resources and number of containers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Deploy {
    pub mode: String,
    pub replicas: Option<u32>,
    pub labels: Mapping,
    pub resources: DeployResources,
    pub restart_policy: Option<DeployRestart>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeployResources {
    pub limits: Option<Amounts>,
    pub reservations: Option<Amounts>,
}

/// Limits or reservations.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Amounts {
    pub cpus: f64,
    #[serde(deserialize_with = "bytes")]
    pub memory: i64,
    pub pids: i64,
    pub devices: Vec<DeviceRequest>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeployRestart {
    pub condition: String,
    pub max_attempts: Option<i64>,
}

/// What a service wants while somebody works on its sources.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Develop {
    pub watch: Vec<WatchEntry>,
}

/// Which changes mean what.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WatchEntry {
    pub path: PathBuf,
    pub action: String,
    pub target: String,
    pub exec: Option<Hook>,
    pub include: Texts,
    pub ignore: Texts,
    pub initial_sync: bool,
}

/// A command in a container that is there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Hook {
    pub command: Texts,
    pub user: String,
    pub privileged: bool,
    pub working_dir: String,
    pub environment: BTreeMap<String, Option<String>>,
}

/// Devices asked of a driver.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    pub capabilities: Texts,
    pub driver: String,
    pub count: Option<serde_json::Value>,
    pub device_ids: Texts,
    pub options: Mapping,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Device {
    pub source: String,
    pub target: String,
    pub permissions: String,
}

/// A secret or config that a service gets.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FileReference {
    pub source: String,
    pub target: String,
    pub uid: String,
    pub gid: String,
    pub mode: Option<u32>,
}

/// How to find out whether a service is well.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    pub test: Texts,
    #[serde(deserialize_with = "nanos")]
    pub timeout: Option<i64>,
    #[serde(deserialize_with = "nanos")]
    pub interval: Option<i64>,
    pub retries: Option<i64>,
    #[serde(deserialize_with = "nanos")]
    pub start_period: Option<i64>,
    #[serde(deserialize_with = "nanos")]
    pub start_interval: Option<i64>,
    pub disable: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Logging {
    pub driver: String,
    pub options: Mapping,
}

/// A service's place in a network.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub priority: i64,
    pub gw_priority: Option<i64>,
    pub aliases: Texts,
    pub ipv4_address: String,
    pub ipv6_address: String,
    pub link_local_ips: Texts,
    pub mac_address: String,
    pub interface_name: String,
    pub driver_opts: Mapping,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Port {
    pub host_ip: String,
    pub target: u16,
    pub published: String,
    pub protocol: String,
}

/// A limit of `setrlimit(2)`: one number, or two.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Limit {
    Both(i64),
    Each {
        #[serde(default)]
        soft: i64,
        #[serde(default)]
        hard: i64,
    },
}

/// Something mounted into the containers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Mount {
    #[serde(rename = "type")]
    pub kind: String,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub consistency: String,
    pub bind: Option<BindOptions>,
    pub volume: Option<VolumeOptions>,
    pub tmpfs: Option<TmpfsOptions>,
    pub image: Option<ImageOptions>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    pub selinux: String,
    pub propagation: String,
    pub create_host_path: bool,
    pub recursive: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    pub nocopy: bool,
    pub subpath: String,
    pub labels: Mapping,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    #[serde(deserialize_with = "bytes")]
    pub size: i64,
    pub mode: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ImageOptions {
    pub subpath: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Blkio {
    pub weight: u16,
    pub weight_device: Vec<BlkioWeight>,
    pub device_read_bps: Vec<BlkioRate>,
    pub device_read_iops: Vec<BlkioRate>,
    pub device_write_bps: Vec<BlkioRate>,
    pub device_write_iops: Vec<BlkioRate>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BlkioWeight {
    pub path: String,
    pub weight: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BlkioRate {
    pub path: String,
    #[serde(deserialize_with = "bytes")]
    pub rate: i64,
}

impl Service {
    /// How many containers it shall have.
    pub fn replicas(&self) -> u32 {
        self.scale.or_else(|| self.deploy.as_ref().and_then(|deploy| deploy.replicas)).unwrap_or(1)
    }

    /// The directory of its build, where it is built from one of this machine.
    pub fn context(&self) -> Option<PathBuf> {
        self.build.as_ref().map(|build| PathBuf::from(&build.context))
    }
}
