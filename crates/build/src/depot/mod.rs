//! Depots: results of steps in a place that other machines reach, such as a registry, a directory, or an image itself.
//!
//! ```text
//!   a build's trail (keys and records) ─► document + blobs ─► registry, client's directory, image
//!   and back: document ─► Depot ─► asked for a key that the cache does not know ─► layers are brought, one record more
//! ```
//! Layers are brought when a step wants them. What cannot be had from a depot is made as without it.

mod actions; // in the cache of GitHub's Actions
mod document; // BuildKit's JSON, and ours in it
mod s3; // in a bucket
mod source; // blobs that are elsewhere
mod web; // requests to services that keep blobs

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use hako_archive::{Packer, UnpackOptions, unpack, walk};
use hako_image::{Hold, ShippedLayer, Store, WantedLayer};
use hako_model::Digest;
use serde_json::json;

use crate::{
    Builder,
    cache::{Hasher, Record, digest},
    error::BuildError,
    solve::{Built, blocking},
};

pub(crate) use actions::{ATTRIBUTES as ACTIONS_ATTRIBUTES, Actions, ActionsPlace, SCOPE as ACTIONS_SCOPE};
pub(crate) use document::Blob;
use document::Document;
pub(crate) use s3::{ATTRIBUTES as S3_ATTRIBUTES, S3, S3Place};
pub(crate) use source::{RegistrySource, reader};

/// The type of a cache configuration, by which BuildKit knows it.
pub(crate) const CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MOUNT: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layer as a depot has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteLayer {
    pub(crate) wanted: WantedLayer,
    pub(crate) size: u64,
}

impl From<&ShippedLayer> for RemoteLayer {
    fn from(layer: &ShippedLayer) -> Self {
        Self { wanted: WantedLayer { diff_id: layer.diff_id, blob: layer.blob }, size: layer.size }
    }
}

/// A result that a depot has: its record, and the layers that it is made of, base first.
#[derive(Debug, Clone)]
struct Known {
    record: Record,
    layers: Vec<RemoteLayer>,
}

/// Something to read a blob from.
pub(crate) type BlobReader = Box<dyn Read + Send>;
/// The answer to come.
pub(crate) type BlobFuture<'s> = Pin<Box<dyn Future<Output = Result<BlobReader, String>> + Send + 's>>;

/// Where the blobs of a depot are.
pub(crate) trait Source: Send + Sync {
    /// The bytes of a blob; whoever reads verifies them.
    fn blob(&self, blob: Blob) -> BlobFuture<'_>;
}

/// A depot whose document was read.
pub struct Depot {
    name: String,
    known: HashMap<Digest, Known>,
    mounts: BTreeMap<String, Blob>,
    source: Box<dyn Source>,
    /// Stages that go on side by side want the same layers.
    bringing: tokio::sync::Mutex<()>,
}

