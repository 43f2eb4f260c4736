//! The records: what is here, in memory for reading and in the database for good.
//!
//! Three tables of small JSON documents: images by id, names to ids, layers by chain id. A change goes to the
//! database first, in one transaction, and to memory when that has been committed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use hako_base::database::Database;
use hako_model::{Digest, Reference};
use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Image, ImageError,
    codec::Codec,
    config::Document,
    content::{Content, digest_of},
    error::database,
    limits,
};

const IMAGES: TableDefinition<&str, &[u8]> = TableDefinition::new("image.images");
const NAMES: TableDefinition<&str, &str> = TableDefinition::new("image.names");
const LAYERS: TableDefinition<&str, &[u8]> = TableDefinition::new("image.layers");
/// Stacks that are kept without an image: results of build steps.
const KEPT: TableDefinition<&str, ()> = TableDefinition::new("image.kept");

/// What is known of an image besides its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImageRecord {
    pub(crate) parent: Option<Digest>,
    pub(crate) last_tagged: Option<Timestamp>,
    /// The manifests that it came by, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) manifests: Vec<KeptManifest>,
}

/// A manifest in the content store, as a registry gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptManifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
}

/// An unpacked layer on top of a certain stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// Names the stack of this layer and all below it.
    pub(crate) chain_id: Digest,
    pub(crate) parent: Option<Digest>,
    pub(crate) diff_id: Digest,
    /// The layer's tar in the content store, or the recipe of it, and how that is compressed there.
    pub(crate) blob: Digest,
    pub(crate) blob_size: u64,
    pub(crate) codec: Codec,
    /// Bytes of the uncompressed tar.
    pub(crate) tar_size: u64,
    /// Bytes of the files in it.
    pub(crate) size: u64,
    /// Nothing below it shows through.
    #[serde(default)]
    pub(crate) opaque_root: bool,
    /// It was compressed here; so no manifest elsewhere names its blob.
    #[serde(default)]
    pub(crate) compressed_here: bool,
    /// The blob is the recipe: with the layer's files it is the tar.
    #[serde(default)]
    pub(crate) is_recipe: bool,
}

/// The name of a stack: OCI's chain id.
pub fn chain_id(parent: Option<Digest>, diff_id: Digest) -> Digest {
    match parent {
        None => diff_id,
        Some(parent) => digest_of(format!("{parent} {diff_id}").as_bytes()),
    }
}

/// The names of all stacks of an image, base first.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(chain_id(chain.last().copied(), *diff_id));
    }
    chain
}

/// What is here.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) images: BTreeMap<Digest, Arc<Image>>,
    records: HashMap<Digest, ImageRecord>,
    pub(crate) names: BTreeMap<Reference, Digest>,
    pub(crate) layers: HashMap<Digest, Layer>,
    /// Layers of a build that is going on: in place, but not in the database yet.
    pub(crate) pending: HashSet<Digest>,
    /// Stacks that are kept although no image has them.
    pub(crate) kept: HashSet<Digest>,
}

/// One transaction's worth of changes.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) layers: Vec<Layer>,
    /// With the configuration's bytes.
    pub(crate) images: Vec<(Digest, Arc<[u8]>, ImageRecord)>,
    /// Manifests of images that are here or among these.
    pub(crate) manifests: Vec<(Digest, KeptManifest)>,
    pub(crate) names: Vec<(Reference, Digest)>,
    pub(crate) names_gone: Vec<Reference>,
    pub(crate) images_gone: Vec<Digest>,
    pub(crate) layers_gone: Vec<Digest>,
    pub(crate) kept: Vec<Digest>,
    pub(crate) kept_gone: Vec<Digest>,
}

