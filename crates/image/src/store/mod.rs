//! The store: what is here, and who may change it when.
//!
//! Readers look at the catalogue in memory. Whoever adds or removes layers holds `writing` while they get or lose
//! their names and the record is committed; unpacking, which takes the time, happens before that and outside of it. A
//! [`Lease`] keeps layers that an operation counts on while it is still unpacking others.

mod anatomy;
mod blobs;
mod build;
mod commit;
mod diff;
mod history;
mod import;
mod lease;
mod load;
mod member;
mod mounted; // images as mounts in containers
mod reception;
mod remove;
mod save;
mod shipment;
mod skeleton;
mod snapshot;
mod verify;
mod wire;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use hako_base::database::Database;
use hako_model::{ContainerId, Digest, Reference};
use parking_lot::{Mutex, RwLock};

use crate::{
    Image, ImageError,
    catalog::{Catalog, Change, ImageRecord, KeptManifest, Layer, chain_id},
    content::Content,
    layer::{Layers, Received},
    limits,
};

pub use anatomy::{Comparison, LayerCost};
pub use build::{BuiltImage, BuiltLine, Draft, Hold, StackView};
pub use reception::{ArrivedImage, ArrivedManifest, Lead, Promised, Reception, WantedLayer};
pub use shipment::{Recompression, Shipment, ShippedLayer};
pub use snapshot::{Places, View};
pub use verify::LayerCheck;

use lease::Leases;
use snapshot::{Held, Live};

/// Images and the root filesystems of containers. Clones share one state.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Arc<Database>,
    content: Content,
    layers: Layers,
    catalog: RwLock<Catalog>,
    /// Held while layers get or lose their names.
    writing: Mutex<()>,
    leases: Leases,
    /// What was made gzip, by the blob that it replaces once that is written down.
    gzipped: Mutex<HashMap<Digest, ShippedLayer>>,
    /// Which stack each container stands on.
    held: Mutex<Held>,
    /// Mounted root filesystems.
    live: Mutex<HashMap<ContainerId, Live>>,
    /// How many mounts there have been.
    mounts: AtomicU64,
    /// What containers wrote that have not been mounted since.
    measured: Mutex<HashMap<ContainerId, u64>>,
    /// With whose ids the next mount is made.
    maps: Mutex<HashMap<ContainerId, Arc<std::os::fd::OwnedFd>>>,
    /// Stacks that have their skeleton.
    skeletons: Mutex<HashSet<(Option<Digest>, skeleton::For)>>,
}

/// An image that is about to be recorded: its configuration and the stack of its layers, base first.
struct Candidate {
    config: Arc<[u8]>,
    id: Digest,
    diff_ids: Vec<Digest>,
    record: ImageRecord,
    references: Vec<Reference>,
}

