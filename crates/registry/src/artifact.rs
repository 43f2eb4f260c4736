//! What registries keep beside images: blobs, and a manifest that names them, such as the cache of a build.
//!
//! What they mean is their owner's business; here they are sent where they are missing, and read.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use hako_model::{Digest, Reference};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    client::{BlobBody, Client, Credentials, RegistryError, digest_of},
    download::download,
    progress::Steps,
    pull::{Blob, target_of},
    push::send,
};

/// A blob that goes to a registry.
#[derive(Debug, Clone)]
pub enum ArtifactBlob {
    Bytes(Bytes),
    File { digest: Digest, size: u64, file: Arc<File> },
}

impl ArtifactBlob {
    fn parts(self) -> (Digest, BlobBody) {
        match self {
            Self::Bytes(bytes) => (digest_of(&bytes), BlobBody::Bytes(bytes)),
            Self::File { digest, size, file } => (digest, BlobBody::File { file, size }),
        }
    }
}

impl Client {
    /// Sends blobs, those that are there already excepted, and then the manifest that names them; answers its digest.
    ///
    /// # Errors
    /// When the registry does not take one of them.
    pub async fn artifact_put(
        &self,
        name: &Reference,
        blobs: Vec<ArtifactBlob>,
        manifest: (&str, &[u8]),
        credentials: &Credentials,
    ) -> Result<Digest, RegistryError> {
        let remote = self.home(name, credentials, true)?;
        let mut sending = JoinSet::new();
        for blob in blobs {
            let remote = remote.clone();
            sending.spawn(async move {
                let _slot = remote.client().uploads().acquire_owned().await;
                let (digest, body) = blob.parts();
                if !remote.has_blob(digest).await? {
                    send(&remote, digest, body, None, None).await?;
                }
                Ok::<_, RegistryError>(())
            });
        }
        while let Some(sent) = sending.join_next().await {
            sent.unwrap_or_else(|_| Err(RegistryError::Invalid("the upload was cut off".to_owned())))?;
        }
        remote.manifest_put(&target_of(name), manifest.0, manifest.1).await?;
        Ok(digest_of(manifest.1))
    }

    /// A small blob of a repository, as a whole and verified.
    ///
    /// # Errors
    /// When the registry does not have or give it.
    pub async fn artifact_document(
        &self,
        name: &Reference,
        (digest, size): (Digest, u64),
        credentials: &Credentials,
    ) -> Result<Vec<u8>, RegistryError> {
        self.home(name, credentials, false)?.document(digest, size).await
    }

    /// How large a blob of a repository is; `None`: it is not there, or the registry does not say.
    ///
    /// # Errors
    /// When the registry does not answer, or refuses.
    pub async fn artifact_size(
        &self,
        name: &Reference,
        digest: Digest,
        credentials: &Credentials,
    ) -> Result<Option<u64>, RegistryError> {
        self.home(name, credentials, false)?.blob_size(digest).await
    }

    /// Sends every byte of a blob on, in order; whoever reads verifies them.
    ///
    /// # Errors
    /// When the registry does not have or give it.
    pub async fn artifact_blob(
        &self,
        name: &Reference,
        (digest, size): (Digest, u64),
        credentials: &Credentials,
        sender: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), RegistryError> {
        // Nobody is told how far it is.
        let (steps, _) = mpsc::channel(1);
        let remote = self.home(name, credentials, false)?;
        let _slot = self.downloads().acquire_owned().await;
        download(&remote, Blob { digest, size }, sender, &Steps::new(steps)).await
    }
}
