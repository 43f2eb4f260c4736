//! Both ends of the distribution protocol: the client that pulls and pushes, and a registry server.
//!
//! The wire format ([`wire`], [`name`]) is shared. The server keeps its content in the directory layout of the
//! reference registry, so that existing data opens unchanged. Neither end knows containers or Docker's own API.
//!
//! Start reading at `server/answer.rs`: one request from its path to its answer.
#![forbid(unsafe_code)]

pub mod limits; // every limit, with its reason

mod digest; // what content is named by
mod name; // repositories, tags and targets as they stand in paths
mod wire; // manifests, indexes, descriptors: the JSON both ends read

mod body; // what requests and answers carry

mod storage; // the server's directory

mod artifact; // blobs and manifests that are no images
pub mod client; // requests to registries
mod copy; // from one registry to another
mod document; // manifests as such
mod download; // one blob, whatever it takes
mod progress; // what both tell meanwhile
mod pull; // an image from a registry into the store
mod push; // an image from the store to a registry
mod repair; // a damaged layer, once more

pub mod server; // the registry server

pub use artifact::ArtifactBlob;
pub use copy::Place;
pub use document::Manifest;
pub use progress::{Step, Steps};
pub use pull::{Found, PullOptions, Pulled};
pub use push::{PushOptions, Pushed};
