//! An image from the store to a registry.
//!
//! ```text
//!   manifest it came by, if its blobs are at hand ─┐
//!   else one that is made here, with gzip ─────────┴─► layers: there? elsewhere there? sent ──► configuration ──► manifest
//! ```

use std::sync::Arc;

use bytes::Bytes;
use hako_base::backoff::Doubling;
use hako_image::{Shipment, ShippedLayer, Store};
use hako_model::{Digest, Reference};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    client::{Address, Begun, BlobBody, Client, Credentials, RegistryError, Remote, digest_of, pause},
    limits,
    progress::Steps,
    pull::blocking,
    wire::{DOCKER_MANIFEST, Document, OCI_MANIFEST},
};

/// What a push needs, besides the image.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    pub credentials: Credentials,
}

/// What a push left at the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    pub tag: String,
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

/// A manifest that is about to be put.
struct Manifest {
    media_type: String,
    bytes: Vec<u8>,
    /// Layers whose blobs are at the registry, and not here.
    there: Vec<Digest>,
}

impl Client {
    /// Sends the image that `reference` (with a tag) names here.
    ///
    /// # Errors
    /// When there is no such image, or the registry does not take it.
    pub async fn push(
        &self,
        store: &Store,
        reference: &Reference,
        options: &PushOptions,
        steps: &Steps,
    ) -> Result<Pushed, RegistryError> {
        let remotes = self.remotes(reference, &options.credentials, true)?;
        let remote =
            remotes.into_iter().next().ok_or_else(|| RegistryError::Invalid("nowhere to push to".to_owned()))?;
        let (held, name) = (store.clone(), reference.to_string());
        let shipment = Arc::new(blocking(move || held.ship(&name)).await??);
        let pushed = ship(&remote, store, &shipment, reference, steps).await;
        // What was compressed for it serves the next push too, whatever became of this one.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = shipment.settle() {
                tracing::warn!(error = hako_base::error::chain(&error), "layers that were compressed are not kept");
            }
        });
        pushed
    }
}

async fn ship(
    remote: &Remote,
    store: &Store,
    shipment: &Arc<Shipment>,
    reference: &Reference,
    steps: &Steps,
) -> Result<Pushed, RegistryError> {
    // From the top down, as Docker lists them.
    for layer in shipment.layers.iter().rev() {
        steps.say(layer.diff_id.short(), "Preparing").await;
    }
    if let Some(pushed) = stands(remote, shipment, reference, steps).await? {
        return Ok(pushed);
    }
    let kept = came_by(shipment, remote).await?;
    let sent = layers(remote, shipment, kept.as_ref().map(|kept| &kept.there[..]), reference, steps).await?;
    let (id, config) = (shipment.image.id, Bytes::copy_from_slice(&shipment.image.raw_config));
    if !remote.has_blob(id).await? {
        send(remote, id, BlobBody::Bytes(config.clone()), None, None).await?;
    }
    let manifest = kept.unwrap_or_else(|| made(id, config.len(), &sent));
    let tag = reference.tag().unwrap_or_default().to_owned();
    remote.manifest_put(&tag, &manifest.media_type, &manifest.bytes).await?;
    let (digest, size) = (digest_of(&manifest.bytes), manifest.bytes.len() as u64);
    let (held, name) = (store.clone(), reference.with_digest(digest));
    blocking(move || held.name_digest(id, &name)).await??;
    steps.say("", format!("{tag}: digest: {digest} size: {size}")).await;
    Ok(Pushed { tag, digest, size })
}

// The tag stands for an index that the image came by or went out in: it would lose its other platforms, and what is
// attested, to the manifest of this image alone. Docker's Buildx pushes like that what the builder has pushed already.
async fn stands(
    remote: &Remote,
    shipment: &Shipment,
    reference: &Reference,
    steps: &Steps,
) -> Result<Option<Pushed>, RegistryError> {
    let own = shipment.image.repo_digests.iter().filter(|name| name.familiar_name() == reference.familiar_name());
    let known: Vec<Digest> = own.filter_map(Reference::digest).collect();
    let tag = reference.tag().unwrap_or_default().to_owned();
    if known.is_empty() {
        return Ok(None);
    }
    let Ok(there) = remote.manifest(&tag).await else { return Ok(None) };
    let is_index = Document::parse(&there.bytes, &there.media_type).is_ok_and(|found| found.manifests.is_some());
    if !known.contains(&there.digest) || !is_index {
        return Ok(None);
    }
    for layer in &shipment.layers {
        steps.say(layer.diff_id.short(), "Layer already exists").await;
    }
    let (digest, size) = (there.digest, there.bytes.len() as u64);
    steps.say("", format!("{tag}: digest: {digest} size: {size}")).await;
    Ok(Some(Pushed { tag, digest, size }))
}

