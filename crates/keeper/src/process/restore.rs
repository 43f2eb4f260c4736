//! Taking over from a keeper that died: the daemon has duplicates of everything that keeper had.
//!
//! The processes run on, with pipes that nobody reads until this one does. They are not our children, so
//! how they end comes from the kernel by their pidfd (Linux 6.15), once whoever inherited them has
//! reaped them; where the kernel does not tell, it is unknown and said to be.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use hako_sys::process::Exit;

use super::{
    child::{Child, OomWatch},
    output::{Output, Source, WhenFull},
    slots::Key,
    turn::Loop,
};
use crate::{
    protocol::{Answer, Failure, Lost, Subject},
    ring::RingWriter,
};

/// How often, and for how long, the kernel is asked how a process ended that somebody else must reap first.
const RETRY: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A process that has ended and is not reaped yet by whoever must.
pub(super) struct Unreaped {
    key: Key,
    since: Instant,
}

impl Loop {
    pub(super) fn restore(&mut self, id: u64, subject: Subject, lost: &Lost, descriptors: Vec<OwnedFd>) {
        if self.by_subject.contains_key(&subject) {
            return self.answer(id, Answer::Done);
        }
        let child = rebuild(subject, lost, descriptors);
        let answer = match child.and_then(|child| self.add_child(child)) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(Failure::broken(&format!("take over {subject}"), &error)),
        };
        self.answer(id, answer);
    }

    /// The end of a process that is not our child.
    pub(super) fn stranger_ended(&mut self, key: Key) {
        let Some(child) = self.children.get(key) else { return };
        self.poll.remove(&child.pidfd);
        self.unreaped.push(Unreaped { key, since: Instant::now() });
        self.ask_again();
    }

    /// Asks the kernel about all that have ended and are not reaped yet.
    pub(super) fn ask_again(&mut self) {
        for unreaped in std::mem::take(&mut self.unreaped) {
            let Some(child) = self.children.get(unreaped.key) else { continue };
            match hako_sys::process::exit_by_descriptor(child.pidfd.as_fd()) {
                Ok(Some(exit)) => self.record_end(unreaped.key, Some(exit)),
                Ok(None) if unreaped.since.elapsed() < RETRY_MAX => self.unreaped.push(unreaped),
                Ok(None) | Err(_) => self.record_end(unreaped.key, None::<Exit>),
            }
        }
    }

    /// When to ask again.
    pub(super) fn unreaped_deadline(&self) -> Option<Instant> {
        (!self.unreaped.is_empty()).then(|| Instant::now() + RETRY)
    }
}

fn rebuild(subject: Subject, lost: &Lost, descriptors: Vec<OwnedFd>) -> io::Result<Child> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(|| io::Error::other("a descriptor is missing"));
    let pidfd = next()?;
    let ring = RingWriter::take_over([next()?, next()?, next()?])?;
    let stdin = if lost.handles.stdin { Some(next()?) } else { None };
    let mut sources = [None, None];
    if lost.handles.pty {
        sources[0] = Some(Source::Terminal { master: next()?, hung_up: false });
    }
    for (source, stream) in sources.iter_mut().zip(&lost.handles.pipes) {
        *source = Some(Source::Pipe { reader: next()?, stream: *stream });
    }
    let when_full = if lost.non_blocking_output { WhenFull::Drop } else { WhenFull::Wait };
    Ok(Child {
        subject,
        pid: lost.pid,
        pidfd,
        wants_stdin: lost.handles.stdin,
        // A terminal's master is at hand already.
        stdin: stdin.filter(|_| !lost.handles.pty),
        output: Output::new(ring, sources, when_full),
        oom: OomWatch::new(&lost.cgroup, true),
        kept: descriptors.collect(),
        end: None,
    })
}
