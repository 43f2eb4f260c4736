//! Ports at the host: reachable from everywhere they should be, and refused in Docker's words.

use std::{
    io::Read,
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use hako_sys::netlink::{Protocol, Socket, conntrack};

use crate::lab::{self, Lab, addr, ask, ask_udp, request, run, within};

#[test]
fn a_published_port_is_reached_from_everywhere() {
    run(|lab| reached_from_everywhere(lab, "0"));
    run(|lab| reached_from_everywhere(lab, "1"));
}

// With and without br_netfilter: with it, frames between two ports of a bridge pass the firewall.
fn reached_from_everywhere(lab: &Lab, br_netfilter: &str) {
    for family in ["iptables", "ip6tables"] {
        // Missing where the kernel has no br_netfilter loaded.
        let _ = std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{family}"), br_netfilter);
    }
    let bridge = lab.bridge("hako0");
    let elsewhere = lab.bridge("other0");
    let neighbour = lab.neighbour();
    lab.network.recover(Vec::new()).unwrap();
    let web = lab.container(&bridge);
    web.serve(80);
    let published = lab.network.publish(&web.endpoint, &[request(None, 8080, "80")]).unwrap();
    let hosts: Vec<String> = published.ports.iter().map(|port| port.host.to_string()).collect();
    assert_eq!(hosts, ["0.0.0.0:8080", "[::]:8080"]);
    // One socket of both families.
    assert_eq!(published.listeners.len(), 1);

    let from_neighbour = |to: &str| within(neighbour.as_fd(), || ask(addr(to), "x")).unwrap();
    // The container sees who asks.
    assert_eq!(from_neighbour("192.0.2.1:8080"), "192.0.2.2 x");
    assert_eq!(from_neighbour("[2001:db8::1]:8080"), "2001:db8::2 x");
    // Loopback is relayed; it comes from the bridge.
    assert_eq!(ask(addr("127.0.0.1:8080"), "x").unwrap(), "172.17.0.1 x");
    assert!(ask(addr("[::1]:8080"), "x").unwrap().ends_with(" x"));
    assert!(ask(addr("192.0.2.1:8080"), "x").unwrap().ends_with(" x"));
    assert!(ask(addr("[2001:db8::1]:8080"), "x").unwrap().ends_with(" x"));

    // From containers through the host's address: another network's, the same network's, itself.
    let (same, far) = (lab.container(&bridge), lab.container(&elsewhere));
    for asker in [&same, &far, &web] {
        for to in ["192.0.2.1:8080", "172.17.0.1:8080", "[2001:db8::1]:8080"] {
            let answer = asker.within(|| ask(addr(to), "x"));
            assert!(answer.as_ref().is_ok_and(|answer| answer.ends_with(" x")), "{to}: {answer:?}");
        }
    }

    lab.network.unpublish(&published.ports).unwrap();
    drop(published);
    assert!(within(neighbour.as_fd(), || ask(addr("192.0.2.1:8080"), "x")).is_err());
    assert!(ask(addr("127.0.0.1:8080"), "x").is_err());
}

#[test]
fn udp_is_published_too_and_flows_follow_their_port() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let (old, new) = (lab.container(&bridge), lab.container(&bridge));
        old.serve_udp(53);
        new.serve_udp(53);
        let published = lab.network.publish(&old.endpoint, &[request(None, 5353, "53/udp")]).unwrap();
        assert!(ask_udp(addr("127.0.0.1:5353"), "x").unwrap().ends_with(" x"));
        assert!(ask_udp(addr("[::1]:5353"), "x").unwrap().ends_with(" x"));
        // One socket, so one flow: it must not stay with the old container.
        let client = within(neighbour.as_fd(), || UdpSocket::bind("192.0.2.2:4000").unwrap());
        client.set_read_timeout(Some(lab::PATIENCE)).unwrap();
        let ask = || {
            client.send_to(b"x", "192.0.2.1:5353").unwrap();
            let mut buffer = [0; 64];
            let length = client.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(ask(), "192.0.2.2 x");
        // The flow is found by its port and the host's address, and nothing else is.
        let mut conntrack = Socket::open(Protocol::Netfilter).unwrap();
        let (host, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap());
        assert_eq!(conntrack::forget_udp(&mut conntrack, 5353, &[other]).unwrap(), 0);
        assert_eq!(conntrack::forget_udp(&mut conntrack, 5354, &[host]).unwrap(), 0);
        assert_eq!(conntrack::forget_udp(&mut conntrack, 5353, &[host]).unwrap(), 1);
        assert_eq!(ask(), "192.0.2.2 x");
        lab.network.unpublish(&published.ports).unwrap();
        drop(published);
        lab.network.endpoint_detach(&old.endpoint).unwrap();
        lab.network.sandbox_release(old.sandbox);
        let _published = lab.network.publish(&new.endpoint, &[request(None, 5353, "53/udp")]).unwrap();
        assert_eq!(ask(), "192.0.2.2 x");
    });
}

