//! What may pass and what not, that the kernel has what the text says, and that it stays so.

use std::{
    io::Write,
    os::fd::AsFd,
    process::Stdio,
    time::{Duration, Instant},
};

use hako_network::firewall::ruleset;
use hako_sys::{
    netlink::{Batch, Protocol, Socket, route},
    nft::{self, Family, Transaction},
};

use crate::lab::{self, Lab, addr, ask, at, request, run, within};

// The real `nft`, where it is installed: the judge of what the kernel has.
pub(crate) fn nft(arguments: &[&str], input: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test may ask a program that the product must not need")]
    let mut child = std::process::Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft: {}\n{input}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn busy_host(lab: &Lab) -> Vec<lab::Container> {
    let bridge = lab.bridge("hako0");
    let internal = lab.bridge_with("inside0", |spec| spec.internal = true);
    lab.network.recover(Vec::new()).unwrap();
    let containers = vec![lab.container(&bridge), lab.container(&internal)];
    let ports = [
        request(None, 8080, "80"),
        request(Some("192.0.2.1"), 81, "81/udp"),
        request(Some("2001:db8::1"), 82, "82"),
        request(Some("127.0.0.1"), 83, "83"),
    ];
    lab.network.publish(&containers[0].endpoint, &ports).unwrap();
    containers
}

#[test]
fn the_kernel_has_what_the_text_says() {
    run(|lab| {
        let neighbour = lab.neighbour();
        let _containers = busy_host(lab);
        let table = lab.instance.table();
        if nft(&["--version"], "").is_none() {
            eprintln!("skipped: needs program nft (Debian package nftables)");
            return;
        }
        // Hash maps list their elements in any order, and counters count.
        let lines = |listing: &str| {
            let mut words: Vec<String> = listing
                .replace("elements = {", "")
                .split(['\n', ','])
                .map(|line| {
                    line.split(" packets ").next().unwrap_or_default().trim_matches([' ', '\t', '}']).to_owned()
                })
                .filter(|line| !line.is_empty())
                .collect();
            words.sort();
            words
        };
        // On another host, where nobody watches over the table. What the firewall learns of its own host it learns in
        // its own time, so the two are looked at until they agree.
        let mut seen = (String::new(), String::new());
        let agree = hako_base::backoff::wait_for(Duration::from_secs(5), || {
            let text = ruleset(&lab.network.firewall_state()).to_string();
            let by_text = within(neighbour.as_fd(), || {
                nft(&["-f", "-"], &format!("table inet {table}\ndelete table inet {table}\n{text}"))?;
                nft(&["-n", "list", "table", "inet", &table], "")
            });
            seen = (nft(&["-n", "list", "table", "inet", &table], "")?, by_text?);
            (lines(&seen.0) == lines(&seen.1)).then_some(())
        });
        assert!(agree.is_some(), "{}\n{}", seen.0, seen.1);
    });
}

#[test]
fn unpublished_ports_are_not_reached_from_elsewhere() {
    run(|lab| {
        let (bridge, elsewhere) = (lab.bridge("hako0"), lab.bridge("other0"));
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let (web, far) = (lab.container(&bridge), lab.container(&elsewhere));
        web.serve(80);
        lab.network.publish(&web.endpoint, &[request(None, 8080, "80")]).unwrap();
        for to in [at(web.ipv4(), 80), at(web.ipv6(), 80)] {
            assert!(ask(to, "x").is_ok(), "the host reaches {to}");
            assert!(within(neighbour.as_fd(), || ask(to, "x")).is_err(), "a neighbour reaches {to}");
            assert!(far.within(|| ask(to, "x")).is_err(), "another network reaches {to}");
        }
        // The other network's gateway is the host, and is reached.
        assert!(far.within(|| ask(addr("172.17.0.1:8080"), "x")).is_ok());
    });
}

#[test]
fn a_flushed_table_is_back_within_100_ms() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let web = lab.container(&bridge);
        web.serve(80);
        lab.network.publish(&web.endpoint, &[request(None, 8080, "80")]).unwrap();
        let table = lab.instance.table();
        let mut socket = Socket::open(Protocol::Netfilter).unwrap();
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let mut flush = Transaction::new(Family::Inet);
            flush.table_remove(&table);
            flush.apply(&mut socket).unwrap();
            let start = Instant::now();
            let back = hako_base::backoff::wait_for(lab::PATIENCE, || {
                nft::table_exists(&mut socket, Family::Inet, &table).unwrap().then_some(())
            });
            back.expect("the table comes back");
            slowest = slowest.max(start.elapsed());
        }
        eprintln!("a flushed table is back after at most {slowest:?}");
        // In the first instant after it is back a connection may still reach the relay instead.
        let translated = || within(neighbour.as_fd(), || ask(addr("192.0.2.1:8080"), "x")).unwrap() == "192.0.2.2 x";
        hako_base::backoff::wait_for(lab::PATIENCE, || translated().then_some(())).expect("the port is translated");
        // And adding to it still works.
        lab.network.publish(&web.endpoint, &[request(None, 8081, "80")]).unwrap();
        assert!(within(neighbour.as_fd(), || ask(addr("192.0.2.1:8081"), "x")).is_ok());
    });
}

