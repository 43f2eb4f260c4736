//! From the kernel's instructions to rules in words.
//!
//! A rule is a small program on registers; what is in each is followed symbolically. Whatever is not recognised
//! becomes [`Asks::Other`]: such a rule may be about a packet or not.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hako_sys::{
    netlink::{NetlinkError, Socket},
    nft::{self, ChainInfo, Family, Hook, Instruction, RuleInfo, SetElement, Verdict},
};

use super::{Addresses, Asks, Condition, LinkName, Outcome, Policy, PolicyChain, PolicyRule};

mod xtables; // matches of the older iptables

/// Members of a set that are looked at; larger ones are lists of hostile addresses, and "may hold" says enough.
const ELEMENTS_MAX: usize = 4096;

/// Reads the filter chains of every table but `own`.
pub(crate) fn read(socket: &mut Socket, own: &str) -> Result<Policy, NetlinkError> {
    let chains = nft::chains(socket)?;
    let foreign: Vec<&ChainInfo> =
        chains.iter().filter(|chain| (chain.family, chain.table.as_str()) != (Family::Inet, own)).collect();
    // Tables without a chain at these hooks decide nothing here.
    let decides = |chain: &ChainInfo| chain.is_at(Hook::Input) || chain.is_at(Hook::Forward);
    let mut policy = Policy::default();
    for chain in &foreign {
        let same_table = |other: &&&ChainInfo| other.family == chain.family && other.table == chain.table;
        let at_hook = chain.hook.is_none() || decides(chain);
        if !at_hook || !foreign.iter().filter(same_table).any(|other| decides(other)) {
            continue;
        }
        let rules = match nft::rules(socket, chain.family, &chain.table, &chain.name) {
            Ok(rules) => rules,
            // Gone meanwhile.
            Err(error) if error.errno() == libc::ENOENT => continue,
            Err(error) => return Err(error),
        };
        let mut sets = HashMap::new();
        for name in rules.iter().flat_map(|rule| &rule.instructions).filter_map(set_of) {
            if !sets.contains_key(name) {
                let elements = nft::elements(socket, chain.family, &chain.table, name).unwrap_or_default();
                sets.insert(name.to_owned(), elements);
            }
        }
        policy.chains.push(PolicyChain {
            family: chain.family,
            table: chain.table.clone(),
            name: chain.name.clone(),
            hook: [Hook::Input, Hook::Forward].into_iter().find(|hook| chain.is_at(*hook)),
            priority: chain.priority,
            drops: chain.drops,
            rules: rules.iter().flat_map(|rule| rules_of(rule, &sets)).collect(),
        });
    }
    Ok(policy)
}

fn set_of(instruction: &Instruction) -> Option<&str> {
    if let Instruction::Lookup { set, .. } = instruction { Some(set) } else { None }
}

// What is in a register.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Loaded {
    InputName,
    InputIndex,
    OutputName,
    OutputIndex,
    Family,
    Protocol,
    Port,
    State,
    /// The states that are left after a mask.
    SomeStates(u32),
    DestinationType,
    /// An address, or its first bytes, under a mask.
    Address {
        source: bool,
        ipv6: bool,
        bytes: usize,
        mask: Option<Vec<u8>>,
    },
    Other(String),
}

/// The rules, several for a verdict map, that one rule of the kernel is.
fn rules_of(rule: &RuleInfo, sets: &HashMap<String, Vec<SetElement>>) -> Vec<PolicyRule> {
    let mut registers: HashMap<u32, Loaded> = HashMap::new();
    let mut conditions = Vec::new();
    let with = |conditions: &[Condition], outcome| PolicyRule {
        handle: rule.handle,
        comment: rule.comment.clone(),
        conditions: conditions.to_vec(),
        outcome,
    };
    for instruction in &rule.instructions {
        let at = |register: &u32, registers: &HashMap<u32, Loaded>| {
            registers.get(register).cloned().unwrap_or_else(|| Loaded::Other("register".into()))
        };
        match instruction {
            Instruction::Passive => {}
            Instruction::Verdict(verdict) => return vec![with(&conditions, outcome_of(verdict))],
            Instruction::Reject => return vec![with(&conditions, Outcome::Drop)],
            Instruction::Compare { from, operator, value } => {
                conditions.push(compare(&at(from, &registers), *operator, value));
            }
            Instruction::Range { from, outside, low, high } => {
                let asks = members(&at(from, &registers), &[(low.clone(), high.clone())]);
                conditions.push(Condition { asks, negated: *outside });
            }
            Instruction::Lookup { set, from, inverted, decides: false } => {
                let asks = set_members(&at(from, &registers), set, sets);
                conditions.push(Condition { asks, negated: *inverted });
            }
            Instruction::Lookup { set, from, decides: true, .. } => {
                return verdicts(&at(from, &registers), set, sets)
                    .into_iter()
                    .map(|(condition, outcome)| {
                        let mut all = conditions.clone();
                        all.extend(condition);
                        with(&all, outcome)
                    })
                    .collect();
            }
            Instruction::Match { name, revision, data } => {
                conditions.extend(xtables::conditions(name, *revision, data))
            }
            Instruction::Other(name) => {
                conditions.push(Condition { asks: Asks::Other(name.clone()), negated: false });
            }
            load => load_into(load, &mut registers),
        }
    }
    // A rule without a verdict goes on to the next, unless it ended in something unknown, which may be one.
    match rule.instructions.last() {
        Some(Instruction::Other(name)) => vec![with(&conditions, Outcome::Other(name.clone()))],
        _ => Vec::new(),
    }
}

