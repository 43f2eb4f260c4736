//! Containers started by other runtimes behind runc's command line: Debian's crun and runc, and `hako runtime`.
//!
//! Whatever starts them, what a person sees is the same; so each test is one function over all of them.

use expect_test::expect;
use hako_testkit::{Host, Options, needs, require};

/// A machine whose daemon knows the runtime as `other`. `hako runtime` is there by a link to the binary.
fn machine(program: &str, flags: &[&'static str], images: &[&'static str]) -> Host {
    let options = Options { flags: flags.to_vec(), images: Some(images.to_vec()), ..Options::default() };
    let host = Host::with(&options);
    let found = match program {
        "hako-runtime" => "$(command -v hako)",
        "crun" => "$(PATH=$PATH:/usr/sbin command -v crun)",
        _ => "$(PATH=$PATH:/usr/sbin command -v runc)",
    };
    host.run(&format!("mkdir -p /run/test/bin && ln -s {found} /run/test/bin/{program}")).success();
    host
}

/// crun refuses hosts that mount v1 hierarchies and have controllers in the v2 tree as well.
fn no_controllers_beside_v1() -> Result<(), String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let kinds: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let has_v1 = kinds.iter().any(|fields| fields.get(2) == Some(&"cgroup"));
    let controllers = kinds.iter().filter(|fields| fields.get(2) == Some(&"cgroup2")).any(|fields| {
        let list = std::fs::read_to_string(format!("{}/cgroup.controllers", fields[1])).unwrap_or_default();
        !list.trim().is_empty()
    });
    if has_v1 && controllers {
        return Err("crun needs a host without controllers in the v2 tree beside v1 hierarchies".to_owned());
    }
    Ok(())
}

macro_rules! each_runtime {
    ($($test:ident: $check:path;)+) => {$(
        mod $test {
            use super::*;

            #[test]
            fn hako_runtime() {
                needs!(require::own_daemon());
                needs!(require::root());
                $check("hako-runtime", &["--add-runtime", "other=/run/test/bin/hako-runtime"]);
            }

            #[test]
            fn crun() {
                needs!(require::own_daemon());
                needs!(require::root());
                needs!(require::program("crun"));
                needs!(no_controllers_beside_v1());
                $check("crun", &["--add-runtime", "other=/run/test/bin/crun"]);
            }

            #[test]
            fn runc() {
                needs!(require::own_daemon());
                needs!(require::root());
                needs!(require::program("runc"));
                $check("runc", &["--add-runtime", "other=/run/test/bin/runc"]);
            }
        }
    )+};
}

each_runtime! {
    what_a_container_says_and_how_it_ends: says_and_ends;
    processes_beside_the_first: execs;
    what_it_may_and_may_not: confined;
    a_daemon_that_dies: survives;
    terminals: terminals;
    networks_and_volumes: connected;
}

