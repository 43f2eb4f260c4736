//! The table as text, case by case.

use expect_test::{Expect, expect};

use super::*;

fn state(networks: &str, ports: &str) -> State {
    let mut state = State { table: "hako-test".into(), ..State::default() };
    for line in networks.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rules = NetworkRules {
            subnets: words[1..].iter().filter_map(|word| word.parse().ok()).collect(),
            masquerade: !words.contains(&"routed"),
            internal: words.contains(&"internal"),
            icc: !words.contains(&"apart"),
            routed: words[1..].iter().filter_map(|word| word.strip_prefix('~')?.parse().ok()).collect(),
            unprotected: words[1..].iter().filter_map(|word| word.strip_prefix('+')?.parse().ok()).collect(),
            trusted: words[1..].iter().filter_map(|word| word.strip_prefix("from:")).map(str::to_owned).collect(),
        };
        state.networks.insert(words[0].into(), rules);
    }
    for line in ports.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let protocol = if words[1] == "udp" { PortProtocol::Udp } else { PortProtocol::Tcp };
        let slot = PortSlot { host: words[0].parse().unwrap(), protocol };
        state.ports.insert(slot, words[3].parse().unwrap());
    }
    state
}

// The whole table without the parts that are the same in each.
fn check(networks: &str, ports: &str, expected: Expect) {
    let text = ruleset(&state(networks, ports)).to_string();
    let fixed = ["\tchain publish ", "\tchain publish-local ", "\tchain forward "];
    let parts = text.split("\n\n").filter(|part| !fixed.iter().any(|start| part.starts_with(start)));
    let parts = parts.filter(|part| !part.contains("\tmap ") || part.contains("elements"));
    let text: Vec<&str> = parts.map(|part| part.trim_start_matches("table inet hako-test {\n")).collect();
    expected.assert_eq(&text.join("\n"));
}

