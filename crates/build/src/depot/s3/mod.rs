//! Depots in a bucket (`type=s3`): Amazon's S3, or whoever speaks its protocol.
//!
//! ```text
//!   PREFIX manifests/NAME     the document, written last, in the place of the one before
//!   PREFIX blobs/sha256:…     blobs, each once; one that is old is written anew when it is used
//! ```
//! The names are BuildKit's.

mod place; // attributes
mod service; // what a bucket is asked
mod sign; // signatures of requests

use std::{collections::HashSet, fs::File, io, sync::Arc, time::Duration};

use bytes::Bytes;
use hako_base::clock;
use hako_engine::Engine;

pub(crate) use place::{ATTRIBUTES, S3Place};
use service::Service;

use super::{
    Blob, BlobFuture, Depot, Source, reader,
    web::{self, Content},
};
use crate::{cache::digest, limits};

/// A cache in a bucket; clones are the same.
#[derive(Clone)]
pub(crate) struct S3(Arc<Service>);

impl S3 {
    pub(crate) fn new(engine: Engine, place: S3Place) -> Self {
        Self(Arc::new(Service::new(engine, place)))
    }

    /// What was left there under the first name.
    pub(crate) async fn depots(&self) -> Result<Vec<Depot>, String> {
        let Some(name) = self.0.place.names.first() else { return Ok(Vec::new()) };
        let key = self.0.place.manifest_key(name);
        if self.0.find(&key).await?.is_none() {
            return Ok(Vec::new());
        }
        let most = limits::DEPOT_DOCUMENT_BYTES_MAX as u64;
        let document = web::document(|sender| async move { self.0.read(&key, (None, most), &sender).await }).await?;
        Ok(vec![Depot::read(&format!("s3:{name}"), &document, &[], Box::new(self.clone()))?])
    }

    /// Leaves blobs that are not there yet, and then the document that names them.
    pub(crate) async fn leave(&self, blobs: Vec<(Blob, File)>, document: Bytes) -> Result<(), String> {
        let mut known = HashSet::new();
        // The same blob may be two layers.
        let blobs = blobs.into_iter().filter(|(blob, _)| known.insert(blob.digest));
        let save = |(blob, file)| {
            let this = self.clone();
            async move { this.save_blob(blob, file).await }
        };
        web::side_by_side(blobs.map(save), self.0.place.at_once).await?;
        let hash = digest(&document);
        for name in &self.0.place.names {
            let content = Content::Bytes(document.clone());
            self.0.put(&self.0.place.manifest_key(name), &content, &hash.hex()).await?;
        }
        Ok(())
    }

    async fn save_blob(&self, blob: Blob, file: File) -> Result<(), String> {
        let key = self.0.place.blob_key(blob.digest);
        match self.0.find(&key).await? {
            Some(written) => {
                let age = Duration::try_from(clock::now().duration_since(written)).unwrap_or_default();
                let is_old = age > self.0.place.refresh;
                // A copy within the bucket has an end, too.
                match blob.size <= limits::S3_COPY_BYTES_MAX {
                    true if is_old => self.0.touch(&key).await,
                    false if is_old => self.send(&key, blob, file).await,
                    _ => Ok(()),
                }
            }
            None => self.send(&key, blob, file).await,
        }
    }

    async fn send(&self, key: &str, blob: Blob, file: File) -> Result<(), String> {
        self.0.put(key, &Content::File(Arc::new(file), blob.size), &blob.digest.hex()).await
    }
}

impl Source for S3 {
    fn blob(&self, blob: Blob) -> BlobFuture<'_> {
        let this = self.clone();
        Box::pin(async move {
            Ok(reader(|sender| async move {
                let key = this.0.place.blob_key(blob.digest);
                if let Err(why) = this.0.read(&key, (Some(blob.size), blob.size), &sender).await {
                    let _ = sender.send(Err(io::Error::other(why))).await;
                }
            }))
        })
    }
}
