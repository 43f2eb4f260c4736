//! Networks: throughput with iperf3, connecting and disconnecting, publishing many ports.
//!
//! iperf3 is this machine's, run in the network namespaces of containers and daemons: no image needs it. What comes
//! "from another machine" comes over a veth pair into the daemon's namespace, made for the measurement; the yardstick is
//! the same way by hand ([`Bare`]): a pair, a host that forwards, a bridge, a pair, and no engine.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    process::{Child, Command, Stdio},
};

use hako_testkit::{http::Connection, program, wait};
use serde_json::{Value, json};

use crate::{
    measure::{Samples, Table},
    memory, names,
    subject::Subject,
};

/// The ends of the veth pair, in the range for benchmarks (RFC 2544).
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);
/// The same behind a bridge made by hand.
const BEHIND_NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 1);
const BEHIND: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 2);
/// The network of the containers that transfer.
const NETWORK: &str = "bench-transfers";
/// Where iperf3 listens.
const PORT: u16 = 5999;
/// Seconds of each transfer, and how many of them: the best counts, since a busy machine only ever slows one down.
const SECONDS: &str = "2";
const ROUNDS: usize = 5;

pub(crate) fn network(table: &mut Table, own: &Subject, peer: Option<&Subject>, rounds: usize, _: usize) {
    if program("iperf3").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        throughput(table, own, peer);
    } else {
        eprintln!("throughput is not measured: there is no iperf3");
    }
    connecting(table, own, peer, rounds);
    publishing(table, own, peer, rounds);
}

fn throughput(table: &mut Table, own: &Subject, peer: Option<&Subject>) {
    let mut best = Vec::new();
    let stages: Vec<Stage<'_>> = [Some(own), peer].into_iter().flatten().map(Stage::new).collect();
    for stage in &stages {
        best.push([0.0_f64; 3]);
        stage.settle();
    }
    let (bare, mut yardstick) = (Bare::new(), 0.0_f64);
    for _ in 0..ROUNDS {
        yardstick = yardstick.max(bare.measure());
        for (stage, best) in stages.iter().zip(&mut best) {
            for (best, measured) in best.iter_mut().zip(stage.measure()) {
                *best = best.max(measured);
            }
        }
    }
    let peer = best.get(1);
    for (at, what, budget) in [
        (0, "container to container", "≥ 1.0×"),
        (1, "published port, by loopback", "≥ 1.0×"),
        (2, "published port, from another machine", "≥ 1.0×"),
    ] {
        table.rate(what, budget, "Gbit/s", best[0][at], peer.map(|peer| peer[at]));
    }
    table.rate("the same way by hand, nothing published", "(the yardstick)", "Gbit/s", yardstick, None);
    let of_it = |best: &[f64; 3]| best[2] / yardstick;
    table.rate("published port, to that", "≥ 0.97", "of it", of_it(&best[0]), peer.map(of_it));
    let names: Vec<f64> = stages.iter().map(|stage| names::answers(stage.client, "bench-server")).collect();
    table.rate("names answered to one container", "≥ 20,000", "a second", names[0], names.get(1).copied());
}

/// Another machine, a host that forwards, and behind its bridge a server, all by hand.
struct Bare {
    far: Child,
    host: Child,
    server: Child,
}

impl Bare {
    fn new() -> Self {
        let bare = Self { far: machine(), host: machine(), server: machine() };
        let (far, host, server) = (bare.far.id(), bare.host.id(), bare.server.id());
        let lines = [
            (far, format!("link add benchfar type veth peer name benchnear netns {host}")),
            (far, format!("address add {FAR}/30 dev benchfar")),
            (far, "link set benchfar up".to_owned()),
            (far, format!("route add default via {NEAR}")),
            (host, format!("address add {NEAR}/30 dev benchnear")),
            (host, "link set benchnear up".to_owned()),
            (host, "link add benchbridge type bridge".to_owned()),
            (host, format!("address add {BEHIND_NEAR}/30 dev benchbridge")),
            (host, "link set benchbridge up".to_owned()),
            (host, format!("link add benchport type veth peer name benchend netns {server}")),
            (host, "link set benchport master benchbridge up".to_owned()),
            (server, format!("address add {BEHIND}/30 dev benchend")),
            (server, "link set benchend up".to_owned()),
            (server, format!("route add default via {BEHIND_NEAR}")),
        ];
        for (process, line) in lines {
            run(inside(process, "ip").args(line.split(' ')));
        }
        run(inside(host, "sysctl").args(["--quiet", "net.ipv4.ip_forward=1"]));
        bare
    }

    fn measure(&self) -> f64 {
        transfer(self.server.id(), self.far.id(), SocketAddrV4::new(BEHIND, PORT))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for machine in [&mut self.far, &mut self.host, &mut self.server] {
            let _ = machine.kill().and_then(|()| machine.wait());
        }
    }
}

