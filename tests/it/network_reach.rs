//! Who reaches whom: bridges are apart from each other, by both families, and internal ones from everything.

use expect_test::expect;
use hako_testkit::{Host, Options};

// A server on port 80 of both families, and the addresses it has.
fn server(host: &Host, name: &str, flags: &str) -> (String, String) {
    host.run(&format!("docker run -d --name {name} {flags} busybox httpd -f -p 80 -h /etc")).success();
    let of = |field: &str| {
        host.run(&format!(
            "docker inspect --format '{{{{range .NetworkSettings.Networks}}}}{{{{.{field}}}}}{{{{end}}}}' {name}"
        ))
        .text()
        .to_owned()
    };
    let addresses = (of("IPAddress"), of("GlobalIPv6Address"));
    host.wait_until(
        "the server",
        |host| host.run(&format!("curl -s -m 2 http://{}/group", addresses.0)),
        |shown| shown.text().contains("root"),
    );
    addresses
}

fn reaches(host: &Host, flags: &str, address: &str) -> bool {
    let line = format!(
        "docker run --rm {flags} busybox sh -c \"printf 'GET /group HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80\""
    );
    host.run(&line).text().contains("root")
}

#[test]
fn networks_are_apart_by_both_families() {
    let host = own_host!("busybox");
    host.run("docker network create --ipv6 red && docker network create --ipv6 blue").success();
    let (four, six) = server(&host, "web", "--network red");
    assert!(!four.is_empty() && six.starts_with("fd"), "{four} {six}");
    for address in [&four, &six] {
        assert!(reaches(&host, "--network red", address), "{address} from its own network");
        assert!(!reaches(&host, "--network blue", address), "{address} from another network");
        assert!(!reaches(&host, "--network bridge", address), "{address} from the default bridge");
    }
    assert!(reaches(&host, "--network host", &four) && reaches(&host, "--network host", &six));
    // A neighbour that has a route here.
    host.run_elsewhere(&format!("ip route add {four}/32 via 198.51.100.1")).success();
    host.run_elsewhere(&format!("curl -s -m 2 http://{four}/group")).code(28);
}

