//! Published ports: from loopback, from the machine's address, from another machine, from a container.

use expect_test::expect;
use hako_testkit::{ADDRESS, Host};

/// A container that answers on TCP port 80, published with these flags.
fn serve(host: &Host, flags: &str) {
    host.run(&format!("docker run -d --name web {flags} probe tcp 0.0.0.0:80 web")).success();
    host.wait_until(
        "the server to listen",
        |host| host.run("docker logs web"),
        |shown| shown.text().contains("listening"),
    );
}

#[test]
fn a_port_is_reached_from_everywhere() {
    let host = own_host!("probe", "busybox");
    serve(&host, "-p 8080:80");
    host.run("curl -s -m 5 127.0.0.1:8080").success().says("web from");
    host.run("curl -s -m 5 '[::1]:8080'").success().says("web from");
    host.run(&format!("curl -s -m 5 {ADDRESS}:8080")).success().says("web from");
    host.run_elsewhere(&format!("curl -s -m 5 {ADDRESS}:8080")).shows(expect![[r#"
        web from 198.51.100.2
    "#]]);
    host.run(&format!("docker run --rm busybox sh -c 'echo | nc -w 5 {ADDRESS} 8080'")).success().says("web from");
    host.run("docker rm -f web").success();
    host.run("curl -s -m 5 127.0.0.1:8080").code(7);
    host.run_elsewhere(&format!("curl -s -m 5 {ADDRESS}:8080")).code(7);
}

#[test]
fn loopback_alone_stays_at_home() {
    let host = own_host!("probe");
    serve(&host, "-p 127.0.0.1:8080:80");
    host.run("curl -s -m 5 127.0.0.1:8080").success().says("web from");
    host.run_elsewhere(&format!("curl -s -m 2 {ADDRESS}:8080")).code(7);
    host.run_elsewhere("ip route add 172.16.0.0/12 via 198.51.100.1").success();
    let address = host.run("docker inspect --format '{{.NetworkSettings.IPAddress}}' web").text().to_owned();
    // A container's own address is no way in from outside (Docker's default since 28).
    assert_ne!(host.run_elsewhere(&format!("curl -s -m 2 {address}:80")).to_string(), "web from 198.51.100.2\n");
}

#[test]
fn udp_is_published_too() {
    let host = own_host!("probe");
    host.run("docker run -d --name web -p 5353:53/udp probe udp 0.0.0.0:53 dns").success();
    host.wait_until(
        "the server to listen",
        |host| host.run("docker logs web"),
        |shown| shown.text().contains("listening"),
    );
    let ask = |address: &str| format!("exec 3<>/dev/udp/{address}/5353; echo ask >&3; timeout 3 head -n 1 <&3");
    host.write("local", ask("127.0.0.1"));
    host.write("outside", ask(ADDRESS));
    host.run("bash ./local").success().says("dns from");
    host.run_elsewhere("bash ./outside").success().says("dns from 198.51.100.2");
}

#[test]
fn ranges_and_automatic_ports_are_told() {
    let host = host!();
    host.run("docker run -d --name range -p 18000-18002:80-82 busybox sleep 100").success();
    host.run("docker port range").shows(expect![[r#"
        80/tcp -> 0.0.0.0:18000
        80/tcp -> [::]:18000
        81/tcp -> 0.0.0.0:18001
        81/tcp -> [::]:18001
        82/tcp -> 0.0.0.0:18002
        82/tcp -> [::]:18002
    "#]]);
    host.run("docker run -d --name pick -p 18000-18005:80 busybox sleep 100").success();
    host.run("docker port pick 80").success().says("0.0.0.0:1800");
    host.run("docker run -d --name any -p 80 busybox sleep 100").success();
    let port = host.run("docker port any 80/tcp | head -1 | cut -d: -f2").text().parse::<u16>();
    assert!(port.is_ok_and(|port| port >= 32768));
    // Nothing and 0 mean the same port; each is told as it was written.
    host.run("docker create --name zero -p 0:81 -p 80 busybox").success();
    host.run("docker inspect -f '{{range .HostConfig.PortBindings}}{{range .}}[{{.HostPort}}]{{end}}{{end}}' zero")
        .shows(expect![[r#"
            [][0]
        "#]]);
    host.run("docker port any 81").code(1).says("o public port '81' published for any");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let host = host!();
    host.run("docker run -d --name web -p 18080:80 busybox sleep 100").success();
    host.run("docker run --name other -p 18080:80 busybox true")
        .code(125)
        .says("Bind for 0.0.0.0:18080 failed: port is already allocated");
    host.run("docker rm -f web && docker start -a other").success();
}

#[test]
fn a_port_of_another_program_is_respected_both_ways() {
    let host = own_host!("busybox", "probe");
    let taken = host.spawn("exec probe tcp 0.0.0.0:8080 mine");
    host.wait_until(
        "the other program to listen",
        |host| host.run("cat /proc/net/tcp"),
        |shown| shown.stdout().contains(":1F90"),
    );
    host.run("docker run --rm -p 8080:80 busybox true").code(125).says("address already in use");
    drop(taken);
    host.run("docker run -d -p 8081:80 busybox sleep 100").success();
    host.run("probe tcp 0.0.0.0:8081 mine").says("in use");
}

#[test]
fn a_hundred_ports_are_no_trouble() {
    let host = own_host!("busybox");
    host.run("docker run -d --name web -p 9000-9099:9000-9099 busybox httpd -f -p 9042 -h /etc").success();
    host.wait_until(
        "the server",
        |host| host.run("curl -s -m 2 127.0.0.1:9042/group"),
        |shown| shown.text().contains("root"),
    );
    host.run_elsewhere(&format!("curl -s -m 5 {ADDRESS}:9042/group")).success().says("root");
}

#[test]
fn thousands_of_ports_are_no_trouble_either() {
    // Of both families: one descriptor each, which a daemon has that may not raise a usual limit.
    let mut host = own_host!("busybox");
    host.run("docker run -d --name web -p 10000-18999:10000-18999 busybox sh -c 'httpd -p 10000 -h /etc; httpd -f -p 18999 -h /etc'").success();
    host.run("docker port web | grep -c 0.0.0.0").says("9000");
    let reach = |host: &Host| {
        for port in [10000, 18999] {
            host.run_elsewhere(&format!("curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://{ADDRESS}:{port}/group | grep -c ^root:")).says("1");
            for own in ["127.0.0.1", "[::1]"] {
                host.run(&format!("curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://{own}:{port}/group | grep -c ^root:")).says("1");
            }
        }
    };
    reach(&host);
    host.run("docker run -d --name one -p 8080:80 busybox httpd -f -p 80 -h /etc").success();
    host.run_elsewhere(&format!(
        "curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://{ADDRESS}:8080/group | grep -c ^root:"
    ))
    .says("1");
    // They are reserved all the while, and the next daemon has them again.
    host.daemon_kill();
    host.daemon_start();
    reach(&host);
    host.run("docker rm -f web && docker run --rm -p 12345:80 busybox true").success();
}
