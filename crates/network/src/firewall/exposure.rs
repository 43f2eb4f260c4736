//! Who can reach a published port, and which rule decides. Pure: from what others' rules say.
//!
//! The host's input rules are about published ports too, unless the daemon was told otherwise: a port that they are
//! known to leave open to everyone is translated; any other is left to the kernel, which applies the very rules to the
//! very packets before the port's own socket takes them, and the daemon relays what they let in. So a wrong guess here
//! never opens a port.

use std::net::SocketAddr;

use hako_model::{PortKey, PortProtocol};
use hako_sys::nft::Hook;

use super::{
    policy::{Fate, Packet, Place, Policy, Reason},
    ruleset::PortSlot,
};

/// Who can reach a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The host itself and nobody else.
    ThisHost,
    Everyone,
    /// Some, by the rules that are named.
    Some,
    /// The rules ask things that are not known here; the kernel decides.
    Unknown,
}

/// One published port, who can reach it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    pub container: PortKey,
    pub host: SocketAddr,
    pub reach: Reach,
    /// Rules and circumstances that decide, the first one first.
    pub reasons: Vec<String>,
    /// Whether the kernel translates it; otherwise the daemon relays, and containers see the host's address.
    pub translated: bool,
}

/// Reasons that are listed; a ruleset may have hundreds that are about one port.
const REASONS_MAX: usize = 8;

/// What the host's input rules make of new connections to a published port.
pub(super) fn input_fate(policy: &Policy, slot: &PortSlot) -> Fate {
    let ip = slot.host.ip();
    let packet = Packet {
        ipv6: ip.is_ipv6(),
        protocol: Some(protocol_number(slot.protocol)),
        port: Some(slot.host.port()),
        destination: (!ip.is_unspecified()).then_some(ip),
        from: Place::Outside,
        to: Place::Nowhere,
    };
    policy.fate(Hook::Input, &packet)
}

/// Whether the input rules are known to leave a port open to everyone.
pub(super) fn is_open(policy: &Policy, slot: &PortSlot) -> bool {
    let fate = input_fate(policy, slot);
    fate.dropped.is_empty() && !fate.unknown
}

fn protocol_number(protocol: PortProtocol) -> u8 {
    (match protocol {
        PortProtocol::Tcp => libc::IPPROTO_TCP,
        PortProtocol::Udp => libc::IPPROTO_UDP,
        PortProtocol::Sctp => libc::IPPROTO_SCTP,
    }) as u8
}

/// Who can reach a port. `obeyed`: whether the input rules are about it at all.
pub(super) fn reach(policy: &Policy, slot: &PortSlot, obeyed: bool) -> (Reach, Vec<String>) {
    if slot.host.ip().is_loopback() {
        return (Reach::ThisHost, vec!["the host's loopback address".to_owned()]);
    }
    if !obeyed {
        return (Reach::Everyone, vec!["--publish-past-firewall: the host's input rules are not asked".to_owned()]);
    }
    if policy.base_chains(Hook::Input, slot.host.is_ipv6()).is_empty() {
        return (Reach::Everyone, vec!["the host has no input rules".to_owned()]);
    }
    let fate = input_fate(policy, slot);
    // A rule about all such packets says more than those about some of them before it.
    let said = |reasons: &[Reason]| -> Vec<String> {
        reasons.iter().take(REASONS_MAX).map(|reason| format!("{}: {}", reason.chain, reason.rule)).collect()
    };
    match (fate.dropped.is_empty(), fate.accepted.is_empty() && !fate.undecided) {
        _ if fate.unknown => (Reach::Unknown, [said(&fate.accepted), said(&fate.dropped)].concat()),
        (true, _) => {
            let mut reasons = said(&fate.accepted);
            if fate.undecided {
                reasons.push("no input rule drops it".to_owned());
            }
            (Reach::Everyone, reasons)
        }
        (false, true) => (Reach::ThisHost, said(&fate.dropped)),
        (false, false) => (Reach::Some, [said(&fate.accepted), said(&fate.dropped)].concat()),
    }
}

#[cfg(test)]
mod tests;
