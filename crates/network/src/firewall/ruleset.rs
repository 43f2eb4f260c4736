//! From what is to be true to the table that makes it so, and that table as text.
//!
//! The text is nft's own language: `nft -f` takes it. Same state, same text, in the same order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
};

use hako_model::PortProtocol;
use ipnet::IpNet;

/// What the firewall has to know of one bridge network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRules {
    pub subnets: Vec<IpNet>,
    pub masquerade: bool,
    pub internal: bool,
    pub icc: bool,
    /// Subnets whose containers may be reached at their own addresses (`nat-unprotected`).
    pub unprotected: Vec<IpNet>,
    /// Subnets without any translation, where published ports are open at containers' own addresses (`routed`).
    pub routed: Vec<IpNet>,
    /// Links from which all of them may be.
    pub trusted: Vec<String>,
}

/// A published port at the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortSlot {
    pub host: SocketAddr,
    pub protocol: PortProtocol,
}

/// What is to be true.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub table: String,
    /// By bridge name.
    pub networks: BTreeMap<String, NetworkRules>,
    /// Where each published port leads; same family on both sides, no loopback.
    pub ports: BTreeMap<PortSlot, SocketAddr>,
    /// Ports of containers that are open at their own addresses, in routed subnets.
    pub opened: BTreeSet<PortSlot>,
}

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    pub table: String,
    pub maps: Vec<Map>,
    pub chains: Vec<Chain>,
}

/// A map and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    pub kind: MapKind,
    pub elements: Vec<Entry>,
}

/// The maps there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapKind {
    /// Output link → the chain that decides what may enter that bridge.
    ForwardTo,
    /// Input link → the chain that decides what may leave an internal bridge.
    ForwardFrom,
    /// Protocol and port (and, unless `any`, host address) → container address and port.
    Publish { ipv6: bool, any: bool },
}

/// The four maps of published ports.
pub(super) const PUBLISH_MAPS: [MapKind; 4] = [
    MapKind::Publish { ipv6: false, any: false },
    MapKind::Publish { ipv6: false, any: true },
    MapKind::Publish { ipv6: true, any: false },
    MapKind::Publish { ipv6: true, any: true },
];

impl MapKind {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForwardTo => "forward_to",
            Self::ForwardFrom => "forward_from",
            Self::Publish { ipv6: false, any: false } => "publish4",
            Self::Publish { ipv6: false, any: true } => "publish4_any",
            Self::Publish { ipv6: true, any: false } => "publish6",
            Self::Publish { ipv6: true, any: true } => "publish6_any",
        }
    }

    /// The map a published port is an element of.
    pub fn of(slot: &PortSlot) -> Self {
        Self::Publish { ipv6: slot.host.is_ipv6(), any: slot.host.ip().is_unspecified() }
    }
}

/// One element of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Chain { link: String, chain: String },
    Port { slot: PortSlot, target: SocketAddr },
}

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    pub base: Option<BaseChain>,
    pub rules: Vec<Rule>,
}

/// Where packets enter a chain by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseChain {
    /// Before conntrack.
    Raw,
    PublishForwarded,
    PublishLocal,
    Forward,
    Masquerade,
}

impl BaseChain {
    /// Kind, hook and priority in nft's words, and the priority's number.
    pub(super) fn place(self) -> (&'static str, &'static str, &'static str, i32) {
        match self {
            Self::Raw => ("filter", "prerouting", "raw", -300),
            Self::PublishForwarded => ("nat", "prerouting", "dstnat", -100),
            Self::PublishLocal => ("nat", "output", "-100", -100),
            Self::Forward => ("filter", "forward", "filter", 0),
            Self::Masquerade => ("nat", "postrouting", "srcnat", 100),
        }
    }
}

/// Conditions, all of which must hold, and what is done then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub matches: Vec<Match>,
    pub action: Action,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    InputIs(String),
    InputIsNot(String),
    OutputIs(String),
    OutputIsNot(String),
    Source(IpNet),
    Destination(IpNet),
    DestinationIsNot(IpNet),
    /// The destination is, or is not, an address of this host.
    DestinationLocal(bool),
    /// Part of a flow that was let in before.
    Established,
    /// The destination was translated: a published port.
    Translated,
    /// Of a protocol, by its number.
    Protocol(u8),
    /// To a port.
    Port(u16),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Accept,
    Drop,
    Masquerade,
    /// On to the chain that the map names for the packet's link, if it names one.
    Dispatch(MapKind),
    /// Translates the destination if the map has it.
    Publish(MapKind),
}

