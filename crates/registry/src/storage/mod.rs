//! The server's directory, in the layout of the reference registry (`registry:2`), so that existing data opens
//! unchanged and can be taken back there.
//!
//! ```text
//! docker/registry/v2/blobs/sha256/ab/ab…/data                   every blob and manifest, once (sha512 beside it)
//!   repositories/NAME/_layers/sha256/…/link                    blobs that belong to NAME
//!   repositories/NAME/_manifests/revisions/sha256/…/link       manifests of NAME
//!   repositories/NAME/_manifests/tags/TAG/current/link         what TAG stands for
//!   repositories/NAME/_manifests/tags/TAG/index/sha256/…/link  what it stood for
//!   repositories/NAME/_manifests/referrers/sha256/…/…/link     ours: who refers to a manifest
//!   repositories/NAME/_uploads/UUID/{data,startedat}           blobs that are coming in
//! ```
//! A `link` is a file with a digest in it. Content is on the disk before a link to it is. Synchronous.

mod collect;
mod upload;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use hako_base::file::{Durability, make_dir, write_atomic};

pub use collect::{CollectOptions, Collected};
pub(crate) use upload::{Appended, Upload};

use crate::{
    digest::ContentDigest,
    limits,
    name::{Repository, is_tag},
    wire::Document,
};

/// The directory.
#[derive(Debug)]
pub(crate) struct Storage {
    blobs: PathBuf,
    repositories: PathBuf,
}

