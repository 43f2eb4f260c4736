//! One container of a list.

use hako_api::container::{ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings};
use hako_engine::view;

use crate::convert::{endpoint, mount, signed};

pub(crate) fn summary(from: &view::ContainerSummary) -> ContainerSummary {
    ContainerSummary {
        id: from.id.to_string(),
        names: vec![format!("/{}", from.name)],
        image: from.image.clone(),
        image_id: from.image_id.to_string(),
        command: from.command.clone(),
        created: from.created.as_second(),
        ports: from.ports.iter().map(port).collect(),
        size_rw: from.size.map_or(0, |size| signed(size.rw)),
        size_root_fs: from.size.map_or(0, |size| signed(size.root_fs)),
        labels: from.labels.clone(),
        state: from.state.name().to_owned(),
        status: from.status.clone(),
        host_config: SummaryHostConfig {
            network_mode: match from.network_mode.as_str() {
                "default" => "bridge".to_owned(),
                mode => mode.to_owned(),
            },
            annotations: from.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings {
            networks: from
                .networks
                .iter()
                .map(|(name, view)| (name.clone(), endpoint::endpoint_to_api(view)))
                .collect(),
        },
        mounts: from.mounts.iter().map(mount::point).collect(),
    }
}

fn port(from: &view::PortView) -> Port {
    Port {
        ip: from.address.clone().unwrap_or_default(),
        private_port: from.private,
        public_port: from.public.unwrap_or_default(),
        kind: from.protocol.to_owned(),
    }
}
