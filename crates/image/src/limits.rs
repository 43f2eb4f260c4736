//! Every limit that foreign bytes meet in this crate, each with its reason; those of archives are `hako_archive`'s.

pub use hako_archive::limits::{CHUNK_BYTES, LAYER_BYTES_MAX, XATTR_BYTES_MAX};

/// Layers of one image: the kernel's `OVL_MAX_STACK` is 500; two are ours (upper and skeleton).
pub const LAYERS_MAX: usize = 490;

/// One JSON document of an archive (manifest, index, configuration). The largest known configuration,
/// with 500 history lines, is about 400 KiB; registries cap manifests at 4 MiB.
pub const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// Members of an image archive. `docker save` of 100 images with 125 layers each has about 25,000.
pub const ARCHIVE_MEMBERS_MAX: usize = 200_000;

/// All documents of one archive together, since they are held in memory until the manifest is known.
pub const ARCHIVE_DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// An index may name an index; Docker's own nests once.
pub const INDEX_DEPTH_MAX: usize = 4;

/// How many chunks may wait between two threads of the unpacking pipeline: eight bound the memory to 2 MiB a queue.
pub const CHUNKS_QUEUED_MAX: usize = 8;

/// Damaged files of one layer that are named; the others are counted.
pub const DAMAGE_TOLD_MAX: usize = 100;

/// Files of one layer that nobody sees and that are named.
pub const FILES_TOLD_MAX: usize = 20;

/// Threads that make gzip of one layer: each holds two blocks of 1 MiB, and a push does five layers at once.
pub const GZIP_WORKERS_MAX: usize = 8;

/// Bytes that are unpacked before the disk is told to begin with them: a flush of fewer takes less than a second, and one
/// of a small layer is not worth two.
pub const UNFLUSHED_BYTES: u64 = 128 << 20;
