//! The ruleset as nf_tables instructions: what `nft -f` would make of the text.

use std::net::{IpAddr, SocketAddr};

use hako_sys::nft::{
    Base, Chain as NftChain, CtKey, Element, ElementData, Expression, Family, FibResult, Hook, MetaKey, PayloadBase,
    Register, Set, Transaction, Type, Verdict,
};
use ipnet::IpNet;

use super::ruleset::{Action, Additions, BaseChain, Entry, MapKind, Match, Rule, Ruleset, protocol_number};

/// Replaces the table, whatever it was, by this ruleset.
pub(super) fn replace(rules: &Ruleset) -> Transaction {
    let mut transaction = remove(&rules.table);
    let table = rules.table.as_str();
    transaction.table_add(table);
    for chain in &rules.chains {
        transaction.chain_add(table, NftChain { name: &chain.name, base: chain.base.map(base) });
    }
    for map in &rules.maps {
        let (key, value) = types(map.kind);
        transaction.set_add(table, Set { name: map.kind.name(), key, value: Some(value) });
        let elements: Vec<Element> = map.elements.iter().map(element).collect();
        transaction.elements_add(table, map.kind.name(), &elements);
    }
    for chain in &rules.chains {
        for rule in &chain.rules {
            transaction.rule_append(table, &chain.name, &expressions(rule));
        }
    }
    transaction
}

/// Adds to the table what is new.
pub(super) fn add(table: &str, additions: &Additions) -> Transaction {
    let mut transaction = Transaction::new(Family::Inet);
    for chain in &additions.chains {
        transaction.chain_add(table, NftChain { name: &chain.name, base: chain.base.map(base) });
    }
    for chain in &additions.chains {
        for rule in &chain.rules {
            transaction.rule_append(table, &chain.name, &expressions(rule));
        }
    }
    for (chain, rule) in &additions.rules {
        transaction.rule_append(table, chain, &expressions(rule));
    }
    for (map, entry) in &additions.elements {
        transaction.elements_add(table, map.name(), &[element(entry)]);
    }
    transaction
}

/// Removes the table, whether it is there or not (adding one that exists is no error).
pub(super) fn remove(table: &str) -> Transaction {
    let mut transaction = Transaction::new(Family::Inet);
    transaction.table_add(table);
    transaction.table_remove(table);
    transaction
}

fn base(chain: BaseChain) -> Base<'static> {
    let (kind, _, _, priority) = chain.place();
    let hook = match chain {
        BaseChain::Raw | BaseChain::PublishForwarded => Hook::Prerouting,
        BaseChain::PublishLocal => Hook::Output,
        BaseChain::Forward => Hook::Forward,
        BaseChain::Masquerade => Hook::Postrouting,
    };
    Base { kind, hook, priority }
}

fn types(map: MapKind) -> (Type, Type) {
    match map {
        MapKind::ForwardTo | MapKind::ForwardFrom => (Type::LINK_NAME, Type::VERDICT),
        MapKind::Publish { ipv6, any } => {
            let address = if ipv6 { Type::IPV6 } else { Type::IPV4 };
            let key = if any {
                Type::concat(&[Type::PROTOCOL, Type::PORT])
            } else {
                Type::concat(&[address, Type::PROTOCOL, Type::PORT])
            };
            (key, Type::concat(&[address, Type::PORT]))
        }
    }
}

/// One element, as the kernel wants it.
pub(super) fn element(entry: &Entry) -> Element {
    match entry {
        Entry::Chain { link, chain } => {
            Element { key: link_name(link), data: ElementData::Verdict(Verdict::Jump(chain.clone())) }
        }
        Entry::Port { slot, target } => {
            let mut key = Vec::with_capacity(24);
            if !slot.host.ip().is_unspecified() {
                push_address(&mut key, slot.host.ip());
            }
            key.extend_from_slice(&[protocol_number(slot.protocol), 0, 0, 0]);
            push_port(&mut key, slot.host);
            let mut value = Vec::with_capacity(20);
            push_address(&mut value, target.ip());
            push_port(&mut value, *target);
            Element { key, data: ElementData::Value(value) }
        }
    }
}

fn push_address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
    }
}

// Padded to the 32-bit register it lives in.
fn push_port(bytes: &mut Vec<u8>, address: SocketAddr) {
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
}

// A link's name fills sixteen bytes, with its zeros.
fn link_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

const FIRST: Register = Register::at(0);

