//! The sockets of the name service in a container's namespace, and the rules there that lead to them.
//!
//! With an address translation in it, the kernel tracks every connection of a namespace, also those of a container
//! with itself, which makes each of them cost half as much again. So a chain before conntrack leaves loopback alone,
//! but for the service's own address. Whoever may make rules of their own in there may want to translate loopback too:
//! for them there is no such chain, and it goes when one joins later ([`track_loopback`]).

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{BorrowedFd, OwnedFd},
};

use hako_sys::{
    netlink::{Protocol, Socket, namespace},
    nft::{Base, Chain, Expression, Family, Hook, MetaKey, PayloadBase, Register, Transaction, table_exists},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::error::{Context, NetworkError};

/// Where containers ask: Docker's address, which images and configurations know.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;

/// The table in the container's namespace, and its chains.
const TABLE: &str = "hako-names";
const TRANSLATION: &str = "output";
const BYPASS: &str = "loopback";

/// Before conntrack, which looks at -200 (`NF_IP_PRI_RAW`).
const BEFORE_CONNTRACK: i32 = -300;

/// Connections that wait while no daemon runs.
const BACKLOG: i32 = 128;

/// Questions that wait while no daemon runs, or while it is busy: some hundred of them.
const QUEUE_BYTES: usize = 256 << 10;

/// The two sockets of one container.
#[derive(Debug)]
pub struct NameSockets {
    pub(super) datagrams: OwnedFd,
    pub(super) streams: OwnedFd,
}

impl NameSockets {
    /// Opens the sockets in a container's namespace and leads port 53 of 127.0.0.11 to them. What an earlier call made
    /// there is replaced. With `own_rules` the container may make rules of its own, and loopback is tracked.
    ///
    /// # Errors
    /// A namespace without loopback, or a kernel without nf_tables' NAT.
    pub fn open(netns: BorrowedFd<'_>, own_rules: bool) -> Result<Self, NetworkError> {
        let made = namespace::within(netns, || {
            let sockets = Self { datagrams: bind(SocketType::DGRAM)?, streams: bind(SocketType::STREAM)? };
            // Refused only without CAP_NET_ADMIN; the usual size is enough for most.
            let _ = sockopt::set_socket_recv_buffer_size_force(&sockets.datagrams, QUEUE_BYTES);
            let mut transaction = Transaction::new(Family::Ip);
            transaction.table_add(TABLE);
            transaction.table_remove(TABLE);
            transaction.table_add(TABLE);
            let base = Base { kind: "nat", hook: Hook::Output, priority: -100 };
            transaction.chain_add(TABLE, Chain { name: TRANSLATION, base: Some(base) });
            for (protocol, socket) in [(libc::IPPROTO_UDP, &sockets.datagrams), (libc::IPPROTO_TCP, &sockets.streams)] {
                transaction.rule_append(TABLE, TRANSLATION, &redirect(protocol as u8, local_port(socket)?));
            }
            if !own_rules {
                bypass_add(&mut transaction);
                transaction.rule_append(TABLE, BYPASS, &untracked());
            }
            transaction.apply(&mut Socket::open(Protocol::Netfilter)?)?;
            Ok(sockets)
        });
        made.context("open", "the name service's sockets in a container")
    }

    /// The sockets as the keeper gives them back, in any order; `None`: that is not them.
    pub fn adopt(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let (mut datagrams, mut streams) = (None, None);
        for descriptor in descriptors {
            match sockopt::socket_type(&descriptor).ok()? {
                SocketType::DGRAM => datagrams = Some(descriptor),
                SocketType::STREAM => streams = Some(descriptor),
                _ => return None,
            }
        }
        Some(Self { datagrams: datagrams?, streams: streams? })
    }

    /// Copies, for the keeper.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn copies(&self) -> Result<Vec<OwnedFd>, NetworkError> {
        let both = self.datagrams.try_clone().and_then(|datagrams| Ok(vec![datagrams, self.streams.try_clone()?]));
        both.context("copy", "the name service's sockets")
    }
}

/// Has loopback tracked again in the namespace of the process that `pidfd` names (or of a descriptor of it): somebody
/// joins it who may make rules there.
///
/// # Errors
/// The process has ended, or the kernel refuses.
pub fn track_loopback(pidfd: BorrowedFd<'_>) -> Result<(), NetworkError> {
    let done = namespace::within(pidfd, || {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        if table_exists(&mut socket, Family::Ip, TABLE)? {
            let mut transaction = Transaction::new(Family::Ip);
            // Added first, so that it is no error when it has gone before.
            bypass_add(&mut transaction);
            transaction.chain_remove(TABLE, BYPASS);
            transaction.apply(&mut socket)?;
        }
        Ok(())
    });
    done.context("track", "loopback in a container")
}

fn bypass_add(transaction: &mut Transaction) {
    let base = Base { kind: "filter", hook: Hook::Output, priority: BEFORE_CONNTRACK };
    transaction.chain_add(TABLE, Chain { name: BYPASS, base: Some(base) });
}

fn bind(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    rustix::net::bind(&socket, &SocketAddr::V4(SocketAddrV4::new(ADDRESS, 0)))?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

fn local_port(socket: &OwnedFd) -> io::Result<u16> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket)?)?.port())
}

// ip daddr 127.0.0.11 PROTOCOL dport 53 dnat to 127.0.0.11:port
fn redirect(protocol: u8, port: u16) -> Vec<Expression> {
    let (first, second) = (Register::at(0), Register::at(4));
    let equals = |value: Vec<u8>| Expression::Compare { from: first, equal: true, value };
    let address = ADDRESS.octets().to_vec();
    vec![
        Expression::Payload { base: PayloadBase::Network, offset: 16, length: 4, to: first },
        equals(address.clone()),
        Expression::Meta { key: MetaKey::Protocol, to: first },
        equals(vec![protocol]),
        Expression::Payload { base: PayloadBase::Transport, offset: 2, length: 2, to: first },
        equals(PORT.to_be_bytes().to_vec()),
        Expression::Immediate { to: first, value: address },
        Expression::Immediate { to: second, value: port.to_be_bytes().to_vec() },
        Expression::Dnat { ipv6: false, address: first, port: second },
    ]
}

// ip saddr 127.0.0.0/8 ip daddr 127.0.0.0/8 ip saddr != 127.0.0.11 ip daddr != 127.0.0.11 notrack
//
// Output is enough: loopback passes a packet on with its mark.
fn untracked() -> Vec<Expression> {
    let register = Register::at(0);
    let (source, destination) = (12, 16);
    let test = |offset, equal, value: &[u8]| {
        [
            Expression::Payload {
                base: PayloadBase::Network,
                offset,
                length: u32::try_from(value.len()).unwrap_or_default(),
                to: register,
            },
            Expression::Compare { from: register, equal, value: value.to_vec() },
        ]
    };
    let loopback = &[Ipv4Addr::LOCALHOST.octets()[0]];
    let service = &ADDRESS.octets();
    let tests = [
        test(source, true, loopback),
        test(destination, true, loopback),
        test(source, false, service),
        test(destination, false, service),
    ];
    tests.into_iter().flatten().chain([Expression::Untracked]).collect()
}