impl Store {
    /// Opens the store below `data_root`, and removes what an interrupted operation left.
    ///
    /// # Errors
    /// When the directories or the records cannot be read.
    pub fn open(data_root: &Path, database: Arc<Database>) -> Result<Self, ImageError> {
        let failed = |what: &str| ImageError::io(format!("cannot {what} {}", data_root.display()));
        hako_base::file::make_dir(data_root, 0o700).map_err(failed("make"))?;
        let content = Content::open(&data_root.join("content")).map_err(failed("open the content store in"))?;
        let layers = Layers::open(&data_root.join("snapshots")).map_err(failed("open the layers in"))?;
        hako_base::file::make_dir(&layers.containers(), 0o700).map_err(failed("open the snapshots in"))?;
        let catalog = Catalog::read(&database, &content)?;
        layers.sweep(|id| catalog.layers.contains_key(&id)).map_err(failed("sweep the layers in"))?;
        let blobs: HashSet<Digest> = catalog.layers.values().map(|layer| layer.blob).collect();
        content
            .sweep(|id| blobs.contains(&id) || catalog.images.contains_key(&id) || catalog.has_manifest(id))
            .map_err(failed("sweep the content store in"))?;
        let inner = Inner {
            database,
            content,
            layers,
            catalog: RwLock::new(catalog),
            writing: Mutex::default(),
            leases: Leases::default(),
            gzipped: Mutex::default(),
            held: Mutex::default(),
            live: Mutex::default(),
            mounts: AtomicU64::new(0),
            measured: Mutex::default(),
            maps: Mutex::default(),
            skeletons: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image that a person means by a name, an id, or the beginning of an id.
    ///
    /// # Errors
    /// [`ImageError::NoSuchImage`] in Docker's words; [`ImageError::Reference`] for what is no name.
    pub fn resolve(&self, text: &str) -> Result<Arc<Image>, ImageError> {
        let catalog = self.inner.catalog.read();
        find(&catalog, text)
    }

    /// The image with this id.
    ///
    /// # Errors
    /// [`ImageError::NoSuchImage`].
    pub fn image(&self, id: Digest) -> Result<Arc<Image>, ImageError> {
        let found = self.inner.catalog.read().images.get(&id).cloned();
        found.ok_or_else(|| ImageError::NoSuchImage { reference: id.to_string() })
    }

    /// Every image, by id.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.inner.catalog.read().images.values().cloned().collect()
    }

    /// Images that were made from this one here.
    pub fn children(&self, id: Digest) -> Vec<Digest> {
        self.inner.catalog.read().children(id).map(|image| image.id).collect()
    }

    /// Bytes of files in all layers, each counted once (`system df`).
    pub fn layers_size(&self) -> u64 {
        self.inner.catalog.read().layers.values().map(|layer| layer.size).sum()
    }

    /// Bytes of the blobs that images are made from, sent from and saved from.
    pub fn content_size(&self) -> u64 {
        self.inner.content.size()
    }

    /// Bytes of files in layers that another image has too.
    pub fn shared_size(&self, id: Digest) -> u64 {
        let catalog = self.inner.catalog.read();
        let Some(image) = catalog.images.get(&id) else { return 0 };
        let others: HashSet<Digest> = catalog
            .images
            .values()
            .filter(|other| other.id != id)
            .flat_map(|other| catalog.stack(other.chain_id))
            .map(|layer| layer.chain_id)
            .collect();
        catalog
            .stack(image.chain_id)
            .iter()
            .filter(|layer| others.contains(&layer.chain_id))
            .map(|layer| layer.size)
            .sum()
    }

    /// Gives an image another name; who had it loses it. Answers the name with its tag.
    ///
    /// # Errors
    /// When there is no such image, or the name has a digest.
    pub fn tag(&self, image: &str, name: &Reference) -> Result<Reference, ImageError> {
        if name.digest().is_some() {
            return Err(ImageError::TagWithDigest);
        }
        let name = name.clone().with_default_tag();
        let _writing = self.inner.writing.lock();
        let mut catalog = self.inner.catalog.write();
        let id = find(&catalog, image)?.id;
        let change = Change { names: vec![(name.clone(), id)], ..Change::default() };
        catalog.commit(&self.inner.database, change)?;
        Ok(name)
    }

    // Gives layers their places and records images, all or nothing; one flush of the file system for all of them.
    fn record(&self, candidates: Vec<Candidate>, arrived: Arrivals) -> Result<(), ImageError> {
        self.record_with(candidates, arrived, Vec::new())
    }

    // The same, with manifests (the image's id, what is kept of it, its bytes) to be kept byte for byte.
    fn record_with(
        &self,
        candidates: Vec<Candidate>,
        mut arrived: Arrivals,
        manifests: Vec<(Digest, KeptManifest, Vec<u8>)>,
    ) -> Result<(), ImageError> {
        let inner = &*self.inner;
        let _writing = inner.writing.lock();
        let mut placed = Placed { inner, chains: Vec::new(), blobs: Vec::new(), done: false };
        let mut change = Change::default();
        for (id, kept, bytes) in manifests {
            placed.document(&bytes, "cannot store the manifest of an image")?;
            change.manifests.push((id, kept));
        }
        for candidate in candidates {
            if candidate.diff_ids.len() > limits::LAYERS_MAX {
                let image = candidate.id.to_string();
                return Err(ImageError::TooManyLayers { image, layers: candidate.diff_ids.len() });
            }
            let mut parent = None;
            for diff_id in &candidate.diff_ids {
                parent = Some(placed.layer(parent, *diff_id, &mut arrived, &mut change)?);
            }
            let id = placed.document(&candidate.config, "cannot store the configuration of an image")?;
            let known = inner.catalog.read().images.contains_key(&id);
            change.names.extend(candidate.references.into_iter().map(|name| (name, id)));
            if !known {
                change.images.push((id, candidate.config, candidate.record));
            }
        }
        inner.layers.flush()?;
        inner.catalog.write().commit(&inner.database, change)?;
        placed.done = true;
        Ok(())
    }
}

/// Layers that came in and wait for their places, by diff id.
#[derive(Debug, Default)]
struct Arrivals {
    received: HashMap<Digest, Received>,
}

/// What has got its name but no record yet; undone unless `done`.
struct Placed<'i> {
    inner: &'i Inner,
    chains: Vec<Digest>,
    blobs: Vec<Digest>,
    done: bool,
}