/// A network namespace of its own, as long as its process lives.
fn machine() -> Child {
    let mut machine = program("unshare");
    let machine = machine.args(["--net", "sleep", "100000"]).stdin(Stdio::null()).spawn().expect("unshare runs");
    // It is there when it is not the one that the process came from.
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    wait::until(
        "a network namespace",
        || std::fs::read_link(format!("/proc/{}/ns/net", machine.id())).ok(),
        |there| there.is_some() && *there != own,
    );
    machine
}

/// Two containers of a subject, and a machine beside it.
struct Stage<'s> {
    subject: &'s Subject,
    host: u32,
    server: (u32, Ipv4Addr),
    client: u32,
    other: Child,
}

impl<'s> Stage<'s> {
    fn new(subject: &'s Subject) -> Self {
        let mut connection = subject.connect();
        post(&mut connection, "/v1.44/networks/create", &json!({"Name": NETWORK}));
        let mut begin = |name: &str, body: Value| {
            create(&mut connection, name, &body);
            start(&mut connection, name);
            place(&mut connection, name)
        };
        let published = json!({"Image": "busybox", "Cmd": ["sleep", "100000"], "ExposedPorts": {format!("{PORT}/tcp"): {}},
            "HostConfig": {"NetworkMode": NETWORK, "PortBindings": {format!("{PORT}/tcp"): [{"HostPort": PORT.to_string()}]}}});
        let server = begin("bench-server", published);
        let client = json!({"Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": NETWORK}});
        let client = begin("bench-client", client).0;
        Self { subject, host: daemon(subject), server, client, other: machine() }
    }

    // The pair of links between the daemon's namespace and the other one.
    fn settle(&self) {
        let far = self.other.id();
        for line in [
            format!("link add benchnear type veth peer name benchfar netns {far}"),
            format!("address add {NEAR}/30 dev benchnear"),
            "link set benchnear up".to_owned(),
        ] {
            run(inside(self.host, "ip").args(line.split(' ')));
        }
        for line in [format!("address add {FAR}/30 dev benchfar"), "link set benchfar up".to_owned()] {
            run(inside(far, "ip").args(line.split(' ')));
        }
    }

    /// The three throughputs, in Gbit/s.
    fn measure(&self) -> [f64; 3] {
        let (server, address) = self.server;
        [
            transfer(server, self.client, SocketAddrV4::new(address, PORT)),
            transfer(server, self.host, SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT)),
            transfer(server, self.other.id(), SocketAddrV4::new(NEAR, PORT)),
        ]
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // The pair goes with its far end.
        let _ = self.other.kill().and_then(|()| self.other.wait());
        self.subject.remove(&["bench-server".to_owned(), "bench-client".to_owned()]);
        let _ = self.subject.connect().send("DELETE", &format!("/v1.44/networks/{NETWORK}"), "");
    }
}

