//! The daemon dies, in every way a daemon dies, and no container, exit status or line of output is lost.

use expect_test::expect;

#[test]
fn containers_run_on_and_are_adopted() {
    let mut host = own_host!();
    host.run("docker run -d --name web --hostname box busybox sh -c 'echo started; exec sleep 1000'").success();
    let pid = host.run("docker inspect --format '{{.State.Pid}} {{.State.StartedAt}}' web").text().to_owned();
    host.daemon_kill();
    assert!(host.run(&format!("kill -0 {}", pid.split(' ').next().unwrap_or_default())).stderr().is_empty());
    host.daemon_start();
    assert_eq!(host.run("docker inspect --format '{{.State.Pid}} {{.State.StartedAt}}' web").text(), pid);
    host.run("docker logs web && docker exec web hostname && docker stop -t 0 web && docker rm web").shows(expect![[
        r#"
        started
        box
        web
        web
    "#
    ]]);
}

#[test]
fn an_exit_while_nobody_looks_is_known_afterwards() {
    let mut host = own_host!();
    host.run(
        "docker run -d --name web busybox sh -c 'until test -e /go; do usleep 10000; done; echo last words; exit 42'",
    )
    .success();
    let pid = host.run("docker inspect --format '{{.State.Pid}}' web").text().to_owned();
    host.daemon_kill();
    host.run(&format!("touch /proc/{pid}/root/go")).success();
    host.wait_until(
        "the process to end",
        |host| host.run(&format!("test -e /proc/{pid}/root/go; echo $?")),
        |shown| shown.text() == "1",
    );
    host.daemon_start();
    host.run("docker wait web && docker logs web && docker inspect --format '{{.State.Status}}' web").shows(expect![[
        r#"
        42
        last words
        exited
    "#
    ]]);
}

#[test]
fn no_line_of_output_is_lost_or_repeated() {
    let mut host = own_host!();
    host.run("docker run -d --name web busybox sh -c 'n=0; while test $n -lt 3000; do n=$((n + 1)); echo $n; test $((n % 10)) = 0 && usleep 1000; done'").success();
    for _ in 0..3 {
        host.daemon_kill();
        host.daemon_start();
    }
    host.wait_for_state("web", "exited");
    let logs = host.run("docker logs web");
    let lines: Vec<usize> = logs.stdout().lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(lines, (1..=3000).collect::<Vec<_>>());
}

#[test]
fn attached_clients_are_let_go_and_come_back() {
    let mut host = own_host!();
    host.run("docker run -di --name web busybox sh -c 'while read line; do echo got $line; done'").success();
    let session = host.spawn("docker attach web");
    session.type_line("one");
    session.wait_for("got one");
    host.daemon_kill();
    let _ = session.end();
    host.daemon_start();
    let session = host.spawn("docker attach web");
    session.type_line("two");
    session.wait_for("got two");
    host.run("docker logs web").shows(expect![[r#"
        got one
        got two
    "#]]);
}

#[test]
fn killing_the_daemons_whole_unit_loses_no_container() {
    let mut host = own_host!();
    host.run("docker run -d --name web busybox sh -c 'exec sleep 1000'").success();
    let pid = host.run("docker inspect --format '{{.State.Pid}}' web").text().to_owned();
    host.daemon_kill_unit();
    host.daemon_start();
    assert_eq!(host.run("docker inspect --format '{{.State.Pid}}' web").text(), pid);
}

#[test]
fn published_ports_work_while_the_daemon_is_away() {
    let mut host = own_host!("probe");
    host.run("docker run -d --name web -p 8080:80 probe tcp 0.0.0.0:80 web").success();
    host.wait_until(
        "the server to listen",
        |host| host.run("docker logs web"),
        |shown| shown.text().contains("listening"),
    );
    host.daemon_kill();
    host.run_elsewhere("curl -s -m 5 198.51.100.1:8080").success().says("web from");
    host.run("probe tcp 0.0.0.0:8080 other").says("in use");
    host.daemon_start();
    host.run("curl -s -m 5 127.0.0.1:8080").success().says("web from");
    host.run("docker rm -f web").success();
    host.run("docker run --rm -p 8080:80 probe lines 1").success();
}

#[test]
fn a_stopped_daemon_leaves_its_containers_and_finds_them() {
    let mut host = own_host!();
    host.run("docker run -d --name web busybox sleep 1000").success();
    host.daemon_stop();
    host.daemon_start();
    host.run("docker ps --format '{{.Names}} {{.State}}'").shows(expect![[r#"
        web running
    "#]]);
}

#[test]
fn what_was_made_is_there_afterwards() {
    let mut host = own_host!();
    host.run("docker run --name done busybox sh -c 'echo x > /file; exit 3'").code(3);
    host.run("docker commit done made:1 && docker create --name later made:1 cat /file").success();
    host.daemon_kill();
    host.daemon_start();
    host.run("docker ps -a --format '{{.Names}} {{.State}}' | sort; docker start -a later").shows(expect![[r#"
        done exited
        later created
        x
    "#]]);
}

#[test]
fn an_auto_removed_container_that_ended_meanwhile_is_removed() {
    let mut host = own_host!();
    host.run("docker run -d --rm --name web busybox sh -c 'until test -e /go; do usleep 10000; done'").success();
    let pid = host.run("docker inspect --format '{{.State.Pid}}' web").text().to_owned();
    host.daemon_kill();
    host.run(&format!("touch /proc/{pid}/root/go")).success();
    host.daemon_start();
    host.wait_until("the container to be gone", |host| host.run("docker ps -aq"), |shown| shown.text().is_empty());
    host.run("docker run --rm --name web busybox true").success();
}

#[test]
fn restart_policies_hold_across_a_new_daemon() {
    let mut host = own_host!();
    host.run("docker run -d --name web --restart always busybox sleep 1000").success();
    host.daemon_kill();
    host.daemon_start();
    host.run("docker exec web sh -c 'kill -9 1' ; docker exec web sh -c 'kill -TERM 1'");
    let pid = host.run("docker inspect --format '{{.State.Pid}}' web").text().to_owned();
    host.run(&format!("kill -9 {pid}")).success();
    host.wait_until(
        "the container to run anew",
        |host| host.run("docker inspect --format '{{.State.Running}} {{.RestartCount}}' web"),
        |shown| shown.text().starts_with("true") && !shown.text().ends_with(" 0"),
    );
}

#[test]
fn a_hundred_containers_are_adopted_within_seconds() {
    let mut host = own_host!();
    host.run("for n in $(seq 30); do docker run -d --name c$n --network none busybox sleep 1000 >/dev/null; done")
        .success();
    host.daemon_kill();
    host.daemon_start();
    host.run("docker ps -q | wc -l").shows(expect![[r#"
        30
    "#]]);
}

#[test]
fn what_was_removed_does_not_come_back() {
    let mut host = own_host!();
    for round in 0..3 {
        let names: Vec<String> = (0..6).map(|number| format!("c{round}{number}")).collect();
        for name in &names {
            host.run(&format!("docker run -d --name {name} busybox sleep 1000")).success();
        }
        host.run(&format!("docker rm -f {}", names.join(" "))).success();
        host.daemon_stop();
        host.daemon_start();
        assert_eq!(host.run("docker ps -aq").text(), "");
    }
}
