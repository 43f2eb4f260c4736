//! The documents of an image that goes elsewhere: manifests of platforms, of what was attested about them, and the index
//! of all (OCI's image specification; attestations as in BuildKit's `docs/attestations/attestation-storage.md`).
//!
//! What the documents name stays in the store; how they travel (to a registry, in an archive) is `export.rs`'s business.

use std::sync::Arc;

use bytes::Bytes;
use hako_engine::view::ArtifactBlob;
use hako_image::{ShippedLayer, Store, chain_id};
use hako_model::{Digest, Reference};
use serde_json::{Map, Value, json};

use super::target::{Annotation, At, Compression, Form};
use crate::{
    BuildError, Builder,
    attest::{self, Asked, Statement, Wish},
    cache::digest,
    plan::platform_text,
    solve::Built,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
const ATTESTATION: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The same in Docker's own words, for `oci-mediatypes=false`.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What an image is made of elsewhere.
#[derive(Debug)]
pub(super) struct Assembly {
    /// What the index names, in its order; none without an index.
    pub(super) manifests: Vec<Document>,
    /// The index, or the only manifest.
    pub(super) top: Document,
    /// Annotations of the descriptor that names it.
    pub(super) annotations: Map<String, Value>,
    /// Layers that were made gzip for this, as they were before.
    pub(super) changed: Vec<ShippedLayer>,
}

/// A manifest or an index.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) media_type: &'static str,
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
    /// What must be there before it.
    pub(super) blobs: Vec<Piece>,
    platform: Value,
    annotations: Map<String, Value>,
}

/// A blob.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Bytes(Bytes),
    Layer(ShippedLayer),
}

/// What an assembly is made for.
pub(super) struct Order<'o> {
    pub(super) form: &'o Form,
    pub(super) names: &'o [Reference],
    /// An index even of one.
    pub(super) as_index: bool,
    pub(super) provenance: Option<(&'o Wish, &'o Asked)>,
}

impl Document {
    fn new(media_type: &'static str, value: &Value, blobs: Vec<Piece>) -> Self {
        let bytes = Bytes::from(serde_json::to_vec_pretty(value).unwrap_or_default());
        let digest = digest(&bytes);
        Self { media_type, bytes, digest, blobs, platform: Value::Null, annotations: Map::new() }
    }

    pub(super) fn descriptor(&self) -> Value {
        let mut value = descriptor(self.media_type, self.digest, self.bytes.len() as u64);
        if !self.annotations.is_empty() {
            value["annotations"] = json!(self.annotations);
        }
        if !self.platform.is_null() {
            value["platform"] = self.platform.clone();
        }
        value
    }
}

impl Piece {
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Bytes(bytes) => digest(bytes),
            Self::Layer(layer) => layer.blob,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Layer(layer) => layer.size,
        }
    }

    /// The same as registries take it.
    pub(super) fn artifact(&self, store: &Store) -> Result<ArtifactBlob, BuildError> {
        Ok(match self {
            Self::Bytes(bytes) => ArtifactBlob::Bytes(bytes.clone()),
            Self::Layer(layer) => {
                ArtifactBlob::File { digest: layer.blob, size: layer.size, file: Arc::new(store.blob_open(layer)?) }
            }
        })
    }
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

impl Form {
    fn wants_docker(&self) -> bool {
        self.oci == Some(false)
    }

    // Those of a document, for one platform or for all.
    fn annotations(&self, at: At, platform: Option<&str>) -> Map<String, Value> {
        let fits = |one: &&Annotation| one.at == at && (one.platform.is_none() || one.platform.as_deref() == platform);
        let pair = |one: &Annotation| (one.key.clone(), Value::String(one.value.clone()));
        self.annotations.iter().filter(fits).map(pair).collect()
    }
}

