//! From a Dockerfile to an image.
//!
//! [`language`] reads the text; [`plan`] decides which stages there are and which are needed; the solver does the
//! steps, in the engine's own runtime, and remembers them. How builds are asked for and shown is for those who use
//! this crate: the classic API, BuildKit's, our own command line.
#![forbid(unsafe_code)]

pub mod language; // the Dockerfile: words, instructions, ignore files
pub mod plan; // stages: which there are, which are needed

mod attest; // how an image was made, as a statement
mod cache; // what was built before
mod context; // the files that somebody sent
mod depot; // results that are elsewhere
mod event; // what a build tells while it goes on
mod git; // repositories as sources of files
mod llb; // graphs of other front ends
mod outline; // targets and their parameters
mod prune; // what leaves the cache
mod remote; // addresses as sources of files
mod request; // what a build is asked for
mod sbom; // which packages the result is made of
mod solve; // stages side by side, step after step

pub mod buildkit; // BuildKit's protocols
mod classic; // the same in the words of the classic builder

mod error;
mod limits; // every limit, with its reason

pub use classic::ClassicText;
pub use context::Context;
pub use depot::Depot;
pub use error::BuildError;
pub use event::{Completed, Event, Progress, Vertex};
pub use prune::{PruneWish, Space};
pub use remote::RemoteContext;
pub use request::{
    AgentFuture, AgentSocket, BuildRequest, CredentialsFuture, DeviceGrants, GivenSecrets, Layout, RemoteSource,
    SecretFuture, Secrets,
};
pub use sbom::Wish as SbomWish;
pub use solve::{Builder, Built, CacheEntry};
