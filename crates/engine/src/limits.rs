//! Every limit of the engine, with its reason.

use std::time::Duration;

/// Events kept for `events --since`. Docker keeps 256; a compose project of 50 services makes about 400 at once.
pub(crate) const EVENTS_KEPT: usize = 1024;

/// Events a slow watcher may be behind before it loses some.
pub(crate) const EVENTS_QUEUED_MAX: usize = 4096;

/// Chunks of output waiting for one attached client; then the container waits, as with Docker.
pub(crate) const OUTPUT_QUEUED_MAX: usize = 64;

/// Bytes taken from a container's ring in one turn, so that no container keeps the others waiting.
pub(crate) const OUTPUT_TURN_BYTES: usize = 256 << 10;

/// One line of a log file; longer ones are split, as Docker splits them at 16 KiB.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 16 << 10;

/// Size of a log file before it is rotated, unless `max-size` says otherwise. Docker's default is "never",
/// the most frequent reason for full disks.
pub(crate) const LOG_FILE_BYTES: u64 = 10 << 20;

/// The same for what is kept beside a log that goes elsewhere, and for the driver `local` (Docker's).
pub(crate) const LOG_LOCAL_FILE_BYTES: u64 = 20 << 20;

/// Lines on their way to the journal or a syslog server: at 16 KiB each 4 MiB, and mostly a hundredth of that.
pub(crate) const LOG_FORWARD_LINES: usize = 256;

/// How many log files are kept, unless `max-file` says otherwise.
pub(crate) const LOG_FILES: usize = 5;

/// How long a stop waits before SIGKILL, unless the container or the caller says otherwise (Docker's 10 s).
pub(crate) const STOP_TIMEOUT_S: i64 = 10;

/// How long SIGKILL may take: uninterruptible sleep aside it takes milliseconds.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long the last output of an ended process may take to arrive (the keeper marks the end).
pub(crate) const LAST_OUTPUT_DEADLINE: Duration = Duration::from_secs(2);

/// How long a daemon that was killed may take to let go of its roots: some tenths of a second for fifty mounts.
pub(crate) const LAST_DAEMON_DEADLINE: Duration = Duration::from_secs(5);

/// Anonymous memory for `/dev/shm` when nothing is asked for (Docker's 64 MB).
pub(crate) const SHM_BYTES: u64 = 64 << 20;

/// Finished execs remembered per container for `inspect`, as long as there is the container.
pub(crate) const EXECS_KEPT: usize = 256;

/// Argument and environment bytes of one process: the kernel's own limit for one `execve` is a quarter of the
/// stack, 2 MiB by default.
pub(crate) const ARGUMENT_BYTES_MAX: usize = 2 << 20;

/// A container's name. Docker has no limit; host names end at 63, file names at 255.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Steps of a pull or push that wait for a slow client; bars skip what does not fit.
pub(crate) const STEPS_QUEUED: usize = 64;

/// How long a request waits for the keeper after one that has died: starting it takes milliseconds.
pub(crate) const NEXT_KEEPER_DEADLINE: Duration = Duration::from_secs(15);

/// How often the start of a keeper is tried before the daemon gives up; each try is ten seconds long.
pub(crate) const KEEPER_ATTEMPTS: usize = 6;

/// Network namespaces prepared ahead, unless `--sandboxes` says otherwise: fifty starts at once, and a few after them.
/// Each holds three descriptors and about 150 KB of the kernel's memory.
pub(crate) const SANDBOXES: usize = 56;

/// Chunks of an archive that is fetched and waits to be unpacked; hyper's are at most 400 KiB, so 3 MiB.
pub(crate) const IMPORT_CHUNKS_QUEUED_MAX: usize = 8;

/// Directory trees that are measured at the same time: enough for a disk to have a choice.
pub(crate) const WALKS_AT_ONCE: usize = 8;
