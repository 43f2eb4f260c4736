//! Which servers there are outside, and from where they are asked.
//!
//! Servers that a person named (`--dns`) are asked from the container's namespace, as Docker does it: the container
//! must be able to reach them. So are those of the host's own list, and where the container has no way to one (it has
//! no IPv4 address) the host asks it. Of that list, those on its loopback (systemd-resolved's 127.0.0.53, dnsmasq)
//! and those with IPv6 addresses, which the container may lack, are asked from the host's namespace. That list is
//! read again when it has changed: a notebook that moves to another network takes its containers along.

use std::{
    io::Read,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    path::{Path, PathBuf},
    time::SystemTime,
};

use parking_lot::Mutex;

use super::limits::{RESOLV_CONF_BYTES_MAX, UPSTREAMS_MAX};
use crate::files::NAME_SERVICE;

const PORT: u16 = 53;

/// A server outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    /// Whether it is asked from the host's namespace rather than the container's.
    pub(super) from_host: bool,
    /// Whether it is of the host's own list: the host asks it where the container has no way to it.
    pub(super) is_hosts: bool,
}

/// The servers that questions of one container go to.
#[derive(Debug)]
pub struct Upstreams(Source);

#[derive(Debug)]
enum Source {
    /// Those that a person named.
    Named(Vec<Upstream>),
    /// Those of the host, as of the last change of its resolv.conf.
    Host { path: PathBuf, known: Mutex<(Option<SystemTime>, Vec<Upstream>)> },
}

impl Upstreams {
    /// The servers that were named, or else those of this file of the host.
    pub fn new(named: &[IpAddr], resolv_conf: &Path) -> Self {
        if named.is_empty() {
            return Self(Source::Host { path: resolv_conf.to_owned(), known: Mutex::default() });
        }
        let server =
            |address: &IpAddr| Upstream { address: SocketAddr::new(*address, PORT), from_host: false, is_hosts: false };
        // To pass questions on to ourselves would have no end.
        let others = named.iter().filter(|address| **address != NAME_SERVICE);
        Self(Source::Named(others.take(UPSTREAMS_MAX).map(server).collect()))
    }

    /// In the order they are asked.
    pub(super) fn now(&self) -> Vec<Upstream> {
        let (path, known) = match &self.0 {
            Source::Named(servers) => return servers.clone(),
            Source::Host { path, known } => (path, known),
        };
        let changed = std::fs::metadata(path).and_then(|file| file.modified()).ok();
        let mut known = known.lock();
        if known.0 != changed || changed.is_none() {
            *known = (changed, host_servers(&read(path), link_index));
        }
        known.1.clone()
    }
}

/// The servers in the text of a host's resolv.conf. `link_index` finds the number of a link by its name.
fn host_servers(text: &str, link_index: impl Fn(&str) -> Option<u32>) -> Vec<Upstream> {
    let words = text.lines().map(str::split_whitespace);
    let named = words.filter_map(|mut words| words.next().filter(|word| *word == "nameserver").and(words.next()));
    let addresses = named.filter_map(|word| address_of(word, &link_index));
    let server = |address: SocketAddr| {
        let ip = address.ip();
        Upstream { address, from_host: ip.is_loopback() || ip.is_ipv6(), is_hosts: true }
    };
    addresses.map(server).take(UPSTREAMS_MAX).collect()
}

// `fe80::1%eth0` names a link, by name or number.
fn address_of(word: &str, link_index: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let Some((address, link)) = word.split_once('%') else { return Some(SocketAddr::new(word.parse().ok()?, PORT)) };
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = link.parse().ok().or_else(|| link_index(link))?;
    Some(SocketAddrV6::new(address, PORT, 0, scope).into())
}

fn link_index(name: &str) -> Option<u32> {
    let socket = std::net::UdpSocket::bind(("::", 0)).ok()?;
    rustix::net::netdevice::name_to_index(&socket, name).ok()
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(RESOLV_CONF_BYTES_MAX).read_to_string(&mut text));
    if let Err(error) = read {
        tracing::debug!(path = %path.display(), %error, "cannot be read; it names no servers");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let servers = host_servers(text, |name| (name == "wlan0").then_some(7));
        let shown = servers.iter().map(|server| {
            format!("{} from the {}", server.address, if server.from_host { "host" } else { "container" })
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn servers_that_only_the_host_reaches_are_asked_from_there() {
        assert_eq!(
            shown("# nameserver 9.9.9.9\nnameserver 127.0.0.53\nnameserver\t10.0.0.53\nsearch lan\n"),
            "127.0.0.53:53 from the host, 10.0.0.53:53 from the container"
        );
        assert_eq!(
            shown("nameserver 2001:db8::53\nnameserver fe80::1%wlan0\nnameserver fe80::2%gone\nnameserver x\n"),
            "[2001:db8::53]:53 from the host, [fe80::1%7]:53 from the host"
        );
        assert_eq!(shown(""), "");
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = std::env::temp_dir().join(format!("hako-dns-{}", hako_base::random::hex(8)));
        std::fs::create_dir(&directory).unwrap();
        let file = directory.join("resolv.conf");
        let upstreams = Upstreams::new(&[], &file);
        assert_eq!(upstreams.now(), []);
        std::fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(upstreams.now()[0].address.to_string(), "192.0.2.1:53");
        std::fs::write(&file, "nameserver 192.0.2.2\n").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        assert_eq!(upstreams.now()[0].address.to_string(), "192.0.2.2:53");
        std::fs::remove_dir_all(&directory).unwrap();
        let named = Upstreams::new(&["127.0.0.1".parse().unwrap()], &file);
        assert!(!named.now()[0].from_host, "the container's own loopback");
        let ourselves = Upstreams::new(&[NAME_SERVICE.into(), "192.0.2.3".parse().unwrap()], &file);
        assert_eq!(ourselves.now().iter().map(|it| it.address.to_string()).collect::<Vec<_>>(), ["192.0.2.3:53"]);
    }
}
