//! What becomes of a packet in other people's chains. Pure.
//!
//! A packet here stands for many: all that begin a connection to one port, from wherever. So a rule may be about
//! some of them, and the result is a set: by which rules such packets are accepted, and by which they are dropped.

use std::net::IpAddr;

use hako_sys::nft::Hook;

use super::{Addresses, Asks, Condition, LinkName, Outcome, Policy, PolicyChain, PolicyRule, STATE_NEW};

/// Rules that are looked at for one packet. The largest rulesets of one host have some ten thousand; who has more is
/// told that it is not known.
const STEPS_MAX: usize = 200_000;

/// Where packets come from or go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// Some link that is neither the loopback nor a bridge of ours.
    Outside,
    Link(&'a str),
    /// No link, at this hook.
    Nowhere,
}

/// The first packet of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub(crate) ipv6: bool,
    /// `None`: of any.
    pub(crate) protocol: Option<u8>,
    pub(crate) port: Option<u16>,
    /// `None`: any address; of the host's own at the input hook.
    pub(crate) destination: Option<IpAddr>,
    pub(crate) from: Place<'a>,
    pub(crate) to: Place<'a>,
}

/// Why something is so: the rule or policy that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// `ip filter INPUT`
    pub(crate) chain: String,
    /// `tcp dport 80 accept`, `policy drop`
    pub(crate) rule: String,
    /// Whether it is about all such packets that come there.
    pub(crate) all: bool,
}

/// What becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fate {
    pub(crate) accepted: Vec<Reason>,
    pub(crate) dropped: Vec<Reason>,
    /// Whether some come to the end of the chain undecided.
    pub(crate) undecided: bool,
    /// There were too many rules to look at.
    pub(crate) unknown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Maybe,
}

impl Policy {
    /// What becomes of packets for the host itself, or through it, in all chains of a hook: they must be accepted by
    /// each of them.
    pub(crate) fn fate(&self, hook: Hook, packet: &Packet<'_>) -> Fate {
        let mut whole = Fate { undecided: true, ..Fate::default() };
        for chain in self.base_chains(hook, packet.ipv6) {
            let fate = self.fate_in(chain, packet);
            whole.dropped.extend(fate.dropped);
            whole.unknown |= fate.unknown;
            whole.accepted.extend(fate.accepted);
            whole.undecided &= fate.undecided;
        }
        whole
    }

    /// In one base chain, its policy included.
    pub(crate) fn fate_in(&self, chain: &PolicyChain, packet: &Packet<'_>) -> Fate {
        let mut steps = STEPS_MAX;
        let mut fate = self.walk(chain, packet, &mut steps);
        if fate.undecided && chain.drops {
            let reason = Reason { chain: chain.to_string(), rule: "policy drop".into(), all: true };
            fate.dropped.push(reason);
            fate.undecided = false;
        }
        fate
    }

    /// The first rule of a base chain behind which such packets never come, and whether some are dropped there; past
    /// the last rule it is the policy.
    pub(crate) fn last_word<'a>(&self, chain: &'a PolicyChain, packet: &Packet<'_>) -> (Option<&'a PolicyRule>, bool) {
        let mut steps = STEPS_MAX;
        for rule in &chain.rules {
            let step = self.step(chain, rule, packet, &mut steps);
            if !step.stay {
                return (Some(rule), !step.fate.dropped.is_empty() || step.leave && chain.drops);
            }
        }
        (None, chain.drops)
    }

    fn walk(&self, chain: &PolicyChain, packet: &Packet<'_>, steps: &mut usize) -> Fate {
        let mut fate = Fate::default();
        for rule in &chain.rules {
            let step = self.step(chain, rule, packet, steps);
            fate.accepted.extend(step.fate.accepted);
            fate.dropped.extend(step.fate.dropped);
            fate.unknown |= step.fate.unknown;
            fate.undecided |= step.leave;
            if !step.stay {
                return fate;
            }
        }
        Fate { undecided: true, ..fate }
    }

    fn step(&self, chain: &PolicyChain, rule: &PolicyRule, packet: &Packet<'_>, steps: &mut usize) -> Step {
        let mut step = Step { fate: Fate::default(), stay: true, leave: false };
        let truth = holds(rule, packet);
        if truth == Truth::No {
            return step;
        }
        if *steps == 0 {
            step.fate.unknown = true;
            return step;
        }
        *steps -= 1;
        let all = truth == Truth::Yes;
        let reason = || Reason { chain: chain.to_string(), rule: rule.to_string(), all };
        step.stay = !all;
        match &rule.outcome {
            Outcome::Accept => step.fate.accepted.push(reason()),
            Outcome::Drop => step.fate.dropped.push(reason()),
            Outcome::Jump(name) | Outcome::Goto(name) => {
                let Some(target) = self.chain(chain.family, &chain.table, name) else { return step };
                step.fate = self.walk(target, packet, steps);
                let reasons = step.fate.accepted.iter_mut().chain(&mut step.fate.dropped);
                reasons.for_each(|reason| reason.all &= all);
                // Whoever falls off the end of a chain that was gone to has left this one as well.
                if step.fate.undecided {
                    match rule.outcome {
                        Outcome::Jump(_) => step.stay = true,
                        _ => step.leave = true,
                    }
                }
            }
            Outcome::Return => step.leave = true,
            Outcome::Continue => step.stay = true,
            Outcome::Other(_) => (step.stay, step.fate.unknown) = (true, true),
        }
        step
    }
}

