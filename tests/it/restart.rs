//! Restart policies, what ended a container, and what is changed while it runs.

use expect_test::expect;
use hako_testkit::{needs, require};

#[test]
fn a_failing_container_is_started_so_many_times() {
    let host = host!();
    host.run("docker run -d --name web --restart on-failure:2 busybox sh -c 'echo x >> /tries; exit 3'").success();
    let state = "docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' web";
    host.wait_until("it to be given up", |host| host.run(state), |shown| shown.text() == "exited 3 2");
    host.run("docker start web").success();
    host.wait_until("it to be given up again", |host| host.run(state), |shown| shown.text() == "exited 3 2");
    host.run("docker export web | tar -xO tries | wc -l").shows(expect![[r#"
        6
    "#]]);
    host.run("docker run -d --name well --restart on-failure busybox true").success();
    host.wait_for_state("well", "exited");
    host.run("docker inspect --format '{{.RestartCount}}' well").shows(expect![[r#"
        0
    "#]]);
}

#[test]
fn the_pause_grows_and_a_stop_ends_it() {
    let host = host!();
    host.run("docker run -d --name web --restart always busybox sh -c 'exit 1'").success();
    let count = "docker inspect --format '{{.RestartCount}}' web";
    host.wait_until("some starts", |host| host.run(count), |shown| shown.text().parse::<u32>().is_ok_and(|n| n >= 4));
    host.run("docker ps -a --format '{{.Status}}'").says("Restarting (1)");
    host.run("docker stop web; docker inspect --format '{{.State.Status}}' web").shows(expect![[r#"
        web
        exited
    "#]]);
    let stopped = host.run(count).text().to_owned();
    host.run("docker run --rm busybox sleep 1").success();
    assert_eq!(host.run(count).text(), stopped);
}

#[test]
fn a_stop_that_had_to_kill_says_so() {
    let host = host!();
    host.run("docker run -d --name web --stop-timeout 1 --stop-signal USR1 busybox sh -c 'trap : USR1; while :; do sleep 1; done'").success();
    host.run("docker stop web; docker inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}}' web").shows(expect![
        [r#"
        web
        137 false
    "#]
    ]);
    needs!(require::own_daemon());
    host.run("docker inspect --format '{{.State.Error}}' web").shows(expect![[r#"
        did not end within 1 s of SIGUSR1 and was killed
    "#]]);
    host.run("docker start web; docker inspect --format '[{{.State.Error}}]' web; docker rm -f web").shows(expect![[
        r#"
        web
        []
        web
    "#
    ]]);
}

/// Everything that runs ends at once and `/run` is empty afterwards.
fn power_cut(host: &mut hako_testkit::Host) {
    let pids = host.run("docker ps -q | xargs docker inspect --format '{{.State.Pid}}'").text().replace('\n', " ");
    let exec_root = host.daemon().exec_root().to_owned();
    host.daemon_stop();
    // All at once: nobody is left to write down that a container has ended.
    for keeper in host.processes_of("keeper") {
        hako_testkit::program("kill").args(["-9", &keeper.to_string()]).status().expect("every system has kill");
    }
    host.run(&format!("kill -9 {pids}")).success();
    host.wait_until("the keeper to be gone", |host| host.processes_of("keeper"), Vec::is_empty);
    host.run(&format!("rm -rf {exec_root}")).success();
    host.daemon_start();
}

#[test]
fn policies_hold_across_a_power_cut() {
    let mut host = own_host!();
    for policy in ["no", "always", "unless-stopped", "on-failure"] {
        host.run(&format!("docker run -d --name {policy} --restart {policy} busybox sleep 4711")).success();
        host.run(&format!("docker run -d --name {policy}-stopped --restart {policy} busybox sleep 4711")).success();
        host.run(&format!("docker stop -t 0 {policy}-stopped")).success();
    }
    // Written by a thread of its own, off the start's path.
    host.run("docker create --name last busybox").success();
    power_cut(&mut host);
    let all = "docker ps -a --format '{{.Names}} {{.State}}' | sort";
    host.wait_until(
        "those with a policy to run",
        |host| host.run(all),
        |shown| shown.text().matches("running").count() == 4,
    );
    host.run(all).shows(expect![[r#"
        always running
        always-stopped running
        last created
        no exited
        no-stopped exited
        on-failure running
        on-failure-stopped exited
        unless-stopped running
        unless-stopped-stopped exited
    "#]]);
    host.run("docker inspect --format '{{.State.ExitCode}}' no").shows(expect![[r#"
        255
    "#]]);
}

#[test]
fn limits_and_policy_change_while_it_runs() {
    needs!(require::controller("pids"));
    needs!(require::controller("cpu"));
    let host = host!();
    host.run("docker run -d --name web busybox sleep 1000").success();
    host.run("docker update --pids-limit 77 --cpus 0.5 --cpu-shares 512 --restart on-failure:3 web").success();
    let read = "docker exec web sh -c 'cd /sys/fs/cgroup; cat pids/pids.max cpu/cpu.cfs_quota_us 2>/dev/null || cat pids.max cpu.max'";
    let seen = host.run(read).text().to_owned();
    assert!(seen.starts_with("77\n50000"), "{seen}");
    host.run("docker inspect --format '{{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}' web").shows(expect![[r#"
        77 500000000 on-failure:3
    "#]]);
    host.run("docker restart -t 0 web").success();
    assert_eq!(host.run(read).text(), seen);
    host.run("docker update --memory 1k web").code(1).says("Minimum memory limit allowed is 6MB");
    host.run("docker update --cpus 0.5 nosuch").code(1).says("No such container: nosuch");
}

#[test]
fn a_stop_meets_a_container_in_any_of_its_lives() {
    let host = host!();
    // Whether it runs, has just ended, or waits for its next life: it is stopped, and no error.
    for round in 0..20 {
        host.run(&format!(
            "docker run -d --name w{round} --restart unless-stopped busybox false && docker stop w{round}"
        ))
        .success();
    }
    host.run("docker ps -aq --filter status=exited | wc -l; docker ps -q --filter status=restarting --filter status=running | wc -l")
        .shows(expect![[r#"
            20
            0
        "#]]);
}

#[test]
fn a_restart_is_done_though_its_client_leaves() {
    needs!(require::unkilled_daemon());
    let host = own_host!("busybox");
    host.run("docker run -d --name deaf busybox sh -c 'trap : TERM; while :; do sleep 0.1; done'").success();
    let started = host.run("docker inspect --format '{{.State.StartedAt}}' deaf").text().to_owned();
    let mut client = host.connect();
    client
        .send_raw(b"POST /v1.50/containers/deaf/restart?t=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .expect("a request");
    host.wait_until(
        "the stop to begin",
        |host| host.run("docker events --since 0 --until 0s --filter event=kill --format '{{.Action}}'"),
        |shown| shown.text() == "kill",
    );
    drop(client);
    host.wait_until(
        "the restart to be told",
        |host| host.run("docker events --since 0 --until 0s --filter event=restart --format '{{.Action}}'"),
        |shown| shown.text() == "restart",
    );
    let now = host.run("docker inspect --format '{{.State.Running}} {{.State.StartedAt}}' deaf").text().to_owned();
    assert!(now.starts_with("true") && !now.ends_with(&started), "{started} {now}");
}
