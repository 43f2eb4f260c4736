//! What images are made of, file by file: what each layer adds, and what it hides of those below; and what is other
//! between two images.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use hako_model::Digest;
use rustix::fs::{FileType, OFlags};

use super::{Store, find};
use crate::{Change, ChangeKind, ImageError, archive::walk, catalog::Layer, limits};

/// What one layer costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCost {
    pub diff_id: Digest,
    /// Bytes of its files, and of its blob.
    pub size: u64,
    pub blob_size: u64,
    pub files: usize,
    /// Bytes of its files that no container sees, since a layer above has others or has removed them.
    pub wasted: u64,
    /// The files that nobody sees, largest first; the first of them.
    pub hidden: Vec<(String, u64)>,
}

/// What is other in the second of two images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    pub changes: Vec<(Change, i64)>,
    /// Layers that both have, and that only one has, with the bytes of their files.
    pub shared: Vec<(Digest, u64)>,
    pub removed: Vec<(Digest, u64)>,
    pub added: Vec<(Digest, u64)>,
}

/// One name in a layer.
#[derive(Debug, Clone)]
struct Entry {
    kind: FileType,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    device: u64,
    is_whiteout: bool,
    is_opaque: bool,
    /// The layer's files.
    place: usize,
}

type Names = BTreeMap<Vec<u8>, Entry>;

impl Store {
    /// What each layer of an image costs, base first.
    ///
    /// # Errors
    /// When there is no such image, or the disk fails.
    pub fn explain(&self, name: &str) -> Result<Vec<LayerCost>, ImageError> {
        let (layers, paths, _lease) = self.anatomy(name)?;
        let mut costs: Vec<LayerCost> = Vec::new();
        let mut seen = Names::new();
        for (place, (layer, path)) in layers.iter().zip(&paths).enumerate() {
            let names = names(path, place).map_err(ImageError::io(format!("cannot read layer {}", layer.diff_id)))?;
            let files = names.values().filter(|entry| entry.kind != FileType::Directory && !entry.is_whiteout).count();
            costs.push(LayerCost {
                diff_id: layer.diff_id,
                size: layer.size,
                blob_size: layer.blob_size,
                files,
                wasted: 0,
                hidden: Vec::new(),
            });
            for (path, entry) in stack(&mut seen, names) {
                if entry.kind == FileType::RegularFile && entry.size > 0 {
                    let cost = &mut costs[entry.place];
                    cost.wasted += entry.size;
                    cost.hidden.push((shown(&path), entry.size));
                }
            }
        }
        for cost in &mut costs {
            cost.hidden.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
            cost.hidden.truncate(limits::FILES_TOLD_MAX);
        }
        Ok(costs)
    }

    /// What is other in the second image: paths with the bytes that they gained or lost, and layers.
    ///
    /// # Errors
    /// When there is no such image, or the disk fails.
    pub fn compare(&self, first: &str, second: &str) -> Result<Comparison, ImageError> {
        let (one, other) = (self.anatomy(first)?, self.anatomy(second)?);
        let (before, after) = (merged(&one.0, &one.1)?, merged(&other.0, &other.1)?);
        let failed = ImageError::io("cannot compare the images");
        let changes = changes((&before, &one.1), (&after, &other.1)).map_err(failed)?;
        let ids = |layers: &[Layer]| layers.iter().map(|layer| layer.diff_id).collect::<HashSet<_>>();
        let (ours, theirs) = (ids(&one.0), ids(&other.0));
        let listed = |layers: &[Layer], wanted: &dyn Fn(Digest) -> bool| {
            layers.iter().filter(|layer| wanted(layer.diff_id)).map(|layer| (layer.diff_id, layer.size)).collect()
        };
        Ok(Comparison {
            changes,
            shared: listed(&other.0, &|id| ours.contains(&id)),
            removed: listed(&one.0, &|id| !theirs.contains(&id)),
            added: listed(&other.0, &|id| !ours.contains(&id)),
        })
    }

    // The layers of an image, base first, where their files are, and what keeps them there.
    fn anatomy(&self, name: &str) -> Result<(Vec<Layer>, Vec<PathBuf>, super::lease::Lease), ImageError> {
        let lease = self.inner.leases.take();
        let catalog = self.inner.catalog.read();
        let image = find(&catalog, name)?;
        image.diff_ids.iter().for_each(|diff_id| lease.hold(*diff_id));
        let layers: Vec<Layer> = catalog.stack(image.chain_id).into_iter().rev().cloned().collect();
        let paths = layers.iter().map(|layer| self.inner.layers.files(layer.chain_id)).collect();
        Ok((layers, paths, lease))
    }
}

fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

fn names(path: &Path, place: usize) -> io::Result<Names> {
    let root = walk::open_trusted(path)?;
    let mut names = Names::new();
    walk::tree(root.as_fd(), |visit| -> io::Result<bool> {
        let stat = visit.stat;
        let entry = Entry {
            kind: walk::file_type(stat),
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            device: stat.st_rdev,
            is_whiteout: walk::is_whiteout(stat),
            is_opaque: visit.directory.is_some_and(walk::is_opaque),
            place,
        };
        names.insert(visit.path.to_vec(), entry);
        Ok(true)
    })?;
    Ok(names)
}

