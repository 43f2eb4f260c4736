//! A host for one test: a network namespace of its own, the network mechanism in it, and a neighbour
//! on another wire. Everything ends with the test; the machine's own network is never touched.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use hako_model::{AddressPool, NetworkDriver, NetworkId, NetworkSpec, PortBinding, PortKey};
use hako_network::{BridgePlan, Endpoint, EndpointPlan, Instance, Network, PortRequest, Sandbox, Settings};
use hako_sys::netlink::{
    Batch, Protocol, Socket, namespace,
    route::{self, LinkChange, Route, VethEnd},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// What is not answered by then is taken for unreachable: packets here take microseconds.
const UNREACHABLE: Duration = Duration::from_millis(700);

/// The test's host, on the thread that lives in it.
pub(crate) struct Lab {
    pub(crate) network: Network,
    _runtime: tokio::runtime::Runtime,
    pub(crate) instance: Instance,
}

/// Runs a test on a host of its own; says why where it cannot.
pub(crate) fn run(test: impl FnOnce(&Lab) + Send) {
    run_with(|_| {}, test);
}

/// The same with other settings of the daemon.
pub(crate) fn run_with(change: impl FnOnce(&mut Settings) + Send, test: impl FnOnce(&Lab) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to make network namespaces");
        return;
    }
    let result = namespace::create(|_| {
        up(1);
        let lab = open_with("/var/lib/test", change);
        test(&lab);
        Ok(())
    });
    result.unwrap();
}

/// A daemon in the namespace of the calling thread.
pub(crate) fn open(root: &str) -> Lab {
    open_with(root, |_| {})
}

fn open_with(root: &str, change: impl FnOnce(&mut Settings)) -> Lab {
    // Its threads are children of this one, and so in this namespace.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let instance = Instance::of(root);
    let mut settings = Settings { pool_size: 2, ..Settings::new(instance.clone(), runtime.handle().clone()) };
    change(&mut settings);
    Lab { network: Network::open(settings).unwrap(), _runtime: runtime, instance }
}

impl Lab {
    /// A bridge network with both families, up.
    pub(crate) fn bridge(&self, name: &str) -> BridgePlan {
        self.bridge_with(name, |_| {})
    }

    pub(crate) fn bridge_with(&self, name: &str, change: impl FnOnce(&mut NetworkSpec)) -> BridgePlan {
        let mut spec = spec(name);
        change(&mut spec);
        let plan = self.network.plan(NetworkId::random(), &spec, Some(name)).unwrap();
        self.network.bridge_up(&plan).unwrap();
        plan
    }

    /// A container on a bridge, as it is when plugging in returns.
    pub(crate) fn container_now(&self, plan: &BridgePlan) -> Container {
        let sandbox = self.network.sandbox_take().unwrap();
        let endpoint = self.network.endpoint_attach(&sandbox, &EndpointPlan::new(plan.id)).unwrap();
        Container { sandbox, endpoint }
    }

    /// A container whose addresses are all in use; launching a process takes longer than that.
    pub(crate) fn container(&self, plan: &BridgePlan) -> Container {
        let container = self.container_now(plan);
        container.settle(&container.endpoint);
        container
    }

    /// Another host: `192.0.2.2` and `2001:db8::2` on a wire of its own; we are `.1` and `::1` there
    /// and its way to everywhere.
    pub(crate) fn neighbour(&self) -> OwnedFd {
        let (netns, ()) = namespace::create(|_| Ok(())).unwrap();
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        let (near, far) = (
            VethEnd { name: "wan0", namespace: None, address: None },
            VethEnd { name: "wan0", namespace: Some(netns.as_fd()), address: None },
        );
        route::veth_add(&mut batch, near, far, 1500);
        socket.transact(&mut batch).unwrap();
        wire(&mut socket, 1, false);
        within(netns.as_fd(), || {
            up(1);
            wire(&mut Socket::open(Protocol::Route).unwrap(), 2, true);
        });
        // Frames are lost until both ends are known to be up.
        for place in [namespace::current().unwrap().as_fd(), netns.as_fd()] {
            within(place, || {
                let mut socket = Socket::open(Protocol::Route).unwrap();
                let link = route::link_named(&mut socket, "wan0").unwrap().unwrap().index;
                let up = || route::links_operating(&mut socket, &[link]).unwrap().then_some(());
                hako_base::backoff::wait_for(PATIENCE, up).unwrap();
            });
        }
        netns
    }
}