fn rule(matches: impl IntoIterator<Item = Match>, action: Action) -> Rule {
    Rule { matches: matches.into_iter().collect(), action }
}

/// The complete table for this state.
pub fn ruleset(state: &State) -> Ruleset {
    let mut chains = vec![guard(state), publish("publish", BaseChain::PublishForwarded)];
    chains.push(publish("publish-local", BaseChain::PublishLocal));
    chains.push(forward());
    for (bridge, network) in &state.networks {
        chains.push(forward_to(bridge, network, &state.opened));
        if network.internal {
            chains.push(forward_from(bridge));
        }
    }
    chains.push(leave(state));
    Ruleset { table: state.table.clone(), maps: maps(state), chains }
}

/// What has to be added to one table to make it another, where adding is enough: a network more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Additions {
    pub(super) chains: Vec<Chain>,
    /// Rules at the ends of chains that are there; each of them stands for itself.
    pub(super) rules: Vec<(String, Rule)>,
    pub(super) elements: Vec<(MapKind, Entry)>,
}

/// The difference of two tables; `None` where something has to go or to change.
pub(super) fn additions(before: &Ruleset, after: &Ruleset) -> Option<Additions> {
    let mut found = Additions { chains: Vec::new(), rules: Vec::new(), elements: Vec::new() };
    if !before.chains.iter().all(|chain| after.chains.iter().any(|other| other.name == chain.name)) {
        return None;
    }
    for chain in &after.chains {
        let Some(known) = before.chains.iter().find(|known| known.name == chain.name) else {
            found.chains.push(chain.clone());
            continue;
        };
        let new: Vec<&Rule> = chain.rules.iter().filter(|rule| !known.rules.contains(rule)).collect();
        // Whatever order matters in is made new as a whole.
        let ordered = !matches!(chain.name.as_str(), "guard" | "leave") && !new.is_empty();
        if ordered || known.rules.len() + new.len() != chain.rules.len() {
            return None;
        }
        found.rules.extend(new.into_iter().map(|rule| (chain.name.clone(), rule.clone())));
    }
    for (old, new) in before.maps.iter().zip(&after.maps) {
        let more: Vec<&Entry> = new.elements.iter().filter(|entry| !old.elements.contains(entry)).collect();
        if old.elements.len() + more.len() != new.elements.len() {
            return None;
        }
        found.elements.extend(more.into_iter().map(|entry| (new.kind, entry.clone())));
    }
    Some(found)
}

fn maps(state: &State) -> Vec<Map> {
    let to = state.networks.keys().map(|bridge| entry("to", bridge)).collect();
    let internal = state.networks.iter().filter(|(_, network)| network.internal);
    let from = internal.map(|(bridge, _)| entry("from", bridge)).collect();
    let mut maps =
        vec![Map { kind: MapKind::ForwardTo, elements: to }, Map { kind: MapKind::ForwardFrom, elements: from }];
    maps.extend(PUBLISH_MAPS.map(|kind| Map { kind, elements: Vec::new() }));
    for (slot, target) in &state.ports {
        let kind = MapKind::of(slot);
        if let Some(map) = maps.iter_mut().find(|map| map.kind == kind) {
            map.elements.push(Entry::Port { slot: *slot, target: *target });
        }
    }
    maps
}

fn entry(direction: &str, bridge: &str) -> Entry {
    Entry::Chain { link: bridge.to_owned(), chain: format!("{direction}-{bridge}") }
}