// What one rule does: some packets may go on to the next rule, some leave its chain undecided.
struct Step {
    fate: Fate,
    stay: bool,
    leave: bool,
}

fn holds(rule: &PolicyRule, packet: &Packet<'_>) -> Truth {
    let mut whole = Truth::Yes;
    for condition in &rule.conditions {
        match condition.holds(packet) {
            Truth::Yes => {}
            Truth::No => return Truth::No,
            Truth::Maybe => whole = Truth::Maybe,
        }
    }
    whole
}

fn known(yes: bool) -> Truth {
    if yes { Truth::Yes } else { Truth::No }
}

impl Condition {
    fn holds(&self, packet: &Packet<'_>) -> Truth {
        let truth = match &self.asks {
            Asks::InputLink(names) => at_link(names, packet.from),
            Asks::OutputLink(names) => at_link(names, packet.to),
            Asks::Ipv6(ipv6) => known(*ipv6 == packet.ipv6),
            Asks::Protocol(all) => packet.protocol.map_or(Truth::Maybe, |protocol| known(all.contains(&protocol))),
            Asks::Port(all) => packet
                .port
                .map_or(Truth::Maybe, |port| known(all.iter().any(|(first, last)| (*first..=*last).contains(&port)))),
            Asks::Source(all) => among(all, None, packet.ipv6),
            Asks::Destination(all) => among(all, packet.destination, packet.ipv6),
            Asks::State(bits) => known(bits & STATE_NEW != 0),
            // Only what is for the host itself goes nowhere.
            Asks::LocalDestination => known(packet.to == Place::Nowhere),
            Asks::Other(_) => return Truth::Maybe,
        };
        match truth {
            Truth::Maybe => Truth::Maybe,
            Truth::Yes | Truth::No => known((truth == Truth::Yes) != self.negated),
        }
    }
}

fn at_link(names: &[LinkName], place: Place<'_>) -> Truth {
    let matches = |link: &str| {
        names.iter().any(|name| if name.prefix { link.starts_with(&name.text) } else { link == name.text })
    };
    match place {
        Place::Link(link) => known(matches(link)),
        Place::Outside if names.iter().all(|name| !name.prefix && name.text == "lo") => Truth::No,
        Place::Outside if names.iter().any(|name| name.prefix && name.text.is_empty()) => Truth::Yes,
        Place::Outside => Truth::Maybe,
        Place::Nowhere => Truth::No,
    }
}

fn among(all: &[Addresses], address: Option<IpAddr>, ipv6: bool) -> Truth {
    let mut own = all.iter().filter(|range| range.first.is_ipv6() == ipv6).peekable();
    if own.peek().is_none() {
        return Truth::No;
    }
    match address {
        Some(address) => known(own.any(|range| range.contain(address))),
        None if own.any(Addresses::are_all) => Truth::Yes,
        None => Truth::Maybe,
    }
}
