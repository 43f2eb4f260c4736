//! `GET /containers/json`: one line for each container.

use std::collections::BTreeMap;

use crate::{
    ApiVersion,
    container::MountPoint,
    network::EndpointSettings,
    wire::{Map, is_default},
};

wire! {
    /// One container of the list.
    pub struct ContainerSummary {
        pub id: String,
        /// Each with a leading slash.
        pub names: Vec<String>,
        pub image: String,
        #[serde(rename = "ImageID")]
        pub image_id: String,
        pub command: String,
        /// Seconds since 1970.
        pub created: i64,
        pub ports: Vec<Port>,
        #[serde(skip_serializing_if = "is_default")]
        pub size_rw: i64,
        #[serde(skip_serializing_if = "is_default")]
        pub size_root_fs: i64,
        pub labels: Map,
        pub state: String,
        pub status: String,
        pub host_config: SummaryHostConfig,
        pub network_settings: SummaryNetworkSettings,
        pub mounts: Vec<MountPoint>,
    }

    /// A port, exposed or published.
    pub struct Port {
        #[serde(rename = "IP", skip_serializing_if = "is_default")]
        pub ip: String,
        pub private_port: u16,
        #[serde(skip_serializing_if = "is_default")]
        pub public_port: u16,
        #[serde(rename = "Type")]
        pub kind: String,
    }

    /// What little of the host's half a list shows.
    pub struct SummaryHostConfig {
        #[serde(skip_serializing_if = "is_default")]
        pub network_mode: String,
        #[serde(skip_serializing_if = "is_default")]
        pub annotations: Map,
    }

    /// The networks of a container in a list.
    pub struct SummaryNetworkSettings {
        pub networks: BTreeMap<String, EndpointSettings>,
    }
}

impl ContainerSummary {
    /// The same as this version of the API shows it.
    #[must_use]
    pub fn for_version(mut self, version: ApiVersion) -> Self {
        if !version.at_least(46) {
            self.host_config.annotations.clear();
        }
        let short: String = self.id.chars().take(12).collect();
        for endpoint in self.network_settings.networks.values_mut() {
            endpoint.shape(version, &short);
        }
        self
    }
}
