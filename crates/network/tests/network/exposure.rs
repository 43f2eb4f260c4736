//! The host's own firewall is obeyed by published ports, others' forward rules are got through, and what is said about
//! a port is what a neighbour finds. The rules are made by the real `nft`.

use std::{net::TcpListener, os::fd::AsFd};

use hako_network::firewall::Reach;

use crate::{
    firewall::nft,
    lab::{self, Lab, PATIENCE, addr, ask, ask_udp, request, run, within},
};

/// Whether the test can be: says so where it cannot.
fn has_nft() -> bool {
    let has = nft(&["--version"], "").is_some();
    if !has {
        eprintln!("skipped: needs program nft (Debian package nftables)");
    }
    has
}

// Others' changes are noticed a moment later.
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    hako_base::backoff::wait_for(PATIENCE, || holds().then_some(())).unwrap_or_else(|| panic!("never: {what}"));
}

struct Web<'a> {
    lab: &'a Lab,
    neighbour: std::os::fd::OwnedFd,
    _container: lab::Container,
    ports: Vec<hako_network::PublishedPort>,
}

impl<'a> Web<'a> {
    // A container with servers on 80, published on 8080, 8081 and 5353/udp.
    fn start(lab: &'a Lab) -> Self {
        let bridge = lab.bridge("hako0");
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let container = lab.container(&bridge);
        container.serve(80);
        container.serve_udp(53);
        let requests = [request(None, 8080, "80"), request(None, 8081, "80"), request(None, 5353, "53/udp")];
        let ports = lab.network.publish(&container.endpoint, &requests).unwrap().ports;
        Self { lab, neighbour, _container: container, ports }
    }

    fn asked(&self, to: &str) -> Option<String> {
        within(self.neighbour.as_fd(), || ask(addr(to), "x")).ok()
    }

    fn asked_udp(&self, to: &str) -> Option<String> {
        within(self.neighbour.as_fd(), || ask_udp(addr(to), "x")).ok()
    }

    fn exposure(&self, host: &str) -> (Reach, String, bool) {
        let all = self.lab.network.exposure(&self.ports);
        let one = all.iter().find(|one| one.host == addr(host)).unwrap();
        (one.reach, one.reasons.join("; "), one.translated)
    }
}

const STRICT: &str = "table inet strict {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state vmap { established : accept, related : accept, invalid : drop }
        meta l4proto 58 accept
        tcp dport { 22, 8080-8090 } accept
    }
}";

#[test]
fn published_ports_obey_the_hosts_input_rules() {
    if !has_nft() {
        return;
    }
    run(|lab| {
        let web = Web::start(lab);
        assert_eq!(web.exposure("0.0.0.0:8080"), (Reach::Everyone, "the host has no input rules".into(), true));
        nft(&["-f", "-"], &STRICT.replace("8080-8090", "8080")).unwrap();
        soon("8081 is closed", || web.exposure("0.0.0.0:8081").0 == Reach::ThisHost);
        for address in ["192.0.2.1", "[2001:db8::1]"] {
            let from = if address.starts_with('[') { "2001:db8::2 x" } else { "192.0.2.2 x" };
            // Open, and so translated: the container sees who asks.
            assert_eq!(web.asked(&format!("{address}:8080")).as_deref(), Some(from));
            assert_eq!(web.asked(&format!("{address}:8081")), None);
            assert_eq!(web.asked_udp(&format!("{address}:5353")), None);
        }
        let (reach, why, translated) = web.exposure("[::]:8080");
        let rule = "inet strict input: meta l4proto tcp dport { 22, 8080 } accept";
        assert_eq!((reach, why.as_str(), translated), (Reach::Everyone, rule, true));
        assert_eq!(web.exposure("0.0.0.0:5353").1, "inet strict input: policy drop");
        // The host itself reaches its ports.
        assert!(ask(addr("127.0.0.1:8081"), "x").is_ok() && ask(addr("192.0.2.1:8081"), "x").is_ok());
        // What is opened later is reached, and seen through.
        nft(&["add rule inet strict input tcp dport 8081 accept"], "").unwrap();
        soon("8081 is open", || web.asked("192.0.2.1:8081").as_deref() == Some("192.0.2.2 x"));
        nft(&["delete table inet strict"], "").unwrap();
        soon("UDP is open", || web.asked_udp("192.0.2.1:5353").as_deref() == Some("192.0.2.2 x"));
    });
}

