//! The daemon's side of the connection: requests that wait for their answer, and notices that come by
//! themselves.
//!
//! Any thread may ask. One thread reads: it hands answers to those who wait for them and notices to the
//! function that the daemon gave. When the connection ends, everybody who waits is told so, and the last
//! notice is [`Notice::KeeperLost`]. Starting a keeper is `start.rs`'s matter.

use std::{
    collections::HashMap,
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use hako_model::{ContainerId, ExecId};
use hako_runtime::{ExecPlan, LaunchPlan, plan::CgroupJoin};
use hako_sys::seqpacket::Channel;
use parking_lot::Mutex;

use crate::{
    KeeperError,
    channel::{self, Message, Packet},
    limits::{ANSWER, LAUNCH, MESSAGE_DESCRIPTORS_MAX, REQUEST_DESCRIPTORS_MAX},
    protocol::{Answer, Ask, ExitStatus, Handles, Lost, StdioSpec, Subject},
    ring::{Ring, RingEnds},
    start::{self, KeeperCommand},
};

/// The first request of every connection.
const GREETING: u64 = 1;

/// What the keeper says by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A process has ended. The keeper remembers it until [`Keeper::acknowledge`].
    Exited { subject: Subject, status: ExitStatus },
    /// Another daemon has connected; the keeper no longer speaks to this one.
    Replaced,
    /// The connection is gone. No notice follows.
    KeeperLost,
}

/// A process that has just been started.
#[derive(Debug)]
pub struct Launched {
    pub pid: u32,
    pub pidfd: OwnedFd,
    /// The write end of its standard input, or the terminal's master; if it was asked for.
    pub stdin: Option<OwnedFd>,
    /// The terminal's master, for its size. Only the keeper reads from it. It is non-blocking.
    pub pty: Option<OwnedFd>,
    pub ring: Ring,
}

/// A process that a daemon before this one has started.
#[derive(Debug)]
pub struct Adopted {
    pub subject: Subject,
    pub pid: u32,
    pub pidfd: OwnedFd,
    pub stdin: Option<OwnedFd>,
    pub pty: Option<OwnedFd>,
    pub ring: Ring,
    /// How it ended, if it has. There will be no notice about it.
    pub exited: Option<ExitStatus>,
    /// What was kept with it at its launch, in that order.
    pub kept: Vec<OwnedFd>,
}

/// What a daemon has of a process whose keeper has died, for [`Keeper::restore`].
#[derive(Debug)]
pub struct Survivor<'a> {
    pub subject: Subject,
    pub pid: u32,
    pub pidfd: BorrowedFd<'a>,
    /// `None` also if standard input is to end with the daemon.
    pub stdin: Option<BorrowedFd<'a>>,
    pub pty: Option<BorrowedFd<'a>>,
    pub ring: &'a RingEnds,
    pub non_blocking_output: bool,
    /// As in its plan.
    pub cgroup: &'a CgroupJoin,
    pub kept: &'a [BorrowedFd<'a>],
}

/// The connection to the keeper.
pub struct Keeper {
    shared: Arc<Connection>,
}

/// What the reading thread and the asking ones have in common.
struct Connection {
    channel: Channel,
    next: AtomicU64,
    /// From the end of the greeting until the daemon itself lets go: only then are there notices.
    speaking: AtomicBool,
    /// Held while one request goes out, which may be several packets.
    sending: Mutex<()>,
    /// `None` once the connection is gone.
    waiting: Mutex<Option<HashMap<u64, mpsc::Sender<Message<Answer>>>>>,
}

impl Keeper {
    /// Connects to the keeper of `exec_root`, starting one by `/proc/self/exe keeper` if none answers.
    /// Another daemon's connection ends by this.
    ///
    /// `notices` is called by the thread that reads, so it must hand over and return: a request to the
    /// keeper from inside it would wait for itself.
    ///
    /// # Errors
    /// If no keeper can be started, or it does not answer.
    pub fn connect_or_start(
        exec_root: &Path,
        notices: Box<dyn Fn(Notice) + Send + Sync>,
    ) -> Result<(Self, Vec<Adopted>), KeeperError> {
        Self::connect_or_start_with(exec_root, &KeeperCommand::default(), notices)
    }

    /// As [`Keeper::connect_or_start`], with another program as the keeper.
    ///
    /// # Errors
    /// If no keeper can be started, or it does not answer.
    pub fn connect_or_start_with(
        exec_root: &Path,
        command: &KeeperCommand,
        notices: Box<dyn Fn(Notice) + Send + Sync>,
    ) -> Result<(Self, Vec<Adopted>), KeeperError> {
        let notices: Arc<dyn Fn(Notice) + Send + Sync> = notices.into();
        start::connect_or_start(exec_root, command, |channel| Self::greet(channel, &notices))
    }

