//! Limits of the name service. Everything here is asked by containers, which may be hostile.

use std::time::Duration;

/// One question. Real ones have some dozen bytes; with all the options there are, some hundred.
pub(super) const QUESTION_BYTES_MAX: usize = 4096;

/// What a datagram of ours may have if the asker said nothing (RFC 1035), and at most whatever it said: loopback
/// carries more, but a client that says 65,535 seldom means it.
pub(super) const DATAGRAM_BYTES_PLAIN: usize = 512;
pub(super) const DATAGRAM_BYTES_MAX: usize = 4096;

/// The datagram size that we say we take.
pub(super) const EDNS_PAYLOAD: u16 = 1232;

/// One answer over TCP; the length is a 16-bit number.
pub(super) const STREAM_BYTES_MAX: usize = u16::MAX as usize;

/// Docker's time to live of its own answers.
pub(super) const TTL_S: u32 = 600;

/// TCP connections of one container at a time; further ones wait in the socket's queue.
pub(super) const CONNECTIONS_MAX: usize = 32;

/// How long a TCP connection may be silent.
pub(super) const CONNECTION_IDLE: Duration = Duration::from_secs(10);

/// Questions of one container that are under way outside; more are not taken, and their askers ask again.
pub(super) const FORWARDS_MAX: usize = 512;

/// Sockets towards servers outside, of all containers together; questions beyond wait for one.
pub(super) const SOCKETS_MAX: usize = 2048;

/// Servers that are asked, as in the C library and Docker.
pub(super) const UPSTREAMS_MAX: usize = 3;

/// How long a server has before the next one is asked as well. The first one's answer still counts.
pub(super) const HEDGE: Duration = Duration::from_millis(800);

/// How often the list of servers is gone through.
pub(super) const ROUNDS: usize = 2;

/// The time for all of it: clients wait five seconds before they ask again.
pub(super) const FORWARD_TIME: Duration = Duration::from_millis(4800);

/// The host's resolv.conf; it names three servers as a rule.
pub(super) const RESOLV_CONF_BYTES_MAX: u64 = 64 << 10;
