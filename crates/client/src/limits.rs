//! How much of an answer the client takes.

use std::time::Duration;

/// One JSON answer held in memory. `ps -a` of 10,000 containers is about 20 MB.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The text of an error. Docker's longest are build failures of a few KiB.
pub(crate) const ERROR_BYTES_MAX: usize = 1 << 20;

/// One object of a JSON stream. The largest are build traces in base64, some 100 KiB.
pub(crate) const OBJECT_BYTES_MAX: usize = 16 << 20;

/// Connections kept for the next request; a command line needs one, a test harness a few.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 8;

/// How long ssh may take to reach the other machine (Docker's 30 s).
pub(crate) const SSH_CONNECT_S: u32 = 30;

/// How much of what ssh says about a failure is shown.
pub(crate) const SSH_STDERR_BYTES_MAX: u64 = 4 << 10;

/// Bytes of a file in one message of a build's session: what BuildKit's clients send.
pub(crate) const BUILD_DATA_BYTES: usize = 32 << 10;

/// Messages of a build's session that wait for the other side.
pub(crate) const BUILD_PACKETS_QUEUED: usize = 64;

/// One message of a build: the largest are logs and files in pieces.
pub(crate) const BUILD_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What a connection of BuildKit's protocols lets the other side send before it is read. Single streams have windows of
/// their own (a megabyte or two), which is what memory is used for. `h2` ends a connection on which too many small pieces
/// wait (half of this, counted with 256 bytes a piece), and BuildKit's clients tell a context in one small piece for each
/// file: 100,000 of them are honest.
pub(crate) const BUILD_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// How long a builder in a container may be silent when it was greeted. It answers in milliseconds, or never.
pub(crate) const BUILD_GREETING_WAIT: Duration = Duration::from_secs(3);
