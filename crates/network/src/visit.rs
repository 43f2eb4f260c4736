//! Sockets inside other network namespaces, for those who have something to ask there.
//!
//! A socket belongs to the namespace it was made in, whoever uses it. One thread goes in, makes it and comes back; it
//! is started with the first visit. Coming back matters: a thread that stayed would keep the namespace of a container
//! that has ended alive. Who asks over the container's own loopback is mostly connected before the thread leaves, so
//! that nothing has to be waited for.

use std::{
    io,
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use hako_sys::netlink::namespace;
use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt},
};
use tokio::sync::oneshot;

struct Visit {
    /// A descriptor of the namespace, or a pidfd of a process in it.
    namespace: Arc<OwnedFd>,
    errand: Errand,
    done: oneshot::Sender<io::Result<Made>>,
}

/// What is to be done there.
enum Errand {
    Socket { ipv6: bool, kind: SocketType },
    Connect { target: SocketAddr, first: Arc<[u8]> },
}

struct Made {
    socket: OwnedFd,
    connected: bool,
    sent: usize,
}

/// A connection that was begun in another network; it never blocks.
#[derive(Debug)]
pub struct Begun {
    pub stream: TcpStream,
    /// Whether somebody has answered already.
    pub connected: bool,
    /// How much of the first bytes has been taken.
    pub sent: usize,
}

/// Makes sockets in other network namespaces.
#[derive(Debug, Default)]
pub struct Visitor(OnceLock<parking_lot::Mutex<mpsc::Sender<Visit>>>);

impl Visitor {
    /// A connection to `target` in the network of the process that `pidfd` names, and these bytes on their way there.
    ///
    /// # Errors
    /// The process has ended, no descriptor is left, or nobody listens.
    pub async fn tcp_begin(&self, pidfd: Arc<OwnedFd>, target: SocketAddr, first: Arc<[u8]>) -> io::Result<Begun> {
        let Made { socket, connected, sent } = self.make(pidfd, Errand::Connect { target, first }).await?;
        Ok(Begun { stream: TcpStream::from(socket), connected, sent })
    }

    /// A TCP socket that is not connected, in a namespace.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) async fn tcp_socket(&self, namespace: Arc<OwnedFd>, ipv6: bool) -> io::Result<TcpStream> {
        self.make(namespace, Errand::Socket { ipv6, kind: SocketType::STREAM }).await.map(|made| made.socket.into())
    }

    /// A UDP socket that is not bound, in a namespace.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) async fn udp_socket(&self, namespace: Arc<OwnedFd>, ipv6: bool) -> io::Result<UdpSocket> {
        self.make(namespace, Errand::Socket { ipv6, kind: SocketType::DGRAM }).await.map(|made| made.socket.into())
    }

    async fn make(&self, namespace: Arc<OwnedFd>, errand: Errand) -> io::Result<Made> {
        let (done, made) = oneshot::channel();
        let gone = || io::Error::other("the thread that makes sockets has ended");
        self.thread().lock().send(Visit { namespace, errand, done }).map_err(|_| gone())?;
        made.await.map_err(|_| gone())?
    }

    fn thread(&self) -> &parking_lot::Mutex<mpsc::Sender<Visit>> {
        self.0.get_or_init(|| {
            let (send, receive) = mpsc::channel();
            let started = std::thread::Builder::new().name("visitor".into()).spawn(move || serve(&receive));
            if let Err(error) = started {
                // The receiver is gone with the closure, so that every visit is answered by an error.
                tracing::error!(%error, "cannot start the thread that makes sockets in containers' networks");
            }
            parking_lot::Mutex::new(send)
        })
    }
}

/// So many visits are made before those who wait are told, at most: what waits for a name has little patience.
const TOUR_MAX: usize = 64;

fn serve(visits: &mpsc::Receiver<Visit>) {
    let home = match namespace::current() {
        Ok(home) => home,
        Err(error) => {
            tracing::error!(%error, "cannot open the daemon's own network namespace");
            return;
        }
    };
    let mut tour = Vec::with_capacity(TOUR_MAX);
    while let Ok(first) = visits.recv() {
        // From one container to the next there is no need to come home in between, nor to wake anybody.
        for visit in std::iter::once(first).chain(visits.try_iter()).take(TOUR_MAX) {
            let made = namespace::enter(visit.namespace.as_fd()).and_then(|()| run(&visit.errand));
            tour.push((visit.done, made));
        }
        if let Err(error) = namespace::enter(home.as_fd()) {
            tracing::error!(%error, "cannot come back from a container's network namespace");
            return;
        }
        for (done, made) in tour.drain(..) {
            let _ = done.send(made);
        }
    }
}

fn run(errand: &Errand) -> io::Result<Made> {
    match errand {
        Errand::Socket { ipv6, kind } => Ok(Made { socket: socket(*ipv6, *kind)?, connected: false, sent: 0 }),
        Errand::Connect { target, first } => connect(*target, first),
    }
}

fn socket(ipv6: bool, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Connects, and sends if that is possible at once: over loopback the kernel has shaken hands before it comes back.
fn connect(target: SocketAddr, first: &[u8]) -> io::Result<Made> {
    let socket = socket(target.is_ipv6(), SocketType::STREAM)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    // It ends by a reset, as of other programs that check so, and not by taking leave, which costs packets and leaves one
    // side remembering it for a minute: when it ends, what was asked has been answered, or nobody waits for it any more.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    if first.is_empty() {
        let connected = rustix::net::getpeername(&socket).is_ok();
        if !connected {
            sockopt::socket_error(&socket)??;
        }
        return Ok(Made { socket, connected, sent: 0 });
    }
    match rustix::net::send(&socket, first, SendFlags::NOSIGNAL) {
        Ok(sent) => Ok(Made { socket, connected: true, sent }),
        Err(Errno::AGAIN | Errno::NOTCONN) => Ok(Made { socket, connected: false, sent: 0 }),
        Err(error) => Err(error.into()),
    }
}
