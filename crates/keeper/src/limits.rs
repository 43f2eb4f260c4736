//! Every bound of the keeper and of its protocol, each with its reason.

use std::time::Duration;

/// The version of the words spoken on `keeper.sock`. A keeper outlives daemons, so both ends check it.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// Descriptors in one message: the kernel takes 253 (`SCM_MAX_FD`), 128 leave room for a larger message.
pub(crate) const MESSAGE_DESCRIPTORS_MAX: usize = 128;

/// Bytes in one message. `SO_SNDBUF` is 212,992 by default and a message needs a whole buffer; what is
/// larger travels in a sealed memfd.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// A launch plan in a memfd. The largest honest one (thousands of mounts) is about 2 MiB.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

/// Descriptors that one request may bring, in as many messages as it takes: every port of one protocol on both address
/// families is 131,070.
pub(crate) const REQUEST_DESCRIPTORS_MAX: usize = 1 << 17;

/// Messages that wait for a daemon which does not read. Then the connection is closed: a daemon that
/// comes back is told everything again.
pub(crate) const OUTBOX_MESSAGES_MAX: usize = 4096;

/// A ring's data, unless the launch says otherwise: what a container may write while nobody looks.
pub const RING_BYTES_DEFAULT: u32 = 256 << 10;
/// The smallest ring: a quarter of it is the longest record.
pub const RING_BYTES_MIN: u32 = 16 << 10;
/// The largest ring: it is memory that no container's limit accounts for.
pub const RING_BYTES_MAX: u32 = 16 << 20;

/// One record of output: what a pipe holds by default, so that one call empties it.
pub(crate) const RECORD_BYTES_MAX: u64 = 64 << 10;

/// Events taken from the kernel at once, and so the work of one turn of the loop.
pub(crate) const EVENTS_PER_TURN: usize = 64;

/// How long a pipe that outlived its process must stay silent before its output counts as complete:
/// a grandchild in the background may keep it open for ever.
pub(crate) const QUIET: Duration = Duration::from_millis(100);

/// How long the notice of an exit waits for the last output, so that the two arrive in order. A daemon
/// that does not read, or a grandchild that goes on writing, must not hold it back for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How long a keeper without containers waits for a daemon before it leaves.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// How long after a launch the keeper's code stays in memory: the next one, if it comes sooner, is spared the faults.
pub(crate) const REST: Duration = Duration::from_secs(5);

/// How long a client waits for the answer to anything but a launch.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// How long a client waits for a launch: the binary may come from a slow disk.
pub(crate) const LAUNCH: Duration = Duration::from_secs(120);

/// How long a daemon waits for a keeper that it has started.
pub(crate) const START: Duration = Duration::from_secs(10);

/// The size at which `keeper.log` is begun anew.
pub(crate) const LOG_BYTES_MAX: u64 = 1 << 20;
