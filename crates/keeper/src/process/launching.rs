//! From a plan to a child: standard streams, `runtime::launch`, and whoever asked.
//!
//! Several launches may be under way; each is advanced when its child says something. The same start
//! asked for twice (by a daemon that came back, say) is one start with two answers.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use hako_runtime::plan::{Process, Rlimit, RlimitResource};
use hako_runtime::{ExecPlan, LaunchError, LaunchPlan, Pending, Progress, Stdio, launch};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Resource, getrlimit},
};
use serde::de::DeserializeOwned;

use super::{
    child::{Child, OomWatch},
    log::say,
    output::{Output, Source, WhenFull},
    poll::{Token, Watch},
    slots::Key,
    turn::Loop,
};
use crate::{
    limits::{PATIENCE, RING_BYTES_DEFAULT},
    protocol::{Answer, Failure, StdioSpec, Subject},
    ring::{RingWriter, Stream},
};

/// A launch under way.
pub(super) struct Launching {
    subject: Subject,
    pending: Pending,
    /// Connections and requests that wait for it.
    requests: Vec<(Key, u64)>,
    streams: Streams,
    stdio: StdioSpec,
    oom: OomWatch,
    kept: Vec<OwnedFd>,
    /// Since when it is failed and its processes are to end.
    ending: Option<Instant>,
}

/// The keeper's ends of a process's standard streams.
struct Streams {
    stdin: Option<OwnedFd>,
    sources: [Option<Source>; 2],
    ring: RingWriter,
}

impl Loop {
    /// Begins a launch, or finds that it was begun before.
    pub(super) fn launch(
        &mut self,
        id: u64,
        subject: Subject,
        payload: &[u8],
        descriptors: Vec<OwnedFd>,
        kept: usize,
        stdio: &StdioSpec,
    ) {
        let Some(connection) = self.connection.as_ref().map(|connection| connection.key) else { return };
        if let Some(key) = self.by_subject.get(&subject).copied() {
            return self.answer_launched(id, key, None);
        }
        for key in self.launches.keys() {
            if let Some(launching) = self.launches.get_mut(key).filter(|launching| launching.subject == subject) {
                return launching.requests.push((connection, id));
            }
        }
        let begun =
            self.refuse_other_generation(subject).and_then(|()| begin(subject, payload, descriptors, kept, stdio));
        let outcome = begun.and_then(|mut launching| {
            launching.requests.push((connection, id));
            let token = Token::Launch(self.launches.next_key());
            let watched = self.poll.add(launching.pending.channel(), token, Watch::Readable);
            watched.map_err(|error| Failure::broken("watch a launch", &error))?;
            self.launches.insert(launching);
            Ok(())
        });
        if let Err(failure) = outcome {
            self.answer(id, Answer::Failed(failure));
        }
    }

    /// One container runs once: neither beside its own next start nor after a later one.
    fn refuse_other_generation(&self, subject: Subject) -> Result<(), Failure> {
        let Subject::Container(id, generation) = subject else { return Ok(()) };
        let lives = self.by_subject.range(Subject::Container(id, 0)..=Subject::Container(id, u64::MAX));
        for (other, key) in lives {
            let runs = self.children.get(*key).is_some_and(|child| child.end.is_none());
            if runs || matches!(other, Subject::Container(_, later) if *later > generation) {
                return Err(Failure::Refused(format!("cannot start {subject}: {other} is known")));
            }
        }
        let launching =
            |launching: &Launching| matches!(launching.subject, Subject::Container(other, _) if other == id);
        if self.launches.iter().any(|(_, other)| launching(other)) {
            return Err(Failure::Refused(format!("cannot start {subject}: another start is under way")));
        }
        Ok(())
    }

    /// A launch has something to say.
    pub(super) fn advance(&mut self, key: Key) {
        let Some(launching) = self.launches.get_mut(key) else { return };
        match launching.pending.advance() {
            Ok(Progress::Waiting) => return,
            Ok(Progress::Ending) => return self.await_end(key),
            // Only bundles have hooks and gates, and they do not come this way.
            Ok(Progress::Running | Progress::Ready | Progress::Hooks) => {
                let Some(launching) = self.take_launch(key) else { return };
                self.launched(launching);
            }
            Err(error) => {
                let Some(launching) = self.take_launch(key) else { return };
                self.launch_failed(&launching.requests, &error);
            }
        }
        self.greet_if_possible();
    }

