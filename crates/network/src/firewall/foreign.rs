//! Other people's forward chains: an accept in our table cannot override a drop in theirs.
//!
//! Docker, ufw and many administrators set the policy of `ip filter FORWARD` to drop. Where such a
//! chain lives in nf_tables (iptables-nft included), two tagged rules per bridge are put at its head,
//! or into `DOCKER-USER` where Docker made one; our own table still decides what may pass. Where that
//! cannot be done it is reported in words.

use std::fmt;

use hako_sys::{
    netlink::Socket,
    nft::{self, ChainInfo, Expression, Hook, MetaKey, Register, Transaction, Verdict},
};

use super::{keep::is_gone, ruleset::State};

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

/// Puts the tagged rules where they are needed, removes those of bridges that are gone, and returns
/// what it could not do.
pub(super) fn open_way(socket: &mut Socket, state: &State) -> Vec<Obstacle> {
    let mut obstacles = legacy_tables();
    let chains = match nft::chains(socket) {
        Ok(chains) => chains,
        Err(error) => {
            obstacles.push(Obstacle { place: "nf_tables".into(), reason: format!("cannot list chains: {error}") });
            return obstacles;
        }
    };
    for chain in chains.iter().filter(|chain| chain.is_at(Hook::Forward) && chain.drops) {
        let target = chains
            .iter()
            .find(|other| other.name == DOCKER_USER && other.table == chain.table && other.family == chain.family)
            .unwrap_or(chain);
        if let Err(error) = tag(socket, state, target) {
            let place = format!("{:?} {} {}", chain.family, chain.table, chain.name).to_lowercase();
            obstacles
                .push(Obstacle { place, reason: format!("its policy is drop, and no rule can be added: {error}") });
        }
    }
    obstacles
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
            reason: "a filter table is loaded whose policy is unknown".into(),
        })
        .collect()
}

fn tag(socket: &mut Socket, state: &State, chain: &ChainInfo) -> Result<(), hako_sys::netlink::NetlinkError> {
    let prefix = format!("{} ", state.table);
    let wanted: Vec<(String, MetaKey, &str)> = state
        .networks
        .keys()
        .flat_map(|bridge| {
            [
                (format!("{prefix}from {bridge}"), MetaKey::InputName, bridge.as_str()),
                (format!("{prefix}to {bridge}"), MetaKey::OutputName, bridge.as_str()),
            ]
        })
        .collect();
    let present = nft::rules(socket, chain.family, &chain.table, &chain.name)?;
    let mut transaction = Transaction::new(chain.family);
    let mut changes = 0;
    for rule in &present {
        let comment = rule.comment.as_deref().unwrap_or_default();
        if comment.starts_with(&prefix) && !wanted.iter().any(|(tag, ..)| tag == comment) {
            transaction.rule_remove(&chain.table, &chain.name, rule.handle);
            changes += 1;
        }
    }
    for (tag, side, bridge) in &wanted {
        if !present.iter().any(|rule| rule.comment.as_deref() == Some(tag)) {
            transaction.rule_insert(&chain.table, &chain.name, &accept(*side, bridge), tag);
            changes += 1;
        }
    }
    if changes == 0 {
        return Ok(());
    }
    match transaction.apply(socket) {
        // Somebody was faster in removing the chain or the rule.
        Err(error) if is_gone(&error) => Ok(()),
        result => result,
    }
}

// In the shape that iptables-nft itself makes, so that `iptables -L` still understands the chain.
fn accept(side: MetaKey, bridge: &str) -> Vec<Expression> {
    let mut name = bridge.as_bytes().to_vec();
    name.push(0);
    let register = Register::at(0);
    vec![
        Expression::Meta { key: side, to: register },
        Expression::Compare { from: register, equal: true, value: name },
        Expression::Counter,
        Expression::Verdict(Verdict::Accept),
    ]
}
