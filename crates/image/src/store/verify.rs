//! Whether what is stored of an image is still what it was, and how it becomes that again.
//!
//! Of each layer there is a blob, which must have its digest, and the files that were unpacked from it. The blob is
//! unpacked once more, aside, in the same pass that hashes it; then the two trees are compared. Attributes of
//! directories are not: those that the tar only implied take theirs from below. Where the blob is a recipe, what the
//! files have is nowhere else: its check sums tell which of them have changed, and only what the recipe itself has
//! (names, owners, modes, links) can be put in order from here.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    os::fd::AsFd,
    path::Path,
};

use hako_model::{ContainerId, Digest, Reference};
use rustix::fs::{FileType, OFlags, Stat};

use super::{Store, find};
use crate::{
    ImageError,
    archive::walk,
    catalog::Layer,
    content::Hasher,
    layer::{Received, open_spliced, receive},
    limits,
};

/// One layer of an image, looked at closely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCheck {
    pub diff_id: Digest,
    pub blob: Digest,
    pub blob_size: u64,
    /// Compressed here: no registry has the blob.
    pub is_made_here: bool,
    /// What is wrong with the blob.
    pub blob_damage: Option<String>,
    /// Files that are not as the blob has them, and how; the first of them.
    pub files: Vec<(String, String)>,
    /// How many there are in all.
    pub files_damaged: usize,
    chain_id: Digest,
}

impl LayerCheck {
    pub fn is_good(&self) -> bool {
        self.blob_damage.is_none() && self.files_damaged == 0
    }
}

impl Store {
    /// Looks at every layer of an image, base first. Reads and unpacks all of it.
    ///
    /// # Errors
    /// When there is no such image, or the disk fails in other ways than the ones looked for.
    pub fn verify(&self, name: &str) -> Result<Vec<LayerCheck>, ImageError> {
        let lease = self.inner.leases.take();
        let catalog = self.inner.catalog.read();
        let image = find(&catalog, name)?;
        image.diff_ids.iter().for_each(|diff_id| lease.hold(*diff_id));
        let layers: Vec<Layer> = catalog.stack(image.chain_id).into_iter().rev().cloned().collect();
        drop(catalog);
        layers.iter().map(|layer| self.layer_check(layer)).collect()
    }

    fn layer_check(&self, layer: &Layer) -> Result<LayerCheck, ImageError> {
        let mut check = LayerCheck {
            diff_id: layer.diff_id,
            blob: layer.blob,
            blob_size: layer.blob_size,
            is_made_here: layer.compressed_here,
            blob_damage: None,
            files: Vec::new(),
            files_damaged: 0,
            chain_id: layer.chain_id,
        };
        match self.looked_at(layer) {
            Ok(differences) => {
                check.files_damaged = differences.len();
                check.files = differences.into_iter().take(limits::DAMAGE_TOLD_MAX).collect();
            }
            // Nowhere to unpack it to says nothing of what is there.
            Err(error) if is_full(&error) => return Err(error),
            Err(error) => check.blob_damage = Some(hako_base::error::chain(&error)),
        }
        Ok(check)
    }

    // Files that are not what they were; the error is about the blob.
    fn looked_at(&self, layer: &Layer) -> Result<Vec<(String, String)>, ImageError> {
        if !layer.is_recipe {
            let received = self.unpacked_again(layer, || self.inner.content.file(layer.blob))?;
            return self.tree_differences(layer, &received);
        }
        self.recipe_check(layer)?;
        let tar = open_spliced(&self.inner.layers, &self.inner.content, layer)?;
        let mut tar = tar.in_spite_of_damage();
        let label = format!("layer {}", layer.diff_id);
        let received = receive(&self.inner.layers, &self.inner.content, &label, &mut tar, &mut |_| ())?;
        let damage = tar.damage();
        if damage.is_empty() && received.diff_id != layer.diff_id {
            return Err(ImageError::DigestMismatch { what: label, expected: layer.diff_id, found: received.diff_id });
        }
        let mut differences: Vec<(String, String)> =
            damage.into_iter().map(|(path, why)| (shown(&path), why.to_owned())).collect();
        // What was made of damaged files is no measure for them.
        let known: BTreeSet<String> = differences.iter().map(|(path, _)| path.clone()).collect();
        let others = self.tree_differences(layer, &received)?;
        differences.extend(others.into_iter().filter(|(path, _)| !known.contains(path)));
        differences.sort();
        Ok(differences)
    }

