//! Networks whose containers stand on a link of the host (macvlan, ipvlan), and networks that are settings alone.

use expect_test::expect;

/// The network of the machine's uplink, as an administrator would hand a part of it to containers.
const LAN: &str = "--subnet 198.51.100.0/24 --ip-range 198.51.100.64/28 --gateway 198.51.100.2 -o parent=uplink";

#[test]
fn containers_are_neighbours_of_the_other_machine() {
    let mut host = own_host!("busybox");
    host.run(&format!("docker network create -d macvlan {LAN} lan")).success();
    host.run("docker run -d --name web --network lan -p 8080:80 busybox httpd -f -p 80 -h /etc").success();
    host.run("docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}} {{.MacAddress}}{{end}} {{json .NetworkSettings.Ports}}' web").shows(expect![[r#"
        198.51.100.64 198.51.100.2 02:42:c6:33:64:40 {"80/tcp":null}
    "#]]);
    host.run(
        "docker exec web ip -o -4 address show eth0 | grep -c '198.51.100.64/24' && docker exec web ip route | head -1",
    )
    .shows(expect![[r#"
        1
        default via 198.51.100.2 dev eth0
    "#]]);
    // Nothing of ours is in between: the other machine reaches every port.
    host.run_elsewhere(
        "curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://198.51.100.64/group | grep -c ^root:",
    )
    .says("1");
    host.run("docker exec web ping -c 1 -W 3 198.51.100.2").success();
    // Siblings find each other, by name too.
    host.run("docker run --rm --network lan busybox wget -q -O - http://web/group | grep -c ^root:").says("1");
    // Its addresses are known after a death of the daemon, and free after its own.
    host.daemon_kill();
    host.daemon_start();
    host.run("docker run --rm --network lan busybox ip -o -4 address show eth0 | grep -o 198.51.100.65").success();
    host.run(
        "docker rm -f web && docker run --rm --network lan busybox ip -o -4 address show eth0 | grep -o 198.51.100.64",
    )
    .success();
    host.run("docker network rm lan && ip link show uplink | grep -c uplink").says("1");
}

#[test]
fn a_stacked_network_is_joined_and_left_while_running() {
    let host = own_host!("busybox");
    host.run(&format!(
        "docker network create -d macvlan -o macvlan_mode=private {LAN} lan && docker network create red"
    ))
    .success();
    host.run("docker run -d --name web -p 8080:80 --network red busybox httpd -f -p 80 -h /etc").success();
    host.run("docker network connect --ip 198.51.100.70 --gw-priority 1 lan web").success();
    host.run("docker exec web ip route | head -1; docker port web").shows(expect![[r#"
        default via 198.51.100.2 dev eth1
    "#]]);
    host.run_elsewhere(
        "curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://198.51.100.70/group | grep -c ^root:",
    )
    .says("1");
    host.run("docker network disconnect lan web && docker exec web ip -o link | grep -c eth1; docker port web").shows(
        expect![[r#"
        0
        80/tcp -> 0.0.0.0:8080
        80/tcp -> [::]:8080
    "#]],
    );
    host.run("docker network connect lan web && docker restart -t 0 web && docker exec web ip -o link | grep -c eth1")
        .says("1");
}

#[test]
fn parents_and_modes_that_make_no_sense_are_refused_in_dockers_words() {
    let host = own_host!("busybox");
    for (options, says) in [
        ("-d macvlan -o parent=nosuch", "invalid subinterface vlan name nosuch, example formatting is eth0.10"),
        ("-d macvlan -o parent=nosuch.10", "-o parent interface was not found on the host: nosuch"),
        ("-d macvlan -o parent=uplink.5000", "vlan id must be between 1-4094, received: uplink.5000"),
        ("-d macvlan -o parent=lo", "loopback interface is not a valid macvlan parent link"),
        (
            "-d macvlan -o macvlan_mode=xx -o parent=uplink",
            "requested macvlan mode 'xx' is not valid, 'bridge' mode is the macvlan driver default",
        ),
        (
            "-d ipvlan -o ipvlan_mode=xx -o parent=uplink",
            "requested ipvlan mode 'xx' is not valid, 'l2' mode is the ipvlan driver default",
        ),
        (
            "-d ipvlan -o ipvlan_flag=xx -o parent=uplink",
            "requested ipvlan flag 'xx' is not valid, 'bridge' is the ipvlan driver default",
        ),
    ] {
        host.run(&format!("docker network create {options} bad")).code(1).says(says);
    }
    // One that wants the parent for itself does not get a shared one.
    host.run(&format!("docker network create -d macvlan {LAN} lan")).success();
    host.run("docker network create -d macvlan -o parent=uplink -o macvlan_mode=passthru bad")
        .code(1)
        .says("parent interface uplink is used by network lan");
    host.run("docker network ls -q -f name=bad").shows(expect![[""]]);
}

#[test]
fn kinds_of_links_that_the_kernel_has_not_are_named() {
    let host = own_host!("busybox");
    let known = |kind: &str| {
        let probe = format!(
            "unshare -n sh -c 'ip link add a type veth peer name b && ip link add link a name c type {kind}' 2>/dev/null; echo $?"
        );
        host.run(&probe).text() == "0"
    };
    let option = |works: bool, driver: &str, kind: &str, options: &str| {
        let shown = host.run(&format!("docker network create -d {driver} {options} net-{kind}"));
        if works {
            shown.success();
        } else {
            shown.code(1).says(&format!("the kernel has no {kind} links (CONFIG_{})", kind.to_uppercase()));
        }
    };
    option(known("ipvlan"), "ipvlan", "ipvlan", "-o parent=uplink");
    option(known("vlan id 7"), "macvlan", "vlan", "-o parent=uplink.7");
    if known("vlan id 7") {
        host.run("ip -d link show uplink.7 | grep -o 'vlan protocol 802.1Q id 7'").success();
        host.run("docker network rm net-vlan && ip link show uplink.7").code(1);
    }
}

#[test]
fn settings_alone_are_a_network_for_others() {
    let host = own_host!("busybox");
    host.run("docker network create --config-only --subnet 10.77.0.0/24 -o com.docker.network.driver.mtu=1400 --label a=b base").success();
    host.run("docker network inspect -f '{{.Driver}} {{.ConfigOnly}} {{json .IPAM.Config}} {{json .Options}}' base")
        .shows(expect![[r#"
        null true [{"Subnet":"10.77.0.0/24"}] {"com.docker.network.driver.mtu":"1400"}
    "#]]);
    host.run("docker run --rm --network base busybox true")
        .code(125)
        .says("cannot create endpoint on configuration-only network");
    host.run("docker network create --config-from base --attachable real && docker network inspect -f '{{.Driver}} {{.ConfigFrom.Network}} {{json .Labels}}' real")
        .shows(expect![[r#"
            <id1>
            bridge base {"a":"b"}
        "#]]);
    host.run("docker run --rm --network real busybox sh -c 'cat /sys/class/net/eth0/mtu; ip -o -4 address show eth0 | grep -o 10.77.0.2/24'").shows(expect![[r#"
        1400
        10.77.0.2/24
    "#]]);
    for (options, says) in [
        (
            "--config-from base --subnet 10.78.0.0/24",
            "user specified configurations are not supported if the network depends on a configuration network",
        ),
        (
            "--config-from base --label c=d",
            "user specified configurations are not supported if the network depends on a configuration network",
        ),
        ("--config-from nosuch", "configuration network \"nosuch\" does not exist"),
        ("--config-from real", "configuration network \"real\" does not exist"),
        ("--config-only --config-from base", "a configuration network cannot depend on another configuration network"),
        ("--config-only --internal", "configuration network can only contain network specific fields"),
    ] {
        host.run(&format!("docker network create {options} bad")).code(1).says(says);
    }
    host.run("docker network rm base").code(1).says("configuration network \"base\" is in use");
    host.run("docker network prune -f; docker network rm base").shows(expect![[r#"
        Deleted Networks:
        real

        base
    "#]]);
}
