//! The loop: waits for events, gives each a bounded piece of work, and keeps the few deadlines there are.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use hako_sys::{
    seqpacket::{Channel, Listener},
    signal::SignalSet,
};

use super::{
    child::Child,
    connection::{Connection, Incoming},
    handover::Upgrade,
    launching::Launching,
    log::say,
    placement,
    poll::{Poll, Token, Watch},
    restore::Unreaped,
    settings::Settings,
    slots::{Key, Slots},
};
use crate::{
    limits::{IDLE, REST},
    protocol::{Answer, Subject},
    start::socket_path,
};

/// Everything the keeper has.
pub(super) struct Loop {
    pub(super) settings: Settings,
    pub(super) poll: Poll,
    pub(super) listener: Listener,
    /// Held, never used: see `start.rs`.
    pub(super) lock: File,
    signals: OwnedFd,
    pub(super) connection: Option<Connection>,
    /// Numbers connections, so that an answer never goes to the wrong daemon.
    connections: u32,
    pub(super) children: Slots<Child>,
    pub(super) by_subject: BTreeMap<Subject, Key>,
    /// Ended, but their output is not, or nobody was told.
    pub(super) closing: Vec<Key>,
    pub(super) launches: Slots<Launching>,
    /// The greeting that waits until the launches of the daemon before are decided.
    pub(super) greeting: Option<u64>,
    pub(super) store: BTreeMap<String, Vec<OwnedFd>>,
    /// A child that is not one of ours may have ended.
    orphans_due: bool,
    /// Not our children, ended, and how is not known yet.
    pub(super) unreaped: Vec<Unreaped>,
    pub(super) upgrade: Option<Upgrade>,
    idle_since: Option<Instant>,
    /// When what the last launch (or the start) needed of the program may leave memory again.
    rest_at: Option<Instant>,
    leaving: bool,
}

impl Loop {
    pub(super) fn new(settings: Settings, listener: Listener, lock: File) -> io::Result<Self> {
        let poll = Poll::new()?;
        listener.set_nonblocking(true)?;
        poll.add(&listener, Token::Listener, Watch::Readable)?;
        let wanted = SignalSet::of(&[libc::SIGCHLD, libc::SIGHUP, libc::SIGTERM, libc::SIGINT]);
        wanted.block()?;
        let signals = wanted.descriptor()?;
        poll.add(&signals, Token::Signals, Watch::Readable)?;
        Ok(Self {
            settings,
            poll,
            listener,
            lock,
            signals,
            connection: None,
            connections: 0,
            children: Slots::new(),
            by_subject: BTreeMap::new(),
            closing: Vec::new(),
            launches: Slots::new(),
            greeting: None,
            store: BTreeMap::new(),
            orphans_due: true,
            unreaped: Vec::new(),
            upgrade: None,
            idle_since: None,
            rest_at: Some(Instant::now() + REST),
            leaving: false,
        })
    }

    /// Turns until there is nothing left to do.
    pub(super) fn run(mut self) -> io::Result<()> {
        while !self.leaving {
            let patience = self.patience();
            for token in self.poll.wait(patience)? {
                self.handle(token);
            }
            // A child may be found dead by this before its pidfd says so: settled after it, never before.
            self.give_up_launches();
            self.reap_orphans();
            self.ask_again();
            self.settle_all();
            self.flush();
            self.upgrade_if_possible();
            self.leave_if_idle();
            self.rest();
        }
        if self.settings.detach {
            let (parent, name) = self.settings.cgroup();
            placement::leave_cgroup(parent, &name);
        }
        Ok(())
    }

