//! Other people's forward chains: an accept in our table cannot override a drop in theirs.
//!
//! Docker, ufw, firewalld and many administrators drop what is to be forwarded unless a rule of theirs wants it. Where
//! such a chain lives in nf_tables (iptables-nft included), two tagged rules per bridge accept what comes from and goes
//! to it; our own table still decides what may pass. They stand in `DOCKER-USER` where Docker made one, and otherwise
//! right before the point where everything is dropped: what an administrator drops for a reason of its own, above, stays
//! dropped. Where that cannot be done it is reported in words.

use std::fmt;

use hako_sys::{
    netlink::{NetlinkError, Socket},
    nft::{Expression, Family, Hook, MetaKey, Register, Transaction, Verdict},
};

use super::{
    keep::is_gone,
    policy::{self, Outcome, Packet, Place, Policy, PolicyChain, PolicyRule},
    ruleset::State,
};

/// The chain in which Docker invites others to put their rules.
const DOCKER_USER: &str = "DOCKER-USER";

/// Something in another table that may stop containers' packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub place: String,
    pub reason: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// A tagged rule as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) family: Family,
    pub(super) table: String,
    pub(super) chain: String,
    /// The rule it stands right before; `None`: at the end.
    pub(super) before: Option<u64>,
    pub(super) tag: String,
    bridge: String,
    inwards: bool,
}

/// Reads what others decide, puts the tagged rules where they are needed and removes the others; answers with what
/// others decide, and what could not be done.
pub(super) fn open_way(socket: &mut Socket, state: &State) -> (Policy, Vec<Obstacle>) {
    let mut obstacles = legacy_tables();
    let found = match policy::read(socket, &state.table) {
        Ok(found) => found,
        Err(error) => {
            obstacles.push(Obstacle { place: "nf_tables".into(), reason: format!("cannot list chains: {error}") });
            return (Policy::default(), obstacles);
        }
    };
    let (wanted, more) = plan(&found, state);
    obstacles.extend(more);
    for chain in &found.chains {
        if let Err(error) = bring_about(socket, state, chain, &wanted) {
            let reason = format!("it drops what is forwarded, and no rule can be added: {error}");
            obstacles.push(Obstacle { place: chain.to_string(), reason });
        }
    }
    (found, obstacles)
}

// The older iptables keeps its rules outside nf_tables, where netlink does not reach.
fn legacy_tables() -> Vec<Obstacle> {
    ["ip_tables_names", "ip6_tables_names"]
        .into_iter()
        .filter(|file| {
            let names = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
            names.lines().any(|name| name == "filter")
        })
        .map(|file| Obstacle {
            place: format!("legacy {}", file.trim_end_matches("_names")),
            reason: "a filter table is loaded whose policy is unknown; use iptables-nft in place of iptables-legacy"
                .into(),
        })
        .collect()
}

fn is_own(rule: &PolicyRule, prefix: &str) -> bool {
    rule.comment.as_deref().is_some_and(|comment| comment.starts_with(prefix))
}

fn prefix(state: &State) -> String {
    format!("{} ", state.table)
}

/// The tagged rules that are needed, and the chains that drop by a rule which is not ours to get around. Pure.
pub(super) fn plan(found: &Policy, state: &State) -> (Vec<Wanted>, Vec<Obstacle>) {
    let prefix = prefix(state);
    // As it would be without us.
    let others = found.without(|rule| is_own(rule, &prefix));
    let (mut wanted, mut obstacles) = (Vec::new(), Vec::new());
    for chain in others.chains.iter().filter(|chain| chain.hook == Some(Hook::Forward)) {
        for bridge in state.networks.keys() {
            for inwards in [false, true] {
                let packets = packets(chain.family, bridge, inwards);
                let words: Vec<_> = packets.iter().map(|packet| others.last_word(chain, packet)).collect();
                if words.iter().all(|(_, drops)| !drops) {
                    continue;
                }
                let tag = format!("{prefix}{} {bridge}", if inwards { "to" } else { "from" });
                let rule = |chain: &PolicyChain, before| Wanted {
                    family: chain.family,
                    table: chain.table.clone(),
                    chain: chain.name.clone(),
                    before,
                    tag: tag.clone(),
                    bridge: bridge.clone(),
                    inwards,
                };
                match docker_user(&others, chain) {
                    None => {
                        // Two families may have their last words at different rules.
                        let at = |rule: &PolicyRule| chain.rules.iter().position(|other| other == rule);
                        let first = words.iter().filter_map(|(rule, _)| *rule).min_by_key(|rule| at(rule));
                        wanted.push(rule(chain, first.map(|rule| rule.handle)));
                    }
                    Some(user) => match others.last_word(user, &packets[0]) {
                        (Some(last), _) if last.outcome != Outcome::Return => {
                            let reason = format!("{last}: it stops {}", tag.trim_start_matches(&prefix));
                            obstacles.push(Obstacle { place: user.to_string(), reason });
                        }
                        (last, _) => wanted.push(rule(user, last.map(|rule| rule.handle))),
                    },
                }
            }
        }
    }
    (wanted, obstacles)
}

