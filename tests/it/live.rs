//! Beyond Docker: a container changed while it runs, explained, and followed through the death of its daemon.

use expect_test::expect;

/// Answers on port 80 with what it is told, and serves files on 81.
const ECHO: &str =
    "docker run -d --name web -p 8080:80 busybox sh -c 'httpd -p 81 -h /etc; while :; do nc -l -p 80 -e cat; done'";

#[test]
fn ports_come_and_go_while_connections_last() {
    let mut host = own_host!();
    host.run(ECHO).success();
    host.wait_until(
        "what answers",
        |host| host.run("docker exec web netstat -ltn").text().to_owned(),
        |open| open.contains(":80 ") && open.contains(":81 "),
    );
    let talking = host.spawn(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; for word in one two three; do echo $word >&3; read -r back <&3; echo $back; read x; done'",
    );
    talking.wait_for("one");
    host.run("hako container update --publish-add 8081:81 --label-add team=blue web").shows(expect![[r#"
        web
    "#]]);
    host.run("curl -s -m 5 127.0.0.1:8081/group").success().says("root");
    host.run("docker inspect -f '{{.Config.Labels.team}}' web").says("blue");
    talking.type_line("go on").wait_for("two");
    host.run("docker port web | grep -v '::' | sort").shows(expect![[r#"
        80/tcp -> 0.0.0.0:8080
        81/tcp -> 0.0.0.0:8081
    "#]]);
    // The next daemon finds the ports as they are now.
    host.daemon_kill();
    host.daemon_start();
    host.run("curl -s -m 5 127.0.0.1:8081/group").success().says("root");
    host.run("hako container update --publish-rm 8081:81 web").success();
    host.run("curl -s -m 5 127.0.0.1:8081/group").code(7);
    host.run("docker run --rm -p 8081:81 busybox true").success();
    host.run("hako container update --publish-rm 9999 web").code(1).says("port 9999/tcp is not published");
    host.run("hako container update --publish-rm 80 --publish-add 8080:81 web").success();
    host.run("curl -s -m 5 127.0.0.1:8080/group").success().says("root");
    // What was changed is there after the next start, too.
    host.run("docker restart -t 0 web").success();
    host.run("curl -s -m 5 127.0.0.1:8080/group").success().says("root");
}

#[test]
fn a_port_that_cannot_be_had_changes_nothing() {
    let host = own_host!();
    host.run(ECHO).success();
    host.run("docker run -d --name other -p 8081:81 busybox sleep 100").success();
    host.run("hako container update --publish-rm 80 --publish-add 8081:81 web")
        .code(1)
        .says("port is already allocated");
    host.run("docker port web 80").says("0.0.0.0:8080");
    host.run("bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; echo still >&3; read -r back <&3; echo $back'").says("still");
}

#[test]
fn a_log_is_followed_through_the_death_of_its_daemon() {
    let mut host = own_host!();
    host.run("docker run -di --name web busybox sh -c 'echo first; read x; echo second; echo third >&2; read y'")
        .success();
    let session = host.spawn("hako logs -f web");
    session.wait_for("first");
    host.daemon_kill();
    host.daemon_start();
    let typing = host.spawn("docker attach web");
    typing.type_line("go on");
    session.wait_for("second");
    typing.type_line("and end");
    let shown = session.end();
    assert_eq!((shown.stdout(), shown.stderr()), ("first\nsecond\n", "third\n"));
}

#[test]
fn a_log_is_followed_through_a_restart() {
    let host = own_host!();
    host.run("docker run -d --name web busybox sh -c 'echo begins; exec sleep 1000'").success();
    let session = host.spawn("docker logs -f web");
    session.wait_for("begins");
    host.run("docker restart -t 0 web").success();
    session.wait_for("begins\nbegins");
    host.run("docker kill web").success();
    session.end().shows(expect![[r#"
        begins
        begins
    "#]]);
}

#[test]
fn why_explains_an_end() {
    let host = host!();
    host.run("docker run --name lost busybox nosuch").code(127);
    host.run("hako why lost").success().says("its start failed").says("nosuch");
    host.run("docker run -d --name deaf busybox sh -c 'trap \"\" TERM; while :; do sleep 1; done'").success();
    host.run("docker stop -t 1 deaf").success();
    host.run("hako why deaf").success().says("SIGKILL, after it had been told to end and did not");
    host.run("docker run --name bad busybox sh -c 'echo cannot find my file >&2; exit 3'").code(3);
    host.run("hako why bad").success().says("exit code 3").says("no restart policy").says("cannot find my file");
    host.run("docker run -d --name well busybox sleep 100").success();
    host.run("hako why well").success().says("nothing is the matter with it");
}

#[test]
fn how_much_of_a_log_is_kept_changes_while_it_is_written() {
    let host = own_host!();
    let script = "seq 3000; read next; seq 3000; read next; echo end";
    let mut session = host.spawn(&format!("docker run -i --name web --log-opt max-size=20k --log-opt max-file=5 --log-opt compress=false busybox sh -c '{script}'"));
    session.wait_for("3000");
    let files = |host: &hako_testkit::Host| {
        let path = host.run("docker inspect --format '{{.LogPath}}' web").text().to_owned();
        host.run(&format!("ls {path}* | wc -l")).text().to_owned()
    };
    host.wait_until("five files", files, |count| count == "5");
    host.run("hako update --log-opt max-file=2 --log-opt max-size=1m web").success();
    session.type_line("go");
    session.wait_for("3000\n1\n");
    host.wait_until("two files", files, |count| count == "2");
    host.wait_until(
        "a newest file that is larger than before",
        |host| host.run("stat -c %s $(docker inspect --format '{{.LogPath}}' web)").text().parse::<u64>().unwrap_or(0),
        |bytes| *bytes > 100_000,
    );
    session.type_line("go");
    session.close_stdin();
    session.end().success();
    host.run("docker logs --tail 2 web").shows(expect![[r#"
        3000
        end
    "#]]);
    host.run("docker inspect --format '{{json .HostConfig.LogConfig.Config}}' web").says("\"max-file\":\"2\"");
    let labels = || host.run("docker inspect --format '{{json .Config.Labels}}' web").text().to_owned();
    host.run("hako update --label-add a=b --label-add c=d web").success();
    assert_eq!(labels(), r#"{"a":"b","c":"d"}"#);
    host.run("hako update --label-rm a web && docker ps -aq --filter label=c=d | wc -l").shows(expect![[r#"
        web
        1
    "#]]);
    assert_eq!(labels(), r#"{"c":"d"}"#);
    host.run("hako update --log-opt tag=x web").code(1).says("log opt 'tag' cannot be changed");
}