/// One transfer between two processes' namespaces, as the receiver counted it.
fn transfer(server: u32, client: u32, to: SocketAddrV4) -> f64 {
    let port = to.port().to_string();
    let mut listening = inside(server, "iperf3");
    listening.args(["--server", "--one-off", "--port", &port]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut listening = listening.spawn().expect("iperf3 runs");
    wait::until("iperf3 to listen", || listens(server, to.port()), |listens| *listens);
    let output = inside(client, "iperf3")
        .args(["--client", &to.ip().to_string(), "--port", &port, "--time", SECONDS, "--json"])
        .output()
        .expect("iperf3 runs");
    let _ = listening.kill().and_then(|()| listening.wait());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    if bits.is_none() {
        eprintln!("iperf3 to {to}: {}", report["error"]);
    }
    bits.unwrap_or(0.0) / 1e9
}

/// A container that runs joins and leaves a network.
fn connecting(table: &mut Table, own: &Subject, peer: Option<&Subject>, rounds: usize) {
    let subjects: Vec<&Subject> = [Some(own), peer].into_iter().flatten().collect();
    let mut times: Vec<(Samples, Samples)> = Vec::new();
    for (at, subject) in subjects.iter().enumerate() {
        let mut connection = subject.connect();
        create(&mut connection, "bench-joins", &json!({"Image": "busybox", "Cmd": ["sleep", "100000"]}));
        start(&mut connection, "bench-joins");
        post(&mut connection, "/v1.44/networks/create", &json!({"Name": "bench-joined"}));
        let body = json!({"Container": "bench-joins"});
        let (mut joins, mut leaves) = (Samples::default(), Samples::default());
        for _ in 0..if at == 0 { rounds } else { rounds.div_ceil(10) } {
            joins.time(|| post(&mut connection, "/v1.44/networks/bench-joined/connect", &body));
            leaves.time(|| post(&mut connection, "/v1.44/networks/bench-joined/disconnect", &body));
        }
        subject.remove(&["bench-joins".to_owned()]);
        let _ = connection.send("DELETE", "/v1.44/networks/bench-joined", "");
        times.push((joins, leaves));
    }
    table.times("network connect, container running", "≤ 5 ms", &times[0].0, times.get(1).map(|times| &times.0));
    table.times("network disconnect", "≤ 5 ms", &times[0].1, times.get(1).map(|times| &times.1));
}

/// Ports of one container, as many as are asked for, counted from 10,000.
fn with_ports(first: u16, count: u16) -> Value {
    let bindings: serde_json::Map<String, Value> = (first..first + count)
        .map(|port| (format!("{port}/tcp"), json!([{"HostIp": "0.0.0.0", "HostPort": port.to_string()}])))
        .collect();
    let exposed: serde_json::Map<String, Value> = bindings.keys().map(|key| (key.clone(), json!({}))).collect();
    json!({"Image": "busybox", "Cmd": ["sleep", "100000"], "ExposedPorts": exposed, "HostConfig": {"PortBindings": bindings}})
}

/// Ten thousand ports at once, and one more beside them: what a start with ports takes longer than one without.
fn publishing(table: &mut Table, own: &Subject, peer: Option<&Subject>, rounds: usize) {
    let mut connection = own.connect();
    let started = |connection: &mut Connection, subject: &Subject, body: &Value, rounds: usize| {
        let mut samples = Samples::default();
        for _ in 0..rounds {
            create(connection, "bench-ports", body);
            samples.time(|| start(connection, "bench-ports"));
            subject.remove(&["bench-ports".to_owned()]);
        }
        samples
    };
    let without = started(&mut connection, own, &with_ports(0, 0), rounds);
    let count = ports_allowed(own);
    let all = started(&mut connection, own, &with_ports(10_000, count), 5);
    create(&mut connection, "bench-many", &with_ports(10_000, count));
    start(&mut connection, "bench-many");
    let beside = started(&mut connection, own, &with_ports(0, 0), rounds);
    let more = started(&mut connection, own, &with_ports(9_999, 1), rounds);
    own.remove(&["bench-many".to_owned()]);
    table.times("start without published ports", "(the yardstick)", &without, None);
    table.times(&format!("start with {count} published ports"), "10,000: ≤ 500 ms more", &all, None);
    table.times(&format!("start without ports beside {count}"), "(the yardstick)", &beside, None);
    table.times(&format!("start with one port beside {count}"), "≤ 1 ms more", &more, None);
    if let Some(peer) = peer {
        // The peer takes seconds for a hundred.
        let mut theirs = peer.connect();
        let ports = with_ports(10_000, 100);
        let own = started(&mut connection, own, &ports, 5);
        let peer = started(&mut theirs, peer, &ports, 2);
        table.times("start with 100 published ports", "", &own, Some(&peer));
    }
}

/// Ten thousand, or as many as the daemon has descriptors for.
fn ports_allowed(subject: &Subject) -> u16 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon(subject))).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let allowed: u64 = line.split_whitespace().nth(3).and_then(|number| number.parse().ok()).unwrap_or(0);
    u16::try_from(allowed.saturating_sub(1_000)).unwrap_or(u16::MAX).min(10_000)
}

fn post(connection: &mut Connection, path: &str, body: &Value) -> Value {
    let answer = connection.send("POST", path, &body.to_string()).expect("the daemon answers");
    assert!(answer.status < 400, "{path}: {}", answer.line());
    serde_json::from_str(&answer.text()).unwrap_or_default()
}

fn create(connection: &mut Connection, name: &str, body: &Value) {
    post(connection, &format!("/v1.44/containers/create?name={name}"), body);
}

fn start(connection: &mut Connection, name: &str) {
    post(connection, &format!("/v1.44/containers/{name}/start"), &Value::Null);
}

/// A container's process, as this machine sees it, and its address.
fn place(connection: &mut Connection, name: &str) -> (u32, Ipv4Addr) {
    let answer = connection.send("GET", &format!("/v1.44/containers/{name}/json"), "").expect("the daemon answers");
    let shown = answer.json();
    let address =
        shown["NetworkSettings"]["Networks"][NETWORK]["IPAddress"].as_str().and_then(|text| text.parse().ok());
    // A daemon in a pid namespace of its own counts by its own numbers: its container is the one whose control group
    // bears the id.
    let id = shown["Id"].as_str().unwrap_or_default();
    let pid = memory::all()
        .into_iter()
        .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(id)));
    (pid.expect("the container runs"), address.expect("the container has an address"))
}

/// Whether something listens at a port in the network namespace of a process.
pub(crate) fn listens(pid: u32, port: u16) -> bool {
    let wanted = format!(":{port:04X} ");
    let sockets =
        ["tcp", "tcp6"].map(|file| std::fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default());
    sockets.concat().lines().any(|line| line.contains(&wanted) && line.contains(" 0A "))
}

pub(crate) fn daemon(subject: &Subject) -> u32 {
    let own = subject.role("daemon");
    let found = own.first().copied().or_else(|| memory::named(&["dockerd"]).first().copied());
    found.expect("the daemon runs")
}

/// A program of this machine in the network namespace of a process.
pub(crate) fn inside(pid: u32, name: &str) -> Command {
    let mut command = program("nsenter");
    command.args(["--net", "--target", &pid.to_string(), name]).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?} failed");
}
