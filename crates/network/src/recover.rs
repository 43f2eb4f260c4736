//! What a new daemon does with what the last one left.
//!
//! Containers live on while the daemon is away: their links, addresses and sockets are right and are
//! not touched. The state is built from what the engine and the keeper know; everything else that
//! carries this daemon's name is swept.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
};

use hako_model::PortProtocol;
use hako_sys::netlink::{
    Batch,
    route::{self, Link, LinkChange, PortFlags},
};
use rustix::net::{SocketType, sockopt};

use crate::{
    Network,
    bridge::Bridge,
    endpoint::wait_until,
    error::NetworkError,
    firewall::PortSlot,
    plan::{Endpoint, PublishedPort},
    publish::{self, Reserved, slot_of},
};

/// An endpoint that is alive, its ports, and their sockets as the keeper gave them (in any order).
#[derive(Debug)]
pub struct Alive {
    pub endpoint: Endpoint,
    pub ports: Vec<PublishedPort>,
    pub listeners: Vec<Arc<OwnedFd>>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Links and bridges that nobody needs; they are deleted off the path.
    pub swept: Vec<String>,
    /// Endpoints whose network or link is gone.
    pub gone: Vec<Endpoint>,
    /// Sockets that had to be bound anew, for the keeper.
    pub listeners: Vec<Arc<OwnedFd>>,
    /// Ports whose socket was lost and which somebody else has now.
    pub lost: Vec<PublishedPort>,
}

impl Network {
    /// Rebuilds the state from what is alive, and starts working: call it once, after `bridge_up` of
    /// every network, also if nothing is alive.
    pub fn recover(&self, alive: Vec<Alive>) -> Result<Recovered, NetworkError> {
        let links = self.host.rtnetlink("list links of", "the host", route::links)?;
        let by_name: HashMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
        let mut recovered = Recovered::default();
        let (mut kept, mut reserved, mut opened) = (HashSet::new(), Vec::new(), Vec::new());
        for one in alive {
            if one.endpoint.link.is_empty() {
                match self.bridge(one.endpoint.network) {
                    Ok(bridge) => take_again(&bridge, &one.endpoint),
                    Err(_) => recovered.gone.push(one.endpoint),
                }
                continue;
            }
            kept.insert(one.endpoint.link.clone());
            match by_name.get(one.endpoint.link.as_str()) {
                Some(link) if self.endpoint_recover(link, &one.endpoint)? => {
                    self.ports_recover(one, &mut reserved, &mut opened, &mut recovered);
                }
                _ => recovered.gone.push(one.endpoint),
            }
        }
        self.sweep(&links, &kept, &mut recovered);
        let translated: BTreeMap<PortSlot, SocketAddr> =
            reserved.iter().filter(|port| port.is_translated()).map(|port| (port.slot, port.target)).collect();
        self.firewall.open_at(&opened)?;
        self.firewall.arm(translated)?;
        let mut held = self.ports.lock();
        reserved.iter().for_each(|port| held.hold(&port.slot));
        drop(held);
        self.relay(&reserved)?;
        self.pool.start()?;
        Ok(recovered)
    }

    // Its addresses are in use again; its link goes back into the bridge only if it fell out (the
    // bridge was deleted by somebody). False: the network is gone.
    fn endpoint_recover(&self, link: &Link, endpoint: &Endpoint) -> Result<bool, NetworkError> {
        let Ok(bridge) = self.bridge(endpoint.network) else { return Ok(false) };
        take_again(&bridge, endpoint);
        if link.master == Some(bridge.index) {
            return Ok(true);
        }
        self.host.rtnetlink("enslave", &link.name, |socket| {
            let mut batch = Batch::new();
            let change = LinkChange { master: Some(bridge.index), ..LinkChange::default() };
            route::link_change(&mut batch, link.index, change);
            route::port_flags(&mut batch, link.index, PortFlags { hairpin: true, isolated: !bridge.plan.icc });
            route::forwarding_set(&mut batch, link.index, endpoint.mac);
            for address in endpoint.addresses() {
                route::neighbour_set(&mut batch, bridge.index, address, endpoint.mac);
            }
            socket.transact(&mut batch)
        })?;
        wait_until("packets pass", &link.name, || self.frames_pass(&[link.index, bridge.index]))?;
        Ok(true)
    }

