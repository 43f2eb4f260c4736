//! Options of the local driver: `type`, `device` and `o` describe a mount, as `mount(8)` would be told it.
//!
//! The mount is made as a descriptor when a container needs the volume. `type=none` (or `bind`) with `o=bind` shows a
//! directory of the host; `tmpfs` lives as long as a container uses it; everything else is left to the kernel.

use std::{collections::BTreeMap, io, os::fd::AsFd, os::fd::OwnedFd, path::Path};

use hako_sys::mount::{self, Filesystem, MountAttributes};

/// What the options ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The volume's own directory.
    Directory,
    Bind {
        device: String,
        recursive: bool,
        attributes: Attributes,
    },
    Filesystem {
        kind: String,
        device: String,
        options: Vec<(String, Option<String>)>,
        attributes: Attributes,
    },
}

/// Flags of the mount itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    read_only: bool,
    nosuid: bool,
    nodev: bool,
    noexec: bool,
    noatime: bool,
}

/// Reads options; an error is a sentence.
pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Source, String> {
    for key in options.keys() {
        if key == "size" {
            return Err("quota size requested but no quota support".to_owned());
        }
        if !matches!(key.as_str(), "type" | "device" | "o") {
            return Err(format!("invalid option: {key:?}"));
        }
    }
    let value = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (kind, device) = (value("type"), value("device"));
    if kind.is_empty() && device.is_empty() && value("o").is_empty() {
        return Ok(Source::Directory);
    }
    if device.is_empty() {
        return Err("missing device in volume options".to_owned());
    }
    let mut attributes = Attributes::default();
    let (mut bind, mut recursive) = (kind == "bind", false);
    let mut rest = Vec::new();
    for word in value("o").split(',').filter(|word| !word.is_empty()) {
        match word {
            "bind" => bind = true,
            "rbind" => (bind, recursive) = (true, true),
            "ro" => attributes.read_only = true,
            "nosuid" => attributes.nosuid = true,
            "nodev" => attributes.nodev = true,
            "noexec" => attributes.noexec = true,
            "noatime" => attributes.noatime = true,
            "rw" | "suid" | "dev" | "exec" | "atime" | "relatime" | "defaults" => {}
            other => rest.push(match other.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (other.to_owned(), None),
            }),
        }
    }
    if bind {
        if !device.starts_with('/') {
            return Err(format!("device {device:?} of a bind must be an absolute path"));
        }
        return Ok(Source::Bind { device: device.to_owned(), recursive, attributes });
    }
    if matches!(kind, "" | "none") {
        return Err("missing required option: \"type\"".to_owned());
    }
    check_address(kind, &rest)?;
    Ok(Source::Filesystem { kind: kind.to_owned(), device: device.to_owned(), options: rest, attributes })
}

/// The kernel wants addresses where `mount.nfs` and `mount.cifs` take names.
fn check_address(kind: &str, options: &[(String, Option<String>)]) -> Result<(), String> {
    if !kind.starts_with("nfs") && kind != "cifs" {
        return Ok(());
    }
    for (key, value) in options.iter().filter(|(key, _)| matches!(key.as_str(), "addr" | "ip")) {
        let value = value.as_deref().unwrap_or_default();
        if value.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("{key}={value} must be an address: names of hosts are not looked up"));
        }
    }
    Ok(())
}

impl Source {
    /// A detached mount of it; `None` for the volume's own directory.
    pub(crate) fn mount(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Directory => Ok(None),
            Self::Bind { device, recursive, attributes } => {
                let tree = mount::clone_tree(Path::new(device), *recursive)?;
                mount::set_attributes(
                    tree.as_fd(),
                    MountAttributes { recursive: *recursive, ..attributes.of_mount() },
                )?;
                Ok(Some(tree))
            }
            Self::Filesystem { kind, device, options, attributes } => {
                let filesystem = Filesystem::new(kind)?;
                filesystem.option("source", Some(device))?;
                for (key, value) in options {
                    filesystem.option(key, value.as_deref())?;
                }
                filesystem.mount(attributes.of_mount()).map(Some)
            }
        }
    }

    /// The file system that the kernel must have.
    pub(crate) fn kind(&self) -> Option<&str> {
        match self {
            Self::Filesystem { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// Whether its data is gone with its last mount, so that all users must share one.
    pub(crate) fn is_only_memory(&self) -> bool {
        matches!(self, Self::Filesystem { kind, .. } if kind == "tmpfs" || kind == "ramfs")
    }
}

impl Attributes {
    fn of_mount(self) -> MountAttributes {
        MountAttributes {
            read_only: self.read_only,
            nosuid: self.nosuid,
            nodev: self.nodev,
            noexec: self.noexec,
            noatime: self.noatime,
            ..MountAttributes::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)], expected: &str) {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let got = match parse(&options) {
            Ok(Source::Directory) => "directory".to_owned(),
            Ok(Source::Bind { device, recursive, attributes }) => {
                format!("bind {device} recursive {recursive} read-only {}", attributes.read_only)
            }
            Ok(Source::Filesystem { kind, device, options, .. }) => format!("{kind} {device} {options:?}"),
            Err(why) => why,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn options_describe_a_mount() {
        check(&[], "directory");
        check(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")], "bind /srv recursive false read-only true");
        check(&[("o", "rbind"), ("device", "/srv")], "bind /srv recursive true read-only false");
        check(
            &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,nosuid,uid=5")],
            "tmpfs tmpfs [(\"size\", Some(\"1m\")), (\"uid\", Some(\"5\"))]",
        );
        check(&[("type", "tmpfs")], "missing device in volume options");
        check(&[("device", "/dev/sdz")], "missing required option: \"type\"");
        check(&[("o", "bind"), ("device", "srv")], "device \"srv\" of a bind must be an absolute path");
        check(
            &[("type", "nfs"), ("device", ":/export"), ("o", "addr=nas.example,rw")],
            "addr=nas.example must be an address: names of hosts are not looked up",
        );
        check(
            &[("type", "nfs"), ("device", ":/export"), ("o", "addr=192.0.2.1,rw,nfsvers=4")],
            "nfs :/export [(\"addr\", Some(\"192.0.2.1\")), (\"nfsvers\", Some(\"4\"))]",
        );
        check(&[("colour", "red")], "invalid option: \"colour\"");
    }
}
