//! Devices of a container: nodes to make, and rules of what may be opened.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
};

use hako_model::{HostSpec, container::DeviceMapping};
use hako_runtime::{
    cgroup::{DeviceRule, DeviceRules},
    plan::{Device, DeviceKind},
};

use crate::EngineError;

/// The nodes that `--device` asks for; a directory of the host stands for every device in it. A privileged
/// container has all of the host's.
///
/// # Errors
/// A host path that is missing or no device, in Docker's words.
pub(crate) fn nodes(host: &HostSpec) -> Result<Vec<Device>, EngineError> {
    let mut nodes = Vec::new();
    if host.privileged {
        collect("/dev", "/dev", &mut nodes, 0);
    }
    for mapping in &host.devices {
        let found = nodes.len();
        match node(&mapping.host, &mapping.container) {
            Some(device) => nodes.push(device),
            None => collect(&mapping.host, &mapping.container, &mut nodes, 0),
        }
        if nodes.len() == found {
            return Err(EngineError::Start {
                text: format!(
                    "error gathering device information while adding custom device {:?}: {}",
                    mapping.host,
                    if fs::exists(&mapping.host).unwrap_or(false) {
                        "not a device node"
                    } else {
                        "no such file or directory"
                    }
                ),
                exit_code: 128,
                kind: hako_base::ErrorKind::Internal,
            });
        }
    }
    // What every container has anyway, and what the terminal brings.
    const OWN: [&str; 9] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "mqueue"];
    nodes.retain(|device| !OWN.iter().any(|name| device.path == format!("/dev/{name}")));
    Ok(nodes)
}

/// Devices below a directory; `/dev/pts` and `/dev/shm` are the container's own.
fn collect(host: &str, container: &str, nodes: &mut Vec<Device>, depth: usize) {
    const DEPTH_MAX: usize = 8;
    let Ok(entries) = fs::read_dir(host) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (host, container) = (format!("{host}/{name}"), format!("{container}/{name}"));
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEPTH_MAX && !matches!(name.as_str(), "pts" | "shm" | "fd" | "mqueue") {
            collect(&host, &container, nodes, depth + 1);
        } else if let Some(device) = node(&host, &container) {
            nodes.push(device);
        }
    }
}

fn node(host: &str, container: &str) -> Option<Device> {
    let meta = fs::metadata(host).ok()?;
    let kind = if meta.file_type().is_char_device() {
        DeviceKind::Character
    } else if meta.file_type().is_block_device() {
        DeviceKind::Block
    } else {
        return None;
    };
    let number = meta.rdev();
    Some(Device {
        path: container.to_owned(),
        host: host.to_owned(),
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

/// What may be opened: Docker's list, the devices asked for, and the rules asked for.
///
/// # Errors
/// A rule or permissions that are none.
pub(crate) fn rules(host: &HostSpec) -> Result<DeviceRules, EngineError> {
    if host.privileged {
        return Ok(DeviceRules::All);
    }
    let mut rules = DeviceRules::default();
    for device in nodes(host)? {
        let permissions = host
            .devices
            .iter()
            .find(|mapping| device.path.starts_with(&mapping.container))
            .map_or("rwm", |mapping| mapping.permissions.as_str());
        check_permissions(permissions, &host.devices)?;
        let rule = DeviceRule::of(device.kind, Some(device.major), Some(device.minor));
        rules.push(rule.with_permissions(permissions));
    }
    for text in &host.device_cgroup_rules {
        let rule = text.parse::<DeviceRule>();
        rules.push(rule.map_err(|error| EngineError::invalid(error.to_string()))?);
    }
    Ok(rules)
}

fn check_permissions(permissions: &str, devices: &[DeviceMapping]) -> Result<(), EngineError> {
    if permissions.is_empty() || permissions.bytes().any(|b| !matches!(b, b'r' | b'w' | b'm')) {
        let device = devices.iter().find(|mapping| mapping.permissions == permissions);
        return Err(EngineError::invalid(format!(
            "bad mode specified: {permissions} (device {})",
            device.map_or("?", |mapping| mapping.host.as_str())
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_named() {
        let host = HostSpec {
            devices: vec![DeviceMapping {
                host: "/dev/nothing-here".into(),
                container: "/dev/x".into(),
                permissions: "rwm".into(),
            }],
            ..HostSpec::default()
        };
        assert_eq!(
            nodes(&host).unwrap_err().to_string(),
            "error gathering device information while adding custom device \"/dev/nothing-here\": no such file or directory"
        );
    }
}
