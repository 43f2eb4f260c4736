//! The JSON that both ends read: manifests, indexes and descriptors of Docker and OCI.
//!
//! Bytes are never written again from these types: what came is kept and sent as it came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::ContentDigest;

pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
pub(crate) const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What a description of an image stands under, in annotations and labels.
pub(crate) const DESCRIPTION: &str = "org.opencontainers.image.description";

/// What a digest stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: ContentDigest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<DescriptorPlatform>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) urls: Vec<String>,
}

/// For which machine it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DescriptorPlatform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub(crate) os_version: Option<String>,
}

/// A manifest or an index, as far as anything here looks into it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    #[serde(default)]
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    pub(crate) manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    /// Only schema 1 has it.
    #[serde(default)]
    fs_layers: Option<serde_json::Value>,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("the manifest is malformed: {0}")]
    Malformed(String),
    #[error("manifests of schema version 1 are not supported")]
    Schema1,
    #[error("the manifest has schema version {0}, not 2")]
    Schema(u32),
    #[error("the manifest says it is {said}, but was sent as {sent}")]
    MediaType { said: String, sent: String },
    #[error("{0} is not a type of manifest that is supported")]
    Unknown(String),
    #[error("the manifest is both a manifest and an index, or neither")]
    Shape,
}

impl Document {
    /// Reads a manifest that was sent as `sent` (empty: unknown).
    pub(crate) fn parse(bytes: &[u8], sent: &str) -> Result<Self, DocumentError> {
        let sent = sent.split(';').next().unwrap_or_default().trim();
        if matches!(sent, DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED) {
            return Err(DocumentError::Schema1);
        }
        let mut document: Self =
            serde_json::from_slice(bytes).map_err(|error| DocumentError::Malformed(error.to_string()))?;
        if document.schema_version == 1 || document.fs_layers.is_some() {
            return Err(DocumentError::Schema1);
        }
        if document.schema_version != 2 {
            return Err(DocumentError::Schema(document.schema_version));
        }
        // A document that could be read as both is an attack on whoever trusts the digest (CVE-2021-41190).
        if document.manifests.is_some() == (document.config.is_some() || document.layers.is_some()) {
            return Err(DocumentError::Shape);
        }
        let is_plain = matches!(sent, "" | "application/json" | "application/octet-stream" | "text/plain");
        match (document.media_type.is_empty(), is_plain) {
            (false, false) if document.media_type != sent => {
                return Err(DocumentError::MediaType { said: document.media_type, sent: sent.to_owned() });
            }
            (true, false) => document.media_type = sent.to_owned(),
            (true, true) => {
                let guess = if document.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST };
                document.media_type = guess.to_owned();
            }
            _ => {}
        }
        let fits = match document.media_type.as_str() {
            DOCKER_MANIFEST | OCI_MANIFEST => document.manifests.is_none() && document.config.is_some(),
            DOCKER_LIST | OCI_INDEX => document.manifests.is_some(),
            other => return Err(DocumentError::Unknown(other.to_owned())),
        };
        if fits { Ok(document) } else { Err(DocumentError::Shape) }
    }

    /// The blobs it needs: configuration and layers; not those that live elsewhere (foreign layers).
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let layers = self.layers.iter().flatten().filter(|layer| layer.urls.is_empty());
        self.config.iter().chain(layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, sent: &str, expected: &str) {
        let got = match Document::parse(text.as_bytes(), sent) {
            Ok(document) => document.media_type,
            Err(error) => error.to_string(),
        };
        assert!(got.starts_with(expected), "{text}: {got}");
    }

    #[test]
    fn manifests_say_what_they_are() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let config = format!("\"config\":{{\"mediaType\":\"x\",\"size\":2,\"digest\":\"{digest}\"}}");
        check(&format!("{{\"schemaVersion\":2,{config}}}"), "", OCI_MANIFEST);
        check(&format!("{{\"schemaVersion\":2,{config}}}"), DOCKER_MANIFEST, DOCKER_MANIFEST);
        check("{\"schemaVersion\":2,\"manifests\":[]}", DOCKER_LIST, DOCKER_LIST);
        check("{\"schemaVersion\":2,\"manifests\":[]}", OCI_MANIFEST, "the manifest is both");
        check(
            &format!("{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",{config}}}"),
            DOCKER_MANIFEST,
            "the manifest says it is",
        );
        check(&format!("{{\"schemaVersion\":2,\"manifests\":[],{config}}}"), "", "the manifest is both");
        check("{\"schemaVersion\":1,\"fsLayers\":[]}", "", "manifests of schema version 1");
        check("{}", "", "the manifest has schema version 0");
        check("[", "", "the manifest is malformed");
    }
}
