//! Rules from text, for tests: what `Display` prints, a chain or, indented, a rule a line.
//!
//! ```text
//! ip filter INPUT hook input policy drop
//!   ct state established,related accept
//!   meta l4proto tcp dport { 22, 80-90 } jump services
//! ip filter services
//! ```
//! A rule may end in `# comment`. Its handle is the number of its line.

use super::*;

/// The chains in a text.
pub(in crate::firewall) fn policy(text: &str) -> Policy {
    let mut policy = Policy::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if line.starts_with(' ') {
            policy.chains.last_mut().unwrap().rules.push(rule(line.trim(), number as u64));
        } else {
            policy.chains.push(chain(line));
        }
    }
    policy
}

fn chain(line: &str) -> PolicyChain {
    let words: Vec<&str> = line.split_whitespace().collect();
    let family = match words[0] {
        "inet" => Family::Inet,
        "ip" => Family::Ip,
        "ip6" => Family::Ip6,
        other => panic!("{other:?} is no family"),
    };
    let after = |word: &str| words.iter().position(|other| *other == word).map(|at| words[at + 1]);
    PolicyChain {
        family,
        table: words[1].to_owned(),
        name: words[2].to_owned(),
        hook: after("hook").map(|hook| if hook == "input" { Hook::Input } else { Hook::Forward }),
        priority: after("priority").map_or(0, |text| text.parse().unwrap()),
        drops: after("policy") == Some("drop"),
        rules: Vec::new(),
    }
}

fn rule(line: &str, handle: u64) -> PolicyRule {
    let (line, comment) = match line.split_once(" # ") {
        Some((line, comment)) => (line, Some(comment.to_owned())),
        None => (line, None),
    };
    let mut words = line.split_whitespace().peekable();
    let mut conditions = Vec::new();
    let outcome = loop {
        let word = words.next().unwrap();
        let key = match word {
            "accept" => break Outcome::Accept,
            "drop" => break Outcome::Drop,
            "return" => break Outcome::Return,
            "continue" => break Outcome::Continue,
            "jump" => break Outcome::Jump(words.next().unwrap().to_owned()),
            "goto" => break Outcome::Goto(words.next().unwrap().to_owned()),
            "fib" => {
                words.nth(1);
                "fib daddr type".to_owned()
            }
            "meta" | "ct" | "ip" | "ip6" => format!("{word} {}", words.next().unwrap()),
            other => other.to_owned(),
        };
        if let Some(name) = key.strip_prefix('[').and_then(|key| key.strip_suffix(']')) {
            conditions.push(Condition { asks: Asks::Other(name.to_owned()), negated: false });
            continue;
        }
        let negated = words.next_if_eq(&"!=").is_some();
        let values: Vec<String> = if words.next_if_eq(&"{").is_some() {
            words.by_ref().take_while(|word| *word != "}").map(|word| word.trim_end_matches(',').to_owned()).collect()
        } else {
            vec![words.next().unwrap().to_owned()]
        };
        conditions.push(Condition { asks: asks(&key, &values), negated });
    };
    PolicyRule { handle, comment, conditions, outcome }
}

fn asks(key: &str, values: &[String]) -> Asks {
    let range = |text: &str| -> Addresses {
        let net: ipnet::IpNet = text.parse().unwrap_or_else(|_| text.parse::<IpAddr>().unwrap().into());
        Addresses { first: net.network(), last: net.broadcast() }
    };
    let link = |text: &String| {
        let text = text.trim_matches('"');
        LinkName { text: text.trim_end_matches('*').to_owned(), prefix: text.ends_with('*') }
    };
    match key {
        "iifname" => Asks::InputLink(values.iter().map(link).collect()),
        "oifname" => Asks::OutputLink(values.iter().map(link).collect()),
        "meta nfproto" => Asks::Ipv6(values[0] == "ipv6"),
        "meta l4proto" => Asks::Protocol(
            values.iter().map(|name| (0..=255).find(|number| protocol_name(*number) == *name).unwrap()).collect(),
        ),
        "dport" => Asks::Port(
            values
                .iter()
                .map(|text| {
                    let (first, last) = text.split_once('-').unwrap_or((text, text));
                    (first.parse().unwrap(), last.parse().unwrap())
                })
                .collect(),
        ),
        "ip saddr" | "ip6 saddr" => Asks::Source(values.iter().map(|text| range(text)).collect()),
        "ip daddr" | "ip6 daddr" => Asks::Destination(values.iter().map(|text| range(text)).collect()),
        "ct state" => Asks::State(
            (0..7).map(|bit| 1 << bit).filter(|bit| values[0].split(',').any(|name| state_text(*bit) == name)).sum(),
        ),
        "fib daddr type" => Asks::LocalDestination,
        other => panic!("{other:?} is no condition"),
    }
}
