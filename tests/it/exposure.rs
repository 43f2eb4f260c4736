//! The host's own firewall, and what is said about who can reach a published port.

use hako_testkit::{ADDRESS, needs, require};

#[test]
fn each_port_says_who_can_reach_it() {
    needs!(require::program("nft"));
    let host = own_host!("busybox");
    host.run("docker run -d --name web -p 8080:80 -p 127.0.0.1:8081:81 busybox httpd -f -p 80 -h /etc").success();
    let exposure = || host.api("GET", "/containers/web/exposure", "").text();
    assert_eq!(
        exposure().trim(),
        concat!(
            r#"[{"Port":"80/tcp","HostIp":"0.0.0.0","HostPort":8080,"Reach":"everyone","Reasons":["the host has no input rules"],"Translated":true},"#,
            r#"{"Port":"80/tcp","HostIp":"::","HostPort":8080,"Reach":"everyone","Reasons":["the host has no input rules"],"Translated":false},"#,
            r#"{"Port":"81/tcp","HostIp":"127.0.0.1","HostPort":8081,"Reach":"this host","Reasons":["the host's loopback address"],"Translated":false}]"#
        )
    );
    host.run("hako port --exposure web 81").success().says("the host's loopback address");
    let outside = format!("curl -s -m 2 {ADDRESS}:8080/group");
    host.run_elsewhere(&outside).success().says("root");
    // The administrator closes the host; published ports are no exception.
    host.run("nft add table inet strict").success();
    host.run("nft 'add chain inet strict input { type filter hook input priority 0; policy drop; }'").success();
    host.run("nft add rule inet strict input iif lo accept && nft add rule inet strict input ct state established,related accept").success();
    host.wait_until("the port to be closed", |_| exposure(), |shown| shown.contains("policy drop"));
    host.run_elsewhere(&outside).code(28);
    host.run("curl -s -m 2 127.0.0.1:8080/group").success();
    host.run("nft add rule inet strict input tcp dport 8080 accept").success();
    host.wait_until("the port to be open", |_| exposure(), |shown| shown.contains("dport 8080 accept"));
    host.run_elsewhere(&outside).success().says("root");
    // Somebody throws all rules away: ours are back.
    host.run("nft flush ruleset").success();
    host.wait_until("the table", |host| host.run("nft list tables"), |shown| shown.text().contains("inet hako-"));
    host.run_elsewhere(&outside).success().says("root");
}

#[test]
fn beside_a_firewall_that_forwards_nothing() {
    needs!(require::program("nft"));
    let host = own_host!("busybox");
    // As Docker leaves a host: nothing is forwarded but what its own rules want.
    host.run("nft add table ip filter && nft add chain ip filter DOCKER-USER").success();
    host.run("nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'").success();
    host.run("nft add rule ip filter FORWARD jump DOCKER-USER && nft add rule ip filter DOCKER-USER return").success();
    host.run("docker run -d --name web -p 8080:80 busybox httpd -f -p 80 -h /etc").success();
    host.run_elsewhere(&format!("curl -s -m 5 {ADDRESS}:8080/group")).success().says("root");
    host.run("docker run --rm busybox ping -c 1 -W 3 198.51.100.2").success();
    host.run("docker network create red").success();
    host.run("docker run --rm --network red busybox ping -c 1 -W 3 198.51.100.2").success();
    host.run("nft list chain ip filter DOCKER-USER | grep -c hako").says("4");
    host.run("docker network rm red").success();
    host.wait_until(
        "the rules of the network to go",
        |host| host.run("nft list chain ip filter DOCKER-USER | grep -c hako"),
        |shown| shown.text() == "2",
    );
}

#[test]
fn neighbours_do_not_reach_the_hosts_loopback() {
    let host = own_host!("busybox", "probe");
    host.run("docker run -d --name web -p 127.0.0.1:8080:80 busybox httpd -f -p 80 -h /etc").success();
    let _service = host.spawn("exec probe tcp 127.0.0.1:6000 mine");
    host.wait_until(
        "the service to listen",
        |host| host.run("cat /proc/net/tcp"),
        |shown| shown.stdout().contains(":1770"),
    );
    // CVE-2020-8558: a neighbour that sends to 127.0.0.1 over the wire.
    host.run_elsewhere("for f in all default lo; do echo 1 >/proc/sys/net/ipv4/conf/$f/route_localnet; done").success();
    host.run_elsewhere("for f in /proc/sys/net/ipv4/conf/*; do echo 1 >$f/route_localnet; done").success();
    host.run_elsewhere("ip route del local 127.0.0.0/8 dev lo table local; ip route del local 127.0.0.1 dev lo table local; ip route add 127.0.0.1/32 via 198.51.100.1")
        .success();
    // The same by a container that may do what it likes with its own network.
    let tricks = "for f in /proc/sys/net/ipv4/conf/*; do echo 1 >$f/route_localnet; done; \
        ip route del local 127.0.0.0/8 dev lo table local; ip route del local 127.0.0.1 dev lo table local; \
        ip route add 127.0.0.1/32 via $(ip route | awk '/default/{print $3}') && echo ready && wget -q -T 2 -O - http://127.0.0.1:";
    host.write("tricks", tricks);
    for port in [8080, 6000] {
        let inside = format!("docker run --rm --privileged busybox sh -c \"$(cat tricks){port}\"");
        assert_eq!(host.run(&inside).stdout().trim(), "ready", "{port}");
        assert_eq!(host.run_elsewhere(&format!("curl -s -m 2 127.0.0.1:{port}")).stdout(), "", "{port}");
    }
}
