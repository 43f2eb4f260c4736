//! Lists that are being put together: a folder for each below `manifests` beside `config.json`, in it a file for each
//! manifest, named and written as docker's CLI does it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hako_api::text::{base64_standard, base64_url_decode};
use hako_base::file::{Durability, write_atomic};
use hako_model::Reference;
use hako_registry::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    error::CommandError,
    format::json,
    registry::{Descriptor, DescriptorPlatform, Place},
};

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The lists below a directory.
pub(super) struct Lists(PathBuf);

/// One manifest as docker's CLI keeps and shows it.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(rename = "Ref")]
    pub(super) name: String,
    #[serde(rename = "Descriptor")]
    pub(super) descriptor: Descriptor,
    #[serde(rename = "Raw")]
    raw: String,
    #[serde(rename = "SchemaV2Manifest", skip_serializing_if = "Option::is_none")]
    docker: Option<Box<RawValue>>,
    #[serde(rename = "OCIManifest", skip_serializing_if = "Option::is_none")]
    oci: Option<Box<RawValue>>,
}

/// A list as it is pushed: docker writes the size before the digest here, and three blanks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) manifests: Vec<ListEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListEntry {
    media_type: String,
    size: u64,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) platform: DescriptorPlatform,
}

impl List {
    /// Of manifests that are all OCI's it is OCI's, else Docker's.
    pub(super) fn of(kept: &[Kept]) -> Self {
        let is_oci = kept.iter().all(|one| one.descriptor.media_type == OCI_MANIFEST);
        let entry = |one: &Kept| {
            let Descriptor { media_type, digest, size, platform, .. } = one.descriptor.clone();
            ListEntry { media_type, size, digest, platform: platform.unwrap_or_default() }
        };
        let media_type = if is_oci { OCI_INDEX } else { DOCKER_LIST }.to_owned();
        Self { schema_version: 2, media_type, manifests: kept.iter().map(entry).collect() }
    }

    pub(super) fn text(&self) -> String {
        json::indent(&serde_json::to_string(self).unwrap_or_default(), "   ")
    }
}

impl Kept {
    /// `platform`: what the image's configuration, or the list it came from, says it is for.
    pub(super) fn new(name: String, manifest: &Manifest, platform: DescriptorPlatform) -> Result<Self, CommandError> {
        let text = String::from_utf8_lossy(&manifest.bytes);
        let compact = json::compact(&text).and_then(RawValue::from_string);
        let compact = compact.map_err(|error| CommandError::Said(format!("the manifest is malformed: {error}")))?;
        let is_oci = manifest.media_type == OCI_MANIFEST;
        let (docker, oci) = if is_oci { (None, Some(compact)) } else { (Some(compact), None) };
        let descriptor = Descriptor {
            media_type: manifest.media_type.clone(),
            digest: manifest.digest.to_string(),
            size: manifest.bytes.len() as u64,
            platform: Some(platform),
            ..Descriptor::default()
        };
        Ok(Self { name, descriptor, raw: base64_standard(&manifest.bytes), docker, oci })
    }

    /// What the registry has under a name, which is one image.
    pub(super) async fn fetch(place: &Place, name: &Reference) -> Result<Self, CommandError> {
        let manifest = present(place, name).await?;
        if manifest.is_index {
            return Err(CommandError::Said(format!("{name} is a manifest list")));
        }
        let platform = place.platform(name, &manifest).await?;
        Self::new(name.to_string(), &manifest, platform)
    }

    /// The manifest, byte for byte.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, CommandError> {
        base64_url_decode(&self.raw)
            .ok_or_else(|| CommandError::Said(format!("what is kept of {} is damaged", self.name)))
    }

    pub(super) fn text(&self) -> String {
        json::indent(&serde_json::to_string(self).unwrap_or_default(), "\t")
    }
}

impl Lists {
    pub(super) fn below(directory: &Path) -> Self {
        Self(directory.join("manifests"))
    }

    /// The manifests of a list, sorted by name; none: there is no such list.
    pub(super) fn read(&self, list: &Reference) -> Result<Vec<Kept>, CommandError> {
        let folder = self.folder(list);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CommandError::local(format!("read {}", folder.display()))(error)),
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
        let mut paths = paths.map_err(CommandError::local(format!("read {}", folder.display())))?;
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    }

    /// One manifest of a list.
    pub(super) fn find(&self, list: &Reference, name: &Reference) -> Result<Option<Kept>, CommandError> {
        let path = self.folder(list).join(file_name(name));
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    pub(super) fn keep(&self, list: &Reference, name: &Reference, kept: &Kept) -> Result<(), CommandError> {
        let (folder, text) = (self.folder(list), serde_json::to_string(kept).unwrap_or_default());
        let path = folder.join(file_name(name));
        fs::create_dir_all(&folder)
            .and_then(|()| write_atomic(&path, text.as_bytes(), 0o644, Durability::Process))
            .map_err(CommandError::local(format!("write {}", path.display())))
    }

    /// Removes a list; `false`: there was none.
    pub(super) fn remove(&self, list: &Reference) -> Result<bool, CommandError> {
        let folder = self.folder(list);
        match fs::remove_dir_all(&folder) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(CommandError::local(format!("remove {}", folder.display()))(error)),
        }
    }

    fn folder(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }
}

/// What the registry has under a name; nothing is an error.
pub(super) async fn present(place: &Place, name: &Reference) -> Result<Manifest, CommandError> {
    place.manifest(name).await?.ok_or_else(|| CommandError::Said(format!("no such manifest: {name}")))
}

fn read(path: &Path) -> Result<Kept, CommandError> {
    let text = fs::read(path).map_err(CommandError::local(format!("read {}", path.display())))?;
    serde_json::from_slice(&text)
        .map_err(|error| CommandError::Said(format!("cannot read {}: {error}", path.display())))
}

// A name is valid as such: it has no dots alone between slashes, and no slash at its beginning.
fn file_name(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_docker_names_them() {
        for (name, expected) in
            [("localhost:5000/box:all", "localhost-5000_box-all"), ("box:1", "docker.io_library_box-1")]
        {
            assert_eq!(file_name(&name.parse().unwrap()), expected);
        }
    }
}
