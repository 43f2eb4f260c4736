//! Ports are reserved and lead to containers.
//!
//! A published port is a bound socket: the kernel itself says whether it is free, to us and to
//! everybody else, also while the daemon is away (the keeper holds a copy). Packets never reach the
//! socket where the firewall translates them; what it cannot translate (loopback; a container
//! without an address of that family; no firewall at all) is accepted from it and relayed.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
};

use hako_model::{PortKey, PortProtocol};
use hako_sys::netlink::{Protocol, Socket, conntrack, route};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::{
    Network,
    bridge::Bridge,
    error::{Context, NetworkError},
    firewall::{Exposure, PortSlot, Reach},
    plan::{Endpoint, PortRequest, Publication, PublishedPort},
    recover::slots_of_socket,
    sysctl,
};

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Docker's range for automatic ports where the host names none (the kernel's own default).
const AUTOMATIC: (u16, u16) = (32768, 60999);

/// What is published now.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// Host addresses by protocol and port.
    held: HashMap<(PortProtocol, u16), Vec<IpAddr>>,
    /// Last automatic port per protocol: the next search goes on behind it, so that a port that was
    /// just given up is not given to somebody else at once.
    automatic: HashMap<PortProtocol, u16>,
}

impl Ports {
    pub(crate) fn hold(&mut self, slot: &PortSlot) {
        self.held.entry((slot.protocol, slot.host.port())).or_default().push(slot.host.ip());
    }

    fn release(&mut self, slot: &PortSlot) {
        let key = (slot.protocol, slot.host.port());
        if let Some(addresses) = self.held.get_mut(&key) {
            addresses.retain(|address| *address != slot.host.ip());
            if addresses.is_empty() {
                self.held.remove(&key);
            }
        }
    }

    // Whether one of ours is the reason that `slot` cannot be bound.
    fn conflicts(&self, slot: &PortSlot) -> bool {
        let address = slot.host.ip();
        let others = self.held.get(&(slot.protocol, slot.host.port()));
        others.into_iter().flatten().any(|other| {
            other.is_ipv4() == address.is_ipv4()
                && (*other == address || other.is_unspecified() || address.is_unspecified())
        })
    }
}

/// From a published port to where it leads.
pub(crate) type Way = (PortSlot, SocketAddr);

/// One host address of one request, bound.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) slot: PortSlot,
    pub(crate) container: PortKey,
    /// Where it leads: the same family where the container has it.
    pub(crate) target: SocketAddr,
    /// `None` for SCTP, which is translated only.
    pub(crate) socket: Option<Arc<OwnedFd>>,
}

impl Reserved {
    /// Whether the firewall can translate it.
    pub(crate) fn is_translated(&self) -> bool {
        is_translated(&self.slot, self.target)
    }
}

impl Network {
    /// Publishes ports of an endpoint: all of them or none.
    pub fn publish(&self, endpoint: &Endpoint, requests: &[PortRequest]) -> Result<Publication, NetworkError> {
        let bridge = self.bridge(endpoint.network)?;
        if bridge.is_stacked() {
            // The outside reaches containers there without us.
            return Ok(Publication { ports: Vec::new(), listeners: Vec::new() });
        }
        let mut reserved: Vec<Reserved> = Vec::new();
        for request in requests {
            match self.reserve(endpoint, request) {
                Ok(more) => reserved.extend(more),
                Err(error) => {
                    self.let_go(&reserved);
                    return Err(error);
                }
            }
        }
        match self.lead(&reserved) {
            Ok(listeners) => {
                let translated =
                    reserved.iter().map(|port| PublishedPort { container: port.container, host: port.slot.host });
                let routed = self.open_routed(&bridge, endpoint, requests).inspect_err(|_| self.let_go(&reserved))?;
                Ok(Publication { ports: translated.chain(routed).collect(), listeners })
            }
            Err(error) => {
                self.let_go(&reserved);
                Err(error)
            }
        }
    }