    /// How long nothing may happen before something must.
    fn patience(&self) -> Option<Duration> {
        let idle = self.idle_since.map(|since| since + IDLE);
        let next = self.closing_deadline().into_iter().chain(self.unreaped_deadline()).chain(self.ending_deadline());
        next.chain(idle)
            .chain(self.rest_at)
            .min()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.take_signals(),
            Token::Connection(key) => self.serve(key),
            Token::Launch(key) => self.advance(key),
            Token::Exit(key) => self.child_ended(key),
            Token::Source(key, index) => self.relay(key, index),
            Token::Space(key) => self.room_made(key),
        }
    }

    /// A daemon connects. It takes the place of the one before, which may be hanging, or about to be killed.
    fn accept(&mut self) {
        loop {
            let channel = match self.listener.accept() {
                Ok(channel) => channel,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return say(format_args!("cannot accept a connection: {error}")),
            };
            match channel.peer() {
                Ok(peer) if peer.uid == rustix::process::geteuid().as_raw() => {}
                Ok(peer) => {
                    say(format_args!("process {} of user {} was turned away", peer.pid, peer.uid));
                    continue;
                }
                Err(_) => continue,
            }
            if let Some(mut old) = self.connection.take() {
                old.answer(0, Answer::Replaced, Vec::new());
                let _ = old.flush();
                self.forget(old);
            }
            if let Err(error) = self.attach(channel) {
                say(format_args!("cannot take up a connection: {error}"));
            }
        }
    }

    pub(super) fn attach(&mut self, channel: Channel) -> io::Result<()> {
        self.connections = self.connections.wrapping_add(1);
        channel.set_nonblocking(true)?;
        let connection = Connection::new(Key::decode(u64::from(self.connections)), channel);
        self.poll.add(&connection, Token::Connection(connection.key), Watch::Readable)?;
        self.connection = Some(connection);
        Ok(())
    }

    fn forget(&mut self, connection: Connection) {
        self.poll.remove(&connection);
        self.greeting = None;
    }

    /// Reads a few requests; the rest waits for the next turn.
    fn serve(&mut self, key: Key) {
        const REQUESTS_PER_TURN: usize = 16;
        let mut buffer = Vec::new();
        for _ in 0..REQUESTS_PER_TURN {
            let Some(connection) = self.connection.as_mut().filter(|connection| connection.key == key) else { return };
            if self.upgrade.is_some() {
                // It waits for a moment without requests, so no more are taken up.
                let _ = self.poll.change(&*connection, Token::Connection(key), Watch::Nothing);
                return;
            }
            match connection.next_request(&mut buffer) {
                Incoming::Request(request) => self.request(request),
                Incoming::Nothing => return,
                Incoming::Gone => {
                    if let Some(gone) = self.connection.take() {
                        self.forget(gone);
                    }
                    return;
                }
            }
        }
    }

    /// Sends what waits for the daemon, and watches for when it takes more.
    pub(super) fn flush(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if connection.is_at_rest() && !connection.wants_room {
            return;
        }
        let flushed = connection.flush().and_then(|all_out| {
            let watch = if all_out { Watch::Readable } else { Watch::ReadableOrWritable };
            connection.wants_room = !all_out;
            self.poll.change(&*connection, Token::Connection(connection.key), watch)
        });
        if let Err(error) = flushed {
            say(format_args!("the daemon's connection is closed: {error}"));
            if let Some(gone) = self.connection.take() {
                self.forget(gone);
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(number)) = hako_sys::signal::take(self.signals.as_fd()) {
            match number {
                libc::SIGCHLD => self.orphans_due = true,
                libc::SIGHUP => self.upgrade = Some(Upgrade::to_myself(&self.settings)),
                _ if self.children.is_empty() && self.launches.is_empty() => self.leaving = true,
                // Without us the containers would have nobody to write to.
                _ => say(format_args!("signal {number} is ignored while there are containers")),
            }
        }
    }

    /// Reaps what became our child because its parent died. Not while a launch is under way: the
    /// processes of an unfinished launch are its own to reap.
    fn reap_orphans(&mut self) {
        if !self.orphans_due || !self.launches.is_empty() {
            return;
        }
        self.orphans_due = false;
        while let Ok(Some((pid, exit))) = hako_sys::process::reap_any() {
            let ours = self.children.iter().find(|(_, child)| child.pid == pid && child.end.is_none());
            if let Some(key) = ours.map(|(key, _)| key) {
                self.record_end(key, Some(exit));
            }
        }
    }

    /// Something was launched: memory is given back a while later.
    pub(super) fn put_off_rest(&mut self) {
        self.rest_at = Some(Instant::now() + REST);
    }

    /// Gives back the pages of the program itself, which come again from the page cache when they are needed.
    fn rest(&mut self) {
        if self.rest_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.rest_at = None;
        if let Err(error) = hako_sys::memory::release_clean_pages() {
            say(format_args!("cannot give memory back: {error}"));
        }
    }

    fn leave_if_idle(&mut self) {
        let busy = !self.children.is_empty() || !self.launches.is_empty() || self.connection.is_some();
        if busy || self.settings.stay {
            self.idle_since = None;
            return;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        if since.elapsed() < IDLE {
            return;
        }
        // First nobody can find us any more, then a last look: a daemon may have connected just now.
        let path = socket_path(&self.settings.exec_root);
        let _ = std::fs::remove_file(&path);
        self.accept();
        if self.connection.is_none() {
            self.leaving = true;
            return;
        }
        if let Err(error) = self.listen_again() {
            say(format_args!("cannot listen at {} again: {error}", path.display()));
        }
    }

    fn listen_again(&mut self) -> io::Result<()> {
        let listener = Listener::bind(&socket_path(&self.settings.exec_root))?;
        listener.set_nonblocking(true)?;
        self.poll.remove(&self.listener);
        self.poll.add(&listener, Token::Listener, Watch::Readable)?;
        self.listener = listener;
        Ok(())
    }
}
