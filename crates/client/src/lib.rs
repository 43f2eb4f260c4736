//! A typed client of the Engine API, for hako's daemon and for any Docker daemon.
//!
//! [`Client`] has one method for each built row of the route table, by the operation's name
//! (`Client::container_stop`). It runs on any tokio runtime and starts no threads: a command line
//! that lists containers makes one connection and two requests on a current-thread runtime.
#![forbid(unsafe_code)]

mod connection; // Client: where to, which version, which idle connections
mod error; // everything that can go wrong, and its kind
mod host; // `unix://…`, `tcp://…`, `ssh://…`: the texts of DOCKER_HOST
mod limits;
mod socket; // a connected stream under one name
mod ssh; // a daemon on another machine, through the person's own ssh
mod tls; // whom to trust and what to show

mod body; // what requests carry, what answers stream
mod hijack; // connections that become streams in both directions
mod request; // one request, one answer
mod stream; // JSON objects one after the other

pub mod build;
mod container; // one method per row, by family
mod exec;
mod image;
mod network;
mod system;
mod volume;

pub use body::{BodyReader, RequestBody};
pub use connection::Client;
pub use container::{ContainerWait, LogReader};
pub use error::ClientError;
pub use hijack::{Hijacked, HijackedReader, HijackedWriter};
pub use host::{Host, HostError};
pub use request::RawResponse;
pub use ssh::SshHost;
pub use stream::JsonStream;
pub use system::Ping;
pub use tls::{Tls, TlsError, TlsFiles};