#[test]
fn an_ordinary_network() {
    check(
        "hako0 172.17.0.0/16",
        "",
        expect![[r#"
        	map forward_to {
        		type ifname : verdict
        		elements = { "hako0" : jump to-hako0 }
        	}
        	chain guard {
        		type filter hook prerouting priority raw; policy accept;
        		ip daddr 172.17.0.0/16 iifname != "hako0" fib daddr type != local counter drop
        	}
        	chain to-hako0 {
        		ct state established,related accept
        		ct status dnat accept
        		iifname "hako0" accept
        		counter drop
        	}
        	chain leave {
        		type nat hook postrouting priority srcnat; policy accept;
        		ip saddr 172.17.0.0/16 oifname != "hako0" masquerade
        		ip saddr 172.17.0.0/16 oifname "hako0" ct status dnat masquerade
        	}
        }
    "#]],
    );
}

#[test]
fn published_ports_are_elements() {
    check(
        "",
        "0.0.0.0:8080 tcp -> 172.17.0.2:80
         [::]:8080 tcp -> [fd00::2]:80
         192.0.2.1:53 udp -> 172.17.0.3:5353",
        expect![[r#"
            	map publish4 {
            		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
            		elements = { 192.0.2.1 . udp . 53 : 172.17.0.3 . 5353 }
            	}
            	map publish4_any {
            		type inet_proto . inet_service : ipv4_addr . inet_service
            		elements = { tcp . 8080 : 172.17.0.2 . 80 }
            	}
            	map publish6_any {
            		type inet_proto . inet_service : ipv6_addr . inet_service
            		elements = { tcp . 8080 : fd00::2 . 80 }
            	}
            	chain guard {
            		type filter hook prerouting priority raw; policy accept;
            	}
            	chain leave {
            		type nat hook postrouting priority srcnat; policy accept;
            	}
            }
        "#]],
    );
}

#[test]
fn internal_routed_and_silent_networks() {
    check(
        "br-in 10.1.0.0/24 internal
         br-routed 10.2.0.0/24 fd00:2::/64 routed
         br-silent 10.3.0.0/24 apart",
        "",
        expect![[r#"
            	map forward_to {
            		type ifname : verdict
            		elements = { "br-in" : jump to-br-in,
            			     "br-routed" : jump to-br-routed,
            			     "br-silent" : jump to-br-silent }
            	}
            	map forward_from {
            		type ifname : verdict
            		elements = { "br-in" : jump from-br-in }
            	}
            	chain guard {
            		type filter hook prerouting priority raw; policy accept;
            		ip daddr 10.1.0.0/24 iifname != "br-in" fib daddr type != local counter drop
            		ip daddr 10.3.0.0/24 iifname != "br-silent" fib daddr type != local counter drop
            	}
            	chain to-br-in {
            		ct state established,related accept
            		iifname "br-in" accept
            		counter drop
            	}
            	chain from-br-in {
            		oifname != "br-in" counter drop
            	}
            	chain to-br-routed {
            		ct state established,related accept
            		ct status dnat accept
            		iifname "br-routed" accept
            		counter drop
            	}
            	chain to-br-silent {
            		ct state established,related accept
            		ct status dnat accept
            		counter drop
            	}
            	chain leave {
            		type nat hook postrouting priority srcnat; policy accept;
            		ip saddr 10.1.0.0/24 oifname "br-in" ct status dnat masquerade
            		ip saddr 10.2.0.0/24 oifname "br-routed" ct status dnat masquerade
            		ip6 saddr fd00:2::/64 oifname "br-routed" ct status dnat masquerade
            		ip saddr 10.3.0.0/24 oifname != "br-silent" masquerade
            		ip saddr 10.3.0.0/24 oifname "br-silent" ct status dnat masquerade
            	}
            }
        "#]],
    );
}

#[test]
fn what_every_table_has() {
    let text = ruleset(&state("", "")).to_string();
    expect![[r#"
        table inet hako-test {
        	map forward_to {
        		type ifname : verdict
        	}

        	map forward_from {
        		type ifname : verdict
        	}

        	map publish4 {
        		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
        	}

        	map publish4_any {
        		type inet_proto . inet_service : ipv4_addr . inet_service
        	}

        	map publish6 {
        		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
        	}

        	map publish6_any {
        		type inet_proto . inet_service : ipv6_addr . inet_service
        	}

        	chain guard {
        		type filter hook prerouting priority raw; policy accept;
        	}

        	chain publish {
        		type nat hook prerouting priority dstnat; policy accept;
        		ip daddr != 127.0.0.0/8 fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @publish4
        		ip daddr != 127.0.0.0/8 fib daddr type local dnat ip to meta l4proto . th dport map @publish4_any
        		ip6 daddr != ::1 fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6
        		ip6 daddr != ::1 fib daddr type local dnat ip6 to meta l4proto . th dport map @publish6_any
        	}

        	chain publish-local {
        		type nat hook output priority -100; policy accept;
        		ip daddr != 127.0.0.0/8 fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @publish4
        		ip daddr != 127.0.0.0/8 fib daddr type local dnat ip to meta l4proto . th dport map @publish4_any
        		ip6 daddr != ::1 fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6
        		ip6 daddr != ::1 fib daddr type local dnat ip6 to meta l4proto . th dport map @publish6_any
        	}

        	chain forward {
        		type filter hook forward priority filter; policy accept;
        		iifname vmap @forward_from
        		oifname vmap @forward_to
        	}

        	chain leave {
        		type nat hook postrouting priority srcnat; policy accept;
        	}

        }
    "#]]
    .assert_eq(&text);
}

#[test]
fn trusted_links_and_open_subnets() {
    check(
        "br-open 10.1.0.0/24 fd00:1::/64 +10.1.0.0/24
         br-wan 10.2.0.0/24 from:vxlan1",
        "",
        expect![[r#"
            	map forward_to {
            		type ifname : verdict
            		elements = { "br-open" : jump to-br-open,
            			     "br-wan" : jump to-br-wan }
            	}
            	chain guard {
            		type filter hook prerouting priority raw; policy accept;
            		ip6 daddr fd00:1::/64 iifname != "br-open" fib daddr type != local counter drop
            		ip daddr 10.2.0.0/24 iifname != "br-wan" iifname != "vxlan1" fib daddr type != local counter drop
            	}
            	chain to-br-open {
            		ct state established,related accept
            		ct status dnat accept
            		iifname "br-open" accept
            		ip daddr 10.1.0.0/24 accept
            		counter drop
            	}
            	chain to-br-wan {
            		ct state established,related accept
            		ct status dnat accept
            		iifname "br-wan" accept
            		iifname "vxlan1" accept
            		counter drop
            	}
            	chain leave {
            		type nat hook postrouting priority srcnat; policy accept;
            		ip saddr 10.1.0.0/24 oifname != "br-open" masquerade
            		ip saddr 10.1.0.0/24 oifname "br-open" ct status dnat masquerade
            		ip6 saddr fd00:1::/64 oifname != "br-open" masquerade
            		ip6 saddr fd00:1::/64 oifname "br-open" ct status dnat masquerade
            		ip saddr 10.2.0.0/24 oifname != "br-wan" masquerade
            		ip saddr 10.2.0.0/24 oifname "br-wan" ct status dnat masquerade
            	}
            }
        "#]],
    );
}

#[test]
fn a_network_more_is_added_and_anything_else_is_a_new_table() {
    let table = |networks: &str, ports: &str| ruleset(&state(networks, ports));
    let one = table("br-a 10.1.0.0/24", "");
    let two = table("br-a 10.1.0.0/24\nbr-b 10.2.0.0/24", "");
    let more = additions(&one, &two).unwrap();
    let chains: Vec<&str> = more.chains.iter().map(|chain| chain.name.as_str()).collect();
    let rules: Vec<String> = more.rules.iter().map(|(chain, rule)| format!("{chain}: {rule}")).collect();
    assert_eq!(chains, ["to-br-b"]);
    expect![[r#"
        guard: ip daddr 10.2.0.0/24 iifname != "br-b" fib daddr type != local counter drop
        leave: ip saddr 10.2.0.0/24 oifname != "br-b" masquerade
        leave: ip saddr 10.2.0.0/24 oifname "br-b" ct status dnat masquerade"#]]
    .assert_eq(&rules.join("\n"));
    let elements: Vec<String> = more.elements.iter().map(|(_, entry)| entry.to_string()).collect();
    assert_eq!(elements, ["\"br-b\" : jump to-br-b"]);
    assert_eq!(additions(&two, &one), None, "one less");
    assert_eq!(additions(&one, &table("br-a 10.1.0.0/24 apart", "")), None, "another rule in a chain that is there");
    assert_eq!(additions(&one, &table("br-a 10.9.0.0/24", "")), None, "another subnet");
}

#[test]
fn a_routed_subnet_opens_ports_at_containers_own_addresses() {
    let mut state = state("br-far 10.1.0.0/24 fd00:1::/64 ~10.1.0.0/24", "");
    state.opened.insert(PortSlot { host: "10.1.0.2:80".parse().unwrap(), protocol: PortProtocol::Tcp });
    let rules = ruleset(&state);
    let chain = |name: &str| {
        let found = rules.chains.iter().find(|chain| chain.name == name).unwrap();
        found.rules.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    expect![[r#"
        ip6 daddr fd00:1::/64 iifname != "br-far" fib daddr type != local counter drop"#]]
    .assert_eq(&chain("guard"));
    expect![[r#"
        ct state established,related accept
        ct status dnat accept
        iifname "br-far" accept
        ip daddr 10.1.0.0/24 meta l4proto 1 accept
        ip daddr 10.1.0.2 meta l4proto 6 th dport 80 accept
        counter drop"#]]
    .assert_eq(&chain("to-br-far"));
    expect![[r#"
        ip saddr 10.1.0.0/24 oifname "br-far" ct status dnat masquerade
        ip6 saddr fd00:1::/64 oifname != "br-far" masquerade
        ip6 saddr fd00:1::/64 oifname "br-far" ct status dnat masquerade"#]]
    .assert_eq(&chain("leave"));
}
