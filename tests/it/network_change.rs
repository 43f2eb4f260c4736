//! Networks that a person makes: create, ls, inspect, rm, prune, and what is refused.

use expect_test::expect;
use hako_testkit::{needs, require};

#[test]
fn a_network_is_made_used_and_removed() {
    let host = host!();
    let id = host.run("docker network create --label tier=front front").text().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    host.run("docker network inspect --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.EnableIPv6}} {{.Labels}} {{len .IPAM.Config}}' front")
        .shows(expect![[r#"
            front bridge local false false map[tier:front] 1
        "#]]);
    // By the beginning of its id as well.
    host.run(&format!("docker run -d --name web --network {} busybox sleep 1000", &id[..12])).success();
    let joined = host.run(
        "docker inspect --format '{{range $name, $it := .NetworkSettings.Networks}}{{$name}} {{$it.NetworkID}}{{end}}' web",
    );
    assert_eq!(joined.text(), format!("front {id}"));
    host.run("docker network inspect --format '{{range .Containers}}{{.Name}}{{end}}' front").shows(expect![[r#"
        web
    "#]]);
    host.run("docker network rm front").code(1).says("network front").says("has active endpoints");
    host.run("docker rm -f web").success();
    host.run("docker network rm front && docker network ls --format '{{.Name}}'").shows(expect![[r#"
        front
        bridge
        host
        none
    "#]]);
    host.run("docker network inspect front").code(1).says("network front not found");
}

#[test]
fn what_cannot_be_made_is_refused_in_dockers_words() {
    let host = host!();
    host.run("docker network create front").success();
    for (line, says) in [
        ("create front", "network with name front already exists"),
        ("create bridge", "operation is not permitted on predefined bridge network"),
        ("create none", "operation is not permitted on predefined none network"),
        ("create -d host other", "only one instance of \"host\" network is allowed"),
        ("create -d nosuch other", "plugin \"nosuch\" not found"),
        ("create -d overlay other", "This node is not a swarm manager"),
        ("create --scope swarm other", "cannot create a swarm scoped network when swarm is not active"),
        ("create --subnet 10.1.2.3/16 other", "invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16"),
        ("create --subnet 10.1.0.0/33 other", "invalid subnet 10.1.0.0/33: invalid CIDR block notation"),
        ("create --subnet 10.7.0.0/24 --gateway 10.8.0.1 other", "no matching subnet for gateway 10.8.0.1"),
        ("create -o com.docker.network.bridge.enable_icc=x other", "com.docker.network.bridge.enable_icc"),
        ("rm bridge", "bridge is a pre-defined network and cannot be removed"),
        ("rm nosuch", "network nosuch not found"),
        ("ls --filter nosuch=1", "invalid filter 'nosuch'"),
        ("ls --filter type=x", "invalid filter: 'type'='x'"),
        ("prune -f --filter nosuch=1", "invalid filter 'nosuch'"),
    ] {
        host.run(&format!("docker network {line}")).code(1).says(says);
    }
    host.run("docker network ls -q | wc -l").shows(expect![[r#"
        4
    "#]]);
}

#[test]
fn subnets_that_overlap_are_refused() {
    let host = host!();
    host.run("docker network create --subnet 10.77.0.0/24 one").success();
    host.run("docker network create --subnet 10.77.0.128/25 two")
        .code(1)
        .says("Pool overlaps with other one on this address space");
}

#[test]
fn subnet_range_gateway_and_kept_addresses_are_as_asked() {
    let host = host!();
    host.run("docker network create --subnet 10.77.0.0/24 --ip-range 10.77.0.128/25 --gateway 10.77.0.254 --aux-address printer=10.77.0.128 lan").success();
    // A command line says that it has no options; nobody has asked for the bridge.
    host.run("docker network inspect --format '{{json .IPAM.Options}}' lan bridge").shows(expect![[r#"
        {}
        null
    "#]]);
    host.run("docker network inspect --format '{{json .IPAM.Config}}' lan").shows(expect![[r#"
        [{"Subnet":"10.77.0.0/24","IPRange":"10.77.0.128/25","Gateway":"10.77.0.254","AuxiliaryAddresses":{"printer":"10.77.0.128"}}]
    "#]]);
    host.run("docker run --rm --network lan busybox sh -c \"ip -o -4 address show eth0 | awk '{print \\$4}'; ip route | awk '/default/{print \\$3}'\"")
        .shows(expect![[r#"
            10.77.0.129/24
            10.77.0.254
        "#]]);
    host.run("docker run --rm --network lan --ip 10.77.0.5 busybox sh -c \"ip -o -4 address show eth0 | awk '{print \\$4}'\"")
        .shows(expect![[r#"
            10.77.0.5/24
        "#]]);
    host.run("docker run --rm --network lan --ip 10.78.0.5 busybox true")
        .code(125)
        .says("no configured subnet contains IP address 10.78.0.5");
    host.run("docker run -d --name web --network lan --ip 10.77.0.5 busybox sleep 1000").success();
    host.run("docker run --rm --network lan --ip 10.77.0.5 busybox true").code(125).says("Address already in use");
    host.run("docker run --rm --ip 172.17.0.77 busybox true")
        .code(125)
        .says("user specified IP address is supported on user defined networks only");
}

#[test]
fn filters_choose_networks() {
    let host = host!();
    host.run("docker network create --label a=1 red && docker network create --label a=2 blue").success();
    host.run("docker run -d --name web --network red busybox sleep 1000").success();
    for (filter, expected) in [
        ("name=r", "bridge red"),
        ("label=a", "blue red"),
        ("label=a=2", "blue"),
        ("driver=bridge", "blue bridge red"),
        ("type=custom", "blue red"),
        ("type=builtin", "bridge host none"),
        ("scope=local", "blue bridge host none red"),
        ("scope=swarm", ""),
        ("dangling=true", "blue"),
    ] {
        let shown =
            host.run(&format!("docker network ls --format '{{{{.Name}}}}' --filter {filter} | paste -s -d' ' -"));
        assert_eq!(shown.text(), expected, "{filter}");
    }
}

#[test]
fn prune_takes_what_no_container_wants() {
    let host = host!();
    host.run("docker network create red && docker network create --label keep blue && docker network create green")
        .success();
    // One that is stopped may be started again.
    host.run("docker create --name web --network green busybox true").success();
    host.run("docker network prune -f --filter label!=keep").shows(expect![[r#"
        Deleted Networks:
        red

    "#]]);
    host.run("docker network ls --format '{{.Name}}' --filter type=custom").shows(expect![[r#"
        blue
        green
    "#]]);
    host.run("docker rm web && docker network prune -f --filter until=1h && docker network prune -f | sort").shows(
        expect![[r#"
        web

        Deleted Networks:
        blue
        green
    "#]],
    );
}

#[test]
fn watchers_are_told() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker network create red && docker run --rm --network red busybox true && docker network rm red")
        .success();
    host.run(&format!(
        "docker events --since {since} --until \"$(date +%s.%N)\" --filter type=network --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}} {{{{.Actor.Attributes.type}}}}'"
    ))
    .shows(expect![[r#"
        create red bridge
        connect red bridge
        disconnect red bridge
        destroy red bridge
    "#]]);
}

#[test]
fn networks_and_those_in_them_outlive_the_daemon() {
    let mut host = own_host!();
    host.run("docker network create --subnet 10.77.0.0/24 red && docker network create blue").success();
    host.run("docker run -d --name one --network red --network blue busybox sleep 1000").success();
    host.run("docker run -d --name two --network red --restart always busybox sleep 1000").success();
    let places = |host: &hako_testkit::Host| {
        host.run("docker network inspect red blue && docker exec one ip -o -4 address && docker inspect --format '{{json .NetworkSettings.Networks}}' one two")
            .text()
            .to_owned()
    };
    let before = places(&host);
    host.daemon_kill();
    host.daemon_start();
    assert_eq!(places(&host), before);
    host.run("docker network rm red").code(1).says("has active endpoints");
    // Addresses in use are not given again, and both still talk.
    host.run("docker run -d --name three --network red busybox sleep 1000").success();
    let three =
        host.run("docker inspect --format '{{.NetworkSettings.Networks.red.IPAddress}}' three").text().to_owned();
    assert_eq!(three, "10.77.0.4");
    host.run("docker exec two ping -c 1 -W 3 10.77.0.2 | grep -o '1 packets received'").success();
    host.run(&format!("docker exec one ping -c 1 -W 3 {three} | grep -o '1 packets received'")).success();
    host.run("docker rm -f one two three && docker network rm red blue").success();
}

#[test]
fn options_and_the_daemons_defaults_say_which_families_a_network_has() {
    let host = own_host!();
    let daemon = host.second_daemon(
        "second",
        &[
            "--default-network-opt=bridge=com.docker.network.enable_ipv6=true",
            "--default-network-opt=bridge=com.docker.network.driver.mtu=1334",
        ],
    );
    let own = format!("docker -H {}", daemon.address());
    let shown = |docker: &str, name: &str| {
        let format = "{{.EnableIPv6}} {{index .Options \"com.docker.network.enable_ipv6\"}} {{index .Options \"com.docker.network.driver.mtu\"}} {{len .IPAM.Config}}";
        host.run(&format!("{docker} network inspect --format '{format}' {name}")).text().to_owned()
    };
    host.run(
        "docker network create -o com.docker.network.enable_ipv6=true -o com.docker.network.enable_ipv4=false six",
    )
    .success();
    assert_eq!(shown("docker", "six"), "true true  1");
    host.run("docker network create --ipv6 -o com.docker.network.driver.mtu=1279 low").code(1).says("IPv6 needs 1280");
    host.run("docker network create -o com.docker.network.enable_ipv6=maybe odd")
        .code(1)
        .says("neither true nor false");
    // What is named for the network counts, and the default is not shown then.
    host.run(&format!("{own} network create usual && {own} network create --ipv6=false four")).success();
    assert_eq!((shown(&own, "usual"), shown(&own, "four")), ("true true 1334 2".into(), "false  1334 1".into()));
    // So does what a configuration says.
    host.run(&format!("{own} network create --config-only -o com.docker.network.driver.mtu=1333 base")).success();
    host.run(&format!("{own} network create --config-from base real")).success();
    assert_eq!(shown(&own, "real"), "false  1333 1");
}

#[test]
fn a_subnet_of_two_addresses_has_two_containers_where_the_bridge_needs_none() {
    let host = own_host!("busybox");
    for option in ["inhibit_ipv4=true", "gateway_mode_ipv4=isolated"] {
        host.run(&format!(
            "docker network create --internal --subnet 10.77.0.0/31 -o com.docker.network.bridge.{option} pair"
        ))
        .success();
        host.run("docker run -d --name one --network pair busybox sleep 1000").success();
        host.run("docker run --rm --network pair busybox ping -c 1 -W 3 one | grep -o '1 packets received'").shows(
            expect![[r#"
                1 packets received
            "#]],
        );
        host.run("docker rm -f one && docker network rm pair").success();
    }
}
