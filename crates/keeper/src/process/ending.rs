//! How a process ends: its status is taken, its output drained and marked as complete, a daemon told, and
//! in the end it is forgotten.
//!
//! The end mark comes before the notice, so that a daemon that is told has all output at hand. Two
//! things may hold the mark back: a full ring, and a grandchild that keeps the pipe open. Neither holds
//! the notice back for longer than `PATIENCE`.

use std::{os::fd::AsFd, time::Instant};

use hako_sys::process::Exit;

use super::{child::Ended, log::say, slots::Key, turn::Loop};
use crate::{
    limits::{PATIENCE, QUIET},
    protocol::{Answer, ExitStatus, Subject},
    ring::Moved,
};

/// What a shell says of a status that cannot be known.
const UNKNOWN: i32 = 255;

impl Loop {
    /// A pidfd says that its process has ended.
    pub(super) fn child_ended(&mut self, key: Key) {
        let Some(child) = self.children.get(key) else { return };
        let exit = match hako_sys::process::try_reap(child.pidfd.as_fd()) {
            Ok(None) => return,
            Ok(exit) => exit,
            Err(_) => return self.stranger_ended(key),
        };
        self.record_end(key, exit);
    }

    /// Notes how a child ended and takes what its pipes still hold.
    pub(super) fn record_end(&mut self, key: Key, exit: Option<Exit>) {
        let Some(child) = self.children.get_mut(key).filter(|child| child.end.is_none()) else { return };
        if exit.is_none() {
            say(format_args!("how {} ended cannot be known", child.subject));
        }
        self.poll.remove(&child.pidfd);
        let status = ExitStatus {
            code: exit.map_or(UNKNOWN, Exit::code),
            signal: exit.and_then(Exit::signal),
            oom_killed: child.oom.has_killed(),
            unknown: exit.is_none(),
            at: hako_base::clock::now(),
        };
        let now = Instant::now();
        child.end = Some(Ended { status, at: now, quiet_since: now, told: false });
        child.stdin = None;
        if let Err(error) = child.output.drain(&self.poll, key) {
            say(format_args!("cannot drain the output of {}: {error}", child.subject));
        }
        self.closing.push(key);
    }

    /// A source has something to read.
    pub(super) fn relay(&mut self, key: Key, index: usize) {
        let Some(child) = self.children.get_mut(key) else { return };
        match child.output.relay(index, &self.poll, key, child.end.is_none()) {
            Ok(Moved::Bytes(_)) => {
                if let Some(end) = &mut child.end {
                    end.quiet_since = Instant::now();
                }
            }
            Ok(Moved::Empty | Moved::Full | Moved::End) => {}
            Err(error) => {
                say(format_args!("the output of {} is given up: {error}", child.subject));
                if let Err(error) = child.output.end(&self.poll) {
                    say(format_args!("cannot mark the end of the output of {}: {error}", child.subject));
                }
            }
        }
    }

    /// The daemon has made room in a ring.
    pub(super) fn room_made(&mut self, key: Key) {
        let Some(child) = self.children.get_mut(key) else { return };
        if let Err(error) = child.output.room_made(&self.poll, key) {
            say(format_args!("cannot go on with the output of {}: {error}", child.subject));
        }
        if let Some(end) = &mut child.end {
            end.quiet_since = Instant::now();
        }
    }

    /// Marks ends and tells the daemon, for every child that is closing and whose time has come.
    pub(super) fn settle_all(&mut self) {
        let closing = std::mem::take(&mut self.closing);
        self.closing = closing.into_iter().filter(|key| self.settle(*key)).collect();
    }

    /// Answers whether there is still something to wait for.
    fn settle(&mut self, key: Key) -> bool {
        let Some(child) = self.children.get_mut(key) else { return false };
        let Some(end) = &mut child.end else { return false };
        let output = &mut child.output;
        let quiet = !output.is_stalled() && end.quiet_since.elapsed() >= QUIET;
        if !output.ring().has_ended()
            && (output.is_complete() || quiet)
            && let Err(error) = output.end(&self.poll)
        {
            say(format_args!("cannot mark the end of the output of {}: {error}", child.subject));
        }
        let complete = output.ring().has_ended();
        if !end.told && (complete || end.at.elapsed() >= PATIENCE) {
            if let Some(connection) = self.connection.as_mut().filter(|connection| connection.greeted) {
                let notice = Answer::Exited { subject: child.subject, status: end.status.clone() };
                connection.answer(0, notice, Vec::new());
            }
            // Without a daemon there is nobody to tell: the next one hears it in its greeting.
            end.told = true;
        }
        !(complete && end.told)
    }

    /// When the next child that is closing wants attention.
    pub(super) fn closing_deadline(&self) -> Option<Instant> {
        let deadline = |key: &Key| {
            let child = self.children.get(*key)?;
            let end = child.end.as_ref()?;
            let quiet = (!child.output.is_stalled()).then(|| end.quiet_since + QUIET);
            let patience = (!end.told).then(|| end.at + PATIENCE);
            quiet.into_iter().chain(patience).min()
        };
        self.closing.iter().filter_map(deadline).min()
    }

    /// Forgets a child that has ended. Answers whether it had.
    pub(super) fn forget_child(&mut self, subject: Subject) -> bool {
        let Some(key) = self.by_subject.get(&subject).copied() else { return true };
        if self.children.get(key).is_none_or(|child| child.end.is_none()) {
            return false;
        }
        self.by_subject.remove(&subject);
        if let Some(mut child) = self.children.remove(key) {
            // Even if the daemon did not care to read all of it.
            if let Err(error) = child.output.end(&self.poll) {
                say(format_args!("cannot mark the end of the output of {}: {error}", child.subject));
            }
        }
        true
    }
}
