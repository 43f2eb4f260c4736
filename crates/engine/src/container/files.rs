//! The files that hako writes for a container: hostname, hosts, resolv.conf.
//!
//! They are written anew at every start, since addresses change, and bound into the container. What
//! they say is decided by `hako_network::files`.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use hako_model::NetworkMode;
use hako_network::files::{self, DnsPlan};

use crate::{Engine, EngineError, record::Record};

/// Where they appear in the container, by file name.
pub(crate) const TARGETS: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// The most that is read of the host's own files.
const HOST_FILE_BYTES_MAX: u64 = 1 << 20;

impl Engine {
    /// Where the three files of a container are: with the container whose network it shares.
    pub(crate) fn network_files(&self, record: &Record) -> PathBuf {
        match &record.spec.host.network_mode {
            NetworkMode::Container(other) => match self.containers.find(other) {
                Ok(owner) => self.network_files(&owner.record()),
                Err(_) => self.container_files(record.id),
            },
            _ => self.container_files(record.id),
        }
    }

    /// Writes the three files for a start with these addresses.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write_network_files(&self, record: &Record, addresses: &[IpAddr]) -> Result<(), EngineError> {
        let host = &record.spec.host;
        if matches!(host.network_mode, NetworkMode::Container(_)) {
            return Ok(());
        }
        let directory = self.container_files(record.id);
        let dns = self.dns_plan(record);
        let shares_host = host.network_mode == NetworkMode::Host;
        let resolv = read_host("/etc/resolv.conf");
        let resolv = if shares_host {
            files::resolv_conf_host(&resolv, &dns)
        } else {
            files::resolv_conf(&resolv, &dns, addresses.iter().any(IpAddr::is_ipv6))
        };
        let gateway = self.host_gateway();
        let extra: Vec<(String, IpAddr)> =
            host.extra_hosts.iter().filter_map(|entry| files::extra_host(entry, gateway)).collect();
        let hosts = if shares_host {
            let mut text = read_host("/etc/hosts");
            for (name, address) in &extra {
                text.push_str(&format!("{address}\t{name}\n"));
            }
            text
        } else {
            files::hosts(addresses, &files::own_names(&record.hostname, &record.spec.domainname), &extra)
        };
        for (name, text) in [("resolv.conf", resolv), ("hosts", hosts), ("hostname", files::hostname(&record.hostname))]
        {
            write(&directory.join(name), &text)
                .map_err(|error| EngineError::io(format_args!("cannot write the container's {name}"), &error))?;
        }
        Ok(())
    }

    fn dns_plan(&self, record: &Record) -> DnsPlan {
        let host = &record.spec.host;
        let own = |own: &Vec<String>, daemon: &Vec<String>| if own.is_empty() { daemon.clone() } else { own.clone() };
        DnsPlan {
            servers: if host.dns.is_empty() { self.config.dns.clone() } else { host.dns.clone() },
            search: own(&host.dns_search, &self.config.dns_search),
            options: own(&host.dns_options, &self.config.dns_options),
        }
    }
}

/// Replaces the text in place: a container that is started again keeps its bound files.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    // Read by every user in the container, whatever the daemon's umask is.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn read_host(path: &str) -> String {
    use std::io::Read;
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(HOST_FILE_BYTES_MAX).read_to_string(&mut text));
    if let Err(error) = read {
        tracing::debug!(path, %error, "cannot be read; taken as empty");
    }
    text
}
