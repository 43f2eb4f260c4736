//! What is measured. Each part samples hako and its peer by turns, so that both see the same machine.

use std::{
    process::Stdio,
    sync::Barrier,
    time::{Duration, Instant},
};

use hako_testkit::{http::Connection, program};

use crate::{
    compose, health, image,
    measure::{Samples, Table},
    memory, network, registry, runtime,
    subject::Subject,
};

type Part = fn(&mut Table, &Subject, Option<&Subject>, usize, usize);

pub(crate) const PARTS: &[(&str, Part)] = &[
    ("floor", floor),
    ("rest", rest),
    ("run", run),
    ("api", api),
    ("exec", exec),
    ("ps", ps),
    ("burst", burst),
    ("many", many),
    ("health", health::health),
    ("network", network::network),
    ("runtime", runtime::runtime),
    ("image", image::image),
    ("registry", registry::registry),
    ("compose", compose::compose),
];

/// What any process costs here: fork, exec and wait of one that does nothing.
fn floor(table: &mut Table, _: &Subject, _: Option<&Subject>, rounds: usize, _: usize) {
    let mut samples = Samples::default();
    for _ in 0..rounds {
        samples.time(|| program("/bin/true").stdin(Stdio::null()).status().is_ok());
    }
    table.times("fork, exec and wait of /bin/true", "(the floor)", &samples, None);
}

/// Samples `work` on both by turns: one of the peer for each ten of hako.
fn by_turns(
    own: &Subject,
    peer: Option<&Subject>,
    rounds: usize,
    mut work: impl FnMut(&Subject, &mut Samples),
) -> (Samples, Option<Samples>) {
    // The first time fills caches that a person's hundredth time finds full.
    for subject in [Some(own), peer].into_iter().flatten() {
        work(subject, &mut Samples::default());
    }
    let (mut owns, mut peers) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        work(own, &mut owns);
        if let Some(peer) = peer.filter(|_| round % 10 == 0) {
            work(peer, &mut peers);
        }
    }
    (owns, peer.map(|_| peers))
}

fn run(table: &mut Table, own: &Subject, peer: Option<&Subject>, rounds: usize, _: usize) {
    for (what, network, budget) in [
        ("run --rm busybox true, bridge, end to end", "bridge", "≤ 15 ms p50, ≥ 30×"),
        ("run --rm busybox true, host network", "host", "≤ 10 ms p50"),
    ] {
        let (owns, peers) = by_turns(own, peer, rounds, |subject, samples| {
            samples.time(|| subject.run(&["run", "--rm", "--network", network, "busybox", "true"]));
        });
        table.times(what, budget, &owns, peers.as_ref());
    }
}

const SLEEPER: &str = r#"{"Image":"busybox","Cmd":["sleep","100000"]}"#;

fn api(table: &mut Table, own: &Subject, peer: Option<&Subject>, rounds: usize, _: usize) {
    let mut serial = 0;
    let (owns, peers) = by_turns(own, peer, rounds, |subject, samples| {
        serial += 1;
        let name = format!("bench-api-{serial}");
        let mut connection = subject.connect();
        samples.time(|| {
            create(&mut connection, &name);
            start(&mut connection, &name);
        });
        subject.remove(&[name]);
    });
    table.times("API create + start, bridge", "≤ 5 ms p50, ≤ 15 ms p99", &owns, peers.as_ref());
}

fn exec(table: &mut Table, own: &Subject, peer: Option<&Subject>, rounds: usize, _: usize) {
    with_one(own, peer, "bench-exec", || {
        let (owns, peers) = by_turns(own, peer, rounds, |subject, samples| {
            samples.time(|| subject.run(&["exec", "bench-exec", "true"]));
        });
        table.times("exec … true, end to end", "≤ 5 ms p50", &owns, peers.as_ref());
    });
}

fn ps(table: &mut Table, own: &Subject, peer: Option<&Subject>, rounds: usize, _: usize) {
    with_one(own, peer, "bench-ps", || {
        let (owns, peers) = by_turns(own, peer, rounds, |subject, samples| {
            samples.time(|| subject.run(&["ps"]));
        });
        table.times("ps, end to end", "≤ 3 ms p50", &owns, peers.as_ref());
    });
}

/// While one container runs on each.
fn with_one(own: &Subject, peer: Option<&Subject>, name: &str, work: impl FnOnce()) {
    let both = || [Some(own), peer].into_iter().flatten();
    for subject in both() {
        let mut connection = subject.connect();
        create(&mut connection, name);
        start(&mut connection, name);
    }
    work();
    for subject in both() {
        subject.remove(&[name.to_owned()]);
    }
}

/// Fifty containers, made before, are started at once over as many open connections.
fn burst(table: &mut Table, own: &Subject, peer: Option<&Subject>, _: usize, _: usize) {
    const AT_ONCE: usize = 50;
    let measured = |subject: &Subject| {
        let names: Vec<String> = (0..AT_ONCE).map(|number| format!("bench-burst-{number}")).collect();
        let mut connections: Vec<Connection> = names.iter().map(|_| subject.connect()).collect();
        for (connection, name) in connections.iter_mut().zip(&names) {
            create(connection, name);
        }
        let gate = Barrier::new(AT_ONCE);
        let times = std::thread::scope(|scope| {
            let threads: Vec<_> = connections
                .iter_mut()
                .zip(&names)
                .map(|(connection, name)| {
                    let gate = &gate;
                    scope.spawn(move || {
                        gate.wait();
                        let began = Instant::now();
                        start(connection, name);
                        began.elapsed()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("every start succeeds")).collect()
        });
        subject.remove(&names);
        Samples::of(times)
    };
    measured(own);
    table.times("50 starts at once, each", "≤ 100 ms p99", &measured(own), peer.map(measured).as_ref());
}

/// Engine memory for each running container: what daemon and keeper grew by, divided.
fn many(table: &mut Table, own: &Subject, peer: Option<&Subject>, _: usize, count: usize) {
    let measured = |subject: &Subject, count: usize| {
        let before = memory::proportional_kb(&subject.processes());
        let names: Vec<String> = (0..count).map(|number| format!("bench-many-{number}")).collect();
        let mut connection = subject.connect();
        for name in &names {
            create(&mut connection, name);
            start(&mut connection, name);
        }
        let grown = memory::proportional_kb(&subject.processes()) - before;
        subject.remove(&names);
        grown / count as f64
    };
    let what = format!("engine memory per container, {count} running");
    table.amount(&what, "≤ 150 KB", "KB", measured(own, count), peer.map(|peer| measured(peer, 10)));
}

/// How long a daemon and its keeper had nothing to do before they are said to be at rest.
const AT_REST: Duration = Duration::from_secs(8);

/// Proportional set size of a daemon that has nothing to do.
fn rest(table: &mut Table, own: &Subject, peer: Option<&Subject>, _: usize, _: usize) {
    let megabytes = |pids: &[u32]| memory::proportional_kb(pids) / 1024.0;
    // A keeper is started with the first container.
    own.run(&["run", "--rm", "busybox", "true"]);
    hako_testkit::wait::pass(AT_REST);
    table.amount(
        "daemon at rest",
        "≤ 20 MB",
        "MB",
        megabytes(&own.role("daemon")),
        peer.map(|peer| megabytes(&peer.processes())),
    );
    table.amount("keeper at rest", "≤ 2 MB", "MB", megabytes(&own.role("keeper")), None);
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