#[test]
fn an_internal_network_is_apart_from_everything() {
    let host = own_host!("busybox", "probe");
    host.run("docker network create --internal back && docker network create front").success();
    let (address, _) = server(&host, "db", "--network back");
    assert!(reaches(&host, "--network back", &address));
    assert!(!reaches(&host, "--network front", &address));
    assert!(reaches(&host, "--network front --network back", &address), "whoever is in both reaches it");
    let outside = host.spawn("exec nsenter --net=/run/netns/other probe tcp 198.51.100.2:7000 you");
    outside.wait_for("listening");
    host.run("docker run --rm --network back busybox sh -c 'echo | nc -w 2 198.51.100.2 7000'").says_not("you from");
    host.run("docker run --rm --network front busybox sh -c 'echo | nc -w 5 198.51.100.2 7000'").says("you from");
    // Nothing is published there.
    host.run("docker run -d --name web --network back -p 8080:80 busybox httpd -f -h /etc && docker port web").shows(
        expect![[r#"
        <id1>
    "#]],
    );
}

#[test]
fn containers_of_a_silent_network_do_not_reach_each_other() {
    let host = own_host!("busybox");
    host.run("docker network create -o com.docker.network.bridge.enable_icc=false quiet").success();
    let (address, _) = server(&host, "web", "--network quiet");
    assert!(!reaches(&host, "--network quiet", &address));
    assert!(reaches(&host, "--network host", &address));
}

#[test]
fn bridge_options_are_heeded() {
    let host = own_host!("busybox");
    host.run("docker network create -o com.docker.network.bridge.name=mine0 -o com.docker.network.driver.mtu=1400 -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 mine").success();
    host.run("cat /sys/class/net/mine0/mtu; docker run --rm --network mine busybox cat /sys/class/net/eth0/mtu").shows(
        expect![[r#"
        1400
        1400
    "#]],
    );
    host.run("docker run -d --name web --network mine -p 8080:80 busybox sleep 1000 && docker port web").shows(
        expect![[r#"
        <id1>
        80/tcp -> 127.0.0.1:8080
    "#]],
    );
    host.run("docker network create -o com.docker.network.bridge.name=mine0 other")
        .code(1)
        .says("networks have same bridge name");
    host.run("docker rm -f web && docker network rm mine && test ! -e /sys/class/net/mine0").success();
}

#[test]
fn subnets_avoid_what_the_host_has_a_route_for() {
    let host = own_host!("busybox");
    host.run("ip route add 172.18.0.0/15 dev uplink && docker network create one && docker network create two")
        .success();
    host.run("docker network inspect --format '{{range .IPAM.Config}}{{.Subnet}}{{end}}' one two").shows(expect![[
        r#"
        172.20.0.0/16
        172.21.0.0/16
    "#
    ]]);
    // Whoever names a subnet knows the host.
    host.run("docker network create --subnet 172.18.5.0/24 three").success();
}

#[test]
fn the_daemon_is_told_where_subnets_come_from() {
    hako_testkit::needs!(hako_testkit::require::own_daemon());
    hako_testkit::needs!(hako_testkit::require::root());
    hako_testkit::needs!(hako_testkit::require::image("busybox"));
    let flags = vec!["--default-address-pool", "base=10.99.0.0/24,size=28", "--bip", "10.98.0.1/24"];
    let host = Host::with(&Options { flags, ..Options::default() });
    host.run("for n in $(seq 16); do docker network create n$n; done >/dev/null; docker network inspect --format '{{range .IPAM.Config}}{{.Subnet}}{{end}}' n1 n16").shows(expect![[r#"
        10.99.0.0/28
        10.99.0.240/28
    "#]]);
    host.run("docker network create n17").code(1).says("all predefined address pools have been fully subnetted");
    // Thirteen containers fit into each.
    host.run("for n in $(seq 13); do docker run -d --network n1 busybox sleep 1000 || exit 1; done >/dev/null")
        .success();
    host.run("docker run --rm --network n1 busybox true")
        .code(125)
        .says("no available IPv4 addresses on this network's address pools: n1");
}

#[test]
fn hundreds_of_networks_fit() {
    let host = own_host!("busybox");
    host.run("for n in $(seq 200); do docker network create n$n >/dev/null || exit 1; done").success();
    host.run("docker network ls -q | wc -l; docker run --rm --network n200 busybox sh -c \"ip -o -4 address show eth0 | awk '{print \\$4}'\"").shows(expect![[r#"
        203
        10.208.169.2/24
    "#]]);
    host.run("docker network prune -f | wc -l").shows(expect![[r#"
        202
    "#]]);
}

#[test]
fn links_in_containers_are_named_addressed_and_switched_as_asked() {
    let host = own_host!("busybox");
    host.run("docker network create -o com.docker.network.container_iface_prefix=lan --subnet 10.77.0.0/24 red")
        .success();
    host.run("docker run --rm --network red --link-local-ip 169.254.1.9 busybox sh -c \"ip -o -4 address | awk '{print \\$2, \\$4}'\"")
        .shows(expect![[r#"
            lo 127.0.0.1/8
            lan0 10.77.0.2/24
            lan0 169.254.1.9/16
        "#]]);
    let option = "driver-opt=com.docker.network.endpoint";
    host.run(&format!("docker run --rm --network name=red,{option}.ifname=wan,{option}.sysctls=net.ipv4.conf.IFNAME.log_martians=1 busybox cat /proc/sys/net/ipv4/conf/wan/log_martians"))
        .shows(expect![[r#"
            1
        "#]]);
    host.run(&format!("docker run --rm --network name=red,{option}.sysctls=kernel.shmmax=1 busybox true"))
        .code(125)
        .says("cannot set sysctl kernel.shmmax for an endpoint");
}

#[test]
fn gateway_modes_open_and_close() {
    let host = own_host!("busybox");
    let mode = "-o com.docker.network.bridge.gateway_mode_ipv4";
    host.run(&format!("docker network create {mode}=nat-unprotected open")).success();
    let (address, _) = server(&host, "web", "--network open");
    host.run_elsewhere(&format!("ip route add {address}/32 via 198.51.100.1")).success();
    host.run_elsewhere(&format!("curl -s -m 5 http://{address}/group | grep -c root")).success();
    host.run("docker network create -o com.docker.network.bridge.trusted_host_interfaces=uplink trusting").success();
    let (address, _) = server(&host, "db", "--network trusting");
    host.run_elsewhere(&format!("ip route add {address}/32 via 198.51.100.1")).success();
    host.run_elsewhere(&format!("curl -s -m 5 http://{address}/group | grep -c root")).success();

    host.run(&format!("docker network create {mode}=isolated alone"))
        .code(1)
        .says("can only be used for an internal network");
    host.run(&format!("docker network create {mode}=isolated --internal --subnet 10.77.0.0/24 -o com.docker.network.bridge.name=alone0 alone && ip -o -4 address show alone0")).shows(expect![[r#"
        <id1>
    "#]]);
    host.run("docker run -d --name one --network alone busybox sleep 1000 && docker run --rm --network alone busybox ping -c 1 -W 3 10.77.0.2 | grep -o '1 packets received'").success();
}

#[test]
fn a_routed_network_opens_published_ports_at_their_own_addresses() {
    let mut host = own_host!("busybox");
    let mode = "-o com.docker.network.bridge.gateway_mode_ipv4=routed";
    host.run(&format!("docker network create {mode} --subnet 10.77.0.0/24 far && docker network create near"))
        .success();
    host.run(
        "docker run -d --name web --network far -p 8080:80 busybox sh -c 'httpd -p 81 -h /etc; httpd -f -p 80 -h /etc'",
    )
    .success();
    host.run_elsewhere("ip route add 10.77.0.0/24 via 198.51.100.1").success();
    let check = |host: &Host| {
        host.run_elsewhere(
            "curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://10.77.0.2/group | grep -c ^root:",
        )
        .says("1");
        host.run_elsewhere("busybox ping -c 1 -W 3 10.77.0.2").success();
        host.run_elsewhere("curl -s -m 1 http://10.77.0.2:81/group").code(28);
        // The host has no port for it, and the other machine sees the container's own address.
        host.run_elsewhere("curl -s -m 2 http://198.51.100.1:8080/group").code(7);
        host.run("docker exec web ping -c 1 -W 3 198.51.100.2").success();
        // Other networks of this host are outside too.
        host.run("docker run --rm --network near busybox sh -c 'echo | nc -w 3 10.77.0.2 80'").success();
        host.run("docker run --rm --network near busybox nc -w 1 10.77.0.2 81").code(1);
    };
    check(&host);
    host.daemon_kill();
    host.daemon_start();
    check(&host);
    host.run("docker rm -f web && docker run -d --name other --network far busybox httpd -f -p 80 -h /etc").success();
    host.run_elsewhere("curl -s -m 1 http://10.77.0.2/group").code(28);
}
