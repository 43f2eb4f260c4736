//! What a build's client offers the daemon on its session: files, secrets, agents, and a place for results; credentials
//! are in `token.rs`.

use std::{
    convert::Infallible,
    io::Read as _,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bollard_buildkit_proto::{
    fsutil::types::Packet,
    health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus, health_server::Health,
    },
    moby::{
        buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse, secrets_server::Secrets},
        filesync::{
            packet::{
                file_send_server::{FileSend as TreeSend, FileSendServer as TreeSendServer},
                file_sync_server::FileSync,
            },
            v1::{
                BytesMessage,
                file_send_server::{FileSend, FileSendServer},
            },
        },
        sshforward::v1::{BytesMessage as SshBytes, CheckAgentRequest, CheckAgentResponse, ssh_server::Ssh},
        upload::v1::{BytesMessage as UploadBytes, upload_server::Upload},
    },
};
use hako_archive::bundle;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, UnboundedReceiverStream},
};
use tonic::{
    Request, Response, Status, Streaming, body::Body, codegen::http, metadata::MetadataValue, server::NamedService,
};

use super::{BuildSecret, ImageBuild, OutputTarget, receive, send};
use crate::limits;

/// Services, all from one request.
#[derive(Clone)]
pub(super) struct Services(pub(super) Arc<ImageBuild>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answers<T: Send + 'static>(receive: mpsc::Receiver<Result<T, Status>>) -> Response<Answers<T>> {
    Response::new(Box::pin(ReceiverStream::new(receive)))
}

// Does the work behind a stream of answers; its failure is the last of them.
fn serve<T: Send + 'static>(
    out: mpsc::Sender<Result<T, Status>>,
    work: impl Future<Output = Result<(), Status>> + Send + 'static,
) {
    tokio::spawn(async move {
        if let Err(status) = work.await {
            let _ = out.send(Err(status)).await;
        }
    });
}

#[tonic::async_trait]
impl FileSync for Services {
    type DiffCopyStream = Answers<Packet>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Answers<Packet>>, Status> {
        let name = send::values(request.metadata(), "dir-name").pop().unwrap_or_default();
        let source = self.0.sources.get(&name).cloned();
        let source = source.ok_or_else(|| Status::not_found(format!("no access allowed to dir {name:?}")))?;
        let wanted = send::Wanted::read(request.metadata())?;
        let bundles = request.metadata().contains_key(bundle::HEADER);
        let (out, packets) = mpsc::channel(limits::BUILD_PACKETS_QUEUED);
        let outbox = send::Outbox::new(out.clone(), bundles);
        serve(out, send::send(source, wanted, request.into_inner(), outbox));
        let mut answer = answers(packets);
        if bundles {
            answer.metadata_mut().insert(bundle::HEADER, MetadataValue::from_static("1"));
        }
        Ok(answer)
    }

    type TarStreamStream = Answers<Packet>;

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Answers<Packet>>, Status> {
        Err(Status::unimplemented("files are sent by DiffCopy"))
    }
}

/// `FileSend`: what is meant by one of its calls, a tree or one file, says the output that it is for.
#[derive(Clone)]
pub(super) struct Results(pub(super) Services);

impl Results {
    // Builders that know of one output do not say which.
    fn target(&self, headers: &http::HeaderMap) -> Option<OutputTarget> {
        let said = headers.get("buildkit-attachable-exporter-id").and_then(|value| value.to_str().ok());
        let said = said.and_then(|text| self.0.0.outputs.get(text.parse::<usize>().ok()?));
        let is_here = |output: &&super::BuildOutput| output.target != OutputTarget::Builder;
        let found = said.filter(is_here).or_else(|| self.0.0.outputs.iter().find(is_here));
        found.map(|output| output.target.clone())
    }
}

impl NamedService for Results {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

impl tower::Service<http::Request<Body>> for Results {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let daemon = self.0.0.daemon.clone();
        let size = limits::BUILD_MESSAGE_BYTES_MAX;
        match self.target(request.headers()) {
            None => {
                let status = Status::failed_precondition("no result was asked for");
                Box::pin(async move { Ok(status.into_http()) })
            }
            Some(OutputTarget::Directory(path)) => {
                TreeSendServer::new(Tree(path)).max_decoding_message_size(size).call(request)
            }
            Some(target) => FileSendServer::new(One { target, daemon }).max_decoding_message_size(size).call(request),
        }
    }
}

/// A directory that takes a tree.
struct Tree(PathBuf);

/// What takes one file.
struct One {
    target: OutputTarget,
    daemon: Option<crate::Client>,
}