impl Catalog {
    /// Reads everything. An image whose configuration is gone or damaged is left out and said to be.
    pub(crate) fn read(base: &Database, content: &Content) -> Result<Self, ImageError> {
        let write = base.begin_write().map_err(database("open"))?;
        {
            write.open_table(IMAGES).map_err(database("open"))?;
            write.open_table(NAMES).map_err(database("open"))?;
            write.open_table(LAYERS).map_err(database("open"))?;
            write.open_table(KEPT).map_err(database("open"))?;
        }
        write.commit().map_err(database("open"))?;
        let read = base.begin_read().map_err(database("read"))?;
        let mut catalog = Self::default();
        let layers = read.open_table(LAYERS).map_err(database("read"))?;
        for row in layers.iter().map_err(database("read"))? {
            let (key, value) = row.map_err(database("read"))?;
            let layer: Layer = document(key.value(), value.value())?;
            catalog.layers.insert(layer.chain_id, layer);
        }
        let kept = read.open_table(KEPT).map_err(database("read"))?;
        for row in kept.iter().map_err(database("read"))? {
            let (key, ()) = row.map(|(key, value)| (key, value.value())).map_err(database("read"))?;
            catalog.kept.extend(key.value().parse::<Digest>().ok());
        }
        let names = read.open_table(NAMES).map_err(database("read"))?;
        for row in names.iter().map_err(database("read"))? {
            let (key, value) = row.map_err(database("read"))?;
            let damaged = |why: String| ImageError::Record { id: key.value().to_owned(), why };
            let reference =
                key.value().parse().map_err(|error: hako_model::ReferenceError| damaged(error.to_string()))?;
            let id = value.value().parse().map_err(|error: hako_model::IdError| damaged(error.to_string()))?;
            catalog.names.insert(reference, id);
        }
        let images = read.open_table(IMAGES).map_err(database("read"))?;
        for row in images.iter().map_err(database("read"))? {
            let (key, value) = row.map_err(database("read"))?;
            let record: ImageRecord = document(key.value(), value.value())?;
            let id: Digest = key.value().parse().map_err(|error: hako_model::IdError| ImageError::Record {
                id: key.value().to_owned(),
                why: error.to_string(),
            })?;
            let raw = content.read(id, limits::DOCUMENT_BYTES_MAX);
            match raw.and_then(|raw| catalog.describe(id, raw.into(), &record)) {
                Ok(image) => {
                    catalog.images.insert(id, Arc::new(image));
                    catalog.records.insert(id, record);
                }
                Err(error) => {
                    tracing::error!(image = %id, error = hako_base::error::chain(&error), "an image is damaged")
                }
            }
        }
        Ok(catalog)
    }

    /// Puts an image together from its configuration, its record and the names it has.
    pub(crate) fn describe(&self, id: Digest, raw: Arc<[u8]>, record: &ImageRecord) -> Result<Image, ImageError> {
        let damaged = |why: String| ImageError::Config { image: id.to_string(), why };
        let document = Document::parse(&raw).map_err(|error| damaged(error.to_string()))?;
        let chain = chain_ids(&document.rootfs.diff_ids);
        let mut size = 0;
        for chain_id in &chain {
            size += self.layers.get(chain_id).ok_or_else(|| damaged(format!("its layer {chain_id} is gone")))?.size;
        }
        let (repo_digests, references) = self
            .names
            .iter()
            .filter(|(_, named)| **named == id)
            .map(|(name, _)| name.clone())
            .partition(|name: &Reference| name.digest().is_some());
        Ok(Image {
            id,
            references,
            repo_digests,
            parent: record.parent,
            created: document.created(),
            author: document.author.clone(),
            comment: document.comment.clone(),
            docker_version: document.docker_version.clone(),
            platform: document.platform(),
            os_version: document.os_version.clone(),
            config: document.config.model(),
            raw_config: raw,
            chain_id: chain.last().copied(),
            diff_ids: document.rootfs.diff_ids,
            size,
            last_tagged: record.last_tagged,
        })
    }

