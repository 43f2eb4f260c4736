//! Other people's filter rules, in words: tables, chains, rules, as far as their meaning is known here.
//!
//! The stated subset: links by name, protocols, destination ports, addresses, states of conntrack, local
//! destinations, sets and verdict maps of those, jumps; the same as iptables-nft writes them. That covers plain nft,
//! ufw and the usual firewalld. Whatever else a rule asks is [`Condition::Other`], which may hold or not. Reading the
//! rules is `read`'s work; what becomes of a packet is decided by `evaluate`.

use std::{fmt, net::IpAddr};

use hako_sys::nft::{Family, Hook};

mod evaluate; // what becomes of a packet
mod read; // from the kernel's instructions
#[cfg(test)]
pub(super) mod text; // rules from text, for tests

pub(super) use evaluate::{Fate, Packet, Place, Reason};
pub(super) use read::read;

/// All filter chains that others made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Policy {
    pub(crate) chains: Vec<PolicyChain>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyChain {
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) hook: Option<Hook>,
    pub(crate) priority: i32,
    /// Whether what no rule decides on is dropped.
    pub(crate) drops: bool,
    pub(crate) rules: Vec<PolicyRule>,
}

/// A rule; a verdict map is as many rules as it has elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyRule {
    pub(crate) handle: u64,
    pub(crate) comment: Option<String>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) outcome: Outcome,
}

/// One thing that a rule asks of a packet, and whether it wants the opposite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) asks: Asks,
    pub(crate) negated: bool,
}

/// What is asked. Lists hold if one of their members does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asks {
    InputLink(Vec<LinkName>),
    OutputLink(Vec<LinkName>),
    Ipv6(bool),
    Protocol(Vec<u8>),
    Port(Vec<(u16, u16)>),
    Source(Vec<Addresses>),
    Destination(Vec<Addresses>),
    /// Bits of conntrack's states.
    State(u32),
    LocalDestination,
    /// Something that is not known here, by its name.
    Other(String),
}

/// A link's name, or how it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkName {
    pub(crate) text: String,
    pub(crate) prefix: bool,
}

/// Addresses from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) first: IpAddr,
    pub(crate) last: IpAddr,
}

/// What a rule does with a packet that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    Continue,
    /// Something that may end the packet's way or not, by its name.
    Other(String),
}

/// States of conntrack as bits (`NF_CT_STATE_…`).
pub(crate) const STATE_INVALID: u32 = 1;
pub(crate) const STATE_ESTABLISHED: u32 = 2;
pub(crate) const STATE_RELATED: u32 = 4;
pub(crate) const STATE_NEW: u32 = 8;
pub(crate) const STATE_UNTRACKED: u32 = 64;

impl Policy {
    pub(crate) fn chain(&self, family: Family, table: &str, name: &str) -> Option<&PolicyChain> {
        self.chains.iter().find(|chain| chain.family == family && chain.table == table && chain.name == name)
    }

    /// The same without these rules: what would be decided if they were not there.
    pub(crate) fn without(&self, is_out: impl Fn(&PolicyRule) -> bool) -> Self {
        let mut rest = self.clone();
        rest.chains.iter_mut().for_each(|chain| chain.rules.retain(|rule| !is_out(rule)));
        rest
    }

    /// The chains that packets of one family enter at a hook, in their order.
    pub(crate) fn base_chains(&self, hook: Hook, ipv6: bool) -> Vec<&PolicyChain> {
        let own = if ipv6 { Family::Ip6 } else { Family::Ip };
        let mut chains: Vec<&PolicyChain> = self
            .chains
            .iter()
            .filter(|chain| chain.hook == Some(hook) && (chain.family == Family::Inet || chain.family == own))
            .collect();
        chains.sort_by_key(|chain| chain.priority);
        chains
    }
}

