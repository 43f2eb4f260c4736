//! containerd's content service on the session: blobs in directories here that are OCI layouts, caches (`type=local`) and
//! contexts.
//!
//! The daemon names the store, which stands for a directory that the command line named; it reads and writes nothing
//! else, and into contexts it writes nothing. What is written is hashed, and has its name only when it is whole.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::{self, File},
    io::{self, Read, Seek as _, Write as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hako_archive::content::{
    Action, CACHE, Info, InfoRequest, InfoResponse, LAYOUT, ReadRequest, ReadResponse, SERVICE, STORE, WriteRequest,
    WriteResponse,
};
use hako_base::file::{Durability, write_atomic};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{ImageBuild, send};
use crate::limits;

/// The name of a cache's manifest among others of a layout.
const TAG: &str = "org.opencontainers.image.ref.name";

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The directories, by the names that the daemon gives them.
#[derive(Clone, Default)]
pub(super) struct Stores(Arc<BTreeMap<String, PathBuf>>);

impl Stores {
    pub(super) fn new(build: &ImageBuild) -> Self {
        let caches = build.stores().into_iter().map(|directory| (format!("{CACHE}{}", directory.display()), directory));
        let layouts = build.layouts.iter().map(|(name, directory)| (format!("{LAYOUT}{name}"), directory.clone()));
        Self(Arc::new(caches.chain(layouts).collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of<T>(&self, request: &Request<T>) -> Result<PathBuf, Status> {
        let name = send::values(request.metadata(), STORE).pop().unwrap_or_default();
        self.0.get(&name).cloned().ok_or_else(|| Status::not_found(format!("no store {name:?}")))
    }

    fn to_write<T>(&self, request: &Request<T>) -> Result<PathBuf, Status> {
        let name = send::values(request.metadata(), STORE).pop().unwrap_or_default();
        if name.starts_with(LAYOUT) {
            return Err(Status::permission_denied(format!("the store {name:?} is only to be read")));
        }
        self.of(request)
    }
}

// `sha256:` and 64 digits, nothing else: it becomes a path.
fn hex(digest: &str) -> Result<&str, Status> {
    let hex =
        digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    hex.ok_or_else(|| Status::invalid_argument(format!("{digest:?} is no digest")))
}

fn failed(what: &Path) -> impl Fn(io::Error) -> Status {
    let what = what.display().to_string();
    move |error| match error.kind() {
        io::ErrorKind::NotFound => Status::not_found(format!("{what}: {error}")),
        _ => Status::unknown(format!("{what}: {error}")),
    }
}

#[derive(Clone)]
struct Asking(Stores);

impl UnaryService<InfoRequest> for Asking {
    type Response = InfoResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<InfoResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<InfoRequest>) -> Self::Future {
        let stores = self.0.clone();
        Box::pin(async move {
            let directory = stores.of(&request)?;
            let digest = request.into_inner().digest;
            let path = directory.join("blobs/sha256").join(hex(&digest)?);
            let size = fs::metadata(&path).map_err(failed(&path))?.len();
            let info = Info { digest, size: i64::try_from(size).unwrap_or(i64::MAX) };
            Ok(Response::new(InfoResponse { info: Some(info) }))
        })
    }
}

#[derive(Clone)]
struct Reading(Stores);

impl ServerStreamingService<ReadRequest> for Reading {
    type Response = ReadResponse;
    type ResponseStream = Answers<ReadResponse>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<ReadRequest>) -> Self::Future {
        let stores = self.0.clone();
        Box::pin(async move {
            let directory = stores.of(&request)?;
            let message = request.into_inner();
            let path = directory.join("blobs/sha256").join(hex(&message.digest)?);
            let mut file = File::open(&path).map_err(failed(&path))?;
            let start = u64::try_from(message.offset).unwrap_or(0);
            file.seek(io::SeekFrom::Start(start)).map_err(failed(&path))?;
            let most = u64::try_from(message.size).ok().filter(|size| *size > 0).unwrap_or(u64::MAX);
            let (out, answers) = mpsc::channel(limits::BUILD_PACKETS_QUEUED);
            tokio::task::spawn_blocking(move || read(file.take(most), message.offset, &path, &out));
            Ok(Response::new(Box::pin(ReceiverStream::new(answers)) as Answers<ReadResponse>))
        })
    }
}

// Piece after piece, to the end or to what is wrong.
fn read(mut input: impl Read, mut offset: i64, path: &Path, out: &mpsc::Sender<Result<ReadResponse, Status>>) {
    loop {
        let mut data = vec![0; limits::BUILD_DATA_BYTES];
        let answer = match input.read(&mut data) {
            Ok(0) => return,
            Ok(count) => {
                data.truncate(count);
                Ok(ReadResponse { offset, data })
            }
            Err(error) => Err(failed(path)(error)),
        };
        offset += answer.as_ref().map_or(0, |answer| i64::try_from(answer.data.len()).unwrap_or_default());
        let is_end = answer.is_err();
        if out.blocking_send(answer).is_err() || is_end {
            return;
        }
    }
}

#[derive(Clone)]
struct Writing(Stores);

impl StreamingService<WriteRequest> for Writing {
    type Response = WriteResponse;
    type ResponseStream = Answers<WriteResponse>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<WriteRequest>>) -> Self::Future {
        let stores = self.0.clone();
        Box::pin(async move {
            let directory = stores.to_write(&request)?;
            let (out, answers) = mpsc::channel(1);
            let input = request.into_inner();
            tokio::spawn(async move {
                if let Err(status) = write(&directory, input, &out).await {
                    let _ = out.send(Err(status)).await;
                }
            });
            Ok(Response::new(Box::pin(ReceiverStream::new(answers)) as Answers<WriteResponse>))
        })
    }
}

/// A file that is gone unless it got its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

// One blob, message by message, each of them answered. What is written goes to memory first, as fast as it comes.
async fn write(
    directory: &Path,
    mut input: Streaming<WriteRequest>,
    out: &mpsc::Sender<Result<WriteResponse, Status>>,
) -> Result<(), Status> {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed(&blobs))?;
    let unfinished = Unfinished(directory.join(format!(".{}", hako_base::random::hex(12))));
    let mut file = File::create_new(&unfinished.0).map_err(failed(&unfinished.0))?;
    let mut hasher = ring::digest::Context::new(&ring::digest::SHA256);
    let mut offset: i64 = 0;
    while let Some(message) = input.message().await? {
        let name = blobs.join(hex(&message.expected)?);
        if offset == 0 && name.exists() {
            return Err(Status::already_exists(format!("{} is there", message.expected)));
        }
        if !message.data.is_empty() {
            if message.offset != offset {
                return Err(Status::out_of_range(format!("bytes from {} on after {offset}", message.offset)));
            }
            file.write_all(&message.data).map_err(failed(&unfinished.0))?;
            hasher.update(&message.data);
            offset += i64::try_from(message.data.len()).unwrap_or_default();
        }
        let mut digest = String::new();
        if message.action() == Action::Commit {
            digest = format!("sha256:{}", hako_base::random::encode_hex(hasher.clone().finish().as_ref()));
            if digest != message.expected {
                return Err(Status::data_loss(format!("a blob is {digest}, not {}", message.expected)));
            }
            fs::rename(&unfinished.0, &name).map_err(failed(&name))?;
        }
        let answer = WriteResponse { action: message.action, offset, total: message.total, digest };
        if out.send(Ok(answer)).await.is_err() || message.action() == Action::Commit {
            return Ok(());
        }
    }
    Ok(())
}