fn load_into(instruction: &Instruction, registers: &mut HashMap<u32, Loaded>) {
    let (to, loaded) = match instruction {
        Instruction::Meta { key, to } => (*to, meta(*key)),
        Instruction::Ct { key, to } => (*to, if *key == 0 { Loaded::State } else { Loaded::Other("ct".into()) }),
        // NFT_FIB_RESULT_ADDRTYPE of the destination, whatever link it is on.
        Instruction::Fib { result: 3, flags, to } if flags & 2 != 0 => (*to, Loaded::DestinationType),
        Instruction::Fib { to, .. } => (*to, Loaded::Other("fib".into())),
        Instruction::Payload { base, offset, length, to } => (*to, payload(*base, *offset, *length)),
        Instruction::Mask { from, to, mask, flip } => {
            let before = registers.get(from).cloned().unwrap_or_else(|| Loaded::Other("register".into()));
            (*to, masked(before, mask, flip))
        }
        _ => return,
    };
    registers.insert(to, loaded);
}

fn meta(key: u32) -> Loaded {
    match key.cast_signed() {
        libc::NFT_META_IIFNAME => Loaded::InputName,
        libc::NFT_META_IIF => Loaded::InputIndex,
        libc::NFT_META_OIFNAME => Loaded::OutputName,
        libc::NFT_META_OIF => Loaded::OutputIndex,
        libc::NFT_META_NFPROTO => Loaded::Family,
        libc::NFT_META_L4PROTO => Loaded::Protocol,
        libc::NFT_META_MARK => Loaded::Other("mark".into()),
        libc::NFT_META_PKTTYPE => Loaded::Other("pkttype".into()),
        _ => Loaded::Other("meta".into()),
    }
}

// The fields of `struct iphdr`, `struct ipv6hdr` and of all transport headers that are known.
fn payload(base: u32, offset: u32, length: u32) -> Loaded {
    let bytes = length as usize;
    let address = |source, ipv6| Loaded::Address { source, ipv6, bytes, mask: None };
    match (base, offset, length) {
        (1, 9, 1) | (1, 6, 1) => Loaded::Protocol,
        (1, 12, 1..=4) => address(true, false),
        (1, 16, 1..=4) => address(false, false),
        (1, 8, 4..=16) => address(true, true),
        (1, 24, 1..=16) => address(false, true),
        (2, 2, 2) => Loaded::Port,
        (2, 0, 2) => Loaded::Other("sport".into()),
        _ => Loaded::Other("payload".into()),
    }
}

fn masked(before: Loaded, mask: &[u8], flip: &[u8]) -> Loaded {
    let plain = flip.iter().all(|byte| *byte == 0);
    match before {
        Loaded::State if plain => number(mask).map_or(Loaded::Other("ct".into()), Loaded::SomeStates),
        Loaded::Address { source, ipv6, bytes, mask: None } if plain => {
            Loaded::Address { source, ipv6, bytes, mask: Some(mask.to_vec()) }
        }
        _ => Loaded::Other("bits".into()),
    }
}

