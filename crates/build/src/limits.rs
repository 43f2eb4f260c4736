//! Every limit of the builder, with its reason.

use std::time::Duration;

/// A Dockerfile. The largest honest ones are generated and have some hundred KiB.
pub(crate) const DOCKERFILE_BYTES_MAX: usize = 4 << 20;

/// Operations of a graph. The largest known (of monorepos) have some ten thousand.
pub(crate) const GRAPH_NODES_MAX: usize = 100_000;

/// A graph that a build has made as a file: what a client may send at once has this size too.
pub(crate) const GRAPH_BYTES_MAX: u64 = 16 << 20;

/// Graphs within each other. Nobody is known to have more than two; a process may make one more each time.
pub(crate) const GRAPH_DEPTH_MAX: usize = 16;

/// Packets of a transfer that wait for the other side.
pub(crate) const PACKETS_QUEUED: usize = 64;

/// Bytes of a session within a connection that wait for the other side.
pub(crate) const SESSION_BYTES_BUFFERED: usize = 256 << 10;

/// What a connection of BuildKit's protocols lets the other side send before it is read. Single streams have windows of
/// their own (a megabyte or two), which is what memory is used for. `h2` ends a connection on which too many small pieces
/// wait (half of this, counted with 256 bytes a piece), and BuildKit's clients tell a context in one small piece for each
/// file: 100,000 of them are honest.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Bytes of a file in one packet: what fsutil sends.
pub(crate) const DATA_BYTES: usize = 32 << 10;

/// One packet of a transfer: a piece of a file, or a name with its attributes.
pub(crate) const PACKET_BYTES_MAX: usize = 16 << 20;

/// What a depot says of itself: a record is some hundred bytes.
pub(crate) const DEPOT_DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// Records of one depot. A Dockerfile of a thousand steps is unheard of; one depot may serve many.
pub(crate) const DEPOT_RECORDS_MAX: usize = 100_000;

/// Bytes of a blob in one message to a client's directory: each message is answered before the next.
pub(crate) const DEPOT_PIECE_BYTES: usize = 1 << 20;

/// A token of GitHub's Actions. Those of repositories with many branches have some KiB.
pub(crate) const ACTIONS_TOKEN_BYTES_MAX: usize = 64 << 10;

/// Scopes of one token: a branch, the one that it goes into, and the default branch. Each is a request.
pub(crate) const ACTIONS_SCOPES_MAX: usize = 32;

/// An answer of a service that keeps blobs: an address, or why there is none.
pub(crate) const SERVICE_ANSWER_BYTES_MAX: usize = 64 << 10;

/// A key of the cache service, which takes no longer ones.
pub(crate) const ACTIONS_KEY_BYTES_MAX: usize = 512;

/// Keys that a list of them has on one page: as many as GitHub gives. An entry has some hundred bytes.
pub(crate) const ACTIONS_KEYS_ON_PAGE: usize = 100;
/// See [`ACTIONS_KEYS_ON_PAGE`].
pub(crate) const ACTIONS_KEY_PAGE_BYTES_MAX: usize = 1 << 20;
/// Pages of one scope. What is beyond is asked for key by key.
pub(crate) const ACTIONS_KEY_PAGES_MAX: usize = 50;

/// What is sent to a cache service at once; it is read from the disk as it goes. The service's own clients send as much.
pub(crate) const ACTIONS_PIECE_BYTES: u64 = 32 << 20;

/// Blobs that go to a cache service at once.
pub(crate) const ACTIONS_BLOBS_AT_ONCE: usize = 4;

/// How often one request or transfer is begun again when nothing of it went on: after that nobody is there.
pub(crate) const SERVICE_TRIES_MAX: u32 = 3;

/// Pauses before the next request of one who was told to wait: doubling, from the first to the longest, as BuildKit.
pub(crate) const SERVICE_PAUSE: Duration = Duration::from_secs(1);
/// See [`SERVICE_PAUSE`].
pub(crate) const SERVICE_PAUSE_MAX: Duration = Duration::from_secs(90);