impl Depot {
    /// Reads a document; `layers` are those of the image that carried it, if one did.
    pub(crate) fn read(
        name: &str,
        document: &[u8],
        layers: &[RemoteLayer],
        source: Box<dyn Source>,
    ) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(document).map_err(|error| format!("the cache of {name} is unreadable: {error}"))?;
        let document = document.with_layers(layers);
        let (known, mounts) = (document.read(), document.mounts);
        Ok(Self { name: name.to_owned(), known, mounts, source, bringing: tokio::sync::Mutex::default() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it says of a key, without its layers.
    pub(crate) fn peek(&self, key: &Digest) -> Option<&Record> {
        self.known.get(key).map(|known| &known.record)
    }

    /// Whether a step with this input was done.
    pub(crate) fn has_input(&self, name: &str, value: &str) -> bool {
        self.known.values().any(|known| known.record.has_input(name, value))
    }

    /// The result with this key: its layers are here then.
    pub(crate) async fn take(&self, key: &Digest, store: &Store, hold: &Arc<Hold>) -> Result<Option<Record>, String> {
        let Some(known) = self.known.get(key) else { return Ok(None) };
        let _alone = self.bringing.lock().await;
        let mut stack = None;
        for layer in &known.layers {
            stack = Some(self.bring(stack, layer, store, hold).await?);
        }
        Ok(Some(Record { stack, ..known.record.clone() }))
    }

    async fn bring(
        &self,
        below: Option<Digest>,
        layer: &RemoteLayer,
        store: &Store,
        hold: &Arc<Hold>,
    ) -> Result<Digest, String> {
        if let Some(stack) = store.stack_with(below, layer.wanted.diff_id, hold) {
            return Ok(stack);
        }
        let input = self.source.blob(Blob { digest: layer.wanted.blob, size: layer.size }).await?;
        let (store, hold, wanted) = (store.clone(), hold.clone(), layer.wanted);
        let taken = blocking(move || store.layer_take(below, wanted, input, &hold)).await;
        taken.map_err(|error| hako_base::error::chain(&error))
    }

    /// Puts the files of a cache mount into a directory that is new; `false` when it has none of that name.
    pub(crate) async fn fill(&self, mount: &str, directory: OwnedFd) -> Result<bool, String> {
        let Some(blob) = self.mounts.get(mount) else { return Ok(false) };
        let input =
            Verifying { input: self.source.blob(*blob).await?, hasher: Hasher::default(), expected: blob.digest };
        blocking(move || {
            let mut input = io::BufReader::new(input);
            let plain = hako_archive::plain(&mut input).map_err(|error| error.to_string())?;
            unpack(plain, directory.as_fd(), &UnpackOptions::default())
                .map_err(|error| hako_base::error::chain(&error))?;
            io::copy(&mut input, &mut io::sink()).map_err(|error| error.to_string())?;
            input.into_inner().finish().map(|()| true)
        })
        .await
    }
}

/// Hashes what is read.
struct Verifying {
    input: BlobReader,
    hasher: Hasher,
    expected: Digest,
}

impl Read for Verifying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl Verifying {
    fn finish(self) -> Result<(), String> {
        let found = self.hasher.finish();
        if found == self.expected { Ok(()) } else { Err(format!("a blob is {found}, not {}", self.expected)) }
    }
}

/// How much of a build goes into a depot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    /// Every step; else only those whose layers the image has.
    pub(crate) all: bool,
    /// The files of the cache mounts that steps used.
    pub(crate) mounts: bool,
}

/// A depot that is to be put somewhere.
pub(crate) struct Written {
    pub(crate) config: Vec<u8>,
    layers: Vec<ShippedLayer>,
    mounts: Vec<MountBlob>,
    store: Store,
}

/// The files of a cache mount as one blob, in a file that has no name.
struct MountBlob {
    blob: Blob,
    file: File,
}

impl Written {
    /// All blobs but the document: digest, size and something to read.
    pub(crate) fn files(self) -> Result<Vec<(Blob, File)>, BuildError> {
        let opened =
            |layer: &ShippedLayer| Ok((Blob { digest: layer.blob, size: layer.size }, self.store.blob_open(layer)?));
        let mounts = self.mounts.into_iter().map(|mount| Ok((mount.blob, mount.file)));
        self.layers.iter().map(opened).chain(mounts).collect()
    }

    /// The manifest that names everything: that of an image, or for registries which want that an index.
    pub(crate) fn manifest(&self, as_index: bool) -> (&'static str, Vec<u8>) {
        let descriptor =
            |kind: &str, digest: Digest, size: usize| json!({ "mediaType": kind, "digest": digest, "size": size });
        let mut layers: Vec<serde_json::Value> = Vec::new();
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        for layer in &self.layers {
            layers.push(descriptor(document::media_type(layer), layer.blob, size(layer.size)));
        }
        layers.extend(self.mounts.iter().map(|mount| descriptor(MOUNT, mount.blob.digest, size(mount.blob.size))));
        // One blob may be two layers; a list of blobs has it once.
        layers.dedup();
        let config = descriptor(CONFIG, digest(&self.config), self.config.len());
        let (kind, document) = if as_index {
            layers.push(config);
            (INDEX, json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": layers }))
        } else {
            (MANIFEST, json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }))
        };
        (kind, serde_json::to_vec(&document).unwrap_or_default())
    }
}

