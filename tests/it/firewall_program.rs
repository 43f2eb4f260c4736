//! The host's own firewall, managed by the programs that people use: ufw, firewalld, iptables.
//!
//! Where they are not installed, `HAKO_TEST_ROOT` may name a directory with a Debian that has them; they are then
//! called inside of it, in the test machine's network.

use hako_testkit::{ADDRESS, Host, require};

/// How a program is called here; `None`: it is not there, which is said.
fn caller(host: &Host, program: &str) -> Option<String> {
    if require::program(program).is_ok() {
        return Some(String::new());
    }
    let root = std::env::var("HAKO_TEST_ROOT").unwrap_or_default();
    if root.is_empty() || !std::path::Path::new(&root).join("usr/sbin").join(program).exists() {
        require::skip(&format!("needs {program}"));
        return None;
    }
    host.run(&format!(
        "mount --rbind /proc {root}/proc && mount --rbind /dev {root}/dev && mount -t tmpfs tmpfs {root}/run"
    ))
    .success();
    Some(format!("chroot {root} "))
}

const WEB: &str = "docker run -d --name web -p 8080:80 busybox httpd -f -p 80 -h /etc";

fn outside(host: &Host) -> bool {
    host.run_elsewhere(&format!("curl -s -m 1 http://{ADDRESS}:8080/group")).text().contains("root")
}

fn ways_out(host: &Host) {
    host.run("docker run --rm busybox ping -c 1 -W 3 198.51.100.2").success();
    host.run("docker run --rm --network red busybox ping -c 1 -W 3 198.51.100.2").success();
    host.run("docker run --rm --network red busybox sh -c 'nslookup nosuch.invalid 127.0.0.11; true'").success();
}

#[test]
fn ufw_decides_about_published_ports_and_stops_no_way_out() {
    let host = own_host!("busybox");
    let Some(call) = caller(&host, "ufw") else { return };
    host.run("docker network create red").success();
    host.run(WEB).success();
    assert!(outside(&host));
    host.run(&format!("{call}ufw --force reset >/dev/null; {call}ufw --force enable")).says("active");
    // Its defaults: nothing comes in, nothing is forwarded.
    host.wait_until("the port to be closed", outside, |open| !open);
    host.run("curl -s -m 5 --retry 9 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/group | grep -c ^root:")
        .says("1");
    ways_out(&host);
    host.run("hako port --exposure web").success();
    host.run(&format!("{call}ufw allow 8080/tcp")).success();
    host.wait_until("the port to be open", outside, |open| *open);
    host.run(&format!("{call}ufw reload")).success();
    host.wait_until("the port to be open after a reload", outside, |open| *open);
    ways_out(&host);
    host.run(&format!("{call}ufw --force disable")).success();
    host.wait_until("the port to be open without it", outside, |open| *open);
    ways_out(&host);
}

#[test]
fn iptables_decides_about_published_ports_and_a_flush_is_repaired() {
    let host = own_host!("busybox");
    let Some(call) = caller(&host, "iptables") else { return };
    host.run("docker network create red").success();
    host.run(WEB).success();
    for rule in [
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-P INPUT DROP",
        "-P FORWARD DROP",
    ] {
        host.run(&format!("{call}iptables {rule}")).success();
    }
    host.wait_until("the port to be closed", outside, |open| !open);
    ways_out(&host);
    host.run(&format!("{call}iptables -I INPUT -p tcp --dport 8080 -j ACCEPT")).success();
    host.wait_until("the port to be open", outside, |open| *open);
    host.run(&format!("{call}iptables -F && {call}iptables -t nat -F && {call}iptables -P INPUT ACCEPT")).success();
    host.wait_until("the port to be open after a flush", outside, |open| *open);
    host.wait_until(
        "containers to get out after a flush",
        |host| host.run("docker run --rm busybox ping -c 1 -W 1 198.51.100.2").text().contains("1 packets received"),
        |out| *out,
    );
}

#[test]
fn firewalld_decides_about_published_ports_and_a_reload_is_repaired() {
    let host = own_host!("busybox");
    let Some(call) = caller(&host, "firewalld") else { return };
    host.run("docker network create red").success();
    host.run(WEB).success();
    host.run(&format!("mkdir -p /run/dbus; {call}sh -c 'mkdir -p /run/dbus && dbus-daemon --system --fork'")).success();
    let _service = host.spawn(&format!("exec {call}firewalld --nofork --nopid"));
    host.wait_until(
        "firewalld to run",
        |host| host.run(&format!("{call}firewall-cmd --state 2>&1")),
        |shown| shown.text() == "running",
    );
    host.wait_until("the port to be closed", outside, |open| !open);
    ways_out(&host);
    host.run(&format!("{call}firewall-cmd --add-port 8080/tcp --permanent && {call}firewall-cmd --reload")).success();
    host.wait_until("the port to be open", outside, |open| *open);
    ways_out(&host);
    host.run(&format!("{call}firewall-cmd --complete-reload")).success();
    host.wait_until("the port to be open after a reload", outside, |open| *open);
    ways_out(&host);
}
