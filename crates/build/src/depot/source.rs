//! Blobs that are elsewhere, as something to read from.

use std::io;

use bytes::Bytes;
use hako_base::{chunks::ChunkReader, error::chain};
use hako_engine::{Engine, view::Credentials};
use hako_model::Reference;
use tokio::sync::mpsc;

use super::{Blob, BlobFuture, BlobReader, Source};
use crate::limits;

/// Blobs of a repository.
pub(crate) struct RegistrySource {
    pub(crate) engine: Engine,
    pub(crate) name: Reference,
    pub(crate) credentials: Credentials,
}

impl Source for RegistrySource {
    fn blob(&self, blob: Blob) -> BlobFuture<'_> {
        let (engine, name, credentials) = (self.engine.clone(), self.name.clone(), self.credentials.clone());
        Box::pin(async move {
            Ok(reader(|sender| async move {
                let sent = engine.artifact_blob(&name, (blob.digest, blob.size), &credentials, &sender).await;
                if let Err(error) = sent {
                    let _ = sender.send(Err(io::Error::other(chain(&error)))).await;
                }
            }))
        })
    }
}

/// What a task sends, to be read by a thread that may block.
pub(crate) fn reader<F: Future<Output = ()> + Send + 'static>(
    send: impl FnOnce(mpsc::Sender<io::Result<Bytes>>) -> F,
) -> BlobReader {
    let (sender, mut chunks) = mpsc::channel(limits::PACKETS_QUEUED);
    tokio::spawn(send(sender));
    Box::new(ChunkReader::new(move || chunks.blocking_recv()))
}