    /// Commits `change` to the database and then to memory.
    pub(crate) fn commit(&mut self, base: &Database, change: Change) -> Result<(), ImageError> {
        let now = hako_base::clock::now();
        let mut touched: HashSet<Digest> = change.images.iter().map(|(id, ..)| *id).collect();
        let mut records: HashMap<Digest, ImageRecord> =
            change.images.iter().map(|(id, _, r)| (*id, r.clone())).collect();
        for (id, kept) in &change.manifests {
            let known = || self.records.get(id).cloned().unwrap_or_default();
            let record = records.entry(*id).or_insert_with(known);
            record.manifests.retain(|other| other != kept);
            record.manifests.push(kept.clone());
        }
        for (reference, id) in &change.names {
            touched.insert(*id);
            touched.extend(self.names.get(reference));
            let known = || self.records.get(id).cloned().unwrap_or_default();
            records.entry(*id).or_insert_with(known).last_tagged = Some(now);
        }
        touched.extend(change.names_gone.iter().filter_map(|name| self.names.get(name)));
        write(base, &change, &records)?;

        for layer in change.layers {
            self.pending.remove(&layer.chain_id);
            self.layers.insert(layer.chain_id, layer);
        }
        for chain_id in &change.layers_gone {
            self.pending.remove(chain_id);
            self.layers.remove(chain_id);
        }
        self.kept.extend(change.kept);
        for chain_id in &change.kept_gone {
            self.kept.remove(chain_id);
        }
        for name in &change.names_gone {
            self.names.remove(name);
        }
        self.names.extend(change.names);
        for id in &change.images_gone {
            self.images.remove(id);
            self.records.remove(id);
            touched.remove(id);
        }
        self.records.extend(records);
        let raws: HashMap<Digest, Arc<[u8]>> = change.images.into_iter().map(|(id, raw, _)| (id, raw)).collect();
        for id in touched {
            let known = || self.images.get(&id).map(|image| image.raw_config.clone());
            let Some(raw) = raws.get(&id).cloned().or_else(known) else { continue };
            let record = self.records.get(&id).cloned().unwrap_or_default();
            let image = self.describe(id, raw, &record)?;
            self.images.insert(id, Arc::new(image));
        }
        Ok(())
    }

    /// The manifests that an image came by, the latest last.
    pub(crate) fn manifests_of(&self, id: Digest) -> Vec<KeptManifest> {
        self.records.get(&id).map(|record| record.manifests.clone()).unwrap_or_default()
    }

    /// Whether some image came by this manifest.
    pub(crate) fn has_manifest(&self, digest: Digest) -> bool {
        self.records.values().any(|record| record.manifests.iter().any(|kept| kept.digest == digest))
    }

    /// The layers of a stack, top first.
    pub(crate) fn stack(&self, top: Option<Digest>) -> Vec<&Layer> {
        let mut stack = Vec::new();
        let mut next = top;
        while let Some(layer) = next.and_then(|chain_id| self.layers.get(&chain_id)) {
            stack.push(layer);
            next = layer.parent;
        }
        stack
    }

    /// Images that were committed from this one.
    pub(crate) fn children(&self, id: Digest) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values().filter(move |image| image.parent == Some(id))
    }

    /// The names of an image, sorted.
    pub(crate) fn names_of(&self, id: Digest) -> Vec<Reference> {
        self.names.iter().filter(|(_, named)| **named == id).map(|(name, _)| name.clone()).collect()
    }
}

fn document<T: DeserializeOwned>(id: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::Record { id: id.to_owned(), why: error.to_string() })
}

fn write(base: &Database, change: &Change, records: &HashMap<Digest, ImageRecord>) -> Result<(), ImageError> {
    let json = |id: &Digest, value: Result<Vec<u8>, serde_json::Error>| {
        value.map_err(|error| ImageError::Record { id: id.to_string(), why: error.to_string() })
    };
    let write = base.begin_write().map_err(database("write"))?;
    {
        let mut layers = write.open_table(LAYERS).map_err(database("write"))?;
        for layer in &change.layers {
            let bytes = json(&layer.chain_id, serde_json::to_vec(layer))?;
            layers.insert(layer.chain_id.to_string().as_str(), &bytes[..]).map_err(database("write"))?;
        }
        for chain_id in &change.layers_gone {
            layers.remove(chain_id.to_string().as_str()).map_err(database("write"))?;
        }
        let mut kept = write.open_table(KEPT).map_err(database("write"))?;
        for chain_id in &change.kept {
            kept.insert(chain_id.to_string().as_str(), ()).map_err(database("write"))?;
        }
        for chain_id in &change.kept_gone {
            kept.remove(chain_id.to_string().as_str()).map_err(database("write"))?;
        }
        let mut names = write.open_table(NAMES).map_err(database("write"))?;
        for name in &change.names_gone {
            names.remove(name.to_string().as_str()).map_err(database("write"))?;
        }
        for (name, id) in &change.names {
            names.insert(name.to_string().as_str(), id.to_string().as_str()).map_err(database("write"))?;
        }
        let mut images = write.open_table(IMAGES).map_err(database("write"))?;
        for (id, record) in records {
            let bytes = json(id, serde_json::to_vec(record))?;
            images.insert(id.to_string().as_str(), &bytes[..]).map_err(database("write"))?;
        }
        for id in &change.images_gone {
            images.remove(id.to_string().as_str()).map_err(database("write"))?;
        }
    }
    write.commit().map_err(database("write"))
}