impl fmt::Display for PolicyChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        };
        write!(f, "{family} {} {}", self.table, self.name)
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_address = |one: &Condition| matches!(one.asks, Asks::Source(_) | Asks::Destination(_));
        let has_address = self.conditions.iter().any(has_address);
        // An address says its family itself.
        for condition in self.conditions.iter().filter(|one| !has_address || !matches!(one.asks, Asks::Ipv6(_))) {
            write!(f, "{condition} ")?;
        }
        write!(f, "{}", self.outcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Return => f.write_str("return"),
            Self::Continue => f.write_str("continue"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

// Names are other people's bytes: shown without control characters.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

fn list<T>(members: &[T], show: impl Fn(&T) -> String) -> String {
    match members {
        [one] => show(one),
        several => format!("{{ {} }}", several.iter().map(show).collect::<Vec<_>>().join(", ")),
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.negated { "!= " } else { "" };
        let link = |link: &LinkName| format!("\"{}{}\"", plain(&link.text), if link.prefix { "*" } else { "" });
        let ip = |all: &[Addresses]| if all.iter().any(|range| range.first.is_ipv6()) { "ip6" } else { "ip" };
        match &self.asks {
            Asks::InputLink(links) => write!(f, "iifname {not}{}", list(links, link)),
            Asks::OutputLink(links) => write!(f, "oifname {not}{}", list(links, link)),
            Asks::Ipv6(ipv6) => write!(f, "meta nfproto {not}{}", if *ipv6 { "ipv6" } else { "ipv4" }),
            Asks::Protocol(all) => write!(f, "meta l4proto {not}{}", list(all, |number| protocol_name(*number))),
            Asks::Port(all) => write!(f, "dport {not}{}", list(all, port_text)),
            Asks::Source(all) => write!(f, "{} saddr {not}{}", ip(all), list(all, Addresses::to_string)),
            Asks::Destination(all) => write!(f, "{} daddr {not}{}", ip(all), list(all, Addresses::to_string)),
            Asks::State(bits) => write!(f, "ct state {not}{}", state_text(*bits)),
            Asks::LocalDestination => write!(f, "fib daddr type {not}local"),
            Asks::Other(name) => write!(f, "[{}]", plain(name)),
        }
    }
}

fn port_text((first, last): &(u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn protocol_name(number: u8) -> String {
    match i32::from(number) {
        libc::IPPROTO_ICMP => "icmp".into(),
        libc::IPPROTO_TCP => "tcp".into(),
        libc::IPPROTO_UDP => "udp".into(),
        libc::IPPROTO_ICMPV6 => "ipv6-icmp".into(),
        libc::IPPROTO_SCTP => "sctp".into(),
        other => other.to_string(),
    }
}

fn state_text(bits: u32) -> String {
    let names = [
        (STATE_INVALID, "invalid"),
        (STATE_ESTABLISHED, "established"),
        (STATE_RELATED, "related"),
        (STATE_NEW, "new"),
        (STATE_UNTRACKED, "untracked"),
    ];
    names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

impl Addresses {
    /// Whether every address of its family is among them.
    pub(crate) fn are_all(&self) -> bool {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => first.is_unspecified() && last.is_broadcast(),
            (IpAddr::V6(first), IpAddr::V6(last)) => first.is_unspecified() && last.octets() == [255; 16],
            _ => false,
        }
    }

    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    // The prefix that they are, if they are one.
    fn prefix(&self) -> Option<u32> {
        let (bits, first, last) = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (32, u128::from(u32::from(first)), u128::from(u32::from(last))),
            (IpAddr::V6(first), IpAddr::V6(last)) => (128, u128::from(first), u128::from(last)),
            _ => return None,
        };
        let differ = first ^ last;
        let prefix = bits - (128 - differ.leading_zeros());
        let whole = differ.count_ones() == bits - prefix && first & differ == 0;
        whole.then_some(prefix)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            _ if self.first == self.last => write!(f, "{}", self.first),
            Some(prefix) => write!(f, "{}/{prefix}", self.first),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}
