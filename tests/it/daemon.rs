//! Daemons: several side by side, Docker's socket, flags, signals, what is left behind.

use expect_test::expect;
use hako_testkit::{Host, Options, needs, require};

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
