//! Images: content by digest, layers unpacked once, snapshots on overlayfs.
//!
//! [`Store`] is everything: it resolves names, reads and writes archives, makes and removes images, and
//! keeps a root filesystem for each container. It is synchronous, and its clones share one state. It knows
//! nothing of containers but their ids; who uses an image is told to it.
#![forbid(unsafe_code)]

mod store; // what is here, and every operation on it

mod record; // an image as others see it; what operations ask for and answer

mod catalog; // the records, in memory and in the database

mod content; // bytes by their digest
mod layer; // layers on disk

pub mod change; // `--change`: instructions of a Dockerfile that change a configuration
mod config; // the JSON of a configuration

pub mod health; // HEALTHCHECK, as Dockerfiles write it

mod gzip; // layers for old clients, by all processors

mod flow; // bytes through several hands at once, in bounded memory

mod error;
pub mod limits; // every limit, with its reason

pub use catalog::chain_id;
pub use error::ImageError;
use hako_archive::codec;
/// The form in which images travel.
pub use hako_archive::{self as archive, tar};
pub use record::{
    Change, ChangeKind, CommitOptions, Image, ImportOptions, Loaded, Progress, Pruned, RemoveOptions, Removed,
    SnapshotSize, Use,
};
pub use store::{
    ArrivedImage, ArrivedManifest, Lead, Places, Promised, Reception, Recompression, Shipment, ShippedLayer, Store,
    View, WantedLayer,
};
pub use store::{BuiltImage, BuiltLine, Draft, Hold, StackView};
pub use store::{Comparison, LayerCheck, LayerCost};
