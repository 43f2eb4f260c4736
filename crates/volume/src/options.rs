//! Options of the local driver: `type`, `device` and `o` describe a mount, as `mount(8)` would be told it.
//!
//! The mount is made as a descriptor when a container needs the volume. `type=none` (or `bind`) with `o=bind` shows a
//! directory of the host; `tmpfs` lives as long as a container uses it; everything else is left to the kernel.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, ToSocketAddrs},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use hako_sys::mount::{self, Filesystem, MountAttributes};
use rustix::mount::MountFlags;

/// An option of a file system: a name, and a value if it has one.
type Setting = (String, Option<String>);

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
        options: Vec<Setting>,
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
        return Err("missing required option: \"device\"".to_owned());
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
    Ok(Source::Filesystem { kind: kind.to_owned(), device: device.to_owned(), options: rest, attributes })
}

/// Options of a file system on another machine that `mount.nfs` and `mount.cifs` would complete: the kernel knows no
/// names of hosts. `look_up` answers the address of one. A server that only the device names gets its option; where
/// nothing is missing nothing is looked up.
///
/// # Errors
/// That of `look_up`, with the name.
fn complete(
    kind: &str,
    device: &str,
    options: &[Setting],
    look_up: impl Fn(&str) -> io::Result<IpAddr>,
) -> Result<Vec<Setting>, (String, io::Error)> {
    let (key, host) = match kind {
        "nfs" | "nfs4" => ("addr", device.split_once(":/").map_or("", |(host, _)| host.trim_matches(['[', ']']))),
        "cifs" | "smb3" => ("ip", device.trim_start_matches(['/', '\\']).split(['/', '\\']).next().unwrap_or_default()),
        _ => return Ok(options.to_vec()),
    };
    let address = |host: &str| match host.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => look_up(host).map(|found| found.to_string()).map_err(|error| (host.to_owned(), error)),
    };
    let mut complete = options.to_vec();
    let mut has_one = false;
    for (_, value) in complete.iter_mut().filter(|(key, _)| matches!(key.as_str(), "addr" | "ip")) {
        if let Some(value) = value.as_mut().filter(|value| !value.is_empty()) {
            *value = address(value)?;
            has_one = true;
        }
    }
    if !has_one && !host.is_empty() {
        complete.push((key.to_owned(), Some(address(host)?)));
    }
    Ok(complete)
}

/// The first address of a host, as the daemon's machine finds it.
fn look_up(host: &str) -> io::Result<IpAddr> {
    // The port is only there because the library wants one.
    let found = (host, 0).to_socket_addrs()?.next();
    found.map(|found| found.ip()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
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
                // First: a kernel without it says so before anything is looked up.
                let filesystem = Filesystem::new(kind)?;
                let options = complete(kind, device, options, look_up).map_err(|(host, error)| {
                    let text = format!("cannot find the address of {host}: {error}");
                    io::Error::new(io::ErrorKind::HostUnreachable, text)
                })?;
                filesystem.option("source", Some(device))?;
                for (key, value) in &options {
                    filesystem.option(key, value.as_deref())?;
                }
                filesystem.mount(attributes.of_mount()).map(Some)
            }
        }
    }

    /// What `mount(2)` would have been told: the source and the flags, for messages.
    pub(crate) fn mount_words(&self) -> Option<(String, MountFlags)> {
        match self {
            Self::Directory => None,
            Self::Bind { device, recursive, attributes } => {
                let recursive = if *recursive { MountFlags::REC } else { MountFlags::empty() };
                Some((device.clone(), MountFlags::BIND | recursive | attributes.flags()))
            }
            Self::Filesystem { device, attributes, .. } => Some((device.clone(), attributes.flags())),
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
    fn flags(self) -> MountFlags {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NOSUID, self.nosuid);
        flags.set(MountFlags::NODEV, self.nodev);
        flags.set(MountFlags::NOEXEC, self.noexec);
        flags.set(MountFlags::NOATIME, self.noatime);
        flags
    }

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
        check(&[("type", "tmpfs")], "missing required option: \"device\"");
        check(&[("device", "/dev/sdz")], "missing required option: \"type\"");
        check(&[("o", "bind"), ("device", "srv")], "device \"srv\" of a bind must be an absolute path");
        check(
            &[("type", "nfs"), ("device", ":/export"), ("o", "addr=192.0.2.1,rw,nfsvers=4")],
            "nfs :/export [(\"addr\", Some(\"192.0.2.1\")), (\"nfsvers\", Some(\"4\"))]",
        );
        check(&[("colour", "red")], "invalid option: \"colour\"");
    }

    #[test]
    fn names_of_servers_become_addresses() {
        let read = |kind: &str, device: &str, options: &str| {
            let options: Vec<_> = options
                .split(',')
                .filter(|word| !word.is_empty())
                .map(|word| match word.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (word.to_owned(), None),
                })
                .collect();
            let found = complete(kind, device, &options, |host| match host {
                "nas" => Ok(IpAddr::from([192, 0, 2, 7])),
                _ => Err(io::ErrorKind::NotFound.into()),
            });
            let word = |(key, value): &Setting| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            };
            found
                .map(|list| list.iter().map(word).collect::<Vec<_>>().join(","))
                .unwrap_or_else(|(host, _)| format!("no {host}"))
        };
        assert_eq!(read("nfs", ":/export", "addr=nas,soft"), "addr=192.0.2.7,soft");
        assert_eq!(read("nfs4", "nas:/export", "soft"), "soft,addr=192.0.2.7");
        assert_eq!(read("nfs4", "[fd00::7]:/export", ""), "addr=fd00::7");
        assert_eq!(read("nfs", "other:/export", "addr=192.0.2.1"), "addr=192.0.2.1");
        assert_eq!(read("cifs", "//nas/share", "username=u"), "username=u,ip=192.0.2.7");
        assert_eq!(read("cifs", "//192.0.2.9/share", ""), "ip=192.0.2.9");
        assert_eq!(read("cifs", "//other/share", ""), "no other");
        assert_eq!(read("ext4", "/dev/sdz", "addr=nas"), "addr=nas");
    }
}