#[tonic::async_trait]
impl TreeSend for Tree {
    type DiffCopyStream = Answers<Packet>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Answers<Packet>>, Status> {
        let path = self.0.clone();
        // Without a bound: who tells all names before it takes what we ask for must not be waited for.
        let (out, packets) = mpsc::unbounded_channel();
        let input = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = receive::directory(&path, input, out.clone()).await {
                let _ = out.send(Err(status));
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(packets))))
    }
}

#[tonic::async_trait]
impl FileSend for One {
    type DiffCopyStream = Answers<BytesMessage>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Answers<BytesMessage>>, Status> {
        let (target, daemon) = (self.target.clone(), self.daemon.clone());
        let (out, messages) = mpsc::channel::<Result<BytesMessage, Status>>(1);
        let input = request.into_inner();
        serve(out.clone(), async move {
            // Held to the end: the answers end when the file is whole.
            let _open = out;
            match (target, daemon) {
                (OutputTarget::Load, Some(daemon)) => receive::image(&daemon, input).await,
                (target, _) => receive::file(&target, input).await,
            }
        });
        Ok(answers(messages))
    }
}

#[tonic::async_trait]
impl Secrets for Services {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let data = match self.0.secrets.get(&id) {
            None => return Err(Status::not_found(format!("secret {id}: not found"))),
            Some(BuildSecret::Value(value)) => value.clone(),
            Some(BuildSecret::File(path)) => std::fs::read(path).map_err(|error| {
                Status::unknown(format!("cannot read the secret {id} from {}: {error}", path.display()))
            })?,
        };
        Ok(Response::new(GetSecretResponse { data }))
    }
}

impl Services {
    fn agent(&self, id: &str) -> Result<PathBuf, Status> {
        let id = if id.is_empty() { "default" } else { id };
        let found = self.0.agents.get(id).cloned();
        found.ok_or_else(|| Status::not_found(format!("unset ssh forward key {id}")))
    }
}

#[tonic::async_trait]
impl Ssh for Services {
    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        self.agent(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = Answers<SshBytes>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<SshBytes>>,
    ) -> Result<Response<Answers<SshBytes>>, Status> {
        let id = send::values(request.metadata(), "buildkit.ssh.id").pop().unwrap_or_default();
        let path = self.agent(&id)?;
        let agent = UnixStream::connect(&path).await.map_err(|error| {
            Status::unavailable(format!("cannot reach the SSH agent at {}: {error}", path.display()))
        })?;
        let (reader, mut writer) = agent.into_split();
        let mut input = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = input.message().await {
                if writer.write_all(&message.data).await.is_err() {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        });
        let (out, messages) = mpsc::channel(limits::BUILD_PACKETS_QUEUED);
        serve(out.clone(), pieces(reader, out, |data| SshBytes { data }));
        Ok(answers(messages))
    }
}

// All that is read, piece by piece.
async fn pieces<T>(
    mut input: impl AsyncRead + Unpin,
    out: mpsc::Sender<Result<T, Status>>,
    message: impl Fn(Vec<u8>) -> T,
) -> Result<(), Status> {
    let mut buffer = vec![0; limits::BUILD_DATA_BYTES];
    loop {
        let count = input.read(&mut buffer).await.map_err(|error| Status::unknown(error.to_string()))?;
        if count == 0 || out.send(Ok(message(buffer[..count].to_vec()))).await.is_err() {
            return Ok(());
        }
    }
}

#[tonic::async_trait]
impl Upload for Services {
    type PullStream = Answers<UploadBytes>;

    async fn pull(&self, request: Request<Streaming<UploadBytes>>) -> Result<Response<Answers<UploadBytes>>, Status> {
        let path = send::values(request.metadata(), "urlpath").pop().unwrap_or_default();
        let upload = self.0.upload.clone();
        let upload = upload.filter(|upload| path.trim_start_matches('/') == upload.id);
        let upload = upload.ok_or_else(|| Status::not_found(format!("no upload at {path}")))?;
        let (out, messages) = mpsc::channel(limits::BUILD_PACKETS_QUEUED);
        // A thread of its own: a read of standard input may never end, and nobody waits for it.
        std::thread::spawn(move || {
            let mut input = std::io::Read::chain(std::io::Cursor::new(upload.begin), std::io::stdin());
            let mut buffer = vec![0; limits::BUILD_DATA_BYTES];
            loop {
                let message = match input.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => Ok(UploadBytes { data: buffer[..count].to_vec() }),
                    Err(error) => Err(Status::unknown(format!("cannot read standard input: {error}"))),
                };
                if out.blocking_send(message).is_err() {
                    return;
                }
            }
        });
        Ok(answers(messages))
    }
}

#[tonic::async_trait]
impl Health for Services {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Ok(Response::new(HealthListResponse::default()))
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("health is asked for, not watched"))
    }
}
