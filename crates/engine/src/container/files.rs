//! The files that hako writes for a container: hostname, hosts, resolv.conf.
//!
//! They are written anew at every start, since addresses change, and bound into the container. While it runs they are
//! changed only where it joins or leaves a network. What they say is decided by `hako_network::files`.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use hako_model::NetworkMode;
use hako_network::{
    Endpoint,
    files::{self, DnsPlan},
};

use crate::{Engine, EngineError, record::Record};

/// Where they appear in the container, by file name.
pub(crate) const TARGETS: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// Where the host's programs read which name servers there are.
pub(crate) const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where systemd-resolved says which servers are behind its stub.
const STUB_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// The most that is read of such a file; a container may have written its own.
const FILE_BYTES_MAX: u64 = 1 << 20;

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

    /// Writes the three files for a start with these addresses; `served`: names are served in one of its networks.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write_network_files(
        &self,
        record: &Record,
        addresses: &[IpAddr],
        served: bool,
    ) -> Result<(), EngineError> {
        let host = &record.spec.host;
        if matches!(host.network_mode, NetworkMode::Container(_)) {
            return Ok(());
        }
        let directory = self.container_files(record.id);
        let shares_host = host.network_mode == NetworkMode::Host;
        let resolv = self.resolv_conf(record, addresses, served);
        let gateways = self.host_gateways();
        let extra = host.extra_hosts.iter().flat_map(|entry| files::extra_host(entry, &gateways));
        let extra: Vec<(String, IpAddr)> = extra.chain(self.link_hosts(record)).collect();
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

    /// `resolv.conf` of a container with these addresses.
    fn resolv_conf(&self, record: &Record, addresses: &[IpAddr], served: bool) -> String {
        let (mut host, dns) = (read_host(HOST_RESOLV_CONF), self.dns_plan(record));
        let shares_host = record.spec.host.network_mode == NetworkMode::Host;
        // Containers of the default bridge cannot reach the stub; the servers behind it they can.
        if !shares_host && !served && files::resolv_conf_is_stub(&host) {
            host = read_host(STUB_RESOLV_CONF);
        }
        if shares_host {
            files::resolv_conf_host(&host, &dns)
        } else if served {
            files::resolv_conf_served(&host, &dns)
        } else {
            files::resolv_conf(&host, &dns, addresses.iter().any(IpAddr::is_ipv6))
        }
    }

    /// A running container has joined or left networks. What it has written into its files itself stays, and a
    /// resolv.conf that is not ours any more is not touched, as with Docker.
    pub(crate) fn network_files_changed(&self, before: &Record, after: &Record) {
        let directory = self.container_files(after.id);
        let (old, new) = (addresses(before), addresses(after));
        let without = |list: &[IpAddr], other: &[IpAddr]| -> Vec<IpAddr> {
            list.iter().filter(|address| !other.contains(address)).copied().collect()
        };
        let names = files::own_names(&after.hostname, &after.spec.domainname);
        let hosts = directory.join("hosts");
        let text = files::hosts_changed(&read(&hosts), &without(&old, &new), &without(&new, &old), &names);
        let mut written = write(&hosts, &text);
        let (was, is) = (self.is_served(before), self.is_served(after));
        let resolv = directory.join("resolv.conf");
        if was != is && read(&resolv) == self.resolv_conf(before, &old, was) {
            written = written.and(write(&resolv, &self.resolv_conf(after, &new, is)));
        }
        if let Err(error) = written {
            tracing::warn!(container = %after.id.short(), %error, "its hosts or resolv.conf cannot be written");
        }
    }

    /// Names in the hosts file of a running container have other addresses now.
    pub(crate) fn hosts_readdress(&self, record: &Record, lines: &[(String, IpAddr)]) {
        let path = self.container_files(record.id).join("hosts");
        for (names, address) in lines {
            let text = files::hosts_readdressed(&read(&path), names, *address);
            if let Err(error) = write(&path, &text) {
                tracing::warn!(container = %record.id.short(), %error, "its hosts file cannot be written");
            }
        }
    }

    /// Names with their addresses are no longer in the hosts file of a running container.
    pub(crate) fn hosts_forget(&self, record: &Record, lines: Vec<(String, IpAddr)>) {
        let path = self.container_files(record.id).join("hosts");
        for (names, address) in lines {
            let text = files::hosts_changed(&read(&path), &[address], &[], &[names]);
            if let Err(error) = write(&path, &text) {
                tracing::warn!(container = %record.id.short(), %error, "its hosts file cannot be written");
            }
        }
    }

    fn is_served(&self, record: &Record) -> bool {
        let served = |name: &String| self.network_record(name).is_ok_and(|network| network.serves_names());
        record.endpoints.iter().any(|(name, place)| place.plugged.is_some() && served(name))
    }

    pub(crate) fn dns_plan(&self, record: &Record) -> DnsPlan {
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
    read(Path::new(path))
}

fn read(path: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    if let Err(error) = read {
        tracing::debug!(path = %path.display(), %error, "cannot be read; taken as empty");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn addresses(record: &Record) -> Vec<IpAddr> {
    record.endpoints.values().filter_map(|place| place.plugged.as_ref()).flat_map(Endpoint::addresses).collect()
}
