//! rtnetlink: links that stand on another link: macvlan, ipvlan and 802.1q.
//!
//! Layouts: `include/uapi/linux/if_link.h`.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{
    message::Batch,
    route::{self, CREATE, EXCLUSIVE, IFLA_INFO_DATA, IFLA_INFO_KIND, Mac},
    socket::{NetlinkError, Socket},
};

const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

/// What such a link does with its parent's frames; the numbers are the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackedKind {
    Macvlan { mode: u32 },
    Ipvlan { mode: u16, flags: u16 },
    Vlan { id: u16 },
}

impl StackedKind {
    /// The kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
        }
    }
}

/// A link to be made.
#[derive(Debug, Clone, Copy)]
pub struct Stacked<'a> {
    pub name: &'a str,
    /// Index of the link below.
    pub parent: u32,
    pub kind: StackedKind,
    pub mtu: Option<u32>,
    pub address: Option<Mac>,
    /// The namespace it goes to; `None`: that of the socket.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// Makes a link on another one.
pub fn stacked_add(batch: &mut Batch, link: &Stacked<'_>) {
    batch.message(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, |body| {
        body.fixed(&route::link_header(0, None));
        body.text(libc::IFLA_IFNAME, link.name);
        body.u32(libc::IFLA_LINK, link.parent);
        if let Some(mtu) = link.mtu {
            body.u32(libc::IFLA_MTU, mtu);
        }
        if let Some(address) = link.address {
            body.attribute(libc::IFLA_ADDRESS, &address);
        }
        if let Some(namespace) = link.namespace {
            body.u32(libc::IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
        }
        body.nested_plain(libc::IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, link.kind.name().as_bytes());
            info.nested_plain(IFLA_INFO_DATA, |data| match link.kind {
                StackedKind::Macvlan { mode } => data.u32(IFLA_MACVLAN_MODE, mode),
                StackedKind::Ipvlan { mode, flags } => {
                    data.attribute(IFLA_IPVLAN_MODE, &mode.to_ne_bytes());
                    data.attribute(IFLA_IPVLAN_FLAGS, &flags.to_ne_bytes());
                }
                StackedKind::Vlan { id } => data.attribute(IFLA_VLAN_ID, &id.to_ne_bytes()),
            });
        });
    });
}

/// Whether the kernel has links of a kind: it is asked for one that stands on nothing, and says which of the two is
/// wrong. A module that provides the kind is loaded by the question.
///
/// # Errors
/// The socket is broken, or the caller may not make links.
pub fn is_kind_known(socket: &mut Socket, kind: &str) -> Result<bool, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, |body| {
        body.fixed(&route::link_header(0, None));
        body.nested_plain(libc::IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, kind.as_bytes()));
    });
    match socket.transact(&mut batch) {
        Err(error) if error.errno() == libc::EOPNOTSUPP => Ok(false),
        Err(error) if error.errno() == libc::EPERM => Err(error),
        _ => Ok(true),
    }
}
