//! `buildx imagetools`: images in registries, looked at and put together without a daemon.
//!
//! What is put together is decided in `index.rs`, of manifests that were fetched; `create` fetches and pushes.

pub(crate) mod create;
pub(crate) mod inspect;

mod annotation; // what is said of an index and of what is in it
mod attestation; // how an image was made, and of what
mod index; // one index of several sources
mod merge; // what several nodes of a builder have pushed
mod source; // what is put together, as people write it

pub(crate) use merge::merge;

use hako_model::Reference;
use hako_registry::Manifest;

use crate::{error::CommandError, registry::Place};

fn failed(what: impl std::fmt::Display) -> CommandError {
    CommandError::Said(format!("ERROR: {what}"))
}

/// What the registry has under a name; nothing is an error.
async fn present(place: &Place, name: &Reference) -> Result<Manifest, CommandError> {
    place.manifest(name).await.map_err(failed)?.ok_or_else(|| failed(format!("{name}: not found")))
}