impl NamedService for Stores {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<Body>> for Stores {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let stores = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match method.as_str() {
                "Info" => {
                    let codec = ProstCodec::<InfoResponse, InfoRequest>::default();
                    Grpc::new(codec).unary(Asking(stores), request).await
                }
                "Read" => {
                    let codec = ProstCodec::<ReadResponse, ReadRequest>::default();
                    Grpc::new(codec).server_streaming(Reading(stores), request).await
                }
                "Write" => {
                    let codec = ProstCodec::<WriteResponse, WriteRequest>::default();
                    let grpc =
                        Grpc::new(codec).apply_max_message_size_config(Some(limits::BUILD_MESSAGE_BYTES_MAX), None);
                    Grpc::streaming(&mut { grpc }, Writing(stores), request).await
                }
                other => Status::unimplemented(format!("{other} is not asked of a directory")).into_http(),
            })
        })
    }
}

/// The digest of the manifest that a layout has under a tag.
///
/// # Errors
/// When there is no layout, or nothing of that name in it.
pub fn layout_digest(directory: &Path, tag: &str) -> io::Result<String> {
    let manifests = manifests(directory)?;
    let found = manifests.iter().find(|one| one["annotations"][TAG] == tag);
    digest_in(found).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("nothing is called {tag:?}")))
}

/// The same of a layout that is a context: one that has a single manifest need not call it anything.
///
/// # Errors
/// When there is no layout, or nothing of that name among several.
pub fn layout_context(directory: &Path, tag: &str) -> io::Result<String> {
    let all = manifests(directory)?;
    match (layout_digest(directory, tag), all.as_slice()) {
        (Err(_), [only]) => digest_in(Some(only)).ok_or_else(|| io::Error::other("its only manifest has no digest")),
        (found, _) => found,
    }
}

fn manifests(directory: &Path) -> io::Result<Vec<serde_json::Value>> {
    let index: serde_json::Value = serde_json::from_slice(&fs::read(directory.join("index.json"))?)?;
    Ok(index["manifests"].as_array().cloned().unwrap_or_default())
}

fn digest_in(descriptor: Option<&serde_json::Value>) -> Option<String> {
    descriptor.and_then(|one| one["digest"].as_str()).map(str::to_owned)
}

/// Gives a layout's manifest a tag; what had it before stays without.
pub(super) fn layout_tag(directory: &Path, descriptor: &str, tag: &str) -> io::Result<()> {
    let mut descriptor: serde_json::Value = serde_json::from_str(descriptor)?;
    descriptor["annotations"][TAG] = tag.into();
    let path = directory.join("index.json");
    let mut manifests = manifests(directory).unwrap_or_default();
    manifests.retain(|one| one["annotations"][TAG] != tag && one["digest"] != descriptor["digest"]);
    manifests.push(descriptor);
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    write_atomic(&path, &serde_json::to_vec(&index)?, 0o644, Durability::Process)
}
