//! `hako registry serve` beside docker-registry, where the machine has it: 32 clients that push, then pull, all at once.
//!
//! Both serve on this machine, from folders on one disk, by turns. The clients are plain connections that are kept, as
//! engines keep them; what they send is new to the registry each time.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Barrier,
};

use hako_testkit::{program, wait};

use crate::{
    measure::{Samples, Table},
    memory,
    runtime::{find, own_binary},
    subject::Subject,
};

const CLIENTS: usize = 32;
const BLOB_BYTES: usize = 8 << 20;
/// How many blobs, other clients' ones, each client pulls.
const PULLS: usize = 8;
/// Rounds of a part whose single sample takes seconds.
const ROUNDS_MAX: usize = 7;

pub(crate) fn registry(table: &mut Table, _: &Subject, _: Option<&Subject>, rounds: usize, _: usize) {
    let folder = std::env::temp_dir().join(format!("hako-promise-registry-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let own = Server::hako(&folder);
    let peer = find("docker-registry").map(|path| Server::docker_registry(&folder, &path));
    if peer.is_none() {
        eprintln!("no docker-registry on this machine: only hako's own figures");
    }
    let servers: Vec<&Server> = [Some(&own), peer.as_ref()].into_iter().flatten().collect();
    let (mut pushes, mut pulls) = (vec![Vec::new(); servers.len()], vec![Vec::new(); servers.len()]);
    for round in 0..rounds.clamp(1, ROUNDS_MAX) {
        let blobs = Blob::make_all(&folder);
        for (at, server) in servers.iter().enumerate() {
            let repository = |client: usize| format!("bench/r{round}-{client}");
            pushes[at].push(at_once(|client| {
                let mut connection = Connection::new(server.port);
                connection.push(&repository(client), &blobs[client]);
            }));
            pulls[at].push(at_once(|client| {
                let mut connection = Connection::new(server.port);
                for other in (0..PULLS).map(|step| (client + step) % CLIENTS) {
                    connection.pull(&repository(other), &blobs[other]);
                }
            }));
        }
    }
    let samples = |times: &[std::time::Duration]| Samples::of(times.to_vec());
    for (what, times) in [("pushes", &pushes), ("pulls", &pulls)] {
        let peer = times.get(1).map(|times| samples(times));
        table.times(
            &format!("registry: {CLIENTS} {what} at once"),
            "docker-registry ≥ 1×",
            &samples(&times[0]),
            peer.as_ref(),
        );
    }
    let most = |server: &Server| memory::peak_kb(&[server.process.id()]) / 1024.0;
    table.amount("registry: most memory", "flat", "MB", most(&own), peer.as_ref().map(most));
    drop((own, peer));
    let _ = fs::remove_dir_all(&folder);
}

/// How long it takes until all clients have done their work, which they begin together.
fn at_once(work: impl Fn(usize) + Sync) -> std::time::Duration {
    let barrier = Barrier::new(CLIENTS + 1);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(client);
                })
            })
            .collect();
        barrier.wait();
        let start = std::time::Instant::now();
        clients.into_iter().for_each(|client| client.join().expect("a client does its work"));
        start.elapsed()
    })
}

/// A registry that runs.
struct Server {
    port: u16,
    process: Child,
}

impl Server {
    fn hako(folder: &Path) -> Self {
        let mut command = program(own_binary());
        command.args(["registry", "serve", "--listen", "127.0.0.1:5071", "--root"]).arg(folder.join("hako"));
        Self::start(5071, command)
    }

    fn docker_registry(folder: &Path, path: &Path) -> Self {
        let settings = folder.join("settings.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:5072}}\n",
            folder.join("docker").display()
        );
        fs::write(&settings, text).expect("settings can be written");
        let mut command = program(path);
        command.arg("serve").arg(settings);
        Self::start(5072, command)
    }

    fn start(port: u16, mut command: std::process::Command) -> Self {
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the registry runs");
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait::until("the registry to listen", listens, |listens| *listens);
        Self { port, process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// Bytes that no registry has seen, and their name.
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn make_all(folder: &Path) -> Vec<Self> {
        let one = |client: usize| {
            let mut bytes = vec![0; BLOB_BYTES];
            let mut random = fs::File::open("/dev/urandom").expect("there are random bytes");
            random.read_exact(&mut bytes).expect("random bytes do not end");
            let path: PathBuf = folder.join(format!("blob-{client}"));
            fs::write(&path, &bytes).expect("a blob can be written");
            let output = program("sha256sum").arg(&path).output().expect("sha256sum runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let hex = text.split_whitespace().next().expect("a digest").to_owned();
            Self { digest: format!("sha256:{hex}"), bytes }
        };
        (0..CLIENTS).map(one).collect()
    }
}

/// A connection of HTTP/1.1 that is kept.
struct Connection {
    port: u16,
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the registry is there");
        Self { port, stream: BufReader::with_capacity(256 << 10, stream) }
    }

    fn push(&mut self, repository: &str, blob: &Blob) {
        let head = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), &[]);
        assert_eq!(head.status, 202, "an upload begins");
        let place = head.location.expect("an upload has a place");
        // With or without scheme and host in front.
        let path = place.split_once("://").map_or(place.as_str(), |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        let mark = if path.contains('?') { '&' } else { '?' };
        let head = self.ask("PUT", &format!("{path}{mark}digest={}", blob.digest), &blob.bytes);
        assert_eq!(head.status, 201, "a blob is taken");
    }

    fn pull(&mut self, repository: &str, blob: &Blob) {
        let head = self.ask("GET", &format!("/v2/{repository}/blobs/{}", blob.digest), &[]);
        assert_eq!((head.status, head.length), (200, BLOB_BYTES as u64), "a blob is given");
    }

    /// Sends a request and reads all of its answer.
    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Head {
        let port = self.port;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes()).and_then(|()| stream.write_all(body)).expect("a request is sent");
        let head = Head::read(&mut self.stream);
        let copied = std::io::copy(&mut self.stream.by_ref().take(head.length), &mut std::io::sink());
        assert_eq!(copied.ok(), Some(head.length), "the whole answer comes");
        head
    }
}

struct Head {
    status: u16,
    length: u64,
    location: Option<String>,
}

impl Head {
    fn read(stream: &mut impl BufRead) -> Self {
        let mut head = Self { status: 0, length: 0, location: None };
        let mut line = String::new();
        loop {
            line.clear();
            stream.read_line(&mut line).expect("an answer has a head");
            let text = line.trim_end();
            if text.is_empty() {
                return head;
            }
            if let Some(status) = text.strip_prefix("HTTP/1.1 ") {
                head.status = status.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            }
            match text.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    head.length = value.parse().expect("a length is a number");
                }
                Some((name, value)) if name.eq_ignore_ascii_case("location") => head.location = Some(value.to_owned()),
                _ => {}
            }
        }
    }
}