// Where Docker's chain leads through it.
fn docker_user<'a>(policy: &'a Policy, chain: &PolicyChain) -> Option<&'a PolicyChain> {
    let jump = Outcome::Jump(DOCKER_USER.to_owned());
    chain
        .rules
        .iter()
        .any(|rule| rule.outcome == jump)
        .then(|| policy.chain(chain.family, &chain.table, DOCKER_USER))?
}

fn packets(family: Family, bridge: &str, inwards: bool) -> Vec<Packet<'_>> {
    let (from, to) = (Place::Link(bridge), Place::Outside);
    let (from, to) = if inwards { (to, from) } else { (from, to) };
    let packet = |ipv6| Packet { ipv6, protocol: None, port: None, destination: None, from, to };
    match family {
        Family::Ip => vec![packet(false)],
        Family::Ip6 => vec![packet(true)],
        Family::Inet => vec![packet(false), packet(true)],
    }
}

// Makes one chain's tagged rules those that are wanted there.
fn bring_about(socket: &mut Socket, state: &State, chain: &PolicyChain, wanted: &[Wanted]) -> Result<(), NetlinkError> {
    let prefix = prefix(state);
    let here =
        |wanted: &&Wanted| wanted.family == chain.family && wanted.table == chain.table && wanted.chain == chain.name;
    let position = |handle: u64| chain.rules.iter().position(|rule| rule.handle == handle);
    // One that stands behind the rule it is to stand before does nothing.
    let in_place = |rule: &PolicyRule, wanted: &Wanted| {
        rule.comment.as_deref() == Some(&wanted.tag)
            && wanted.before.is_none_or(|before| position(rule.handle) < position(before))
    };
    let mut transaction = Transaction::new(chain.family);
    let mut changes = 0;
    for rule in chain.rules.iter().filter(|rule| is_own(rule, &prefix)) {
        if !wanted.iter().filter(here).any(|wanted| in_place(rule, wanted)) {
            transaction.rule_remove(&chain.table, &chain.name, rule.handle);
            changes += 1;
        }
    }
    for one in wanted.iter().filter(here) {
        if !chain.rules.iter().any(|rule| in_place(rule, one)) {
            transaction.rule_insert(&chain.table, &chain.name, &accept(one), &one.tag, one.before);
            changes += 1;
        }
    }
    if changes == 0 {
        return Ok(());
    }
    match transaction.apply(socket) {
        // Somebody was faster in removing the chain or the rule; the news of it bring us back here.
        Err(error) if is_gone(&error) => Ok(()),
        result => result,
    }
}

// In the shape that iptables-nft itself makes, so that `iptables -L` still understands the chain.
fn accept(wanted: &Wanted) -> Vec<Expression> {
    let mut name = wanted.bridge.as_bytes().to_vec();
    name.push(0);
    let register = Register::at(0);
    let key = if wanted.inwards { MetaKey::OutputName } else { MetaKey::InputName };
    vec![
        Expression::Meta { key, to: register },
        Expression::Compare { from: register, equal: true, value: name },
        Expression::Counter,
        Expression::Verdict(Verdict::Accept),
    ]
}

#[cfg(test)]
mod tests;
