//! `builder …` and `buildx …` beside building itself: the cache, and what the one builder is.

pub(crate) mod bake; // what a file describes
pub(crate) mod cache; // du and prune
pub(crate) mod history; // builds that are over
pub(crate) mod nodes; // ls, inspect, version: there is one builder, the daemon
