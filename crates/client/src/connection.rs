//! A daemon to talk to: where it is, which version it speaks, which connections are idle.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use hako_api::ApiVersion;
use hyper::{
    HeaderMap,
    client::conn::http1,
    header::{HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OnceCell,
};

use crate::{ClientError, Host, RequestBody, Tls, limits, socket::Socket};

/// The way to one daemon. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) host: Host,
    tls: Option<Tls>,
    pub(crate) user_agent: HeaderValue,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    version: OnceCell<ApiVersion>,
    idle: Mutex<Vec<http1::SendRequest<RequestBody>>>,
}

impl Client {
    /// A client of the daemon at `host` (`unix:///run/hako.sock`, `tcp://10.0.0.1:2375`).
    ///
    /// Nothing is connected yet. Without a `version` the first request asks the daemon for its
    /// own; with one (`DOCKER_API_VERSION`) it is used as it is.
    ///
    /// # Errors
    /// When `host` is not an address, or of a kind that is not built yet.
    pub fn new(host: &str, version: Option<ApiVersion>) -> Result<Self, ClientError> {
        Self::at(host.parse()?, None, version, &BTreeMap::new())
    }

    /// A client of the daemon at `host`; TLS is spoken over TCP only. `headers` go with every request, for what stands
    /// between here and there.
    ///
    /// # Errors
    /// When one of them is no header.
    pub fn at(
        host: Host,
        tls: Option<Tls>,
        version: Option<ApiVersion>,
        headers: &BTreeMap<String, String>,
    ) -> Result<Self, ClientError> {
        let headers = headers.iter().map(|(name, value)| Ok((HeaderName::try_from(name)?, value.parse()?)));
        let headers = headers.collect::<Result<_, hyper::http::Error>>();
        let inner = Inner {
            host,
            tls,
            user_agent: HeaderValue::from_static(concat!("hako/", env!("CARGO_PKG_VERSION"), " (linux)")),
            headers: headers.map_err(|source| ClientError::Request { operation: "request", source })?,
            version: OnceCell::new_with(version),
            idle: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where the daemon is.
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// The version that requests are made with: the given one, or the lower of the daemon's and
    /// ours.
    ///
    /// # Errors
    /// When the daemon does not answer, or speaks only versions that we do not.
    pub async fn version(&self) -> Result<ApiVersion, ClientError> {
        let negotiate = async || {
            let ping = self.system_ping().await?;
            // Daemons before 1.24 have no such header.
            let theirs = ping.api_version.unwrap_or(ApiVersion::MIN);
            theirs.min(ApiVersion::MAX).supported().map_err(ClientError::Version)
        };
        self.inner.version.get_or_try_init(negotiate).await.copied()
    }

    /// A connection: an idle one, or a new one. The flag says which.
    pub(crate) async fn connection(&self) -> Result<(http1::SendRequest<RequestBody>, bool), ClientError> {
        while let Some(mut idle) = self.take_idle() {
            if idle.ready().await.is_ok() {
                return Ok((idle, true));
            }
        }
        Ok((self.connect().await?, false))
    }

    /// A connection to the daemon as it is, for those who pass its bytes on.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub async fn dial(&self) -> Result<impl AsyncRead + AsyncWrite + Send + use<>, ClientError> {
        self.socket().await
    }

    async fn socket(&self) -> Result<Socket, ClientError> {
        let Inner { host, tls, .. } = &*self.inner;
        Socket::connect(host, tls.as_ref()).await.map_err(|source| ClientError::connect(host, source))
    }

    pub(crate) async fn connect(&self) -> Result<http1::SendRequest<RequestBody>, ClientError> {
        let socket = self.socket().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|source| ClientError::Transport { operation: "connect", source })?;
        // Ends by itself when the sender is dropped and the last answer has been read. Its errors
        // are those of the request in flight.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, sender: http1::SendRequest<RequestBody>) {
        let mut idle = self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < limits::IDLE_CONNECTIONS_MAX && !sender.is_closed() {
            idle.push(sender);
        }
    }

    fn take_idle(&self) -> Option<http1::SendRequest<RequestBody>> {
        self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