fn says_and_ends(program: &str, flags: &[&'static str]) {
    let host = machine(program, flags, &["busybox"]);
    host.run("docker run --rm --runtime other busybox sh -c 'echo out; echo err >&2; exit 7'").code(7);
    host.run("docker run --name one --runtime other busybox sh -c 'echo out; echo err >&2'").success();
    host.run("docker logs one 2>&1 | sort").shows(expect![[r#"
        err
        out
    "#]]);
    host.run("docker inspect --format '{{.HostConfig.Runtime}} {{.State.Status}} {{.State.ExitCode}}' one").shows(
        expect![[r#"
        other exited 0
    "#]],
    );
    host.run("docker start -a one").success().says("out");
    host.run("echo through | docker run --rm -i --runtime other busybox cat").shows(expect![[r#"
        through
    "#]]);
    // Docker's command line goes by the words, and crun's are others.
    let (unknown, directory) = if program == "crun" { (125, 125) } else { (127, 126) };
    host.run("docker run --rm --runtime other busybox nosuch").code(unknown).says("nosuch");
    host.run("docker run --rm --runtime other busybox /etc").code(directory);
    host.run("docker run -d --name long --runtime other --init busybox sleep 1000").success();
    host.run("docker exec long cat /proc/1/cmdline | tr '\\0' ' '").says("docker-init -- sleep 1000");
    host.run("docker stop -t 1 long && docker inspect --format '{{.State.ExitCode}}' long").says("143");
    host.run("docker rm one long").success();
    // Nothing is left: neither with the runtime nor of the bundles.
    let root = host.daemon().exec_root().to_owned();
    host.wait_until(
        "the runtime to have forgotten them",
        |host| {
            host.run(&format!(
                "ls {root}/bundles {root}/runtimes/other | grep -v : | grep . ; mount | grep {root}/bundles"
            ))
        },
        |shown| shown.stdout().is_empty(),
    );
}

fn execs(program: &str, flags: &[&'static str]) {
    let host = machine(program, flags, &["busybox"]);
    host.run("docker run -d --name web --runtime other -e A=b -w /tmp busybox sleep 1000").success();
    host.run("docker exec web sh -c 'echo $A $(pwd); exit 3'").code(3).says("b /tmp");
    host.run("echo in | docker exec -i -u 1000:1000 web sh -c 'cat; id -u'").shows(expect![[r#"
        in
        1000
    "#]]);
    host.run("docker exec web nosuch").code(127);
    host.run("docker exec -t web sh -c 'test -t 1 && echo terminal'").says("terminal");
    host.run("docker top web").says("sleep 1000");
    host.run("docker pause web && docker inspect --format '{{.State.Status}}' web && docker unpause web")
        .says("paused");
    host.run("docker kill web && docker wait web").says("137");
}

fn confined(program: &str, flags: &[&'static str]) {
    let host = machine(program, flags, &["busybox", "probe"]);
    let report = |flags: &str| host.run(&format!("docker run --rm {flags} probe report")).success().text().to_owned();
    assert_eq!(report("--runtime other"), report(""));
    assert_eq!(report("--runtime other -u 1000 --cap-drop ALL"), report("-u 1000 --cap-drop ALL"));
    let nothing = "--security-opt seccomp=unconfined --security-opt no-new-privileges";
    assert_eq!(report(&format!("--runtime other {nothing}")), report(nothing));
    let limits = "-m 64m --pids-limit 33 --cpus 0.5";
    let read = "cat $(find /sys/fs/cgroup -name memory.limit_in_bytes -o -name memory.max | head -1) $(find /sys/fs/cgroup -name pids.max | head -1)";
    let limited = |runtime: &str| {
        host.run(&format!("docker run --rm {runtime} {limits} busybox sh -c '{read}'")).success().text().to_owned()
    };
    assert_eq!(limited("--runtime other"), limited(""));
    let paths = "cat /proc/kcore 2>&1 | head -c 60; ls /proc/scsi; echo x > /proc/sys/kernel/hostname; mount -t tmpfs none /mnt";
    let refused =
        |runtime: &str| host.run(&format!("docker run --rm {runtime} busybox sh -c '{paths}' 2>&1")).text().to_owned();
    assert_eq!(refused("--runtime other"), refused(""));
    host.run("docker run -d --name one --runtime other -m 64m busybox sleep 1000").success();
    host.run("docker stats --no-stream --format '{{.MemUsage}}' one").says("/ 64MiB");
    host.run("docker update -m 96m --memory-swap 96m one && docker stats --no-stream --format '{{.MemUsage}}' one")
        .says("/ 96MiB");
}

fn survives(program: &str, flags: &[&'static str]) {
    let mut host = machine(program, flags, &["busybox"]);
    host.run("docker run -d --name web --runtime other busybox sh -c 'echo started; until test -e /go; do usleep 10000; done; echo last; exit 42'").success();
    host.daemon_kill();
    host.daemon_start();
    // Whoever touches it may be ended with the container that sees it.
    host.run("docker exec web touch /go; docker wait web && docker logs web").shows(expect![[r#"
        42
        started
        last
    "#]]);
    host.run("docker rm web").success();
}

fn terminals(program: &str, flags: &[&'static str]) {
    let host = machine(program, flags, &["busybox"]);
    host.run("docker run --rm -t --runtime other busybox sh -c 'test -t 0 && test -t 1 && echo terminal'")
        .says("terminal");
    let session = host.terminal("docker run --rm -it --runtime other busybox sh");
    session.resize(33, 77);
    session.type_keys("stty size; exit 5\r");
    session.wait_for("33 77");
    session.end().code(5);
}

fn connected(program: &str, flags: &[&'static str]) {
    let host = machine(program, flags, &["busybox"]);
    host.run("docker network create net && docker volume create data").success();
    host.run("docker run -d --name web --network net --runtime other -v data:/data busybox sh -c 'echo kept > /data/file; exec nc -ll -p 80 -e echo hello'").success();
    host.run("docker run --rm --network net busybox sh -c 'until nc web 80 </dev/null; do usleep 50000; done'")
        .says("hello");
    host.run("docker run --rm --runtime other --network container:web busybox ip -o link show eth0").says("eth0");
    host.run("docker run --rm --runtime other -v data:/data:ro busybox sh -c 'cat /data/file; echo no > /data/file'")
        .code(1)
        .says("kept");
    host.run("docker run --rm --runtime other --read-only --tmpfs /t busybox sh -c 'touch /t/x && touch /x'").code(1);
}

#[test]
fn runtimes_are_named_told_and_refused() {
    needs!(require::own_daemon());
    needs!(require::root());
    let host = machine("hako-runtime", &[], &["busybox"]);
    host.run("docker run --rm --runtime other busybox true").code(125).says("unknown or invalid runtime name: other");
    host.run("docker run --rm --runtime /run/test/bin/hako-runtime busybox echo by its path").says("by its path");
    host.run("docker run --rm --runtime runc busybox echo the usual one").says("the usual one");
    let wrong = "timeout 10 hako daemon --validate --add-runtime a=b --default-runtime c";
    host.run(wrong).code(1).says("specified default runtime 'c' does not exist");
}

#[test]
fn runtimes_come_from_the_file_and_with_a_reload() {
    needs!(require::own_daemon());
    needs!(require::root());
    let host = machine("hako-runtime", &[], &["busybox"]);
    host.write("daemon.json", "{}");
    let file = host.run("pwd").stdout().trim().to_owned();
    let flags = ["--config-file", &format!("{file}/daemon.json"), "--pidfile /run/test/second.pid"];
    let second = host.second_daemon("second", &flags);
    let to = format!("-H {}", second.address());
    host.load_into("busybox", &to);
    host.write(
        "daemon.json",
        r#"{"runtimes": {"other": {"path": "/run/test/bin/hako-runtime", "runtimeArgs": ["--debug"]}}, "default-runtime": "other"}"#,
    );
    host.run("kill -HUP $(cat /run/test/second.pid)").success();
    let info = format!("docker {to} info --format '{{{{.DefaultRuntime}}}} {{{{json .Runtimes.other}}}}'");
    host.wait_until(
        "the new runtime",
        |host| host.run(&info),
        |shown| shown.text().starts_with(r#"other {"path":"/run/test/bin/hako-runtime","runtimeArgs":["--debug"]"#),
    );
    host.run(&format!("docker {to} run --name one busybox echo by default")).says("by default");
    host.run(&format!("docker {to} inspect --format '{{{{.HostConfig.Runtime}}}}' one")).says("other");
}
