//! UDP: each client has a socket of its own towards the container, so that answers find their way;
//! a flow without packets either way for a while ends.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use rustix::net::{RecvFlags, SendFlags};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UdpSocket,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::Targets;

/// Docker's time-out of a relayed flow.
const IDLE: Duration = Duration::from_secs(90);
/// Flows of one port at a time; datagrams of further clients are dropped, as UDP may.
const FLOWS_MAX: usize = 4096;
/// The largest datagram there is.
const DATAGRAM_BYTES: usize = 64 << 10;

struct Flow {
    socket: Arc<UdpSocket>,
    /// Tells the flow's task that the client has sent something.
    active: Arc<parking_lot::Mutex<Instant>>,
}

/// Relays for ever. Dropping the future ends every flow; another target does too.
pub(super) async fn serve(listener: AsyncFd<Arc<OwnedFd>>, mut targets: Targets) {
    let listener = Arc::new(listener);
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut tasks = JoinSet::new();
    let (ended, mut ends) = unbounded_channel();
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let (length, client) = match receive(&listener, &mut buffer).await {
            Ok(received) => received,
            // An answer to a client that is gone; its ICMP error comes back on the shared socket.
            Err(_) => continue,
        };
        if targets.have_changed() {
            flows.clear();
            tasks.abort_all();
        }
        let Some(target) = targets.of(client) else { continue };
        forget_ended(&mut flows, &mut ends);
        while tasks.try_join_next().is_some() {}
        if !flows.contains_key(&client) {
            if flows.len() >= FLOWS_MAX {
                continue;
            }
            match open(target).await {
                Ok(socket) => {
                    let flow =
                        Flow { socket: Arc::new(socket), active: Arc::new(parking_lot::Mutex::new(Instant::now())) };
                    tasks.spawn(answers(
                        Arc::clone(&listener),
                        client,
                        Arc::clone(&flow.socket),
                        Arc::clone(&flow.active),
                        ended.clone(),
                    ));
                    flows.insert(client, flow);
                }
                Err(error) => {
                    tracing::debug!(%target, %error, "a datagram was not relayed");
                    continue;
                }
            }
        }
        if let Some(flow) = flows.get(&client) {
            *flow.active.lock() = Instant::now();
            // A refused port shows up here as the error of an earlier datagram; the next may arrive.
            let _ = flow.socket.send(&buffer[..length]).await;
        }
    }
}

fn forget_ended(flows: &mut HashMap<SocketAddr, Flow>, ends: &mut UnboundedReceiver<SocketAddr>) {
    while let Ok(client) = ends.try_recv() {
        flows.remove(&client);
    }
}

async fn receive(listener: &AsyncFd<Arc<OwnedFd>>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let take = |socket: &Arc<OwnedFd>| Ok(rustix::net::recvfrom(socket, &mut *buffer, RecvFlags::DONTWAIT)?);
    let (length, _, client) = listener.async_io(Interest::READABLE, take).await?;
    let client = client.and_then(|client| SocketAddr::try_from(client).ok());
    Ok((length, client.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?))
}

async fn open(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr =
        if target.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket)
}

// The way back, until neither side has sent anything for `IDLE`.
async fn answers(
    listener: Arc<AsyncFd<Arc<OwnedFd>>>,
    client: SocketAddr,
    socket: Arc<UdpSocket>,
    active: Arc<parking_lot::Mutex<Instant>>,
    ended: UnboundedSender<SocketAddr>,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let end = *active.lock() + IDLE;
        match timeout_at(end, socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                *active.lock() = Instant::now();
                let answer = |socket: &Arc<OwnedFd>| {
                    Ok(rustix::net::sendto(socket, &buffer[..length], SendFlags::DONTWAIT, &client)?)
                };
                let _ = listener.async_io(Interest::WRITABLE, answer).await;
            }
            // Nobody listens in the container at present; the client may try again.
            Ok(Err(_)) => {}
            Err(_) if *active.lock() + IDLE > Instant::now() => {}
            Err(_) => break,
        }
    }
    let _ = ended.send(client);
}
