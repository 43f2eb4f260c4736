//! rtnetlink: requests for links, addresses, routes and neighbours, and lists of them.
//!
//! Requests are appended to a [`Batch`]; the caller decides what goes together and on which socket
//! (that is: in which namespace). Layouts: `include/uapi/linux/{rtnetlink,if_link,neighbour}.h`.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{
    message::{Attributes, Batch, Encoder, u32_at},
    socket::{NetlinkError, Socket},
};

/// A link-layer address.
pub type Mac = [u8; 6];

pub(super) const CREATE: u16 = libc::NLM_F_CREATE as u16;
pub(super) const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;

// From <linux/if_link.h>, <linux/veth.h> and <linux/if_bridge.h>, which libc does not carry.
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IF_OPER_UNKNOWN: u8 = 0;
const IF_OPER_UP: u8 = 6;
const IFLA_BRPORT_STATE: u16 = 1;
const BR_STATE_DISABLED: u8 = 0;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const RTPROT_STATIC: u8 = 4;
const NTF_STICKY: u8 = 0x40;
const RTM_F_CLONED: u32 = 0x200;

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `bridge`, `veth`, …; empty for physical and loopback links.
    pub kind: String,
    pub master: Option<u32>,
    pub up: bool,
    /// Whether frames pass: it is up, has a carrier, and the kernel has acted on that.
    pub operating: bool,
    pub address: Option<Mac>,
    pub mtu: u32,
    /// Free text that an owner put there.
    pub alias: String,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub link: u32,
    pub address: IpAddr,
    pub prefix: u8,
}

/// A route with a destination (a default route has prefix 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub destination: IpAddr,
    pub prefix: u8,
    pub gateway: Option<IpAddr>,
    pub link: Option<u32>,
}

/// One end of a veth pair that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct VethEnd<'a> {
    pub name: &'a str,
    /// The namespace it goes to; `None`: that of the socket.
    pub namespace: Option<BorrowedFd<'a>>,
    pub address: Option<Mac>,
}

/// What to change of a link; `None` leaves it.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkChange<'a> {
    pub up: Option<bool>,
    /// Index of the new master; `Some(0)` takes it out of its bridge.
    pub master: Option<u32>,
    pub address: Option<Mac>,
    pub mtu: Option<u32>,
    pub name: Option<&'a str>,
    pub alias: Option<&'a str>,
    /// The link makes no IPv6 address by itself.
    pub no_link_local: bool,
}

/// How a port of a bridge behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortFlags {
    /// Frames may leave by the port they came from.
    pub hairpin: bool,
    /// No frames between two ports that are both isolated.
    pub isolated: bool,
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn with_octets<T>(address: IpAddr, use_it: impl FnOnce(&[u8]) -> T) -> T {
    match address {
        IpAddr::V4(address) => use_it(&address.octets()),
        IpAddr::V6(address) => use_it(&address.octets()),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

// `struct ifinfomsg`.
pub(super) fn link_header(index: u32, up: Option<bool>) -> [u8; 16] {
    let mut header = [0_u8; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = up {
        let flag = libc::IFF_UP as u32;
        header[8..12].copy_from_slice(&(if up { flag } else { 0 }).to_ne_bytes());
        header[12..16].copy_from_slice(&flag.to_ne_bytes());
    }
    header
}

/// Makes a bridge. A fixed address keeps it from changing with its ports.
pub fn bridge_add(batch: &mut Batch, name: &str, address: Mac, mtu: u32) {
    batch.message(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, |body| {
        body.fixed(&link_header(0, None));
        body.text(libc::IFLA_IFNAME, name);
        body.attribute(libc::IFLA_ADDRESS, &address);
        body.u32(libc::IFLA_MTU, mtu);
        body.nested_plain(libc::IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, b"bridge"));
    });
}

/// Makes a link of a kind that needs no settings (`dummy`, …).
pub fn link_add(batch: &mut Batch, name: &str, kind: &str) {
    batch.message(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, |body| {
        body.fixed(&link_header(0, None));
        body.text(libc::IFLA_IFNAME, name);
        body.nested_plain(libc::IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, kind.as_bytes()));
    });
}

/// Makes a veth pair, each end in its namespace.
pub fn veth_add(batch: &mut Batch, near: VethEnd<'_>, far: VethEnd<'_>, mtu: u32) {
    let end = |body: &mut Encoder<'_>, end: VethEnd<'_>| {
        body.text(libc::IFLA_IFNAME, end.name);
        body.u32(libc::IFLA_MTU, mtu);
        if let Some(address) = end.address {
            body.attribute(libc::IFLA_ADDRESS, &address);
        }
        if let Some(namespace) = end.namespace {
            body.u32(libc::IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
        }
    };
    batch.message(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, |body| {
        body.fixed(&link_header(0, None));
        end(body, near);
        body.nested_plain(libc::IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"veth");
            info.nested_plain(IFLA_INFO_DATA, |data| {
                data.nested_plain(VETH_INFO_PEER, |peer| {
                    peer.fixed(&link_header(0, None));
                    end(peer, far);
                });
            });
        });
    });
}

