//! What runs in a container: half of `create`, of `inspect` and of an image's configuration.

use std::collections::BTreeMap;

use crate::{
    container::HostConfig,
    network::NetworkingConfig,
    wire::{Empty, Map, StringList, is_default},
};

wire! {
    /// What shall run, and how it shall look to itself.
    pub struct ContainerConfig {
        pub hostname: String,
        pub domainname: String,
        pub user: String,
        pub attach_stdin: bool,
        pub attach_stdout: bool,
        pub attach_stderr: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub exposed_ports: BTreeMap<String, Empty>,
        pub tty: bool,
        pub open_stdin: bool,
        pub stdin_once: bool,
        pub env: Option<Vec<String>>,
        pub cmd: Option<StringList>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "is_default")]
        pub args_escaped: bool,
        pub image: String,
        pub volumes: Option<BTreeMap<String, Empty>>,
        pub working_dir: String,
        pub entrypoint: Option<StringList>,
        #[serde(skip_serializing_if = "is_default")]
        pub network_disabled: bool,
        /// Belongs to the network since API 1.44, but is still taken.
        #[serde(skip_serializing_if = "is_default")]
        pub mac_address: String,
        pub on_build: Option<Vec<String>>,
        pub labels: Option<Map>,
        #[serde(skip_serializing_if = "is_default")]
        pub stop_signal: String,
        /// Seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub shell: Option<StringList>,
    }

    /// How to find out whether it is well; durations in nanoseconds, 0 for Docker's defaults.
    pub struct HealthConfig {
        #[serde(skip_serializing_if = "is_default")]
        pub test: Vec<String>,
        #[serde(skip_serializing_if = "is_default")]
        pub interval: i64,
        #[serde(skip_serializing_if = "is_default")]
        pub timeout: i64,
        #[serde(skip_serializing_if = "is_default")]
        pub start_period: i64,
        #[serde(skip_serializing_if = "is_default")]
        pub start_interval: i64,
        #[serde(skip_serializing_if = "is_default")]
        pub retries: i64,
    }
}

wire_beside! {
    /// The body of `create`.
    pub struct ContainerCreateRequest {
        pub host_config: Option<HostConfig>,
        pub networking_config: Option<NetworkingConfig>,
        beside pub config: ContainerConfig,
    }
}
