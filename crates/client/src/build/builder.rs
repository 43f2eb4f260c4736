//! Who builds, and how BuildKit's services are reached there.
//!
//! ```text
//!   Daemon      POST /grpc, POST /session           an engine with BuildKit in it
//!   Remote      HTTP/2 at an address                BuildKit by itself, or an engine that speaks it there
//!   Container   exec `buildctl dial-stdio`          BuildKit in a container
//! ```
//! The last two have one connection for questions; the session, on which we are asked, goes through a call of its own
//! (`tunnel.rs`).

use std::{io, sync::Mutex};

use bollard_buildkit_proto::moby::buildkit::v1::{
    control_client::ControlClient, frontend::llb_bridge_client::LlbBridgeClient,
};
use hako_base::ErrorKind;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint};

use super::{container, tunnel};
use crate::{Client, ClientError, Hijacked, Host, Tls, limits, socket::Socket};

/// Who builds.
#[derive(Debug, Clone)]
pub enum Builder {
    /// A daemon.
    Daemon(Client),
    /// BuildKit at an address.
    Remote { host: Host, tls: Option<Tls> },
    /// BuildKit in a container of this daemon.
    Container { client: Client, container: String },
}

/// A stream in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(super) type Connection = Box<dyn Duplex>;

impl From<Hijacked> for Connection {
    fn from(connection: Hijacked) -> Self {
        let (reader, writer) = connection.split();
        Box::new(tokio::io::join(reader, writer))
    }
}

impl Builder {
    /// The daemon that keeps images beside what it builds.
    pub fn daemon(&self) -> Option<&Client> {
        match self {
            Self::Daemon(client) => Some(client),
            Self::Remote { .. } | Self::Container { .. } => None,
        }
    }

    async fn dial(&self) -> Result<Connection, ClientError> {
        match self {
            Self::Daemon(client) => Ok(client.grpc_start().await?.into()),
            Self::Remote { host, tls } => match Socket::connect(host, tls.as_ref()).await {
                Ok(socket) => Ok(Box::new(socket)),
                Err(source) => Err(unavailable(format!("cannot connect to BuildKit at {host}: {source}"))),
            },
            Self::Container { client, container } => container::dial(client, container).await,
        }
    }

    /// The services that are asked.
    pub(super) async fn control(&self) -> Result<ControlClient<Channel>, ClientError> {
        let channel = channel(self.dial().await?).await?;
        Ok(ControlClient::new(channel).max_decoding_message_size(limits::BUILD_MESSAGE_BYTES_MAX))
    }

    /// The services by which a build is driven from here.
    pub(super) async fn bridge(&self) -> Result<LlbBridgeClient<Channel>, ClientError> {
        let channel = channel(self.dial().await?).await?;
        Ok(LlbBridgeClient::new(channel).max_decoding_message_size(limits::BUILD_MESSAGE_BYTES_MAX))
    }

    /// The connection on which we are asked.
    pub(super) async fn session(
        &self,
        id: &str,
        shared_key: &str,
        methods: &[String],
    ) -> Result<Connection, ClientError> {
        match self {
            Self::Daemon(client) => Ok(client.session_start(id, shared_key, methods).await?.into()),
            Self::Remote { .. } | Self::Container { .. } => {
                tunnel::open(self.control().await?, id, shared_key, methods).await
            }
        }
    }
}

pub(super) fn unavailable(message: String) -> ClientError {
    ClientError::Build { kind: ErrorKind::Unavailable, message, excerpt: String::new() }
}

async fn channel(connection: Connection) -> Result<Channel, ClientError> {
    let once = Mutex::new(Some(TokioIo::new(connection)));
    let connector = tower::service_fn(move |_| {
        let stream = once.lock().ok().and_then(|mut slot| slot.take());
        async move { stream.ok_or_else(|| io::Error::other("the connection to the daemon has ended")) }
    });
    let endpoint = Endpoint::from_static("http://daemon").initial_connection_window_size(limits::BUILD_WINDOW_BYTES);
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| unavailable(hako_base::error::chain(&error)))
}
