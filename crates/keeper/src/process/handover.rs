//! Becoming another program in place: same process, same children, new code.
//!
//! The state goes as JSON, in a sealed memfd when it is large, and every descriptor beside it into a
//! socket pair whose reading end is the new program's standard input. The kernel holds them meanwhile, so
//! nothing else has to survive the exec, and a failed exec leaves everything as it was. The new program reads
//! them back and goes on; the daemon's connection stays open throughout.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    time::Instant,
};

use hako_sys::seqpacket::{Channel, Listener};
use serde::{Deserialize, Serialize};

use super::{
    child::{Child, Ended, OomWatch, park},
    log::say,
    output::{Output, Source, WhenFull},
    placement,
    poll::{Token, Watch},
    settings::Settings,
    turn::Loop,
};
use crate::{
    channel::{self, Packet},
    limits::MESSAGE_DESCRIPTORS_MAX,
    protocol::{Answer, ExitStatus, Failure, Subject},
    ring::{RingWriter, Stream},
};

/// A wish to become another program.
pub(super) struct Upgrade {
    /// Who waits for the answer.
    request: Option<u64>,
    program: OsString,
    arguments: Vec<OsString>,
}

impl Upgrade {
    /// The program that stands where this one came from, which may be a newer one.
    pub(super) fn to_myself(settings: &Settings) -> Self {
        let running = || std::fs::read_link("/proc/self/exe").unwrap_or_default();
        let path = settings.program.clone().unwrap_or_else(running);
        // A file that was replaced is called so by the kernel.
        let path = path.as_os_str().as_bytes();
        let program = OsStr::from_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path)).to_owned();
        // The words before the settings: the role.
        let role = std::env::args_os().skip(1).take_while(|word| !word.as_bytes().starts_with(b"-"));
        Self { request: None, program, arguments: role.collect() }
    }

    pub(super) fn asked(request: u64, program: String, arguments: Vec<String>) -> Self {
        let arguments = arguments.into_iter().map(OsString::from).collect();
        Self { request: Some(request), program: program.into(), arguments }
    }
}

