//! Questions go out to other servers, and the first good answer comes back.
//!
//! The servers are asked in their order, since the first one often knows names that the others do not. Whoever fails
//! or is slow gets company: the next server is asked as well, and the first good answer counts. The bytes pass as
//! they are, but for a number of our own and a port of its own for each question, so that nobody off the path can
//! answer in a server's stead.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    limits::{FORWARD_TIME, HEDGE, ROUNDS, SOCKETS_MAX},
    message::{Transport, is_answer_to},
    upstream::Upstream,
};
use crate::Visitor;

/// Asks servers outside for containers.
#[derive(Debug)]
pub(super) struct Forwarder {
    sockets: Semaphore,
    visitor: Arc<Visitor>,
}

/// What one server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// It knows: there are records, or there are none.
    Good,
    /// It could not or would not say; another may.
    Poor,
}

impl Default for Forwarder {
    fn default() -> Self {
        Self { sockets: Semaphore::new(SOCKETS_MAX), visitor: Arc::default() }
    }
}

impl Forwarder {
    /// The answer of the servers to a question, with the question's own number; `None`: nobody answered.
    pub(super) async fn ask(
        &self,
        question: &[u8],
        transport: Transport,
        servers: &[Upstream],
        netns: &Arc<OwnedFd>,
    ) -> Option<Vec<u8>> {
        let end = Instant::now() + FORWARD_TIME;
        let sockets = u32::try_from(servers.len() * ROUNDS).ok()?;
        let _permit = timeout_at(end, self.sockets.acquire_many(sockets)).await.ok()?.ok()?;
        let mut attempts = JoinSet::new();
        let mut poor = None;
        let mut next = (0..ROUNDS).flat_map(|_| servers.iter().copied());
        loop {
            let asked = next.next();
            if let Some(server) = asked {
                let visitor = Arc::clone(&self.visitor);
                attempts.spawn(exchange(visitor, question.to_vec(), transport, server, Arc::clone(netns)));
            }
            // The next server has its turn when the last one fails, or is slow; when all have been asked, what is
            // still under way has the rest of the time.
            let patience = if asked.is_some() { end.min(Instant::now() + HEDGE) } else { end };
            match timeout_at(patience, attempts.join_next()).await {
                Ok(Some(Ok(Ok(answer)))) if worth(&answer) == Worth::Good => return restored(answer, question),
                Ok(Some(Ok(Ok(answer)))) => poor = poor.or(Some(answer)),
                Ok(Some(_)) => {}
                Ok(None) => return restored(poor?, question),
                Err(_) if Instant::now() >= end => return restored(poor?, question),
                Err(_) => {}
            }
        }
    }
}

fn restored(mut answer: Vec<u8>, question: &[u8]) -> Option<Vec<u8>> {
    answer.get_mut(..2)?.copy_from_slice(question.get(..2)?);
    Some(answer)
}

fn worth(answer: &[u8]) -> Worth {
    const NO_ERROR: u8 = 0;
    const NAME_ERROR: u8 = 3;
    match answer.get(3).map(|flags| flags & 0xf) {
        Some(NO_ERROR | NAME_ERROR) => Worth::Good,
        _ => Worth::Poor,
    }
}

async fn exchange(
    visitor: Arc<Visitor>,
    mut question: Vec<u8>,
    transport: Transport,
    server: Upstream,
    netns: Arc<OwnedFd>,
) -> io::Result<Vec<u8>> {
    let number: [u8; 2] = hako_base::random::bytes();
    question.get_mut(..2).ok_or(io::ErrorKind::InvalidData)?.copy_from_slice(&number);
    match once(&visitor, &question, transport, server, Arc::clone(&netns)).await {
        Err(error) if server.is_hosts && !server.from_host && error.kind() == io::ErrorKind::NetworkUnreachable => {
            once(&visitor, &question, transport, Upstream { from_host: true, ..server }, netns).await
        }
        answered => answered,
    }
}

async fn once(
    visitor: &Visitor,
    question: &[u8],
    transport: Transport,
    server: Upstream,
    netns: Arc<OwnedFd>,
) -> io::Result<Vec<u8>> {
    match transport {
        Transport::Datagram => by_datagram(visitor, question, server, netns).await,
        Transport::Stream => by_stream(visitor, question, server, netns).await,
    }
}

async fn by_datagram(visitor: &Visitor, question: &[u8], server: Upstream, netns: Arc<OwnedFd>) -> io::Result<Vec<u8>> {
    let socket = if server.from_host {
        let any: IpAddr =
            if server.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        UdpSocket::bind(SocketAddr::new(any, 0)).await?
    } else {
        UdpSocket::from_std(visitor.udp_socket(netns, server.address.is_ipv6()).await?)?
    };
    socket.connect(server.address).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is somebody's guess, or late.
        if is_answer_to(&buffer[..length], question) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_stream(visitor: &Visitor, question: &[u8], server: Upstream, netns: Arc<OwnedFd>) -> io::Result<Vec<u8>> {
    let socket = match (server.from_host, server.address.is_ipv4()) {
        (true, true) => TcpSocket::new_v4()?,
        (true, false) => TcpSocket::new_v6()?,
        (false, ipv4) => TcpSocket::from_std_stream(visitor.tcp_socket(netns, !ipv4).await?),
    };
    let mut stream = socket.connect(server.address).await?;
    write_message(&mut stream, question).await?;
    let answer = read_message(&mut stream, usize::from(u16::MAX)).await?;
    if is_answer_to(&answer, question) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// One message over TCP: its length, then its bytes.
pub(super) async fn read_message(stream: &mut TcpStream, bytes_max: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > bytes_max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = Vec::with_capacity(2 + message.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}
