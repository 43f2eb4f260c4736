//! `save`: images as an archive that Docker, podman, skopeo and hako load.
//!
//! As Docker 28 writes it: an OCI layout with `manifest.json` (and the old `repositories`) beside it, layers
//! uncompressed. The same images give the same bytes: members are in order and carry the images' own times.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::{self, BufRead, Write},
    sync::Arc,
};

use hako_model::{Digest, Reference};
use serde::Serialize;

use super::{
    Store, find,
    wire::{
        ANNOTATION_NAME, ANNOTATION_TAG, ArchiveImage, CONFIG, Descriptor, DescriptorPlatform, INDEX, Index, LAYER,
        MANIFEST, Manifest,
    },
};
use crate::{
    Image, ImageError,
    catalog::{Catalog, Layer},
    content::{Hasher, digest_of},
    layer::open_tar,
    tar::{Entry, Kind, Time, Writer},
};

/// An image and the names under which it goes into the archive.
struct Chosen {
    image: Arc<Image>,
    names: Vec<Reference>,
    layers: Vec<Layer>,
}

/// One file of the archive.
enum Body {
    Bytes(Vec<u8>),
    Layer(Layer),
}

impl Store {
    /// Writes an archive of the images that `names` stand for. A name brings its tag, a repository all its tags, an id
    /// none.
    ///
    /// # Errors
    /// When an image is missing or a layer is not what it was, or the receiver has gone.
    pub fn save(&self, names: &[String], output: impl Write) -> Result<(), ImageError> {
        self.save_without(names, &HashSet::new(), output)
    }

    /// The same without these layers (by diff id), which the receiver says it has.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_without(
        &self,
        names: &[String],
        without: &HashSet<Digest>,
        output: impl Write,
    ) -> Result<(), ImageError> {
        self.save_chosen(|| self.choose(names), without, output)
    }

    /// One image, under these names, which need not be its names here.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_as(&self, id: Digest, names: &[Reference], output: impl Write) -> Result<(), ImageError> {
        let choose = || {
            let mut chosen = self.choose(&[id.to_string()])?;
            chosen.iter_mut().for_each(|one| names.clone_into(&mut one.names));
            Ok(chosen)
        };
        self.save_chosen(choose, &HashSet::new(), output)
    }

    fn save_chosen(
        &self,
        choose: impl FnOnce() -> Result<Vec<Chosen>, ImageError>,
        without: &HashSet<Digest>,
        output: impl Write,
    ) -> Result<(), ImageError> {
        let lease = self.inner.leases.take();
        let chosen = choose()?;
        for chosen in &chosen {
            chosen.image.diff_ids.iter().for_each(|diff_id| lease.hold(*diff_id));
        }
        let mut members = members(&chosen);
        members.retain(|_, (body, _)| !matches!(body, Body::Layer(layer) if without.contains(&layer.diff_id)));
        let mut writer = Writer::new(output);
        let stream = |source| ImageError::Stream { what: "write", source };
        let mut directories = BTreeSet::new();
        for (name, (body, modified)) in members {
            for (at, _) in name.match_indices('/') {
                if directories.insert(name[..=at].to_owned()) {
                    let entry = Entry { mode: 0o755, modified, ..Entry::new(&name[..=at], Kind::Directory) };
                    writer.entry(&entry).map_err(stream)?;
                }
            }
            let entry = Entry { mode: 0o644, modified, ..Entry::new(name, Kind::File) };
            match body {
                Body::Bytes(bytes) => writer.whole(&entry, &bytes).map_err(stream)?,
                Body::Layer(layer) => self.write_layer(&mut writer, entry, &layer)?,
            }
        }
        writer.finish().map_err(stream)?.flush().map_err(stream)
    }

    fn choose(&self, names: &[String]) -> Result<Vec<Chosen>, ImageError> {
        let catalog = self.inner.catalog.read();
        let mut chosen: Vec<Chosen> = Vec::new();
        for text in names {
            for (image, name) in meant(&catalog, text)? {
                let position = chosen.iter().position(|known| known.image.id == image.id).unwrap_or(chosen.len());
                if position == chosen.len() {
                    let layers = catalog.stack(image.chain_id).into_iter().rev().cloned().collect();
                    chosen.push(Chosen { image, names: Vec::new(), layers });
                }
                let names = &mut chosen[position].names;
                names.extend(name.filter(|name| !names.contains(name)));
            }
        }
        Ok(chosen)
    }

    // The stored blob, inflated on its way, or the files in its place; verified while it passes, for a receiver must not get what is damaged.
    fn write_layer(&self, writer: &mut Writer<impl Write>, entry: Entry, layer: &Layer) -> Result<(), ImageError> {
        let what = format!("layer {}", layer.diff_id);
        let mut tar = open_tar(&self.inner.layers, &self.inner.content, layer)?;
        let stream = |source| ImageError::Stream { what: "write", source };
        writer.entry(&Entry { size: layer.tar_size, ..entry }).map_err(stream)?;
        let mut hasher = Hasher::new();
        while writer.missing() > 0 {
            let chunk = tar.fill_buf().map_err(ImageError::io(format!("cannot read {what}")))?;
            if chunk.is_empty() {
                return Err(ImageError::io(format!("cannot read {what}"))(io::ErrorKind::UnexpectedEof.into()));
            }
            let count = chunk.len().min(usize::try_from(writer.missing()).unwrap_or(usize::MAX));
            hasher.update(&chunk[..count]);
            writer.payload(&chunk[..count]).map_err(stream)?;
            tar.consume(count);
        }
        let found = hasher.digest();
        if found != layer.diff_id {
            return Err(ImageError::DigestMismatch { what, expected: layer.diff_id, found });
        }
        Ok(())
    }
}

