//! Containers on bridges, on a real kernel: they reach each other, the host and the outside.

use std::{os::fd::AsFd, time::Instant};

use crate::lab::{self, Lab, addr, ask, at, run, within};
use hako_base::backoff::wait_for;
use hako_network::{EndpointPlan, NetworkError};
use hako_sys::netlink::{Protocol, Socket, route};

#[test]
fn two_containers_talk_by_both_families() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        lab.network.recover(Vec::new()).unwrap();
        let (one, other) = (lab.container(&bridge), lab.container(&bridge));
        assert_eq!(one.ipv4().to_string(), "172.17.0.2");
        assert_eq!(other.ipv4().to_string(), "172.17.0.3");
        assert_eq!(one.endpoint.mac_text(), "02:42:ac:11:00:02");
        one.serve(80);
        for address in [one.ipv4(), one.ipv6()] {
            let said = other.within(|| ask(at(address, 80), "hello")).unwrap();
            let peer = if address.is_ipv4() { other.ipv4() } else { other.ipv6() };
            assert_eq!(said, format!("{peer} hello"));
            // And from the host itself.
            assert!(ask(at(address, 80), "hi").unwrap().ends_with(" hi"));
        }
    });
}

#[test]
fn the_outside_sees_the_hosts_address() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let container = lab.container(&bridge);
        let outside = lab::Container {
            sandbox: lab.network.sandbox_adopt(neighbour, false).unwrap(),
            endpoint: container.endpoint.clone(),
        };
        outside.serve(80);
        assert_eq!(container.within(|| ask(addr("192.0.2.2:80"), "x")).unwrap(), "192.0.2.1 x");
        assert_eq!(container.within(|| ask(addr("[2001:db8::2]:80"), "x")).unwrap(), "2001:db8::1 x");
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    run(|lab| {
        let bridge = lab.bridge_with("inside0", |spec| spec.internal = true);
        let neighbour = lab.neighbour();
        lab.network.recover(Vec::new()).unwrap();
        let (one, other) = (lab.container(&bridge), lab.container(&bridge));
        assert_eq!(one.endpoint.gateway, None);
        one.serve(80);
        assert!(other.within(|| ask(at(one.ipv4(), 80), "x")).is_ok());
        assert!(other.within(|| ask(addr("192.0.2.2:80"), "x")).is_err());
        assert!(within(neighbour.as_fd(), || ask(at(one.ipv4(), 80), "x")).is_err());
    });
}

#[test]
fn without_icc_containers_do_not_reach_each_other() {
    run(|lab| {
        let bridge = lab.bridge_with("apart0", |spec| {
            spec.options.insert("com.docker.network.bridge.enable_icc".into(), "false".into());
        });
        lab.network.recover(Vec::new()).unwrap();
        let (one, other) = (lab.container(&bridge), lab.container(&bridge));
        one.serve(80);
        assert!(other.within(|| ask(at(one.ipv4(), 80), "x")).is_err());
        assert!(ask(at(one.ipv4(), 80), "x").is_ok(), "the host itself may");
    });
}

#[test]
fn a_network_without_ipv6_has_none_anywhere() {
    run(|lab| {
        let bridge = lab.bridge_with("four0", |spec| spec.ipv6 = false);
        lab.network.recover(Vec::new()).unwrap();
        let container = lab.container(&bridge);
        let addresses = container.within(|| route::addresses(&mut Socket::open(Protocol::Route).unwrap()).unwrap());
        let ipv6: Vec<_> = addresses.iter().filter(|one| one.address.is_ipv6() && !one.address.is_loopback()).collect();
        assert!(ipv6.is_empty(), "{ipv6:?}");
    });
}

#[test]
fn a_container_has_its_second_network_as_eth1() {
    run(|lab| {
        let (first, second) = (lab.bridge("one0"), lab.bridge("two0"));
        lab.network.recover(Vec::new()).unwrap();
        let both = lab.container(&first);
        let plan = EndpointPlan { default_route: false, ..EndpointPlan::new(second.id) };
        let endpoint = lab.network.endpoint_attach(&both.sandbox, &plan).unwrap();
        both.settle(&endpoint);
        assert_eq!((both.endpoint.interface.as_str(), endpoint.interface.as_str()), ("eth0", "eth1"));
        let other = lab.container(&second);
        other.serve(80);
        assert_eq!(
            both.within(|| ask(at(other.ipv4(), 80), "x")).unwrap(),
            format!("{} x", endpoint.ipv4.unwrap().addr())
        );
        assert!(both.within(|| ask(at(other.ipv6(), 80), "x")).is_ok());
    });
}

