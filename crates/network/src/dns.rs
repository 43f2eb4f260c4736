//! The name service of user-defined networks: 127.0.0.11:53 in every container, UDP and TCP.
//!
//! ```text
//!  container: 127.0.0.11:53 ──dnat──▶ 127.0.0.11:random ─▶ the daemon ─┬─▶ names of its networks
//!             (a rule in its namespace)  (a socket in its namespace)   └─▶ servers outside
//! ```
//!
//! The sockets belong to the container's namespace and are kept by the keeper, so that questions wait in them
//! while no daemon runs. They are on random ports, since a socket on port 53 would be in the way of name servers
//! that run in containers. One asynchronous server in the daemon answers for all containers; who is called what is
//! [`crate::names`]'s work.

mod decide; // whose question it is, and the answer if it is ours
mod forward; // questions go out, answers come back
mod limits; // every limit, with its reason
mod message; // bytes to questions and answers to bytes
mod redirect; // the sockets in the container's namespace, and the rule that leads to them
mod server; // a container's sockets are served
mod upstream; // which servers there are outside, and from where they are asked

pub use redirect::{NameSockets, track_loopback};
pub use server::NameServer;
pub use upstream::Upstreams;
