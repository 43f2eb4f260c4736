//! The keeper: the small process that is the parent of every container and outlives the daemon, and the
//! client with which the daemon speaks to it.
//!
//! The keeper starts what it is told to start, reads what that prints, remembers how it ended, and keeps
//! descriptors that must not die with the daemon. It decides nothing: plans come ready from the engine,
//! and `runtime` carries them out. One thread, no async, bounded work per turn.
//!
//! Start reading at [`Keeper`] for the daemon's side and at [`process::main`] for the other.
#![forbid(unsafe_code)]

mod channel; // how words become packets
mod client; // the daemon's side: requests, answers, notices
mod error; // what can go wrong between the two
mod limits; // every bound, with its reason
pub mod process; // the keeper's side: its loop and all that hangs on it
mod protocol; // the words of both
mod ring; // output from the keeper to the daemon
mod start; // finding the keeper, or starting one

pub use client::{Adopted, Keeper, Launched, Notice, Survivor};
pub use error::KeeperError;
pub use limits::{RING_BYTES_DEFAULT, RING_BYTES_MAX, RING_BYTES_MIN};
pub use protocol::{ExitStatus, StdioSpec, Subject};
pub use ring::{Chunk, Ring, RingEnds, RingError, Stream};
pub use start::KeeperCommand;
