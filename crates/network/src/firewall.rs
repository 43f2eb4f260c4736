//! The firewall: one nftables table per daemon, computed whole, applied atomically, kept.
//!
//! ```text
//!  in ─▶ guard ─▶ publish ─▶ routing ─▶ forward ─▶ to-<bridge> ─▶ leave ─▶ out
//!        (raw)    (dnat map)            (filter)                  (masquerade)
//!  host's own packets ─▶ publish-local (dnat map) ─▶ leave ─▶ out
//! ```
//!
//! `guard` drops what comes from elsewhere for a container's own address, `publish` translates
//! published ports by one look-up in a map, `forward` lets into a bridge what was published or is an
//! answer. Chains never drop what is not for one of our bridges; other tables are left alone, but
//! for one tagged accept where a foreign chain would drop everything (`foreign`). The host's own input
//! rules are obeyed by published ports (`exposure`).

mod compile; // the ruleset as nf_tables instructions
mod exposure; // who can reach a published port, and which rule decides
mod foreign; // other people's forward chains
mod keep; // applying, changing elements, repair after a flush
mod policy; // other people's filter rules, and what becomes of packets in them
mod ruleset; // from state to rules; their text

pub use exposure::{Exposure, Reach};
pub use foreign::Obstacle;
pub(crate) use keep::Firewall;
pub use ruleset::{NetworkRules, PortSlot, Ruleset, State, ruleset};
