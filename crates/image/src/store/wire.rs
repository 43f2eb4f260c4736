//! The JSON documents of an image archive: Docker's `manifest.json`, OCI's layout, index and manifest.

use std::collections::BTreeMap;

use hako_model::{Digest, Platform};
use serde::{Deserialize, Serialize};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's own names of an index.
pub(super) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The whole name of an image, as containerd and Docker write it into an index.
pub(super) const ANNOTATION_NAME: &str = "io.containerd.image.name";
/// OCI's: only a tag by the specification, but skopeo and podman write whole names too.
pub(super) const ANNOTATION_TAG: &str = "org.opencontainers.image.ref.name";
/// BuildKit marks what describes another manifest instead of being an image.
pub(super) const ANNOTATION_KIND: &str = "vnd.docker.reference.type";

/// One image of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ArchiveImage {
    pub(super) config: String,
    pub(super) repo_tags: Option<Vec<String>>,
    /// `null` is what Go writes for an image without layers.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) layers: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) layer_sources: BTreeMap<String, Descriptor>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What a digest stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<DescriptorPlatform>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DescriptorPlatform {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
}

impl Descriptor {
    pub(super) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, annotations: BTreeMap::new(), platform: None }
    }

    /// Whether what it stands for runs on `platform`; one that does not say may.
    pub(super) fn fits(&self, platform: &Platform) -> bool {
        self.platform.as_ref().is_none_or(|own| {
            let same_variant = own.variant.is_none() || platform.variant.is_none() || own.variant == platform.variant;
            own.os == platform.os && own.architecture == platform.architecture && same_variant
        })
    }

    pub(super) fn is_index(&self) -> bool {
        self.media_type == INDEX || self.media_type == DOCKER_INDEX
    }
}

/// `index.json`, and an index of several platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) manifests: Vec<Descriptor>,
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}
