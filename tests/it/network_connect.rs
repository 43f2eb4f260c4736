//! Several networks per container, and joining and leaving them while the container is there.

use expect_test::expect;

// Interfaces with addresses and the default route, as a container sees them.
const LOOK: &str =
    "sh -c \"ip -o -4 address | awk '{print \\$2, \\$4}'; ip route | awk '/default/{print \\$1, \\$3, \\$5}'\"";

#[test]
fn a_running_container_joins_and_leaves() {
    let host = host!();
    host.run("docker network create --subnet 10.77.0.0/24 red && docker network create --subnet 10.78.0.0/24 blue")
        .success();
    host.run("docker run -d --name web --network red busybox sleep 1000").success();
    host.run("docker run -d --name db --network blue busybox sleep 1000").success();
    host.run("docker network connect --alias www blue web").success();
    host.run(&format!("docker exec web {LOOK}")).shows(expect![[r#"
        lo 127.0.0.1/8
        eth0 10.77.0.2/24
        eth1 10.78.0.3/24
        default 10.78.0.1 eth1
    "#]]);
    host.run("docker exec web ping -c 1 -W 3 10.78.0.2 | grep -o '1 packets received'").success();
    host.run("docker exec web grep -c '^10[.]7[78][.]0[.][23]' /etc/hosts").shows(expect![[r#"
        2
    "#]]);
    host.run("docker inspect --format '{{json .NetworkSettings.Networks.blue.Aliases}}' web").shows(expect![[r#"
        ["www"]
    "#]]);
    host.run("docker network connect blue web").code(1).says("endpoint with name web already exists in network blue");
    host.run("docker network disconnect blue web").success();
    host.run(&format!("docker exec web {LOOK}")).shows(expect![[r#"
        lo 127.0.0.1/8
        eth0 10.77.0.2/24
        default 10.77.0.1 eth0
    "#]]);
    host.run("docker exec web grep -c '^10[.]' /etc/hosts").shows(expect![[r#"
        1
    "#]]);
    host.run("docker network disconnect blue web").code(1).says("is not connected to network blue");
    // Out of its last network, and in again.
    host.run("docker network disconnect red web && docker network connect --ip 10.77.0.9 red web").success();
    host.run(&format!("docker exec web {LOOK}")).shows(expect![[r#"
        lo 127.0.0.1/8
        eth0 10.77.0.9/24
        default 10.77.0.1 eth0
    "#]]);
}

#[test]
fn a_stopped_container_remembers_the_wish() {
    let host = host!();
    host.run("docker network create --subnet 10.77.0.0/24 red").success();
    host.run("docker create --name web busybox sleep 1000").success();
    host.run("docker network connect --ip 10.77.0.9 red web && docker network connect --ip 10.77.0.10 red web")
        .success();
    host.run("docker network disconnect bridge web && docker start web").success();
    host.run(&format!("docker exec web {LOOK}")).shows(expect![[r#"
        lo 127.0.0.1/8
        eth0 10.77.0.10/24
        default 10.77.0.1 eth0
    "#]]);
    host.run("docker stop -t 0 web && docker network disconnect red web").success();
    host.run("docker network disconnect red web").code(1).says("is not connected to the network red");
    host.run("docker network rm red").success();
}

#[test]
fn a_container_starts_in_several_networks() {
    let host = host!();
    host.run("docker network create --subnet 10.77.0.0/24 red && docker network create --subnet 10.78.0.0/24 blue && docker network create --internal --subnet 10.79.0.0/24 back").success();
    host.run("docker run -d --name web --network red --network name=blue,ip=10.78.0.7,alias=www --network back busybox sleep 1000").success();
    let before = host.run(&format!("docker exec web {LOOK}")).to_string();
    expect![[r#"
        lo 127.0.0.1/8
        eth0 10.77.0.2/24
        eth1 10.79.0.2/24
        eth2 10.78.0.7/24
        default 10.78.0.1 eth2
    "#]]
    .assert_eq(&before);
    host.run("docker restart -t 0 web").success();
    assert_eq!(host.run(&format!("docker exec web {LOOK}")).to_string(), before);
    host.run("docker rm -f web").success();
    // The way out is the network of highest priority.
    host.run(&format!("docker run --rm --network name=red,gw-priority=1 --network blue busybox {LOOK} | tail -1"))
        .shows(expect![[r#"
        default 10.77.0.1 eth0
    "#]]);
    host.run(&format!("docker run --rm --network back busybox {LOOK}")).shows(expect![[r#"
        lo 127.0.0.1/8
        eth0 10.79.0.2/24
    "#]]);
}

#[test]
fn host_none_and_shared_networks_stand_alone() {
    let host = host!();
    host.run("docker network create red").success();
    host.run("docker run -d --name lonely --network none busybox sleep 1000 && docker run -d --name open --network host busybox sleep 1000").success();
    host.run("docker run -d --name web busybox sleep 1000 && docker run -d --name beside --network container:web busybox sleep 1000").success();
    let none = "container cannot be connected to multiple networks with one of the networks in private (none) mode";
    let with_host = "container cannot be disconnected from host network or connected to host network";
    let shared =
        "container sharing network namespace with another container or host cannot be connected to any other network";
    for (line, says) in [
        ("connect red lonely", none),
        ("connect none web", none),
        ("connect host web", with_host),
        ("disconnect host open", with_host),
        ("connect red open", shared),
        ("connect red beside", shared),
        ("connect nosuch web", "network nosuch not found"),
        ("connect red nosuch", "No such container: nosuch"),
        ("disconnect red web", "is not connected to network red"),
        (
            "connect --alias x bridge web",
            "network-scoped alias is supported only for containers in user defined networks",
        ),
    ] {
        host.run(&format!("docker network {line}")).code(1).says(says);
    }
    host.run("docker network disconnect none lonely && docker network connect red lonely").success();
    host.run("docker exec lonely ls /sys/class/net").shows(expect![[r#"
        eth0
        lo
    "#]]);
}

#[test]
fn published_ports_follow_the_way_out() {
    let host = own_host!("busybox");
    host.run("docker network create red && docker network create blue").success();
    host.run("docker run -d --name web --network red -p 8080:80 busybox httpd -f -h /etc").success();
    let answers = |host: &hako_testkit::Host| {
        host.wait_until(
            "an answer",
            |host| host.run("curl -s -m 2 127.0.0.1:8080/group && nsenter --net=/run/netns/other curl -s -m 2 198.51.100.1:8080/group"),
            |shown| shown.text().matches("root:").count() == 2,
        );
    };
    answers(&host);
    host.run("docker network connect blue web").success();
    answers(&host);
    host.run("docker port web 80/tcp | head -1").shows(expect![[r#"
        0.0.0.0:8080
    "#]]);
    host.run("docker network disconnect blue web").success();
    answers(&host);
    host.run("docker network disconnect red web").success();
    host.run("curl -s -m 2 127.0.0.1:8080/group").code(7);
    host.run("docker network connect red web").success();
    answers(&host);
}

#[test]
fn a_client_that_names_networks_and_none_first_gets_those_alone() {
    let host = own_host!("busybox");
    host.run("docker network create --subnet 10.77.0.0/24 red && docker network create --subnet 10.78.0.0/24 blue")
        .success();
    let body = r#"{"Image":"busybox","Cmd":["sleep","1000"],"NetworkingConfig":{"EndpointsConfig":{
        "blue":{"DriverOpts":{"com.docker.network.endpoint.ifname":"eth1"}},"red":{}}}}"#;
    assert_eq!(host.api("POST", "/v1.50/containers/create?name=web", body).status, 201);
    host.run("docker start web && docker exec web ip -o -4 address | awk '{print $2, $4}' | sort").shows(expect![[
        r#"
        web
        eth0 10.77.0.2/24
        eth1 10.78.0.2/24
        lo 127.0.0.1/8
    "#
    ]]);
    host.run("docker ps --filter network=bridge -q | wc -l").shows(expect![[r#"
        0
    "#]]);
    host.run("docker network connect --driver-opt com.docker.network.endpoint.ifname=eth0 bridge web")
        .code(1)
        .says("error renaming interface")
        .says("file exists");
    host.run("docker network connect bridge web && docker exec web ip -o -4 address show eth2").success();
}
