//! Switches below /proc/sys/net, of the calling thread's network namespace.
//!
//! What is changed on the host is remembered and can be put back: hako leaves a host as it found it.

use std::{fs, io, path::PathBuf};

use crate::error::{Context, NetworkError};

/// A switch of the host that was changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SysctlChange {
    /// Below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub name: String,
    pub before: String,
    pub after: String,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// The value of a switch, or `None` where the kernel has none such (IPv6 switched off, say).
pub(crate) fn read(name: &str) -> Option<String> {
    fs::read_to_string(path(name)).ok().map(|text| text.trim().to_owned())
}

/// Sets a switch.
pub(crate) fn write(name: &str, value: &str) -> io::Result<()> {
    fs::write(path(name), value)
}

/// Sets a switch where it is not so already; says what was changed. A missing switch is no error.
pub(crate) fn ensure(name: &str, value: &str) -> Result<Option<SysctlChange>, NetworkError> {
    let Some(before) = read(name).filter(|before| before != value) else { return Ok(None) };
    write(name, value).context("set sysctl", name.replace('/', "."))?;
    tracing::info!(name, %before, after = value, "a sysctl of the host was changed");
    Ok(Some(SysctlChange { name: name.to_owned(), before, after: value.to_owned() }))
}

/// Puts a switch back, unless somebody else has changed it since.
pub(crate) fn restore(change: &SysctlChange) -> Result<(), NetworkError> {
    if read(&change.name).as_deref() != Some(&change.after) {
        return Ok(());
    }
    write(&change.name, &change.before).context("restore sysctl", change.name.replace('/', "."))
}

/// Forwarding, which bridges need. For IPv6 the kernel stops listening to router advertisements when
/// forwarding is switched on, and the host would lose its default route: links that listen are told
/// to go on (`accept_ra = 2`, Documentation/networking/ip-sysctl.rst).
pub(crate) fn ensure_forwarding(ipv6: bool) -> Result<Vec<SysctlChange>, NetworkError> {
    if !ipv6 {
        return Ok(ensure("net/ipv4/ip_forward", "1")?.into_iter().collect());
    }
    if read("net/ipv6/conf/all/forwarding").as_deref() == Some("1") {
        return Ok(Vec::new());
    }
    let mut changes = Vec::new();
    for entry in fs::read_dir(path("net/ipv6/conf")).into_iter().flatten().flatten() {
        let link = entry.file_name().to_string_lossy().into_owned();
        let name = format!("net/ipv6/conf/{link}/accept_ra");
        if link != "all" && link != "lo" && read(&name).as_deref() == Some("1") {
            changes.extend(ensure(&name, "2")?);
        }
    }
    changes.extend(ensure("net/ipv6/conf/all/forwarding", "1")?);
    Ok(changes)
}