    /// Ends the watching of a launch.
    fn take_launch(&mut self, key: Key) -> Option<Launching> {
        let launching = self.launches.remove(key)?;
        self.put_off_rest();
        match (launching.ending, launching.pending.ending()) {
            (Some(_), Some(pidfd)) => self.poll.remove(pidfd),
            _ => self.poll.remove(launching.pending.channel()),
        }
        Some(launching)
    }

    /// A launch has failed. Whoever asked is told once its processes are gone and so hold neither cgroup nor mounts.
    fn await_end(&mut self, key: Key) {
        let Some(launching) = self.launches.get_mut(key).filter(|launching| launching.ending.is_none()) else { return };
        launching.ending = Some(Instant::now());
        self.poll.remove(launching.pending.channel());
        let Some(pidfd) = launching.pending.ending() else { return };
        if let Err(error) = self.poll.add(pidfd, Token::Launch(key), Watch::Readable) {
            say(format_args!("cannot watch the end of a failed launch: {error}"));
        }
    }

    /// Lets go of failed launches whose processes do not end (one may be stuck in the kernel). They are reaped with
    /// the orphans when they do.
    pub(super) fn give_up_launches(&mut self) {
        if self.ending_deadline().is_none_or(|deadline| deadline > Instant::now()) {
            return;
        }
        for key in self.launches.keys() {
            let late = |launching: &mut Launching| launching.ending.is_some_and(|since| since.elapsed() >= PATIENCE);
            if self.launches.get_mut(key).is_some_and(late)
                && let Some(launching) = self.take_launch(key)
            {
                say(format_args!("the processes of a failed launch of {} do not end", launching.subject));
                self.launch_failed(&launching.requests, &launching.pending.into_failure());
            }
        }
        self.greet_if_possible();
    }

    /// When the next of them has waited long enough.
    pub(super) fn ending_deadline(&self) -> Option<Instant> {
        self.launches.iter().filter_map(|(_, launching)| launching.ending).min().map(|since| since + PATIENCE)
    }

    fn launch_failed(&mut self, requests: &[(Key, u64)], error: &LaunchError) {
        let present = self.connection.as_ref().map(|connection| connection.key);
        for (connection, id) in requests {
            if present == Some(*connection) {
                self.answer(*id, Answer::Failed(Failure::Launch(error.clone())));
            }
        }
    }

    fn launched(&mut self, launching: Launching) {
        let Launching { subject, mut pending, requests, streams, stdio, oom, kept, .. } = launching;
        let Streams { stdin, mut sources, ring } = streams;
        if let Some(master) = pending.take_terminal() {
            sources[0] = prepare_terminal(master);
        }
        let Some(running) = pending.into_child() else { return };
        // The one write end is the daemon's; unless the input shall end with it, the keeper has another.
        let (original, duplicate) = match stdio.stdin_once {
            true => (stdin, None),
            false => (None, stdin),
        };
        let child = Child {
            subject,
            pid: running.pid,
            pidfd: running.pidfd,
            stdin: duplicate,
            wants_stdin: stdio.stdin,
            output: Output::new(ring, sources, if stdio.non_blocking_output { WhenFull::Drop } else { WhenFull::Wait }),
            oom,
            kept,
            end: None,
        };
        if let Err(error) = self.add_child(child) {
            say(format_args!("cannot watch {subject}: {error}"));
        }
        let Some(key) = self.by_subject.get(&subject).copied() else { return };
        let present = self.connection.as_ref().map(|connection| connection.key);
        let mut original = original;
        for (connection, id) in requests {
            if present == Some(connection) {
                self.answer_launched(id, key, original.take());
            }
        }
    }

    fn answer_launched(&mut self, id: u64, key: Key, stdin: Option<OwnedFd>) {
        let Some(child) = self.children.get(key) else { return };
        match child.handles(stdin) {
            Ok((handles, descriptors)) => {
                let answer = Answer::Launched { pid: child.pid, handles };
                self.answer_with(id, answer, descriptors);
            }
            Err(error) => self.answer(id, Answer::Failed(Failure::broken("duplicate descriptors", &error))),
        }
    }
}