// Numbers that never leave the host are in its own byte order.
fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn compare(loaded: &Loaded, operator: u32, value: &[u8]) -> Condition {
    const EQUAL: u32 = 0;
    const NOT_EQUAL: u32 = 1;
    // `ct state & bits != 0` asks for one of them.
    if let (Loaded::SomeStates(bits), EQUAL | NOT_EQUAL) = (loaded, operator)
        && number(value) == Some(0)
    {
        return Condition { asks: Asks::State(*bits), negated: operator == EQUAL };
    }
    if operator <= NOT_EQUAL {
        return Condition {
            asks: members(loaded, &[(value.to_vec(), value.to_vec())]),
            negated: operator == NOT_EQUAL,
        };
    }
    let port = value.try_into().ok().map(u16::from_be_bytes);
    let range = match (loaded, port, operator) {
        (Loaded::Port, Some(port), 2) => port.checked_sub(1).map(|last| (0, last)),
        (Loaded::Port, Some(port), 3) => Some((0, port)),
        (Loaded::Port, Some(port), 4) => port.checked_add(1).map(|first| (first, u16::MAX)),
        (Loaded::Port, Some(port), 5) => Some((port, u16::MAX)),
        _ => None,
    };
    let asks = range.map_or_else(|| Asks::Other("comparison".into()), |range| Asks::Port(vec![range]));
    Condition { asks, negated: false }
}

// The first and the last value of a range, as bytes of a packet.
type Bounds = (Vec<u8>, Vec<u8>);

// What it means that a register's value lies in one of these ranges.
fn members(loaded: &Loaded, ranges: &[Bounds]) -> Asks {
    let other = || {
        Asks::Other(match loaded {
            Loaded::Other(name) => name.clone(),
            _ => "value".to_owned(),
        })
    };
    let all = |one: &dyn Fn(&Bounds) -> Option<Asks>| -> Option<Asks> {
        ranges.iter().map(one).reduce(|left, right| merge(left?, right?)).flatten()
    };
    let asked = match loaded {
        Loaded::InputName => all(&|range| Some(Asks::InputLink(vec![link_name(range)?]))),
        Loaded::OutputName => all(&|range| Some(Asks::OutputLink(vec![link_name(range)?]))),
        Loaded::InputIndex => all(&|range| Some(Asks::InputLink(vec![link_index(range)?]))),
        Loaded::OutputIndex => all(&|range| Some(Asks::OutputLink(vec![link_index(range)?]))),
        Loaded::Family => all(&|(low, high)| match (low.first()?, low == high) {
            (family, true) if i32::from(*family) == libc::NFPROTO_IPV6 => Some(Asks::Ipv6(true)),
            (family, true) if i32::from(*family) == libc::NFPROTO_IPV4 => Some(Asks::Ipv6(false)),
            _ => None,
        }),
        Loaded::Protocol => all(&|(low, high)| Some(Asks::Protocol((*low.first()?..=*high.first()?).collect()))),
        Loaded::Port => all(&|(low, high)| {
            let port = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?));
            Some(Asks::Port(vec![(port(low)?, port(high)?)]))
        }),
        Loaded::State => all(&|(low, high)| number(low).filter(|_| low == high).map(Asks::State)),
        Loaded::DestinationType => all(&|(low, high)| {
            const LOCAL: u32 = 2;
            (low == high && number(low)? == LOCAL).then_some(Asks::LocalDestination)
        }),
        Loaded::Address { source, ipv6, bytes, mask } => all(&|(low, high)| {
            let range = addresses(low, high, *ipv6, *bytes, mask.as_deref())?;
            Some(if *source { Asks::Source(vec![range]) } else { Asks::Destination(vec![range]) })
        }),
        Loaded::SomeStates(_) | Loaded::Other(_) => None,
    };
    asked.unwrap_or_else(other)
}

fn merge(left: Asks, right: Asks) -> Option<Asks> {
    fn both<T>(mut left: Vec<T>, right: Vec<T>) -> Vec<T> {
        left.extend(right);
        left
    }
    Some(match (left, right) {
        (Asks::InputLink(left), Asks::InputLink(right)) => Asks::InputLink(both(left, right)),
        (Asks::OutputLink(left), Asks::OutputLink(right)) => Asks::OutputLink(both(left, right)),
        (Asks::Protocol(left), Asks::Protocol(right)) => Asks::Protocol(both(left, right)),
        (Asks::Port(left), Asks::Port(right)) => Asks::Port(both(left, right)),
        (Asks::Source(left), Asks::Source(right)) => Asks::Source(both(left, right)),
        (Asks::Destination(left), Asks::Destination(right)) => Asks::Destination(both(left, right)),
        (Asks::State(left), Asks::State(right)) => Asks::State(left | right),
        (left, right) if left == right => left,
        _ => return None,
    })
}

// A name that fills the field is one; a shorter value without a zero is how names begin.
fn link_name((low, high): &Bounds) -> Option<LinkName> {
    if low != high {
        return None;
    }
    let end = low.iter().position(|byte| *byte == 0);
    let text = std::str::from_utf8(&low[..end.unwrap_or(low.len())]).ok()?.to_owned();
    Some(LinkName { text, prefix: end.is_none() && low.len() < libc::IFNAMSIZ })
}

