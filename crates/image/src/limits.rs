//! Every limit that foreign bytes meet in this crate, each with its reason.

/// Longest name or link target in a tar: the kernel's `PATH_MAX` without its final zero.
pub const PATH_BYTES_MAX: usize = 4095;

/// Deepest nesting of directories that is walked. Each level of a walk holds a descriptor, and a process
/// in a container can nest as deep as it likes; honest trees stay below 100.
pub const TREE_DEPTH_MAX: usize = 512;

/// One PAX header or GNU long name. The largest honest one carries a few extended attributes of 64 KiB.
pub const TAR_EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// PAX and GNU headers in a row before the entry they speak of; two of each is the honest most.
pub const TAR_EXTENSIONS_IN_A_ROW_MAX: usize = 16;

/// Pieces of one sparse file (CVE-2025-58183 was a map without a limit).
pub const SPARSE_PIECES_MAX: usize = 65_536;

/// Logical size of one file: a sparse header may claim any size without carrying a byte. ext4 ends at 16 TiB.
pub const FILE_BYTES_MAX: u64 = 16 << 40;

/// Extended attributes of one entry, and the bytes of one: the kernel's `XATTR_SIZE_MAX`.
pub const XATTRS_MAX: usize = 256;
/// See [`XATTRS_MAX`].
pub const XATTR_BYTES_MAX: usize = 65_536;

/// Entries of one layer. The largest known layers (monorepos with `node_modules`) have about two million.
pub const LAYER_ENTRIES_MAX: u64 = 20_000_000;

/// Bytes of one layer's tar after decompression: a bomb ends here if the disk does not end it before.
pub const LAYER_BYTES_MAX: u64 = 1 << 40;

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

/// The window a zstd stream may ask for: 128 MiB, what `zstd --ultra -22` makes without `--long`.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Bytes handed from one thread of the unpacking pipeline to the next at a time, and how many such chunks
/// may wait: 256 KiB keeps the system calls few, eight of them bound the memory to 2 MiB a queue.
pub const CHUNK_BYTES: usize = 256 << 10;
/// See [`CHUNK_BYTES`].
pub const CHUNKS_QUEUED_MAX: usize = 8;
