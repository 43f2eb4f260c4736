//! An image from a registry into the store.
//!
//! ```text
//!   manifest ──► index? the one for the platform ──► configuration ──► layers, several at once ──► record
//! ```
//! Each layer is hashed, inflated and unpacked while it comes; a connection that breaks is taken up where it broke.
//! Nothing is recorded, and nothing stays, unless everything is what its digest says.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hako_base::chunks::ChunkReader;
use hako_image::{ArrivedImage, ArrivedManifest, Reception, Store, WantedLayer};
use hako_model::{Digest, Platform, Reference};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    client::{Client, Credentials, Fetched, RegistryError, Remote},
    download::download,
    limits,
    progress::Steps,
    wire::{Descriptor, DescriptorPlatform, Document, DocumentError},
};

/// What is to be pulled, besides its name.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    pub credentials: Credentials,
    /// Of an index, the image for this platform; `None`: this host's.
    pub platform: Option<Platform>,
    /// The image gets no name here: what has it keeps it.
    pub unnamed: bool,
}

/// What a pull brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub id: Digest,
    /// The digest of what the name stands for: an index, or a manifest.
    pub digest: Digest,
    /// Whether anything is other than it was.
    pub is_new: bool,
}

/// A blob that an image needs.
#[derive(Clone, Copy)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl TryFrom<&Descriptor> for Blob {
    type Error = RegistryError;

    fn try_from(descriptor: &Descriptor) -> Result<Self, RegistryError> {
        let digest = descriptor.digest.sha256();
        let refused =
            || RegistryError::Unsupported(format!("images of {} blobs", descriptor.digest.algorithm().name()));
        Ok(Self { digest: digest.ok_or_else(refused)?, size: descriptor.size })
    }
}

/// The manifest of one image, and what it was found by.
struct Chosen {
    /// Of the tag: the index, if there is one.
    top: Digest,
    manifest: Fetched,
    document: Document,
}

impl Client {
    /// Brings one image; `reference` has a tag or a digest.
    ///
    /// # Errors
    /// When the registry does not have or give it, or it is not what it should be.
    pub async fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        options: &PullOptions,
        steps: &Steps,
    ) -> Result<Pulled, RegistryError> {
        let remotes = self.remotes(reference, &options.credentials, false)?;
        let last = remotes.len().saturating_sub(1);
        for (at, remote) in remotes.into_iter().enumerate() {
            match pull_from(store, &remote, reference, options, steps).await {
                Err(error) if at < last && !matches!(error, RegistryError::Image(_)) => {
                    tracing::info!(%error, "a mirror does not have the image; the next is asked");
                }
                done => return done.map_err(|error| told(error, reference)),
            }
        }
        Err(RegistryError::Invalid(format!("{reference} is nowhere to be had from")))
    }

    /// All tags of a repository, as its registry lists them.
    ///
    /// # Errors
    /// When the registry does not tell them.
    pub async fn tags(&self, name: &Reference, credentials: &Credentials) -> Result<Vec<String>, RegistryError> {
        let mut failure = None;
        for remote in self.remotes(name, credentials, false)? {
            match remote.tags().await {
                Ok(tags) => return Ok(tags),
                Err(error) => failure = Some(error),
            }
        }
        Err(told(failure.unwrap_or_else(|| RegistryError::Invalid(format!("{name} has no tags"))), name))
    }
}

/// What a registry has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub platforms: Vec<Platform>,
}

impl Client {
    /// What a registry has under a name: nothing is brought but the manifest, and the configuration of a single image.
    ///
    /// # Errors
    /// When the registry does not have or give it.
    pub async fn inspect(&self, reference: &Reference, credentials: &Credentials) -> Result<Found, RegistryError> {
        let remotes = self.remotes(reference, credentials, false)?;
        let target = target_of(reference);
        let mut failure = None;
        for remote in remotes {
            match found(&remote, &target).await {
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(error),
            }
        }
        Err(told(failure.unwrap_or_else(|| RegistryError::Invalid(format!("{reference} is nowhere"))), reference))
    }
}

impl Client {
    /// The digest that a name stands for, and the configuration of its image for a platform.
    ///
    /// # Errors
    /// When the registry does not have or give it.
    pub async fn config(
        &self,
        reference: &Reference,
        platform: &Platform,
        credentials: &Credentials,
    ) -> Result<(Digest, Vec<u8>), RegistryError> {
        let target = target_of(reference);
        let mut failure = None;
        for remote in self.remotes(reference, credentials, false)? {
            match config_of(&remote, &target, platform).await {
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(error),
            }
        }
        Err(told(failure.unwrap_or_else(|| RegistryError::Invalid(format!("{reference} is nowhere"))), reference))
    }
}