/// The instructions of one rule.
pub(super) fn expressions(rule: &Rule) -> Vec<Expression> {
    let mut list = Vec::new();
    for condition in &rule.matches {
        compile_match(&mut list, condition);
    }
    // Counters where something is dropped: the first question when a packet does not arrive.
    match &rule.action {
        Action::Accept => list.push(Expression::Verdict(Verdict::Accept)),
        Action::Drop => list.extend([Expression::Counter, Expression::Verdict(Verdict::Drop)]),
        Action::Masquerade => list.push(Expression::Masquerade),
        Action::Dispatch(map) => {
            let key = if *map == MapKind::ForwardTo { MetaKey::OutputName } else { MetaKey::InputName };
            list.push(Expression::Meta { key, to: FIRST });
            list.push(Expression::Lookup { set: map.name().into(), from: FIRST, to: None, verdict: true });
        }
        Action::Publish(map) => compile_publish(&mut list, *map),
    }
    list
}

fn compile_publish(list: &mut Vec<Expression>, map: MapKind) {
    let MapKind::Publish { ipv6, any } = map else { return };
    let address_bytes = if ipv6 { 16 } else { 4 };
    let mut at = 0;
    if !any {
        load_address(list, ipv6, false);
        at = address_bytes;
    }
    list.push(Expression::Meta { key: MetaKey::Protocol, to: Register::at(at) });
    list.push(Expression::Payload { base: PayloadBase::Transport, offset: 2, length: 2, to: Register::at(at + 4) });
    list.push(Expression::Lookup { set: map.name().into(), from: FIRST, to: Some(FIRST), verdict: false });
    list.push(Expression::Dnat { ipv6, address: FIRST, port: Register::at(address_bytes) });
}

fn compile_match(list: &mut Vec<Expression>, condition: &Match) {
    match condition {
        Match::InputIs(link) => compare_name(list, MetaKey::InputName, link, true),
        Match::InputIsNot(link) => compare_name(list, MetaKey::InputName, link, false),
        Match::OutputIs(link) => compare_name(list, MetaKey::OutputName, link, true),
        Match::OutputIsNot(link) => compare_name(list, MetaKey::OutputName, link, false),
        Match::Source(net) => compare_net(list, net, true, true),
        Match::Destination(net) => compare_net(list, net, false, true),
        Match::DestinationIsNot(net) => compare_net(list, net, false, false),
        Match::DestinationLocal(local) => {
            const RTN_LOCAL: u32 = 2;
            list.push(Expression::Fib { result: FibResult::DestinationType, to: FIRST });
            compare(list, RTN_LOCAL.to_ne_bytes().to_vec(), *local);
        }
        // From <linux/netfilter/nf_conntrack_common.h>: states and status as bits.
        Match::Established => test_bits(list, CtKey::State, 1 << 1 | 1 << 2),
        Match::Translated => test_bits(list, CtKey::Status, 1 << 5),
        Match::Protocol(number) => {
            list.push(Expression::Meta { key: MetaKey::Protocol, to: FIRST });
            compare(list, vec![*number], true);
        }
        Match::Port(port) => {
            list.push(Expression::Payload { base: PayloadBase::Transport, offset: 2, length: 2, to: FIRST });
            compare(list, port.to_be_bytes().to_vec(), true);
        }
    }
}

fn compare(list: &mut Vec<Expression>, value: Vec<u8>, equal: bool) {
    list.push(Expression::Compare { from: FIRST, equal, value });
}

fn compare_name(list: &mut Vec<Expression>, key: MetaKey, link: &str, equal: bool) {
    list.push(Expression::Meta { key, to: FIRST });
    compare(list, link_name(link), equal);
}

fn test_bits(list: &mut Vec<Expression>, key: CtKey, bits: u32) {
    list.push(Expression::Ct { key, to: FIRST });
    list.push(Expression::Mask { from: FIRST, to: FIRST, mask: bits.to_ne_bytes().to_vec() });
    compare(list, vec![0; 4], false);
}

// In an `inet` table the family comes first; then the address under its mask.
fn compare_net(list: &mut Vec<Expression>, net: &IpNet, source: bool, equal: bool) {
    let ipv6 = matches!(net, IpNet::V6(_));
    load_address(list, ipv6, source);
    let mut mask = Vec::new();
    push_address(&mut mask, net.netmask());
    if net.prefix_len() < net.max_prefix_len() {
        list.push(Expression::Mask { from: FIRST, to: FIRST, mask });
    }
    let mut value = Vec::new();
    push_address(&mut value, net.network());
    compare(list, value, equal);
}

fn load_address(list: &mut Vec<Expression>, ipv6: bool, source: bool) {
    let family = if ipv6 { libc::NFPROTO_IPV6 } else { libc::NFPROTO_IPV4 };
    list.push(Expression::Meta { key: MetaKey::Family, to: FIRST });
    compare(list, vec![family as u8], true);
    let (offset, length) = match (ipv6, source) {
        (false, true) => (12, 4),
        (false, false) => (16, 4),
        (true, true) => (8, 16),
        (true, false) => (24, 16),
    };
    list.push(Expression::Payload { base: PayloadBase::Network, offset, length, to: FIRST });
}