/// Everything but the descriptors.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    children: Vec<ChildState>,
    /// Names and how many descriptors each keeps.
    store: Vec<(String, usize)>,
    connection: Option<ConnectionState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConnectionState {
    greeted: bool,
    /// Who is told that the upgrade is done.
    request: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChildState {
    subject: Subject,
    pid: u32,
    stdin: bool,
    wants_stdin: bool,
    sources: [Option<SourceState>; 2],
    drop_when_full: bool,
    head: u64,
    ended: bool,
    oom: OomWatch,
    kept: usize,
    exit: Option<(ExitStatus, bool)>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum SourceState {
    Pipe(Stream),
    Terminal,
}

/// One message of the handover; the first one's payload is the [`State`].
#[derive(Debug, Serialize, Deserialize)]
struct Piece {
    last: bool,
}

impl Loop {
    /// Carries out an upgrade that was asked for, once nothing is half done.
    pub(super) fn upgrade_if_possible(&mut self) {
        let at_rest = self.connection.as_ref().is_none_or(|connection| connection.is_at_rest());
        if self.upgrade.is_none() || !self.launches.is_empty() || self.greeting.is_some() || !at_rest {
            return;
        }
        let Some(upgrade) = self.upgrade.take() else { return };
        let error = self.become_program(&upgrade);
        if let Some(connection) = &self.connection {
            let _ = self.poll.change(connection, Token::Connection(connection.key), Watch::Readable);
        }
        say(format_args!("cannot become {}: {error}", upgrade.program.display()));
        if let Some(id) = upgrade.request {
            let what = format!("become {}", upgrade.program.display());
            self.answer(id, Answer::Failed(Failure::broken(&what, &error)));
            self.flush();
        }
    }

    /// Returns only if that failed; then nothing has changed.
    fn become_program(&self, upgrade: &Upgrade) -> io::Error {
        let words = [upgrade.program.clone()].into_iter();
        let words = words.chain(upgrade.arguments.iter().cloned()).chain(self.settings.words());
        let words: Result<Vec<_>, _> =
            words.chain(["--resume".into()]).map(|word| CString::new(word.as_bytes())).collect();
        let Ok(words) = words else { return io::ErrorKind::InvalidInput.into() };
        let outcome = self.send_everything(upgrade.request).and_then(|receiver| {
            rustix::stdio::dup2_stdin(&receiver)?;
            Ok(hako_sys::process::execute(&words[0], &words, &placement::environment()))
        });
        if let Ok(null) = File::open("/dev/null") {
            let _ = rustix::stdio::dup2_stdin(&null);
        }
        outcome.unwrap_or_else(|error| error)
    }

    /// Puts state and descriptors into a socket pair and gives its reading end.
    fn send_everything(&self, request: Option<u64>) -> io::Result<Channel> {
        let (state, mut descriptors) = self.state(request)?;
        let (sender, receiver) = Channel::pair()?;
        // More than the kernel holds in a socket is an error, not a wait for a reader that never comes.
        sender.set_nonblocking(true)?;
        let mut payload = serde_json::to_vec(&state)?;
        loop {
            let rest = descriptors.split_off(descriptors.len().min(MESSAGE_DESCRIPTORS_MAX - 1));
            let last = rest.is_empty();
            Packet::new(0, Piece { last }, &payload, descriptors)?.send(&sender)?;
            if last {
                return Ok(receiver);
            }
            payload.clear();
            descriptors = rest;
        }
    }

    fn state(&self, request: Option<u64>) -> io::Result<(State, Vec<OwnedFd>)> {
        let mut descriptors = vec![self.listener.as_fd().try_clone_to_owned()?, self.lock.try_clone()?.into()];
        let mut connection_state = None;
        if let Some(connection) = &self.connection {
            descriptors.push(connection.as_fd().try_clone_to_owned()?);
            connection_state = Some(ConnectionState { greeted: connection.greeted, request });
        }
        let mut children = Vec::new();
        for (_, child) in self.children.iter() {
            children.push(child_state(child, &mut descriptors)?);
        }
        for kept in self.store.values().flatten() {
            descriptors.push(kept.try_clone()?);
        }
        let store = self.store.iter().map(|(name, kept)| (name.clone(), kept.len())).collect();
        Ok((State { children, store, connection: connection_state }, descriptors))
    }
}

fn child_state(child: &Child, descriptors: &mut Vec<OwnedFd>) -> io::Result<ChildState> {
    descriptors.push(child.pidfd.try_clone()?);
    for fd in child.output.ring().descriptors() {
        descriptors.push(fd.try_clone_to_owned()?);
    }
    if let Some(stdin) = &child.stdin {
        descriptors.push(stdin.try_clone()?);
    }
    let mut sources = [None; 2];
    for (state, source) in sources.iter_mut().zip(child.output.sources()) {
        let Some(source) = source else { continue };
        descriptors.push(source.as_fd().try_clone_to_owned()?);
        *state = Some(match source {
            Source::Pipe { stream, .. } => SourceState::Pipe(*stream),
            Source::Terminal { .. } => SourceState::Terminal,
        });
    }
    for kept in &child.kept {
        descriptors.push(kept.try_clone()?);
    }
    Ok(ChildState {
        subject: child.subject,
        pid: child.pid,
        stdin: child.stdin.is_some(),
        wants_stdin: child.wants_stdin,
        sources,
        drop_when_full: child.output.when_full() == WhenFull::Drop,
        head: child.output.ring().head(),
        ended: child.output.ring().has_ended(),
        oom: child.oom.clone(),
        kept: child.kept.len(),
        exit: child.end.as_ref().map(|end| (end.status.clone(), end.told)),
    })
}

/// Goes on where the program before has left off.
pub(super) fn resume(settings: &Settings) -> io::Result<Loop> {
    let channel = Channel::from_descriptor(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(&File::open("/dev/null")?)?;
    placement::harden()?;
    let (mut state, mut descriptors, mut buffer) = (None, Vec::new(), Vec::new());
    loop {
        let message = channel::receive::<Piece>(&channel, &mut buffer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if state.is_none() {
            state = Some(serde_json::from_slice::<State>(&message.payload)?);
        }
        descriptors.extend(message.descriptors);
        if message.body.last {
            break;
        }
    }
    let state = state.ok_or(io::ErrorKind::UnexpectedEof)?;
    Rebuild { descriptors: descriptors.into_iter() }.all(settings, state)
}

struct Rebuild {
    descriptors: std::vec::IntoIter<OwnedFd>,
}

impl Rebuild {
    fn next(&mut self) -> io::Result<OwnedFd> {
        self.descriptors.next().ok_or_else(|| io::Error::other("the handover lacks a descriptor"))
    }

    fn many(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        (0..count).map(|_| self.next()).collect()
    }

    fn all(mut self, settings: &Settings, state: State) -> io::Result<Loop> {
        let listener = Listener::from_descriptor(self.next()?);
        let lock = File::from(self.next()?);
        let mut keeper = Loop::new(settings.clone(), listener, lock)?;
        if let Some(ConnectionState { greeted, request }) = state.connection {
            keeper.attach(Channel::from_descriptor(self.next()?))?;
            if let Some(connection) = &mut keeper.connection {
                connection.greeted = greeted;
            }
            if let Some(id) = request {
                keeper.answer(id, Answer::Done);
            }
        }
        for child in state.children {
            self.child(&mut keeper, child)?;
        }
        for (name, count) in state.store {
            keeper.store.insert(name, self.many(count)?.into_iter().map(park).collect());
        }
        keeper.flush();
        Ok(keeper)
    }

    fn child(&mut self, keeper: &mut Loop, state: ChildState) -> io::Result<()> {
        let pidfd = self.next()?;
        let ring = RingWriter::resume([self.next()?, self.next()?, self.next()?], state.head, state.ended)?;
        let stdin = if state.stdin { Some(self.next()?) } else { None };
        let mut sources = [None, None];
        for (source, state) in sources.iter_mut().zip(state.sources) {
            *source = match state {
                None => None,
                Some(SourceState::Pipe(stream)) => Some(Source::Pipe { reader: self.next()?, stream }),
                Some(SourceState::Terminal) => Some(Source::Terminal { master: self.next()?, hung_up: false }),
            };
        }
        let when_full = if state.drop_when_full { WhenFull::Drop } else { WhenFull::Wait };
        let now = Instant::now();
        let child = Child {
            subject: state.subject,
            pid: state.pid,
            pidfd,
            stdin,
            wants_stdin: state.wants_stdin,
            output: Output::new(ring, sources, when_full),
            oom: state.oom,
            kept: self.many(state.kept)?,
            end: state.exit.map(|(status, told)| Ended { status, at: now, quiet_since: now, told }),
        };
        keeper.add_child(child)
    }
}

impl Loop {
    /// Takes up a child: watches its end and its output.
    pub(super) fn add_child(&mut self, child: Child) -> io::Result<()> {
        let child = child.parked();
        let key = self.children.next_key();
        if child.end.is_none() {
            self.poll.add(&child.pidfd, Token::Exit(key), Watch::Readable)?;
        } else {
            self.closing.push(key);
        }
        child.output.watch(&self.poll, key)?;
        self.by_subject.insert(child.subject, key);
        self.children.insert(child);
        Ok(())
    }
}