/// Changes a link.
pub fn link_change(batch: &mut Batch, index: u32, change: LinkChange<'_>) {
    batch.message(libc::RTM_SETLINK, 0, |body| {
        body.fixed(&link_header(index, change.up));
        if let Some(address) = change.address {
            body.attribute(libc::IFLA_ADDRESS, &address);
        }
        if let Some(mtu) = change.mtu {
            body.u32(libc::IFLA_MTU, mtu);
        }
        if let Some(name) = change.name {
            body.text(libc::IFLA_IFNAME, name);
        }
        if let Some(alias) = change.alias {
            body.text(libc::IFLA_IFALIAS, alias);
        }
        if let Some(master) = change.master {
            body.u32(libc::IFLA_MASTER, master);
        }
        if change.no_link_local {
            body.nested(libc::IFLA_AF_SPEC, |families| {
                families.nested(libc::AF_INET6 as u16, |inet6| {
                    inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
                });
            });
        }
    });
}

/// Sets the flags of a bridge port; the link must be in a bridge already.
pub fn port_flags(batch: &mut Batch, index: u32, flags: PortFlags) {
    batch.message(libc::RTM_NEWLINK, 0, |body| {
        body.fixed(&link_header(index, None));
        body.nested_plain(libc::IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_SLAVE_KIND, b"bridge");
            info.nested_plain(IFLA_INFO_SLAVE_DATA, |data| {
                data.attribute(IFLA_BRPORT_MODE, &[u8::from(flags.hairpin)]);
                data.attribute(IFLA_BRPORT_ISOLATED, &[u8::from(flags.isolated)]);
            });
        });
    });
}

/// Closes a bridge port, by the link's name: no frame passes it any more. Taking the link out of the
/// bridge would wait for a grace period; this does not.
pub fn port_close(batch: &mut Batch, name: &str) {
    batch.message(libc::RTM_NEWLINK, 0, |body| {
        body.fixed(&link_header(0, None));
        body.text(libc::IFLA_IFNAME, name);
        body.nested_plain(libc::IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_SLAVE_KIND, b"bridge");
            info.nested_plain(IFLA_INFO_SLAVE_DATA, |data| data.attribute(IFLA_BRPORT_STATE, &[BR_STATE_DISABLED]));
        });
    });
}

/// Deletes a link (and, for one end of a veth pair, the other).
pub fn link_remove(batch: &mut Batch, index: u32) {
    batch.message(libc::RTM_DELLINK, 0, |body| body.fixed(&link_header(index, None)));
}

/// Deletes a link by its name.
pub fn link_remove_named(batch: &mut Batch, name: &str) {
    batch.message(libc::RTM_DELLINK, 0, |body| {
        body.fixed(&link_header(0, None));
        body.text(libc::IFLA_IFNAME, name);
    });
}

/// Puts a link into a group, by its name.
pub fn link_group(batch: &mut Batch, name: &str, group: u32) {
    batch.message(libc::RTM_SETLINK, 0, |body| {
        body.fixed(&link_header(0, None));
        body.text(libc::IFLA_IFNAME, name);
        body.u32(libc::IFLA_GROUP, group);
    });
}

/// Deletes all links of a group together, for the price of one.
pub fn link_remove_group(batch: &mut Batch, group: u32) {
    batch.message(libc::RTM_DELLINK, 0, |body| {
        body.fixed(&link_header(0, None));
        body.u32(libc::IFLA_GROUP, group);
    });
}

/// Gives a link an address, without the seconds of duplicate detection that IPv6 would take: the
/// address plan already knows that nobody else has it.
pub fn address_add(batch: &mut Batch, link: u32, address: IpAddr, prefix: u8) {
    batch.message(libc::RTM_NEWADDR, CREATE | REPLACE, |body| {
        body.fixed(&address_header(link, address, prefix));
        with_octets(address, |octets| {
            body.attribute(libc::IFA_LOCAL, octets);
            body.attribute(libc::IFA_ADDRESS, octets);
        });
        match address {
            IpAddr::V4(address) if prefix < 31 => {
                let broadcast = address.to_bits() | (u32::MAX >> prefix);
                body.attribute(libc::IFA_BROADCAST, &broadcast.to_be_bytes());
            }
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => body.u32(IFA_FLAGS, IFA_F_NODAD),
        }
    });
}

