//! Advisories about networks and control sockets of container engines: each test is named after one and tries it.

use expect_test::expect;
use hako_testkit::{ADDRESS, needs, require};

/// Sends one router advertisement that offers a default route and a prefix, from `argv[1]` of the calling namespace.
const ADVERTISE: &str = r#"
import socket, struct, sys
link = sys.argv[1]
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(link))
prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xc0, 3600, 3600, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:bad::"))
s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix, ("ff02::1", 0, 0, socket.if_nametoindex(link)))
"#;

/// CVE-2020-13401: a container that announces itself as a router does not become the host's, nor its neighbours'.
#[test]
fn cve_2020_13401_router_advertisements_are_not_heard() {
    needs!(require::program("python3"));
    let host = own_host!("busybox");
    host.write("advertise.py", ADVERTISE);
    host.run("docker network create --ipv6 --subnet fd00:5::/64 -o com.docker.network.bridge.name=six0 six").success();
    host.run("docker run -d --name evil --network six busybox sleep 1000 && docker run -d --name good --network six busybox sleep 1000").success();
    let advertise = "nsenter -n -t $(docker inspect -f '{{.State.Pid}}' evil) python3 advertise.py eth0";
    let heard = || host.run("ip -6 address show dev six0; ip -6 route show dev six0").text().contains("2001:db8:bad");
    // Not before its link-local address is its own.
    host.wait_until("an advertisement to be sent", |host| host.run(advertise).text().is_empty(), |sent| *sent);
    host.run("docker exec good sh -c 'ping -c 2 -W 1 fd00:5::1; ip -6 address; ip -6 route'")
        .success()
        .says_not("2001:db8:bad");
    assert!(!heard());
    // The same reaches a host that listens: so it is not for want of a packet.
    host.run("echo 2 >/proc/sys/net/ipv6/conf/six0/accept_ra").success();
    host.wait_until(
        "an advertisement to be heard",
        |host| {
            host.run(advertise);
            heard()
        },
        |heard| *heard,
    );
}

/// CVE-2024-32473: a network without IPv6 has none, not even link-local addresses.
#[test]
fn cve_2024_32473_a_network_of_one_family_has_one() {
    let host = own_host!("busybox");
    host.run("docker network create -o com.docker.network.bridge.name=four0 four").success();
    host.run("docker run -d --name one --network four busybox sleep 1000").success();
    host.run("docker exec one ip -6 -o address show dev eth0; ip -6 -o address show dev four0; docker run --rm busybox ip -6 -o address show dev eth0").shows(expect![[""]]);
    // Nor do they come with a second network that has it.
    host.run("docker network create --ipv6 six && docker network connect six one && docker exec one ip -6 -o address show dev eth0").shows(expect![[r#"
        <id1>
    "#]]);
}

/// CVE-2025-54388 and CVE-2025-54410: whoever reloads the host's firewall opens neither what was published to loopback
/// alone nor what keeps networks apart.
#[test]
fn cve_2025_54388_a_reload_of_the_firewall_opens_nothing() {
    needs!(require::program("nft"));
    let host = own_host!("busybox");
    host.run("docker network create --subnet 10.77.0.0/24 red && docker network create blue").success();
    host.run("docker run -d --name web --network red -p 127.0.0.1:8080:80 -p 8081:80 busybox httpd -f -p 80 -h /etc")
        .success();
    host.run_elsewhere(&format!("ip route add 10.77.0.0/24 via {ADDRESS}")).success();
    for _ in 0..3 {
        host.run("nft flush ruleset").success();
        host.wait_until("the table", |host| host.run("nft list tables"), |shown| shown.text().contains("inet hako-"));
        host.run_elsewhere(&format!(
            "curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://{ADDRESS}:8081/group | grep -c ^root:"
        ))
        .says("1");
        host.run_elsewhere(&format!("curl -s -m 1 http://{ADDRESS}:8080/group")).code(7);
        host.run_elsewhere("curl -s -m 1 http://10.77.0.2/group").code(28);
        host.run("docker run --rm --network blue busybox nc -w 1 10.77.0.2 80").code(1);
    }
}

/// CVE-2021-20199: a client is seen with its own address, not as one of the container's own machine.
#[test]
fn cve_2021_20199_clients_keep_their_addresses() {
    let host = own_host!("busybox");
    host.run("docker run -d --name web -p 8080:80 busybox httpd -f -v -p 80 -h /etc").success();
    host.run_elsewhere(&format!(
        "curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://{ADDRESS}:8080/group"
    ))
    .success();
    host.wait_until(
        "the request to be logged",
        |host| host.run("docker logs web 2>&1"),
        |shown| shown.text().contains("198.51.100.2"),
    );
    host.run("docker logs web 2>&1").says_not("127.0.0.1");
}

/// moby#45610: who has a route to a container's own address reaches none of its ports by it, published or not.
#[test]
fn moby_45610_a_route_to_a_container_leads_nowhere() {
    let host = own_host!("busybox");
    host.run("docker network create --ipv6 --subnet 10.77.0.0/24 --subnet fd00:77::/64 red").success();
    host.run("docker run -d --network red -p 8080:80 busybox sh -c 'httpd -p 81 -h /etc; httpd -f -p 80 -h /etc'")
        .success();
    host.run_elsewhere(&format!(
        "ip route add 10.77.0.0/24 via {ADDRESS}; ip route add fd00:77::/64 via 2001:db8:5::1"
    ))
    .success();
    for place in [format!("{ADDRESS}:8080"), "[2001:db8:5::1]:8080".to_owned()] {
        host.run_elsewhere(&format!(
            "curl -s -g -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://{place}/group | grep -c ^root:"
        ))
        .says("1");
    }
    for place in ["10.77.0.2", "10.77.0.2:81", "[fd00:77::2]", "[fd00:77::2]:81"] {
        host.run_elsewhere(&format!("curl -s -g -m 1 http://{place}/group")).code(28);
    }
}

/// CVE-2020-15257 and CVE-2025-9074: a container on the host's network finds no socket to command the engine by.
#[test]
fn cve_2020_15257_nothing_of_the_engine_is_in_the_network() {
    let host = own_host!("busybox");
    // State 0A is LISTEN; names that begin with @ are abstract, reachable from wherever the namespace is.
    host.run("docker run --rm --network host busybox sh -c \"awk '\\$4 == \\\"0A\\\"' /proc/net/tcp /proc/net/tcp6; awk '\\$8 ~ /^@/' /proc/net/unix\"")
        .shows(expect![[""]]);
    host.run("docker run --rm busybox sh -c 'for port in 2375 2376; do nc -w 1 $(ip route | awk \"/default/{print \\$3}\") $port </dev/null 2>/dev/null && echo open; done; true'")
        .shows(expect![[""]]);
}
