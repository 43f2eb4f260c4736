//! Every operation of more than one step is failed after each of its steps, and leaves the host as it was.
//!
//! Debug builds of the daemon read `failpoint` in their exec-root: an operation's name and a step's number. The test
//! goes through the numbers until the operation succeeds, so a new step is covered without a word here.

use hako_testkit::Host;

/// More steps than any operation has.
const STEPS_MAX: usize = 30;

/// Fails `operation`, which `line` begins, after step 0, 1, 2, …; `undo` takes back the line that succeeds.
fn assert_unwinds(host: &Host, operation: &str, line: &str, undo: &str) {
    let failpoint = format!("{}/failpoint", host.daemon().exec_root());
    let alive = alive(host);
    // Whatever the first time leaves for good (skeletons of images, a cgroup parent) is there before the comparison.
    host.run(&format!("{line} && {undo}")).success();
    // What follows an end is done after the answer: links go from the bridge, and last the record from /run.
    host.wait_until("the first time to be over", self::alive, |left| *left == alive);
    let before = traces(host);
    for step in 0..STEPS_MAX {
        host.run(&format!("echo '{operation} {step}' > {failpoint}")).success();
        let shown = host.run(line);
        host.run(&format!("rm {failpoint}")).success();
        if shown.stderr().is_empty() {
            assert!(step > 0, "{operation} has no step that can fail: is this a debug build?");
            host.run(undo).success();
            return;
        }
        shown.says(&format!("of {operation} failed: failpoint"));
        // Links and namespaces go off the path.
        host.wait_until(&format!("nothing of {operation} to be left after step {step}"), traces, |after| {
            *after == before
        });
    }
    panic!("{operation} still fails after {STEPS_MAX} steps");
}

/// How much of running containers there is: links in bridges, and records.
fn alive(host: &Host) -> String {
    let run = host.daemon().exec_root();
    let count = format!("ls -A /sys/class/net/*/brif {run}/containers | grep -v ':$' | grep -c .");
    host.run(&count).text().to_owned()
}

/// What an operation could leave: files, mounts, links that belong to containers, ports, rules, cgroups, processes.
fn traces(host: &Host) -> String {
    let data = host.daemon().data_root();
    let run = host.daemon().exec_root();
    host.run(&format!(
        "ls {data}/containers {data}/snapshots/containers {data}/volumes {run}/containers; \
         cut -d' ' -f5 /proc/self/mountinfo | sort; \
         ls /sys/class/net/*/brif 2>/dev/null; ls {data}/networks; docker network ls -q; \
         docker inspect --format '{{{{json .NetworkSettings.Networks}}}}' $(docker ps -aq) 2>/dev/null; \
         ss -Hltnu 2>/dev/null | awk '{{print $5}}' | sort; \
         find /sys/fs/cgroup -type d -path '*hako*' 2>/dev/null | grep -E '[0-9a-f]{{64}}' | sort; \
         docker ps -aq; docker volume ls -q"
    ))
    .text()
    .to_owned()
}

#[test]
fn a_create_that_fails_leaves_nothing() {
    let host = own_host!();
    assert_unwinds(
        &host,
        "container.create",
        "docker create --name web -v data:/data -v /anonymous busybox true",
        "docker rm -v web && docker volume rm data",
    );
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let host = own_host!();
    host.run("docker create --name web -p 8080:80 -v data:/data busybox sleep 1000").success();
    assert_unwinds(&host, "container.start", "docker start web", "docker stop -t 0 web");
}

#[test]
fn a_network_that_is_not_made_leaves_nothing() {
    let host = own_host!();
    assert_unwinds(&host, "network.create", "docker network create front", "docker network rm front");
}

#[test]
fn a_connect_that_fails_leaves_nothing() {
    let host = own_host!();
    host.run("docker network create front && docker run -d --name web busybox sleep 1000").success();
    assert_unwinds(&host, "network.connect", "docker network connect front web", "docker network disconnect front web");
}