#[test]
fn a_port_on_loopback_is_for_the_host_only() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let web = lab.container(&bridge);
        web.serve(80);
        lab.network.publish(&web.endpoint, &[request(Some("127.0.0.1"), 8080, "80")]).unwrap();
        assert!(ask(addr("127.0.0.1:8080"), "x").is_ok());
        assert!(within(neighbour.as_fd(), || ask(addr("192.0.2.1:8080"), "x")).is_err());
        assert!(ask(addr("192.0.2.1:8080"), "x").is_err());
    });
}

#[test]
fn ipv6_clients_reach_a_container_that_has_none() {
    run(|lab| {
        let bridge = lab.bridge_with("four0", |spec| spec.ipv6 = false);
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let web = lab.container(&bridge);
        web.serve(80);
        lab.network.publish(&web.endpoint, &[request(None, 8080, "80")]).unwrap();
        assert_eq!(within(neighbour.as_fd(), || ask(addr("[2001:db8::1]:8080"), "x")).unwrap(), "172.17.0.1 x");
    });
}

#[test]
fn a_taken_port_is_refused_in_dockers_words() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        lab.network.recover(Vec::new()).unwrap();
        let (one, other) = (lab.container(&bridge), lab.container(&bridge));
        let refused = |request| lab.network.publish(&other.endpoint, &[request]).unwrap_err().to_string();
        lab.network.publish(&one.endpoint, &[request(None, 8080, "80")]).unwrap();
        assert_eq!(refused(request(None, 8080, "80")), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        assert_eq!(
            refused(request(Some("127.0.0.1"), 8080, "80")),
            "Bind for 127.0.0.1:8080 failed: port is already allocated"
        );
        // Somebody who is not a container.
        let _foreign = TcpListener::bind("127.0.0.1:9090").unwrap();
        assert_eq!(refused(request(None, 9090, "80")), "failed to bind host port for 0.0.0.0:9090:172.17.0.3:80/tcp");
        // The one that failed has left nothing behind.
        lab.network.publish(&other.endpoint, &[request(Some("127.0.0.1"), 9091, "80")]).unwrap();
        // And nobody else gets what is published.
        assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        // All or nothing.
        let both = [request(None, 7000, "70"), request(None, 8080, "80")];
        assert!(lab.network.publish(&other.endpoint, &both).is_err());
        assert!(TcpListener::bind("0.0.0.0:7000").is_ok());
    });
}

#[test]
fn ranges_and_automatic_ports_find_a_free_one() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        lab.network.recover(Vec::new()).unwrap();
        let web = lab.container(&bridge);
        let range = |end| {
            let mut request = request(None, 8000, "80");
            request.host.port_end = end;
            lab.network.publish(&web.endpoint, &[request]).map(|published| published.ports[0].host.port())
        };
        assert_eq!((range(8001).unwrap(), range(8001).unwrap()), (8000, 8001));
        assert_eq!(range(8001).unwrap_err().to_string(), "Bind for 0.0.0.0:8001 failed: port is already allocated");
        let automatic = lab.network.publish(&web.endpoint, &[request(None, 0, "80")]).unwrap();
        let (v4, v6) = (automatic.ports[0].host, automatic.ports[1].host);
        assert!(v4.port() >= 32768 && v4.port() == v6.port(), "{v4} {v6}");
        let next = lab.network.publish(&web.endpoint, &[request(None, 0, "80")]).unwrap();
        assert_ne!(next.ports[0].host.port(), v4.port());
    });
}

#[test]
fn the_relay_is_no_bottleneck() {
    run(|lab| {
        const BYTES: usize = 256 << 20;
        let bridge = lab.bridge("hako0");
        lab.network.recover(Vec::new()).unwrap();
        let web = lab.container(&bridge);
        let listener = web.within(|| TcpListener::bind("0.0.0.0:80").unwrap());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let chunk = vec![0_u8; 1 << 20];
                let Ok(mut client) = client else { return };
                for _ in 0..BYTES >> 20 {
                    if std::io::Write::write_all(&mut client, &chunk).is_err() {
                        return;
                    }
                }
            }
        });
        lab.network.publish(&web.endpoint, &[request(None, 8080, "80")]).unwrap();
        let fetch = |to: std::net::SocketAddr| -> Duration {
            let start = Instant::now();
            let mut stream = TcpStream::connect(to).unwrap();
            let mut buffer = vec![0; 1 << 20];
            let mut total = 0;
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    length => total += length,
                }
            }
            assert_eq!(total, BYTES);
            start.elapsed()
        };
        let direct = fetch(lab::at(web.ipv4(), 80));
        let relayed = fetch(addr("127.0.0.1:8080"));
        eprintln!("256 MiB: direct {direct:?}, relayed {relayed:?}");
    });
}
