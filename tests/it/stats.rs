//! stats and top: what containers use, and which processes they have.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
};

use expect_test::expect;
use hako_testkit::{needs, require};

#[test]
fn a_sample_tells_what_a_container_uses() {
    needs!(require::controller("memory"));
    let host = host!();
    host.run("docker run -d --name busy -m 64m busybox sh -c 'while :; do :; done'").success();
    host.run("docker run -d --name idle --network none busybox sleep 1000").success();
    let shown = host
        .run("docker stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}} {{.NetIO}}' busy idle");
    let lines: Vec<Vec<&str>> = shown.stdout().lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!((lines.len(), lines[0][0], lines[1][0]), (2, "busy", "idle"), "{}", shown.stdout());
    let percent = |text: &str| text.trim_end_matches('%').parse::<f64>().expect("a percentage");
    assert!(percent(lines[0][1]) > 5.0, "{}", shown.stdout());
    assert!(percent(lines[1][1]) < 5.0, "{}", shown.stdout());
    assert_eq!((lines[0][4], lines[0][5]), ("64MiB", "1"), "{}", shown.stdout());
    assert_eq!(&lines[1][6..], ["0B", "/", "0B"], "{}", shown.stdout());
    host.run("docker stats --no-stream --format '{{.Name}}' | sort").shows(expect![[r#"
        busy
        idle
    "#]]);
    host.run("docker stats --no-stream nosuch").code(1).says("No such container: nosuch");
    host.run("docker stop -t 0 busy; docker stats --no-stream busy").says("0B / 0B");
}

#[test]
fn samples_have_dockers_shape_and_follow_each_other() {
    needs!(require::own_daemon());
    let host = host!();
    host.run("docker run -d --name web busybox sleep 1000").success();
    let one = host.api("GET", "/v1.48/containers/web/stats?stream=false", "").json();
    assert_eq!(one["name"], "/web");
    assert!(one["precpu_stats"]["system_cpu_usage"].as_u64() < one["cpu_stats"]["system_cpu_usage"].as_u64(), "{one}");
    assert_eq!(one["pids_stats"]["current"], 1);
    assert!(one["memory_stats"]["usage"].as_u64() > Some(0), "{one}");
    assert!(one["memory_stats"]["limit"].as_u64() > one["memory_stats"]["usage"].as_u64(), "{one}");
    assert!(one["networks"]["eth0"]["rx_bytes"].is_u64(), "{one}");
    assert!(one["networks"]["lo"].is_null(), "{one}");
    let shot = host.api("GET", "/v1.48/containers/web/stats?stream=false&one-shot=true", "").json();
    assert_eq!(
        (&shot["preread"], &shot["precpu_stats"]["cpu_usage"]["total_usage"]),
        (&"0001-01-01T00:00:00Z".into(), &0.into())
    );
    assert_eq!(host.api("GET", "/v1.48/containers/web/stats?stream=true&one-shot=true", "").status, 400);
    let stream = host.spawn("exec docker stats --format '{{.Name}} {{.PIDs}}' web");
    stream.wait_for("web 1");
    host.run("docker exec -d web sleep 1000").success();
    stream.wait_for("web 2");
    host.run("docker rm -f web").success();
}

#[test]
fn top_takes_the_options_of_ps() {
    let host = host!();
    host.run("docker run -d --name web -u 1:1 busybox sleep 1234").success();
    host.run("docker top web -o pid,comm | sed 's/^[0-9][0-9]*/N/' | xargs").shows(expect![[r#"
        PID COMMAND N sleep
    "#]]);
    host.run("docker top web aux | head -1 | xargs").shows(expect![[r#"
        USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND
    "#]]);
    host.run("docker top web aux | tail -1 | xargs").says("daemon").says("sleep 1234");
    host.run("docker top web -eo pid,args | tail -1").says("sleep 1234");
    host.run("docker top web -o comm").code(1).says("Couldn't find PID field in ps output");
    host.run("docker top web -o pid,nosuch").code(1).says("unknown user-defined format specifier");
}

#[test]
fn those_who_watch_one_container_share_its_samples() {
    let host = own_host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    let watch = || {
        let mut connection = host.connect();
        connection
            .send_raw(b"GET /v1.44/containers/web/stats HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("the daemon listens");
        assert_eq!(connection.read_head().expect("an answer").status, 200);
        connection
    };
    let when = |connection: &mut hako_testkit::http::Connection| -> BTreeSet<String> {
        let lines = BufReader::new(connection.stream()).lines().map(|line| line.expect("a line"));
        let samples = lines.filter(|line| line.starts_with('{'));
        let samples = samples.map(|line| serde_json::from_str::<serde_json::Value>(&line).expect("JSON"));
        samples.take(4).map(|sample| sample["read"].to_string()).collect()
    };
    let (mut one, mut two) = (watch(), watch());
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(|| when(&mut two));
        (when(&mut one), other.join().expect("samples"))
    });
    // The first of each is its own; the others were taken once for both.
    assert!(one.intersection(&two).count() >= 2, "{one:?} {two:?}");
}
