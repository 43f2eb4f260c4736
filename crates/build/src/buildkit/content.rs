//! containerd's content service on a client's session: blobs in a directory of the client's (`type=local` caches, OCI
//! layouts).

use std::io;

use bytes::Bytes;
use hako_archive::content::{Action, ReadRequest, ReadResponse, STORE, WriteRequest, WriteResponse};
use hako_model::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, codegen::http::uri::PathAndQuery, metadata::MetadataValue, transport::Channel};
use tonic_prost::ProstCodec;

use super::session::Session;
use crate::limits;

const READ: &str = "/containerd.services.content.v1.Content/Read";
const WRITE: &str = "/containerd.services.content.v1.Content/Write";

/// One store of a client's.
#[derive(Clone)]
pub(super) struct ContentStore {
    channel: Channel,
    name: String,
}

impl ContentStore {
    pub(super) fn new(session: &Session, name: &str) -> Self {
        Self { channel: session.channel.clone(), name: name.to_owned() }
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        let name = MetadataValue::try_from(self.name.as_str());
        let name = name.map_err(|_| Status::invalid_argument(format!("{:?} is no name of a store", self.name)))?;
        request.metadata_mut().insert(STORE, name);
        Ok(request)
    }

    async fn ready(&self) -> Result<tonic::client::Grpc<Channel>, Status> {
        let grpc = tonic::client::Grpc::new(self.channel.clone());
        let mut grpc = grpc.max_decoding_message_size(limits::PACKET_BYTES_MAX);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }

    /// Sends every byte of a blob on; whoever reads verifies them.
    pub(super) async fn read(&self, digest: Digest, sender: mpsc::Sender<io::Result<Bytes>>) -> Result<(), Status> {
        let message = ReadRequest { digest: digest.to_string(), offset: 0, size: 0 };
        let codec = ProstCodec::<ReadRequest, ReadResponse>::default();
        let path = PathAndQuery::from_static(READ);
        let answers = self.ready().await?.server_streaming(self.request(message)?, path, codec).await?;
        let mut answers = answers.into_inner();
        while let Some(answer) = answers.message().await? {
            if sender.send(Ok(answer.data.into())).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A small blob as a whole, verified.
    pub(super) async fn document(&self, digest: Digest) -> Result<Vec<u8>, Status> {
        let (sender, mut chunks) = mpsc::channel::<io::Result<Bytes>>(limits::PACKETS_QUEUED);
        let collecting = async {
            let mut all: Vec<u8> = Vec::new();
            while let Some(Ok(chunk)) = chunks.recv().await {
                all.extend_from_slice(&chunk);
                if all.len() > limits::DEPOT_DOCUMENT_BYTES_MAX {
                    return Err(Status::resource_exhausted("the cache's document is too large"));
                }
            }
            Ok(all)
        };
        let (read, all) = tokio::join!(self.read(digest, sender), collecting);
        read?;
        let all = all?;
        let found = crate::cache::digest(&all);
        if found == digest { Ok(all) } else { Err(Status::data_loss(format!("a blob is {found}, not {digest}"))) }
    }

    /// Leaves a blob there, unless it is there already.
    pub(super) async fn write(
        &self,
        digest: Digest,
        size: u64,
        mut chunks: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<(), Status> {
        let total = i64::try_from(size).unwrap_or(i64::MAX);
        let head = WriteRequest {
            reference: format!("hako-{digest}"),
            total,
            expected: digest.to_string(),
            ..WriteRequest::default()
        };
        let (send, receive) = mpsc::channel(1);
        let first = WriteRequest { action: Action::Stat.into(), ..head.clone() };
        let gone = |_| Status::aborted("the client takes no more");
        send.send(first).await.map_err(gone)?;
        let codec = ProstCodec::<WriteRequest, WriteResponse>::default();
        let request = self.request(ReceiverStream::new(receive))?;
        let answers = self.ready().await?.streaming(request, PathAndQuery::from_static(WRITE), codec).await;
        let mut answers = match answers {
            Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
            other => other?.into_inner(),
        };
        let mut offset = match answers.message().await {
            Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
            other => other?.map_or(0, |answer| answer.offset),
        };
        // What an earlier attempt has left there is not sent again.
        let mut skip = offset;
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.map_err(|error| Status::unknown(error.to_string()))?;
            let length = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
            let known = usize::try_from(skip.min(length)).unwrap_or_default();
            skip -= skip.min(length);
            if known == chunk.len() {
                continue;
            }
            let message =
                WriteRequest { action: Action::Write.into(), offset, data: chunk[known..].to_vec(), ..head.clone() };
            offset += length - i64::try_from(known).unwrap_or_default();
            send.send(message).await.map_err(gone)?;
            // One at a time: a client that writes slowly is waited for.
            answers.message().await?;
        }
        let last = WriteRequest { action: Action::Commit.into(), offset, ..head };
        send.send(last).await.map_err(gone)?;
        match answers.message().await {
            Err(status) if status.code() != Code::AlreadyExists => Err(status),
            _ => Ok(()),
        }
    }
}