impl Builder {
    /// What a build leaves in a depot, all its platforms together; blocks while cache mounts are packed and blobs are made of
    /// recipes.
    pub(crate) fn depot_write(&self, built: &[Arc<Built>], extent: Extent) -> Result<Written, BuildError> {
        let store = self.engine().image_store().clone();
        let trails = self.trails(built, extent.all);
        for (_, record) in &trails {
            store.stack_blobs_make(record.stack)?;
        }
        let (mut document, layers) = document::write(&trails, |stack| store.stack_blobs(Some(stack)));
        let mut mounts = Vec::new();
        let named: BTreeSet<&String> = built.iter().flat_map(|built| built.mounts()).collect();
        for name in named.into_iter().filter(|_| extent.mounts) {
            let mount = self.pack_mount(name)?;
            document.mounts.insert(name.clone(), mount.blob);
            mounts.push(mount);
        }
        let config = serde_json::to_vec(&document).unwrap_or_default();
        Ok(Written { config, layers, mounts, store })
    }

    /// The records that an image carries itself.
    pub(crate) fn depot_inline(&self, built: &Built) -> Vec<u8> {
        let store = self.engine().image_store();
        // The target's own stack first: then the places of layers are those of the image.
        let (stack, mut records) = (built.image.stack, self.trail(built, false));
        records.sort_by_key(|(_, record)| record.stack != stack);
        let (document, _) = document::write(&records, |stack| store.stack_blobs(Some(stack)));
        serde_json::to_vec(&document.inline()).unwrap_or_default()
    }

    fn trails(&self, built: &[Arc<Built>], all: bool) -> Vec<(Digest, Record)> {
        let mut trail: Vec<_> = built.iter().flat_map(|built| self.trail(built, all)).collect();
        trail.sort_by_key(|(key, _)| *key);
        trail.dedup_by_key(|(key, _)| *key);
        trail
    }

    // The records of a build in an order that is the same every time.
    fn trail(&self, built: &Built, all: bool) -> Vec<(Digest, Record)> {
        let store = self.engine().image_store();
        let own = store.stack_blobs(built.image.stack);
        let is_own = |record: &Record| {
            let layers = store.stack_blobs(record.stack);
            own.iter().map(|layer| layer.diff_id).take(layers.len()).eq(layers.iter().map(|layer| layer.diff_id))
        };
        let mut trail: Vec<_> = built.trail().iter().filter(|(_, record)| all || is_own(record)).cloned().collect();
        trail.sort_by_key(|(key, _)| *key);
        trail.dedup_by_key(|(key, _)| *key);
        trail
    }

    fn pack_mount(&self, name: &str) -> Result<MountBlob, BuildError> {
        let failed = || BuildError::io(format!("cannot pack the cache mount {name}"));
        let pack = || -> io::Result<MountBlob> {
            let directory = walk::open_trusted(&self.mounts_root().join(name))?;
            // Without a name it is gone with its descriptor, whatever happens.
            let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
            let file = File::from(rustix::fs::open(self.root(), flags, rustix::fs::Mode::from_raw_mode(0o600))?);
            let hashing = Hashing { file, hasher: Hasher::default(), size: 0 };
            let mut packer = Packer::new(GzEncoder::new(hashing, Compression::fast()));
            packer.tree(directory.as_fd(), b"").map_err(|error| io::Error::other(error.to_string()))?;
            let packed = packer.finish().map_err(|error| io::Error::other(error.to_string()))?.finish()?;
            let Hashing { mut file, hasher, size } = packed;
            file.rewind()?;
            Ok(MountBlob { blob: Blob { digest: hasher.finish(), size }, file })
        };
        pack().map_err(failed())
    }
}

/// Hashes what is written.
struct Hashing {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