impl Storage {
    /// Opens (and makes) the storage below `root`.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let base = root.join("docker/registry/v2");
        let storage = Self { blobs: base.join("blobs"), repositories: base.join("repositories") };
        make_dir(&storage.blobs.join("sha256"), 0o755)?;
        make_dir(&storage.repositories, 0o755)?;
        Ok(storage)
    }

    fn repository(&self, name: &Repository) -> PathBuf {
        self.repositories.join(name.as_str())
    }

    fn blob(&self, digest: ContentDigest) -> PathBuf {
        let hex = digest.hex();
        self.blobs.join(digest.algorithm().name()).join(&hex[..2]).join(hex).join("data")
    }

    fn layer_link(&self, name: &Repository, digest: ContentDigest) -> PathBuf {
        folder(self.repository(name).join("_layers"), digest).join("link")
    }

    fn revision_link(&self, name: &Repository, digest: ContentDigest) -> PathBuf {
        folder(self.repository(name).join("_manifests/revisions"), digest).join("link")
    }

    fn tag(&self, name: &Repository, tag: &str) -> PathBuf {
        self.repository(name).join("_manifests/tags").join(tag)
    }

    fn referrers_of(&self, name: &Repository, subject: ContentDigest) -> PathBuf {
        folder(self.repository(name).join("_manifests/referrers"), subject)
    }

    /// Whether anything was ever pushed under this name.
    pub(crate) fn has_repository(&self, name: &Repository) -> bool {
        self.repository(name).join("_manifests").is_dir()
    }

    /// Whether the repository has this blob.
    pub(crate) fn has_blob(&self, name: &Repository, digest: ContentDigest) -> bool {
        self.layer_link(name, digest).exists() && self.blob(digest).exists()
    }

    /// A blob of the repository, and its size.
    pub(crate) fn blob_open(&self, name: &Repository, digest: ContentDigest) -> io::Result<Option<(File, u64)>> {
        let linked = self.layer_link(name, digest).exists() || self.revision_link(name, digest).exists();
        if !linked {
            return Ok(None);
        }
        match File::open(self.blob(digest)) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a blob that is here belong to the repository, too.
    pub(crate) fn blob_link(&self, name: &Repository, digest: ContentDigest) -> io::Result<()> {
        let _guard = self.write_guard()?;
        self.blob_link_guarded(name, digest)
    }

    fn blob_link_guarded(&self, name: &Repository, digest: ContentDigest) -> io::Result<()> {
        // The reference registry lists only repositories with this folder.
        make_dir(&self.repository(name).join("_manifests/revisions"), 0o755)?;
        link(&self.layer_link(name, digest), digest)
    }

    /// The repository forgets a blob; the bytes go with the next collection.
    pub(crate) fn blob_unlink(&self, name: &Repository, digest: ContentDigest) -> io::Result<bool> {
        removed(fs::remove_dir_all(folder(self.repository(name).join("_layers"), digest)))
    }

    /// What a tag stands for.
    pub(crate) fn tag_read(&self, name: &Repository, tag: &str) -> io::Result<Option<ContentDigest>> {
        read_link(&self.tag(name, tag).join("current/link"))
    }

    /// A manifest's bytes.
    pub(crate) fn manifest_read(&self, name: &Repository, digest: ContentDigest) -> io::Result<Option<Vec<u8>>> {
        if !self.revision_link(name, digest).exists() {
            return Ok(None);
        }
        read_document(&self.blob(digest))
    }

    /// A small blob's bytes, such as a configuration's; `None` if it is missing or larger than a document.
    pub(crate) fn document_read(&self, digest: ContentDigest) -> io::Result<Option<Vec<u8>>> {
        read_document(&self.blob(digest))
    }

    /// Whether the repository has this manifest.
    pub(crate) fn has_manifest(&self, name: &Repository, digest: ContentDigest) -> bool {
        self.revision_link(name, digest).exists()
    }

    /// Keeps a manifest if the repository has all that it needs; answers what is missing.
    pub(crate) fn manifest_write_checked(
        &self,
        name: &Repository,
        digest: ContentDigest,
        bytes: &[u8],
        document: &Document,
        tags: &[&str],
    ) -> io::Result<Vec<ContentDigest>> {
        let _guard = self.write_guard()?;
        let blobs = document.blobs().map(|blob| blob.digest).filter(|digest| !self.has_blob(name, *digest));
        // BuildKit's caches are indexes of layers, which other registries take too.
        let is_here = |digest: &ContentDigest| self.has_manifest(name, *digest) || self.has_blob(name, *digest);
        let inner = document.manifests.iter().flatten().map(|inner| inner.digest);
        let mut missing: Vec<_> = blobs.chain(inner.filter(|digest| !is_here(digest))).collect();
        missing.dedup();
        if missing.is_empty() {
            // A subject may come later.
            let subject = document.subject.as_ref().map(|subject| subject.digest);
            self.manifest_write(name, digest, bytes, subject, tags)?;
        }
        Ok(missing)
    }

    /// Keeps a manifest: its bytes, then that it belongs to the repository, then what refers to it.
    pub(crate) fn manifest_write(
        &self,
        name: &Repository,
        digest: ContentDigest,
        bytes: &[u8],
        subject: Option<ContentDigest>,
        tags: &[&str],
    ) -> io::Result<()> {
        let path = self.blob(digest);
        if !path.exists() {
            make_dir(parent(&path), 0o755)?;
            write_atomic(&path, bytes, 0o644, Durability::Power)?;
        }
        link(&self.revision_link(name, digest), digest)?;
        make_dir(&self.repository(name).join("_layers"), 0o755)?;
        if let Some(subject) = subject {
            link(&self.referrers_of(name, subject).join(digest.hex()).join("link"), digest)?;
        }
        for tag in tags {
            let tag = self.tag(name, tag);
            link(&folder(tag.join("index"), digest).join("link"), digest)?;
            link(&tag.join("current/link"), digest)?;
        }
        Ok(())
    }

    /// The repository forgets a manifest and every tag that stands for it.
    pub(crate) fn manifest_remove(&self, name: &Repository, digest: ContentDigest) -> io::Result<bool> {
        for tag in self.tags(name)? {
            if self.tag_read(name, &tag)? == Some(digest) {
                self.tag_remove(name, &tag)?;
            }
        }
        if let Some(subject) = self.subject_of(name, digest)? {
            removed(fs::remove_dir_all(self.referrers_of(name, subject).join(digest.hex())))?;
        }
        let revision = self.revision_link(name, digest);
        removed(fs::remove_dir_all(parent(&revision)))
    }

    fn subject_of(&self, name: &Repository, digest: ContentDigest) -> io::Result<Option<ContentDigest>> {
        let bytes = self.manifest_read(name, digest)?;
        let document = bytes.and_then(|bytes| Document::parse(&bytes, "").ok());
        Ok(document.and_then(|document| document.subject).map(|subject| subject.digest))
    }

    /// The repository forgets a tag.
    pub(crate) fn tag_remove(&self, name: &Repository, tag: &str) -> io::Result<bool> {
        removed(fs::remove_dir_all(self.tag(name, tag)))
    }

    /// All tags, sorted.
    pub(crate) fn tags(&self, name: &Repository) -> io::Result<Vec<String>> {
        let mut tags = names_in(&self.repository(name).join("_manifests/tags"))?;
        tags.retain(|tag| is_tag(tag) && self.tag(name, tag).join("current/link").exists());
        tags.sort_unstable();
        Ok(tags)
    }

    /// Manifests that refer to this one.
    pub(crate) fn referrers(&self, name: &Repository, subject: ContentDigest) -> io::Result<Vec<ContentDigest>> {
        let above = self.referrers_of(name, subject);
        let mut digests = Vec::new();
        for hex in names_in(&above)? {
            digests.extend(read_link(&above.join(hex).join("link"))?);
        }
        digests.sort_unstable();
        Ok(digests)
    }

    /// All repositories, sorted.
    pub(crate) fn repositories(&self) -> io::Result<Vec<Repository>> {
        self.repositories_with("_manifests")
    }

    fn repositories_with(&self, marker: &str) -> io::Result<Vec<Repository>> {
        let mut found = Vec::new();
        let mut open = vec![String::new()];
        while let Some(above) = open.pop() {
            let folder = self.repositories.join(&above);
            for part in names_in(&folder)? {
                if part.starts_with(['_', '.']) {
                    continue;
                }
                let name = if above.is_empty() { part } else { format!("{above}/{part}") };
                if name.split('/').count() > limits::NAME_PARTS_MAX {
                    continue;
                }
                if self.repositories.join(&name).join(marker).is_dir()
                    && let Ok(repository) = name.parse()
                {
                    found.push(repository);
                }
                open.push(name);
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

// Where links keep what is under a digest: `sha256/ab…`.
fn folder(above: PathBuf, digest: ContentDigest) -> PathBuf {
    above.join(digest.algorithm().name()).join(digest.hex())
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn link(path: &Path, digest: ContentDigest) -> io::Result<()> {
    make_dir(parent(path), 0o755)?;
    write_atomic(path, digest.to_string().as_bytes(), 0o644, Durability::Process)
}

fn read_link(path: &Path) -> io::Result<Option<ContentDigest>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(text.trim().parse().ok())
}

fn read_document(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limits::MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limits::MANIFEST_BYTES_MAX).then_some(bytes))
}

fn removed(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

// The folders in a folder; none if it is not there.
fn names_in(path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