// The latest manifest the image came by whose blobs are all here or there: so its digest is the same everywhere.
async fn came_by(shipment: &Shipment, remote: &Remote) -> Result<Option<Manifest>, RegistryError> {
    'manifests: for (media_type, bytes) in shipment.manifests()? {
        let Ok(document) = Document::parse(&bytes, &media_type) else { continue };
        let wanted = document.layers.unwrap_or_default();
        if wanted.len() != shipment.layers.len() {
            continue;
        }
        let mut there = Vec::new();
        for (wanted, here) in wanted.iter().zip(&shipment.layers) {
            if wanted.digest == here.blob.into() {
                continue;
            }
            if !remote.has_blob(wanted.digest).await? {
                continue 'manifests;
            }
            there.push(here.diff_id);
        }
        return Ok(Some(Manifest { media_type, bytes, there }));
    }
    Ok(None)
}

// Docker's own format, which every client reads; OCI's if a layer came with zstd.
fn made(config: Digest, config_size: usize, layers: &[ShippedLayer]) -> Manifest {
    let is_docker = layers.iter().all(|layer| layer.is_gzip);
    let (media_type, config_type) = if is_docker {
        (DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json")
    } else {
        (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json")
    };
    let layer_type = |layer: &ShippedLayer| match (is_docker, layer.is_gzip) {
        (true, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        (false, true) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (false, false) => "application/vnd.oci.image.layer.v1.tar+zstd",
    };
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| json!({ "mediaType": layer_type(layer), "size": layer.size, "digest": layer.blob }))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": { "mediaType": config_type, "size": config_size, "digest": config },
        "layers": layers,
    });
    let bytes = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    Manifest { media_type: media_type.to_owned(), bytes, there: Vec::new() }
}

