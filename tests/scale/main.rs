//! Scale: a thousand running containers, thousands of dead ones, and what they cost.
//!
//! Prints figures beside what is promised; it fails on errors, on containers that are missing and on what is left behind,
//! never on time: machines are busy. `cargo x test scale` builds the published binary and runs this as root.
#![forbid(unsafe_code)]

mod figure; // seconds, percentiles and kilobytes, as they are printed

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Barrier,
    time::{Duration, Instant},
};

use figure::{Figures, descriptors, proportional_kb};
use hako_testkit::{Host, Options, http::Connection, wait};

/// Running at once: a bridge has 1,023 ports.
const RUNNING: usize = 1_000;
/// Running when the daemon is killed and the next one takes them up.
const ADOPTED: usize = 100;
/// Started in the same moment, when half of them run.
const AT_ONCE: usize = 50;
/// Containers that do not run when a daemon starts.
const DEAD: usize = 10_000;
/// Clients that work side by side.
const CLIENTS: usize = 8;

const SLEEPER: &str = r#"{"Image":"busybox","Cmd":["sleep","100000"]}"#;

fn main() -> ExitCode {
    let disk = std::env::temp_dir().join(format!("hako-scale-{}", std::process::id()));
    let outcome = std::panic::catch_unwind(|| measure(&disk));
    let _ = std::fs::remove_dir_all(&disk);
    println!("test many_containers_run_end_and_leave_nothing ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(disk: &std::path::Path) {
    // As a daemon has it that nobody tells otherwise; other tests are content with fewer.
    let flags = vec!["--sandboxes=56"];
    // Prepared for containers to come, and no leak.
    let pool_is_full = |host: &Host| {
        let links = || host.run("ls /sys/class/net").text().lines().count();
        wait::until("the pool of sandboxes to be full", links, |links| *links >= 56);
    };
    let mut host = Host::with(&Options { disk: Some(PathBuf::from(disk)), flags, ..Options::default() });
    let mut figures = Figures::default();
    host.run("docker run --rm busybox true").success();
    pool_is_full(&host);
    let engine = |host: &Host| [host.processes_of("daemon"), host.processes_of("keeper")].concat();
    let (memory, open) = (proportional_kb(&engine(&host)), descriptors(&engine(&host)));

    let names: Vec<String> = (0..RUNNING).map(|number| format!("run-{number}")).collect();
    let (half, others) = names.split_at(RUNNING / 2);
    let (last, first) = half.split_at(AT_ONCE);
    let begun = |some: &[String]| format!("{} containers created and started", some.len());
    figures.time(&begun(first), "", || begin(&host, first));
    figures.times(&format!("{AT_ONCE} starts at once beside them"), "p99 ≤ 100 ms", &burst(&host, last));
    figures.time(&begun(others), "", || begin(&host, others));
    count(&host, "status=running", RUNNING);
    let cost = (proportional_kb(&engine(&host)) - memory) / RUNNING as f64;
    figures.amount("engine memory per running container", "≤ 150 KB", cost, "KB");
    figures.times("list of all", "≤ 3 ms", &list(&host, "/v1.44/containers/json", RUNNING));
    figures.times("exec in one of them", "≤ 5 ms", &execs(&host, &names[0]));

    let (stay, go) = names.split_at(ADOPTED);
    figures.time(&format!("{} removed by force", go.len()), "", || remove(&host, go));
    host.daemon_kill();
    let next = Instant::now();
    host.daemon_start();
    figures.lasted(&format!("a daemon that finds {ADOPTED} running"), "≤ 1 s", next.elapsed());
    count(&host, "status=running", ADOPTED);
    host.keeper_kill();
    let next = Instant::now();
    host.run("docker run --rm busybox true").success();
    figures.lasted(&format!("a keeper that takes over {ADOPTED}, and a run"), "", next.elapsed());
    figures.time(&format!("{ADOPTED} more removed"), "", || remove(&host, stay));

    let dead: Vec<String> = (0..DEAD).map(|number| format!("dead-{number}")).collect();
    figures.time(&format!("{DEAD} created"), "", || each(&host, &dead, create));
    figures.times("list of all, dead ones too", "≤ 10 ms", &list(&host, "/v1.44/containers/json?all=1", DEAD));
    host.daemon_kill();
    let next = Instant::now();
    host.daemon_start();
    figures.lasted(&format!("a daemon that finds {DEAD} dead"), "≤ 1 s", next.elapsed());
    count(&host, "status=created", DEAD);
    figures.time(&format!("{DEAD} removed"), "", || remove(&host, &dead));
    count(&host, "status=created", 0);
    nothing_is_left(&host);
    pool_is_full(&host);
    let now = descriptors(&engine(&host));
    print!("{figures}");
    println!("descriptors of daemon and keeper: {open} before, {now} after");
    assert!(now < open + 50, "descriptors are not closed");
}

/// Shares names out to clients that work side by side.
fn each(host: &Host, names: &[String], work: fn(&mut Connection, &str)) {
    std::thread::scope(|scope| {
        for some in names.chunks(names.len().div_ceil(CLIENTS).max(1)) {
            scope.spawn(move || {
                let mut connection = host.daemon().connect();
                some.iter().for_each(|name| work(&mut connection, name));
            });
        }
    });
}

fn begin(host: &Host, names: &[String]) {
    each(host, names, |connection, name| {
        create(connection, name);
        start(connection, name);
    });
}

fn remove(host: &Host, names: &[String]) {
    each(host, names, |connection, name| {
        expect(connection, "DELETE", &format!("/v1.44/containers/{name}?force=1"), "", 204);
    });
}

/// Containers that were made before are started in one moment; how long each took.
fn burst(host: &Host, names: &[String]) -> Vec<Duration> {
    each(host, names, create);
    let gate = Barrier::new(names.len());
    std::thread::scope(|scope| {
        let starts: Vec<_> = names
            .iter()
            .map(|name| {
                let gate = &gate;
                scope.spawn(move || {
                    let mut connection = host.daemon().connect();
                    gate.wait();
                    let began = Instant::now();
                    start(&mut connection, name);
                    began.elapsed()
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().expect("every start succeeds")).collect()
    })
}

fn list(host: &Host, path: &str, expected: usize) -> Vec<Duration> {
    let mut connection = host.daemon().connect();
    let mut once = || {
        let began = Instant::now();
        let answer = connection.send("GET", path, "").unwrap_or_else(|error| panic!("{path}: {error}"));
        let took = began.elapsed();
        assert_eq!(answer.json().as_array().map(Vec::len), Some(expected));
        took
    };
    (0..20).map(|_| once()).collect()
}

fn execs(host: &Host, name: &str) -> Vec<Duration> {
    let once = || {
        let began = Instant::now();
        host.run(&format!("docker exec {name} true")).success();
        began.elapsed()
    };
    (0..20).map(|_| once()).collect()
}

#[track_caller]
fn count(host: &Host, filter: &str, expected: usize) {
    assert_eq!(host.run(&format!("docker ps -aq --filter {filter} | wc -l")).text(), expected.to_string(), "{filter}");
}

fn nothing_is_left(host: &Host) {
    let (data, run) = (host.daemon().data_root().to_owned(), host.daemon().exec_root().to_owned());
    let look = format!(
        "ls {data}/containers {data}/snapshots/containers {run}/containers | grep -v ':$'; \
         ls /sys/class/net/*/brif 2>/dev/null | grep -v ':$'; \
         find /sys/fs/cgroup -type d -path '*hako*' | grep -E '[0-9a-f]{{64}}'"
    );
    wait::until("nothing to be left", || host.run(&look), |left| left.text().split_whitespace().next().is_none());
}

fn create(connection: &mut Connection, name: &str) {
    expect(connection, "POST", &format!("/v1.44/containers/create?name={name}"), SLEEPER, 201);
}

fn start(connection: &mut Connection, name: &str) {
    expect(connection, "POST", &format!("/v1.44/containers/{name}/start"), "", 204);
}

fn expect(connection: &mut Connection, method: &str, path: &str, body: &str, status: u16) {
    let answer = connection.send(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    assert!(answer.status == status, "{method} {path}: {}", answer.line());
}