// A container's own address is reachable from its bridge only: what comes from another link for it
// was routed there by a neighbour of the host or by another network's container (moby#45610).
// Without masquerading the network is meant to be routed, and `forward` alone decides.
fn guard(state: &State) -> Chain {
    let guarded = state.networks.iter().filter(|(_, network)| network.masquerade || network.internal);
    let rules = guarded.flat_map(|(bridge, network)| {
        let open = |subnet: &&IpNet| network.unprotected.contains(subnet) || network.routed.contains(subnet);
        network.subnets.iter().filter(move |subnet| !open(subnet)).map(|subnet| {
            let mut matches = vec![Match::Destination(*subnet), Match::InputIsNot(bridge.clone())];
            matches.extend(network.trusted.iter().cloned().map(Match::InputIsNot));
            // The bridge's own address may be asked from anywhere, the loopback included.
            matches.push(Match::DestinationLocal(false));
            rule(matches, Action::Drop)
        })
    });
    Chain { name: "guard".into(), base: Some(BaseChain::Raw), rules: rules.collect() }
}

// Loopback destinations are never translated: the kernel cannot route the answers without
// route_localnet, which opens the host's loopback services to neighbours (CVE-2020-8558). They are
// relayed by the daemon from the very socket that reserves the port.
fn publish(name: &str, base: BaseChain) -> Chain {
    let loopback = |ipv6: bool| -> IpNet {
        if ipv6 {
            IpNet::new_assert(std::net::Ipv6Addr::LOCALHOST.into(), 128)
        } else {
            IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8)
        }
    };
    let rules = PUBLISH_MAPS.into_iter().filter_map(|kind| match kind {
        MapKind::Publish { ipv6, .. } => {
            Some(rule([Match::DestinationIsNot(loopback(ipv6)), Match::DestinationLocal(true)], Action::Publish(kind)))
        }
        _ => None,
    });
    Chain { name: name.into(), base: Some(base), rules: rules.collect() }
}

fn forward() -> Chain {
    let rules = vec![rule([], Action::Dispatch(MapKind::ForwardFrom)), rule([], Action::Dispatch(MapKind::ForwardTo))];
    Chain { name: "forward".into(), base: Some(BaseChain::Forward), rules }
}

// What may enter a bridge. Packets between two ports of one bridge come here only with br_netfilter;
// without it `icc = false` is kept by the bridge itself (isolated ports).
fn forward_to(bridge: &str, network: &NetworkRules, opened: &BTreeSet<PortSlot>) -> Chain {
    let mut rules = vec![rule([Match::Established], Action::Accept)];
    if !network.internal {
        rules.push(rule([Match::Translated], Action::Accept));
    }
    if network.icc {
        rules.push(rule([Match::InputIs(bridge.to_owned())], Action::Accept));
    }
    if !network.internal {
        rules.extend(network.trusted.iter().map(|link| rule([Match::InputIs(link.clone())], Action::Accept)));
        rules.extend(network.unprotected.iter().map(|net| rule([Match::Destination(*net)], Action::Accept)));
        for net in &network.routed {
            // Whoever routes packets here is to learn what became of them.
            let icmp = if net.addr().is_ipv4() { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 };
            rules.push(rule([Match::Destination(*net), Match::Protocol(icmp as u8)], Action::Accept));
            rules.extend(opened.iter().filter(|slot| net.contains(&slot.host.ip())).map(|slot| {
                let destination = Match::Destination(IpNet::from(slot.host.ip()));
                let port = [Match::Protocol(protocol_number(slot.protocol)), Match::Port(slot.host.port())];
                rule([destination].into_iter().chain(port), Action::Accept)
            }));
        }
    }
    rules.push(rule([], Action::Drop));
    Chain { name: format!("to-{bridge}"), base: None, rules }
}

/// The protocol's number in packets.
pub(super) fn protocol_number(protocol: PortProtocol) -> u8 {
    (match protocol {
        PortProtocol::Tcp => libc::IPPROTO_TCP,
        PortProtocol::Udp => libc::IPPROTO_UDP,
        PortProtocol::Sctp => libc::IPPROTO_SCTP,
    }) as u8
}

// What may leave an internal bridge: nothing, not even answers to what should not have come in.
fn forward_from(bridge: &str) -> Chain {
    let rules = vec![rule([Match::OutputIsNot(bridge.to_owned())], Action::Drop)];
    Chain { name: format!("from-{bridge}"), base: None, rules }
}

