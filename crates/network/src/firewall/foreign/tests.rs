//! Where tagged rules go, as text.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};

use super::*;
use crate::firewall::{NetworkRules, policy::text::policy};

fn check(rules: &str, expected: &Expect) {
    let rules_of = NetworkRules {
        subnets: Vec::new(),
        masquerade: true,
        internal: false,
        icc: true,
        routed: Vec::new(),
        unprotected: Vec::new(),
        trusted: Vec::new(),
    };
    let state =
        State { table: "hako-x".into(), networks: BTreeMap::from([("br0".to_owned(), rules_of)]), ..State::default() };
    let found = policy(rules);
    let (wanted, obstacles) = plan(&found, &state);
    let mut text = String::new();
    for one in wanted {
        let chain = found.chain(one.family, &one.table, &one.chain).unwrap();
        let before = chain.rules.iter().find(|rule| Some(rule.handle) == one.before);
        let place = before.map_or("at the end".to_owned(), |rule| format!("before \"{rule}\""));
        text.push_str(&format!("{chain} {place}: {}\n", one.tag));
    }
    for obstacle in obstacles {
        text.push_str(&format!("obstacle: {obstacle}\n"));
    }
    expected.assert_eq(&text);
}

#[test]
fn what_drops_nothing_is_left_alone() {
    check(
        "
inet filter forward hook forward policy accept
  ip saddr 192.0.2.66 drop
inet filter input hook input policy drop
",
        &expect![""],
    );
}

#[test]
fn docker_has_a_chain_for_us_and_an_administrators_rules_in_it_come_first() {
    check(
        r#"
ip filter FORWARD hook forward policy drop
  jump DOCKER-USER
  oifname "docker0" ct state established,related accept
ip filter DOCKER-USER
  ip saddr 192.0.2.66 drop
  return
"#,
        &expect![[r#"
            ip filter DOCKER-USER before "return": hako-x from br0
            ip filter DOCKER-USER before "return": hako-x to br0
        "#]],
    );
    // As Docker 28 makes it.
    check(
        "
ip filter FORWARD hook forward policy drop
  jump DOCKER-USER
ip filter DOCKER-USER
",
        &expect![[r#"
            ip filter DOCKER-USER at the end: hako-x from br0
            ip filter DOCKER-USER at the end: hako-x to br0
        "#]],
    );
    check(
        "
ip filter FORWARD hook forward policy drop
  jump DOCKER-USER
ip filter DOCKER-USER
  drop
",
        &expect![[r#"
            obstacle: ip filter DOCKER-USER: drop: it stops from br0
            obstacle: ip filter DOCKER-USER: drop: it stops to br0
        "#]],
    );
}

#[test]
fn only_the_last_word_is_answered() {
    // A policy; a rule at the end; a chain that everything goes to, behind rules about some.
    check(
        r#"
ip filter FORWARD hook forward policy drop
  jump ufw-before-forward
ip filter ufw-before-forward
  ct state established,related accept
  ip saddr 192.0.2.66 drop
"#,
        &expect![[r#"
            ip filter FORWARD at the end: hako-x from br0
            ip filter FORWARD at the end: hako-x to br0
        "#]],
    );
    check(
        r#"
inet firewalld filter_FORWARD hook forward priority 10 policy accept
  ct state established,related accept
  ip6 daddr ::/96 drop
  iifname "virbr0" accept
  jump zones
  drop
inet firewalld zones
  goto public
inet firewalld public
  iifname "eth0" oifname "eth1" accept
"#,
        &expect![[r#"
            inet firewalld filter_FORWARD before "drop": hako-x from br0
            inet firewalld filter_FORWARD before "drop": hako-x to br0
        "#]],
    );
    // Only one direction is closed.
    check(
        r#"
inet filter forward hook forward policy drop
  iifname "br*" accept
"#,
        &expect![[r#"
            inet filter forward at the end: hako-x to br0
        "#]],
    );
}

#[test]
fn our_own_rules_do_not_hide_that_they_are_needed() {
    check(
        r#"
ip filter FORWARD hook forward policy drop
  iifname "br0" accept # hako-x from br0
  oifname "br0" accept # hako-x to br0
"#,
        &expect![[r#"
            ip filter FORWARD at the end: hako-x from br0
            ip filter FORWARD at the end: hako-x to br0
        "#]],
    );
}