async fn config_of(remote: &Remote, target: &str, platform: &Platform) -> Result<(Digest, Vec<u8>), RegistryError> {
    let chosen = choose(remote, target, platform, async || {}).await?;
    let (config, _) = parts(&chosen)?;
    Ok((chosen.top, remote.document(config.digest, config.size).await?))
}

async fn found(remote: &Remote, target: &str) -> Result<Found, RegistryError> {
    let fetched = remote.manifest(target).await?;
    let document = Document::parse(&fetched.bytes, &fetched.media_type).map_err(unreadable)?;
    let own = |own: DescriptorPlatform| Platform { os: own.os, architecture: own.architecture, variant: own.variant };
    let platforms = match (document.manifests, document.config) {
        (Some(entries), _) => entries.into_iter().filter_map(|entry| entry.platform).map(own).collect(),
        (None, Some(config)) => {
            let config = Blob::try_from(&config)?;
            let raw = remote.document(config.digest, config.size).await?;
            // An artifact that is no image is for no platform.
            serde_json::from_slice(&raw).map(own).into_iter().filter(|own| !own.os.is_empty()).collect()
        }
        (None, None) => Vec::new(),
    };
    let (digest, size) = (fetched.digest, fetched.bytes.len() as u64);
    Ok(Found { media_type: document.media_type, digest, size, platforms })
}

// A digest, or a tag.
pub(crate) fn target_of(reference: &Reference) -> String {
    reference.digest().map_or_else(|| reference.tag().unwrap_or_default().to_owned(), |digest| digest.to_string())
}

async fn pull_from(
    store: &Store,
    remote: &Remote,
    reference: &Reference,
    options: &PullOptions,
    steps: &Steps,
) -> Result<Pulled, RegistryError> {
    let target = target_of(reference);
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let chosen = choose(remote, &target, &platform, async || {
        steps.say(target.clone(), format!("Pulling from {}", reference.path())).await;
    })
    .await?;
    let (config, layers) = parts(&chosen)?;
    let raw = remote.document(config.digest, config.size).await?;
    if let Some(wanted) = &options.platform {
        check_platform(&raw, wanted, reference)?;
    }
    let diff_ids = Reception::diff_ids(&raw)?;
    if diff_ids.len() != layers.len() {
        let why = format!("it has {} layers and its configuration {}", layers.len(), diff_ids.len());
        return Err(RegistryError::Malformed { what: "the manifest", address: reference.to_string(), why });
    }
    let names = if options.unnamed { Vec::new() } else { names(reference, chosen.top) };
    let is_it = |name: &Reference| store.resolve(&name.to_string()).is_ok_and(|image| image.id == config.digest);
    let is_new = !names.iter().all(is_it);
    let reception = Arc::new(store.receive());
    let known = store.image(config.digest).is_ok();
    bring(remote, &reception, &layers, &diff_ids, known, steps).await?;
    let reception = Arc::into_inner(reception);
    let reception = reception.ok_or_else(|| RegistryError::Invalid("the pull was cut off".to_owned()))?;
    let manifest = ArrivedManifest { media_type: chosen.document.media_type, bytes: chosen.manifest.bytes.to_vec() };
    let image = ArrivedImage { config: raw, references: names, manifest: Some(manifest) };
    let id = blocking(move || reception.finish(image)).await??;
    steps.say("", format!("Digest: {}", chosen.top)).await;
    let status = if is_new { "Downloaded newer image" } else { "Image is up to date" };
    steps.say("", format!("Status: {status} for {}", reference.familiar())).await;
    Ok(Pulled { id, digest: chosen.top, is_new })
}

// The name with its tag, and the name with the digest that it stands for.
fn names(reference: &Reference, top: Digest) -> Vec<Reference> {
    let mut names = Vec::new();
    if reference.digest().is_none() {
        names.push(reference.clone().with_default_tag());
    }
    names.push(reference.with_digest(top));
    names
}