// Outwards: the host's address. Back into the same bridge by a published port: the bridge's address,
// so that the answer comes back here to be translated instead of going straight to the asker.
fn leave(state: &State) -> Chain {
    let mut rules = Vec::new();
    for (bridge, network) in &state.networks {
        for subnet in &network.subnets {
            let (out, back) = (Match::OutputIsNot(bridge.clone()), Match::OutputIs(bridge.clone()));
            if network.masquerade && !network.internal && !network.routed.contains(subnet) {
                rules.push(rule([Match::Source(*subnet), out], Action::Masquerade));
            }
            rules.push(rule([Match::Source(*subnet), back, Match::Translated], Action::Masquerade));
        }
    }
    Chain { name: "leave".into(), base: Some(BaseChain::Masquerade), rules }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.table)?;
        for map in &self.maps {
            writeln!(f, "\tmap {} {{\n\t\ttype {}", map.kind.name(), map_type(map.kind))?;
            if !map.elements.is_empty() {
                let elements: Vec<String> = map.elements.iter().map(Entry::to_string).collect();
                writeln!(f, "\t\telements = {{ {} }}", elements.join(",\n\t\t\t     "))?;
            }
            writeln!(f, "\t}}\n")?;
        }
        for chain in &self.chains {
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(base) = chain.base {
                let (kind, hook, priority, _) = base.place();
                writeln!(f, "\t\ttype {kind} hook {hook} priority {priority}; policy accept;")?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}\n")?;
        }
        writeln!(f, "}}")
    }
}

fn map_type(kind: MapKind) -> &'static str {
    match kind {
        MapKind::ForwardTo | MapKind::ForwardFrom => "ifname : verdict",
        MapKind::Publish { ipv6: false, any: false } => {
            "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"
        }
        MapKind::Publish { ipv6: false, any: true } => "inet_proto . inet_service : ipv4_addr . inet_service",
        MapKind::Publish { ipv6: true, any: false } => {
            "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service"
        }
        MapKind::Publish { ipv6: true, any: true } => "inet_proto . inet_service : ipv6_addr . inet_service",
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain { link, chain } => write!(f, "\"{link}\" : jump {chain}"),
            Self::Port { slot, target } => {
                if !slot.host.ip().is_unspecified() {
                    write!(f, "{} . ", slot.host.ip())?;
                }
                let (protocol, port) = (slot.protocol.name(), slot.host.port());
                write!(f, "{protocol} . {port} : {} . {}", target.ip(), target.port())
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        match &self.action {
            Action::Accept => f.write_str("accept"),
            Action::Drop => f.write_str("counter drop"),
            Action::Masquerade => f.write_str("masquerade"),
            Action::Dispatch(map) => {
                let side = if *map == MapKind::ForwardTo { "oifname" } else { "iifname" };
                write!(f, "{side} vmap @{}", map.name())
            }
            Action::Publish(map @ MapKind::Publish { ipv6, any }) => {
                let family = if *ipv6 { "ip6" } else { "ip" };
                let address = if *any { String::new() } else { format!("{family} daddr . ") };
                write!(f, "dnat {family} to {address}meta l4proto . th dport map @{}", map.name())
            }
            Action::Publish(_) => Ok(()),
        }
    }
}

fn family(net: &IpNet) -> &'static str {
    if matches!(net, IpNet::V6(_)) { "ip6" } else { "ip" }
}

// nft prints a single address without its length.
fn range(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputIs(link) => write!(f, "iifname \"{link}\""),
            Self::InputIsNot(link) => write!(f, "iifname != \"{link}\""),
            Self::OutputIs(link) => write!(f, "oifname \"{link}\""),
            Self::OutputIsNot(link) => write!(f, "oifname != \"{link}\""),
            Self::Source(net) => write!(f, "{} saddr {}", family(net), range(net)),
            Self::Destination(net) => write!(f, "{} daddr {}", family(net), range(net)),
            Self::DestinationIsNot(net) => write!(f, "{} daddr != {}", family(net), range(net)),
            Self::DestinationLocal(true) => f.write_str("fib daddr type local"),
            Self::DestinationLocal(false) => f.write_str("fib daddr type != local"),
            Self::Established => f.write_str("ct state established,related"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::Protocol(number) => write!(f, "meta l4proto {number}"),
            Self::Port(port) => write!(f, "th dport {port}"),
        }
    }
}

#[cfg(test)]
mod tests;
