//! After the daemon was away: containers are as before, leftovers are gone, sockets are kept.

use std::{collections::HashSet, os::fd::AsFd};

use hako_network::Alive;
use hako_sys::netlink::{Protocol, Socket, route};

use crate::lab::{self, addr, ask, request, run, within};

fn link_names() -> HashSet<String> {
    let mut socket = Socket::open(Protocol::Route).unwrap();
    route::links(&mut socket).unwrap().into_iter().map(|link| link.name).collect()
}

#[test]
fn a_new_daemon_takes_over_what_lives_and_sweeps_the_rest() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let (kept, lost) = (lab.container(&bridge), lab.container(&bridge));
        kept.serve(80);
        let published =
            lab.network.publish(&kept.endpoint, &[request(None, 8080, "80"), request(None, 0, "53/udp")]).unwrap();

        // The same daemon again. The first still exists here, which is worse than dead: it holds
        // its sockets, and the relays of both accept from them.
        let second = lab::open("/var/lib/test");
        second.network.bridge_up(&bridge).unwrap();
        // A client that comes while nobody is there waits in the socket's queue.
        let alive =
            Alive { endpoint: kept.endpoint.clone(), ports: published.ports.clone(), listeners: published.listeners };
        let recovered = second.network.recover(vec![alive]).unwrap();
        assert!(recovered.lost.is_empty() && recovered.gone.is_empty() && recovered.listeners.is_empty());
        assert!(recovered.swept.contains(&lost.endpoint.link));
        second.network.settle();
        let names = link_names();
        assert!(names.contains(&kept.endpoint.link) && !names.contains(&lost.endpoint.link));

        assert_eq!(within(neighbour.as_fd(), || ask(addr("192.0.2.1:8080"), "x")).unwrap(), "192.0.2.2 x");
        assert!(ask(addr("127.0.0.1:8080"), "x").is_ok());
        // Its address stays in use, its port too.
        let newcomer = second.container(&bridge);
        assert_ne!(newcomer.ipv4(), kept.ipv4());
        let refused = second.network.publish(&newcomer.endpoint, &[request(None, 8080, "80")]).unwrap_err();
        assert_eq!(refused.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
    });
}

#[test]
fn a_bridge_that_was_deleted_meanwhile_is_plugged_again() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        lab.network.recover(Vec::new()).unwrap();
        let web = lab.container(&bridge);
        web.serve(80);
        lab.network.bridge_down(bridge.id).unwrap();
        let second = lab::open("/var/lib/test");
        second.network.bridge_up(&bridge).unwrap();
        let alive = Alive { endpoint: web.endpoint.clone(), ports: Vec::new(), listeners: Vec::new() };
        let recovered = second.network.recover(vec![alive]).unwrap();
        assert!(recovered.gone.is_empty());
        assert!(ask(lab::at(web.ipv4(), 80), "x").is_ok());
    });
}

#[test]
fn switches_of_the_host_can_be_put_back() {
    run(|lab| {
        lab.bridge("hako0");
        let changes = lab.network.sysctl_changes();
        let names: Vec<_> = changes.iter().map(|change| change.name.as_str()).collect();
        assert!(names.contains(&"net/ipv4/ip_forward") && names.contains(&"net/ipv6/conf/all/forwarding"), "{names:?}");
        hako_network::Network::sysctl_restore(&changes).unwrap();
        let value = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        assert_eq!(value.trim(), "0");
    });
}
