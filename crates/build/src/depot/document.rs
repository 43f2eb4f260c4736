//! The JSON of a depot: BuildKit's cache configuration, with what our records say beside it.
//!
//! Layers are a forest, each naming the one below it; records are keys with the layer that is their result. BuildKit
//! reads such a document and finds none of its own keys in it, and so do we with one of BuildKit's: keys are made of
//! what each builder knows (docs/decisions/0034-caches-elsewhere.md).

use std::collections::{BTreeMap, HashMap};

use hako_base::clock;
use hako_image::{ShippedLayer, WantedLayer};
use hako_model::Digest;
use serde::{Deserialize, Serialize};

use super::{Known, RemoteLayer};
use crate::{cache::Record, limits};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A cache configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Document {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) layers: Vec<Layer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) records: Vec<Entry>,
    /// The files of cache mounts, by the mount's name.
    #[serde(rename = "hako.mounts", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) mounts: BTreeMap<String, Blob>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layer {
    blob: Digest,
    /// The place of the layer below; -1 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    parent: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Annotations {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    #[serde(rename = "diffID")]
    diff_id: Digest,
    #[serde(default)]
    size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(default, rename = "layers", skip_serializing_if = "Vec::is_empty")]
    results: Vec<Outcome>,
    digest: String,
    /// Absent in what BuildKit writes.
    #[serde(default, rename = "hako", skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    layer: usize,
    #[serde(default, rename = "createdAt", skip_serializing_if = "Option::is_none")]
    created: Option<String>,
}

/// What a record says beyond its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Facts {
    created: String,
    description: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_layer: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    inputs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references to such a function")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The document of these records; with it the layers, each once, in the document's order.
pub(super) fn write(
    records: &[(Digest, Record)],
    layers_of: impl Fn(Digest) -> Vec<ShippedLayer>,
) -> (Document, Vec<ShippedLayer>) {
    let mut document = Document::default();
    let mut blobs: Vec<ShippedLayer> = Vec::new();
    let mut known: HashMap<(i64, Digest), usize> = HashMap::new();
    for (key, record) in records {
        let mut top = None;
        for layer in record.stack.map(&layers_of).unwrap_or_default() {
            let parent = top.map_or(-1, |at: usize| i64::try_from(at).unwrap_or(-1));
            let at = *known.entry((parent, layer.diff_id)).or_insert_with(|| {
                document.layers.push(of_blob(&layer, parent));
                blobs.push(layer);
                blobs.len() - 1
            });
            top = Some(at);
        }
        document.records.push(entry(key, record, top));
    }
    (document, blobs)
}

fn of_blob(layer: &ShippedLayer, parent: i64) -> Layer {
    let media_type = media_type(layer).to_owned();
    let annotations = Annotations { media_type, diff_id: layer.diff_id, size: layer.size };
    Layer { blob: layer.blob, parent, annotations: Some(annotations) }
}

/// The type of a layer's blob.
pub(super) fn media_type(layer: &ShippedLayer) -> &'static str {
    if layer.is_gzip { GZIP } else { ZSTD }
}

fn entry(key: &Digest, record: &Record, top: Option<usize>) -> Entry {
    let created = clock::rfc3339_nano(record.created);
    let outcome = |layer| Outcome { layer, created: Some(created.clone()) };
    Entry {
        results: top.map(outcome).into_iter().collect(),
        digest: key.to_string(),
        facts: Some(Facts {
            created: created.clone(),
            description: record.description.clone(),
            has_layer: record.has_layer,
            inputs: record.inputs.clone(),
        }),
    }
}

impl Document {
    /// The same for an image that carries it: layers are the image's own, by their place.
    pub(super) fn inline(mut self) -> Self {
        self.layers.clear();
        self.mounts.clear();
        self
    }

    /// Gives a document without layers those of the image that carried it: blobs and diff ids, base first.
    pub(super) fn with_layers(mut self, layers: &[RemoteLayer]) -> Self {
        if self.layers.is_empty() {
            let below = |at: usize| i64::try_from(at).map_or(-1, |at| at - 1);
            let layers = layers.iter().enumerate().map(|(at, layer)| Layer {
                blob: layer.wanted.blob,
                parent: below(at),
                annotations: Some(Annotations {
                    media_type: String::new(),
                    diff_id: layer.wanted.diff_id,
                    size: layer.size,
                }),
            });
            self.layers = layers.collect();
        }
        self
    }

    /// Our records of a document, by key. What makes no sense is left out: a cache is a help, never a need.
    pub(super) fn read(&self) -> HashMap<Digest, Known> {
        self.records.iter().take(limits::DEPOT_RECORDS_MAX).filter_map(|entry| self.known(entry)).collect()
    }