    fn recipe_check(&self, layer: &Layer) -> Result<(), ImageError> {
        let what = format!("the recipe of layer {}", layer.diff_id);
        let (mut file, mut hasher) = (self.inner.content.file(layer.blob)?, Hasher::new());
        let mut chunk = vec![0; limits::CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk).map_err(ImageError::io(format!("cannot read {what}")))?;
            if count == 0 {
                break;
            }
            hasher.update(&chunk[..count]);
        }
        let found = hasher.digest();
        if found == layer.blob { Ok(()) } else { Err(ImageError::DigestMismatch { what, expected: layer.blob, found }) }
    }

    /// Makes a layer what it was: from `input`, which sends its blob, or from the blob that is here.
    ///
    /// # Errors
    /// When what comes is not the blob, or a container runs on the files that would be replaced.
    pub fn layer_repair(&self, check: &LayerCheck, input: Option<impl Read>) -> Result<(), ImageError> {
        let found = self.inner.catalog.read().layers.get(&check.chain_id).cloned();
        let layer = found.ok_or_else(|| ImageError::Missing { what: format!("layer {}", check.diff_id) })?;
        let mut received = match input {
            Some(input) => self.unpacked_again(&layer, || Ok(input))?,
            None if layer.is_recipe => self.unpacked_from_recipe(&layer)?,
            None => self.unpacked_again(&layer, || self.inner.content.file(layer.blob))?,
        };
        let is_damaged = !self.tree_differences(&layer, &received)?.is_empty();
        let _writing = self.inner.writing.lock();
        if is_damaged {
            self.tree_replace(&layer, &mut received)?;
        }
        // The recipe is good, or there would be nothing to go by.
        if !layer.is_recipe {
            let failed = ImageError::io(format!("cannot store layer {}", layer.diff_id));
            self.inner.content.replace(received.blob).map_err(failed)?;
        }
        self.inner.layers.flush()
    }

    /// Repositories that an image with this layer came from or went to.
    pub fn layer_sources(&self, check: &LayerCheck) -> Vec<Reference> {
        let catalog = self.inner.catalog.read();
        let with_it = catalog.images.values().filter(|image| image.diff_ids.contains(&check.diff_id));
        let mut names: Vec<Reference> = with_it.flat_map(|image| image.repo_digests.iter().cloned()).collect();
        names.dedup_by(|one, other| one.domain() == other.domain() && one.path() == other.path());
        names
    }

    // The recipe is read while the files are: what came out need not be the same blob.
    fn unpacked_from_recipe(&self, layer: &Layer) -> Result<Received, ImageError> {
        self.recipe_check(layer)?;
        let mut tar = open_spliced(&self.inner.layers, &self.inner.content, layer)?.in_spite_of_damage();
        let label = format!("layer {}", layer.diff_id);
        let received = receive(&self.inner.layers, &self.inner.content, &label, &mut tar, &mut |_| ())?;
        if let Some((path, why)) = tar.damage().first() {
            return Err(ImageError::OnlyCopy { layer: layer.diff_id, path: shown(path), why });
        }
        let (expected, found) = (layer.diff_id, received.diff_id);
        if expected == found { Ok(received) } else { Err(ImageError::DigestMismatch { what: label, expected, found }) }
    }

    fn unpacked_again<R: Read>(
        &self,
        layer: &Layer,
        input: impl FnOnce() -> Result<R, ImageError>,
    ) -> Result<Received, ImageError> {
        let label = format!("layer {}", layer.blob);
        let received = receive(&self.inner.layers, &self.inner.content, &label, input()?, &mut |_| ())?;
        for (what, expected, found) in [
            (label.clone(), layer.blob, received.blob.digest),
            (format!("the tar of {label}"), layer.diff_id, received.diff_id),
        ] {
            if expected != found {
                return Err(ImageError::DigestMismatch { what, expected, found });
            }
        }
        Ok(received)
    }

    fn tree_differences(&self, layer: &Layer, received: &Received) -> Result<Vec<(String, String)>, ImageError> {
        let Some(fresh) = &received.directory.0 else { return Ok(Vec::new()) };
        let placed = self.inner.layers.files(layer.chain_id);
        differences(&fresh.join("fs"), &placed).map_err(ImageError::io(format!("cannot read layer {}", layer.diff_id)))
    }

    fn tree_replace(&self, layer: &Layer, received: &mut Received) -> Result<(), ImageError> {
        let inner = &*self.inner;
        if let Some(container) = self.stands_on(layer.chain_id)? {
            let why = format!("container {} runs on it: stop it first", container.short());
            return Err(ImageError::InUse { image: format!("layer {}", layer.diff_id), hard: true, why });
        }
        let failed = || ImageError::io(format!("cannot replace layer {}", layer.diff_id));
        let catalog = inner.catalog.read();
        let below: Vec<_> =
            catalog.stack(layer.parent).iter().map(|below| inner.layers.files(below.chain_id)).collect();
        drop(catalog);
        inner.layers.remove(&inner.layers.directory(Some(layer.chain_id))).map_err(failed())?;
        inner.layers.place(received, layer.chain_id, &below).map_err(failed())?;
        Ok(())
    }

    // A container whose root filesystem is mounted and has this layer.
    fn stands_on(&self, chain_id: Digest) -> Result<Option<ContainerId>, ImageError> {
        let live: Vec<ContainerId> = self.inner.live.lock().keys().copied().collect();
        for container in live {
            let base = self.inner.base_of(container)?;
            let catalog = self.inner.catalog.read();
            if catalog.stack(base).iter().any(|layer| layer.chain_id == chain_id) {
                return Ok(Some(container));
            }
        }
        Ok(None)
    }
}

