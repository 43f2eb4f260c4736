//! The instructions of nf_tables' virtual machine that hako's rules use.
//!
//! Registers: one verdict register, and sixteen of 32 bits (8..=23), of which 1..=4 are the older
//! names of four in a row. A value longer than four bytes fills the registers that follow.
//! Layout: `include/uapi/linux/netfilter/nf_tables.h`.

use super::transaction::{Verdict, verdict_data};
use crate::netlink::Encoder;

/// A register by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(u32);

impl Register {
    /// The 32-bit register that starts `bytes` after the first; values are padded to four bytes.
    pub const fn at(bytes: u32) -> Self {
        // The kernel prints (and `nft` expects) the old name where a register starts a 16-byte group.
        if bytes.is_multiple_of(16) { Self(1 + bytes / 16) } else { Self(8 + bytes / 4) }
    }
}

/// What is known of a packet besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    InputName,
    OutputName,
    /// The family in an `inet` table.
    Family,
    Protocol,
}

/// Where in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadBase {
    Network,
    Transport,
}

/// What conntrack knows of a packet's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    State,
    Status,
}

/// What a look-up in the routing table answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FibResult {
    /// Type of the destination: unicast, local, …
    DestinationType,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    Meta {
        key: MetaKey,
        to: Register,
    },
    Payload {
        base: PayloadBase,
        offset: u32,
        length: u32,
        to: Register,
    },
    Compare {
        from: Register,
        equal: bool,
        value: Vec<u8>,
    },
    /// `to = from & mask`.
    Mask {
        from: Register,
        to: Register,
        mask: Vec<u8>,
    },
    Ct {
        key: CtKey,
        to: Register,
    },
    Fib {
        result: FibResult,
        to: Register,
    },
    /// Stops the rule unless `from` is in the set or map; a map's value goes to `to`, or decides at
    /// once if it is a verdict.
    Lookup {
        set: String,
        from: Register,
        to: Option<Register>,
        verdict: bool,
    },
    /// Puts a value into registers.
    Immediate {
        to: Register,
        value: Vec<u8>,
    },
    Counter,
    /// Conntrack leaves the packet alone; only before it has seen it (priority raw).
    Untracked,
    Verdict(Verdict),
    Masquerade,
    /// Destination NAT to an address and a port in registers.
    Dnat {
        ipv6: bool,
        address: Register,
        port: Register,
    },
}

const NFT_REG_VERDICT: u32 = 0;

impl Expression {
    /// The kernel's name of it.
    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Compare { .. } => "cmp",
            Self::Mask { .. } => "bitwise",
            Self::Ct { .. } => "ct",
            Self::Fib { .. } => "fib",
            Self::Lookup { .. } => "lookup",
            Self::Counter => "counter",
            Self::Untracked => "notrack",
            Self::Verdict(_) | Self::Immediate { .. } => "immediate",
            Self::Masquerade => "masq",
            Self::Dnat { .. } => "nat",
        }
    }

    /// Writes it as one element of a rule's list.
    pub(super) fn encode(&self, list: &mut Encoder<'_>) {
        list.nested(1, |element| {
            element.text(1, self.name());
            element.nested(2, |data| self.encode_data(data));
        });
    }

    fn encode_data(&self, data: &mut Encoder<'_>) {
        match self {
            Self::Meta { key, to } => {
                data.u32_be(1, to.0);
                data.u32_be(2, meta_number(*key));
            }
            Self::Payload { base, offset, length, to } => {
                data.u32_be(1, to.0);
                data.u32_be(2, if *base == PayloadBase::Network { 1 } else { 2 });
                data.u32_be(3, *offset);
                data.u32_be(4, *length);
            }
            Self::Compare { from, equal, value } => {
                data.u32_be(1, from.0);
                data.u32_be(2, u32::from(!equal));
                data.nested(3, |nest| nest.attribute(1, value));
            }
            Self::Mask { from, to, mask } => {
                data.u32_be(1, from.0);
                data.u32_be(2, to.0);
                data.u32_be(3, mask.len() as u32);
                data.nested(4, |nest| nest.attribute(1, mask));
                data.nested(5, |nest| nest.attribute(1, &vec![0; mask.len()]));
            }
            Self::Ct { key, to } => {
                data.u32_be(1, to.0);
                data.u32_be(2, if *key == CtKey::State { 0 } else { 2 });
            }
            Self::Fib { result: FibResult::DestinationType, to } => {
                data.u32_be(1, to.0);
                data.u32_be(2, 3); // NFT_FIB_RESULT_ADDRTYPE
                data.u32_be(3, 2); // NFTA_FIB_F_DADDR
            }
            Self::Lookup { set, from, to, verdict } => {
                data.text(1, set);
                data.u32_be(2, from.0);
                if let Some(to) = to.map(|to| to.0).or(verdict.then_some(NFT_REG_VERDICT)) {
                    data.u32_be(3, to);
                }
            }
            Self::Verdict(verdict) => {
                data.u32_be(1, NFT_REG_VERDICT);
                data.nested(2, |nest| verdict_data(nest, verdict));
            }
            Self::Immediate { to, value } => {
                data.u32_be(1, to.0);
                data.nested(2, |nest| nest.attribute(1, value));
            }
            Self::Dnat { ipv6, address, port } => {
                data.u32_be(1, 1); // NFT_NAT_DNAT
                data.u32_be(2, (if *ipv6 { libc::NFPROTO_IPV6 } else { libc::NFPROTO_IPV4 }) as u32);
                data.u32_be(3, address.0);
                data.u32_be(5, port.0);
            }
            Self::Counter | Self::Untracked | Self::Masquerade => {}
        }
    }
}

fn meta_number(key: MetaKey) -> u32 {
    (match key {
        MetaKey::InputName => libc::NFT_META_IIFNAME,
        MetaKey::OutputName => libc::NFT_META_OIFNAME,
        MetaKey::Family => libc::NFT_META_NFPROTO,
        MetaKey::Protocol => libc::NFT_META_L4PROTO,
    }) as u32
}