    /// Begins to speak. The keeper answers `Hello` with everything that it has.
    fn greet(
        channel: Channel,
        notices: &Arc<dyn Fn(Notice) + Send + Sync>,
    ) -> Result<(Self, Vec<Adopted>), KeeperError> {
        let shared = Arc::new(Connection {
            channel,
            next: AtomicU64::new(GREETING),
            speaking: AtomicBool::new(false),
            sending: Mutex::new(()),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let keeper = Self { shared: Arc::clone(&shared) };
        let notices = Arc::clone(notices);
        std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || shared.read_until_the_end(&*notices))
            .map_err(|source| KeeperError::Send { what: "a greeting", source })?;
        // One that leaves just now may have taken the greeting with it.
        let adopted = keeper.hello().map_err(|error| match error {
            KeeperError::Interrupted => KeeperError::Lost,
            other => other,
        })?;
        Ok((keeper, adopted))
    }

    fn hello(&self) -> Result<Vec<Adopted>, KeeperError> {
        let mut adopted: Vec<Adopted> = Vec::new();
        self.list("a greeting", Ask::Hello, |answer, descriptors| {
            match (answer, adopted.last_mut()) {
                (Answer::Adopted { subject, pid, handles, exited }, _) => {
                    let mut rest = descriptors.into_iter();
                    let Launched { pid, pidfd, stdin, pty, ring } = unpack_handles(pid, handles, &mut rest)?;
                    adopted.push(Adopted { subject, pid, pidfd, stdin, pty, ring, exited, kept: rest.collect() });
                }
                (Answer::AdoptedMore, Some(last)) => last.kept.extend(descriptors),
                (other, _) => return Err(unexpected(&other)),
            }
            Ok(())
        })?;
        Ok(adopted)
    }

    /// Starts a container. The same container and generation asked for twice is started once. The
    /// descriptors in `kept` are not part of the plan: they live as long as the keeper knows the
    /// container, and come back in [`Adopted::kept`].
    ///
    /// # Errors
    /// [`KeeperError::Launch`] says which step failed; [`KeeperError::Refused`] if another generation runs.
    pub fn launch(
        &self,
        id: ContainerId,
        generation: u64,
        plan: &LaunchPlan,
        mut descriptors: Vec<OwnedFd>,
        stdio: StdioSpec,
        kept: Vec<OwnedFd>,
    ) -> Result<Launched, KeeperError> {
        let payload = encode(plan)?;
        let ask = Ask::Launch { container: id, generation, stdio, kept: kept.len() };
        descriptors.extend(kept);
        self.start("a launch plan", ask, &payload, descriptors)
    }

    /// Starts a process in a running container.
    ///
    /// # Errors
    /// As for [`Keeper::launch`].
    pub fn exec(
        &self,
        id: ExecId,
        container: ContainerId,
        plan: &ExecPlan,
        descriptors: Vec<OwnedFd>,
        stdio: StdioSpec,
    ) -> Result<Launched, KeeperError> {
        let payload = encode(plan)?;
        self.start("an exec plan", Ask::Exec { exec: id, container, stdio }, &payload, descriptors)
    }

    /// The end of this process is known and written down: the keeper may forget it, and all it kept with it.
    ///
    /// # Errors
    /// If the keeper is gone, or the process still runs.
    pub fn acknowledge(&self, subject: Subject) -> Result<(), KeeperError> {
        self.done("an acknowledgement", Ask::Acknowledge { subject }, Vec::<OwnedFd>::new())
    }

    /// Closes the keeper's duplicate of a process's standard input. The process sees the end of file
    /// once the daemon has closed its own.
    ///
    /// # Errors
    /// If the keeper is gone or does not know the process.
    pub fn close_stdin(&self, subject: Subject) -> Result<(), KeeperError> {
        self.done("a request", Ask::CloseStdin { subject }, Vec::<OwnedFd>::new())
    }

    /// Gives a process whose keeper has died to this one: after [`Notice::KeeperLost`], when another has been
    /// started. Its output goes on where it was. A process that the keeper knows already is fine.
    ///
    /// # Errors
    /// If the keeper is gone or cannot watch the process.
    pub fn restore(&self, survivor: &Survivor<'_>) -> Result<(), KeeperError> {
        let ring = survivor.ring;
        let handles = Handles {
            stdin: survivor.stdin.is_some(),
            pty: survivor.pty.is_some(),
            pipes: ring.held().iter().map(|(stream, _)| *stream).collect(),
        };
        let descriptors = [survivor.pidfd].into_iter().chain(ring.descriptors());
        let descriptors = descriptors.chain(survivor.stdin).chain(survivor.pty);
        let descriptors = descriptors.chain(ring.held().iter().map(|(_, pipe)| pipe.as_fd()));
        let descriptors = descriptors.chain(survivor.kept.iter().copied());
        let copies: Result<Vec<_>, _> = descriptors.map(|fd| fd.try_clone_to_owned()).collect();
        let copies = copies.map_err(|source| KeeperError::Send { what: "a process", source })?;
        let lost = Lost {
            pid: survivor.pid,
            handles,
            non_blocking_output: survivor.non_blocking_output,
            cgroup: survivor.cgroup.clone(),
        };
        self.done("a process", Ask::Restore { subject: survivor.subject, lost }, copies)
    }

    /// Keeps descriptors beyond this daemon's life, in place of what the name had.
    ///
    /// # Errors
    /// If the keeper is gone.
    pub fn keep(&self, name: &str, descriptors: &[impl AsFd]) -> Result<(), KeeperError> {
        let borrowed = descriptors.iter().map(AsFd::as_fd).collect();
        self.done("descriptors", Ask::Keep { name: name.to_owned() }, borrowed)
    }

    /// Everything that is kept by name: duplicates, the keeper goes on keeping it.
    ///
    /// # Errors
    /// If the keeper is gone.
    pub fn kept(&self) -> Result<Vec<(String, Vec<OwnedFd>)>, KeeperError> {
        let mut all: Vec<(String, Vec<OwnedFd>)> = Vec::new();
        self.list("a request", Ask::Kept, |answer, descriptors| {
            let Answer::Kept { name } = answer else { return Err(unexpected(&answer)) };
            match all.last_mut() {
                Some((last, list)) if *last == name => list.extend(descriptors),
                _ => all.push((name, descriptors)),
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Closes what is kept under a name. A name that keeps nothing is fine.
    ///
    /// # Errors
    /// If the keeper is gone.
    pub fn discard(&self, name: &str) -> Result<(), KeeperError> {
        self.done("a request", Ask::Discard { name: name.to_owned() }, Vec::<OwnedFd>::new())
    }

    /// Replaces the keeper's program in place. Containers, connection and everything kept go on.
    ///
    /// # Errors
    /// If the program cannot be executed; the old one then goes on.
    pub fn upgrade(&self, command: &KeeperCommand) -> Result<(), KeeperError> {
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        // In the keeper `/proc/self/exe` would be its own old program.
        let program = command.program.canonicalize().unwrap_or_else(|_| command.program.clone());
        let ask = Ask::Upgrade {
            program: text(program.as_os_str()),
            arguments: command.arguments.iter().map(|argument| text(argument)).collect(),
        };
        self.done("an upgrade", ask, Vec::<OwnedFd>::new())
    }

    fn start(
        &self,
        what: &'static str,
        ask: Ask,
        payload: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<Launched, KeeperError> {
        let request = self.shared.send(what, ask, payload, descriptors)?;
        let Message { body, descriptors, .. } = request.answer(LAUNCH)?;
        match body {
            Answer::Launched { pid, handles } => unpack_handles(pid, handles, &mut descriptors.into_iter()),
            other => Err(unexpected(&other)),
        }
    }

    fn done(&self, what: &'static str, ask: Ask, descriptors: Vec<impl AsFd>) -> Result<(), KeeperError> {
        match self.shared.send(what, ask, &[], descriptors)?.answer(ANSWER)?.body {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// A request with several answers, the last of which is `Done`.
    fn list(
        &self,
        what: &'static str,
        ask: Ask,
        mut each: impl FnMut(Answer, Vec<OwnedFd>) -> Result<(), KeeperError>,
    ) -> Result<(), KeeperError> {
        let request = self.shared.send(what, ask, &[], Vec::<OwnedFd>::new())?;
        loop {
            let Message { body, descriptors, .. } = request.answer(LAUNCH)?;
            if matches!(body, Answer::Done) {
                return Ok(());
            }
            each(body, descriptors)?;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.speaking.store(false, Ordering::Release);
        // The reading thread sees the end and goes.
        let _ = rustix::net::shutdown(&self.shared.channel, rustix::net::Shutdown::Both);
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("channel", &self.shared.channel).finish()
    }
}

/// A request on its way; dropped, its late answers are thrown away.
struct Request<'a> {
    id: u64,
    connection: &'a Connection,
    answers: mpsc::Receiver<Message<Answer>>,
}

impl Request<'_> {
    fn answer(&self, patience: Duration) -> Result<Message<Answer>, KeeperError> {
        let message = self.answers.recv_timeout(patience).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => KeeperError::Silent { waited: patience },
            mpsc::RecvTimeoutError::Disconnected => KeeperError::Interrupted,
        })?;
        match message.body {
            Answer::Failed(failure) => Err(failure.into()),
            _ => Ok(message),
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.connection.waiting.lock().as_mut() {
            waiting.remove(&self.id);
        }
    }
}

impl Connection {
    fn send(
        &self,
        what: &'static str,
        ask: Ask,
        payload: &[u8],
        mut descriptors: Vec<impl AsFd>,
    ) -> Result<Request<'_>, KeeperError> {
        let failed = |source| KeeperError::Send { what, source };
        if descriptors.len() > REQUEST_DESCRIPTORS_MAX {
            return Err(failed(std::io::ErrorKind::InvalidInput.into()));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::channel();
        self.waiting.lock().as_mut().ok_or(KeeperError::Lost)?.insert(id, sender);
        let request = Request { id, connection: self, answers };
        let mut packets = Vec::new();
        while descriptors.len() >= MESSAGE_DESCRIPTORS_MAX {
            let rest = descriptors.split_off(MESSAGE_DESCRIPTORS_MAX);
            packets.push(Packet::new(id, Ask::Stage, &[], std::mem::replace(&mut descriptors, rest)).map_err(failed)?);
        }
        packets.push(Packet::new(id, ask, payload, descriptors).map_err(failed)?);
        let _turn = self.sending.lock();
        for packet in packets {
            packet.send(&self.channel).map_err(|source| match source.raw_os_error() {
                Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN) => KeeperError::Lost,
                _ => failed(source),
            })?;
        }
        Ok(request)
    }

    fn read_until_the_end(&self, notices: &(dyn Fn(Notice) + Send + Sync)) {
        let mut buffer = Vec::new();
        loop {
            match channel::receive(&self.channel, &mut buffer) {
                Ok(Some(message)) => self.dispatch(message, notices),
                Ok(None) => break,
                // A daemon that understands only half of what it is told must not go on.
                Err(error) => {
                    tracing::error!("cannot read from the keeper: {error}");
                    break;
                }
            }
        }
        // Dropping the senders wakes everybody who waits.
        *self.waiting.lock() = None;
        self.notify(notices, Notice::KeeperLost);
    }

    fn notify(&self, notices: &(dyn Fn(Notice) + Send + Sync), notice: Notice) {
        if self.speaking.load(Ordering::Acquire) {
            notices(notice);
        }
    }

    fn dispatch(&self, message: Message<Answer>, notices: &(dyn Fn(Notice) + Send + Sync)) {
        match message.body {
            Answer::Exited { subject, status } => self.notify(notices, Notice::Exited { subject, status }),
            Answer::Replaced => self.notify(notices, Notice::Replaced),
            _ => {
                if message.id == GREETING && matches!(message.body, Answer::Done) {
                    self.speaking.store(true, Ordering::Release);
                }
                let sender = self.waiting.lock().as_ref().and_then(|waiting| waiting.get(&message.id).cloned());
                // Nobody waits for a late answer; its descriptors are closed here.
                if let Some(sender) = sender {
                    let _ = sender.send(message);
                }
            }
        }
    }
}

fn encode(plan: &impl serde::Serialize) -> Result<Vec<u8>, KeeperError> {
    serde_json::to_vec(plan).map_err(|error| KeeperError::Send { what: "a plan", source: error.into() })
}

fn unexpected(answer: &Answer) -> KeeperError {
    KeeperError::Nonsense { reason: format!("an answer to something else: {answer:?}") }
}

/// Takes the descriptors of a process off the front of a message's.
fn unpack_handles(
    pid: u32,
    handles: Handles,
    descriptors: &mut impl Iterator<Item = OwnedFd>,
) -> Result<Launched, KeeperError> {
    let mut next =
        || descriptors.next().ok_or_else(|| KeeperError::Nonsense { reason: "too few descriptors".to_owned() });
    let pidfd = next()?;
    let ring = [next()?, next()?, next()?];
    let stdin = handles.stdin.then(&mut next).transpose()?;
    let pty = handles.pty.then(&mut next).transpose()?;
    let pipes = handles.pipes.into_iter().map(|stream| next().map(|pipe| (stream, pipe)));
    let ring = Ring::open(ring, pipes.collect::<Result<_, _>>()?)
        .map_err(|error| KeeperError::Nonsense { reason: hako_base::error::chain(&error) })?;
    Ok(Launched { pid, pidfd, stdin, pty, ring })
}
