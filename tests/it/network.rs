//! The default bridge, the host's network, none, and another container's.

use expect_test::expect;
use hako_testkit::ADDRESS;

#[test]
fn an_id_is_never_anothers_name() {
    let host = own_host!();
    host.run("docker network create first > id").success();
    host.run("docker network create $(cat id) && docker network rm $(cat id)").success();
    host.run("docker network inspect first").code(1);
    host.run("docker network ls -q --filter name=$(cat id) | wc -l").shows(expect![[r#"
        1
    "#]]);
}

#[test]
fn each_container_has_an_address_on_the_bridge() {
    let host = host!();
    host.run("docker run -d --name one busybox sleep 100 && docker run -d --name two busybox sleep 100").success();
    host.run("docker exec one ip -o -4 address | awk '{print $2, $4}' | sed 's/[0-9.]*[.][0-9]*\\/16/ADDRESS/'").shows(
        expect![[r#"
            lo 127.0.0.1/8
            eth0 ADDRESS
        "#]],
    );
    let two = host.run("docker inspect --format '{{.NetworkSettings.IPAddress}}' two").text().to_owned();
    host.run(&format!("docker exec one ping -c 1 -W 3 {two} | grep -o '1 packets received'")).shows(expect![[r#"
        1 packets received
    "#]]);
    host.run("docker exec one ip route | awk '/default/{print $1, $2, $4, $5}'").shows(expect![[r#"
        default via dev eth0
    "#]]);
    host.run("docker inspect --format '{{range $name, $x := .NetworkSettings.Networks}}{{$name}} {{$x.IPPrefixLen}}{{end}}' one").shows(expect![[r#"
        bridge 16
    "#]]);
}

#[test]
fn packets_leave_with_the_machines_address() {
    let host = own_host!("busybox", "probe");
    let server = host.spawn("exec nsenter --net=/run/netns/other probe tcp 198.51.100.2:7000 you");
    server.wait_for("listening");
    host.run("docker run --rm busybox sh -c 'echo | nc -w 5 198.51.100.2 7000'")
        .success()
        .says(&format!("you from {ADDRESS}"));
}

#[test]
fn none_has_loopback_only() {
    let host = host!();
    host.run("docker run --rm --network none busybox sh -c 'ls /sys/class/net; ip -o -4 address | awk \"{print \\$2, \\$4}\"'").shows(expect![[r#"
        lo
        lo 127.0.0.1/8
    "#]]);
}

#[test]
fn host_is_the_machines_own() {
    let host = own_host!("busybox");
    host.run(
        "docker run --rm --network host busybox sh -c 'hostname; ip -o -4 address show uplink | awk \"{print \\$4}\"'",
    )
    .shows(expect![[r#"
        here
        198.51.100.1/24
    "#]]);
    host.run("docker run -d --name web --network host busybox httpd -f -p 7777 -h /etc").success();
    host.wait_until(
        "the server",
        |host| host.run("curl -s -m 2 127.0.0.1:7777/group"),
        |shown| shown.text().contains("root"),
    );
}

#[test]
fn a_container_joins_anothers_network() {
    let host = host!();
    host.run("docker run -d --name web --hostname box busybox sleep 100").success();
    let address = |flags: &str| host.run(&format!("docker {flags} ip -o -4 address show eth0")).text().to_owned();
    let first = address("exec web");
    assert!(!first.is_empty());
    assert_eq!(address("run --rm --network container:web busybox"), first);
    host.run("docker run --rm --network container:web busybox hostname").shows(expect![[r#"
        box
    "#]]);
    host.run("docker run --rm --network container:web -p 1:1 busybox true")
        .code(125)
        .says("conflicting options: port publishing and the container type network mode");
    host.run("docker run --rm --network container:nosuch busybox true").code(125).says("No such container: nosuch");
}

#[test]
fn a_network_that_is_missing_is_named() {
    let host = host!();
    host.run("docker run --name web --network nosuch busybox true").code(125).says("network nosuch not found");
}

#[test]
fn addresses_come_back() {
    let host = own_host!("busybox");
    let address =
        || host.run("docker run --rm busybox ip -o -4 address show eth0 | awk '{print $4}'").text().to_owned();
    let first = address();
    assert!(first.starts_with("172."), "{first}");
    for _ in 0..5 {
        assert!(address().starts_with("172."));
    }
    host.wait_until(
        "every link to be gone",
        |host| host.run("ls /sys/class/net | grep -c veth"),
        |shown| shown.text().parse::<u32>().is_ok_and(|count| count <= 16),
    );
}

#[test]
fn the_three_networks_are_listed_and_inspected() {
    let host = host!();
    host.run("docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}}'").shows(expect![[r#"
        bridge bridge local
        host host local
        none null local
    "#]]);
    host.run("docker network inspect --format '{{.Name}} {{.Driver}} {{.Internal}} {{len .IPAM.Config}}' bridge")
        .shows(expect![[r#"
            bridge bridge false 1
        "#]]);
    host.run("docker run -d --name web busybox sleep 100").success();
    host.run("docker network inspect --format '{{range .Containers}}{{.Name}}{{end}}' bridge").shows(expect![[r#"
        web
    "#]]);
    host.run("docker network inspect nosuch").code(1).says("network nosuch not found");
}