fn wire(socket: &mut Socket, number: u8, default_route: bool) {
    let link = route::link_named(socket, "wan0").unwrap().unwrap().index;
    let mut batch = Batch::new();
    route::link_change(&mut batch, link, LinkChange { up: Some(true), ..LinkChange::default() });
    route::address_add(&mut batch, link, IpAddr::from([192, 0, 2, number]), 24);
    route::address_add(&mut batch, link, format!("2001:db8::{number}").parse().unwrap(), 64);
    if default_route {
        for (destination, gateway) in [("0.0.0.0", "192.0.2.1"), ("::", "2001:db8::1")] {
            let (destination, gateway) = (destination.parse().unwrap(), Some(gateway.parse().unwrap()));
            route::route_add(&mut batch, Route { destination, prefix: 0, gateway, link: Some(link) });
        }
    }
    socket.transact(&mut batch).unwrap();
    let own = format!("2001:db8::{number}").parse().unwrap();
    hako_base::backoff::wait_for(PATIENCE, || route::is_local(socket, own).unwrap().then_some(())).unwrap();
}

pub(crate) fn spec(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.into(),
        driver: NetworkDriver::Bridge,
        internal: false,
        attachable: false,
        ipv4: true,
        ipv6: true,
        pools: Vec::new(),
        ipam_driver: "default".into(),
        ipam_options: None,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        config_only: false,
        config_from: None,
    }
}

pub(crate) fn pool(subnet: &str) -> AddressPool {
    AddressPool { subnet: subnet.parse().unwrap(), range: None, gateway: None, auxiliary: BTreeMap::new() }
}

/// Switches a link of the calling thread's namespace on.
pub(crate) fn up(index: u32) {
    let mut batch = Batch::new();
    route::link_change(&mut batch, index, LinkChange { up: Some(true), ..LinkChange::default() });
    Socket::open(Protocol::Route).unwrap().transact(&mut batch).unwrap();
}

/// `-p host:container/protocol`.
pub(crate) fn request(address: Option<&str>, host: u16, container: &str) -> PortRequest {
    let container: PortKey = container.parse().unwrap();
    let address = address.map(|text| text.parse().unwrap());
    PortRequest { container, host: PortBinding { address, port: host, port_end: host, zero_is_written: false } }
}

pub(crate) struct Container {
    pub(crate) sandbox: Sandbox,
    pub(crate) endpoint: Endpoint,
}

impl Container {
    pub(crate) fn ipv4(&self) -> IpAddr {
        self.endpoint.ipv4.unwrap().addr().into()
    }

    pub(crate) fn ipv6(&self) -> IpAddr {
        self.endpoint.ipv6.unwrap().addr().into()
    }

    /// Waits until the kernel takes packets for an endpoint's addresses.
    pub(crate) fn settle(&self, endpoint: &Endpoint) {
        self.within(|| {
            let mut socket = Socket::open(Protocol::Route).unwrap();
            for address in endpoint.addresses() {
                let own = || route::is_local(&mut socket, address).unwrap().then_some(());
                hako_base::backoff::wait_for(PATIENCE, own).unwrap();
            }
        });
    }

    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(self.sandbox.netns(), work)
    }

    /// A TCP server on both families that answers each client with the client's own address and, when
    /// the client has ended its side, with what it said.
    pub(crate) fn serve(&self, port: u16) {
        for any in ["0.0.0.0", "::"] {
            let address = SocketAddr::new(any.parse().unwrap(), port);
            let Ok(listener) = self.within(move || listen(address)) else { continue };
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    let Ok(client) = client else { return };
                    std::thread::spawn(move || answer(client));
                }
            });
        }
    }

    /// A UDP server that sends back what it gets, with the sender's address in front.
    pub(crate) fn serve_udp(&self, port: u16) {
        for any in ["0.0.0.0", "::"] {
            let address = SocketAddr::new(any.parse().unwrap(), port);
            let Ok(socket) = self.within(move || udp(address)) else { continue };
            std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                    let text = format!("{} {}", client.ip(), String::from_utf8_lossy(&buffer[..length]));
                    let _ = socket.send_to(text.as_bytes(), client);
                }
            });
        }
    }
}

// std sets no IPV6_V6ONLY: 0.0.0.0 and [::] cannot both be had without it.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, rustix::net::SocketType::STREAM)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket.into())
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    Ok(bound(address, rustix::net::SocketType::DGRAM)?.into())
}

fn bound(address: SocketAddr, kind: rustix::net::SocketType) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn answer(mut client: TcpStream) {
    let peer = client.peer_addr().unwrap().ip();
    let mut said = Vec::new();
    let _ = write!(client, "{peer} ");
    let _ = client.read_to_end(&mut said);
    let _ = client.write_all(&said);
}

/// Runs something in a namespace.
pub(crate) fn within<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> T {
    namespace::within(netns, || Ok(work())).unwrap()
}

/// Connects, says something, ends its side, and returns what came back.
pub(crate) fn ask(to: SocketAddr, say: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, UNREACHABLE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(say.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Sends a datagram and returns the answer.
pub(crate) fn ask_udp(to: SocketAddr, say: &str) -> io::Result<String> {
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(UNREACHABLE))?;
    socket.connect(to)?;
    socket.send(say.as_bytes())?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub(crate) fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
