//! BuildKit's protocols, as Buildx and Compose speak them.
//!
//! ```text
//!   client ── POST /grpc (h2c) ────► Control, LLBBridge     the client asks
//!   client ◄─ POST /session (h2c) ── FileSync, Secrets, …   the daemon asks: files, secrets, where to put results
//! ```
//! A build begins with `Control.Solve`, which lasts as long as it does. The client then drives it through the
//! `LLBBridge`: `Solve` with the front end `dockerfile.v0` builds, `Return` says what is to be exported. What happens
//! is read from `Control.Status`.

mod attested; // what is attested of builds that are over
mod attributes; // front end attributes become a request
mod bridge; // LLBBridge
mod content; // blobs in directories of the client's
mod control; // Control
mod depots; // caches elsewhere
mod export; // results to where the client wants them
mod files; // trees of files to a client
mod graph; // graphs of other front ends
mod held; // who clients are at registries
mod history; // builds that are over
mod index; // the documents of images that go elsewhere
mod layout; // those in an archive
mod look; // files of results
mod meta; // what front ends ask of images
mod news; // news in BuildKit's words
mod place; // where a build failed
mod receive; // trees of files from a client
mod session; // what clients offer
mod solves; // builds that go on
mod target; // outputs as clients send them

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{
    control_server::ControlServer, frontend::llb_bridge_server::LlbBridgeServer,
};
use hyper::rt::{Read, Write};
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    service::TowerToHyperService,
};
use tonic::service::Routes;

pub use session::SessionHead;

use crate::{Builder, limits};
use history::History;
use session::Sessions;
use solves::Solves;

/// The largest message of a client: definitions of graphs can be large.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Something that HTTP/2 is spoken on.
pub trait Connection: Read + Write + Unpin + Send + 'static {}

impl<C: Read + Write + Unpin + Send + 'static> Connection for C {}

/// BuildKit's services on our builder; cheap to clone.
#[derive(Clone)]
pub struct BuildKit(Arc<Parts>);

struct Parts {
    builder: Builder,
    sessions: Sessions,
    solves: Solves,
    history: Arc<History>,
    version: String,
}

impl BuildKit {
    /// The services of this builder; `version` is what clients are told.
    pub fn new(builder: Builder, version: String) -> Self {
        let history = History::open(builder.root().join("history"));
        Self(Arc::new(Parts { builder, sessions: Sessions::default(), solves: Solves::default(), history, version }))
    }

    /// Serves a connection that speaks HTTP/2, upgraded on `/grpc` or from its beginning, to its end.
    pub async fn serve(self, connection: impl Connection) {
        let control = ControlServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let attestations = self.0.history.attestations();
        let bridge = LlbBridgeServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let routes = Routes::new(control).add_service(bridge).add_service(attestations).prepare();
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
            .serve_connection(connection, TowerToHyperService::new(routes))
            .await;
        if let Err(error) = served {
            tracing::debug!(error = %hako_base::error::chain(&error), "a BuildKit connection ended early");
        }
    }

    /// Takes a connection that was upgraded on `/session` as the client's session, for as long as it lasts.
    pub async fn session(self, head: SessionHead, connection: impl Connection) {
        self.0.sessions.hold(head, connection).await;
    }
}
