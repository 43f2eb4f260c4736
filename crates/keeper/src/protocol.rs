//! The words that daemon and keeper exchange: JSON, one message each way, descriptors beside it.
//!
//! A keeper lives longer than the daemon that started it, so these types only grow: new fields have
//! defaults, and [`crate::limits::PROTOCOL_VERSION`] changes when that is not enough. How a message
//! becomes a packet is `channel`'s work.

use hako_base::ErrorKind;
use hako_model::{ContainerId, ExecId};
use hako_runtime::{LaunchError, plan::CgroupJoin};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ring::Stream;

/// What runs: a container in one of its lives, or a process started in one by exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// The container and its generation, which grows with every start.
    Container(ContainerId, u64),
    Exec(ExecId),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Container(id, generation) => write!(f, "container {} (start {generation})", id.short()),
            Self::Exec(id) => write!(f, "exec {}", id.short()),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// As a shell has it: the process's own code, or 128 and the signal; 255 when `unknown`.
    pub code: i32,
    pub signal: Option<i32>,
    /// Whether the kernel killed something in the container's cgroup for want of memory.
    pub oom_killed: bool,
    /// The keeper that was its parent has died, and the kernel does not tell (before Linux 6.15).
    #[serde(default)]
    pub unknown: bool,
    pub at: Timestamp,
}

/// What a process is given as its standard streams.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StdioSpec {
    /// A terminal of (rows, columns) in place of pipes.
    pub tty: Option<(u16, u16)>,
    /// Whether somebody may write to its standard input; otherwise that is `/dev/null`.
    pub stdin: bool,
    /// Standard input ends with the daemon that holds its other end.
    pub stdin_once: bool,
    /// A full ring drops output instead of making the process wait.
    pub non_blocking_output: bool,
    /// Nobody wants the output: `/dev/null` in place of pipes.
    pub discard_output: bool,
    /// The ring's size; 0 is [`crate::RING_BYTES_DEFAULT`].
    pub ring_bytes: u32,
    /// How long the log is that the output goes on in: what [`crate::Ring::log_length`] says until the first
    /// commit. A daemon that dies before that would have the next one cut off the log of earlier lives.
    pub log_length: u64,
    /// Whose the pipes are: root of a user namespace cannot open those of the host's again.
    pub owner: Option<(u32, u32)>,
}

/// A message with what every message has.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope<T> {
    /// The protocol version.
    pub(crate) v: u32,
    /// The request it is, or answers; 0 for a notice.
    pub(crate) id: u64,
    /// The payload's length if that is in a memfd, the last descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) large: Option<u64>,
    pub(crate) body: T,
}

/// What a daemon asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// First of all: everything that the keeper has. Ends the connection of any other daemon.
    Hello,
    /// Descriptors that belong to the request with the same id, which follows.
    Stage,
    /// The payload is a `LaunchPlan`. The last `kept` descriptors are not part of it: they stay with the container.
    Launch {
        container: ContainerId,
        generation: u64,
        stdio: StdioSpec,
        #[serde(default)]
        kept: usize,
    },
    /// The payload is an `ExecPlan`.
    Exec {
        exec: ExecId,
        container: ContainerId,
        stdio: StdioSpec,
    },
    /// The exit of this one is known and written down: forget it.
    Acknowledge {
        subject: Subject,
    },
    CloseStdin {
        subject: Subject,
    },
    /// Take over from a keeper that died. Descriptors: those of [`Handles`], then what was kept.
    Restore {
        subject: Subject,
        lost: Lost,
    },
    /// Keep these descriptors under a name, in place of what it had.
    Keep {
        name: String,
    },
    Kept,
    Discard {
        name: String,
    },
    /// Become this program, in place.
    Upgrade {
        program: String,
        arguments: Vec<String>,
    },
}

/// What the keeper says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Done, or the end of a list.
    Done,
    Failed(Failure),
    /// Descriptors: those of [`Handles`].
    Launched {
        pid: u32,
        handles: Handles,
    },
    /// One of the answers to `Hello`. Descriptors: those of [`Handles`], then the first kept ones.
    Adopted {
        subject: Subject,
        pid: u32,
        handles: Handles,
        exited: Option<ExitStatus>,
    },
    /// More descriptors kept with the container before.
    AdoptedMore,
    /// One of the answers to `Kept`; a name may come several times.
    Kept {
        name: String,
    },
    /// A notice.
    Exited {
        subject: Subject,
        status: ExitStatus,
    },
    /// A notice: another daemon has taken over.
    Replaced,
}

/// Which descriptors a message brings, in this order: pidfd, ring memory, data event, space event, and
/// what is said here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Handles {
    /// Standard input's write end, or the terminal's master.
    pub(crate) stdin: bool,
    /// The terminal's master.
    pub(crate) pty: bool,
    /// The read ends of the output's pipes, which the daemon holds against the keeper's death.
    #[serde(default)]
    pub(crate) pipes: Vec<Stream>,
}

/// A process whose keeper has died.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub(crate) pid: u32,
    pub(crate) handles: Handles,
    pub(crate) non_blocking_output: bool,
    pub(crate) cgroup: CgroupJoin,
}

/// Why something was not done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Launch(LaunchError),
    /// The caller's mistake or a conflict.
    Refused(String),
    NotFound(String),
    /// The keeper itself could not.
    Broken(String),
}

impl Failure {
    pub(crate) fn broken(what: &str, error: &std::io::Error) -> Self {
        let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
        Self::Broken(format!("cannot {what}: {why}"))
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Launch(error) => error.kind(),
            Self::Refused(_) => ErrorKind::Conflict,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Broken(_) => ErrorKind::Internal,
        }
    }
}