/// Takes an address from a link.
pub fn address_remove(batch: &mut Batch, link: u32, address: IpAddr, prefix: u8) {
    batch.message(libc::RTM_DELADDR, 0, |body| {
        body.fixed(&address_header(link, address, prefix));
        with_octets(address, |octets| body.attribute(libc::IFA_LOCAL, octets));
    });
}

// `struct ifaddrmsg`.
fn address_header(link: u32, address: IpAddr, prefix: u8) -> [u8; 8] {
    let mut header = [family(address), prefix, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header
}

/// Adds a route; `gateway` or `link` or both say where it leads.
pub fn route_add(batch: &mut Batch, route: Route) {
    batch.message(libc::RTM_NEWROUTE, CREATE | REPLACE, |body| {
        // `struct rtmsg`: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
        let scope = if route.gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
        let main = libc::RT_TABLE_MAIN;
        let mut header = [0_u8; 12];
        header[..8].copy_from_slice(&[
            family(route.destination),
            route.prefix,
            0,
            0,
            main,
            RTPROT_STATIC,
            scope,
            libc::RTN_UNICAST,
        ]);
        body.fixed(&header);
        if route.prefix > 0 {
            with_octets(route.destination, |octets| body.attribute(libc::RTA_DST, octets));
        }
        if let Some(gateway) = route.gateway {
            with_octets(gateway, |octets| body.attribute(libc::RTA_GATEWAY, octets));
        }
        if let Some(link) = route.link {
            body.u32(libc::RTA_OIF, link);
        }
    });
}

/// Removes a route: the one with this destination, gateway and link.
pub fn route_remove(batch: &mut Batch, route: Route) {
    batch.message(libc::RTM_DELROUTE, 0, |body| {
        let mut header = [0_u8; 12];
        header[..2].copy_from_slice(&[family(route.destination), route.prefix]);
        header[4] = libc::RT_TABLE_MAIN;
        // Whatever its scope is.
        header[6] = libc::RT_SCOPE_NOWHERE;
        body.fixed(&header);
        if route.prefix > 0 {
            with_octets(route.destination, |octets| body.attribute(libc::RTA_DST, octets));
        }
        if let Some(gateway) = route.gateway {
            with_octets(gateway, |octets| body.attribute(libc::RTA_GATEWAY, octets));
        }
        if let Some(link) = route.link {
            body.u32(libc::RTA_OIF, link);
        }
    });
}

// `struct ndmsg`.
fn neighbour_header(family: u8, link: u32, state: u16, flags: u8) -> [u8; 12] {
    let mut header = [0_u8; 12];
    header[0] = family;
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..10].copy_from_slice(&state.to_ne_bytes());
    header[10] = flags;
    header
}

/// A neighbour entry that never expires and does not count against the host-wide limit
/// (`gc_thresh3`, 1,024 by default; permanent entries are exempt).
pub fn neighbour_set(batch: &mut Batch, link: u32, address: IpAddr, mac: Mac) {
    batch.message(libc::RTM_NEWNEIGH, CREATE | REPLACE, |body| {
        body.fixed(&neighbour_header(family(address), link, libc::NUD_PERMANENT, 0));
        with_octets(address, |octets| body.attribute(libc::NDA_DST, octets));
        body.attribute(libc::NDA_LLADDR, &mac);
    });
}

/// Removes a neighbour entry.
pub fn neighbour_remove(batch: &mut Batch, link: u32, address: IpAddr) {
    batch.message(libc::RTM_DELNEIGH, 0, |body| {
        body.fixed(&neighbour_header(family(address), link, 0, 0));
        with_octets(address, |octets| body.attribute(libc::NDA_DST, octets));
    });
}

/// Tells a bridge which port an address is behind, before anybody has learned it (and although an
/// earlier port with the same address may not be gone yet). A frame from another port does not move
/// the entry: nobody takes another's packets by pretending to be them.
pub fn forwarding_set(batch: &mut Batch, port: u32, mac: Mac) {
    batch.message(libc::RTM_NEWNEIGH, CREATE | REPLACE, |body| {
        let flags = libc::NTF_MASTER | NTF_STICKY;
        body.fixed(&neighbour_header(libc::AF_BRIDGE as u8, port, libc::NUD_NOARP, flags));
        body.attribute(libc::NDA_LLADDR, &mac);
    });
}

/// All links of the socket's namespace.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(libc::RTM_GETLINK, 0, |body| body.fixed(&link_header(0, None)));
    let mut links = Vec::new();
    socket.dump(&mut batch, |message| links.extend(link_of(message.payload)))?;
    Ok(links)
}

