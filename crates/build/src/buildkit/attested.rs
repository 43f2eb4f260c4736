//! What is attested of builds that are over, and the service that clients read it from: containerd's `Content` on the
//! connection to the daemon, which has nothing else to read.
//!
//! Buildx shows it as a build's materials and writes it into metadata files. One file for each, by its digest, in the
//! folder of the histories; it goes with the record that names it.

use std::{
    convert::Infallible,
    fs, io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bollard_buildkit_proto::moby::buildkit::v1::{BuildHistoryRecord, BuildResultInfo, Descriptor};
use hako_archive::content::{Info, InfoRequest, InfoResponse, ReadRequest, ReadResponse, SERVICE};
use hako_base::file::{Durability, write_atomic};
use hako_model::{Digest, Platform};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

use super::solves::Solve;
use crate::{
    attest::{Wish, predicate},
    cache::digest,
    limits,
    plan::platform_text,
    solve::Built,
};

/// What documents of this kind are called.
const MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// How one result was made.
pub(super) struct Attested {
    platform: Platform,
    kind: &'static str,
    bytes: Vec<u8>,
}

impl Attested {
    /// Everything that is known; nothing of graphs, whose front ends alone know what they mean.
    pub(super) fn of(solve: &Solve, built: &[Arc<Built>]) -> Vec<Self> {
        let Ok(Some(wish)) = Wish::parse("mode=max") else { return Vec::new() };
        let one = |built: &Arc<Built>| {
            let (kind, said) = solve.asked(|asked| predicate(&wish, &built.facts, asked, &[]));
            let bytes = serde_json::to_vec(&said).unwrap_or_default();
            Self { platform: built.image.platform.clone(), kind, bytes }
        };
        built.iter().filter(|built| !built.is_graph()).map(one).collect()
    }
}

/// The files.
#[derive(Clone)]
pub(super) struct Attestations(Arc<PathBuf>);

impl Attestations {
    /// Those in a folder; what no record names goes.
    pub(super) fn open<'r>(root: PathBuf, records: impl Iterator<Item = &'r BuildHistoryRecord>) -> Self {
        let all = Self(Arc::new(root));
        let named: Vec<PathBuf> = records.flat_map(|record| all.files(record)).collect();
        for entry in fs::read_dir(&*all.0).into_iter().flatten().filter_map(Result::ok) {
            if !named.contains(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        all
    }

    fn file(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.hex())
    }

    // Those that a record names.
    fn files(&self, record: &BuildHistoryRecord) -> Vec<PathBuf> {
        let results = record.result.iter().chain(record.results.values());
        let named = results.flat_map(|result| &result.attestations);
        named.filter_map(|one| Some(self.file(&one.digest.parse().ok()?))).collect()
    }

    /// Keeps what is attested of a build, and names it in its record.
    pub(super) fn keep(&self, record: &mut BuildHistoryRecord, all: &[Attested]) -> io::Result<()> {
        for one in all {
            hako_base::file::make_dir(&self.0, 0o700)?;
            let name = digest(&one.bytes);
            write_atomic(&self.file(&name), &one.bytes, 0o600, Durability::Process)?;
            let descriptor = Descriptor {
                media_type: MEDIA_TYPE.to_owned(),
                digest: name.to_string(),
                size: i64::try_from(one.bytes.len()).unwrap_or(i64::MAX),
                annotations: [("in-toto.io/predicate-type".to_owned(), one.kind.to_owned())].into(),
            };
            let result = BuildResultInfo { attestations: vec![descriptor], ..BuildResultInfo::default() };
            match all.len() {
                1 => record.result = Some(result),
                _ => drop(record.results.insert(platform_text(&one.platform), result)),
            }
        }
        Ok(())
    }

    /// Removes what a record names.
    pub(super) fn remove(&self, record: &BuildHistoryRecord) {
        self.files(record).iter().for_each(|path| drop(fs::remove_file(path)));
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Status> {
        let gone = || Status::not_found(format!("content {name}: not found"));
        let wanted: Digest = name.parse().map_err(|_| gone())?;
        fs::read(self.file(&wanted)).map_err(|_| gone())
    }
}

impl NamedService for Attestations {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<Body>> for Attestations {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let all = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match method.as_str() {
                "Info" => {
                    let codec = ProstCodec::<InfoResponse, InfoRequest>::default();
                    Grpc::new(codec).unary(Asking(all), request).await
                }
                "Read" => {
                    let codec = ProstCodec::<ReadResponse, ReadRequest>::default();
                    Grpc::new(codec).server_streaming(Reading(all), request).await
                }
                other => Status::unimplemented(format!("{other} of the builder's content is not built")).into_http(),
            })
        })
    }
}

struct Asking(Attestations);

impl UnaryService<InfoRequest> for Asking {
    type Response = InfoResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<InfoResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<InfoRequest>) -> Self::Future {
        let (all, digest) = (self.0.clone(), request.into_inner().digest);
        Box::pin(async move {
            let size = i64::try_from(all.read(&digest)?.len()).unwrap_or(i64::MAX);
            Ok(Response::new(InfoResponse { info: Some(Info { digest, size }) }))
        })
    }
}

struct Reading(Attestations);

type Pieces = tokio_stream::Iter<std::vec::IntoIter<Result<ReadResponse, Status>>>;

impl ServerStreamingService<ReadRequest> for Reading {
    type Response = ReadResponse;
    type ResponseStream = Pieces;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Pieces>, Status>> + Send>>;

    fn call(&mut self, request: Request<ReadRequest>) -> Self::Future {
        let (all, request) = (self.0.clone(), request.into_inner());
        Box::pin(async move {
            let bytes = all.read(&request.digest)?;
            let begin = usize::try_from(request.offset).ok().filter(|begin| *begin <= bytes.len());
            let begin = begin.ok_or_else(|| Status::out_of_range("an offset beyond the content"))?;
            let wanted = usize::try_from(request.size).ok().filter(|size| *size > 0).unwrap_or(usize::MAX);
            let end = begin.saturating_add(wanted).min(bytes.len());
            let mut pieces = Vec::new();
            for (number, data) in bytes[begin..end].chunks(limits::DATA_BYTES).enumerate() {
                let offset = i64::try_from(begin + number * limits::DATA_BYTES).unwrap_or(i64::MAX);
                pieces.push(Ok(ReadResponse { offset, data: data.to_vec() }));
            }
            Ok(Response::new(tokio_stream::iter(pieces)))
        })
    }
}
