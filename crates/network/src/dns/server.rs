//! The sockets of all containers are served by tasks of the daemon: one for datagrams and one for connections each.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hako_model::ContainerId;
use hickory_proto::op::ResponseCode;
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::Handle,
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    decide::{Decision, decide},
    forward::{Forwarder, read_message, write_message},
    limits::{CONNECTION_IDLE, CONNECTIONS_MAX, FORWARDS_MAX, QUESTION_BYTES_MAX},
    message::{self, Answer, Question, Transport},
    redirect::NameSockets,
    upstream::Upstreams,
};
use crate::{
    error::{Context, NetworkError},
    names::NameTables,
};

/// Pause when the process has no descriptors left, unless a connection ends before.
const RETRY: Duration = Duration::from_millis(50);

/// Answers for every container.
#[derive(Debug)]
pub struct NameServer {
    runtime: Handle,
    names: Arc<NameTables>,
    forwarder: Arc<Forwarder>,
    running: Mutex<HashMap<ContainerId, [AbortHandle; 2]>>,
}

/// What the tasks of one container share.
struct Asker {
    id: ContainerId,
    names: Arc<NameTables>,
    upstreams: Upstreams,
    forwarder: Arc<Forwarder>,
    netns: Arc<OwnedFd>,
    turn: AtomicUsize,
    forwards: Arc<Semaphore>,
}

impl NameServer {
    /// Answers from these tables; works on this runtime.
    pub fn new(runtime: Handle, names: Arc<NameTables>) -> Self {
        Self { runtime, names, forwarder: Arc::default(), running: Mutex::default() }
    }

    /// Serves a container's sockets until [`Self::stop`], in place of those it had.
    ///
    /// # Errors
    /// Sockets that are none, no descriptors left.
    pub fn start(
        &self,
        id: ContainerId,
        sockets: NameSockets,
        netns: BorrowedFd<'_>,
        upstreams: Upstreams,
    ) -> Result<(), NetworkError> {
        // Registering a socket needs the runtime, and callers come from threads of their own.
        let _inside = self.runtime.enter();
        let NameSockets { datagrams, streams } = sockets;
        let served = UdpSocket::from_std(datagrams.into())
            .and_then(|datagrams| Ok((datagrams, TcpListener::from_std(streams.into())?, netns.try_clone_to_owned()?)));
        let (datagrams, streams, netns) = served.context("serve", "the name service's sockets")?;
        let asker = Arc::new(Asker {
            id,
            names: Arc::clone(&self.names),
            upstreams,
            forwarder: Arc::clone(&self.forwarder),
            netns: Arc::new(netns),
            turn: AtomicUsize::new(0),
            forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
        });
        let tasks = [
            self.runtime.spawn(serve_datagrams(datagrams, Arc::clone(&asker))).abort_handle(),
            self.runtime.spawn(serve_streams(streams, asker)).abort_handle(),
        ];
        if let Some(old) = self.running.lock().insert(id, tasks) {
            old.iter().for_each(AbortHandle::abort);
        }
        Ok(())
    }

    /// Whether a container is served.
    pub fn serves(&self, id: ContainerId) -> bool {
        self.running.lock().contains_key(&id)
    }

    /// Ends the service of one container, and every question of it; answers whether there was one.
    pub fn stop(&self, id: ContainerId) -> bool {
        let tasks = self.running.lock().remove(&id);
        tasks.iter().flatten().for_each(AbortHandle::abort);
        tasks.is_some()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.running.lock().drain().flat_map(|(_, tasks)| tasks).for_each(|task| task.abort());
    }
}

impl Asker {
    fn decide(&self, question: &Question) -> Decision {
        decide(question, &self.names, self.id, self.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// The answer from outside, or that there is none.
    async fn ask_outside(&self, question: &Question, bytes: &[u8]) -> Vec<u8> {
        let servers = self.upstreams.now();
        let answer = if servers.is_empty() {
            None
        } else {
            self.forwarder.ask(bytes, question.transport(), &servers, &self.netns).await
        };
        answer.unwrap_or_else(|| question.reply(&Answer::Failure(ResponseCode::ServFail)))
    }
}

async fn serve_datagrams(socket: UdpSocket, asker: Arc<Asker>) {
    let socket = Arc::new(socket);
    // Dropped with this future: questions under way end with the container.
    let mut forwards = JoinSet::new();
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        // An error is that of an earlier answer: its asker is gone.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        while forwards.try_join_next().is_some() {}
        let bytes = &buffer[..length];
        let question = match message::read(bytes, Transport::Datagram) {
            Ok(question) => question,
            Err(refusal) => {
                send(&socket, &refusal, client).await;
                continue;
            }
        };
        match asker.decide(&question) {
            Decision::Answer(answer) => send(&socket, &question.reply(&answer), client).await,
            Decision::Forward => {
                let Ok(permit) = Arc::clone(&asker.forwards).try_acquire_owned() else { continue };
                let (socket, asker, bytes) = (Arc::clone(&socket), Arc::clone(&asker), bytes.to_vec());
                forwards.spawn(async move {
                    let _permit = permit;
                    send(&socket, &asker.ask_outside(&question, &bytes).await, client).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], client: SocketAddr) {
    if !bytes.is_empty()
        && let Err(error) = socket.send_to(bytes, client).await
    {
        tracing::debug!(%client, %error, "an answer was not sent");
    }
}

async fn serve_streams(listener: TcpListener, asker: Arc<Asker>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
            continue;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let asker = Arc::clone(&asker);
                    connections.spawn(async move {
                        // Broken by the asker, or silent for too long: nobody is left to be told.
                        let _ = serve_stream(stream, &asker).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    let _ = timeout(RETRY, connections.join_next()).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_stream(mut stream: TcpStream, asker: &Asker) -> io::Result<()> {
    loop {
        let bytes = timeout(CONNECTION_IDLE, read_message(&mut stream, QUESTION_BYTES_MAX)).await??;
        let answer = match message::read(&bytes, Transport::Stream) {
            Ok(question) => match asker.decide(&question) {
                Decision::Answer(answer) => question.reply(&answer),
                Decision::Forward => asker.ask_outside(&question, &bytes).await,
            },
            Err(refusal) if refusal.is_empty() => return Ok(()),
            Err(refusal) => refusal,
        };
        timeout(CONNECTION_IDLE, write_message(&mut stream, &answer)).await??;
    }
}
