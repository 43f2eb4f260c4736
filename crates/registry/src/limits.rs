//! Every limit that foreign bytes meet in this crate, each with its reason.

use std::time::Duration;

/// A manifest or index. The distribution specification lets registries refuse more than 4 MiB.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// Manifests that one copy of an index brings along: more platforms than there are, each with what is attested of it.
pub const MANIFESTS_COPIED_MAX: usize = 1000;

/// A small JSON answer or request (tokens, tag lists, errors).
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// One blob: 1 TiB, what the image store takes for a layer.
pub const BLOB_BYTES_MAX: u64 = 1 << 40;

/// Bytes of a body that nobody wants and that are read anyway, so that the sender hears the answer: a manifest of twice
/// the size that is taken is still told that it is too large.
pub const BODY_BYTES_DRAINED: u64 = 8 << 20;

/// Bytes read from a blob at a time, and how many such chunks wait for a slow client: 512 KiB a download.
pub const CHUNK_BYTES: usize = 128 << 10;
/// See [`CHUNK_BYTES`].
pub const CHUNKS_QUEUED_MAX: usize = 4;

/// The head of a request must come within this time.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// A body that does not move for this long is given up.
pub const STALL_DEADLINE: Duration = Duration::from_secs(60);

/// Connections that a server serves at once; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 4096;

/// How long requests in flight may take once the server was asked to end.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Names or tags on one page, at most: as the reference registry.
pub const PAGE_MAX: usize = 1000;
/// Names on one page of the catalogue when nobody says how many: as the reference registry.
pub const PAGE_DEFAULT: usize = 100;

/// The descriptors of one page of referrers, so that the index around them is no larger than a manifest may be.
pub const REFERRERS_BYTES_MAX: usize = MANIFEST_BYTES_MAX - 4096;

/// Tags that one push of a manifest may set; the specification asks for at least 10.
pub const TAGS_AT_ONCE_MAX: usize = 100;

/// Repositories are nested in folders; honest names have fewer parts (a name has at most 255 bytes).
pub const NAME_PARTS_MAX: usize = 64;

/// Search results on one page: as Docker Hub.
pub const SEARCH_RESULTS_MAX: usize = 100;
/// Search results when nobody says how many: as Docker Hub.
pub const SEARCH_RESULTS_DEFAULT: usize = 25;

/// Uploads that nobody has touched for this long are removed: as the reference registry's purge.
pub const UPLOAD_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often a server looks for what nobody needs any more, unless it is told.
pub const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(3600);

/// What is younger is no garbage: a client may be between its blobs and its manifest.
pub const GARBAGE_GRACE: Duration = Duration::from_secs(3600);

/// A bearer token; those that list hundreds of repositories have some tens of KiB.
pub const TOKEN_BYTES_MAX: usize = 256 << 10;
/// Certificates that a token may bring along.
pub const TOKEN_CHAIN_MAX: usize = 8;
/// By how much the clocks of a token service and of this host may differ.
pub const TOKEN_LEEWAY_SECONDS: i64 = 60;

/// Passwords that were verified are remembered this long, since bcrypt is slow on purpose.
pub const PASSWORD_REMEMBERED: Duration = Duration::from_secs(300);
/// How many of them.
pub const PASSWORDS_REMEMBERED_MAX: usize = 1024;

/// How long accepting waits when the system cannot give another connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Uploads whose running hash is kept in memory (about 300 bytes each); others are hashed again from the disk.
pub const UPLOADS_REMEMBERED_MAX: usize = 4096;

/// A connection to a registry (its name, TCP, TLS, each) must stand within this time, as in Docker.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// Connections that wait for another request to the same server, and how long.
pub const IDLE_CONNECTIONS_MAX: usize = 8;
/// See [`IDLE_CONNECTIONS_MAX`].
pub const IDLE_DEADLINE: Duration = Duration::from_secs(30);

/// What a proxy says before a tunnel stands.
pub const PROXY_HEAD_BYTES_MAX: usize = 16 << 10;

/// Redirects in a row: as browsers and Go's client.
pub const REDIRECTS_MAX: usize = 10;

/// The longest pause that a registry's `Retry-After` is given.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long it is remembered by which scheme a registry answers.
pub const SCHEME_REMEMBERED: Duration = Duration::from_secs(300);

/// Tags of one repository that `pull --all-tags` takes.
pub const TAGS_MAX: usize = 100_000;

/// An index may name an index; honest ones nest once.
pub const INDEX_DEPTH_MAX: usize = 4;

/// An image's configuration: what the image store takes.
pub const CONFIG_BYTES_MAX: usize = 8 << 20;

/// Chunks of a layer that wait to be unpacked; hyper's are at most 400 KiB, so 3 MiB a layer.
pub const LAYER_CHUNKS_QUEUED_MAX: usize = 8;

/// A smaller blob is sent at once, which spares a round trip; a larger one so that it can be resumed.
pub const UPLOAD_RESUMED_MIN: u64 = 8 << 20;

/// A smaller layer comes over one connection.
pub const PARTS_LAYER_MIN: u64 = 64 << 20;
/// A larger one in parts of this size, so many at once: 12 MiB a layer, which the limit on memory allows.
pub const PART_BYTES: u64 = 4 << 20;
/// See [`PART_BYTES`].
pub const PARTS_AT_ONCE: usize = 3;

/// Pauses before a download or an upload is tried again: doubling, from the first to the longest.
pub const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// See [`RETRY_PAUSE`].
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);
