//! The registry server: accepts connections, and what all requests share.
//!
//! ```text
//! accept ──► TLS, if asked for ──► HTTP/1.1, request after request ──► answer ──► storage
//! ```

mod access; // who may do what: htpasswd and tokens
mod answer; // from a path to an answer
mod blob; // blobs out
mod config_file; // the reference registry's YAML
mod endpoint; // what a request is about
mod error; // errors as the protocol tells them
mod manifest; // manifests in and out
mod password; // htpasswd files
mod referrers; // who refers to a manifest
mod search; // `/v1/search`, over what is here
mod settings; // flags and the REGISTRY_* variables
mod token; // tokens that a service signed
mod transfer; // bodies in and files out
mod upload; // blobs in
mod upstream; // what is fetched from another registry

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

pub use config_file::variables;
pub use settings::{Authorization, ProxySettings, Settings, SettingsError, TokenSettings};

use hako_tls::TlsError;

pub use crate::storage::{CollectOptions, Collected};
use crate::{limits, storage::Storage};
use access::Access;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot open the storage in {root}")]
    Storage { root: String, source: io::Error },
    #[error("cannot listen on {address}")]
    Listen { address: String, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot read {path}")]
    Access { path: String, source: io::Error },
    #[error("{0}")]
    Tokens(String),
}

/// A registry that listens, and serves once [`Server::run`] is awaited.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

/// What every request shares.
pub(crate) struct Shared {
    pub(crate) storage: Storage,
    pub(crate) settings: Settings,
    pub(crate) access: Access,
    /// The registry that this one is a cache of.
    pub(crate) upstream: Option<upstream::Upstream>,
    pub(crate) uploads: upload::Uploads,
    pub(crate) descriptions: search::Descriptions,
}

impl Server {
    /// Opens the storage and listens.
    ///
    /// # Errors
    /// When the storage, the address or a certificate cannot be had.
    pub async fn open(settings: Settings) -> Result<Self, ServeError> {
        let root = settings.root.clone();
        let storage =
            Storage::open(&root).map_err(|source| ServeError::Storage { root: root.display().to_string(), source })?;
        let access = Access::new(&settings.authorization)?;
        let tls = settings
            .tls
            .as_ref()
            .map(|files| hako_tls::server(files).map(|config| TlsAcceptor::from(Arc::new(config))));
        let listener = TcpListener::bind(&settings.listen)
            .await
            .map_err(|source| ServeError::Listen { address: settings.listen.clone(), source })?;
        let shared = Shared {
            upstream: settings.proxy.clone().map(upstream::Upstream::new),
            storage,
            settings,
            access,
            uploads: upload::Uploads::default(),
            descriptions: search::Descriptions::default(),
        };
        Ok(Self { listener, tls: tls.transpose()?, shared: Arc::new(shared) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` completes; then lets what is in flight end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, tls, shared } = self;
        let keeping = tokio::spawn(keep_house(shared.clone()));
        let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let place = tokio::select! {
                () = shutdown.as_mut() => break,
                place = places.clone().acquire_owned() => place,
                Some(_) = connections.join_next() => continue,
            };
            tokio::select! {
                () = shutdown.as_mut() => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => {
                        let (shared, tls, stopping) = (shared.clone(), tls.clone(), stopping.clone());
                        connections.spawn(async move {
                            let _place = place;
                            connection(socket, peer, tls, shared, stopping).await;
                        });
                    }
                    Err(error) => {
                        // Mostly no free descriptor: one comes free when a connection ends.
                        tracing::warn!(%error, "cannot accept a connection");
                        let _ = tokio::time::timeout(limits::ACCEPT_PAUSE, connections.join_next()).await;
                    }
                },
            }
        }
        drop(listener);
        keeping.abort();
        stop.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limits::SHUTDOWN_DEADLINE, ended).await;
    }
}

/// Removes what no manifest of a storage needs, also while a server serves it.
///
/// # Errors
/// Those of the disk.
pub fn collect(root: &std::path::Path, options: CollectOptions) -> io::Result<Collected> {
    Storage::open(root)?.collect(options)
}

// Old uploads, what a cache has not been asked for, garbage: at the start, and from time to time.
async fn keep_house(shared: Arc<Shared>) {
    let every = shared.settings.collect_every.unwrap_or(limits::HOUSEKEEPING_INTERVAL);
    loop {
        let held = shared.clone();
        let kept = tokio::task::spawn_blocking(move || -> io::Result<()> {
            let uploads = held.storage.uploads_purge()?;
            let expired = match held.settings.proxy.as_ref().and_then(|proxy| proxy.keep) {
                Some(age) => held.storage.expire(age)?,
                None => 0,
            };
            if held.settings.collect_every.is_some() || expired > 0 {
                let collected = held.storage.collect(CollectOptions {
                    grace: limits::GARBAGE_GRACE,
                    untagged: false,
                    dry_run: false,
                })?;
                tracing::info!(
                    uploads,
                    expired,
                    blobs = collected.blobs,
                    bytes = collected.bytes,
                    "removed what nobody needs"
                );
            }
            Ok(())
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "cannot remove what nobody needs");
        }
        crate::client::pause(every).await;
    }
}

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "a connection ended early");
        return;
    }
    let Some(tls) = tls else { return serve(socket, peer, shared, stopping).await };
    match tokio::time::timeout(limits::HEAD_DEADLINE, tls.accept(socket)).await {
        Ok(Ok(socket)) => serve(socket, peer, shared, stopping).await,
        Ok(Err(error)) => tracing::debug!(%peer, error = hako_tls::handshake_text(&error), "no TLS with a client"),
        Err(_) => tracing::debug!(%peer, "a client did not finish its TLS handshake in time"),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    socket: S,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer::answer(shared, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .title_case_headers(true)
        .header_read_timeout(limits::HEAD_DEADLINE)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, error = %hako_base::error::chain(&error), "a connection ended early");
    }
}
