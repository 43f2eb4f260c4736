//! nf_tables over netlink: what a transaction can contain, what can be asked, what news say.
//!
//! A [`Transaction`] is applied whole or not at all, which `nft` the program does with the same
//! messages. What the rules *are* is decided in `network::firewall`; here they are bytes.

mod expression; // the instructions a rule is made of
mod instruction; // the instructions of rules that others made
mod query; // foreign chains and rules; news of changes
mod transaction; // tables, chains, maps, elements, rules

pub use expression::{CtKey, Expression, FibResult, MetaKey, PayloadBase, Register};
pub use instruction::{Instruction, SetElement};
pub use query::{ChainInfo, RuleInfo, chains, elements, news_of_table, rules, table_exists};
pub use transaction::{Base, Chain, Element, ElementData, Family, Hook, Set, Transaction, Type, Verdict};

/// Multicast group of nf_tables news, as a bit for `Socket::open_groups`.
pub const NEWS: u32 = 1 << (libc::NFNLGRP_NFTABLES - 1);

const fn kind(message: libc::c_int) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES as u16) << 8 | message as u16
}

// `struct nfgenmsg`: family, version, resource id (network byte order).
fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}
