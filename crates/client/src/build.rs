//! The rows of `/build`, and builds by BuildKit's protocol.
//!
//! ```text
//!   POST /grpc (h2c)     we ask:   Control.Solve lasts as long as the build; Control.Status tells its news
//!   POST /session (h2c)  we are asked for files, secrets, credentials, agents, and are sent results
//! ```
//! The protocol is the one of every Docker daemon since 18.09, so that this works against those too, and against
//! BuildKit by itself, which is reached in other ways (`builder.rs`).

mod builder; // who builds, and how it is reached
mod cache; // what a builder keeps
mod container; // BuildKit in a container
mod history; // builds that are over
mod news; // messages as plain values
mod place; // where a build failed
mod question; // what a Dockerfile takes and offers
mod receive; // results to here
mod request; // what a build is asked for
mod send; // files from here
mod services; // what the session offers
mod store; // directories of caches
mod token; // who we are at registries
mod tunnel; // a session within a call
mod worker; // what a builder is

use std::{collections::HashMap, sync::Arc};

use bollard_buildkit_proto::{
    health::health_server::HealthServer,
    moby::{
        buildkit::{
            secrets::v1::secrets_server::SecretsServer,
            v1::{
                CacheOptions, CacheOptionsEntry, Exporter, SolveRequest, StatusRequest, control_client::ControlClient,
            },
        },
        filesync::{packet::file_sync_server::FileSyncServer, v1::auth_server::AuthServer},
        sshforward::v1::ssh_server::SshServer,
        upload::v1::upload_server::UploadServer,
    },
};
use hako_api::{
    Operation,
    build::{BuildNews, BuildPruneResponse},
    progress::ProgressMessage,
    query::{BuildPruneQuery, BuildStartQuery},
};

use hyper::header::HeaderName;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::sync::mpsc;
use tonic::{Status, service::Routes, transport::Channel};

pub use builder::Builder;
pub use request::{
    BuildOption, BuildOutput, BuildSecret, BuildSource, BuildUpload, ImageBuild, OutputTarget, TokenAnswer, TokenGiven,
    TokenWish, Tokens,
};
pub use store::{layout_context, layout_digest};
pub use worker::{BuilderInfo, CacheRule};

use crate::{Client, ClientError, Hijacked, JsonStream, RequestBody, limits};
use builder::Connection;
use services::{Results, Services};
use store::Stores;

impl Client {
    /// Builds an image from a tar; errors after the first line come in band.
    pub async fn build_start(
        &self,
        query: &BuildStartQuery,
        tar: RequestBody,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        let body = self.call(Operation::BuildStart, &[]).query(query).tar(tar).stream().await?;
        Ok(JsonStream::new(Operation::BuildStart.name(), body))
    }

    /// A connection on which BuildKit's services are asked, by HTTP/2.
    pub async fn grpc_start(&self) -> Result<Hijacked, ClientError> {
        self.call(Operation::GrpcStart, &[]).hijack_as("h2c").await
    }

    /// A connection on which the daemon asks, by HTTP/2: for files, secrets, credentials.
    /// `methods` are what it may ask for.
    pub async fn session_start(&self, id: &str, shared_key: &str, methods: &[String]) -> Result<Hijacked, ClientError> {
        let mut call = self.call(Operation::SessionStart, &[]);
        for method in methods {
            call = call.header(HeaderName::from_static("x-docker-expose-session-grpc-method"), method);
        }
        let call = call.header(HeaderName::from_static("x-docker-expose-session-name"), "build");
        let call = call.header(HeaderName::from_static("x-docker-expose-session-uuid"), id);
        let call = call.header(HeaderName::from_static("x-docker-expose-session-sharedkey"), shared_key);
        call.hijack_as("h2c").await
    }

    /// Forgets what the build cache keeps.
    pub async fn build_prune(&self, query: &BuildPruneQuery) -> Result<BuildPruneResponse, ClientError> {
        self.call(Operation::BuildPrune, &[]).query(query).read().await
    }
}

impl Builder {
    /// Builds an image; answers what the daemon says of it (`containerimage.digest`, …). Dropping the future ends the
    /// build.
    ///
    /// # Errors
    /// When the daemon has no BuildKit, and whatever made the build fail.
    pub async fn build(
        &self,
        build: ImageBuild,
        news: mpsc::Sender<BuildNews>,
    ) -> Result<HashMap<String, String>, ClientError> {
        let build = Arc::new(build);
        let session = hako_base::random::hex(13);
        let connection = self.session(&session, &build.shared_key, &methods(&build)).await?;
        let serving = serve(build.clone(), connection);
        let control = self.control().await?;
        let reference = hako_base::random::hex(13);
        let request = solve_request(&build, &reference, &session);
        let mut solver = control.clone();
        let bridge = if question::is_one(&build) { Some(self.bridge().await?) } else { None };
        let solving = async move {
            match bridge {
                Some(bridge) => question::ask(solver, bridge, request).await,
                None => solver.solve(request).await.map(|answer| answer.into_inner().exporter_response),
            }
        };
        let telling = tell(control, reference, news);
        tokio::pin!(serving, telling);
        let solved = tokio::select! {
            // What the build told last is read to its end before it is over.
            both = async { tokio::join!(solving, &mut telling) } => both.0,
            () = &mut serving => Err(Status::unavailable(GONE)),
        };
        let answer = solved.map_err(|status| build_error(&status))?;
        if let Some(descriptor) = answer.get("cache.manifest") {
            for (directory, tag) in build.cache_directories() {
                store::layout_tag(&directory, descriptor, &tag).map_err(|error| ClientError::Build {
                    kind: hako_base::ErrorKind::Internal,
                    message: format!("cannot write the cache's index in {}: {error}", directory.display()),
                    excerpt: String::new(),
                })?;
            }
        }
        Ok(answer)
    }
}

