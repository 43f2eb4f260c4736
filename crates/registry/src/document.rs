//! Manifests as such, for whoever puts several together under one name: brought and put byte for byte.

use bytes::Bytes;
use hako_model::{Digest, Reference};

use crate::{
    client::{Client, Credentials, RegistryError, Remote, digest_of},
    pull::{Blob, target_of, told, unreadable},
    wire::Document,
};

/// A manifest, or an index, as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
    /// Whether it is an index of others.
    pub is_index: bool,
}

impl Client {
    /// What a registry has under a name with a tag or a digest.
    ///
    /// # Errors
    /// When the registry does not have or give it.
    pub async fn manifest(&self, name: &Reference, credentials: &Credentials) -> Result<Manifest, RegistryError> {
        let mut failure = None;
        for remote in self.remotes(name, credentials, false)? {
            match manifest_of(&remote, name).await {
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(error),
            }
        }
        Err(told(failure.unwrap_or_else(|| RegistryError::Invalid(format!("{name} is nowhere"))), name))
    }

    /// The configuration that a manifest names.
    ///
    /// # Errors
    /// When the manifest names none, or the registry does not have or give it.
    pub async fn manifest_config(
        &self,
        name: &Reference,
        manifest: &Manifest,
        credentials: &Credentials,
    ) -> Result<Vec<u8>, RegistryError> {
        let document = Document::parse(&manifest.bytes, &manifest.media_type).map_err(unreadable)?;
        let missing = || RegistryError::Unsupported("the manifest names no configuration".to_owned());
        let config = Blob::try_from(&document.config.ok_or_else(missing)?)?;
        self.home(name, credentials, false)?.document(config.digest, config.size).await
    }

    /// Puts a manifest under a name with a tag or a digest; answers its digest.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub async fn manifest_put(
        &self,
        name: &Reference,
        media_type: &str,
        bytes: &[u8],
        credentials: &Credentials,
    ) -> Result<Digest, RegistryError> {
        self.home(name, credentials, true)?.manifest_put(&target_of(name), media_type, bytes).await?;
        Ok(digest_of(bytes))
    }

    // The registry itself, which comes after its mirrors.
    pub(crate) fn home(
        &self,
        name: &Reference,
        credentials: &Credentials,
        pushes: bool,
    ) -> Result<Remote, RegistryError> {
        let home = self.remotes(name, credentials, pushes)?.pop();
        home.ok_or_else(|| RegistryError::Invalid(format!("{name} is nowhere")))
    }
}

async fn manifest_of(remote: &Remote, name: &Reference) -> Result<Manifest, RegistryError> {
    let fetched = remote.manifest(&target_of(name)).await?;
    let document = Document::parse(&fetched.bytes, &fetched.media_type).map_err(unreadable)?;
    Ok(Manifest {
        media_type: document.media_type,
        digest: fetched.digest,
        bytes: fetched.bytes,
        is_index: document.manifests.is_some(),
    })
}