#[test]
fn a_foreign_chain_that_drops_lets_containers_through() {
    run(|lab| {
        let foreign = "
            table ip filter {
                chain DOCKER-USER {
                }
                chain FORWARD {
                    type filter hook forward priority filter; policy drop;
                    jump DOCKER-USER
                }
            }
            table inet strict {
                chain forward {
                    type filter hook forward priority 10; policy drop;
                }
            }";
        if nft(&["-f", "-"], foreign).is_none() {
            eprintln!("skipped: needs program nft (Debian package nftables)");
            return;
        }
        let bridge = lab.bridge("hako0");
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let web = lab.container(&bridge);
        web.serve(80);
        lab.network.publish(&web.endpoint, &[request(None, 8080, "80")]).unwrap();
        let reached = || within(neighbour.as_fd(), || ask(addr("192.0.2.1:8080"), "x")).is_ok();
        assert!(reached());
        // What the other program does afterwards is noticed.
        nft(&["flush", "chain", "inet", "strict", "forward"], "").unwrap();
        hako_base::backoff::wait_for(lab::PATIENCE, || reached().then_some(())).expect("the way is opened again");
        assert_eq!(lab.network.obstacles(), []);
        // Leaving takes everything along.
        lab.network.firewall_remove().unwrap();
        let left = nft(&["list", "ruleset"], "").unwrap();
        assert!(!left.contains("hako"), "{left}");
    });
}

#[test]
fn a_port_costs_the_same_whatever_else_is_published() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        lab.network.recover(Vec::new()).unwrap();
        let web = lab.container(&bridge);
        let one = |port: u16| {
            let start = Instant::now();
            lab.network.publish(&web.endpoint, &[request(Some("127.0.0.2"), port, "80")]).unwrap();
            start.elapsed()
        };
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for port in 10_000..11_000_u16 {
            let start = Instant::now();
            lab.network.publish(&web.endpoint, &[request(Some("0.0.0.0"), port, "80")]).unwrap();
            if port < 10_100 { &mut first } else { &mut last }.push(start.elapsed());
        }
        last.drain(..800);
        first.sort();
        last.sort();
        eprintln!(
            "publish 1 of 1,000 ports: first hundred p50 {:?}, last hundred p50 {:?}; relay only {:?}",
            first[50],
            last[50],
            one(9_000)
        );
        let start = Instant::now();
        let all: Vec<_> = (20_000..25_000).map(|port| request(Some("0.0.0.0"), port, "80")).collect();
        let published = lab.network.publish(&web.endpoint, &all).unwrap();
        eprintln!("publish 5,000 ports at once: {:?}", start.elapsed());
        let mut more = Vec::new();
        for port in 31_000..31_100 {
            let start = Instant::now();
            lab.network.publish(&web.endpoint, &[request(Some("0.0.0.0"), port, "80")]).unwrap();
            more.push(start.elapsed());
        }
        more.sort();
        eprintln!("one more: p50 {:?}, p99 {:?}", more[50], more[98]);
        let start = Instant::now();
        lab.network.unpublish(&published.ports).unwrap();
        eprintln!("unpublish the 5,000: {:?}", start.elapsed());
    });
}

#[test]
fn bridges_and_tables_go_with_their_daemon_only() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        lab.network.recover(Vec::new()).unwrap();
        let other = lab::open("/var/lib/other");
        other.bridge("hako1");
        other.network.recover(Vec::new()).unwrap();
        lab.network.bridge_down(bridge.id).unwrap();
        lab.network.firewall_remove().unwrap();
        let mut socket = Socket::open(Protocol::Route).unwrap();
        assert!(route::link_named(&mut socket, "hako0").unwrap().is_none());
        assert!(route::link_named(&mut socket, "hako1").unwrap().is_some());
        let mut socket = Socket::open(Protocol::Netfilter).unwrap();
        assert!(!nft::table_exists(&mut socket, Family::Inet, &lab.instance.table()).unwrap());
        assert!(nft::table_exists(&mut socket, Family::Inet, &other.instance.table()).unwrap());
    });
}

#[test]
fn a_refused_batch_says_which_message_and_why() {
    run(|_| {
        let mut batch = Batch::new();
        route::link_add(&mut batch, "one", "bridge");
        route::link_add(&mut batch, "two", "nonsense");
        let error = Socket::open(Protocol::Route).unwrap().transact(&mut batch).unwrap_err();
        assert_eq!((error.index(), error.errno()), (1, libc::EOPNOTSUPP));
        assert_eq!(error.to_string(), "operation not supported (Unknown device type)");
    });
}
