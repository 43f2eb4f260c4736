//! An image that comes piece by piece, as `pull` gets it: layers in any order and several at once, then the
//! configuration that names them. Nothing is recorded before all of it is here.

use std::{collections::HashSet, io::Read};

use hako_model::{Digest, Platform, Reference};
use parking_lot::Mutex;

use super::{
    Arrivals, Candidate, Store,
    lease::Lease,
    load::no_image_for,
    wire::{ANNOTATION_KIND, Descriptor, Index, Manifest},
};
use crate::{
    Image, ImageError,
    catalog::{ImageRecord, KeptManifest},
    config::Document,
    content::digest_of,
    layer::receive,
};

/// What an image is made of, while it comes in. Dropping it takes back what came.
#[derive(Debug)]
pub struct Reception {
    store: Store,
    lease: Lease,
    arrived: Mutex<Arrivals>,
}

/// A layer as a manifest and a configuration promise it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedLayer {
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// The digest of what is sent.
    pub blob: Digest,
}

/// An image whose layers are here.
#[derive(Debug, Clone)]
pub struct ArrivedImage {
    pub config: Vec<u8>,
    /// The names it gets, with tags or with digests.
    pub references: Vec<Reference>,
    /// The manifest it came by, which is kept byte for byte.
    pub manifest: Option<ArrivedManifest>,
}

/// A manifest as a registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedManifest {
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Store {
    /// Begins to take an image in.
    pub fn receive(&self) -> Reception {
        Reception { store: self.clone(), lease: self.inner.leases.take(), arrived: Mutex::default() }
    }
}

/// A blob of an image that is elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promised {
    pub digest: Digest,
    pub size: u64,
}

/// Where a document of an image that is elsewhere leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// An index: to another document.
    Document(Promised),
    /// A manifest: to the configuration and the layers.
    Image { config: Promised, layers: Vec<Promised> },
}

impl Lead {
    /// Reads an index or a manifest; of an index, what is for the platform.
    ///
    /// # Errors
    /// What is neither, and an index without that platform.
    pub fn read(bytes: &[u8], platform: &Platform) -> Result<Self, ImageError> {
        let bad = |error: serde_json::Error| ImageError::archive(format!("its manifest is malformed: {error}"));
        let promised = |one: &Descriptor| Promised { digest: one.digest, size: one.size };
        let shape: serde_json::Value = serde_json::from_slice(bytes).map_err(bad)?;
        if shape.get("manifests").is_none() {
            let manifest: Manifest = serde_json::from_value(shape).map_err(bad)?;
            let layers = manifest.layers.iter().map(promised).collect();
            return Ok(Self::Image { config: promised(&manifest.config), layers });
        }
        let index: Index = serde_json::from_value(shape).map_err(bad)?;
        let mut fitting = index
            .manifests
            .iter()
            .filter(|one| one.fits(platform) && !one.annotations.contains_key(ANNOTATION_KIND))
            .collect::<Vec<&Descriptor>>();
        // The same variant before one that says nothing.
        fitting.sort_by_key(|one| one.platform.as_ref().is_none_or(|own| own.variant != platform.variant));
        let found = fitting.first().ok_or_else(|| no_image_for(platform))?;
        Ok(Self::Document(promised(found)))
    }
}

impl Store {
    /// An image that is not recorded, by its configuration; its layers must be here. A build stands on it.
    ///
    /// # Errors
    /// When it is no configuration, or a layer is missing.
    pub fn image_of(&self, config: Vec<u8>) -> Result<Image, ImageError> {
        self.inner.catalog.read().describe(digest_of(&config), config.into(), &ImageRecord::default())
    }
}

impl Reception {
    /// The diff ids that a configuration names, base first.
    ///
    /// # Errors
    /// When it is no configuration, or is for another system than Linux.
    pub fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, ImageError> {
        let id = digest_of(config);
        let bad = |why: String| ImageError::Config { image: id.to_string(), why };
        let document = Document::parse(config).map_err(|error| bad(error.to_string()))?;
        let os = document.platform().os;
        if os != "linux" {
            return Err(bad(format!("image operating system {os:?} cannot be used on this platform")));
        }
        Ok(document.rootfs.diff_ids)
    }

    /// Whether a layer is here, in whatever stack; then it stays here until this ends.
    pub fn has_layer(&self, diff_id: Digest) -> bool {
        // The lease first, so that no removal comes between.
        self.lease.hold(diff_id);
        let arrived = self.arrived.lock().received.contains_key(&diff_id);
        arrived || self.store.inner.catalog.read().layers.values().any(|layer| layer.diff_id == diff_id)
    }

    /// Takes a layer in: hashed, inflated, stored and unpacked in one pass. `progress` hears how many bytes were read.
    ///
    /// # Errors
    /// When it is not the layer that was promised, no tar, or the disk fails; nothing of it is left then.
    pub fn layer(
        &self,
        wanted: WantedLayer,
        input: impl Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ImageError> {
        self.lease.hold(wanted.diff_id);
        let inner = &self.store.inner;
        let label = format!("layer {}", wanted.blob);
        let received = receive(&inner.layers, &inner.content, &label, input, progress)?;
        // What came plain has the digest of its tar; of that, the recipe is stored.
        let came_as_promised = received.blob.digest == wanted.blob || received.diff_id == wanted.blob;
        if !came_as_promised {
            return Err(ImageError::DigestMismatch { what: label, expected: wanted.blob, found: received.blob.digest });
        }
        if received.diff_id != wanted.diff_id {
            let what = format!("the tar of {label}");
            return Err(ImageError::DigestMismatch { what, expected: wanted.diff_id, found: received.diff_id });
        }
        self.arrived.lock().received.entry(wanted.diff_id).or_insert(received);
        Ok(())
    }

    /// Records the image; its layers must all be here. Answers its id.
    ///
    /// # Errors
    /// When a layer is missing or the disk fails; nothing is left then.
    pub fn finish(self, image: ArrivedImage) -> Result<Digest, ImageError> {
        let diff_ids = Self::diff_ids(&image.config)?;
        let id = digest_of(&image.config);
        let mut arrived = self.arrived.into_inner();
        let wanted: HashSet<Digest> = diff_ids.iter().copied().collect();
        arrived.received.retain(|diff_id, _| wanted.contains(diff_id));
        let record = ImageRecord::default();
        let candidate = Candidate { config: image.config.into(), id, diff_ids, record, references: image.references };
        let manifests = image.manifest.into_iter().map(|manifest| {
            let digest = digest_of(&manifest.bytes);
            (id, KeptManifest { digest, media_type: manifest.media_type }, manifest.bytes)
        });
        self.store.record_with(vec![candidate], arrived, manifests.collect())?;
        Ok(id)
    }
}
