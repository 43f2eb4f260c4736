//! Sockets inside other network namespaces, for those who have something to ask there.
//!
//! A socket belongs to the namespace it was made in, whoever uses it. One thread goes in, makes it and comes back; it
//! is started with the first visit. Coming back matters: a thread that stayed would keep the namespace of a container
//! that has ended alive.

use std::{
    io,
    net::{TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, OnceLock, mpsc},
};

use hako_sys::netlink::namespace;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::sync::oneshot;

struct Visit {
    /// A descriptor of the namespace, or a pidfd of a process in it.
    namespace: Arc<OwnedFd>,
    ipv6: bool,
    kind: SocketType,
    done: oneshot::Sender<io::Result<OwnedFd>>,
}

/// Makes sockets in other network namespaces.
#[derive(Debug, Default)]
pub struct Visitor(OnceLock<parking_lot::Mutex<mpsc::Sender<Visit>>>);

impl Visitor {
    /// A TCP socket that is not connected, in the network of the process that `pidfd` names.
    ///
    /// # Errors
    /// The process has ended, or no descriptor is left.
    pub async fn tcp_socket(&self, pidfd: Arc<OwnedFd>, ipv6: bool) -> io::Result<TcpStream> {
        self.socket(pidfd, ipv6, SocketType::STREAM).await.map(TcpStream::from)
    }

    /// A UDP socket that is not bound, in a namespace.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) async fn udp_socket(&self, namespace: Arc<OwnedFd>, ipv6: bool) -> io::Result<UdpSocket> {
        self.socket(namespace, ipv6, SocketType::DGRAM).await.map(UdpSocket::from)
    }

    async fn socket(&self, namespace: Arc<OwnedFd>, ipv6: bool, kind: SocketType) -> io::Result<OwnedFd> {
        let (done, made) = oneshot::channel();
        let gone = || io::Error::other("the thread that makes sockets has ended");
        let visit = Visit { namespace, ipv6, kind, done };
        self.thread().lock().send(visit).map_err(|_| gone())?;
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

fn serve(visits: &mpsc::Receiver<Visit>) {
    let home = match namespace::current() {
        Ok(home) => home,
        Err(error) => {
            tracing::error!(%error, "cannot open the daemon's own network namespace");
            return;
        }
    };
    while let Ok(first) = visits.recv() {
        let mut waiting = Some(first);
        while let Some(visit) = waiting {
            let made = namespace::enter(visit.namespace.as_fd()).and_then(|()| socket(visit.ipv6, visit.kind));
            // From one container to the next there is no need to come home in between.
            waiting = visits.try_recv().ok();
            if waiting.is_none()
                && let Err(error) = namespace::enter(home.as_fd())
            {
                tracing::error!(%error, "cannot come back from a container's network namespace");
                return;
            }
            let _ = visit.done.send(made);
        }
    }
}

fn socket(ipv6: bool, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}
