//! An image that goes out piece by piece, as `push` sends it: its layers' blobs, its configuration, the manifests it
//! came by.
//!
//! A layer that was made here is stored with zstd, which old clients do not read, one that came plain as its recipe, which
//! nobody else reads: the first push makes gzip of it and keeps that instead, so that the manifest is the same at every
//! push. The push does not wait for the disk to have it: until [`Shipment::settle`] the former blob is what counts, and a
//! start that finds both removes the gzip.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    sync::Arc,
};

use hako_model::{Digest, Reference};

use super::{Store, find, lease::Lease};
use crate::{
    Image, ImageError,
    catalog::{Change, Layer},
    codec::Codec,
    content::Hasher,
    flow::Sink,
    gzip,
    layer::open_tar,
    limits,
};

/// Everything of one image, which stays until this ends.
#[derive(Debug)]
pub struct Shipment {
    store: Store,
    _lease: Lease,
    pub image: Arc<Image>,
    /// Base first.
    pub layers: Vec<ShippedLayer>,
}

/// A layer's blob as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShippedLayer {
    pub diff_id: Digest,
    pub blob: Digest,
    pub size: u64,
    /// Compressed with gzip; else with zstd.
    pub is_gzip: bool,
    /// Compressed here: no manifest elsewhere names the blob.
    pub is_made_here: bool,
    /// The blob is but a recipe, of which nobody else can make the layer.
    pub is_recipe: bool,
}

impl ShippedLayer {
    /// Whether it should become gzip before it goes where old clients may read it.
    pub fn should_be_gzip(&self) -> bool {
        self.is_made_here && !self.is_gzip
    }
}

/// A layer that is to be compressed again.
#[derive(Debug)]
pub struct Recompression {
    store: Store,
    diff_id: Digest,
}

impl Store {
    /// Takes an image, by name or id, to be sent.
    ///
    /// # Errors
    /// [`ImageError::NoSuchImage`].
    pub fn ship(&self, name: &str) -> Result<Shipment, ImageError> {
        let lease = self.inner.leases.take();
        let catalog = self.inner.catalog.read();
        let image = find(&catalog, name)?;
        image.diff_ids.iter().for_each(|diff_id| lease.hold(*diff_id));
        let layers = catalog.stack(image.chain_id).into_iter().rev().map(shipped).collect();
        drop(catalog);
        Ok(Shipment { store: self.clone(), _lease: lease, image, layers })
    }

    /// Gives an image another name with a digest: what a registry knows it by.
    ///
    /// # Errors
    /// When there is no such image, or the records fail.
    pub fn name_digest(&self, id: Digest, name: &Reference) -> Result<(), ImageError> {
        let _writing = self.inner.writing.lock();
        let mut catalog = self.inner.catalog.write();
        if !catalog.images.contains_key(&id) {
            return Err(ImageError::NoSuchImage { reference: id.to_string() });
        }
        let change = Change { names: vec![(name.clone(), id)], ..Change::default() };
        catalog.commit(&self.inner.database, change)
    }
}

pub(super) fn shipped(layer: &Layer) -> ShippedLayer {
    let is_gzip = layer.codec == Codec::Gzip;
    let (is_made_here, is_recipe) = (layer.compressed_here, layer.is_recipe);
    ShippedLayer { diff_id: layer.diff_id, blob: layer.blob, size: layer.blob_size, is_gzip, is_made_here, is_recipe }
}

impl Shipment {
    /// The manifests that the image came by: media type and bytes, the latest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn manifests(&self) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
        let inner = &self.store.inner;
        let kept = inner.catalog.read().manifests_of(self.image.id);
        kept.into_iter()
            .rev()
            .map(|kept| Ok((kept.media_type, inner.content.read(kept.digest, limits::DOCUMENT_BYTES_MAX)?)))
            .collect()
    }

    /// A layer's blob, to be read.
    ///
    /// # Errors
    /// When it is gone, or there is but a recipe.
    pub fn open(&self, layer: &ShippedLayer) -> Result<File, ImageError> {
        self.store.blob_open(layer)
    }

    /// Repositories of a registry that had this layer when an image with it came from there or went there.
    pub fn known_at(&self, layer: &ShippedLayer, domain: &str) -> Vec<Reference> {
        let catalog = self.store.inner.catalog.read();
        let with_it = catalog.images.values().filter(|image| image.diff_ids.contains(&layer.diff_id));
        with_it.flat_map(|image| &image.repo_digests).filter(|name| name.domain() == domain).cloned().collect()
    }

    /// The layer at this position, to be made gzip of; its blob changes with that.
    pub fn recompression(&self, position: usize) -> Recompression {
        self.store.recompression(self.layers[position].diff_id)
    }

    /// Writes down what was made gzip, as [`Store::gzip_settle`] does.
    ///
    /// # Errors
    /// When the disk or the records fail.
    pub fn settle(&self) -> Result<(), ImageError> {
        self.store.gzip_settle(&self.layers)
    }
}

impl Store {
    pub(super) fn recompression(&self, diff_id: Digest) -> Recompression {
        Recompression { store: self.clone(), diff_id }
    }

