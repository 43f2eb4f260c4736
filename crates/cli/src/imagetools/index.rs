//! One index of several sources: which manifests are in it, what is said of them, and what type it has. Nothing is
//! asked for here.

use hako_model::{Platform, Reference};
use hako_registry::Manifest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::annotation::{Annotations, is};
use crate::registry::{Descriptor, DescriptorPlatform};

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What of a descriptor says that it attests another one, and which.
const ATTESTS: &str = "vnd.docker.reference.digest";

/// A source that was fetched.
pub(super) struct Fetched {
    /// Where it is.
    pub(super) name: Reference,
    pub(super) manifest: Manifest,
    /// What is to be said of it otherwise than it says itself.
    pub(super) given: Option<Descriptor>,
    /// Of an image: what its configuration says.
    pub(super) platform: Option<DescriptorPlatform>,
}

/// What is wanted of them.
pub(super) struct Wanted {
    pub(super) annotations: Annotations,
    /// None: every platform.
    pub(super) platforms: Vec<Platform>,
    /// A single image becomes an index of one.
    pub(super) prefer_index: bool,
}

/// What came of them.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
    /// What it names, and in which repository that is.
    pub(super) parts: Vec<(Reference, Descriptor)>,
}

/// An index as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// # Errors
/// When there is nothing for the platforms that are wanted, or an index cannot be read.
pub(super) fn combine(sources: &[Fetched], wanted: &Wanted) -> Result<Made, String> {
    if let Some(made) = as_it_is(sources, wanted)? {
        return Ok(made);
    }
    let mut parts: Vec<(Reference, Descriptor)> = Vec::new();
    for source in sources {
        for descriptor in descriptors(source)? {
            match parts.iter_mut().find(|(_, known)| known.digest == descriptor.digest) {
                // Who names it again says more of it.
                Some((_, known)) => *known = merged(known.clone(), &descriptor),
                None => parts.push((source.name.clone(), descriptor)),
            }
        }
    }
    if !wanted.platforms.is_empty() {
        parts = of_platforms(parts, &wanted.platforms)?;
    }
    for (_, descriptor) in &mut parts {
        if !descriptor.annotations.contains_key(ATTESTS) {
            let platform = descriptor.platform.clone().unwrap_or_default();
            let said = wanted.annotations.of(&platform).map(|(key, value)| (key.to_owned(), value.to_owned()));
            descriptor.annotations.extend(said);
        }
    }
    // Docker's own list has no annotations.
    let is_docker = wanted.annotations.index.is_empty()
        && parts.iter().all(|(_, part)| part.media_type == DOCKER_MANIFEST && part.annotations.is_empty());
    let index = Index {
        schema_version: 2,
        media_type: if is_docker { DOCKER_LIST } else { OCI_INDEX }.to_owned(),
        manifests: parts.iter().map(|(_, descriptor)| descriptor.clone()).collect(),
        annotations: wanted.annotations.index.clone(),
    };
    let bytes = serde_json::to_vec_pretty(&index).map_err(|error| error.to_string())?;
    Ok(Made { media_type: index.media_type, bytes, parts })
}

// A single source of which nothing else is to be said stays what it is, byte for byte.
fn as_it_is(sources: &[Fetched], wanted: &Wanted) -> Result<Option<Made>, String> {
    let [source] = sources else { return Ok(None) };
    let is_changed = !wanted.annotations.is_empty()
        || source.given.as_ref().is_some_and(|given| given.platform.is_some() || !given.annotations.is_empty());
    let platforms: Vec<(Reference, Descriptor)> =
        descriptors(source)?.into_iter().map(|descriptor| (source.name.clone(), descriptor)).collect();
    let is_cut =
        !wanted.platforms.is_empty() && of_platforms(platforms.clone(), &wanted.platforms)?.len() < platforms.len();
    if is_changed || is_cut || (!source.manifest.is_index && wanted.prefer_index) {
        return Ok(None);
    }
    let (media_type, bytes) = (source.manifest.media_type.clone(), source.manifest.bytes.to_vec());
    Ok(Some(Made { media_type, bytes, parts: if source.manifest.is_index { platforms } else { Vec::new() } }))
}

/// The index that a manifest is.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(manifest: &Manifest) -> Result<Index, String> {
    serde_json::from_slice(&manifest.bytes)
        .map_err(|error| format!("the index {} is malformed: {error}", manifest.digest))
}

fn descriptors(source: &Fetched) -> Result<Vec<Descriptor>, String> {
    if source.manifest.is_index {
        return Ok(read(&source.manifest)?.manifests);
    }
    let own = Descriptor {
        media_type: source.manifest.media_type.clone(),
        digest: source.manifest.digest.to_string(),
        size: source.manifest.bytes.len() as u64,
        platform: source.platform.clone(),
        ..Descriptor::default()
    };
    Ok(vec![match &source.given {
        Some(given) => merged(own, given),
        None => own,
    }])
}

// Size and type are the registry's to say.
fn merged(mut own: Descriptor, given: &Descriptor) -> Descriptor {
    own.annotations.extend(given.annotations.clone());
    if let Some(said) = &given.platform {
        let mut platform = own.platform.take().unwrap_or_default();
        let texts = [
            (&said.architecture, &mut platform.architecture),
            (&said.os, &mut platform.os),
            (&said.os_version, &mut platform.os_version),
            (&said.variant, &mut platform.variant),
        ];
        for (said, own) in texts.into_iter().filter(|(said, _)| !said.is_empty()) {
            own.clone_from(said);
        }
        if !said.os_features.is_empty() {
            platform.os_features.clone_from(&said.os_features);
        }
        own.platform = Some(platform);
    }
    own
}

// Those for these platforms, each with what is attested of it.
fn of_platforms(
    parts: Vec<(Reference, Descriptor)>,
    platforms: &[Platform],
) -> Result<Vec<(Reference, Descriptor)>, String> {
    let for_one = |part: &Descriptor, wanted: &Platform| part.platform.as_ref().is_some_and(|own| is(wanted, own));
    for wanted in platforms {
        if !parts.iter().any(|(_, part)| for_one(part, wanted)) {
            return Err(format!("no image for {wanted} among the sources"));
        }
    }
    let kept: Vec<String> = parts
        .iter()
        .filter(|(_, part)| platforms.iter().any(|wanted| for_one(part, wanted)))
        .map(|(_, part)| part.digest.clone())
        .collect();
    let stays = |part: &Descriptor| {
        kept.contains(&part.digest) || part.annotations.get(ATTESTS).is_some_and(|of| kept.contains(of))
    };
    Ok(parts.into_iter().filter(|(_, part)| stays(part)).collect())
}

/// Of which manifest a descriptor's attests.
pub(super) fn attests(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations.get(ATTESTS).map(String::as_str)
}
