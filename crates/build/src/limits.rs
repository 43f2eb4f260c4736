//! Every limit of the builder, with its reason.

/// A Dockerfile. The largest honest ones are generated and have some hundred KiB.
pub(crate) const DOCKERFILE_BYTES_MAX: usize = 4 << 20;

/// Packets of a transfer that wait for the other side.
pub(crate) const PACKETS_QUEUED: usize = 64;

/// Bytes of a file in one packet: what fsutil sends.
pub(crate) const DATA_BYTES: usize = 32 << 10;

/// One packet of a transfer: a piece of a file, or a name with its attributes.
pub(crate) const PACKET_BYTES_MAX: usize = 16 << 20;

/// Files of one context. The largest known (monorepos with `node_modules`) have about two million.
pub(crate) const CONTEXT_FILES_MAX: usize = 20_000_000;
