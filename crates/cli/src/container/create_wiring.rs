//! The half of a new container that joins it to others: its networks, ports and mounts.
//!
//! Flags become the API's types here; no disk and no daemon is asked.

use std::collections::BTreeMap;

use hako_api::{
    Empty, Map,
    container::{
        Mount, MountBindOptions, MountDriverConfig, MountIdMapping, MountImageOptions, MountTmpfsOptions,
        MountVolumeOptions, PortBinding, PortMap,
    },
    network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig},
};

use super::create_flags::{CreateFlags, NetworkFlags, Storage};
use crate::parse::{
    mount::{self, VolumeFlag},
    network::{self, Attachment, FirstNetwork},
    port,
};

/// Where docker's clients look for the daemon inside a container.
const SOCKET_INSIDE: &str = "/var/run/docker.sock";

/// What joins a container to others.
pub(super) struct Wiring {
    pub binds: Vec<String>,
    pub volumes: BTreeMap<String, Empty>,
    pub tmpfs: Map,
    pub mounts: Vec<Mount>,
    pub exposed: BTreeMap<String, Empty>,
    pub published: PortMap,
    pub network_mode: String,
    pub networks: NetworkingConfig,
}

/// Reads all of it; `socket` is the daemon's, where it has one.
///
/// # Errors
/// In docker's words.
pub(super) fn wire(flags: &CreateFlags, socket: Option<&str>) -> Result<Wiring, String> {
    let (binds, volumes) = volumes(&flags.storage)?;
    let mut mounts: Vec<Mount> = flags.storage.mounts.iter().map(mount_request).collect();
    if flags.identity.use_api_socket {
        mounts.push(api_socket(socket)?);
    }
    let (published, exposed) = ports(&flags.network)?;
    let (network_mode, networks) = networks(&flags.network)?;
    let tmpfs = flags.storage.tmpfs.iter().map(|text| {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        (target.to_owned(), options.to_owned())
    });
    let tmpfs = tmpfs.collect();
    Ok(Wiring { binds, volumes, tmpfs, mounts, exposed, published, network_mode, networks })
}

fn volumes(storage: &Storage) -> Result<(Vec<String>, BTreeMap<String, Empty>), String> {
    let (mut binds, mut volumes) = (Vec::new(), BTreeMap::new());
    for text in &storage.volumes {
        match mount::volume(text)? {
            // The same twice is once, as with docker.
            VolumeFlag::Bind(bind) if binds.contains(&bind) => {}
            VolumeFlag::Bind(bind) => binds.push(bind),
            VolumeFlag::Anonymous(target) => {
                volumes.insert(target, Empty);
            }
        }
    }
    Ok((binds, volumes))
}

fn api_socket(socket: Option<&str>) -> Result<Mount, String> {
    let path = socket.ok_or("--use-api-socket needs a daemon on a unix socket")?;
    Ok(Mount {
        kind: "bind".to_owned(),
        source: path.to_owned(),
        target: SOCKET_INSIDE.to_owned(),
        bind_options: Some(MountBindOptions::default()),
        ..Mount::default()
    })
}

fn mount_request(mount: &mount::Mount) -> Mount {
    Mount {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: mount.bind.as_ref().map(|bind| MountBindOptions {
            propagation: bind.propagation.clone(),
            non_recursive: bind.non_recursive,
            create_mountpoint: bind.create_source,
            read_only_non_recursive: bind.read_only_non_recursive,
            read_only_force_recursive: bind.read_only_force_recursive,
            id_mapping: bind.id_mapping.clone().map(|(source, user)| MountIdMapping { source, user }),
        }),
        volume_options: mount.volume.as_ref().map(|volume| MountVolumeOptions {
            no_copy: volume.no_copy,
            labels: volume.labels.clone(),
            subpath: volume.subpath.clone(),
            driver_config: Some(MountDriverConfig { name: volume.driver.clone(), options: volume.options.clone() }),
        }),
        image_options: mount.image.as_ref().map(|image| MountImageOptions { subpath: image.subpath.clone() }),
        tmpfs_options: mount.tmpfs.as_ref().map(|tmpfs| MountTmpfsOptions {
            size_bytes: tmpfs.size,
            mode: tmpfs.mode,
            options: Vec::new(),
        }),
    }
}

// A published port is exposed too.
fn ports(flags: &NetworkFlags) -> Result<(PortMap, BTreeMap<String, Empty>), String> {
    let (mut published, mut exposed) = (PortMap::new(), BTreeMap::new());
    for text in &flags.publish {
        for port in port::publish(text)? {
            exposed.insert(port.container.clone(), Empty);
            let binding = PortBinding { host_ip: port.host_ip, host_port: port.host_port };
            published.entry(port.container).or_default().get_or_insert_default().push(binding);
        }
    }
    for text in &flags.expose {
        exposed.extend(port::expose(text)?.into_iter().map(|port| (port, Empty)));
    }
    Ok((published, exposed))
}

fn networks(flags: &NetworkFlags) -> Result<(String, NetworkingConfig), String> {
    let first = FirstNetwork {
        aliases: flags.aliases.clone(),
        links: flags.links.iter().map(|link| link.0.clone()).collect(),
        ipv4: flags.ipv4.clone(),
        ipv6: flags.ipv6.clone(),
        mac_address: flags.mac_address.clone(),
        link_local: flags.link_local.clone(),
    };
    let combined = network::combine(&flags.networks, &first)?;
    let endpoints = combined.endpoints.into_iter().map(|place| (place.target.clone(), Some(endpoint(place))));
    Ok((combined.mode, NetworkingConfig { endpoints_config: endpoints.collect() }))
}

fn endpoint(place: Attachment) -> EndpointSettings {
    let list = |items: Vec<String>| (!items.is_empty()).then_some(items);
    let ipam =
        EndpointIpamConfig { ipv4_address: place.ipv4, ipv6_address: place.ipv6, link_local_ips: place.link_local };
    EndpointSettings {
        ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
        links: list(place.links),
        aliases: list(place.aliases),
        mac_address: place.mac_address,
        driver_opts: (!place.driver_options.is_empty()).then(|| place.driver_options.into_iter().collect()),
        gw_priority: Some(place.gateway_priority),
        ..EndpointSettings::default()
    }
}
