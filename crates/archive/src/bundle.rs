//! hako's addition to fsutil's protocol: many packets as one.
//!
//! A small file costs four messages there, and with many small files it is the messages that take the time. A daemon
//! that takes bundles says so in the head of its request ([`HEADER`]); a client that sends them says so in the head of
//! its answer, and then both may. A bundle is a packet of the kind [`KIND`] whose data are packets, each with its length
//! before it. Everybody else never sees one.

/// The header by which both sides say that they read bundles.
pub const HEADER: &str = "hako-bundles";

/// The kind of a packet whose data are packets; fsutil's own are 0 to 4.
pub const KIND: i32 = 64;

/// A bundle is sent when it has so many bytes: large enough that messages cost little, small enough that both sides
/// work at once.
pub const BYTES: usize = 64 << 10;

/// Files that are asked for in one bundle.
pub const REQUESTS: usize = 256;