// All layers, several at once; answers them as they were sent, base first. With a manifest that names the blobs, none may
// change, and of some it names those that are there.
async fn layers(
    remote: &Remote,
    shipment: &Arc<Shipment>,
    there: Option<&[Digest]>,
    reference: &Reference,
    steps: &Steps,
) -> Result<Vec<ShippedLayer>, RegistryError> {
    let all = &shipment.layers;
    let mut sending = JoinSet::new();
    let mut begun: Vec<Digest> = Vec::new();
    for (at, layer) in all.iter().enumerate().rev() {
        if begun.contains(&layer.diff_id) {
            continue;
        }
        begun.push(layer.diff_id);
        if there.is_some_and(|there| there.contains(&layer.diff_id)) {
            steps.say(layer.diff_id.short(), "Layer already exists").await;
            continue;
        }
        let may_change = there.is_none();
        let (remote, shipment, layer, steps, reference) =
            (remote.clone(), shipment.clone(), *layer, steps.clone(), reference.clone());
        sending.spawn(async move {
            let slots = remote.client().uploads();
            if slots.available_permits() == 0 {
                steps.say(layer.diff_id.short(), "Waiting").await;
            }
            let _slot = slots.acquire_owned().await;
            let layer = if may_change && layer.should_be_gzip() { gzip(&shipment, at).await? } else { layer };
            one(&remote, &shipment, layer, &reference, &steps).await.map(|()| layer)
        });
    }
    let mut sent: Vec<ShippedLayer> = Vec::new();
    let mut failure = None;
    while let Some(done) = sending.join_next().await {
        match done.unwrap_or_else(|_| Err(RegistryError::Invalid("the push was cut off".to_owned()))) {
            Ok(layer) => sent.push(layer),
            Err(error) if failure.is_none() => {
                failure = Some(error);
                sending.abort_all();
            }
            Err(_) => {}
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let find = |diff_id: Digest| sent.iter().find(|layer| layer.diff_id == diff_id).copied();
    Ok(all.iter().filter_map(|layer| find(layer.diff_id)).collect())
}

async fn gzip(shipment: &Shipment, at: usize) -> Result<ShippedLayer, RegistryError> {
    let layer = shipment.recompression(at);
    Ok(blocking(move || layer.make_gzip()).await??)
}

async fn one(
    remote: &Remote,
    shipment: &Shipment,
    layer: ShippedLayer,
    reference: &Reference,
    steps: &Steps,
) -> Result<(), RegistryError> {
    let id = layer.diff_id.short();
    if remote.has_blob(layer.blob).await? {
        steps.say(&id, "Layer already exists").await;
        return Ok(());
    }
    let (file, known) = (shipment.open(&layer)?, shipment.known_at(&layer, reference.domain()));
    let elsewhere = known.into_iter().find(|name| name.path() != reference.path());
    let mut bar = steps.bar(&id, "Pushing", layer.size);
    let (sent, mut moving) = watch::channel(0);
    let body = BlobBody::File { file: Arc::new(file), size: layer.size };
    let mount = elsewhere.as_ref().map(Reference::path);
    let mut sending = std::pin::pin!(send(remote, layer.blob, body, mount, Some(sent)));
    let mounted = loop {
        tokio::select! {
            done = sending.as_mut() => break done?,
            moved = moving.changed() => match moved {
                Ok(()) => bar.set(*moving.borrow_and_update()),
                Err(_) => break sending.as_mut().await?,
            },
        }
    };
    let status = match (mounted, &elsewhere) {
        (true, Some(from)) => format!("Mounted from {}", from.path()),
        _ => "Pushed".to_owned(),
    };
    steps.say(&id, status).await;
    Ok(())
}

// A blob, from another repository of the registry or from here; answers whether it came from there.
pub(crate) async fn send(
    remote: &Remote,
    digest: Digest,
    body: BlobBody,
    mount: Option<&str>,
    sent: Option<watch::Sender<u64>>,
) -> Result<bool, RegistryError> {
    let (mut mount, mut left) = (mount, remote.client().settings().attempts.max(1));
    let mut pauses = Doubling::new(limits::RETRY_PAUSE, limits::RETRY_PAUSE_MAX);
    loop {
        let done = send_once(remote, digest, body.clone(), mount, sent.clone()).await;
        left -= 1;
        match done {
            // Whoever may not read the other repository may still write to this one.
            Err(error) if error.is_refusal() && mount.is_some() => mount = None,
            Err(error) if error.is_passing() && left > 0 => {
                tracing::debug!(%error, %digest, "an upload broke off and is begun again");
                pause(pauses.next().unwrap_or(limits::RETRY_PAUSE_MAX)).await;
            }
            done => return done,
        }
    }
}

async fn send_once(
    remote: &Remote,
    digest: Digest,
    body: BlobBody,
    mount: Option<&str>,
    sent: Option<watch::Sender<u64>>,
) -> Result<bool, RegistryError> {
    let begun = match mount {
        Some(path) => remote.also_from(path).upload_begin(Some((digest, path))).await?,
        None => remote.upload_begin(None).await?,
    };
    match begun {
        Begun::Mounted => Ok(true),
        Begun::Here(place) => match body {
            BlobBody::File { file, size } if size >= limits::UPLOAD_RESUMED_MIN => {
                stream(remote, place, digest, (file, size), sent).await.map(|()| false)
            }
            body => remote.upload(&place, digest, body, sent).await.map(|()| false),
        },
    }
}

// A large file, which goes on where it broke off as long as the registry knows where that was.
async fn stream(
    remote: &Remote,
    mut place: Address,
    digest: Digest,
    (file, size): (Arc<std::fs::File>, u64),
    sent: Option<watch::Sender<u64>>,
) -> Result<(), RegistryError> {
    let (mut start, mut left) = (0, remote.client().settings().attempts.max(1));
    let mut pauses = Doubling::new(limits::RETRY_PAUSE, limits::RETRY_PAUSE_MAX);
    loop {
        match remote.upload_piece(&place, file.clone(), (start, size), sent.clone()).await {
            Ok(next) => {
                place = next;
                break;
            }
            // No pieces there: all of it at once.
            Err(RegistryError::Said { status: 404 | 405 | 501, .. }) if start == 0 => {
                return remote.upload(&place, digest, BlobBody::File { file, size }, sent).await;
            }
            Err(error) if error.is_passing() && left > 1 => {
                left -= 1;
                pause(pauses.next().unwrap_or(limits::RETRY_PAUSE_MAX)).await;
                let before = start;
                (place, start) = remote.upload_status(&place).await?;
                if start > before {
                    left = remote.client().settings().attempts.max(1);
                }
                tracing::debug!(%error, %digest, start, "an upload broke off and is resumed");
                if start >= size {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    remote.upload(&place, digest, BlobBody::Bytes(Bytes::new()), None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_made_here_is_dockers_unless_a_layer_is_not() {
        let digest: Digest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
        let layer = |is_gzip| ShippedLayer {
            diff_id: digest,
            blob: digest,
            size: 5,
            is_gzip,
            is_made_here: false,
            is_recipe: false,
        };
        let kind = |layers: &[ShippedLayer]| {
            let manifest = made(digest, 2, layers);
            let document = Document::parse(&manifest.bytes, &manifest.media_type).unwrap();
            (document.media_type, document.layers.unwrap().pop().unwrap().media_type)
        };
        let (docker, oci) = (kind(&[layer(true)]), kind(&[layer(true), layer(false)]));
        assert_eq!(docker.0, DOCKER_MANIFEST);
        assert_eq!(docker.1, "application/vnd.docker.image.rootfs.diff.tar.gzip");
        assert_eq!(oci, (OCI_MANIFEST.to_owned(), "application/vnd.oci.image.layer.v1.tar+zstd".to_owned()));
    }
}