impl Placed<'_> {
    // A configuration or a manifest.
    fn document(&mut self, bytes: &[u8], failed: &str) -> Result<Digest, ImageError> {
        let (digest, is_new) = self.inner.content.put(bytes).map_err(ImageError::io(failed))?;
        if is_new {
            self.blobs.push(digest);
        }
        Ok(digest)
    }

    // The layer `diff_id` on top of `parent`, from wherever it can be had; answers its chain id.
    fn layer(
        &mut self,
        parent: Option<Digest>,
        diff_id: Digest,
        arrived: &mut Arrivals,
        change: &mut Change,
    ) -> Result<Digest, ImageError> {
        let inner = self.inner;
        let chain = chain_id(parent, diff_id);
        if inner.catalog.read().pending.contains(&chain) && !change.layers.iter().any(|new| new.chain_id == chain) {
            // A build has put it in its place; it is written down with the first that needs it for good.
            change.layers.extend(inner.catalog.read().layers.get(&chain).cloned());
            return Ok(chain);
        }
        if inner.catalog.read().layers.contains_key(&chain) || change.layers.iter().any(|new| new.chain_id == chain) {
            return Ok(chain);
        }
        let mut received = match arrived.received.remove(&diff_id) {
            Some(received) => received,
            // The same diff on top of another stack: unpacked again from its blob.
            None => self.again(diff_id, change)?,
        };
        let below = self.below(parent, change);
        let place = inner.layers.place(&mut received, chain, &below);
        if place.map_err(ImageError::io(format!("cannot place layer {diff_id}")))? {
            self.chains.push(chain);
        }
        let Received { blob, codec, is_recipe, compressed_here, tar_size, unpacked, .. } = received;
        let layer = Layer {
            chain_id: chain,
            parent,
            diff_id,
            blob: blob.digest,
            blob_size: blob.size,
            codec,
            tar_size,
            size: unpacked.bytes,
            opaque_root: unpacked.opaque_root,
            compressed_here,
            is_recipe,
        };
        let kept = inner.content.keep(blob).map_err(ImageError::io(format!("cannot store layer {diff_id}")))?;
        if kept {
            self.blobs.push(layer.blob);
        }
        change.layers.push(layer);
        Ok(chain)
    }

    fn again(&self, diff_id: Digest, change: &Change) -> Result<Received, ImageError> {
        let inner = self.inner;
        let known = change.layers.iter().find(|layer| layer.diff_id == diff_id).cloned();
        let known =
            known.or_else(|| inner.catalog.read().layers.values().find(|layer| layer.diff_id == diff_id).cloned());
        let layer = known.ok_or_else(|| ImageError::Missing { what: format!("layer {diff_id}") })?;
        let label = format!("layer {diff_id}");
        let received = if layer.is_recipe {
            let tar = crate::layer::open_tar(&inner.layers, &inner.content, &layer)?;
            crate::layer::receive(&inner.layers, &inner.content, &label, tar, &mut |_| {})?
        } else {
            let blob = inner.content.file(layer.blob)?;
            crate::layer::receive(&inner.layers, &inner.content, &label, blob, &mut |_| {})?
        };
        if received.diff_id != diff_id {
            return Err(ImageError::DigestMismatch { what: label, expected: diff_id, found: received.diff_id });
        }
        Ok(received)
    }

    fn below(&self, parent: Option<Digest>, change: &Change) -> Vec<std::path::PathBuf> {
        let catalog = self.inner.catalog.read();
        let mut paths = Vec::new();
        let mut next = parent;
        while let Some(chain) = next {
            paths.push(self.inner.layers.files(chain));
            let new = change.layers.iter().find(|layer| layer.chain_id == chain);
            next = new.or_else(|| catalog.layers.get(&chain)).and_then(|layer| layer.parent);
        }
        paths
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // What cannot be removed now is unknown to the records, and goes at the next start.
        for chain in self.chains.drain(..).rev() {
            let _ = self.inner.layers.remove(&self.inner.layers.directory(Some(chain)));
        }
        for blob in self.blobs.drain(..) {
            let _ = self.inner.content.remove(blob);
        }
    }
}

// Docker's order: a whole id, a name with its tag, the beginning of an id.
fn find(catalog: &Catalog, text: &str) -> Result<Arc<Image>, ImageError> {
    let missing = |reference: String| ImageError::NoSuchImage { reference };
    let whole = format!("sha256:{}", text.strip_prefix("sha256:").unwrap_or(text));
    if let Ok(id) = whole.parse::<Digest>() {
        return catalog.images.get(&id).cloned().ok_or_else(|| missing(whole));
    }
    let name = text.parse::<Reference>()?.with_default_tag();
    if let Some(image) = catalog.names.get(&name).and_then(|id| catalog.images.get(id)) {
        return Ok(image.clone());
    }
    // A name with tag and digest: the digest decides.
    if let (Some(digest), Some(_)) = (name.digest(), name.tag()) {
        let by_digest = catalog
            .names
            .iter()
            .find(|(known, _)| known.digest() == Some(digest) && known.familiar_name() == name.familiar_name());
        if let Some(image) = by_digest.and_then(|(_, id)| catalog.images.get(id)) {
            return Ok(image.clone());
        }
    }
    let start = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = !start.is_empty() && start.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_hex {
        let mut found = catalog.images.values().filter(|image| image.id.hex().starts_with(start));
        if let (Some(image), None) = (found.next(), found.next()) {
            return Ok(image.clone());
        }
    }
    Err(missing(name.familiar()))
}