/// What there is to be said when the connection ends before the build.
const GONE: &str = "the daemon ended the session: it was stopped, or it has crashed";

// Of a connection that has ended tonic says no more than "transport error".
fn build_error(status: &Status) -> ClientError {
    let is_gone = status.message() == "transport error" || status.message().starts_with("h2 protocol error");
    let status = &if is_gone { Status::unavailable(GONE) } else { status.clone() };
    ClientError::Build {
        kind: kind(status.code()),
        message: status.message().to_owned(),
        excerpt: place::excerpts(status.details()),
    }
}

fn kind(code: tonic::Code) -> hako_base::ErrorKind {
    use hako_base::ErrorKind;
    match code {
        tonic::Code::InvalidArgument => ErrorKind::InvalidInput,
        tonic::Code::NotFound => ErrorKind::NotFound,
        tonic::Code::Unimplemented => ErrorKind::NotImplemented,
        tonic::Code::Unavailable => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

// Daemons ask only for what was announced.
fn methods(build: &ImageBuild) -> Vec<String> {
    let mut methods: Vec<String> = [
        "/grpc.health.v1.Health/Check",
        "/moby.filesync.v1.FileSync/DiffCopy",
        "/moby.filesync.v1.Auth/Credentials",
        "/moby.buildkit.secrets.v1.Secrets/GetSecret",
        "/moby.upload.v1.Upload/Pull",
    ]
    .map(str::to_owned)
    .to_vec();
    if build.outputs.iter().any(|output| output.target != OutputTarget::Builder) {
        methods.push("/moby.filesync.v1.FileSend/DiffCopy".to_owned());
    }
    if build.tokens.is_some() {
        methods.extend(
            ["FetchToken", "GetTokenAuthority", "VerifyTokenAuthority"]
                .map(|method| format!("/moby.filesync.v1.Auth/{method}")),
        );
    }
    if !Stores::new(build).is_empty() {
        let of = |method| format!("/{}/{method}", <Stores as tonic::server::NamedService>::NAME);
        methods.extend(["Info", "Read", "Write"].map(of));
    }
    if !build.agents.is_empty() {
        methods
            .extend(["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"].map(str::to_owned));
    }
    methods
}

// Answers what the daemon asks on its session, for as long as it lasts.
async fn serve(build: Arc<ImageBuild>, connection: Connection) {
    let stores = Stores::new(&build);
    let services = Services(build);
    let routes = Routes::new(HealthServer::new(services.clone()))
        .add_service(FileSyncServer::new(services.clone()).max_decoding_message_size(limits::BUILD_MESSAGE_BYTES_MAX))
        .add_service(AuthServer::new(services.clone()))
        .add_service(SecretsServer::new(services.clone()))
        .add_service(SshServer::new(services.clone()))
        .add_service(UploadServer::new(services.clone()))
        .add_service(stores)
        .add_service(Results(services));
    let stream = TokioIo::new(connection);
    // How it ends is told by the build itself.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_connection_window_size(limits::BUILD_WINDOW_BYTES)
        .serve_connection(stream, TowerToHyperService::new(routes.prepare()))
        .await;
}

fn solve_request(build: &ImageBuild, reference: &str, session: &str) -> SolveRequest {
    let entry =
        |option: &BuildOption| CacheOptionsEntry { r#type: option.kind.clone(), attrs: option.attributes.clone() };
    let exporter =
        |output: &BuildOutput| Exporter { r#type: output.option.kind.clone(), attrs: output.option.attributes.clone() };
    let exporters: Vec<Exporter> = build.outputs.iter().map(exporter).collect();
    let first = exporters.first().cloned().unwrap_or_default();
    SolveRequest {
        r#ref: reference.to_owned(),
        session: session.to_owned(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: build.attributes.clone().into_iter().collect(),
        // Daemons before 25.0 know of one exporter, by these names.
        exporter_deprecated: first.r#type,
        exporter_attrs_deprecated: first.attrs,
        exporters,
        entitlements: build.entitlements.clone(),
        cache: Some(CacheOptions {
            exports: build.cache_to.iter().map(entry).collect(),
            imports: build.cache_from.iter().map(entry).collect(),
            ..CacheOptions::default()
        }),
        ..SolveRequest::default()
    }
}

// News until the build is over, or as long as somebody reads them.
async fn tell(mut control: ControlClient<Channel>, reference: String, news: mpsc::Sender<BuildNews>) {
    let Ok(stream) = control.status(StatusRequest { r#ref: reference }).await else { return };
    let mut stream = stream.into_inner();
    while let Ok(Some(message)) = stream.message().await {
        if news.send(news::read(message)).await.is_err() {
            return;
        }
    }
}
