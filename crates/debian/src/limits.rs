//! Every limit that foreign bytes meet in this crate, each with its reason.

/// A signed `InRelease`. Debian's is 150 KiB, a mirror's with all architectures below 1 MiB.
pub const RELEASE_BYTES_MAX: usize = 8 << 20;

/// A keyring. Debian's has 56 KiB.
pub const KEYRING_BYTES_MAX: usize = 16 << 20;

/// Packets in a keyring or a signature, so that a file of tiny ones does not cost an evening.
pub const PACKETS_MAX: usize = 20_000;

/// Signatures of one message. Debian's archive has three.
pub const SIGNATURES_MAX: usize = 64;

/// An index of packages, compressed: `main` of Debian unstable has 10 MiB.
pub const INDEX_BYTES_MAX: u64 = 128 << 20;
/// The same unpacked: 50 MiB.
pub const INDEX_PLAIN_BYTES_MAX: u64 = 1 << 30;

/// One package. The largest of Debian has 2 GiB; a base system has none above 10 MiB.
pub const PACKAGE_BYTES_MAX: u64 = 4 << 30;

/// Packages of one system: a desktop has 2,000.
pub const PACKAGES_MAX: usize = 10_000;
