//! `builder …` and `buildx …` beside building itself: which builders there are, and what they keep.
//!
//! Start reading at `chosen.rs`: it turns a name into a builder, for every command that builds.

mod boot; // builders that are started without a build
pub(crate) mod chosen; // from a name to nodes
mod configuration; // BuildKit's configuration, and files that it names
pub(crate) mod driver; // nodes that are ours to make
pub(crate) mod site; // where one build is made
mod store; // the files of builders

pub(crate) mod bake; // what a file describes
pub(crate) mod cache; // du and prune
pub(crate) mod create; // create
pub(crate) mod history; // builds that are over
pub(crate) mod inspect; // inspect
pub(crate) mod list; // ls, version
pub(crate) mod remove; // rm, stop
pub(crate) mod select; // use
