//! The name service in real namespaces: who is told what, from where questions go out, what outlives the daemon.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hako_model::ContainerId;
use hako_network::{
    dns::{NameServer, NameSockets, Upstreams, track_loopback},
    names::{EndpointNames, NameTables},
};
use hako_sys::netlink::namespace;
use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
};

use crate::lab::{Container, Lab, PATIENCE, run, up, within};

const SERVICE: &str = "127.0.0.11:53";

/// A name service on a lab's host.
struct Service {
    names: Arc<NameTables>,
    server: NameServer,
    runtime: tokio::runtime::Runtime,
    resolv_conf: PathBuf,
}

impl Service {
    fn start(lab: &Lab) -> Self {
        Self::with(lab, Arc::default())
    }

    fn with(lab: &Lab, names: Arc<NameTables>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = NameServer::new(runtime.handle().clone(), names.clone());
        let resolv_conf = std::env::temp_dir().join(format!("hako-names-{}-{}", lab.instance, std::process::id()));
        Self { names, server, runtime, resolv_conf }
    }

    fn join(&self, lab_container: &Container, id: ContainerId, names: &[&str]) {
        let endpoint = &lab_container.endpoint;
        let names = EndpointNames {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: endpoint.addresses().collect(),
        };
        self.names.insert(endpoint.network, id, names);
    }

    fn serve(&self, container: &Container, id: ContainerId, servers: &[&str]) {
        let sockets = NameSockets::open(container.sandbox.netns(), false).unwrap();
        self.serve_with(container, id, sockets, servers);
    }

    fn serve_with(&self, container: &Container, id: ContainerId, sockets: NameSockets, servers: &[&str]) {
        let servers: Vec<IpAddr> = servers.iter().map(|text| text.parse().unwrap()).collect();
        let upstreams = Upstreams::new(&servers, &self.resolv_conf);
        self.server.start(id, sockets, container.sandbox.netns(), upstreams).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.resolv_conf);
    }
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

// What an answer says: addresses, or its code.
fn shown(bytes: &[u8]) -> String {
    let answer = Message::from_vec(bytes).unwrap();
    if answer.metadata.response_code != ResponseCode::NoError {
        return answer.metadata.response_code.to_str().to_owned();
    }
    let mut records: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    records.sort();
    if answer.metadata.truncation {
        records.push("…".to_owned());
    }
    records.join(" ")
}

fn try_udp(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    try_udp_from("127.0.0.1".parse().unwrap(), bytes)
}

