//! Forgetting flows that conntrack remembers.
//!
//! A UDP flow that began before its port was published (or goes on after it was unpublished) keeps
//! the translation it started with for as long as packets come; so it is deleted when that changes.
//! Layout: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use std::net::IpAddr;

use super::{
    message::{Attributes, Batch, Encoder},
    socket::{NetlinkError, Socket},
};

const GET: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 1;
const DELETE: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
// From the kernel's own nf_internals.h: which parts of the tuple must match.
const FILTER_PROTOCOL: u32 = 1 << 3;
const FILTER_DST_PORT: u32 = 1 << 5;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;

/// Deletes the UDP flows that were sent to `port` at one of the host's own addresses, and returns
/// how many there were. (Flows to the same port elsewhere are other people's conversations.)
pub fn forget_udp(socket: &mut Socket, port: u16, own: &[IpAddr]) -> Result<usize, NetlinkError> {
    let mut forgotten = 0;
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        for flow in flows_to(socket, family, port, own)? {
            let mut batch = Batch::new();
            batch.message(DELETE, 0, |body| {
                body.fixed(&header(family));
                body.nested(CTA_TUPLE_ORIG, |tuple| copy(tuple, &flow.original));
                body.attribute(CTA_ID, &flow.id);
            });
            match socket.transact(&mut batch) {
                Ok(()) => forgotten += 1,
                // It has ended by itself meanwhile.
                Err(error) if error.errno() == libc::ENOENT => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(forgotten)
}

// The kernel looks for protocol and port itself (5.8 and later): a table of a hundred thousand flows
// is not carried over here.
fn flows_to(socket: &mut Socket, family: u8, port: u16, own: &[IpAddr]) -> Result<Vec<Flow>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET, 0, |body| {
        body.fixed(&header(family));
        body.nested(CTA_TUPLE_ORIG, |tuple| {
            tuple.nested(CTA_TUPLE_PROTO, |protocol| {
                protocol.attribute(CTA_PROTO_NUM, &[libc::IPPROTO_UDP as u8]);
                protocol.attribute(CTA_PROTO_DST_PORT, &port.to_be_bytes());
            });
        });
        body.nested(CTA_FILTER, |filter| filter.u32(CTA_FILTER_ORIG_FLAGS, FILTER_PROTOCOL | FILTER_DST_PORT));
    });
    let mut found = Vec::new();
    socket.dump(&mut batch, |message| {
        let attributes = Attributes::after(message.payload, 4);
        if destination(&attributes).is_some_and(|address| own.contains(&address)) {
            found.extend(name_of(&attributes));
        }
    })?;
    Ok(found)
}

// `struct nfgenmsg`.
fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

struct Flow {
    original: Vec<u8>,
    id: Vec<u8>,
}

fn name_of(attributes: &Attributes<'_>) -> Option<Flow> {
    Some(Flow { original: attributes.get(CTA_TUPLE_ORIG)?.to_vec(), id: attributes.get(CTA_ID)?.to_vec() })
}

// The attributes of a tuple go back as they came; their nested flag may have to be set again.
fn copy(tuple: &mut Encoder<'_>, original: &[u8]) {
    for (kind, value) in Attributes::new(original) {
        tuple.attribute(kind | libc::NLA_F_NESTED as u16, value);
    }
}

// Where the first packet of the flow was sent.
fn destination(attributes: &Attributes<'_>) -> Option<IpAddr> {
    let ip = Attributes::new(Attributes::new(attributes.get(CTA_TUPLE_ORIG)?).get(CTA_TUPLE_IP)?);
    let v4 = ip.get(CTA_IP_V4_DST).and_then(|bytes| Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)));
    v4.or_else(|| Some(IpAddr::from(<[u8; 16]>::try_from(ip.get(CTA_IP_V6_DST)?).ok()?)))
}