    // Ports of families that are not translated are open at the container's own address; the host has none for them.
    fn open_routed(
        &self,
        bridge: &Bridge,
        endpoint: &Endpoint,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>, NetworkError> {
        let (mut ports, mut slots) = (Vec::new(), Vec::new());
        for request in requests {
            for address in self.host_addresses(bridge, request).into_iter().filter(|ip| bridge.is_routed(*ip)) {
                let Some(target) = endpoint.addresses().find(|own| own.is_ipv6() == address.is_ipv6()) else {
                    continue;
                };
                let host = SocketAddr::new(unspecified(address.is_ipv6()), 0);
                ports.push(PublishedPort { container: request.container, host });
                let host = SocketAddr::new(target, request.container.port);
                slots.push(PortSlot { host, protocol: request.container.protocol });
            }
        }
        self.firewall.open_at(&slots)?;
        Ok(ports)
    }

    /// Takes published ports back. They are free when the keeper has let go of its sockets too.
    pub fn unpublish(&self, ports: &[PublishedPort]) -> Result<(), NetworkError> {
        // What is open at a container's own address is closed with its endpoint.
        let slots: Vec<PortSlot> = ports.iter().filter(|port| !port.is_routed()).map(slot_of).collect();
        self.relays.stop(&slots);
        let result = self.firewall.ports_remove(&slots);
        let mut held = self.ports.lock();
        slots.iter().for_each(|slot| held.release(slot));
        drop(held);
        self.forget_flows(&slots);
        result
    }

    /// Those of the sockets that do not reserve one of these ports; the others are closed.
    pub fn sockets_without(&self, sockets: Vec<Arc<OwnedFd>>, ports: &[PublishedPort]) -> Vec<Arc<OwnedFd>> {
        let gone: HashSet<PortSlot> = ports.iter().map(slot_of).collect();
        let stays = |socket: &Arc<OwnedFd>| {
            let slots = slots_of_socket(socket);
            slots.is_empty() || slots.iter().any(|slot| !gone.contains(slot))
        };
        sockets.into_iter().filter(stays).collect()
    }

    /// Leads published ports to another endpoint of the same container. They stay reserved all the while.
    pub fn ports_move(&self, ports: &[PublishedPort], endpoint: &Endpoint) -> Result<(), NetworkError> {
        let ports = ports.iter().filter(|port| !port.is_routed());
        let (mut slots, mut translated) = (Vec::new(), Vec::new());
        for port in ports {
            let slot = slot_of(port);
            let target = endpoint.target(slot.host.ip()).ok_or(NetworkError::NoTarget { container: port.container })?;
            let target = SocketAddr::new(target, port.container.port);
            self.relays.lead(&slot, target);
            if is_translated(&slot, target) {
                translated.push((slot, target));
            }
            slots.push(slot);
        }
        // In between everything is relayed.
        self.firewall.ports_remove(&slots)?;
        self.firewall.ports_add(&translated)?;
        self.forget_flows(&slots);
        Ok(())
    }

    /// Who can reach these published ports, and which rule decides.
    pub fn exposure(&self, ports: &[PublishedPort]) -> Vec<Exposure> {
        let exposure = |port: &PublishedPort| {
            if port.is_routed() {
                return Exposure {
                    container: port.container,
                    host: port.host,
                    reach: Reach::Everyone,
                    reasons: vec!["open at the container's own address: its network is routed".to_owned()],
                    translated: false,
                };
            }
            let (reach, reasons, translated) = self.firewall.reach(&slot_of(port));
            Exposure { container: port.container, host: port.host, reach, reasons, translated }
        };
        ports.iter().map(exposure).collect()
    }

    // Firewall, relays, and an end to flows that took another way before. Returns the sockets, for the keeper.
    fn lead(&self, reserved: &[Reserved]) -> Result<Vec<Arc<OwnedFd>>, NetworkError> {
        let translated: Vec<(PortSlot, SocketAddr)> =
            reserved.iter().filter(|port| port.is_translated()).map(|port| (port.slot, port.target)).collect();
        self.firewall.ports_add(&translated)?;
        let listeners = self.relay(reserved)?;
        let slots: Vec<PortSlot> = reserved.iter().map(|port| port.slot).collect();
        self.forget_flows(&slots);
        Ok(listeners)
    }

    // Relays from every socket there is, and answers each once: a socket may be both families'.
    pub(crate) fn relay(&self, reserved: &[Reserved]) -> Result<Vec<Arc<OwnedFd>>, NetworkError> {
        let mut places: HashMap<RawFd, usize> = HashMap::new();
        let mut sockets: Vec<(Arc<OwnedFd>, Vec<Way>)> = Vec::new();
        for port in reserved {
            let Some(socket) = &port.socket else { continue };
            let place = *places.entry(socket.as_raw_fd()).or_insert(sockets.len());
            if place == sockets.len() {
                sockets.push((socket.clone(), Vec::new()));
            }
            sockets[place].1.push((port.slot, port.target));
        }
        for (socket, ways) in &sockets {
            self.relays.start(socket.clone(), ways).map_err(|source| {
                let hosts: Vec<String> = ways.iter().map(|(slot, _)| slot.host.to_string()).collect();
                NetworkError::System { what: "relay", subject: hosts.join(" and "), source }
            })?;
        }
        Ok(sockets.into_iter().map(|(socket, _)| socket).collect())
    }

    fn let_go(&self, reserved: &[Reserved]) {
        let ports: Vec<PublishedPort> =
            reserved.iter().map(|port| PublishedPort { container: port.container, host: port.slot.host }).collect();
        if let Err(error) = self.unpublish(&ports) {
            tracing::warn!(error = %hako_base::error::chain(&error), "ports of a failed publication stay");
        }
    }

    // A UDP flow keeps the way its first packet took; TCP connections end by themselves. Not being able
    // to forget is no failure: the flow ends with its time-out.
    fn forget_flows(&self, slots: &[PortSlot]) {
        let udp: Vec<&PortSlot> = slots.iter().filter(|slot| slot.protocol == PortProtocol::Udp).collect();
        if udp.is_empty() {
            return;
        }
        let result = self.host.rtnetlink("list addresses of", "the host", route::addresses).and_then(|own| {
            let own: Vec<IpAddr> = own.into_iter().map(|address| address.address).collect();
            let mut socket = Socket::open(Protocol::Netfilter).context("open", "a netfilter socket")?;
            for slot in udp {
                conntrack::forget_udp(&mut socket, slot.host.port(), &own)
                    .context("forget flows to", slot.host.to_string())?;
            }
            Ok(())
        });
        if let Err(error) = result {
            tracing::debug!(error = %hako_base::error::chain(&error), "UDP flows were not forgotten");
        }
    }

    // Binds every host address of one request to the same port: the first of the range that all have.
    fn reserve(&self, endpoint: &Endpoint, request: &PortRequest) -> Result<Vec<Reserved>, NetworkError> {
        let bridge = self.bridge(endpoint.network)?;
        let mut addresses = self.host_addresses(&bridge, request);
        addresses.retain(|address| !bridge.is_routed(*address));
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let mut ports = self.ports.lock();
        let automatic = request.host.port == 0;
        let candidates: Vec<u16> = if automatic {
            automatic_ports(ports.automatic.get(&request.container.protocol).copied())
        } else {
            (request.host.port..=request.host.port_end.max(request.host.port)).collect()
        };
        let mut refusal = NetworkError::PortsExhausted;
        for port in candidates {
            match bind_all(&ports, endpoint, request.container, &addresses, port) {
                Ok(reserved) => {
                    reserved.iter().for_each(|port| ports.hold(&port.slot));
                    if automatic {
                        ports.automatic.insert(request.container.protocol, port);
                    }
                    return Ok(reserved);
                }
                Err(NetworkError::PortAllocated { .. }) if automatic => {}
                Err(NetworkError::PortBind { source, .. }) if automatic && is_taken(&source) => {}
                Err(error @ NetworkError::PortAllocated { .. }) => refusal = error,
                Err(NetworkError::PortBind { host, target, container, source }) if is_taken(&source) => {
                    refusal = NetworkError::PortBind { host, target, container, source };
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal)
    }

    // No address means every address of both families, unless the network says otherwise.
    fn host_addresses(&self, bridge: &Bridge, request: &PortRequest) -> Vec<IpAddr> {
        match request.host.address.or(bridge.plan.host_binding) {
            Some(address) => vec![address],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        }
    }
}

fn unspecified(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn is_translated(slot: &PortSlot, target: SocketAddr) -> bool {
    !slot.host.ip().is_loopback() && slot.host.is_ipv4() == target.is_ipv4()
}

/// The firewall's name of a published port.
pub(crate) fn slot_of(port: &PublishedPort) -> PortSlot {
    PortSlot { host: port.host, protocol: port.container.protocol }
}

fn is_taken(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EADDRINUSE)
}

// The host's ephemeral range, from behind the last one given, once around.
fn automatic_ports(last: Option<u16>) -> Vec<u16> {
    let range = sysctl::read("net/ipv4/ip_local_port_range").and_then(|text| {
        let mut numbers = text.split_whitespace().map(str::parse::<u16>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    let (first, end) = range.unwrap_or(AUTOMATIC);
    let next = last.filter(|last| (first..end).contains(last)).map_or(first, |last| last + 1);
    (next..=end).chain(first..next).collect()
}

fn bind_all(
    ports: &Ports,
    endpoint: &Endpoint,
    container: PortKey,
    addresses: &[IpAddr],
    port: u16,
) -> Result<Vec<Reserved>, NetworkError> {
    let mut ways = Vec::with_capacity(addresses.len());
    for address in addresses {
        let target = endpoint.target(*address).ok_or(NetworkError::NoTarget { container })?;
        let slot = PortSlot { host: SocketAddr::new(*address, port), protocol: container.protocol };
        if ports.conflicts(&slot) {
            return Err(NetworkError::PortAllocated { host: slot.host });
        }
        ways.push((slot, target));
    }
    let refused = |(slot, target): (PortSlot, IpAddr), source| NetworkError::PortBind {
        host: slot.host,
        target,
        container,
        source,
    };
    let reserve = |(slot, target): (PortSlot, IpAddr), socket: Option<Arc<OwnedFd>>| Reserved {
        slot,
        container,
        target: SocketAddr::new(target, container.port),
        socket,
    };
    if let [v4, v6] = ways[..]
        && v4.0.host == SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
        && v6.0.host == SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
    {
        match bind_with(&v6.0, false) {
            Ok(socket) => {
                let socket = socket.map(Arc::new);
                return Ok(vec![reserve(v4, socket.clone()), reserve(v6, socket)]);
            }
            // A host without IPv6 publishes on IPv4 only, as Docker does.
            Err(error) if lacks_ipv6(&error) => ways.truncate(1),
            Err(source) => return Err(refused(v4, source)),
        }
    }
    let each = ways.into_iter().map(|way| match bind(&way.0) {
        Ok(socket) => Ok(reserve(way, socket.map(Arc::new))),
        Err(source) => Err(refused(way, source)),
    });
    each.collect()
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// A socket that reserves a port, ready to be relayed from.
pub(crate) fn bind(slot: &PortSlot) -> io::Result<Option<OwnedFd>> {
    bind_with(slot, true)
}

// `only` one family; or, of the address that is every address, both: half the descriptors.
fn bind_with(slot: &PortSlot, only: bool) -> io::Result<Option<OwnedFd>> {
    let kind = match slot.protocol {
        PortProtocol::Tcp => SocketType::STREAM,
        PortProtocol::Udp => SocketType::DGRAM,
        PortProtocol::Sctp => return Ok(None),
    };
    let family = if slot.host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if slot.host.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only)?;
    }
    if kind == SocketType::STREAM {
        // Connections of an earlier owner that are still saying good-bye do not count.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &slot.host)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_ports_go_on_behind_the_last_one() {
        let all = automatic_ports(None);
        let (first, end) = (all[0], *all.last().unwrap());
        assert_eq!(automatic_ports(Some(first))[0], first + 1);
        assert_eq!(automatic_ports(Some(end))[0], first);
        assert_eq!(automatic_ports(Some(first + 7)).len(), all.len());
    }

    #[test]
    fn every_address_conflicts_with_each_one() {
        let slot = |text: &str| PortSlot { host: text.parse().unwrap(), protocol: PortProtocol::Tcp };
        let mut ports = Ports::default();
        ports.hold(&slot("0.0.0.0:80"));
        ports.hold(&slot("[::1]:81"));
        assert!(ports.conflicts(&slot("127.0.0.1:80")));
        assert!(ports.conflicts(&slot("[::]:81")));
        assert!(!ports.conflicts(&slot("[::]:80")));
        assert!(!ports.conflicts(&slot("127.0.0.1:81")));
        ports.release(&slot("0.0.0.0:80"));
        assert!(!ports.conflicts(&slot("127.0.0.1:80")));
    }
}
