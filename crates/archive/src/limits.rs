//! Every limit that archives of others meet, each with its reason.

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

/// The window a zstd stream may ask for: 128 MiB, what `zstd --ultra -22` makes without `--long`.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The dictionary an xz stream may ask for: 192 MiB, three times what `xz -9` makes.
pub const XZ_DICTIONARY_BYTES_MAX: u32 = 192 << 20;

/// Bytes that are read or handed on at a time: 256 KiB keeps the system calls few.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Entries of one layer that replace earlier ones. Honest tars have a handful (`tar --append`); each costs the reader of a
/// recipe about a hundred bytes.
pub const REPLACED_MAX: u64 = 1_000_000;

/// Bytes that stand in one record of a recipe: 64 KiB hold some hundred headers.
pub const RECIPE_LITERAL_BYTES_MAX: usize = 64 << 10;

/// A path in a recipe: one of the kernel's, which a link may have led to.
pub const RECIPE_PATH_BYTES_MAX: usize = 2 * PATH_BYTES_MAX;

/// Links that lead to links, one after the other: as many as the kernel follows.
pub const LINKS_MAX: usize = 40;