impl Builder {
    /// Makes the documents of these results, one for each platform; blocks while layers become gzip.
    pub(super) fn assemble(&self, built: &[Arc<Built>], order: &Order<'_>) -> Result<Assembly, BuildError> {
        let form = order.form;
        let is_attested = order.provenance.is_some() || built.iter().any(|one| !one.sboms.is_empty());
        let is_docker = form.wants_docker() && !is_attested;
        let (mut images, mut statements, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for built in built {
            let image = self.manifest_of(built, form, is_docker, &mut changed)?;
            if order.provenance.is_some() || !built.sboms.is_empty() {
                statements.push(attestation(built, &image, order));
            }
            images.push(image);
        }
        let annotations = form.annotations(At::IndexDescriptor, None);
        let is_index = order.as_index || images.len() > 1 || !statements.is_empty();
        if !is_index && let Some(top) = images.pop() {
            return Ok(Assembly { manifests: Vec::new(), top, annotations, changed });
        }
        images.extend(statements);
        let media_type = if is_docker { DOCKER_INDEX } else { INDEX };
        let named: Vec<Value> = images.iter().map(Document::descriptor).collect();
        let mut index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": named });
        annotate(&mut index, form.annotations(At::Index, None));
        Ok(Assembly { manifests: images, top: Document::new(media_type, &index, Vec::new()), annotations, changed })
    }

    fn manifest_of(
        &self,
        built: &Built,
        form: &Form,
        is_docker: bool,
        changed: &mut Vec<ShippedLayer>,
    ) -> Result<Document, BuildError> {
        let store = self.engine().image_store();
        if form.compression == Some(Compression::Zstd) {
            store.stack_blobs_make(built.image.stack)?;
        }
        let stored = store.stack_blobs(built.image.stack);
        let layers = match form.compression {
            Some(Compression::Zstd) if !is_docker => stored,
            _ => {
                let gzip = store.stack_gzip(&stored)?;
                changed.extend(stored);
                gzip
            }
        };
        let config = Bytes::from(store.built_config(&built.image));
        let (media_type, config_type) = if is_docker { (DOCKER_MANIFEST, DOCKER_CONFIG) } else { (MANIFEST, CONFIG) };
        let layer = |layer: &ShippedLayer| descriptor(layer_type(layer, is_docker), layer.blob, layer.size);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config_type, digest(&config), config.len() as u64),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let platform = platform_text(&built.image.platform);
        annotate(&mut manifest, form.annotations(At::Manifest, Some(&platform)));
        let mut blobs: Vec<Piece> = layers.into_iter().map(Piece::Layer).collect();
        blobs.push(Piece::Bytes(config));
        Ok(Document {
            platform: json!(built.image.platform),
            annotations: form.annotations(At::ManifestDescriptor, Some(&platform)),
            ..Document::new(media_type, &manifest, blobs)
        })
    }
}

fn annotate(document: &mut Value, annotations: Map<String, Value>) {
    if !annotations.is_empty() {
        document["annotations"] = json!(annotations);
    }
}

fn layer_type(layer: &ShippedLayer, is_docker: bool) -> &'static str {
    match (is_docker, layer.is_gzip) {
        (true, true) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        (true, false) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        (false, true) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (false, false) => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

// The manifest of what is attested about an image. Its platform is none, so that nobody takes it for an image.
fn attestation(built: &Built, image: &Document, order: &Order<'_>) -> Document {
    let platform = platform_text(&built.image.platform);
    let mut subjects: Vec<(String, Digest)> =
        order.names.iter().map(|name| (attest::package(name, &platform), image.digest)).collect();
    if subjects.is_empty() {
        subjects.push(("_".to_owned(), image.digest));
    }
    let mut statements: Vec<Statement> = built.sboms.iter().map(|sbom| attest::packages(sbom, &subjects)).collect();
    let layers = layers_of(image);
    let how = |(wish, asked)| attest::provenance(wish, &built.facts, asked, &subjects, &layers);
    statements.extend(order.provenance.map(how));
    let (mut layers, mut blobs) = (Vec::new(), Vec::new());
    for statement in statements {
        let piece = Piece::Bytes(statement.bytes.into());
        let mut layer = descriptor(STATEMENT, piece.digest(), piece.size());
        layer["annotations"] = json!({ "in-toto.io/predicate-type": statement.predicate });
        layers.push(layer);
        blobs.push(piece);
    }
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers });
    let config = if order.form.artifact {
        manifest["artifactType"] = json!(ATTESTATION);
        manifest["subject"] = descriptor(image.media_type, image.digest, image.bytes.len() as u64);
        Bytes::from_static(b"{}")
    } else {
        let rootfs = json!({ "type": "layers", "diff_ids": blobs.iter().map(Piece::digest).collect::<Vec<_>>() });
        json!({ "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs }).to_string().into()
    };
    let kind = if order.form.artifact { EMPTY } else { CONFIG };
    manifest["config"] = descriptor(kind, digest(&config), config.len() as u64);
    blobs.push(Piece::Bytes(config));
    let annotations =
        [("vnd.docker.reference.digest", image.digest.to_string()), (KIND, "attestation-manifest".to_owned())];
    Document {
        platform: json!({ "architecture": "unknown", "os": "unknown" }),
        annotations: annotations.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect(),
        ..Document::new(MANIFEST, &manifest, blobs)
    }
}

// The layers of an image, base first, each with the files that are there with it.
fn layers_of(image: &Document) -> Vec<(Digest, Value)> {
    let layers =
        image.blobs.iter().filter_map(|piece| if let Piece::Layer(layer) = piece { Some(layer) } else { None });
    let is_docker = image.media_type == DOCKER_MANIFEST;
    let mut below = None;
    let described = layers.map(|layer| {
        let stack = chain_id(below, layer.diff_id);
        below = Some(stack);
        (stack, descriptor(layer_type(layer, is_docker), layer.blob, layer.size))
    });
    described.collect()
}

/// By this annotation clients know what is no image.
const KIND: &str = "vnd.docker.reference.type";
