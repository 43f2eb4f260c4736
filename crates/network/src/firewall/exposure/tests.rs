//! Who can reach a port, as text.

use expect_test::{Expect, expect};

use super::*;
use crate::firewall::policy::text::policy;

fn shown(rules: &str, ports: &[&str]) -> String {
    let policy = policy(rules);
    let mut text = String::new();
    for port in ports {
        let (host, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let protocol = if protocol == "udp" { PortProtocol::Udp } else { PortProtocol::Tcp };
        let slot = PortSlot { host: host.parse().unwrap(), protocol };
        let (reach, reasons) = reach(&policy, &slot, true);
        let way = if is_open(&policy, &slot) { "translated" } else { "left to the host's rules" };
        text.push_str(&format!("{port}: {reach:?}, {way}\n"));
        for reason in reasons {
            text.push_str(&format!("  {reason}\n"));
        }
    }
    text
}

fn check(rules: &str, ports: &[&str], expected: &Expect) {
    expected.assert_eq(&shown(rules, ports));
}

#[test]
fn without_input_rules_everyone_reaches_a_port_but_on_loopback() {
    check(
        "inet other forward hook forward policy drop",
        &["0.0.0.0:80", "[::]:80", "127.0.0.1:80", "[::1]:80"],
        &expect![[r#"
            0.0.0.0:80: Everyone, translated
              the host has no input rules
            [::]:80: Everyone, translated
              the host has no input rules
            127.0.0.1:80: ThisHost, translated
              the host's loopback address
            [::1]:80: ThisHost, translated
              the host's loopback address
        "#]],
    );
}

#[test]
fn a_workstations_rules_by_plain_nft() {
    check(
        r#"
inet filter input hook input policy drop
  ct state established,related accept
  ct state invalid drop
  iifname "lo" accept
  meta l4proto icmp accept
  meta l4proto tcp dport { 22, 8080-8090 } accept
  ip saddr 10.0.0.0/8 meta l4proto tcp dport 9000 accept
  iifname "wg0" meta l4proto udp dport 53 accept
"#,
        &["0.0.0.0:8080", "0.0.0.0:8080/udp", "[::]:8090", "0.0.0.0:80", "0.0.0.0:9000", "[::]:9000", "0.0.0.0:53/udp"],
        &expect![[r#"
            0.0.0.0:8080: Everyone, translated
              inet filter input: meta l4proto tcp dport { 22, 8080-8090 } accept
            0.0.0.0:8080/udp: ThisHost, left to the host's rules
              inet filter input: policy drop
            [::]:8090: Everyone, translated
              inet filter input: meta l4proto tcp dport { 22, 8080-8090 } accept
            0.0.0.0:80: ThisHost, left to the host's rules
              inet filter input: policy drop
            0.0.0.0:9000: Some, left to the host's rules
              inet filter input: ip saddr 10.0.0.0/8 meta l4proto tcp dport 9000 accept
              inet filter input: policy drop
            [::]:9000: ThisHost, left to the host's rules
              inet filter input: policy drop
            0.0.0.0:53/udp: Some, left to the host's rules
              inet filter input: iifname "wg0" meta l4proto udp dport 53 accept
              inet filter input: policy drop
        "#]],
    );
}

// The shape of ufw's chains, as iptables-nft keeps them.
const UFW: &str = r#"
ip filter INPUT hook input policy drop
  jump ufw-before-logging-input
  jump ufw-before-input
  jump ufw-after-input
  jump ufw-reject-input
ip filter ufw-before-logging-input
ip filter ufw-before-input
  iifname "lo" accept
  ct state established,related accept
  ct state invalid jump ufw-logging-deny
  ct state invalid drop
  meta l4proto icmp [icmp] accept
  meta l4proto udp [udp] dport 68 accept
  jump ufw-not-local
  ip daddr 224.0.0.251 meta l4proto udp dport 5353 accept
  jump ufw-user-input
ip filter ufw-not-local
  fib daddr type local return
  [addrtype] return
  [limit] jump ufw-logging-deny
  drop
ip filter ufw-logging-deny
  ct state invalid [limit] return
ip filter ufw-user-input
  meta l4proto tcp dport 443 accept
  ip saddr 192.168.1.0/24 meta l4proto tcp dport 8443 accept
ip filter ufw-after-input
  meta l4proto udp dport 137 jump ufw-skip-to-policy-input
ip filter ufw-skip-to-policy-input
  drop
ip filter ufw-reject-input
"#;

#[test]
fn ufws_rules() {
    check(
        UFW,
        &["0.0.0.0:443", "0.0.0.0:80", "192.0.2.1:8443", "0.0.0.0:137/udp", "[::]:80"],
        &expect![[r#"
            0.0.0.0:443: Everyone, translated
              ip filter ufw-user-input: meta l4proto tcp dport 443 accept
            0.0.0.0:80: ThisHost, left to the host's rules
              ip filter INPUT: policy drop
            192.0.2.1:8443: Some, left to the host's rules
              ip filter ufw-user-input: ip saddr 192.168.1.0/24 meta l4proto tcp dport 8443 accept
              ip filter INPUT: policy drop
            0.0.0.0:137/udp: ThisHost, left to the host's rules
              ip filter ufw-skip-to-policy-input: drop
            [::]:80: Everyone, translated
              the host has no input rules
        "#]],
    );
}

#[test]
fn firewallds_rules() {
    check(
        r#"
inet firewalld filter_INPUT hook input priority 10 policy accept
  ct state established,related accept
  ct state invalid drop
  iifname "lo" accept
  jump filter_INPUT_ZONES
  drop
inet firewalld filter_INPUT_ZONES
  iifname "docker0" goto filter_IN_docker
  goto filter_IN_public
inet firewalld filter_IN_docker
  accept
inet firewalld filter_IN_public
  jump filter_IN_public_allow
  meta l4proto { icmp, ipv6-icmp } accept
inet firewalld filter_IN_public_allow
  meta l4proto tcp dport 22 ct state new,untracked accept
"#,
        &["0.0.0.0:22", "0.0.0.0:80"],
        &expect![[r#"
            0.0.0.0:22: Everyone, translated
              inet firewalld filter_IN_docker: accept
              inet firewalld filter_IN_public_allow: meta l4proto tcp dport 22 ct state new,untracked accept
            0.0.0.0:80: Some, left to the host's rules
              inet firewalld filter_IN_docker: accept
              inet firewalld filter_INPUT: drop
        "#]],
    );
}

#[test]
fn what_is_not_understood_is_left_to_the_kernel() {
    check(
        r#"
inet filter input hook input policy accept
  meta l4proto tcp dport 22 [limit] drop
  [cgroup] dport 80 goto strict
  ip saddr != 0.0.0.0/0 drop
inet filter strict
  drop
inet second input hook input priority 10 policy accept
  meta l4proto tcp dport 443 drop
"#,
        &["0.0.0.0:22", "0.0.0.0:80", "0.0.0.0:443", "0.0.0.0:81"],
        &expect![[r#"
            0.0.0.0:22: Some, left to the host's rules
              inet filter input: meta l4proto tcp dport 22 [limit] drop
            0.0.0.0:80: Some, left to the host's rules
              inet filter strict: drop
            0.0.0.0:443: ThisHost, left to the host's rules
              inet second input: meta l4proto tcp dport 443 drop
            0.0.0.0:81: Everyone, translated
              no input rule drops it
        "#]],
    );
}

#[test]
fn a_daemon_that_was_told_so_does_not_ask() {
    let policy = policy("inet filter input hook input policy drop");
    let slot = PortSlot { host: "0.0.0.0:80".parse().unwrap(), protocol: PortProtocol::Tcp };
    assert_eq!(reach(&policy, &slot, false).0, Reach::Everyone);
}
