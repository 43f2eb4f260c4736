//! Networks of containers: bridges, addresses, the firewall, published ports.
//!
//! [`Network`] is the mechanism: it makes bridges, hands out prepared network namespaces, plugs
//! them in, publishes ports and keeps one nftables table true. What a container asked for, and what
//! is remembered across restarts, is the engine's; everything the engine must remember is plain
//! data here ([`BridgePlan`], [`Endpoint`], [`PublishedPort`]) and comes back by [`Network::recover`].
//!
//! Decisions are pure functions: [`address`] (which subnet, which address), [`firewall::ruleset`]
//! (what the table says), [`files`] (what the container reads). Methods block for fractions of a
//! millisecond and may be called from any thread; only `relay` is asynchronous, since it waits.
#![forbid(unsafe_code)]

pub mod address; // which subnets and addresses
mod bridge; // bridges go up and down
pub mod dns; // the name service of user-defined networks
mod endpoint; // a sandbox is plugged into a bridge
mod error; // what can go wrong
pub mod files; // resolv.conf, hosts and hostname of a container
pub mod firewall; // the table: state, rules, text, netlink, repair
pub mod names; // who is called what in which network
mod network; // `Network` itself: what it holds, opening, planning
mod plan; // bridges, endpoints and ports, wanted and as made
mod publish; // ports are reserved and lead to containers
mod reaper; // links are deleted off everybody's path
mod recover; // what a new daemon does with what the last one left
mod relay; // connections and datagrams the kernel cannot redirect
mod sandbox; // prepared network namespaces
mod settings; // what the daemon says once, and names derived from its instance
mod stacked; // macvlan and ipvlan: links on a link of the host
mod sysctl; // switches below /proc/sys/net
mod visit; // sockets in other network namespaces

pub use bridge::ForeignBridge;
pub use endpoint::endpoint_sysctls;
pub use error::NetworkError;
pub use network::Network;
pub use plan::{
    BridgeOptions, BridgePlan, DEFAULT_GATEWAY_IPV4, DEFAULT_GATEWAY_IPV6, Endpoint, EndpointPlan, GatewayMode,
    IpvlanFlag, IpvlanMode, MacvlanMode, MadeParent, PortRequest, Publication, PublishedPort, StackedMode, StackedPlan,
};
pub use recover::{Alive, Recovered};
pub use sandbox::Sandbox;
pub use settings::{Instance, Settings};
pub use sysctl::SysctlChange;
pub use visit::{Begun, Visitor};
