//! Connections: accepted, served, ended.
//!
//! ```text
//! accept ──► one task per connection ──► dispatch, request after request
//!                 │                          └── 101 UPGRADED ──► one task per hijacked connection
//! shutdown ──► no more accepts ──► requests in flight end, or the deadline ends them
//! ```

use std::{convert::Infallible, pin::pin, sync::Arc};

use hako_build::{Builder, buildkit::BuildKit};
use hako_engine::Engine;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    dispatch,
    first_line::FirstLine,
    limits,
    listen::{Accepted, Listener},
    metrics::{self, Timings},
};

/// What the server says about the daemon it speaks for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `Version` of `GET /version` and of the `Server` header.
    pub version: String,
    /// The oldest version of the API that is spoken (`--min-api-version`).
    pub min_api: hako_api::ApiVersion,
    pub git_commit: String,
    /// RFC 3339.
    pub build_time: String,
}

/// What every request shares.
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    pub(crate) builder: Builder,
    pub(crate) buildkit: BuildKit,
    pub(crate) settings: Settings,
    pub(crate) timings: Timings,
    stopping: watch::Receiver<bool>,
}

impl Daemon {
    /// Completes when the daemon stops; whatever would go on for ever ends then.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.clone();
        async move {
            // An error means that `serve` itself is gone.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

/// Where the daemon is heard.
#[derive(Default)]
pub struct Listeners {
    pub api: Vec<Listener>,
    /// Of Prometheus alone (`--metrics-addr`).
    pub metrics: Option<TcpListener>,
}

/// Serves the API on `listeners` until `shutdown` completes; then lets what is in flight end.
pub async fn serve(builder: Builder, settings: Settings, listeners: Listeners, shutdown: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(false);
    let buildkit = BuildKit::new(builder.clone(), settings.version.clone());
    let (engine, timings) = (builder.engine().clone(), Timings::default());
    let daemon = Arc::new(Daemon { engine, builder, buildkit, settings, timings, stopping });
    let mut figures = JoinSet::new();
    if let Some(listener) = listeners.metrics {
        let daemon = daemon.clone();
        figures.spawn(async move {
            metrics::serve(listener, daemon.engine.clone(), daemon.settings.clone(), &daemon.timings).await;
        });
    }
    let mut accepting: JoinSet<()> =
        listeners.api.into_iter().map(|listener| accept(listener, daemon.clone())).collect();
    shutdown.await;
    stop.send_replace(true);
    let ended = async { while accepting.join_next().await.is_some() {} };
    if tokio::time::timeout(limits::SHUTDOWN_DEADLINE, ended).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
}

/// Accepts until the daemon stops, then waits for the connections. Dropping it drops them.
async fn accept(listener: Listener, daemon: Arc<Daemon>) {
    let mut connections = JoinSet::new();
    let mut stopped = pin!(daemon.stopped());
    loop {
        tokio::select! {
            () = stopped.as_mut() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => drop(connections.spawn(connection(accepted, daemon.clone()))),
                Err(error) => {
                    // Mostly no free descriptor: one comes free when a connection ends.
                    tracing::warn!(%error, "cannot accept a connection");
                    let _ = tokio::time::timeout(limits::ACCEPT_PAUSE, connections.join_next()).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(accepted: Accepted, daemon: Arc<Daemon>) {
    let mut stopped = pin!(daemon.stopped());
    let socket = tokio::select! {
        socket = accepted.socket() => match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::info!(%error, "a connection was refused");
                return;
            }
        },
        () = stopped.as_mut() => return,
    };
    // Nothing may come for as long as a head may take.
    let is_grpc = tokio::select! {
        first = tokio::time::timeout(limits::HEAD_DEADLINE, socket.speaks_http2()) => matches!(first, Ok(Ok(true))),
        () = stopped.as_mut() => return,
    };
    if is_grpc {
        tokio::select! {
            () = daemon.buildkit.clone().serve(TokioIo::new(socket)) => {}
            () = stopped => {}
        }
        return;
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let daemon = daemon.clone();
        async move { Ok::<_, Infallible>(dispatch::answer(daemon, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // People grep for `Api-Version`.
        .title_case_headers(true)
        .header_read_timeout(limits::HEAD_DEADLINE)
        .serve_connection(TokioIo::new(FirstLine::of(socket)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Clients hang up whenever they like; that is not worth more.
    if let Err(error) = served {
        tracing::debug!(error = %hako_base::error::chain(&error), "a connection ended early");
    }
}
