//! Docker's words to the engine's and back. Nothing else in hako knows both.
//!
//! What a request says and hako cannot do is refused by name, never dropped, unless Docker itself
//! ignores it on Linux.

pub(crate) mod config; // what runs in a container; images have the same
pub(crate) mod endpoint; // a container's place in a network
pub(crate) mod host; // what the host does for a container
pub(crate) mod image;
pub(crate) mod inspect; // everything about one container
pub(crate) mod limits; // what a container may use of the machine
pub(crate) mod mount; // binds, mounts, tmpfs
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod spec; // the body of create
pub(crate) mod stats; // what a container uses
pub(crate) mod summary; // one line of a list
pub(crate) mod system; // info, events, progress
pub(crate) mod volume;

use std::collections::BTreeMap;

use hako_api::Map;
use hako_model::Filters;

use crate::error::Failure;

/// The wire's filters as the engine's.
pub(crate) fn filters(from: hako_api::Filters) -> Filters {
    let mut filters = Filters::default();
    for (key, values) in from.0 {
        for value in values {
            filters.add(&key, &value);
        }
    }
    filters
}

/// A count as JSON has it.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A number that may not be negative; Docker's own negatives (−1: no limit) are told before.
fn unsigned(what: &str, number: i64) -> Result<u64, Failure> {
    u64::try_from(number).map_err(|_| Failure::invalid(format!("invalid {what}: {number} must not be negative")))
}

/// `null` where Go has a nil slice.
fn some_list(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// `null` where Go has a nil map.
fn some_map(map: &BTreeMap<String, String>) -> Option<Map> {
    (!map.is_empty()).then(|| map.clone())
}