// Whether the disk had no room, or did not let us write.
fn is_full(error: &ImageError) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(StorageFull | QuotaExceeded | ReadOnlyFilesystem)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

// Paths that are not the same in both trees, and what is wrong with them in the second.
fn differences(fresh: &Path, placed: &Path) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut known: BTreeSet<Vec<u8>> = BTreeSet::new();
    let fresh = walk::open_trusted(fresh)?;
    let placed = match walk::open_trusted(placed) {
        Ok(placed) => placed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(vec![("/".to_owned(), "is missing".to_owned())]);
        }
        Err(error) => return Err(error),
    };
    walk::tree(fresh.as_fd(), |visit| -> io::Result<bool> {
        known.insert(visit.path.to_vec());
        let split = visit.path.iter().rposition(|byte| *byte == b'/');
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let above = match split {
            Some(at) => walk::open_in_root(placed.as_fd(), &visit.path[..at], flags),
            None => placed.try_clone(),
        };
        let there = match &above {
            Ok(above) => walk::stat_leaf(above.as_fd(), visit.leaf)?,
            Err(_) => None,
        };
        let why = match (&above, there) {
            (Ok(above), Some(there)) => difference(&visit, above.as_fd(), &there)?,
            _ => Some("is missing"),
        };
        if let Some(why) = why {
            found.push((shown(visit.path), why.to_owned()));
        }
        Ok(true)
    })?;
    walk::tree(placed.as_fd(), |visit| -> io::Result<bool> {
        let is_known = known.contains(visit.path);
        if !is_known {
            found.push((shown(visit.path), "is not in the layer".to_owned()));
        }
        Ok(is_known)
    })?;
    Ok(found)
}

fn difference(
    visit: &walk::Visit<'_>,
    above: rustix::fd::BorrowedFd<'_>,
    there: &Stat,
) -> io::Result<Option<&'static str>> {
    let here = visit.stat;
    let kind = walk::file_type(here);
    if kind != walk::file_type(there) {
        return Ok(Some("is of another kind"));
    }
    if kind == FileType::Directory {
        return Ok(None);
    }
    if (here.st_mode, here.st_uid, here.st_gid) != (there.st_mode, there.st_uid, there.st_gid) {
        return Ok(Some("has other permissions"));
    }
    let same = match kind {
        FileType::RegularFile => here.st_size == there.st_size && same_bytes(visit, above)?,
        FileType::Symlink => {
            let target = |parent| rustix::fs::readlinkat(parent, visit.leaf, Vec::new());
            target(visit.parent)? == target(above)?
        }
        _ => here.st_rdev == there.st_rdev,
    };
    Ok((!same).then_some("has other content"))
}

fn same_bytes(visit: &walk::Visit<'_>, above: rustix::fd::BorrowedFd<'_>) -> io::Result<bool> {
    let open =
        |parent| rustix::fs::openat(parent, visit.leaf, OFlags::RDONLY | OFlags::NOFOLLOW, rustix::fs::Mode::empty());
    let (one, other) = (open(visit.parent)?, open(above)?);
    let (mut one, mut other) = (std::fs::File::from(one), std::fs::File::from(other));
    let (mut here, mut there) = (vec![0; limits::CHUNK_BYTES], vec![0; limits::CHUNK_BYTES]);
    loop {
        let count = one.read(&mut here)?;
        if count == 0 {
            return Ok(other.read(&mut there)? == 0);
        }
        match other.read_exact(&mut there[..count]) {
            Ok(()) if here[..count] == there[..count] => {}
            Ok(()) => return Ok(false),
            // A disk that cannot read it is what is looked for.
            Err(_) => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_damage() {
        let failed = |kind: io::ErrorKind| ImageError::io("cannot unpack a layer")(kind.into());
        assert!(is_full(&failed(io::ErrorKind::StorageFull)));
        assert!(is_full(&failed(io::ErrorKind::QuotaExceeded)));
        assert!(!is_full(&failed(io::ErrorKind::NotFound)));
        assert!(!is_full(&failed(io::ErrorKind::InvalidData)));
    }
}