fn try_udp_from(source: IpAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(SocketAddr::new(source, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(SERVICE)?;
    socket.send(bytes)?;
    let mut buffer = vec![0; 65535];
    let length = socket.recv(&mut buffer)?;
    Ok(buffer[..length].to_vec())
}

/// Asks from the thread's namespace, as a container does.
fn ask(name: &str, kind: RecordType) -> String {
    shown(&try_udp(&question(name, kind)).unwrap())
}

fn ask_tcp(name: &str) -> String {
    let mut stream = TcpStream::connect(SERVICE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let question = question(name, RecordType::A);
    stream.write_all(&(question.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(&question).unwrap();
    shown(&read_message(&mut stream))
}

fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A server outside, in the thread's namespace: answers A questions with `address`, or with a code. Counts them.
fn outside(at: &str, says: Result<[u8; 4], ResponseCode>) -> Arc<AtomicUsize> {
    let at: SocketAddr = format!("{at}:53").parse().unwrap();
    let (socket, listener) = (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let answer = move |bytes: &[u8]| {
        let asked = Message::from_vec(bytes).unwrap();
        let mut reply = Message::response(asked.metadata.id, asked.metadata.op_code);
        reply.add_query(asked.queries[0].clone());
        match says {
            Ok(address) => {
                let record = Record::from_rdata(asked.queries[0].name.clone(), 60, RData::A(A(address.into())));
                reply.add_answer(record);
            }
            Err(code) => reply.metadata.response_code = code,
        }
        reply.to_vec().unwrap()
    };
    let seen = count.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            seen.fetch_add(1, Ordering::Relaxed);
            let _ = socket.send_to(&answer(&buffer[..length]), client);
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let bytes = answer(&read_message(&mut stream));
            let _ = stream.write_all(&(bytes.len() as u16).to_be_bytes());
            let _ = stream.write_all(&bytes);
        }
    });
    count
}

#[test]
fn containers_of_one_network_find_each_other() {
    run(|lab| {
        let service = Service::start(lab);
        let (front, back) = (lab.bridge("front0"), lab.bridge("back0"));
        service.names.network_set(front.id, "front", true);
        service.names.network_set(back.id, "back", true);
        let (web, other, db) = (lab.container(&front), lab.container(&front), lab.container(&back));
        let (web_id, other_id, db_id) = (ContainerId::random(), ContainerId::random(), ContainerId::random());
        service.join(&web, web_id, &["web", "www"]);
        service.join(&other, other_id, &["other", "www"]);
        service.join(&db, db_id, &["db"]);
        for (container, id) in [(&web, web_id), (&other, other_id), (&db, db_id)] {
            service.serve(container, id, &[]);
        }
        let (v4, v6) = (web.ipv4().to_string(), web.ipv6().to_string());
        other.within(|| {
            assert_eq!(ask("web.", RecordType::A), v4);
            assert_eq!(ask("WEB.front.", RecordType::AAAA), v6);
            assert_eq!(ask_tcp("web."), v4);
            assert_eq!(ask("www.", RecordType::A).split(' ').count(), 2);
            assert_eq!(ask("web.", RecordType::MX), "");
            // No server outside is known here.
            assert_eq!(ask("db.", RecordType::A), "Server Failure");
        });
        assert_eq!(db.within(|| ask("web.", RecordType::A)), "Server Failure");
        // Port 53 itself stays free for servers in containers.
        assert!(web.within(|| UdpSocket::bind("0.0.0.0:53").is_ok() && TcpListener::bind("0.0.0.0:53").is_ok()));
        // Nor does the service listen on any address that a neighbour could reach.
        let neighbours = other.within(|| TcpStream::connect_timeout(&SocketAddr::new(web.ipv4(), 53), PATIENCE));
        assert_eq!(neighbours.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        service.server.stop(other_id);
        assert!(!service.server.serves(other_id));
    });
}

#[test]
fn questions_come_from_any_address_whether_loopback_is_tracked_or_not() {
    run(|lab| {
        let service = Service::start(lab);
        let bridge = lab.bridge("front0");
        service.names.network_set(bridge.id, "front", true);
        let (web, id) = (lab.container(&bridge), ContainerId::random());
        service.join(&web, id, &["web"]);
        service.serve(&web, id, &[]);
        let v4 = IpAddr::V4(web.ipv4().to_string().parse().unwrap());
        for round in ["untracked", "tracked"] {
            for source in [v4, "127.0.0.1".parse().unwrap(), "127.1.2.3".parse().unwrap()] {
                let answer = web.within(|| try_udp_from(source, &question("web.", RecordType::A)).unwrap());
                assert_eq!(shown(&answer), v4.to_string(), "{round}, from {source}");
            }
            assert_eq!(web.within(|| ask_tcp("web.")), v4.to_string(), "{round}");
            track_loopback(web.sandbox.netns()).unwrap();
        }
        track_loopback(web.sandbox.netns()).unwrap();
    });
}

#[test]
fn questions_wait_while_no_daemon_runs() {
    run(|lab| {
        let bridge = lab.bridge("front0");
        let (web, id) = (lab.container(&bridge), ContainerId::random());
        let names = Arc::new(NameTables::default());
        names.network_set(bridge.id, "front", true);
        let first = Service::with(lab, names.clone());
        first.join(&web, id, &["web"]);
        let sockets = NameSockets::open(web.sandbox.netns(), false).unwrap();
        let kept = sockets.copies().unwrap();
        first.serve_with(&web, id, sockets, &[]);
        let v4 = web.ipv4().to_string();
        assert_eq!(web.within(|| ask("web.", RecordType::A)), v4);
        first.server.stop(id);
        first.runtime.handle().block_on(async {});
        drop(first);
        let asked = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let (datagram, stream) = (
                scope.spawn(|| {
                    web.within(|| {
                        asked.fetch_add(1, Ordering::Relaxed);
                        ask("web.", RecordType::A)
                    })
                }),
                scope.spawn(|| {
                    web.within(|| {
                        asked.fetch_add(1, Ordering::Relaxed);
                        ask_tcp("web.")
                    })
                }),
            );
            hako_base::backoff::wait_for(PATIENCE, || (asked.load(Ordering::Relaxed) == 2).then_some(())).unwrap();
            let next = Service::with(lab, names);
            next.serve_with(&web, id, NameSockets::adopt(kept).unwrap(), &[]);
            assert_eq!(datagram.join().unwrap(), v4);
            assert_eq!(stream.join().unwrap(), v4);
        });
    });
}

#[test]
fn other_names_are_asked_outside_by_the_containers_way() {
    run(|lab| {
        let service = Service::start(lab);
        let (front, inner) = (lab.bridge("front0"), lab.bridge_with("inner0", |spec| spec.internal = true));
        service.names.network_set(front.id, "front", true);
        service.names.network_set(inner.id, "inner", false);
        let neighbour = lab.neighbour();
        let lan = within(neighbour.as_fd(), || outside("192.0.2.2", Ok([1, 1, 1, 1])));
        let stub = outside("127.0.0.1", Ok([2, 2, 2, 2]));
        lab.network.recover(Vec::new()).unwrap();
        let (web, hidden) = (lab.container(&front), lab.container(&inner));
        let (id, hidden_id) = (ContainerId::random(), ContainerId::random());
        service.join(&web, id, &["web"]);
        service.join(&hidden, hidden_id, &["hidden"]);
        // `--dns`: from the container.
        service.serve(&web, id, &["192.0.2.2"]);
        assert_eq!(web.within(|| ask("example.org.", RecordType::A)), "1.1.1.1");
        assert_eq!(web.within(|| ask_tcp("example.org.")), "1.1.1.1");
        // The host's own loopback server: from the host.
        std::fs::write(&service.resolv_conf, "nameserver 127.0.0.1\n").unwrap();
        service.serve(&web, id, &[]);
        assert_eq!(web.within(|| ask("example.org.", RecordType::A)), "2.2.2.2");
        // `--dns 127.0.0.1` is the container's own loopback, where nobody is.
        service.serve(&web, id, &["127.0.0.1"]);
        assert_eq!(web.within(|| ask("example.org.", RecordType::A)), "Server Failure");
        // An internal network sends nothing out, not even by the host's servers (CVE-2024-29018).
        let before = (lan.load(Ordering::Relaxed), stub.load(Ordering::Relaxed));
        service.serve(&hidden, hidden_id, &[]);
        assert_eq!(hidden.within(|| ask("secret.example.org.", RecordType::A)), "Server Failure");
        assert_eq!(hidden.within(|| ask("hidden.", RecordType::A)), hidden.ipv4().to_string());
        assert_eq!((lan.load(Ordering::Relaxed), stub.load(Ordering::Relaxed)), before);
        // Where a container has no way to a server of the host's list, the host asks it; not one that was named.
        let six = lab.bridge_with("six0", |spec| spec.ipv4 = false);
        service.names.network_set(six.id, "six", true);
        let (lonely, lonely_id) = (lab.container(&six), ContainerId::random());
        service.join(&lonely, lonely_id, &["lonely"]);
        std::fs::write(&service.resolv_conf, "nameserver 192.0.2.2\n").unwrap();
        service.serve(&lonely, lonely_id, &[]);
        assert_eq!(lonely.within(|| ask("example.org.", RecordType::A)), "1.1.1.1");
        assert_eq!(lonely.within(|| ask_tcp("example.org.")), "1.1.1.1");
        service.serve(&lonely, lonely_id, &["192.0.2.2"]);
        assert_eq!(lonely.within(|| ask("example.org.", RecordType::A)), "Server Failure");
    });
}

#[test]
fn another_server_is_asked_when_one_fails_or_is_silent() {
    run(|lab| {
        let service = Service::start(lab);
        let front = lab.bridge("front0");
        service.names.network_set(front.id, "front", true);
        let (web, id) = (lab.container(&front), ContainerId::random());
        service.join(&web, id, &["web"]);
        // Servers in the container's own namespace, on addresses of its loopback.
        let asked = |servers: &[&str]| {
            service.serve(&web, id, servers);
            let start = Instant::now();
            (web.within(|| ask("example.org.", RecordType::A)), start.elapsed())
        };
        let counts = web.within(|| {
            up(1);
            [
                outside("127.0.0.2", Err(ResponseCode::ServFail)),
                outside("127.0.0.3", Ok([3, 3, 3, 3])),
                outside("127.0.0.4", Err(ResponseCode::NXDomain)),
            ]
        });
        let silent = web.within(|| UdpSocket::bind("127.0.0.5:53").unwrap());
        assert_eq!(asked(&["127.0.0.2", "127.0.0.3"]).0, "3.3.3.3");
        assert_eq!(asked(&["127.0.0.6", "127.0.0.3"]).0, "3.3.3.3", "nobody listens at the first");
        // Who knows that there is no such name knows it: the second is not asked.
        let before = counts[1].load(Ordering::Relaxed);
        assert_eq!(asked(&["127.0.0.4", "127.0.0.3"]).0, "Non-Existent Domain");
        assert_eq!(counts[1].load(Ordering::Relaxed), before);
        let (answer, time) = asked(&["127.0.0.5", "127.0.0.3"]);
        assert_eq!(answer, "3.3.3.3", "the first is silent");
        assert!(time < Duration::from_secs(3), "{time:?}");
        assert_eq!(asked(&["127.0.0.2"]).0, "Server Failure");
        drop(silent);
    });
}

#[test]
fn hostile_askers_do_not_stop_the_service() {
    run(|lab| {
        let service = Service::start(lab);
        let front = lab.bridge("front0");
        service.names.network_set(front.id, "front", true);
        let (web, id) = (lab.container(&front), ContainerId::random());
        service.join(&web, id, &["web"]);
        service.serve(&web, id, &[]);
        let v4 = web.ipv4().to_string();
        web.within(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(SERVICE).unwrap();
            for length in [0, 1, 11, 12, 13, 600, 5000, 60_000] {
                socket.send(&vec![0xc0; length]).unwrap();
                socket.send(&vec![0; length]).unwrap();
            }
            // More connections than are served at a time, which say nothing; then one that does must wait for one
            // of them to end.
            let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(SERVICE).unwrap()).collect();
            assert_eq!(ask("web.", RecordType::A), v4);
            drop(silent);
            assert_eq!(ask_tcp("web."), v4);
        });
        let root = namespace::current().unwrap();
        assert!(within(root.as_fd(), || TcpStream::connect(SERVICE)).is_err(), "there is none on the host");
    });
}

#[test]
fn many_questions_are_answered_a_second() {
    run(|lab| {
        const QUESTIONS: usize = 20_000;
        const AT_ONCE: usize = 64;
        let service = Service::start(lab);
        let front = lab.bridge("front0");
        service.names.network_set(front.id, "front", true);
        let (web, id) = (lab.container(&front), ContainerId::random());
        service.join(&web, id, &["web"]);
        service.serve(&web, id, &[]);
        let time = web.within(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(SERVICE).unwrap();
            let question = question("web.", RecordType::A);
            let start = Instant::now();
            let mut buffer = [0; 512];
            for _ in 0..AT_ONCE {
                socket.send(&question).unwrap();
            }
            for answered in 0..QUESTIONS {
                socket.recv(&mut buffer).unwrap();
                if answered + AT_ONCE < QUESTIONS {
                    socket.send(&question).unwrap();
                }
            }
            start.elapsed()
        });
        eprintln!("{:.0} answers/s", QUESTIONS as f64 / time.as_secs_f64());
    });
}
