//! What a manifest needs, from one repository to another: of the same registry by its own means, else through here.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    sync::Arc,
};

use hako_base::random;
use hako_model::{Digest, Reference};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    client::{Begun, BlobBody, Client, Credentials, RegistryError, Remote},
    document::Manifest,
    download::download,
    limits,
    progress::Steps,
    pull::{Blob, unreadable},
    push::send,
    wire::Document,
};

/// A repository, and the word of whoever asks it.
pub type Place<'a> = (&'a Reference, &'a Credentials);

impl Client {
    /// Makes everything that a manifest names known in the repository `to`: blobs, and of an index also its manifests.
    /// The manifest itself is for the caller to put, under the name that it is to have.
    ///
    /// # Errors
    /// When one side does not have or give it, or the other does not take it.
    pub async fn manifest_copy(
        &self,
        manifest: &Manifest,
        from: Place<'_>,
        to: Place<'_>,
    ) -> Result<(), RegistryError> {
        let (source, target) = (self.home(from.0, from.1, false)?, self.home(to.0, to.1, true)?);
        let mount = (from.0.domain() == to.0.domain()).then(|| from.0.path());
        let mut all = vec![manifest.clone()];
        let mut at = 0;
        while let Some(parent) = all.get(at).cloned() {
            at += 1;
            for child in document_of(&parent)?.manifests.iter().flatten() {
                let digest = Blob::try_from(child)?.digest;
                if all.len() == limits::MANIFESTS_COPIED_MAX {
                    let most = limits::MANIFESTS_COPIED_MAX;
                    return Err(RegistryError::Unsupported(format!("an index of more than {most} manifests")));
                }
                if !all.iter().any(|known| known.digest == digest) {
                    all.push(self.manifest(&from.0.with_digest(digest), from.1).await?);
                }
            }
        }
        // What is named comes before what names it.
        for manifest in all.iter().rev() {
            blobs(&source, &target, &document_of(manifest)?, mount).await?;
            if manifest.digest != all[0].digest {
                target.manifest_put(&manifest.digest.to_string(), &manifest.media_type, &manifest.bytes).await?;
            }
        }
        Ok(())
    }
}

fn document_of(manifest: &Manifest) -> Result<Document, RegistryError> {
    Document::parse(&manifest.bytes, &manifest.media_type).map_err(unreadable)
}

async fn blobs(
    source: &Remote,
    target: &Remote,
    document: &Document,
    mount: Option<&str>,
) -> Result<(), RegistryError> {
    let mut copying = JoinSet::new();
    for blob in document.blobs() {
        let (blob, source, target) = (Blob::try_from(blob)?, source.clone(), target.clone());
        let mount = mount.map(str::to_owned);
        copying.spawn(async move {
            let _slot = target.client().uploads().acquire_owned().await;
            one(&source, &target, blob, mount.as_deref()).await
        });
    }
    while let Some(copied) = copying.join_next().await {
        copied.unwrap_or_else(|_| Err(RegistryError::Invalid("the copy was cut off".to_owned())))?;
    }
    Ok(())
}

async fn one(source: &Remote, target: &Remote, blob: Blob, mount: Option<&str>) -> Result<(), RegistryError> {
    if target.has_blob(blob.digest).await? {
        return Ok(());
    }
    if let Some(path) = mount {
        match target.also_from(path).upload_begin(Some((blob.digest, path))).await {
            Ok(Begun::Mounted) => return Ok(()),
            // Whoever may not read the one repository through the other may still read it.
            Ok(Begun::Here(_)) => {}
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error),
        }
    }
    let file = fetched(source, blob).await?;
    let body = BlobBody::File { file: Arc::new(file), size: blob.size };
    send(target, blob.digest, body, None, None).await.map(drop)
}

// The blob in a file without a name, once it is what its digest says.
async fn fetched(source: &Remote, blob: Blob) -> Result<File, RegistryError> {
    let failed = |error: io::Error| RegistryError::Invalid(format!("cannot keep {} meanwhile: {error}", blob.digest));
    let (sender, mut chunks) = mpsc::channel::<io::Result<bytes::Bytes>>(limits::CHUNKS_QUEUED_MAX);
    let kept = tokio::task::spawn_blocking(move || -> io::Result<(File, Digest)> {
        let mut file = nameless()?;
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        while let Some(chunk) = chunks.blocking_recv() {
            let chunk = chunk?;
            hash.update(&chunk);
            file.write_all(&chunk)?;
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        Ok((file, Digest::from_sha256(digest)))
    });
    // Nobody is told how far it is.
    let (steps, _) = mpsc::channel(1);
    let came = download(source, blob, &sender, &Steps::new(steps)).await;
    drop(sender);
    let kept = kept.await.unwrap_or_else(|_| Err(io::Error::other("the copy was cut off")));
    let (file, digest) = kept.map_err(failed)?;
    came?;
    if digest != blob.digest {
        return Err(RegistryError::Invalid(format!("what came for {} is {digest}", blob.digest)));
    }
    Ok(file)
}

fn nameless() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("hako-copy-{}", random::hex(8)));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
