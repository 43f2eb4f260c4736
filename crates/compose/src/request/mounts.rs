//! What is mounted into a container, and the files that are copied into it.

use std::collections::BTreeMap;

use hako_api::container::{Mount, MountBindOptions, MountImageOptions, MountTmpfsOptions, MountVolumeOptions};

use super::Known;
use crate::{
    project::{Project, Resource},
    service::{self, FileReference, Service},
};

/// A file that is copied into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    pub target: String,
    pub content: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

#[derive(Default)]
pub(super) struct Mounted {
    pub binds: Vec<String>,
    pub mounts: Vec<Mount>,
    pub tmpfs: BTreeMap<String, String>,
    pub injected: Vec<Injected>,
}

pub(super) fn mounts(project: &Project, service: &Service, known: &Known) -> Result<Mounted, String> {
    let mut out = Mounted::default();
    for entry in &service.tmpfs {
        let (target, options) = entry.split_once(':').unwrap_or((entry, ""));
        out.tmpfs.insert(target.to_owned(), options.to_owned());
    }
    let mut inherited = known.inherited.clone();
    for mount in &service.volumes {
        inherited.remove(&mount.target);
        let anonymous = mount.kind == "volume" && mount.source.is_empty();
        match known.inherited.get(&mount.target).filter(|_| anonymous) {
            // The new container goes on with the old one's data.
            Some(name) => {
                let mut kept = plain(project, mount)?;
                kept.source.clone_from(name);
                out.mounts.push(kept);
            }
            None if is_bind(mount) => out.binds.push(bind_text(&mount.source, mount)),
            None => match bound(project, mount) {
                Some(volume) => out.binds.push(bind_text(&volume.name, mount)),
                None => out.mounts.push(plain(project, mount)?),
            },
        }
    }
    // Volumes that the image asks for, and nobody named.
    for (target, name) in inherited {
        out.mounts.push(Mount { kind: "volume".to_owned(), source: name, target, ..Mount::default() });
    }
    files(project, service, &mut out)?;
    out.mounts.sort_by(|left, right| left.target.cmp(&right.target));
    Ok(out)
}

// The older form of a bind, which makes a missing directory: wherever the file does not say otherwise.
fn is_bind(mount: &service::Mount) -> bool {
    let makes = mount.bind.as_ref().is_none_or(|options| options.create_host_path && options.recursive.is_empty());
    mount.kind == "bind" && makes
}

// A volume that is a directory of the host is told in the older form too, as docker compose does.
fn bound<'p>(project: &'p Project, mount: &service::Mount) -> Option<&'p Resource> {
    let volume = project.volumes.get(&mount.source).filter(|_| mount.kind == "volume")?;
    let binds = volume.driver_opts.get("o").is_some_and(|options| options == "bind");
    (binds && volume.driver_opts.contains_key("device") && matches!(volume.driver.as_str(), "" | "local"))
        .then_some(volume)
}

fn bind_text(source: &str, mount: &service::Mount) -> String {
    let options = mount.bind.clone().unwrap_or_default();
    let mut modes = vec![if mount.read_only { "ro" } else { "rw" }.to_owned()];
    modes.extend([options.selinux, options.propagation].into_iter().filter(|text| !text.is_empty()));
    format!("{source}:{}:{}", mount.target, modes.join(","))
}

fn plain(project: &Project, mount: &service::Mount) -> Result<Mount, String> {
    let source = match mount.kind.as_str() {
        "volume" if !mount.source.is_empty() => match project.volumes.get(&mount.source) {
            Some(volume) => volume.name.clone(),
            None => return Err(format!("refers to undefined volume {}", mount.source)),
        },
        _ => mount.source.clone(),
    };
    Ok(Mount {
        kind: mount.kind.clone(),
        source,
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: mount.bind.as_ref().map(|bind| MountBindOptions {
            propagation: bind.propagation.clone(),
            create_mountpoint: bind.create_host_path,
            non_recursive: bind.recursive == "disabled",
            read_only_non_recursive: bind.recursive == "writable",
            read_only_force_recursive: bind.recursive == "readonly",
            id_mapping: None,
        }),
        volume_options: mount.volume.as_ref().map(|volume| MountVolumeOptions {
            no_copy: volume.nocopy,
            subpath: volume.subpath.clone(),
            labels: volume.labels.clone(),
            driver_config: None,
        }),
        tmpfs_options: mount.tmpfs.as_ref().map(|tmpfs| MountTmpfsOptions {
            size_bytes: tmpfs.size,
            mode: tmpfs.mode,
            options: Vec::new(),
        }),
        image_options: mount.image.as_ref().map(|image| MountImageOptions { subpath: image.subpath.clone() }),
    })
}

fn files(project: &Project, service: &Service, out: &mut Mounted) -> Result<(), String> {
    let secrets = service.secrets.iter().map(|it| (it, project.secrets.get(&it.source), "secret", "/run/secrets/"));
    let configs = service.configs.iter().map(|it| (it, project.configs.get(&it.source), "config", "/"));
    for (reference, resource, kind, directory) in secrets.chain(configs) {
        let Some(resource) = resource else {
            return Err(format!("service {} refers to undefined {kind} {}", service.name, reference.source));
        };
        if resource.external {
            return Err(format!("unsupported external {kind} {}; only a swarm keeps those", reference.source));
        }
        let target = match reference.target.as_str() {
            "" => format!("{directory}{}", reference.source),
            target if target.starts_with('/') => target.to_owned(),
            target => format!("{directory}{target}"),
        };
        match (&resource.file, content(project, resource, kind, &reference.source)?) {
            (_, Some(content)) => out.injected.push(injected(reference, target, content)),
            (Some(file), None) => out.mounts.push(Mount {
                kind: "bind".to_owned(),
                source: file.display().to_string(),
                target,
                read_only: true,
                ..Mount::default()
            }),
            (None, None) => {}
        }
    }
    Ok(())
}

fn content(project: &Project, resource: &Resource, kind: &str, source: &str) -> Result<Option<String>, String> {
    if let Some(content) = &resource.content {
        return Ok(Some(content.clone()));
    }
    let Some(name) = &resource.environment else { return Ok(None) };
    match project.variables.get(name) {
        Some(value) => Ok(Some(value.clone())),
        None => Err(format!("environment variable {name:?} required by {kind} {source:?} is not set")),
    }
}

fn injected(reference: &FileReference, target: String, content: String) -> Injected {
    let number = |text: &str| text.parse().unwrap_or(0);
    Injected {
        target,
        content,
        uid: number(&reference.uid),
        gid: number(&reference.gid),
        mode: reference.mode.unwrap_or(0o444),
    }
}
