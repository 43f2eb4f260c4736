//! The daemon dies, in every way a daemon dies, and no container, exit status or line of output is lost.

use expect_test::expect;
use hako_testkit::Host;

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
fn a_container_between_two_lives_goes_on_with_the_next_daemon() {
    let mut host = own_host!();
    host.run("docker run -d --name web --restart on-failure:5 busybox sh -c 'echo x >> /tries; exit 3'").success();
    let state = "docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' web";
    // Its next life is 800 ms away.
    host.wait_until("a pause", |host| host.run(state), |shown| shown.text() == "restarting 3 3");
    // Twice: what the first of them decides is known to the second.
    for _ in 0..2 {
        host.daemon_kill();
        host.daemon_start();
        let shown = host.run(state).text().to_owned();
        assert!(["restarting 3 3", "restarting 3 4", "running 0 4"].contains(&shown.as_str()), "{shown}");
    }
    host.wait_until("it to be given up", |host| host.run(state), |shown| shown.text() == "exited 3 5");
    host.run("docker export web | tar -xO tries | wc -l").shows(expect![[r#"
        6
    "#]]);
}

#[test]
fn a_stop_that_has_begun_is_meant_whichever_daemon_sees_the_end() {
    let mut host = own_host!();
    host.run("docker run -d --name web --restart unless-stopped busybox sh -c 'trap \"echo asked; until test -e /go; do usleep 10000; done; exit 0\" TERM; echo up; while :; do usleep 10000; done'")
        .success();
    host.wait_until("it to listen", |host| host.run("docker logs web"), |shown| shown.text().contains("up"));
    let stop = host.spawn("docker stop web");
    host.wait_until("it to be asked", |host| host.run("docker logs web"), |shown| shown.text().contains("asked"));
    host.daemon_kill();
    let _ = stop.end();
    host.daemon_start();
    host.run("docker exec web touch /go").success();
    host.run("docker wait web").shows(expect![[r#"
        0
    "#]]);
    host.run("docker inspect --format '{{.State.Status}} {{.RestartCount}}' web").shows(expect![[r#"
        exited 0
    "#]]);
}

#[test]
fn a_process_beside_the_first_goes_on_without_its_daemon() {
    let mut host = own_host!();
    host.run("docker run -d --name web busybox sleep 1000").success();
    // More than any pipe or ring holds: somebody has to take it.
    host.run("docker exec -d web sh -c 'until test -e /go; do usleep 10000; done; touch /done'").success();
    let watched = host.spawn(
        "docker exec web sh -c 'until test -e /go; do usleep 10000; done; head -c 9000000 /dev/zero; touch /written'",
    );
    host.wait_until(
        "both to run",
        |host| host.run("docker top web"),
        |shown| shown.text().matches("test -e /go").count() == 2,
    );
    host.daemon_kill();
    host.daemon_start();
    let _ = watched.end();
    host.run("docker exec web touch /go").success();
    host.wait_until(
        "both to be done",
        |host| host.run("docker exec web ls /done /written"),
        |shown| shown.text() == "/done\n/written",
    );
    // Who sat at a terminal has gone.
    let terminal = host.terminal("docker exec -it web sh");
    terminal.wait_for("/ # ");
    host.daemon_kill();
    host.daemon_start();
    let _ = terminal.end();
    host.wait_until(
        "the shell to be gone",
        |host| host.run("docker top web"),
        |shown| shown.text().lines().count() == 2,
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

#[test]
fn containers_do_not_notice_the_death_of_their_keeper() {
    let host = own_host!();
    // How a process ended whose keeper had died the kernel tells since 6.15.
    let told = hako_testkit::require::kernel(6, 15).is_ok();
    let code = |code: &'static str| if told { code } else { "255" };
    host.run(
        "docker run -d --name talk busybox sh -c 'n=0; until test -e /go; do n=$((n + 1)); echo $n; usleep 2000; done'",
    )
    .success();
    host.run("docker run -di --name echo busybox sh -c 'while read line; do echo got $line; done; echo over; exit 3'")
        .success();
    // A client that attaches sets another size first, so that programs draw again.
    host.run("docker run -dit --name screen busybox sh -c 'read line; until stty size | grep \"24 80\"; do usleep 10000; done; echo got $line; exit 4'").success();
    host.run("docker run -d --name killed --memory 32m busybox sh -c 'exec sleep 1000'").success();
    let exec = host.spawn("docker exec -i talk sh -c 'echo begun; read line; echo read $line; exit 6'; echo code $?");
    exec.wait_for("begun");
    let follower = host.spawn("docker logs -f talk");
    follower.wait_for("\n5\n");
    let pids = "docker inspect --format '{{.State.Pid}} {{.State.StartedAt}}' talk echo screen killed";
    let before = host.run(pids).text().to_owned();
    for _ in 0..2 {
        host.keeper_kill();
        host.run("docker run --rm busybox echo new").shows(expect![[r#"
            new
        "#]]);
    }
    assert_eq!(host.run(pids).text(), before);
    // Everything goes on: output, input, terminals, execs old and new, signals and how things end.
    exec.type_line("it").wait_for("read it").wait_for(&format!("code {}", code("6")));
    let attached = host.spawn("docker attach echo");
    attached.type_line("one").wait_for("got one");
    assert_eq!(host.run("docker exec talk touch /go && docker wait talk").text(), code("0"));
    let lines: Vec<usize> = host.run("docker logs talk").text().lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(lines, (1..=lines.len()).collect::<Vec<_>>());
    assert_eq!(follower.end().text(), host.run("docker logs talk").text());
    let screen = host.terminal("docker attach screen");
    screen.type_keys("hello\r");
    screen.wait_for("24 80").wait_for("got hello");
    let ends = host.run("docker wait screen; docker stop -t 0 killed; docker wait killed");
    assert_eq!(ends.text(), [code("4"), "killed", code("137")].join("\n"));
}

#[test]
fn the_next_daemon_takes_over_from_the_next_keeper() {
    let mut host = own_host!();
    host.run("docker run -di --name echo busybox sh -c 'while read line; do echo got $line; done'").success();
    host.keeper_kill();
    host.wait_until("another keeper", |host| host.processes_of("keeper"), |keepers| keepers.len() == 1);
    host.run("docker run -d --name web busybox sleep 1000").success();
    host.daemon_kill();
    host.daemon_start();
    let session = host.spawn("docker attach echo");
    session.type_line("one").wait_for("got one");
    host.run("docker exec web hostname -i; docker stop -t 0 web echo; docker ps -aq | wc -l").success().says("2");
}

#[test]
fn what_was_published_stays_so_when_the_keeper_dies() {
    let mut host = own_host!("probe");
    host.run("docker run -d --name web -p 8080:80 probe tcp 0.0.0.0:80 web").success();
    host.wait_until(
        "the server to listen",
        |host| host.run("docker logs web"),
        |shown| shown.text().contains("listening"),
    );
    let held = sockets_of_the_keeper(&host);
    host.keeper_kill();
    host.run_elsewhere("curl -s -m 5 198.51.100.1:8080").success().says("web from");
    // The port is safe once the next keeper has it.
    host.wait_until("another keeper with everything", sockets_of_the_keeper, |sockets| *sockets >= held);
    host.daemon_kill();
    host.run("timeout 5 probe tcp 0.0.0.0:8080 other").says("in use");
    host.daemon_start();
    host.run("curl -s -m 5 127.0.0.1:8080").success().says("web from");
}

fn sockets_of_the_keeper(host: &Host) -> usize {
    let [keeper] = host.processes_of("keeper")[..] else { return 0 };
    let descriptors = std::fs::read_dir(format!("/proc/{keeper}/fd")).into_iter().flatten().flatten();
    let is_socket = |path: &std::path::PathBuf| path.to_string_lossy().starts_with("socket:");
    descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok()).filter(is_socket).count()
}

#[test]
fn what_nobody_could_follow_is_ended_and_says_so() {
    let mut host = own_host!();
    host.run("docker run -d --name web busybox sh -c 'echo before; exec sleep 1000'").success();
    host.run("docker run -d --name again --restart always busybox sleep 1000").success();
    host.wait_until("its output", |host| host.run("docker logs web"), |shown| shown.text() == "before");
    let pid = host.run("docker inspect --format '{{.State.Pid}}' web").text().to_owned();
    host.daemon_kill();
    host.keeper_kill();
    host.daemon_start();
    host.run(&format!("test -e /proc/{pid}; echo $?; docker logs web")).shows(expect![[r#"
        1
        before
    "#]]);
    host.run("docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' web").shows(expect![[
        r#"
        exited 255 its daemon and its keeper were both killed: the next daemon has ended it
    "#
    ]]);
    host.wait_for_state("again", "running");
    host.run("docker start web && docker exec web true").success();
}

#[test]
fn clients_wait_while_no_daemon_runs() {
    let mut host = own_host!();
    host.run("docker run -d --name web busybox sleep 1000").success();
    host.daemon_kill();
    let waiting = host.spawn("docker ps --format '{{.Names}} {{.State}}'");
    let mut connection = host.connect();
    connection.send_raw(b"GET /_ping HTTP/1.1\r\nHost: hako\r\n\r\n").expect("the socket takes it");
    host.daemon_start();
    assert_eq!(connection.read_head().expect("the next daemon answers").status, 200);
    assert_eq!(waiting.end().text(), "web running");
    // A daemon that ends in order takes its socket along.
    host.daemon_stop();
    host.run("docker ps").says("Cannot connect to the Docker daemon");
    host.daemon_start();
    host.run("docker ps --format '{{.Names}} {{.State}}'").shows(expect![[r#"
        web running
    "#]]);
}

#[test]
fn a_daemon_listens_where_it_is_told_whatever_the_last_one_did() {
    let host = own_host!();
    let tcp = ["-H tcp://127.0.0.1:2399", "--tls=false"];
    let ping = "curl -s -m 30 http://127.0.0.1:2399/_ping";
    let daemon = host.second_daemon("second", &tcp);
    host.daemon_end(&daemon, "KILL");
    let waiting = host.spawn(ping);
    let daemon = host.second_daemon("second", &tcp);
    assert_eq!(waiting.end().text(), "OK");
    host.daemon_end(&daemon, "KILL");
    // This one is not told of TCP: nobody is kept waiting there.
    let daemon = host.second_daemon("second", &[]);
    host.run(ping).code(7);
    // Somebody has put another file in the place of its socket.
    host.daemon_end(&daemon, "KILL");
    host.run("rm /run/test/second.sock").success();
    let _daemon = host.second_daemon("second", &[]);
    host.run("docker -H unix:///run/test/second.sock ps").success();
}

/// Data roots of older builds, each with what it was told: containers, a network, a volume, an image.
const OLD_STATES: &[(&str, &[u8])] = &[("0.1.0-november", include_bytes!("state/0.1.0-november.tar.gz"))];

#[test]
fn the_state_of_an_older_build_opens() {
    let host = own_host!();
    for (name, packed) in OLD_STATES {
        host.write("old.tar.gz", packed);
        host.run(&format!("mkdir -p /run/test/{name} && tar -xzf old.tar.gz -C /run/test/{name}")).success();
        let root = format!("--data-root=/run/test/{name}");
        let daemon = host.second_daemon("old", &[&root]);
        let flags = format!("-H {}", daemon.address());
        host.run(&format!("docker {flags} ps -a --format '{{{{.Names}}}} {{{{.Image}}}} {{{{.State}}}}'")).shows(
            expect![[r#"
            failed old:1 created
            plain old:1 created
            web old:1 created
        "#]],
        );
        host.run(&format!("docker {flags} inspect --format '{{{{.HostConfig.Memory}}}} {{{{.HostConfig.RestartPolicy.Name}}}} {{{{.Config.Env}}}} {{{{.Config.Labels}}}} {{{{json .HostConfig.PortBindings}}}} {{{{range .Mounts}}}}{{{{.Name}}}}{{{{end}}}} {{{{.Config.Healthcheck.Test}}}}' web")).shows(expect![[r#"
            67108864 unless-stopped [A=1] map[from:old x:y] {"80/tcp":[{"HostIp":"","HostPort":"8080"}]} data [CMD-SHELL true]
        "#]]);
        host.run(&format!(
            "docker {flags} network inspect --format '{{{{(index .IPAM.Config 0).Subnet}}}} {{{{.Labels}}}}' red"
        ))
        .shows(expect![[r#"
            10.99.0.0/24 map[kind:test]
        "#]]);
        host.run(&format!("docker {flags} volume inspect --format '{{{{.Labels}}}}' data")).shows(expect![[r#"
            map[kept:yes]
        "#]]);
        host.run(&format!("docker {flags} cp plain:/greeting -  | tar -xO")).shows(expect![[r#"
            hello
        "#]]);
        host.run(&format!("docker {flags} rm web plain failed && docker {flags} rmi old:1 && docker {flags} volume rm data && docker {flags} network rm red")).success();
    }
}
