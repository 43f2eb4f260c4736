//! Every limit of the server, with its reason.

use std::time::Duration;

/// One JSON request body. The largest honest one is a create with some thousand mounts and a
/// seccomp profile in `SecurityOpt`, about 500 KiB.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;

/// How much of a body that is too long is still read, so that the client sees the answer instead of
/// a broken pipe.
pub(crate) const BODY_BYTES_DRAINED: usize = 256 << 20;

/// Chunks of an uploaded archive that wait for the engine; each is at most a read of hyper's,
/// 400 KiB or so.
pub(crate) const UPLOAD_CHUNKS_QUEUED: usize = 8;

/// Lines of progress that wait for a slow client.
pub(crate) const PROGRESS_QUEUED: usize = 64;

/// Output that is put together into one write when there is more of it.
pub(crate) const OUTPUT_BYTES_JOINED: usize = 64 << 10;

/// One read of a client's input. Docker copies in pieces of 32 KiB.
pub(crate) const INPUT_BYTES: usize = 32 << 10;

/// How long a head may take to arrive; Docker allows five minutes.
pub(crate) const HEAD_DEADLINE: Duration = Duration::from_secs(300);

/// How long a client may go on sending input after the output has ended. Closing at once would
/// turn the end of file it waits for into a reset.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// How long output waits for a client to read the head of its answer; one that is alive takes some
/// milliseconds at most.
pub(crate) const HEAD_READ_DEADLINE: Duration = Duration::from_secs(1);

/// How long requests may take to end after the daemon was told to stop.
pub(crate) const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait for a descriptor to come free when there is none to accept with.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Keys of a detach sequence; people use two.
pub(crate) const DETACH_KEYS_MAX: usize = 32;

/// How long the handshake of TLS may take: some round trips, of which a slow link needs a second each.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// One message to a container's input over a WebSocket; browsers send what somebody types or pastes.
pub(crate) const WEBSOCKET_BYTES_MAX: usize = 1 << 20;