// Lays a layer over what is below it; answers what that hides.
fn stack(below: &mut Names, layer: Names) -> Vec<(Vec<u8>, Entry)> {
    let mut hidden = Vec::new();
    for (path, entry) in layer {
        let replaces =
            below.get(&path).is_some_and(|old| old.kind != FileType::Directory || entry.kind != FileType::Directory);
        if replaces || entry.is_whiteout {
            hidden.extend(below.remove(&path).map(|old| (path.clone(), old)));
        }
        if entry.is_whiteout || entry.is_opaque || (replaces && entry.kind != FileType::Directory) {
            let inside: Vec<Vec<u8>> = {
                let start = [&path[..], b"/"].concat();
                let after = below.range(start.clone()..).take_while(|(name, _)| name.starts_with(&start));
                // What this very layer has there is not hidden by it.
                after.filter(|(_, old)| old.place != entry.place).map(|(name, _)| name.clone()).collect()
            };
            for name in inside {
                hidden.extend(below.remove(&name).map(|old| (name, old)));
            }
        }
        if !entry.is_whiteout {
            below.insert(path, entry);
        }
    }
    hidden
}

fn merged(layers: &[Layer], paths: &[PathBuf]) -> Result<Names, ImageError> {
    let mut all = Names::new();
    for (place, (layer, path)) in layers.iter().zip(paths).enumerate() {
        let names = names(path, place).map_err(ImageError::io(format!("cannot read layer {}", layer.diff_id)))?;
        stack(&mut all, names);
    }
    Ok(all)
}

fn changes(
    (before, old_paths): (&Names, &[PathBuf]),
    (after, new_paths): (&Names, &[PathBuf]),
) -> io::Result<Vec<(Change, i64)>> {
    let mut found = Vec::new();
    let bytes = |entry: &Entry| match entry.kind {
        FileType::RegularFile => i64::try_from(entry.size).unwrap_or(i64::MAX),
        _ => 0,
    };
    for (path, old) in before {
        let Some(new) = after.get(path) else {
            found.push((Change { path: shown(path), kind: ChangeKind::Deleted }, -bytes(old)));
            continue;
        };
        let same_file = old_paths[old.place] == new_paths[new.place];
        if !same_file && !is_same(path, (old, &old_paths[old.place]), (new, &new_paths[new.place]))? {
            found.push((Change { path: shown(path), kind: ChangeKind::Changed }, bytes(new) - bytes(old)));
        }
    }
    for (path, new) in after.iter().filter(|(path, _)| !before.contains_key(*path)) {
        found.push((Change { path: shown(path), kind: ChangeKind::Added }, bytes(new)));
    }
    found.sort_by(|one, other| one.0.path.cmp(&other.0.path));
    Ok(found)
}

fn is_same(path: &[u8], (old, old_root): (&Entry, &Path), (new, new_root): (&Entry, &Path)) -> io::Result<bool> {
    if (old.kind, old.mode, old.owner, old.device) != (new.kind, new.mode, new.owner, new.device) {
        return Ok(false);
    }
    let open = |root: &Path, flags: OFlags| -> io::Result<rustix::fd::OwnedFd> {
        walk::open_in_root(walk::open_trusted(root)?.as_fd(), path, flags | OFlags::NOFOLLOW)
    };
    match old.kind {
        FileType::RegularFile if old.size != new.size => Ok(false),
        FileType::RegularFile => {
            let file = |root| open(root, OFlags::RDONLY).map(std::fs::File::from);
            same_bytes(file(old_root)?, file(new_root)?)
        }
        FileType::Symlink => {
            let target = |root| -> io::Result<std::ffi::CString> {
                Ok(rustix::fs::readlinkat(open(root, OFlags::PATH)?, "", Vec::new())?)
            };
            Ok(target(old_root)? == target(new_root)?)
        }
        _ => Ok(true),
    }
}

/// Whether two files of one length have the same bytes.
fn same_bytes(mut one: std::fs::File, mut other: std::fs::File) -> io::Result<bool> {
    let (mut here, mut there) = (vec![0; limits::CHUNK_BYTES], vec![0; limits::CHUNK_BYTES]);
    loop {
        let count = one.read(&mut here)?;
        if count == 0 {
            return Ok(true);
        }
        other.read_exact(&mut there[..count])?;
        if here[..count] != there[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(place: usize, text: &str) -> Names {
        let entry = |word: &str| {
            let (path, size) = word.split_once('=').unwrap_or((word, ""));
            let is_directory = path.ends_with('/');
            let kind = if is_directory { FileType::Directory } else { FileType::RegularFile };
            let entry = Entry {
                kind,
                mode: 0,
                owner: (0, 0),
                size: size.parse().unwrap_or(0),
                device: 0,
                is_whiteout: size == "gone",
                is_opaque: size == "opaque",
                place,
            };
            (path.trim_end_matches('/').as_bytes().to_vec(), entry)
        };
        text.split_whitespace().map(entry).collect()
    }

    #[test]
    fn what_a_layer_hides_is_what_it_replaces_or_removes() {
        let mut below = layer(0, "a/ a/x=5 a/y=6 b=7 c/ c/z=8 c.d=1");
        let hidden = stack(&mut below, layer(1, "a/=opaque a/y=1 b=2 c=gone"));
        let mut hidden: Vec<String> = hidden.iter().map(|(path, _)| shown(path)).collect();
        hidden.sort();
        assert_eq!(hidden, ["/a/x", "/a/y", "/b", "/c", "/c/z"]);
        let left: Vec<String> = below.iter().map(|(path, entry)| format!("{}={}", shown(path), entry.size)).collect();
        assert_eq!(left, ["/a=0", "/a/y=1", "/b=2", "/c.d=1"]);
    }
}