#[test]
fn a_port_that_is_open_to_some_is_reached_by_them_alone() {
    if !has_nft() {
        return;
    }
    run(|lab| {
        let web = Web::start(lab);
        nft(
            &["-f", "-"],
            &STRICT.replace("tcp dport { 22, 8080-8090 } accept", "ip saddr 192.0.2.2 tcp dport 8080 accept"),
        )
        .unwrap();
        soon("8080 is open to some", || web.exposure("0.0.0.0:8080").0 == Reach::Some);
        assert_eq!(
            web.exposure("0.0.0.0:8080").1,
            "inet strict input: ip saddr 192.0.2.2 meta l4proto tcp dport 8080 accept; inet strict input: policy drop"
        );
        // By the very rules of the host, and so by its own socket: the daemon relays.
        assert_eq!(web.asked("192.0.2.1:8080").as_deref(), Some("172.17.0.1 x"));
        assert_eq!(web.asked("[2001:db8::1]:8080"), None);
        assert_eq!(web.asked("192.0.2.1:8081"), None);
    });
}

#[test]
fn a_daemon_that_is_told_so_publishes_past_the_firewall() {
    if !has_nft() {
        return;
    }
    lab::run_with(
        |settings| settings.obey_input = false,
        |lab| {
            nft(&["-f", "-"], STRICT).unwrap();
            let web = Web::start(lab);
            assert_eq!(web.asked_udp("192.0.2.1:5353").as_deref(), Some("192.0.2.2 x"));
            assert_eq!(web.exposure("0.0.0.0:5353").0, Reach::Everyone);
        },
    );
}

#[test]
fn an_administrators_own_drops_stay_in_force() {
    if !has_nft() {
        return;
    }
    run(|lab| {
        // Docker's shape, with a rule of the administrator in the chain that is meant for that.
        nft(
            &["-f", "-"],
            "table ip filter {
                chain DOCKER-USER {
                    tcp dport 80 ct original proto-dst 8081 drop
                    return
                }
                chain FORWARD {
                    type filter hook forward priority filter; policy drop;
                    jump DOCKER-USER
                }
            }
            table inet firewalld {
                chain filter_FORWARD {
                    type filter hook forward priority filter + 10; policy accept;
                    ct state established,related accept
                    jump zones
                    reject with icmpx admin-prohibited
                }
                chain zones { goto public; }
                chain public { ip protocol icmp accept; }
            }",
        )
        .unwrap();
        let web = Web::start(lab);
        assert_eq!(web.asked("192.0.2.1:8080").as_deref(), Some("192.0.2.2 x"));
        assert_eq!(web.asked("[2001:db8::1]:8080").as_deref(), Some("2001:db8::2 x"));
        assert_eq!(web.asked("192.0.2.1:8081"), None, "the administrator does not want it");
        assert_eq!(lab.network.obstacles(), []);
        // A reload makes the chains anew, as firewalld does.
        nft(
            &["-f", "-"],
            "flush chain inet firewalld filter_FORWARD
             add rule inet firewalld filter_FORWARD reject",
        )
        .unwrap();
        soon("the way is open again", || web.asked("[2001:db8::1]:8080").is_some());
        lab.network.firewall_remove().unwrap();
        let left = nft(&["list", "ruleset"], "").unwrap();
        assert!(!left.contains("hako"), "{left}");
    });
}

#[test]
fn services_on_the_hosts_loopback_are_the_hosts_alone() {
    run(|lab| {
        let web = Web::start(lab);
        let _service = TcpListener::bind("127.0.0.1:6000").unwrap();
        for place in ["192.0.2.1:6000", "[2001:db8::1]:6000"] {
            assert_eq!(web.asked(place), None);
        }
        // By the gateway's address (CVE-2020-8558 needs route_localnet, which stays off).
        let inside = web._container.within(|| ask(addr("172.17.0.1:6000"), "x"));
        assert!(inside.is_err());
        for link in ["all", "hako0", "wan0", "default"] {
            let switch =
                std::fs::read_to_string(format!("/proc/thread-self/root/proc/sys/net/ipv4/conf/{link}/route_localnet"));
            assert_eq!(switch.unwrap().trim(), "0", "{link}");
        }
    });
}