/// The link of this name, or `None`.
pub fn link_named(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(libc::RTM_GETLINK, 0, |body| {
        body.fixed(&link_header(0, None));
        body.text(libc::IFLA_IFNAME, name);
    });
    let mut link = None;
    match socket.query(&mut batch, |message| link = link_of(message.payload)) {
        Ok(()) => Ok(link),
        Err(error) if error.errno() == libc::ENODEV => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether all of these links pass frames. A carrier that came on is acted on by a worker of the
/// kernel (`linkwatch`) some time later, and until then frames are lost silently; asking for one
/// link makes the kernel do it now (6.8 and later), so ask again where the answer is no.
pub fn links_operating(socket: &mut Socket, indexes: &[u32]) -> Result<bool, NetlinkError> {
    let mut operating = 0;
    for index in indexes {
        let mut batch = Batch::new();
        batch.message(libc::RTM_GETLINK, 0, |body| body.fixed(&link_header(*index, None)));
        socket.query(&mut batch, |message| {
            operating += usize::from(link_of(message.payload).is_some_and(|link| link.operating));
        })?;
    }
    Ok(operating == indexes.len())
}

/// Whether the kernel takes packets for an address as its own already. For IPv6 a worker makes it so
/// some time after the address was added, and until then they are lost silently.
pub fn is_local(socket: &mut Socket, address: IpAddr) -> Result<bool, NetlinkError> {
    let mut batch = Batch::new();
    let length = if address.is_ipv4() { 32 } else { 128 };
    batch.message(libc::RTM_GETROUTE, 0, |body| {
        let mut header = [0_u8; 12];
        header[..2].copy_from_slice(&[family(address), length]);
        body.fixed(&header);
        with_octets(address, |octets| body.attribute(libc::RTA_DST, octets));
    });
    let mut local = false;
    match socket.query(&mut batch, |message| local = message.payload.get(7) == Some(&libc::RTN_LOCAL)) {
        Ok(()) => Ok(local),
        Err(error) if matches!(error.errno(), libc::ENETUNREACH | libc::EHOSTUNREACH) => Ok(false),
        Err(error) => Err(error),
    }
}

fn link_of(payload: &[u8]) -> Option<Link> {
    let attributes = Attributes::after(payload, 16);
    let info = Attributes::new(attributes.get(libc::IFLA_LINKINFO).unwrap_or_default());
    Some(Link {
        index: u32_at(payload, 4)?,
        name: attributes.text_of(libc::IFLA_IFNAME)?.to_owned(),
        kind: info.text_of(IFLA_INFO_KIND).unwrap_or_default().to_owned(),
        master: attributes.number(libc::IFLA_MASTER),
        up: u32_at(payload, 8)? & libc::IFF_UP as u32 != 0,
        operating: matches!(attributes.get(libc::IFLA_OPERSTATE), Some([IF_OPER_UNKNOWN | IF_OPER_UP])),
        address: attributes.get(libc::IFLA_ADDRESS).and_then(|bytes| bytes.try_into().ok()),
        mtu: attributes.number(libc::IFLA_MTU).unwrap_or_default(),
        alias: attributes.text_of(libc::IFLA_IFALIAS).unwrap_or_default().to_owned(),
    })
}

/// All addresses of all links of the socket's namespace.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(libc::RTM_GETADDR, 0, |body| body.fixed(&[0; 8]));
    let mut addresses = Vec::new();
    socket.dump(&mut batch, |message| {
        let attributes = Attributes::after(message.payload, 8);
        let octets = attributes.get(libc::IFA_LOCAL).or_else(|| attributes.get(libc::IFA_ADDRESS));
        if let (Some(address), Some(link), Some(prefix)) =
            (octets.and_then(ip), u32_at(message.payload, 4), message.payload.get(1))
        {
            addresses.push(Address { link, address, prefix: *prefix });
        }
    })?;
    Ok(addresses)
}

/// All unicast routes of all tables of the socket's namespace, both families.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>, NetlinkError> {
    let mut routes = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut batch = Batch::new();
        let mut header = [0_u8; 12];
        header[0] = family as u8;
        batch.message(libc::RTM_GETROUTE, 0, |body| body.fixed(&header));
        socket.dump(&mut batch, |message| routes.extend(route_of(message.payload)))?;
    }
    Ok(routes)
}

fn route_of(payload: &[u8]) -> Option<Route> {
    let (family, prefix, kind) = (i32::from(*payload.first()?), *payload.get(1)?, *payload.get(7)?);
    if kind != libc::RTN_UNICAST || u32_at(payload, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let attributes = Attributes::after(payload, 12);
    let unspecified: IpAddr = if family == libc::AF_INET { [0; 4].into() } else { [0; 16].into() };
    Some(Route {
        destination: attributes.get(libc::RTA_DST).and_then(ip).unwrap_or(unspecified),
        prefix,
        gateway: attributes.get(libc::RTA_GATEWAY).and_then(ip),
        link: attributes.number(libc::RTA_OIF),
    })
}