#[test]
fn addresses_are_free_again_and_a_full_network_says_so() {
    run(|lab| {
        let bridge = lab.bridge_with("small0", |spec| {
            spec.ipv6 = false;
            spec.pools = vec![lab::pool("10.9.0.0/30")];
        });
        lab.network.recover(Vec::new()).unwrap();
        let only = lab.container(&bridge);
        assert_eq!(only.ipv4().to_string(), "10.9.0.2");
        let sandbox = lab.network.sandbox_take().unwrap();
        let full = lab.network.endpoint_attach(&sandbox, &EndpointPlan::new(bridge.id)).unwrap_err();
        assert_eq!(
            full.to_string(),
            format!("no available IPv4 addresses on this network's address pools: small0 ({})", bridge.id)
        );
        lab.network.endpoint_detach(&only.endpoint).unwrap();
        lab.network.sandbox_release(only.sandbox);
        let again = lab.network.endpoint_attach(&sandbox, &EndpointPlan::new(bridge.id)).unwrap();
        assert_eq!(again.ipv4.unwrap().to_string(), "10.9.0.2/30");
    });
}

#[test]
fn an_address_that_is_used_again_is_reached_at_once() {
    run(|lab| {
        let bridge = lab.bridge("hako0");
        lab.network.recover(Vec::new()).unwrap();
        for _ in 0..10 {
            let container = lab.container_now(&bridge);
            assert_eq!(container.ipv4().to_string(), "172.17.0.2");
            container.serve(80);
            let start = Instant::now();
            ask(at(container.ipv4(), 80), "x").unwrap();
            assert!(start.elapsed().as_millis() < 500, "a packet was lost: {:?}", start.elapsed());
            lab.network.endpoint_detach(&container.endpoint).unwrap();
            lab.network.sandbox_release(container.sandbox);
        }
    });
}

#[test]
fn subnets_of_the_host_and_of_other_daemons_are_avoided() {
    run(|lab| {
        lab.bridge("hako0");
        let other = lab::open("/var/lib/other");
        let plan = other.bridge("hako1");
        assert_eq!(plan.pools[0].subnet.to_string(), "172.18.0.0/16");
        let named = |subnet: &str| {
            let spec = hako_model::NetworkSpec { pools: vec![lab::pool(subnet)], ..lab::spec("x") };
            other.network.plan(hako_model::NetworkId::random(), &spec, None)
        };
        assert!(matches!(named("172.18.5.0/24"), Err(NetworkError::Overlap { .. })), "a network of its own");
        // Whoever names a subnet may have it inside what the host has a route for, as with Docker.
        assert!(named("172.17.5.0/24").is_ok());
        // And a bridge of the first is not the second's.
        let theirs = hako_network::BridgePlan { bridge: "hako0".into(), ..plan };
        assert!(matches!(other.network.bridge_up(&theirs), Err(NetworkError::BridgeForeign { .. })));
    });
}

#[test]
fn plugging_in_is_fast() {
    for ipv6 in [false, true] {
        run(|lab| plug_many(lab, ipv6));
    }
}

// Printed, not judged: a test does not fail because the machine is busy.
fn plug_many(lab: &Lab, ipv6: bool) {
    const MANY: usize = 60;
    let bridge = lab.bridge_with("hako0", |spec| spec.ipv6 = ipv6);
    lab.network.recover(Vec::new()).unwrap();
    let (mut times, mut containers) = (Vec::new(), Vec::new());
    for _ in 0..MANY {
        let ready = wait_for(lab::PATIENCE, || (lab.network.sandboxes_ready() == 2).then_some(()));
        ready.expect("the pool fills");
        let start = Instant::now();
        containers.push(lab.container_now(&bridge));
        times.push(start.elapsed());
    }
    times.sort();
    eprintln!("take and attach, IPv6 {ipv6}: p50 {:?}, p95 {:?}", times[MANY / 2], times[MANY * 95 / 100]);
    let start = Instant::now();
    for container in containers {
        lab.network.endpoint_detach(&container.endpoint).unwrap();
        lab.network.sandbox_release(container.sandbox);
    }
    let detached = start.elapsed();
    lab.network.settle();
    eprintln!("{MANY} detached in {detached:?}, gone in {:?}", start.elapsed());
}