    fn ports_recover(
        &self,
        alive: Alive,
        reserved: &mut Vec<Reserved>,
        opened: &mut Vec<PortSlot>,
        recovered: &mut Recovered,
    ) {
        let slots = |socket: Arc<OwnedFd>| slots_of_socket(&socket).into_iter().map(move |slot| (slot, socket.clone()));
        let mut sockets: HashMap<PortSlot, Arc<OwnedFd>> = alive.listeners.into_iter().flat_map(slots).collect();
        for port in alive.ports {
            if port.is_routed() {
                let target = alive.endpoint.addresses().find(|own| own.is_ipv6() == port.host.is_ipv6());
                let host = target.map(|target| SocketAddr::new(target, port.container.port));
                opened.extend(host.map(|host| PortSlot { host, protocol: port.container.protocol }));
                continue;
            }
            let slot = slot_of(&port);
            let Some(target) = alive.endpoint.target(slot.host.ip()) else { continue };
            let socket = match sockets.remove(&slot) {
                Some(socket) => Some(socket),
                None => match publish::bind(&slot) {
                    Ok(socket) => {
                        let socket = socket.map(Arc::new);
                        recovered.listeners.extend(socket.clone());
                        socket
                    }
                    Err(error) => {
                        tracing::warn!(host = %slot.host, %error, "a published port cannot be reserved again");
                        recovered.lost.push(port);
                        None
                    }
                },
            };
            let target = SocketAddr::new(target, port.container.port);
            reserved.push(Reserved { slot, container: port.container, target, socket });
        }
    }

    fn sweep(&self, links: &[Link], kept: &HashSet<String>, recovered: &mut Recovered) {
        let (prefix, alias) = (self.settings.instance.link_prefix(), self.settings.instance.alias());
        // Parents of stacked networks that we made are among them.
        let bridges: HashSet<u32> = self.bridges.read().values().map(|bridge| bridge.index).collect();
        for link in links {
            let leftover = link.kind == "veth" && link.name.starts_with(&prefix) && !kept.contains(&link.name);
            let orphan = matches!(link.kind.as_str(), "bridge" | "vlan" | "dummy")
                && link.alias == alias
                && !bridges.contains(&link.index);
            if leftover || orphan {
                self.reaper.delete(link.name.clone());
                recovered.swept.push(link.name.clone());
            }
        }
    }
}

// Its addresses are in use again.
fn take_again(bridge: &Bridge, endpoint: &Endpoint) {
    for address in endpoint.addresses() {
        // Taken already, or outside: the endpoint has it all the same.
        if let Err(error) = bridge.address_take(Some(address), address.is_ipv6()) {
            tracing::warn!(%address, %error, "an address of a running container");
        }
    }
}

// Which published ports a socket reserves, by what the kernel says of it: two, where it is both families'.
pub(crate) fn slots_of_socket(socket: &OwnedFd) -> Vec<PortSlot> {
    let protocol = match sockopt::socket_type(socket) {
        Ok(SocketType::STREAM) => PortProtocol::Tcp,
        Ok(SocketType::DGRAM) => PortProtocol::Udp,
        _ => return Vec::new(),
    };
    let name = rustix::net::getsockname(socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
    let Some(host) = name else { return Vec::new() };
    let is_both = host.is_ipv6() && sockopt::ipv6_v6only(socket).is_ok_and(|only| !only);
    let v4 = is_both.then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), host.port()));
    v4.into_iter().chain([host]).map(|host| PortSlot { host, protocol }).collect()
}
