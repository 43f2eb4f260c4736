//! One process that the keeper has started: a container's first, or one of an exec.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Instant,
};

use hako_runtime::plan::CgroupJoin;
use serde::{Deserialize, Serialize};

use super::output::{Output, Source};
use crate::protocol::{ExitStatus, Handles, Subject};

/// All that is known of it.
pub(super) struct Child {
    pub(super) subject: Subject,
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// A duplicate of the write end of its standard input, unless that ends with the daemon.
    pub(super) stdin: Option<OwnedFd>,
    /// Whether the daemon may write to it; for a terminal that is all there is to know.
    pub(super) wants_stdin: bool,
    pub(super) output: Output,
    /// Asked when it has ended whether the kernel killed for want of memory.
    pub(super) oom: OomWatch,
    /// What the daemon wants back when it comes again.
    pub(super) kept: Vec<OwnedFd>,
    pub(super) end: Option<Ended>,
}

/// It has ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) at: Instant,
    /// When its output was last seen to move.
    pub(super) quiet_since: Instant,
    /// Whether a daemon has been told.
    pub(super) told: bool,
}

/// Where the keeper's long-lived descriptors begin. A child closes by ranges of numbers what it does not need: with the
/// few that it needs side by side below this number, that is a few calls however many containers there are.
const DESCRIPTORS_FROM: i32 = 1024;

/// Moves a descriptor up there, if it may.
pub(super) fn park(descriptor: OwnedFd) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(&descriptor, DESCRIPTORS_FROM).unwrap_or(descriptor)
}

impl Child {
    /// The same with all its descriptors out of the way of the children to come.
    pub(super) fn parked(mut self) -> Self {
        self.pidfd = park(self.pidfd);
        self.stdin = self.stdin.map(park);
        self.kept = self.kept.into_iter().map(park).collect();
        self.output = self.output.parked();
        self
    }

    /// Duplicates of what a daemon is given, `stdin` being the original if there must be no duplicate.
    pub(super) fn handles(&self, stdin: Option<OwnedFd>) -> io::Result<(Handles, Vec<OwnedFd>)> {
        let duplicate = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        let mut descriptors = vec![duplicate(self.pidfd.as_fd())?];
        for fd in self.output.ring().descriptors() {
            descriptors.push(duplicate(fd)?);
        }
        let master = self.output.master().map(duplicate).transpose()?;
        let stdin = match (stdin, &self.stdin, &master) {
            (Some(original), _, _) => Some(original),
            (None, Some(kept), _) => Some(kept.try_clone()?),
            (None, None, Some(master)) if self.wants_stdin => Some(master.try_clone()?),
            (None, None, _) => None,
        };
        let mut handles = Handles { stdin: stdin.is_some(), pty: master.is_some(), pipes: Vec::new() };
        descriptors.extend(stdin);
        descriptors.extend(master);
        for source in self.output.sources().iter().flatten() {
            if let Source::Pipe { reader, stream } = source {
                handles.pipes.push(*stream);
                descriptors.push(reader.try_clone()?);
            }
        }
        Ok((handles, descriptors))
    }
}

/// Where the kernel counts what it killed in a cgroup for want of memory, and how many that were before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct OomWatch {
    file: Option<PathBuf>,
    before: u64,
}

impl OomWatch {
    /// `fresh`: the cgroup is new, nothing has been killed in it yet.
    pub(super) fn new(cgroup: &CgroupJoin, fresh: bool) -> Self {
        let v1 = cgroup.hierarchies.iter().find(|(name, _)| name.split(',').any(|controller| controller == "memory"));
        // On a hybrid host there is a v2 tree too, but memory is counted by v1.
        let file = match v1 {
            Some((_, directory)) => Some(directory.join("memory.oom_control")),
            None => cgroup.unified.as_ref().map(|directory| directory.join("memory.events")),
        };
        let mut watch = Self { file, before: 0 };
        if !fresh {
            watch.before = watch.count();
        }
        watch
    }

    fn count(&self) -> u64 {
        self.file.as_ref().and_then(|file| fs::read_to_string(file).ok()).map_or(0, |text| kills(&text))
    }

    pub(super) fn has_killed(&self) -> bool {
        self.count() > self.before
    }
}

/// The `oom_kill` line, which both versions have.
fn kills(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups_count_their_kills() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(kills("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(kills(""), 0);
    }
}
