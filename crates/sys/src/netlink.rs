//! Netlink: messages, sockets, and the three conversations hako has over it.
//!
//! Links, addresses, routes and neighbours are `route`; flows that conntrack remembers are
//! `conntrack`; the firewall (`crate::nft`) uses the same messages and sockets. Nothing here
//! decides anything: which links exist and what the firewall says is the `network` crate's work.

pub mod conntrack; // forgetting flows
mod message; // bytes of messages and attributes, both ways
pub mod namespace; // new network namespaces, and doing something inside one
pub mod route; // links, addresses, routes, neighbours
mod socket; // sending a batch, reading a dump, listening for news
pub mod stacked; // links on links: macvlan, ipvlan, 802.1q

pub use message::{Attributes, Batch, Encoder, Messages, Received};
pub use socket::{NetlinkError, Protocol, Socket};
