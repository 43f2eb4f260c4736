//! What a person asks for when creating a container, and the states it goes through.
//!
//! ```text
//! created ──start──► running ◄──unpause/pause──► paused
//!    │                 │  ▲
//!    │               exit └── restart policy (restarting)
//!    └──► removing ◄── exited
//! ```

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{EndpointSpec, Limits, MountSpec, Platform, PortBinding, PortKey, platform};

/// Everything that was asked for at create; never changed afterwards but by `update` and `rename`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The image as it was typed.
    pub image: String,
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    /// `None`: the image's.
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    pub exposed_ports: Vec<PortKey>,
    /// Paths that get an anonymous volume.
    pub volumes: Vec<String>,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub stop_signal: Option<String>,
    pub stop_timeout_s: Option<i64>,
    pub health: Option<HealthSpec>,
    pub network_disabled: bool,
    pub mac_address: Option<String>,
    pub on_build: Vec<String>,
    pub shell: Option<Vec<String>>,
    pub args_escaped: bool,
    pub host: HostSpec,
    /// What is asked of each network, by the name or id it was asked with.
    pub networks: BTreeMap<String, EndpointSpec>,
    #[serde(with = "platform::as_text")]
    pub platform: Option<Platform>,
}

/// The half of a spec that concerns the host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSpec {
    pub network_mode: NetworkMode,
    pub port_bindings: BTreeMap<PortKey, Vec<PortBinding>>,
    pub publish_all: bool,
    pub restart: RestartPolicy,
    pub auto_remove: bool,
    pub mounts: Vec<MountSpec>,
    pub volumes_from: Vec<String>,
    pub volume_driver: String,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    pub read_only: bool,
    pub security_opt: Vec<String>,
    pub group_add: Vec<String>,
    /// `None`: Docker's list; `Some([])`: nothing is masked.
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
    pub init: Option<bool>,
    /// `""`, `host`, `container:ID`
    pub pid_mode: String,
    /// `""`, `none`, `private`, `shareable`, `host`, `container:ID`
    pub ipc_mode: String,
    /// `""` or `host`
    pub uts_mode: String,
    /// `""` or `host`
    pub userns_mode: String,
    /// `""`, `host` or `private`
    pub cgroupns_mode: String,
    /// `""` or `default`: Linux knows one kind.
    pub isolation: String,
    pub cgroup_parent: String,
    pub devices: Vec<DeviceMapping>,
    pub device_cgroup_rules: Vec<String>,
    /// Devices by what they are: `--gpus`, names of CDI.
    pub device_requests: Vec<DeviceRequest>,
    pub limits: Limits,
    pub shm_size_bytes: u64,
    pub sysctls: BTreeMap<String, String>,
    pub dns: Vec<IpAddr>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    /// `host:address` lines of `--add-host`.
    pub extra_hosts: Vec<String>,
    pub links: Vec<String>,
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
    pub runtime: String,
    pub annotations: BTreeMap<String, String>,
    pub storage_options: BTreeMap<String, String>,
    pub console_size: (u16, u16),
    pub container_id_file: String,
}

impl HostSpec {
    /// `--log-opt mode=non-blocking`: output that nobody takes in time is dropped, and the process never waits.
    pub fn output_is_non_blocking(&self) -> bool {
        self.log_options.get("mode").is_some_and(|mode| mode == "non-blocking")
    }
}

/// `--device HOST[:CONTAINER[:PERMISSIONS]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMapping {
    pub host: String,
    pub container: String,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// Devices that are asked for by what they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// `""`, `nvidia`, `cdi`, …
    pub driver: String,
    /// −1: all there are.
    pub count: i64,
    pub ids: Vec<String>,
    /// Any of these sets, all of its members: `[["gpu"]]`.
    pub capabilities: Vec<Vec<String>>,
    /// None where nothing was said of them, which `inspect` shows as it was asked.
    pub options: Option<BTreeMap<String, String>>,
}

/// Where a container's network comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The default bridge, said as `default` or not said.
    #[default]
    Default,
    Bridge,
    Host,
    None,
    /// Shares the network of another container (as typed: a name or an id).
    Container(String),
    /// A network by name or id.
    Network(String),
}

impl NetworkMode {
    /// As Docker's `NetworkMode` spells it.
    pub fn text(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::Bridge => "bridge".to_owned(),
            Self::Host => "host".to_owned(),
            Self::None => "none".to_owned(),
            Self::Container(name) => format!("container:{name}"),
            Self::Network(name) => name.clone(),
        }
    }

    /// From Docker's spelling.
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "default" => Self::Default,
            "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            other => match other.strip_prefix("container:") {
                Some(name) => Self::Container(name.to_owned()),
                None => Self::Network(other.to_owned()),
            },
        }
    }

    /// The name of the network to join, if it is one.
    pub fn network_name(&self) -> Option<&str> {
        match self {
            Self::Default | Self::Bridge => Some("bridge"),
            Self::Host => Some("host"),
            Self::None => Some("none"),
            Self::Container(_) => None,
            Self::Network(name) => Some(name),
        }
    }
}

/// What happens when a container's process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// At most so many times; 0: without end.
    OnFailure(u32),
}

impl RestartPolicy {
    /// Docker's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure(_) => "on-failure",
        }
    }
}

/// A health check; zero durations mean Docker's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// `[]` inherit, `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    pub test: Vec<String>,
    pub interval_ns: i64,
    pub timeout_ns: i64,
    pub start_period_ns: i64,
    pub start_interval_ns: i64,
    pub retries: i64,
}

/// The states of a container, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl ContainerState {
    /// Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}