    fn known(&self, entry: &Entry) -> Option<(Digest, Known)> {
        let facts = entry.facts.as_ref()?;
        let created = facts.created.parse().ok()?;
        let layers = match entry.results.first() {
            Some(outcome) => self.chain(outcome.layer)?,
            None => Vec::new(),
        };
        let record = Record {
            stack: None,
            has_layer: facts.has_layer,
            created,
            used: created,
            uses: 0,
            description: facts.description.clone(),
            inputs: facts.inputs.clone(),
        };
        Some((entry.digest.parse().ok()?, Known { record, layers }))
    }

    // A layer and those below it, base first; none if the chain has no end.
    fn chain(&self, top: usize) -> Option<Vec<RemoteLayer>> {
        let mut chain = Vec::new();
        let mut next = i64::try_from(top).ok()?;
        while let Ok(at) = usize::try_from(next) {
            if chain.len() == self.layers.len() {
                return None;
            }
            let layer = self.layers.get(at)?;
            let annotations = layer.annotations.as_ref()?;
            let wanted = WantedLayer { diff_id: annotations.diff_id, blob: layer.blob };
            chain.push(RemoteLayer { wanted, size: annotations.size });
            next = layer.parent;
        }
        chain.reverse();
        Some(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::digest;

    fn layer(name: &str) -> ShippedLayer {
        let diff_id = digest(name.as_bytes());
        ShippedLayer {
            diff_id,
            blob: digest(&[name.as_bytes(), b".gz"].concat()),
            size: 7,
            is_gzip: true,
            is_made_here: true,
            is_recipe: false,
        }
    }

    fn record(stack: &str, description: &str) -> (Digest, Record) {
        let created = jiff::Timestamp::UNIX_EPOCH;
        let record = Record {
            stack: (!stack.is_empty()).then(|| digest(stack.as_bytes())),
            has_layer: true,
            created,
            used: created,
            uses: 3,
            description: description.to_owned(),
            inputs: BTreeMap::from([("command".to_owned(), "1".to_owned())]),
        };
        (digest(description.as_bytes()), record)
    }

    // A stack is named by the letters of its layers.
    fn stack(id: Digest) -> Vec<ShippedLayer> {
        let known = ["a", "ab", "abc", "ad"];
        let name = known.into_iter().find(|name| digest(name.as_bytes()) == id).unwrap_or_default();
        name.chars().map(|letter| layer(&letter.to_string())).collect()
    }

    #[test]
    fn what_is_written_is_read_back_and_layers_are_there_once() {
        let records = [record("a", "one"), record("abc", "two"), record("ad", "three"), record("", "four")];
        let (document, blobs) = write(&records, stack);
        let names: Vec<Digest> = blobs.iter().map(|layer| layer.diff_id).collect();
        assert_eq!(names, ["a", "b", "c", "d"].map(|name| digest(name.as_bytes())));
        let text = serde_json::to_string(&document).unwrap();
        let read = serde_json::from_str::<Document>(&text).unwrap().read();
        assert_eq!(read.len(), 4);
        for (key, written) in &records {
            let known = &read[key];
            let expected: Vec<Digest> =
                written.stack.map(stack).unwrap_or_default().iter().map(|layer| layer.diff_id).collect();
            let got: Vec<Digest> = known.layers.iter().map(|layer| layer.wanted.diff_id).collect();
            assert_eq!(got, expected, "{}", written.description);
            assert_eq!(known.record.description, written.description);
            assert_eq!(known.record.inputs, written.inputs);
        }
    }

    #[test]
    fn an_image_that_carries_its_records_gives_them_its_layers() {
        let (document, blobs) = write(&[record("ab", "one")], stack);
        let layers: Vec<RemoteLayer> = blobs
            .iter()
            .map(|layer| RemoteLayer {
                wanted: WantedLayer { diff_id: layer.diff_id, blob: layer.blob },
                size: layer.size,
            })
            .collect();
        let inline = document.clone().inline();
        assert!(!serde_json::to_string(&inline).unwrap().contains("blob"));
        assert_eq!(inline.with_layers(&layers).read()[&digest(b"one")].layers, layers);
    }

    #[test]
    fn documents_of_others_and_damaged_ones_have_nothing_for_us() {
        // As BuildKit writes them: no facts of ours.
        let foreign = r#"{"layers":[{"blob":"sha256:aa"}],"records":[]}"#;
        assert!(serde_json::from_str::<Document>(foreign).is_err());
        let (mut document, _) = write(&[record("ab", "one"), record("a", "two")], stack);
        document.layers[0].parent = 1;
        assert!(document.read().is_empty());
        document.layers.clear();
        assert!(document.read().is_empty());
    }
}