/// How long an export waits, all in all, for those who have taken keys and not saved anything under them, as BuildKit.
/// They may have died, and then their keys are skipped.
pub(crate) const ACTIONS_TAKEN_WAIT: Duration = Duration::from_secs(15);
/// How often it looks meanwhile.
pub(crate) const ACTIONS_TAKEN_PAUSE: Duration = Duration::from_secs(2);

/// Keys in a row that somebody has taken and left.
pub(crate) const ACTIONS_TAKEN_MAX: u64 = 100;

/// How long whoever asks for too much is waited for, if nobody says otherwise, as BuildKit.
pub(crate) const SERVICE_PATIENCE: Duration = Duration::from_secs(600);

/// Objects that go to a bucket at once, if nobody says otherwise, as BuildKit; and if somebody does.
pub(crate) const S3_BLOBS_AT_ONCE: usize = 4;
/// See [`S3_BLOBS_AT_ONCE`].
pub(crate) const S3_BLOBS_AT_ONCE_MAX: usize = 64;

/// What a bucket is sent at once; a larger object goes in parts, so that what breaks is not sent anew as a whole.
pub(crate) const S3_OBJECT_BYTES_AT_ONCE: u64 = 64 << 20;
/// One part; there are ten thousand at most, each of 5 MiB at least.
pub(crate) const S3_PART_BYTES: u64 = 32 << 20;

/// What a bucket copies in one go.
pub(crate) const S3_COPY_BYTES_MAX: u64 = 5 << 30;

/// What is older is written anew when it is used, as BuildKit.
pub(crate) const S3_REFRESH: Duration = Duration::from_secs(24 * 3600);

/// Builds that are remembered after they are over, beside those that somebody pinned.
pub(crate) const HISTORY_BUILDS_MAX: usize = 100;

/// What a build has told, as far as it is remembered.
pub(crate) const HISTORY_BYTES_MAX: usize = 8 << 20;

/// What the steps of a build that goes on have printed, as far back as it is kept for a client that reads slowly.
pub(crate) const NEWS_BYTES_MAX: usize = 32 << 20;

/// The same of a build that is over and whose news nobody has asked for: sixteen of those are kept.
pub(crate) const UNHEARD_BYTES_MAX: usize = 1 << 20;

/// Files of one context. The largest known (monorepos with `node_modules`) have about two million.
pub(crate) const CONTEXT_FILES_MAX: usize = 20_000_000;

/// Objects in a git pack of one commit. The largest known trees have about two million files.
pub(crate) const GIT_OBJECTS_MAX: u32 = 20_000_000;

/// One object of a repository, which is in memory while it is written out. Forges refuse files beyond 100 MB.
pub(crate) const GIT_OBJECT_BYTES_MAX: u64 = 2 << 30;

/// A pack. One commit of the largest monorepos is some ten GB.
pub(crate) const GIT_PACK_BYTES_MAX: u64 = 64 << 30;

/// What a repository says of its references: some hundred thousand of them.
pub(crate) const GIT_REFERENCES_BYTES_MAX: usize = 64 << 20;

/// Directories within each other: a path of more is longer than the kernel takes.
pub(crate) const GIT_DEPTH_MAX: usize = 1024;

/// Submodules within each other.
pub(crate) const GIT_SUBMODULE_DEPTH_MAX: usize = 8;

/// A file that `ADD` fetches, or a remote context.
pub(crate) const FETCH_BYTES_MAX: u64 = 64 << 30;

/// Packages of one root. Whole distributions have about a hundred thousand.
pub(crate) const SBOM_PACKAGES_MAX: usize = 500_000;

/// A package manager's database (a desktop's has some ten MiB), or one document of a scanner's.
pub(crate) const SBOM_FILE_BYTES_MAX: u64 = 128 << 20;

/// Documents of a scanner's: one for each stage and the context.
pub(crate) const SBOM_DOCUMENTS_MAX: usize = 1000;

/// A name or a version of a package. npm's are the longest, with 214.
pub(crate) const SBOM_WORD_BYTES_MAX: usize = 1024;
