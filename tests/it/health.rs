//! Health checks: by command as Docker makes them, over the network as only hako does, and what follows from them.

use expect_test::expect;
use hako_testkit::{Host, needs, require};

fn wait_for_health(host: &Host, container: &str, expected: &str) {
    let line = format!("docker inspect --format '{{{{.State.Health.Status}}}}' {container}");
    host.wait_until(&format!("{container} to be {expected}"), |host| host.run(&line), |shown| shown.text() == expected);
}

#[test]
fn a_command_decides_and_the_last_five_looks_are_kept() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker run -d --name web --health-cmd 'cat /well' --health-interval 200ms --health-retries 9 busybox sleep 1000")
        .success();
    host.run("docker ps --format '{{.Status}}' | sed 's/.*(/(/'").shows(expect![[r#"
        (health: starting)
    "#]]);
    wait_for_health(&host, "web", "unhealthy");
    host.run("docker ps --filter health=unhealthy --format '{{.Names}} {{.Status}}' | sed 's/Up.*(/(/'").shows(
        expect![[r#"
            web (unhealthy)
        "#]],
    );
    host.run("docker inspect --format '{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}' web").shows(
        expect![[r#"
            1 cat: can't open '/well': No such file or directory

        "#]],
    );
    host.run("docker exec web sh -c 'echo fine > /well'").success();
    wait_for_health(&host, "web", "healthy");
    let log = "docker inspect --format '{{len .State.Health.Log}} {{.State.Health.FailingStreak}}' web";
    host.wait_until("five looks", |host| host.run(log), |shown| shown.text() == "5 0");
    host.run("docker ps --filter health=healthy --format '{{.Names}} {{.Status}}' | sed 's/Up.*(/(/'").shows(expect![
        [r#"
            web (healthy)
        "#]
    ]);
    host.run("docker ps --filter health=wrong").code(1).says("for health: wrong");
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!(
        "docker events --since {since} --until {until} --filter event=health_status --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}}'"
    ))
    .shows(expect![[r#"
        health_status: unhealthy web
        health_status: healthy web
    "#]]);
    host.run(&format!(
        "docker events --since {since} --until {until} --filter container=web --format '{{{{.Action}}}}' | grep exec | head -3"
    ))
    .shows(expect![[r#"
        exec_create: /bin/sh -c cat /well
        exec_start: /bin/sh -c cat /well
        exec_die
    "#]]);
    host.run("docker stop -t 0 web; docker inspect --format '{{.State.Health.Status}}' web").shows(expect![[r#"
        web
        unhealthy
    "#]]);
}

#[test]
fn a_check_that_takes_too_long_is_killed() {
    let host = host!();
    host.run("docker run -d --name web --health-cmd 'echo hm; exec sleep 1234' --health-interval 100ms --health-timeout 1s --health-retries 1 busybox sleep 1000")
        .success();
    wait_for_health(&host, "web", "unhealthy");
    host.run("docker inspect --format '{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}' web").shows(
        expect![[r#"
            -1 Health check exceeded timeout (1s): hm

        "#]],
    );
    let others = "docker exec web sh -c 'ps | grep -c [s]leep.1234'";
    // The next check may have begun, but they do not pile up.
    assert!(matches!(host.run(others).text(), "0" | "1"));
}

#[test]
fn failures_while_it_starts_up_do_not_count() {
    let host = host!();
    host.run("docker run -d --name web --health-cmd 'test -e /well' --health-interval 1h --health-start-period 1h --health-start-interval 100ms --health-retries 1 busybox sleep 1000").success();
    let looks = "docker inspect --format '{{len .State.Health.Log}} {{.State.Health.Status}} {{.State.Health.FailingStreak}}' web";
    host.wait_until("some looks", |host| host.run(looks), |shown| shown.text() == "5 starting 0");
    host.run("docker exec web touch /well").success();
    wait_for_health(&host, "web", "healthy");
}

#[test]
fn an_images_check_is_taken_changed_or_left_out() {
    let host = host!();
    host.run("docker create --name base busybox && docker commit --change 'HEALTHCHECK --interval=100ms --retries=7 CMD test -e /well' base checked").success();
    host.run("docker run -d --name own checked sh -c 'touch /well; exec sleep 1000'").success();
    wait_for_health(&host, "own", "healthy");
    host.run("docker run -d --name changed --health-cmd 'exit 0' checked sleep 1000").success();
    wait_for_health(&host, "changed", "healthy");
    host.run("docker inspect --format '{{json .Config.Healthcheck}}' changed").shows(expect![[r#"
        {"Test":["CMD-SHELL","exit 0"],"Interval":100000000,"Retries":7}
    "#]]);
    host.run("docker run -d --name none --no-healthcheck checked sleep 1000").success();
    host.run("docker inspect --format '{{.Config.Healthcheck.Test}}{{if .State.Health}} checked{{end}}' none").shows(
        expect![[r#"
            [NONE]
        "#]],
    );
    host.run("docker ps --filter health=none --format '{{.Names}}'").shows(expect![[r#"
        none
    "#]]);
}

#[test]
fn health_is_known_to_the_next_daemon() {
    let mut host = own_host!();
    host.run("docker run -d --name web --health-cmd 'echo fine; test ! -e /ill' --health-interval 200ms --health-retries 1 busybox sleep 1000").success();
    wait_for_health(&host, "web", "healthy");
    host.daemon_kill();
    host.daemon_start();
    host.run(
        "docker inspect --format '{{.State.Health.Status}} {{with index .State.Health.Log 0}}{{.Output}}{{end}}' web",
    )
    .shows(expect![[r#"
        healthy fine

    "#]]);
    host.run("docker exec web touch /ill").success();
    wait_for_health(&host, "web", "unhealthy");
}

/// A container that is asked over its network: by the API, since docker's command line has no flag for it.
fn asked(host: &Host, name: &str, test: &str, command: &str) {
    let body = format!(
        r#"{{"Image":"busybox","Cmd":["sh","-c","{command}"],"Healthcheck":{{"Test":{test},"Interval":100000000,"Retries":2}}}}"#
    );
    let answer = host.api("POST", &format!("/v1.48/containers/create?name={name}"), &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    host.run(&format!("docker start {name}")).success();
}

#[test]
fn http_and_tcp_are_asked_without_a_process() {
    needs!(require::unkilled_daemon());
    let host = own_host!();
    let since = host.run("date +%s.%N").text().to_owned();
    let serve = "mkdir -p /www/sub; echo hello > /www/sub/page; exec httpd -f -p 8080 -h /www";
    asked(&host, "web", r#"["HTTP",":8080/sub/page"]"#, serve);
    asked(&host, "missing", r#"["HTTP",":8080/nothing"]"#, serve);
    asked(&host, "port", r#"["TCP","localhost:8080"]"#, serve);
    asked(&host, "closed", r#"["TCP",":81"]"#, serve);
    wait_for_health(&host, "web", "healthy");
    wait_for_health(&host, "port", "healthy");
    wait_for_health(&host, "missing", "unhealthy");
    wait_for_health(&host, "closed", "unhealthy");
    let last = "{{range .State.Health.Log}}{{$.Name}} {{.Output}}\n{{end}}";
    host.run(&format!("docker inspect --format '{last}' web missing port closed | sort -u | grep .")).shows(expect![[
        r#"
        /closed 127.0.0.1:81: connection refused
        /missing 127.0.0.1:8080: it answered "HTTP/1.1 404 Not Found"
        /port connected to 127.0.0.1:8080
        /web HTTP/1.1 200 OK
    "#
    ]]);
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!("docker events --since {since} --until {until} --format '{{{{.Action}}}}' | grep -c exec"))
        .code(1);
    let refused =
        host.api("POST", "/v1.48/containers/create", r#"{"Image":"busybox","Healthcheck":{"Test":["TCP","db:80"]}}"#);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("invalid health check target"), "{}", refused.text());
}

#[test]
fn an_unhealthy_container_is_started_again_if_that_was_asked_for() {
    let host = own_host!();
    host.run("docker run -d --name web --annotation hako.restart-unhealthy=true --stop-signal KILL --health-cmd 'test ! -e /ill' --health-interval 100ms --health-retries 1 busybox sh -c 'rm -f /ill; exec sleep 1000'").success();
    wait_for_health(&host, "web", "healthy");
    let pid = host.run("docker inspect --format '{{.State.Pid}}' web").text().to_owned();
    host.run("docker exec web touch /ill").success();
    host.wait_until(
        "another process",
        |host| host.run("docker inspect --format '{{.State.Pid}} {{.RestartCount}} {{.State.Running}}' web"),
        |shown| shown.text().ends_with(" 1 true") && !shown.text().starts_with(&pid),
    );
    wait_for_health(&host, "web", "healthy");
    host.run("docker run --rm --annotation hako.restart-unhealthy=true busybox true").code(125).says("conflicting");
}

#[test]
fn our_own_flags_ask_over_the_network_and_start_again() {
    needs!(require::own_cli());
    let host = own_host!();
    let every = "--health-interval 100ms --health-retries 1";
    let serve = "sh -c 'httpd -f -p 8080 -h /etc'";
    host.run(&format!("docker run -d --name http {every} --health-http :8080/passwd busybox {serve}")).success();
    host.run(&format!("docker run -d --name tcp {every} --health-tcp :8080 busybox {serve}")).success();
    wait_for_health(&host, "http", "healthy");
    wait_for_health(&host, "tcp", "healthy");
    host.run(&format!(
        "docker run -d --name ill {every} --health-tcp :81 --restart-unhealthy --stop-signal KILL busybox {serve}"
    ))
    .success();
    host.wait_until(
        "another life",
        |host| host.run("docker inspect --format '{{.RestartCount}}' ill"),
        |shown| shown.text().parse::<u32>().is_ok_and(|count| count > 0),
    );
}
