//! `load`: images from an archive, as `docker save`, podman, skopeo and BuildKit write them.
//!
//! Docker's `manifest.json` is followed where there is one (what Docker writes is an OCI layout as well), else
//! OCI's `index.json`. Every digest is verified; nothing is recorded unless every image of the archive is whole.

use std::{collections::HashSet, io::Read};

use hako_model::{Digest, Platform, Reference};
use serde::de::DeserializeOwned;

use super::{
    Arrivals, Candidate, Store,
    member::{Members, Reading, known_layer},
    wire::{ANNOTATION_KIND, ANNOTATION_NAME, ANNOTATION_TAG, ArchiveImage, Descriptor, Index, Manifest},
};
use crate::{ImageError, Loaded, Progress, catalog::ImageRecord, codec, config::Document, content::digest_of, limits};

impl Store {
    /// Loads every image of an archive (a tar, plain or compressed). Of an index, those for `platforms`, or else this
    /// host's; a name goes to this host's, or to that of the platform that stands first, and the others have none.
    ///
    /// # Errors
    /// When the archive is damaged, not one, or lacks a platform, or the disk fails; nothing is left then.
    pub fn load(
        &self,
        input: impl Read,
        platforms: &[Platform],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Loaded>, ImageError> {
        let (_, input) = codec::plain(input).map_err(|source| ImageError::Stream { what: "read", source })?;
        let lease = self.inner.leases.take();
        let mut reading = Reading { inner: &self.inner, lease: &lease, progress };
        let mut members = Members::read(input, &mut reading)?;
        // Whoever sends an archive may leave out what we have (`image copy`). The lease first, so that it stays.
        let known = |digest: Digest| {
            lease.hold(digest);
            known_layer(&self.inner, digest)
        };
        let candidates = if members.has("manifest.json") {
            of_platforms(from_manifest(&members, &known)?, platforms)?
        } else if members.has("index.json") {
            from_index(&members, &preferred(platforms), &known)?
        } else {
            return Err(ImageError::archive("it has neither manifest.json nor index.json"));
        };
        let wanted: HashSet<Digest> =
            candidates.iter().flat_map(|candidate| candidate.diff_ids.iter().copied()).collect();
        members.keep_only(&wanted);
        let mut loaded: Vec<Loaded> = Vec::new();
        for candidate in &candidates {
            self.tell_renames(candidate, progress);
            loaded.push(Loaded { id: candidate.id, references: candidate.references.clone() });
        }
        self.record(candidates, Arrivals { received: members.received })?;
        Ok(loaded)
    }

    fn tell_renames(&self, candidate: &Candidate, progress: &mut dyn FnMut(Progress)) {
        let catalog = self.inner.catalog.read();
        for reference in &candidate.references {
            if let Some(old) = catalog.names.get(reference).filter(|old| **old != candidate.id) {
                progress(Progress::Renamed { reference: reference.clone(), old: *old });
            }
        }
    }
}

fn parse<T: DeserializeOwned>(members: &Members, name: &str) -> Result<T, ImageError> {
    let bytes = members.document_of(name)?;
    serde_json::from_slice(bytes).map_err(|error| ImageError::archive(format!("{name} is malformed: {error}")))
}

type Known<'k> = &'k dyn Fn(Digest) -> Option<Digest>;

// The images for these platforms, at least one for each.
fn of_platforms(candidates: Vec<Candidate>, platforms: &[Platform]) -> Result<Vec<Candidate>, ImageError> {
    let is_for = |candidate: &Candidate, wanted: &Platform| {
        let own = Document::parse(&candidate.config).map(|document| document.platform());
        own.is_ok_and(|own| wanted.takes(&own))
    };
    let has = |wanted: &&Platform| candidates.iter().any(|candidate| is_for(candidate, wanted));
    if let Some(missing) = platforms.iter().find(|wanted| !has(wanted)) {
        return Err(no_image_for(missing));
    }
    let is_wanted =
        |candidate: &Candidate| platforms.is_empty() || platforms.iter().any(|wanted| is_for(candidate, wanted));
    Ok(candidates.into_iter().filter(is_wanted).collect())
}

// The platforms in the order in which they get names: this host's first.
fn preferred(platforms: &[Platform]) -> Vec<Platform> {
    let host = Platform::host();
    if platforms.is_empty() {
        return vec![host];
    }
    let is_host = |platform: &&Platform| platform.os == host.os && platform.architecture == host.architecture;
    let (own, others): (Vec<_>, Vec<_>) = platforms.iter().partition(is_host);
    own.into_iter().chain(others).cloned().collect()
}

pub(super) fn no_image_for(platform: &Platform) -> ImageError {
    ImageError::archive(format!("it has no image for {platform}"))
}

fn from_manifest(members: &Members, known: Known<'_>) -> Result<Vec<Candidate>, ImageError> {
    let images: Vec<ArchiveImage> = parse(members, "manifest.json")?;
    let mut candidates = Vec::with_capacity(images.len());
    for image in images {
        let config = members.document_of(&image.config)?;
        let layers = image.layers.iter().map(|name| members.layer_of(name, known)).collect::<Result<Vec<_>, _>>()?;
        let mut references = Vec::new();
        for tag in image.repo_tags.unwrap_or_default() {
            let reference: Reference = tag.parse()?;
            // As Docker: a digest in RepoTags is no tag.
            if reference.digest().is_none() {
                references.push(reference.with_default_tag());
            }
        }
        candidates.push(candidate(config, &layers, references)?);
    }
    Ok(candidates)
}

fn from_index(members: &Members, platforms: &[Platform], known: Known<'_>) -> Result<Vec<Candidate>, ImageError> {
    let index: Index = parse(members, "index.json")?;
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut missing: Vec<&Platform> = platforms.iter().collect();
    for descriptor in &index.manifests {
        let mut names: Vec<Reference> = name_of(descriptor).into_iter().collect();
        for platform in platforms {
            let Some(manifest) = choose(members, descriptor, platform, 0)? else { continue };
            missing.retain(|wanted| *wanted != platform);
            let config = members.document_of(&blob(manifest.config.digest))?;
            let layers = manifest
                .layers
                .iter()
                .map(|layer| members.layer_of(&blob(layer.digest), known))
                .collect::<Result<Vec<_>, _>>()?;
            // A name stands for one image.
            let mut new = candidate(config, &layers, std::mem::take(&mut names))?;
            match candidates.iter_mut().find(|known| known.id == new.id) {
                Some(known) => known.references.append(&mut new.references),
                None => candidates.push(new),
            }
        }
    }
    match missing.first() {
        Some(platform) => Err(no_image_for(platform)),
        None => Ok(candidates),
    }
}

fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

// The manifest that a descriptor leads to; of an index, the first for the platform.
fn choose(
    members: &Members,
    descriptor: &Descriptor,
    platform: &Platform,
    depth: usize,
) -> Result<Option<Manifest>, ImageError> {
    if depth > limits::INDEX_DEPTH_MAX {
        return Err(ImageError::archive("its indexes are nested too deep"));
    }
    if !descriptor.fits(platform) || descriptor.annotations.contains_key(ANNOTATION_KIND) {
        return Ok(None);
    }
    let name = blob(descriptor.digest);
    if !descriptor.is_index() {
        return parse(members, &name).map(Some);
    }
    let index: Index = parse(members, &name)?;
    for inner in index.manifests {
        // An archive of one platform may keep an index that speaks of all.
        if members.has(&blob(inner.digest))
            && let Some(found) = choose(members, &inner, platform, depth + 1)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let whole = descriptor.annotations.get(ANNOTATION_NAME);
    // A bare tag names nothing by itself; a whole name (podman, skopeo) does.
    let named = || descriptor.annotations.get(ANNOTATION_TAG).filter(|text| text.contains([':', '/']));
    let text = whole.or_else(named)?;
    text.parse::<Reference>().ok().map(Reference::with_default_tag).filter(|name| name.digest().is_none())
}

// Every layer must be the one that the configuration names: order, number and bytes.
fn candidate(config: &[u8], layers: &[Digest], references: Vec<Reference>) -> Result<Candidate, ImageError> {
    let id = digest_of(config);
    let bad = |why: String| ImageError::Config { image: id.to_string(), why };
    let document = Document::parse(config).map_err(|error| bad(error.to_string()))?;
    let os = document.platform().os;
    if os != "linux" {
        return Err(ImageError::archive(format!("cannot load {os} image on linux")));
    }
    let diff_ids = document.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        let (expected, found) = (diff_ids.len(), layers.len());
        return Err(ImageError::archive(format!(
            "invalid manifest, layers length mismatch: expected {expected}, got {found}"
        )));
    }
    for (index, (expected, found)) in diff_ids.iter().zip(layers).enumerate() {
        if expected != found {
            return Err(ImageError::DiffId { index, expected: expected.to_string(), found: found.to_string() });
        }
    }
    Ok(Candidate { config: config.into(), id, diff_ids, record: ImageRecord::default(), references })
}
