//! Daemons: several side by side, Docker's socket, flags, signals, what is left behind.

use std::time::{Duration, Instant};

use expect_test::expect;
use hako_testkit::{Host, Options, needs, require};

#[test]
fn without_a_bridge_containers_have_a_network_of_their_own_and_nothing_in_it() {
    let host = own_host!();
    let second = host.second_daemon("second", &["--bridge=none"]);
    let flags = format!("-H {}", second.address());
    host.load_into("busybox", &flags);
    for mode in ["", "--network bridge", "--network none"] {
        host.run(&format!("docker {flags} run --rm {mode} busybox ls /sys/class/net")).shows(expect![[r#"
            lo
        "#]]);
    }
    host.run(&format!(
        "docker {flags} network create own && docker {flags} run --rm --network own busybox ls /sys/class/net"
    ))
    .success()
    .says("eth0");
}

#[test]
fn two_daemons_share_nothing() {
    let host = own_host!();
    let second = host.second_daemon("second", &[]);
    let flags = format!("-H {}", second.address());
    host.load_into("busybox", &flags);
    host.run("docker run -d --name web busybox sleep 100").success();
    host.run(&format!("docker {flags} ps -aq")).shows(expect![[""]]);
    host.run(&format!("docker {flags} run -d --name web busybox sleep 100")).success();
    let first = host.run("docker exec web ip -o -4 address show eth0").text().to_owned();
    let other = host.run(&format!("docker {flags} exec web ip -o -4 address show eth0")).text().to_owned();
    assert!(first.contains("inet") && other.contains("inet") && first != other, "{first}\n{other}");
    drop(second);
    host.run("docker exec web echo untouched").shows(expect![[r#"
        untouched
    "#]]);
}

#[test]
fn two_daemons_may_not_share_a_root() {
    let host = own_host!();
    let line = format!(
        "hako daemon --data-root {} --exec-root {} -H unix:///run/test/third.sock",
        host.daemon().data_root(),
        host.daemon().exec_root()
    );
    host.run(&format!("timeout 10 {line}")).code(1);
    host.run("docker run --rm busybox echo untouched").shows(expect![[r#"
        untouched
    "#]]);
}

/// A machine whose daemon has the default roots, and so offers Docker's socket.
macro_rules! default_host {
    () => {{
        needs!(require::own_daemon());
        needs!(require::root());
        needs!(require::image("busybox"));
        Host::with(&Options { defaults: true, ..Options::default() })
    }};
}

#[test]
fn the_defaults_are_told_nowhere() {
    let host = default_host!();
    host.run("env -u DOCKER_HOST hako run --rm busybox echo by default").shows(expect![[r#"
        by default
    "#]]);
    host.run("ls -d /var/lib/hako/* /run/hako /run/hako.sock | wc -l; stat -c %a /run/hako.sock").success().says("660");
}

#[test]
fn dockers_socket_is_offered_where_nobody_has_it() {
    let host = default_host!();
    host.run("docker -H unix:///var/run/docker.sock run --rm busybox echo through it").shows(expect![[r#"
        through it
    "#]]);
}

#[test]
fn dockers_socket_is_left_to_who_has_it() {
    let mut host = default_host!();
    host.daemon_stop();
    host.run("rm -f /var/run/docker.sock").success();
    let other = host.spawn("exec probe unix /var/run/docker.sock mine");
    other.wait_for("listening");
    host.daemon_start();
    host.run("curl -s --unix-socket /var/run/docker.sock http://x/").says("mine");
    host.run("docker ps -q").success();
}

#[test]
fn a_bind_of_dockers_socket_never_makes_a_folder_of_it() {
    let host = default_host!();
    host.run("docker run --rm -v /var/run/docker.sock:/var/run/docker.sock busybox sh -c 'test -S /var/run/docker.sock && echo a socket'").shows(expect![[r#"
        a socket
    "#]]);
    // Where the socket is gone, as while another Docker restarts, dockerd would make a folder of its name.
    host.run("rm -f /var/run/docker.sock").success();
    host.run("docker run --rm -v /var/run/docker.sock:/var/run/docker.sock busybox true");
    host.run("test ! -d /var/run/docker.sock").success();
}

#[test]
fn flags_of_dockerd_are_taken() {
    let host = own_host!();
    let second = host.second_daemon(
        "second",
        &[
            "--debug",
            "--storage-driver overlay2",
            "--userland-proxy=false",
            "--containerd /nosuch.sock",
            "--log-level info",
        ],
    );
    host.run(&format!("docker -H {} info --format '{{{{.Driver}}}}'", second.address())).shows(expect![[r#"
        overlay2
    "#]]);
    host.run("timeout 10 hako daemon --nosuch").says("--nosuch");
}

#[test]
fn containers_outlive_the_daemon_whatever_its_file_says_of_that() {
    let host = own_host!();
    host.write(
        "daemon.json",
        r#"{"live-restore": false, "shutdown-timeout": 90, "exec-opts": ["native.cgroupdriver=systemd"], "ip6tables": false,
            "storage-opts": ["overlay2.override_kernel_check=true"], "userland-proxy": true, "raw-logs": true,
            "features": {"containerd-snapshotter": true}}"#,
    );
    let file = format!("--config-file {}/daemon.json", host.run("pwd").text());
    let daemon = host.second_daemon("second", &[&file]);
    for key in
        ["live-restore", "shutdown-timeout", "exec-opts", "ip6tables", "storage-opt", "userland-proxy", "features"]
    {
        assert!(daemon.log().contains(key), "it says what has no effect: {key}\n{}", daemon.log());
    }
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    host.run(&format!(
        "docker {flags} info --format '{{{{.LiveRestoreEnabled}}}} {{{{.CgroupDriver}}}} {{{{.Driver}}}}'"
    ))
    .shows(expect![[r#"
            true cgroupfs overlay2
        "#]]);
    // Deaf to the signal by which a daemon would end it, and still the daemon's end takes no time.
    host.run(&format!("docker {flags} run -d --name web busybox sh -c 'trap \"\" TERM; while sleep 1; do :; done'"))
        .success();
    let process =
        format!("docker {flags} inspect --format '{{{{.State.Pid}}}} {{{{.State.Status}}}} {{{{.RestartCount}}}}' web");
    let before = host.run(&process).text().to_owned();
    let pid = before.split(' ').next().unwrap_or_default().to_owned();
    let begun = Instant::now();
    host.daemon_end(&daemon, "TERM");
    assert!(begun.elapsed() < Duration::from_secs(30), "it waits for nobody: {:?}", begun.elapsed());
    host.run(&format!("kill -0 {pid}")).success();
    let _daemon = host.second_daemon("second", &[&file]);
    host.run(&process).says(&before);
    // What would change how layers are kept is no remark.
    host.write("daemon.json", r#"{"storage-opts": ["overlay2.size=1G"]}"#);
    host.run(&format!(
        "timeout 10 hako daemon --data-root /run/test/other --exec-root /run/test/other-run --validate {file}"
    ))
    .code(1)
    .says("overlay2.size=1G: it is not built");
}

#[test]
fn a_reload_takes_labels_and_debug_and_nothing_that_is_wrong() {
    let host = own_host!();
    host.write("daemon.json", r#"{"labels": ["a=1"]}"#);
    let file = host.run("pwd").stdout().trim().to_owned();
    let second = host
        .second_daemon("second", &["--config-file", &format!("{file}/daemon.json"), "--pidfile /run/test/second.pid"]);
    let info = format!("docker -H {} info --format '{{{{.Labels}}}} {{{{.Debug}}}}'", second.address());
    host.run(&info).shows(expect![[r#"
        [a=1] false
    "#]]);
    let reload = |content: &str| {
        host.write("daemon.json", content);
        host.run("kill -HUP $(cat /run/test/second.pid)").success();
    };
    reload(r#"{"labels": ["b=2"], "debug": true}"#);
    host.wait_until("the new labels", |host| host.run(&info).text().to_owned(), |seen| seen.trim_end() == "[b=2] true");
    reload(r#"{"labels": ["nothing"]}"#);
    host.wait_until("the mistake in the log", |_| second.log(), |log| log.contains("expected KEY=VALUE"));
    host.run(&info).shows(expect![[r#"
        [b=2] true
    "#]]);
    host.run(&format!("docker -H {} events --since 1m --until $(($(date +%s) + 1)) --filter type=daemon --format '{{{{.Action}}}} {{{{index .Actor.Attributes \"labels\"}}}}'", second.address()))
        .shows(expect![[r#"
            reload ["b=2"]
        "#]]);
}

#[test]
fn version_and_info_say_who_answers() {
    let host = own_host!();
    host.run("docker version --format '{{.Client.APIVersion}} {{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}/{{.Server.Arch}}'").shows(expect![[r#"
        1.50 1.50 1.24 linux/amd64
    "#]]);
    host.run("docker run -d busybox sleep 100").success();
    host.run("docker info --format '{{.Containers}} {{.ContainersRunning}} {{.Images}} {{.OSType}} {{.NCPU}}' | sed 's/ [0-9]*$/ N/'").shows(expect![[r#"
        1 1 1 linux N
    "#]]);
}

#[test]
fn the_data_root_is_closed_to_others() {
    let host = own_host!();
    host.run(&format!("stat -c %a {}", host.daemon().data_root())).shows(expect![[r#"
        710
    "#]]);
}

#[test]
fn a_removed_container_leaves_nothing() {
    let host = own_host!();
    let look = "find /sys/fs/cgroup -type d -name '[0-9a-f]*[0-9a-f]' | grep -cE '[0-9a-f]{64}'; ls /run/netns | grep -v other | wc -l; cat /proc/self/mountinfo | wc -l";
    let before = host.run(look).text().to_owned();
    for _ in 0..5 {
        host.run("docker run --rm -p 8080:80 -v /data --tmpfs /x busybox true").success();
    }
    host.run("docker run -d --name web busybox sleep 100 && docker rm -f web").success();
    host.wait_until("the host to be as before", |host| host.run(look).text().to_owned(), |seen| *seen == before);
}

#[test]
fn what_containers_do_not_say_the_daemon_does() {
    let host = own_host!();
    let profile =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    host.write("profile.json", profile);
    let daemon = host.second_daemon(
        "second",
        &[
            "--default-ipc-mode=shareable",
            "--default-cgroupns-mode=private",
            "--bip=10.77.0.1/16",
            "--fixed-cidr=10.77.9.0/24",
            "--default-network-opt=bridge=com.docker.network.driver.mtu=1234",
            "--min-api-version=1.45",
            "--seccomp-profile=/run/test/work/profile.json",
        ],
    );
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    host.run(&format!("docker {flags} run -d --name web busybox sleep 100")).success();
    host.run(&format!("docker {flags} run --rm --ipc container:web busybox echo shared")).says("shared");
    let own = host.run("readlink /proc/self/ns/cgroup").text().to_owned();
    host.run(&format!("docker {flags} exec web readlink /proc/self/ns/cgroup")).success().says_not(&own);
    host.run(&format!("docker {flags} exec web ip -o -4 address show eth0")).says("10.77.9.");
    host.run(&format!("docker {flags} network create red")).success();
    host.run(&format!("docker {flags} run --rm --network red busybox ip link show eth0")).says("mtu 1234");
    host.run(&format!("docker {flags} exec web mkdir /x")).code(1).says("Operation not permitted");
    host.run(&format!("docker {flags} run --rm --security-opt seccomp=builtin busybox mkdir /x")).success();
    let socket = daemon.address().trim_start_matches("unix://").to_owned();
    host.run(&format!("curl -s --unix-socket {socket} http://d/v1.44/info"))
        .says("Minimum supported API version is 1.45");
}

#[test]
fn limits_logs_and_names_of_the_daemon_are_in_its_containers() {
    let host = own_host!();
    // From the file, as most people have it.
    host.write(
        "daemon.json",
        r#"{"default-shm-size": "1m", "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 100, "Hard": 200}},
            "init": true, "no-new-privileges": true, "cgroup-parent": "/parent",
            "log-driver": "local", "log-opts": {"max-size": "7k"},
            "dns": ["192.0.2.9"], "dns-search": ["example.org"], "dns-opts": ["ndots:7"]}"#,
    );
    let file = host.run("pwd").text().to_owned();
    let daemon = host.second_daemon("second", &["--config-file", &format!("{file}/daemon.json")]);
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    let inside = "df -k /dev/shm | tail -1 | xargs | cut -d\\  -f2; ulimit -n; ulimit -Hn; grep NoNewPrivs /proc/self/status | xargs; ps -o args | sed -n 2p | cut -c1-4; grep -vE '^#' /etc/resolv.conf";
    host.run(&format!("docker {flags} run --rm busybox sh -c \"{inside}\"")).shows(expect![[r#"
        1024
        100
        200
        NoNewPrivs: 1
        /sbi
        nameserver 192.0.2.9
        search example.org
        options ndots:7
    "#]]);
    host.run(&format!("docker {flags} run --rm --cgroupns host busybox cat /proc/self/cgroup")).says("/parent/");
    host.run(&format!("docker {flags} run --name web busybox true")).success();
    host.run(&format!("docker {flags} inspect -f '{{{{.HostConfig.LogConfig.Type}}}} {{{{index .HostConfig.LogConfig.Config \"max-size\"}}}}' web"))
        .shows(expect![[r#"
            local 7k
        "#]]);
    host.run(&format!("timeout 10 hako daemon --config-file {file}/daemon.json --dns 192.0.2.1 --validate"))
        .code(1)
        .says("dns");
    host.write("odd.json", r#"{"no-such-key": 1}"#);
    host.run(&format!("timeout 10 hako daemon --config-file {file}/odd.json --validate")).code(1).says("no-such-key");
    host.write("absent.json", r#"{"bridge-accept-fwmark": "1"}"#);
    host.run(&format!("timeout 10 hako daemon --config-file {file}/absent.json --validate"))
        .code(1)
        .says("bridge-accept-fwmark");
}

#[test]
fn the_bridge_is_as_open_as_the_daemon_was_told() {
    let host = own_host!();
    let daemon = host.second_daemon("second", &["--bip=10.77.0.1/16", "--icc=false", "--mtu=1300", "--ip=127.0.0.1"]);
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    host.run(&format!("docker {flags} run -d --name web -p 18123:80 busybox httpd -f -p 80")).success();
    let address =
        host.run(&format!("docker {flags} inspect -f '{{{{.NetworkSettings.IPAddress}}}}' web")).text().to_owned();
    host.run(&format!("docker {flags} run --rm busybox nc -w 2 {address} 80 </dev/null")).code(1);
    host.run(&format!("docker {flags} run --rm --network host busybox nc -w 2 {address} 80 </dev/null")).success();
    host.run(&format!("docker {flags} exec web cat /sys/class/net/eth0/mtu")).shows(expect![[r#"
        1300
    "#]]);
    host.run(&format!("docker {flags} port web")).shows(expect![[r#"
        80/tcp -> 127.0.0.1:18123
    "#]]);
}

#[test]
fn the_host_is_changed_as_far_as_the_daemon_was_told() {
    needs!(require::program("nft"));
    let host = own_host!("busybox", "probe");
    let server = host.spawn("exec nsenter --net=/run/netns/other probe tcp 198.51.100.2:7000 you");
    server.wait_for("listening");
    host.run("echo 0 > /proc/sys/net/ipv4/ip_forward").success();
    let still = host.second_daemon("still", &["--iptables=false", "--ip-forward=false", "--bip=10.78.0.1/24"]);
    let flags = format!("-H {}", still.address());
    host.load_into("busybox", &flags);
    host.run("cat /proc/sys/net/ipv4/ip_forward").shows(expect![[r#"
        0
    "#]]);
    let before = host.run("nft list tables | sort | xargs").text().to_owned();
    host.run(&format!("docker {flags} run -d --name web busybox sleep 1000")).success();
    assert_eq!(host.run("nft list tables | sort | xargs").text(), before);
    drop(still);
    // Without a mask the machine at the other end sees the container's own address.
    let open = host.second_daemon("open", &["--ip-masq=false", "--bip=10.79.0.1/24"]);
    let flags = format!("-H {}", open.address());
    host.load_into("busybox", &flags);
    host.run("cat /proc/sys/net/ipv4/ip_forward").shows(expect![[r#"
        1
    "#]]);
    host.run_elsewhere("ip route add 10.79.0.0/24 via 198.51.100.1").success();
    host.run(&format!("docker {flags} run --rm busybox sh -c 'echo | nc -w 5 198.51.100.2 7000'"))
        .success()
        .says("you from 10.79.0.2");
}

#[test]
fn the_bridges_subnets_and_ways_out_are_the_flags() {
    let host = own_host!();
    let flags = [
        "--bip=10.77.0.1/16",
        "--default-gateway=10.77.0.9",
        "--ipv6",
        "--fixed-cidr-v6=fd00:77::/64",
        "--default-gateway-v6=fd00:77::9",
    ];
    let daemon = host.second_daemon("second", &flags);
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    host.run(&format!(
        "docker {flags} run --rm busybox sh -c 'ip route show default; ip -6 route show default; ip -o addr show eth0'"
    ))
    .says("default via 10.77.0.9 ")
    .says("default via fd00:77::9 ")
    .says("10.77.0.2/16")
    .says("fd00:77::2/64");
    host.run(&format!("docker {flags} network inspect bridge --format '{{{{json .IPAM.Config}}}}'"))
        .says("\"DefaultGatewayIPv4\":\"10.77.0.9\"")
        .says("\"DefaultGatewayIPv6\":\"fd00:77::9\"");
    let refused = |line: &str, why: &str| {
        host.run(&format!("timeout 10 hako daemon {line}")).code(1).says(why);
    };
    refused("--default-gateway=10.1.0.1 --validate", "--bip has to name that");
    refused("--fixed-cidr=10.1.0.0/31 --validate", "leaves no address for containers");
    refused("--bip=10.2.0.1/16 --default-gateway=10.1.0.1 --validate", "10.1.0.1 is not within 10.2.0.0/16");
    refused("--fixed-cidr-v6=10.1.0.0/16 --ipv6 --validate", "is not an IPv6 subnet");
}

#[test]
fn how_long_a_stop_waits_and_where_devices_are_described_are_the_flags() {
    let host = own_host!();
    host.run("mkdir -p /run/described").success();
    host.write(
        "/run/described/vendor.json",
        r#"{"cdiVersion":"0.6.0","kind":"vendor.example/thing","devices":[{"name":"one","containerEdits":{"env":["ONE=1"]}}]}"#,
    );
    let daemon = host.second_daemon(
        "second",
        &["--default-stop-timeout=1", "--cdi-spec-dir=/run/none", "--cdi-spec-dir=/run/described"],
    );
    let own = format!("docker -H {}", daemon.address());
    host.load_into("busybox", &format!("-H {}", daemon.address()));
    host.run(&format!("{own} run --rm --device vendor.example/thing=one busybox sh -c 'echo $ONE'")).shows(expect![[
        r#"
        1
    "#
    ]]);
    host.run(&format!("{own} info --format '{{{{json .CDISpecDirs}}}}'")).shows(expect![[r#"
        ["/run/none","/run/described"]
    "#]]);
    host.run(&format!("{own} run -d --name deaf busybox sh -c 'trap : TERM; while :; do sleep 1; done'")).success();
    host.run(&format!("{own} stop deaf && {own} inspect --format '{{{{.State.Error}}}}' deaf"))
        .says("did not end within 1 s of SIGTERM and was killed");
}

#[test]
fn devices_are_found_as_described_unless_that_is_switched_off() {
    let host = own_host!();
    host.run("mkdir -p /run/described").success();
    host.write(
        "/run/described/vendor.json",
        r#"{"cdiVersion":"0.6.0","kind":"v.example/thing","devices":[{"name":"one"}]}"#,
    );
    let shown = |name: &str, flags: &[&str], file: &str| {
        host.write("daemon.json", file);
        let file = format!("--config-file={}/daemon.json", host.run("pwd").text());
        let daemon = host.second_daemon(name, &[&[file.as_str()], flags].concat());
        let own = format!("docker -H {}", daemon.address());
        let found = host.run(&format!("{own} info")).stdout().contains("  cdi: v.example/thing=one\n");
        let folders = host.run(&format!("{own} info --format '{{{{json .CDISpecDirs}}}}'")).text().to_owned();
        let devices =
            format!("{own} info --format '{{{{range .DiscoveredDevices}}}}{{{{.Source}}}} {{{{.ID}}}}{{{{end}}}}'");
        format!("{found} {folders} {}", host.run(&devices).text())
    };
    let described = "--cdi-spec-dir=/run/described";
    assert_eq!(
        shown("one", &[described, "--feature", "cdi"], "{}"),
        r#"true ["/run/described"] cdi v.example/thing=one"#
    );
    assert_eq!(shown("two", &[described, "--feature=cdi=false"], "{}"), "false [] ");
    assert_eq!(shown("three", &[described], r#"{"features": {"cdi": false}}"#), "false [] ");
    assert_eq!(shown("four", &["--cdi-spec-dir="], "{}"), "false [] ");
    assert_eq!(shown("five", &[], r#"{"cdi-spec-dirs": []}"#), "false [] ");
}

#[test]
fn without_an_address_the_bridge_has_the_subnet_that_its_containers_have() {
    let host = own_host!();
    let daemon = host.second_daemon("second", &["--fixed-cidr=10.77.9.0/24"]);
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    host.run(&format!(
        "docker {flags} run --rm busybox sh -c 'ip route | grep -o \"default via [0-9.]*\"; ip -o -4 addr show eth0 | xargs | cut -d\" \" -f4'"
    ))
    .shows(expect![[r#"
        default via 10.77.9.1
        10.77.9.2/24
    "#]]);
}

#[test]
fn a_bridge_that_a_person_made_is_used_as_it_is_and_stays() {
    let host = own_host!();
    host.run("ip link add own0 type bridge && ip address add 10.78.5.7/24 dev own0").success();
    let daemon = host.second_daemon("second", &["--bridge=own0"]);
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    host.run(&format!(
        "docker {flags} run --rm busybox sh -c 'ip route | grep -o \"default via [0-9.]*\"; ip -o -4 addr show eth0 | xargs | cut -d\" \" -f4'"
    ))
    .shows(expect![[r#"
        default via 10.78.5.7
        10.78.5.1/24
    "#]]);
    host.run("ip -o -4 address show own0 | xargs | cut -d' ' -f4").shows(expect![[r#"
        10.78.5.7/24
    "#]]);
    drop(daemon);
    host.run("ip link show own0").success();
    let roots = "--docker-socket off --data-root $PWD/third --exec-root /run/test/third -H unix:///run/test/third.sock";
    host.run(&format!("timeout 20 hako daemon {roots} --bridge=nosuch0"))
        .code(1)
        .says("--bridge: there is no bridge nosuch0 on this host");
    host.run("ip link show nosuch0").code(1);
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    let host = own_host!();
    let _daemon = host.spawn(
        "exec hako daemon --debug --docker-socket off --data-root $PWD/full --exec-root /run/test/full -H unix:///run/test/full.sock 2>/dev/full",
    );
    let version = "timeout 5 docker -H unix:///run/test/full.sock version -f '{{.Server.Os}}'";
    host.wait_until("the daemon to answer", |host| host.run(version), |shown| shown.text() == "linux");
    host.run("docker -H unix:///run/test/full.sock inspect nosuch").code(1);
    host.run(version).success().says("linux");
}

#[test]
fn the_log_is_one_object_a_line_if_that_is_asked_for() {
    let host = own_host!();
    let daemon = host.second_daemon("second", &["--log-format=json"]);
    let log = daemon.log();
    let ready = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ready = ready.into_iter().find(|line| line["msg"] == "ready").unwrap_or_else(|| panic!("no such line:\n{log}"));
    assert_eq!(ready["level"], "info", "{log}");
    assert!(ready["time"].is_string() && ready["data_root"].is_string(), "{log}");
}

#[test]
fn prometheus_is_given_figures() {
    let host = own_host!();
    let daemon = host.second_daemon("second", &["--metrics-addr=127.0.0.1:9323"]);
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    host.run(&format!("docker {flags} run -d --name web busybox sleep 100")).success();
    host.run(&format!("docker {flags} create busybox true")).success();
    host.run("curl -si http://127.0.0.1:9323/metrics | tr -d '\\r'")
        .says("content-type: text/plain; version=0.0.4")
        .says("\nengine_daemon_container_states_containers{state=\"running\"} 1\n")
        .says("\nengine_daemon_container_states_containers{state=\"stopped\"} 1\n")
        .says("\nengine_daemon_container_actions_seconds_count{action=\"create\"} 2\n")
        .says("\nengine_daemon_container_actions_seconds_count{action=\"start\"} 1\n")
        .says("\n# TYPE engine_daemon_events_total counter\n")
        .says("graphdriver=\"overlay2\"");
    host.run("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9323/").shows(expect![["404\n"]]);
    let second = host.run("timeout 10 hako daemon --data-root /run/test/third --exec-root /run/test/third-run -H unix:///run/test/third.sock --metrics-addr 127.0.0.1:9323");
    second.code(1).says("cannot listen on --metrics-addr 127.0.0.1:9323");
}

#[test]
fn what_is_used_is_what_the_disk_says() {
    let host = own_host!();
    host.run("docker run --name writer -v data:/data busybox sh -c 'dd if=/dev/urandom of=/data/a bs=1M count=20; dd if=/dev/urandom of=/b bs=1M count=15; base64 /b | head -c 5000000' > /dev/null").success();
    host.run("docker commit writer made:1").success();
    let used = host.api("GET", "/v1.44/system/df", "").json();
    let sum = |list: &str, size: &dyn Fn(&serde_json::Value) -> i64| -> i64 {
        used[list].as_array().map_or(0, |all| all.iter().map(size).sum())
    };
    let total = used["LayersSize"].as_i64().unwrap_or(0)
        + sum("Containers", &|one| one["SizeRw"].as_i64().unwrap_or(0))
        + sum("Volumes", &|one| one["UsageData"]["Size"].as_i64().unwrap_or(0))
        + sum("BuildCache", &|one| one["Size"].as_i64().unwrap_or(0));
    let disk = host.run(&format!("du -s --apparent-size -B1 {} | cut -f1", host.daemon().data_root()));
    let disk: i64 = disk.text().parse().expect("a number of bytes");
    assert!((total - disk).abs() * 100 <= disk, "{total} of {disk} bytes are known of: {used:#}");
    // What two images have in common is said to be shared, and counted once.
    let images = used["Images"].as_array().expect("images");
    let base = images.iter().find(|image| image["RepoTags"][0] == "busybox:latest").expect("the base");
    assert_eq!(base["SharedSize"], base["Size"], "{base}");
}

#[test]
fn what_is_used_is_told_through_templates() {
    let host = host!();
    host.run("docker run -d --name web -v data:/data busybox sleep 100").success();
    host.run("docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}}' | head -3").shows(expect![[r#"
        Images 1 1
        Containers 1 1
        Local Volumes 1 1
    "#]]);
    host.run("docker system df -v --format '{{range .Containers}}{{.Names}} {{.LocalVolumes}}{{end}} {{range .Volumes}}{{.Name}} {{.Links}}{{end}} {{range .Images}}{{.Repository}} {{.Containers}}{{end}}'")
        .shows(expect![[r#"
            web 1 data 1 busybox 1
        "#]]);
    let all = host.run("docker system df -v --format json").json();
    assert_eq!(all["Volumes"][0]["Name"], "data", "{all}");
    assert!(all["BuildCache"].is_array() && all["Images"][0]["UniqueSize"].is_string(), "{all}");
    host.run("docker system df -v").says("Build cache usage: 0B").says("VOLUME NAME");
}

#[test]
fn what_the_host_lacks_is_said_and_what_it_means() {
    let host = own_host!();
    host.run("docker info 2>&1").says_not("IPv4 forwarding is disabled");
    host.run("echo 0 > /proc/sys/net/ipv4/ip_forward").success();
    host.run("docker info 2>&1").says(
        "WARNING: IPv4 forwarding is disabled: containers reach nothing beyond this host (net.ipv4.ip_forward, --ip-forward)",
    );
}