/// An image that a person means, and the name by which it is meant.
type Meant = (Arc<Image>, Option<Reference>);

// The images that a text stands for, each with the name it is saved under. A repository without a tag is all its tags.
fn meant(catalog: &Catalog, text: &str) -> Result<Vec<Meant>, ImageError> {
    let name = text.parse::<Reference>().ok();
    if let Some(repository) = name.as_ref().filter(|name| name.tag().is_none() && name.digest().is_none()) {
        let of_repository =
            |known: &&Reference| known.tag().is_some() && known.familiar_name() == repository.familiar_name();
        let tags = catalog.names.keys().filter(of_repository);
        let images: Vec<_> = tags
            .filter_map(|tag| Some((catalog.images.get(catalog.names.get(tag)?)?.clone(), Some(tag.clone()))))
            .collect();
        if !images.is_empty() {
            return Ok(images);
        }
    }
    let image = find(catalog, text)?;
    let name = name.filter(|name| image.references.contains(name));
    Ok(vec![(image, name)])
}

fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

// Every member by name, with its time.
fn members(chosen: &[Chosen]) -> BTreeMap<String, (Body, Time)> {
    let mut members = BTreeMap::new();
    let epoch = Time::default();
    let mut index = Index { schema_version: 2, media_type: INDEX.to_owned(), manifests: Vec::new() };
    let mut archive = Vec::new();
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for Chosen { image, names, layers } in chosen {
        let seconds = image.created.map_or(0, |created| created.as_second());
        let created = Time { seconds, nanoseconds: 0 };
        for layer in layers {
            members.insert(blob(layer.diff_id), (Body::Layer(layer.clone()), created));
        }
        let described = |layer: &Layer| Descriptor::new(LAYER, layer.diff_id, layer.tar_size);
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Descriptor::new(CONFIG, image.id, image.raw_config.len() as u64),
            layers: layers.iter().map(described).collect(),
        };
        let manifest = json(&manifest);
        let mut descriptor = Descriptor::new(MANIFEST, digest_of(&manifest), manifest.len() as u64);
        descriptor.platform = Some(DescriptorPlatform {
            architecture: image.platform.architecture.clone(),
            os: image.platform.os.clone(),
            variant: image.platform.variant.clone(),
        });
        members.insert(blob(descriptor.digest), (Body::Bytes(manifest), created));
        members.insert(blob(image.id), (Body::Bytes(image.raw_config.to_vec()), created));
        index.manifests.extend(annotated(&descriptor, names));
        for name in names {
            let tags = repositories.entry(name.familiar_name()).or_default();
            let top = image.diff_ids.last().map(Digest::hex).unwrap_or_default();
            tags.insert(name.tag().unwrap_or_default().to_owned(), top);
        }
        archive.push(ArchiveImage {
            config: blob(image.id),
            repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
            layers: layers.iter().map(|layer| blob(layer.diff_id)).collect(),
            layer_sources: layers.iter().map(|layer| (layer.diff_id.to_string(), described(layer))).collect(),
        });
    }
    members.insert("index.json".to_owned(), (Body::Bytes(json(&index)), epoch));
    members.insert("manifest.json".to_owned(), (Body::Bytes(json(&archive)), epoch));
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    members.insert("oci-layout".to_owned(), (Body::Bytes(layout.to_vec()), epoch));
    if !repositories.is_empty() {
        members.insert("repositories".to_owned(), (Body::Bytes(json(&repositories)), epoch));
    }
    members
}

// One entry of the index for each name; one without a name for an image that was asked for by its id.
fn annotated(descriptor: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![descriptor.clone()];
    }
    let named = names.iter().map(|name| {
        let mut descriptor = descriptor.clone();
        descriptor.annotations.insert(ANNOTATION_NAME.to_owned(), name.to_string());
        descriptor.annotations.insert(ANNOTATION_TAG.to_owned(), name.tag().unwrap_or_default().to_owned());
        descriptor
    });
    named.collect()
}
