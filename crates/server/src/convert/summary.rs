//! One container of a list. Views are taken apart, not copied: a list may have thousands.

use hako_api::container::{ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings};
use hako_engine::view;

use crate::convert::{endpoint, mount, signed};

pub(crate) fn summary(from: view::ContainerSummary) -> ContainerSummary {
    ContainerSummary {
        id: from.id.to_string(),
        names: std::iter::once(&from.name).chain(&from.link_names).map(|name| format!("/{name}")).collect(),
        image: from.image,
        image_id: from.image_id.to_string(),
        command: from.command,
        created: from.created.as_second(),
        ports: from.ports.into_iter().map(port).collect(),
        size_rw: from.size.map_or(0, |size| signed(size.rw)),
        size_root_fs: from.size.map_or(0, |size| signed(size.root_fs)),
        labels: from.labels,
        state: from.state.name().to_owned(),
        status: from.status,
        host_config: SummaryHostConfig {
            network_mode: match from.network_mode.as_str() {
                "default" => "bridge".to_owned(),
                _ => from.network_mode,
            },
            annotations: from.annotations,
        },
        network_settings: SummaryNetworkSettings {
            networks: from.networks.into_iter().map(|(name, view)| (name, endpoint::endpoint_to_api(view))).collect(),
        },
        mounts: from.mounts.into_iter().map(mount::point).collect(),
    }
}

fn port(from: view::PortView) -> Port {
    Port {
        ip: from.address.unwrap_or_default(),
        private_port: from.private,
        public_port: from.public.unwrap_or_default(),
        kind: from.protocol.to_owned(),
    }
}