    /// Writes down what was made gzip of these layers, and lets their former blobs go; blocks until the disk has it all.
    ///
    /// Nothing depends on it: without it the layers stay what they were, and are compressed again one day.
    ///
    /// # Errors
    /// When the disk or the records fail.
    pub fn gzip_settle(&self, layers: &[ShippedLayer]) -> Result<(), ImageError> {
        let inner = &*self.inner;
        let known = inner.gzipped.lock().clone();
        let made: Vec<_> = layers.iter().filter_map(|layer| known.get_key_value(&layer.blob)).collect();
        if made.is_empty() {
            return Ok(());
        }
        let _writing = inner.writing.lock();
        inner.layers.flush()?;
        let mut catalog = inner.catalog.write();
        let mut change = Change::default();
        for (before, gzip) in &made {
            let same = catalog.layers.values().filter(|other| other.blob == **before);
            change.layers.extend(same.map(|other| Layer {
                blob: gzip.blob,
                blob_size: gzip.size,
                codec: Codec::Gzip,
                is_recipe: false,
                ..other.clone()
            }));
        }
        catalog.commit(&inner.database, change)?;
        drop(catalog);
        for (before, _) in made {
            inner.gzipped.lock().remove(before);
            // Somebody else may be about to read the old one; then it goes at the next start.
            if inner.leases.count() <= 1 {
                inner.content.remove(*before).map_err(ImageError::io(format!("cannot remove blob {before}")))?;
            }
        }
        Ok(())
    }
}

impl Recompression {
    /// Makes gzip of the layer, unless it has been made before; blocks for the time it takes.
    ///
    /// # Errors
    /// When the layer is damaged or the disk fails; what was there stays then.
    pub fn make_gzip(&self) -> Result<ShippedLayer, ImageError> {
        let catalog = self.store.inner.catalog.read();
        // Another push may have done it meanwhile.
        let now = catalog.layers.values().find(|layer| layer.diff_id == self.diff_id).cloned();
        drop(catalog);
        let layer = now.ok_or_else(|| ImageError::Missing { what: format!("layer {}", self.diff_id) })?;
        self.store.gzip_of(&layer)
    }
}

impl Store {
    /// Gives every layer of a stack that is stored as a recipe a blob that others can read; blocks until the disk has it.
    ///
    /// # Errors
    /// When a layer is damaged or the disk fails.
    pub fn stack_blobs_make(&self, stack: Option<Digest>) -> Result<(), ImageError> {
        let lease = self.inner.leases.take();
        let catalog = self.inner.catalog.read();
        let layers: Vec<Layer> = catalog.stack(stack).into_iter().filter(|layer| layer.is_recipe).cloned().collect();
        layers.iter().for_each(|layer| lease.hold(layer.diff_id));
        drop(catalog);
        for layer in &layers {
            self.gzip_of(layer)?;
        }
        self.gzip_settle(&layers.iter().map(shipped).collect::<Vec<_>>())
    }

    fn gzip_of(&self, layer: &Layer) -> Result<ShippedLayer, ImageError> {
        if layer.codec == Codec::Gzip {
            return Ok(shipped(layer));
        }
        let made = self.inner.gzipped.lock().get(&layer.blob).copied();
        made.map_or_else(|| self.compress_again(layer), Ok)
    }

    fn compress_again(&self, layer: &Layer) -> Result<ShippedLayer, ImageError> {
        let inner = &*self.inner;
        let what = format!("layer {}", layer.diff_id);
        let failed = || ImageError::io(format!("cannot compress {what}"));
        let mut staging = inner.content.stage().map_err(failed())?;
        let (expected, found) = if layer.is_recipe {
            let tar = open_tar(&inner.layers, &inner.content, layer)?;
            let mut tar = Hashing { input: tar, hasher: Hasher::new() };
            gzip::compress(&mut tar, &mut staging).map_err(failed())?;
            (layer.diff_id, tar.hasher.digest())
        } else {
            // Hashed as it is stored, which is less than what it unpacks to.
            let stored = Hashing { input: inner.content.file(layer.blob)?, hasher: Hasher::new() };
            let mut stored = BufReader::with_capacity(limits::CHUNK_BYTES, stored);
            let mut tar = layer.codec.decoder(&mut stored).map_err(failed())?;
            gzip::compress(&mut tar, &mut staging).map_err(failed())?;
            drop(tar);
            io::copy(&mut stored, &mut io::sink()).map_err(failed())?;
            (layer.blob, stored.into_inner().hasher.digest())
        };
        if found != expected {
            return Err(ImageError::DigestMismatch { what, expected, found });
        }
        let blob = staging.done().map_err(failed())?;
        let (blob_id, size, diff_id) = (blob.digest, blob.size, layer.diff_id);
        inner.content.keep(blob).map_err(failed())?;
        let made = ShippedLayer { diff_id, blob: blob_id, size, is_gzip: true, is_made_here: true, is_recipe: false };
        inner.gzipped.lock().insert(layer.blob, made);
        Ok(made)
    }
}

/// Hashes what is read.
struct Hashing<R> {
    input: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
