//! What registries keep beside images, for the builder's caches: the protocol is `registry`'s work.

use std::io;

use bytes::Bytes;
use hako_model::{Digest, Reference};
use tokio::sync::mpsc;

use crate::{
    Engine, EngineError,
    registry::error,
    view::{ArtifactBlob, Credentials, Manifest},
};

impl Engine {
    /// What a registry has under a name.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn artifact_manifest(
        &self,
        name: &Reference,
        credentials: &Credentials,
    ) -> Result<Manifest, EngineError> {
        self.registry.manifest(name, credentials).await.map_err(error)
    }

    /// A small blob of a repository: digest and size.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn artifact_document(
        &self,
        name: &Reference,
        blob: (Digest, u64),
        credentials: &Credentials,
    ) -> Result<Vec<u8>, EngineError> {
        self.registry.artifact_document(name, blob, credentials).await.map_err(error)
    }

    /// How large a blob of a repository is; `None`: it is not there, or the registry does not say.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn artifact_size(
        &self,
        name: &Reference,
        digest: Digest,
        credentials: &Credentials,
    ) -> Result<Option<u64>, EngineError> {
        self.registry.artifact_size(name, digest, credentials).await.map_err(error)
    }

    /// A blob of a repository, piece by piece; whoever reads it verifies it.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn artifact_blob(
        &self,
        name: &Reference,
        blob: (Digest, u64),
        credentials: &Credentials,
        sender: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), EngineError> {
        self.registry.artifact_blob(name, blob, credentials, sender).await.map_err(error)
    }

    /// Sends blobs that are not there, and then a manifest (media type and bytes); answers its digest.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn artifact_put(
        &self,
        name: &Reference,
        blobs: Vec<ArtifactBlob>,
        manifest: (&str, &[u8]),
        credentials: &Credentials,
    ) -> Result<Digest, EngineError> {
        self.registry.artifact_put(name, blobs, manifest, credentials).await.map_err(error)
    }
}