fn begin(
    subject: Subject,
    payload: &[u8],
    mut descriptors: Vec<OwnedFd>,
    kept: usize,
    stdio: &StdioSpec,
) -> Result<Launching, Failure> {
    let split = descriptors.len().checked_sub(kept);
    let split = split.ok_or_else(|| Failure::Refused(format!("{subject} lacks descriptors")))?;
    let kept = descriptors.split_off(split);
    let (streams, given) = streams(stdio).map_err(|error| Failure::broken("make standard streams", &error))?;
    let (pending, oom) = match subject {
        Subject::Container(..) => {
            let mut plan: LaunchPlan = decode(payload)?;
            keep_ours_out(&mut plan.process);
            let oom = OomWatch::new(&plan.cgroup, true);
            (launch::begin(&plan, &descriptors, given, None), oom)
        }
        Subject::Exec(_) => {
            let mut plan: ExecPlan = decode(payload)?;
            keep_ours_out(&mut plan.process);
            let oom = OomWatch::new(&plan.cgroup, false);
            (launch::begin_exec(&plan, &descriptors, given, None), oom)
        }
    };
    let pending = pending.map_err(Failure::Launch)?;
    Ok(Launching { subject, pending, requests: Vec::new(), streams, stdio: stdio.clone(), oom, kept, ending: None })
}

/// What a plan leaves open would be inherited from the keeper, which nearly cannot be killed and may open
/// many files.
fn keep_ours_out(process: &mut Process) {
    process.oom_score_adj.get_or_insert(0);
    if process.rlimits.iter().all(|limit| limit.resource != RlimitResource::Nofile) {
        let hard = getrlimit(Resource::Nofile).maximum;
        // The soft limit that every other program on a Linux host starts with.
        process.rlimits.push(Rlimit { resource: RlimitResource::Nofile, soft: Some(1024), hard });
    }
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(payload).map_err(|error| Failure::broken("read the plan", &error.into()))
}

/// Both sides of a process's standard streams.
fn streams(stdio: &StdioSpec) -> io::Result<(Streams, Stdio)> {
    let ring_bytes = if stdio.ring_bytes == 0 { RING_BYTES_DEFAULT } else { stdio.ring_bytes };
    let ring = RingWriter::create(ring_bytes, stdio.log_length)?;
    if let Some((rows, columns)) = stdio.tty {
        let ours = Streams { stdin: None, sources: [None, None], ring };
        return Ok((ours, Stdio::Terminal { rows, columns, lines_as_written: false }));
    }
    let (stdin_reader, stdin) = match stdio.stdin {
        true => pipe_with(PipeFlags::CLOEXEC).map(|(reader, writer)| (reader, Some(writer)))?,
        false => (null()?, None),
    };
    if stdio.discard_output {
        let ours = Streams { stdin, sources: [None, None], ring };
        return Ok((ours, Stdio::Streams { stdin: stdin_reader, stdout: null()?, stderr: null()? }));
    }
    let (stdout_reader, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr_reader, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let sources = [
        Some(Source::Pipe { reader: stdout_reader, stream: Stream::Stdout }),
        Some(Source::Pipe { reader: stderr_reader, stream: Stream::Stderr }),
    ];
    if let Some((uid, gid)) = stdio.owner {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        let input = stdio.stdin.then_some(&stdin_reader);
        for pipe in [&stdout, &stderr].into_iter().chain(input) {
            rustix::fs::fchown(pipe, Some(uid), Some(gid))?;
        }
    }
    Ok((Streams { stdin, sources, ring }, Stdio::Streams { stdin: stdin_reader, stdout, stderr }))
}

fn null() -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    Ok(open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// The keeper must never wait for a terminal.
fn prepare_terminal(master: OwnedFd) -> Option<Source> {
    match rustix::io::ioctl_fionbio(master.as_fd(), true) {
        Ok(()) => Some(Source::Terminal { master, hung_up: false }),
        Err(error) => {
            say(format_args!("a terminal cannot be read: {error}"));
            None
        }
    }
}