// The loopback is number 1 in every namespace; others have names that are not looked up here.
fn link_index((low, high): &Bounds) -> Option<LinkName> {
    let index = number(low).filter(|_| low == high)?;
    Some(LinkName { text: if index == 1 { "lo".into() } else { format!("#{index}") }, prefix: false })
}

fn addresses(low: &[u8], high: &[u8], ipv6: bool, bytes: usize, mask: Option<&[u8]>) -> Option<Addresses> {
    let size = if ipv6 { 16 } else { 4 };
    let (low, high) = (low.get(..bytes)?, high.get(..bytes)?);
    let mut first = low.to_vec();
    let mut last: Vec<u8> = match mask {
        None => high.to_vec(),
        Some(mask) if mask.len() == bytes && is_prefix(mask) => {
            high.iter().zip(mask).map(|(byte, mask)| byte | !mask).collect()
        }
        Some(_) => return None,
    };
    first.resize(size, 0);
    last.resize(size, 0xff);
    Some(Addresses { first: address(&first)?, last: address(&last)? })
}

fn is_prefix(mask: &[u8]) -> bool {
    let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).take_while(|ones| *ones == 8).sum();
    let rest = &mask[(ones / 8) as usize..];
    rest.first().is_none_or(|byte| byte.leading_ones() == byte.count_ones())
        && rest.iter().skip(1).all(|byte| *byte == 0)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))).ok()
}

fn set_members(loaded: &Loaded, set: &str, sets: &HashMap<String, Vec<SetElement>>) -> Asks {
    match ranges(set, sets) {
        Some(ranges) if !ranges.is_empty() => {
            let ranges: Vec<_> = ranges.into_iter().map(|(low, high, _)| (low, high)).collect();
            members(loaded, &ranges)
        }
        // A set that others fill as they like.
        _ => Asks::Other(format!("@{set}")),
    }
}

type Range = (Vec<u8>, Vec<u8>, Option<Verdict>);

// A set's members as ranges. `None`: too many.
fn ranges(set: &str, sets: &HashMap<String, Vec<SetElement>>) -> Option<Vec<Range>> {
    let elements = sets.get(set).filter(|elements| elements.len() <= ELEMENTS_MAX)?;
    let mut sorted: Vec<&SetElement> = elements.iter().collect();
    // The end of one range and the beginning of the next may have the same key.
    sorted.sort_by(|left, right| left.key.cmp(&right.key).then(right.ends_range.cmp(&left.ends_range)));
    let is_interval = elements.iter().any(|element| element.ends_range);
    let mut ranges: Vec<Range> = Vec::new();
    for (at, element) in sorted.iter().enumerate().filter(|(_, element)| !element.ends_range) {
        let end = match (&element.key_end, is_interval) {
            (Some(end), _) => end.clone(),
            (None, false) => element.key.clone(),
            (None, true) => {
                let next = sorted[at + 1..].iter().find(|next| next.key > element.key);
                next.map_or_else(|| vec![0xff; element.key.len()], |next| one_less(&next.key))
            }
        };
        ranges.push((element.key.clone(), end, element.verdict.clone()));
    }
    Some(ranges)
}

fn one_less(bytes: &[u8]) -> Vec<u8> {
    let mut less = bytes.to_vec();
    for byte in less.iter_mut().rev() {
        let borrow = *byte == 0;
        *byte = byte.wrapping_sub(1);
        if !borrow {
            break;
        }
    }
    less
}

fn verdicts(loaded: &Loaded, set: &str, sets: &HashMap<String, Vec<SetElement>>) -> Vec<(Option<Condition>, Outcome)> {
    let Some(ranges) = ranges(set, sets) else {
        return vec![(None, Outcome::Other(format!("vmap @{set}")))];
    };
    let rule = |(low, high, verdict): Range| {
        let asks = members(loaded, &[(low, high)]);
        (Some(Condition { asks, negated: false }), verdict.as_ref().map_or(Outcome::Continue, outcome_of))
    };
    ranges.into_iter().map(rule).collect()
}

fn outcome_of(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Accept => Outcome::Accept,
        Verdict::Drop => Outcome::Drop,
        Verdict::Jump(chain) => Outcome::Jump(chain.clone()),
        Verdict::Goto(chain) => Outcome::Goto(chain.clone()),
        Verdict::Return => Outcome::Return,
        Verdict::Continue => Outcome::Continue,
    }
}