// `begun` is called once it is known that the registry has what is wanted.
async fn choose(
    remote: &Remote,
    target: &str,
    platform: &Platform,
    begun: impl AsyncFnOnce(),
) -> Result<Chosen, RegistryError> {
    let mut fetched = remote.manifest(target).await?;
    begun().await;
    let top = fetched.digest;
    for _ in 0..limits::INDEX_DEPTH_MAX {
        let document = Document::parse(&fetched.bytes, &fetched.media_type).map_err(unreadable)?;
        let Some(entries) = &document.manifests else { return Ok(Chosen { top, manifest: fetched, document }) };
        let entry =
            fitting(entries, platform).ok_or_else(|| RegistryError::NoPlatform { platform: platform.to_string() })?;
        fetched = remote.manifest(&entry.digest.to_string()).await?;
    }
    Err(RegistryError::Unsupported("the index is nested too deep".to_owned()))
}

pub(crate) fn unreadable(error: DocumentError) -> RegistryError {
    match error {
        DocumentError::Schema1 => RegistryError::Unsupported(
            "this image has a manifest of schema version 1, which is not supported any more: push it again with a current client".to_owned(),
        ),
        other => RegistryError::Unsupported(other.to_string()),
    }
}

// The entry for a platform: the same variant before one that says nothing. Attestations are for no platform.
fn fitting<'d>(entries: &'d [Descriptor], platform: &Platform) -> Option<&'d Descriptor> {
    let fits = |own: &DescriptorPlatform| own.os == platform.os && own.architecture == platform.architecture;
    let of_platform = || {
        entries
            .iter()
            .filter(|entry| entry.platform.as_ref().is_none_or(fits) && !entry.annotations.contains_key(ATTESTS))
    };
    let variant = |entry: &&Descriptor| entry.platform.as_ref().and_then(|own| own.variant.clone());
    let exact = of_platform().find(|entry| entry.platform.is_some() && variant(entry) == platform.variant);
    exact.or_else(|| of_platform().find(|entry| platform.variant.is_none() || variant(entry).is_none()))
}

/// BuildKit marks what describes another manifest instead of being an image.
const ATTESTS: &str = "vnd.docker.reference.type";

// The configuration and the layers of a manifest, which must be an image's.
fn parts(chosen: &Chosen) -> Result<(Blob, Vec<Blob>), RegistryError> {
    let config = chosen.document.config.as_ref().ok_or_else(|| unreadable(DocumentError::Shape))?;
    let known = ["application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json"];
    // Old tools wrote octet-stream; anything else is a chart, a signature, a module, but no image.
    if !known.contains(&config.media_type.as_str()) && config.media_type != "application/octet-stream" {
        return Err(RegistryError::Unsupported(format!("unsupported media type {}", config.media_type)));
    }
    let layers = chosen.document.layers.iter().flatten().map(Blob::try_from).collect::<Result<_, _>>()?;
    Ok((config.try_into()?, layers))
}

fn check_platform(config: &[u8], wanted: &Platform, reference: &Reference) -> Result<(), RegistryError> {
    let own: DescriptorPlatform = serde_json::from_slice(config)
        .map_err(|error| RegistryError::Unsupported(format!("the configuration is malformed: {error}")))?;
    if own.os == wanted.os && own.architecture == wanted.architecture {
        return Ok(());
    }
    let found = Platform { os: own.os, architecture: own.architecture, variant: own.variant }.to_string();
    Err(RegistryError::WrongPlatform { reference: reference.familiar(), wanted: wanted.to_string(), found })
}

// All layers that are not here, several at once; the first failure ends the others.
async fn bring(
    remote: &Remote,
    reception: &Arc<Reception>,
    layers: &[Blob],
    diff_ids: &[Digest],
    image_is_known: bool,
    steps: &Steps,
) -> Result<(), RegistryError> {
    let mut bringing = JoinSet::new();
    let mut begun: Vec<Digest> = Vec::new();
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let id = layer.digest.short();
        if reception.has_layer(*diff_id) || begun.contains(diff_id) {
            if !image_is_known {
                steps.say(&id, "Already exists").await;
            }
            continue;
        }
        begun.push(*diff_id);
        steps.say(&id, "Pulling fs layer").await;
        let (remote, reception, layer, steps) = (remote.clone(), reception.clone(), *layer, steps.clone());
        let wanted = WantedLayer { diff_id: *diff_id, blob: layer.digest };
        bringing.spawn(async move {
            let slots = remote.client().downloads();
            if slots.available_permits() == 0 {
                steps.say(layer.digest.short(), "Waiting").await;
            }
            let _slot = slots.acquire_owned().await;
            one(&remote, reception, layer, wanted, &steps).await
        });
    }
    let mut failure = None;
    while let Some(done) = bringing.join_next().await {
        let done = done.unwrap_or_else(|_| Err(RegistryError::Invalid("the pull was cut off".to_owned())));
        if let Err(error) = done
            && failure.is_none()
        {
            failure = Some(error);
            bringing.abort_all();
        }
    }
    failure.map_or(Ok(()), Err)
}

// One layer: the network here, the unpacking in a thread of its own.
async fn one(
    remote: &Remote,
    reception: Arc<Reception>,
    layer: Blob,
    wanted: WantedLayer,
    steps: &Steps,
) -> Result<(), RegistryError> {
    let (sender, mut chunks) = mpsc::channel(limits::LAYER_CHUNKS_QUEUED_MAX);
    let reader = ChunkReader::new(move || chunks.blocking_recv());
    let came_whole = Arc::new(AtomicBool::new(false));
    let mut bar = steps.bar(&layer.digest.short(), "Extracting", layer.size);
    let (whole, total) = (came_whole.clone(), layer.size);
    let unpacking = tokio::task::spawn_blocking(move || {
        // A layer has one line: what is unpacked is shown once all of it has come.
        reception.layer(wanted, reader, &mut |read| {
            if whole.load(Ordering::Relaxed) {
                bar.set(read.min(total));
            }
        })
    });
    let came = download(remote, layer, &sender, steps).await;
    if let Err(error) = &came {
        let _ = sender.send(Err(io::Error::other(error.to_string()))).await;
    }
    drop(sender);
    let id = layer.digest.short();
    if came.is_ok() {
        steps.say(&id, "Download complete").await;
        came_whole.store(true, Ordering::Relaxed);
    }
    let unpacked = unpacking.await.map_err(|_| RegistryError::Invalid("the unpacking was cut off".to_owned()))?;
    came?;
    unpacked?;
    steps.say(&id, "Pull complete").await;
    Ok(())
}

/// The store's work, in a thread that may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RegistryError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Ok(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RegistryError::Invalid("the daemon is stopping".to_owned())),
        },
    }
}

// A registry's answer in the sentence that Docker makes of it.
pub(crate) fn told(error: RegistryError, reference: &Reference) -> RegistryError {
    let RegistryError::Said { address, status, code, message } = &error else { return error };
    let is_manifest = address.contains("/manifests/") || address.contains("/tags/list");
    match (*status, code.as_str()) {
        (401 | 403, _) if is_manifest => RegistryError::PullDenied {
            repository: reference.familiar_name(),
            why: "denied: requested access to the resource is denied".to_owned(),
        },
        (401 | 403, _) => RegistryError::Refused { address: address.clone(), status: *status, why: error.to_string() },
        (404, "NAME_UNKNOWN") => {
            RegistryError::NoRepository { repository: reference.familiar_name(), why: message.clone() }
        }
        (404, _) if is_manifest => {
            let why = if message.is_empty() { "manifest unknown" } else { message };
            RegistryError::NoManifest { reference: reference.familiar(), why: why.to_owned() }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: &str, digit: char) -> Descriptor {
        let mut parts = platform.split('/').map(str::to_owned);
        let (os, architecture) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let platform = DescriptorPlatform { os, architecture, variant: parts.next(), os_version: None };
        Descriptor {
            media_type: String::new(),
            digest: format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap(),
            size: 1,
            artifact_type: None,
            annotations: Default::default(),
            platform: Some(platform),
            urls: Vec::new(),
        }
    }

    #[test]
    fn an_index_gives_the_image_of_the_platform() {
        let mut attestation = entry("linux/amd64", 'a');
        attestation.annotations.insert(ATTESTS.to_owned(), "attestation-manifest".to_owned());
        let entries = [
            entry("unknown/unknown", '0'),
            attestation,
            entry("linux/arm/v7", '1'),
            entry("linux/amd64", '2'),
            entry("linux/arm64/v8", '3'),
            entry("linux/arm/v6", '4'),
        ];
        let check = |platform: &str, expected: Option<char>| {
            let mut parts = platform.split('/').map(str::to_owned);
            let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
            let platform = Platform { os, architecture, variant: parts.next() };
            let found = fitting(&entries, &platform).map(|entry| entry.digest.hex().chars().next().unwrap());
            assert_eq!(found, expected, "{platform:?}");
        };
        check("linux/amd64", Some('2'));
        check("linux/arm64", Some('3'));
        check("linux/arm/v6", Some('4'));
        check("linux/arm/v5", None);
        check("windows/amd64", None);
    }
}
