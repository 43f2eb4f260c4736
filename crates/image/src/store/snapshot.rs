//! A root filesystem for each container: an overlay over its image's layers, mounted only as a descriptor.
//!
//! `snapshots/containers/<id>/` holds `fs` (what the container wrote), a fresh `work-…` for every mount (reusing
//! one costs a millisecond), and `base`, a link whose text names the stack below. There is **one live overlay per
//! container**: a second one over the same upper directory would corrupt it with no more than a warning.
//!
//! ```text
//!   prepare ──► mount (start) ──► release (exit) ──► mount … ──► remove
//!                 view (cp, export of a stopped container) shares the live one
//! ```

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    sync::Arc,
};

use hako_model::{ContainerId, Digest};

use super::{Inner, Store, diff, remove::collect, skeleton::open_to_all};
use crate::{
    Change, ImageError, SnapshotSize,
    archive::{PackError, Packer, walk},
    catalog,
};

/// Which stack each container stands on; read from disk when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Held {
    is_complete: bool,
    bases: HashMap<ContainerId, Option<Digest>>,
}

/// A mounted root filesystem.
#[derive(Debug)]
pub(super) struct Live {
    mount: Arc<OwnedFd>,
    /// A container's process has it as its root, or had: it cannot be attached a second time.
    is_given: bool,
    /// That process has ended; views still hold the old mount, and the last of them ends it.
    is_over: bool,
    views: usize,
}

/// A look at a container's root filesystem that shares its one overlay; dropping it ends it.
#[derive(Debug)]
pub struct View {
    inner: Arc<Inner>,
    container: ContainerId,
    mount: Arc<OwnedFd>,
}

impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut live = self.inner.live.lock();
        if let Some(entry) = live.get_mut(&self.container).filter(|entry| Arc::ptr_eq(&entry.mount, &self.mount)) {
            entry.views -= 1;
            if entry.views == 0 && (!entry.is_given || entry.is_over) {
                live.remove(&self.container);
            }
        }
    }
}

impl Store {
    /// Makes a root filesystem for a container from an image. Nothing is mounted.
    ///
    /// # Errors
    /// When there is no such image, or the container has one already.
    pub fn snapshot_prepare(&self, container: ContainerId, image: &Digest) -> Result<(), ImageError> {
        let inner = &*self.inner;
        let base = self.image(*image)?.chain_id;
        // First the claim, then another look: a removal between the two sees one or the other.
        inner.held.lock().bases.insert(container, base);
        let made = self.image(*image).and_then(|_| inner.prepare(container, base));
        if made.is_err() {
            inner.held.lock().bases.remove(&container);
        }
        made
    }

    /// The root filesystem as a detached mount, to become a process's root. `volatile`: without any flush to disk.
    ///
    /// # Errors
    /// [`ImageError::SnapshotBusy`] while it is the root of a process, or a view of such a one is open.
    pub fn snapshot_mount(&self, container: ContainerId, volatile: bool) -> Result<OwnedFd, ImageError> {
        let mut live = self.inner.live.lock();
        let entry = match live.entry(container) {
            std::collections::hash_map::Entry::Occupied(entry) if entry.get().is_given => {
                return Err(ImageError::SnapshotBusy { container });
            }
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mount = Arc::new(self.inner.mount(container, volatile)?);
                place.insert(Live { mount, is_given: false, is_over: false, views: 0 })
            }
        };
        let copy = entry.mount.try_clone().map_err(ImageError::io("cannot copy a descriptor"))?;
        entry.is_given = true;
        Ok(copy)
    }

    /// The process whose root it was has ended (or never began).
    pub fn snapshot_release(&self, container: ContainerId) {
        let mut live = self.inner.live.lock();
        if live.get(&container).is_some_and(|entry| entry.views == 0) {
            live.remove(&container);
        } else if let Some(entry) = live.get_mut(&container) {
            entry.is_over = true;
        }
    }

    /// A container that was found running has this root (its `/proc/PID/root`).
    pub fn snapshot_adopt(&self, container: ContainerId, root: OwnedFd) {
        let entry = Live { mount: Arc::new(root), is_given: true, is_over: false, views: 0 };
        self.inner.live.lock().insert(container, entry);
    }

    /// A look at the root filesystem: the running container's own, or one mounted for it.
    ///
    /// # Errors
    /// When the container has none or it cannot be mounted.
    pub fn snapshot_view(&self, container: ContainerId) -> Result<View, ImageError> {
        let mut live = self.inner.live.lock();
        let entry = match live.entry(container) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mount = Arc::new(self.inner.mount(container, false)?);
                place.insert(Live { mount, is_given: false, is_over: false, views: 0 })
            }
        };
        entry.views += 1;
        Ok(View { inner: self.inner.clone(), container, mount: entry.mount.clone() })
    }

    /// Removes a container's root filesystem, and layers that only it needed. One that is not there is no error.
    ///
    /// # Errors
    /// [`ImageError::SnapshotBusy`] while it is mounted; those of the disk.
    pub fn snapshot_remove(&self, container: ContainerId) -> Result<(), ImageError> {
        let inner = &*self.inner;
        if inner.live.lock().contains_key(&container) {
            return Err(ImageError::SnapshotBusy { container });
        }
        let path = inner.container(container);
        let base = inner.base_of(container);
        inner.layers.remove(&path).map_err(ImageError::io(format!("cannot remove {}", path.display())))?;
        inner.held.lock().bases.remove(&container);
        let Ok(Some(base)) = base else { return Ok(()) };
        let is_needed = inner.catalog.read().images.values().any(|image| image.chain_id == Some(base));
        if !is_needed {
            collect(inner, &inner.writing.lock(), catalog::Change::default())?;
        }
        Ok(())
    }

    /// Bytes that the container wrote, and those together with its image's.
    ///
    /// # Errors
    /// When the container has no root filesystem.
    pub fn snapshot_size(&self, container: ContainerId) -> Result<SnapshotSize, ImageError> {
        let base = self.inner.base_of(container)?;
        let upper = self.inner.upper(container)?;
        let failed = || ImageError::io(format!("cannot measure {}", upper.display()));
        let root = walk::open_trusted(&upper).map_err(failed())?;
        let mut written = 0;
        let mut seen = std::collections::HashSet::new();
        walk::tree(root.as_fd(), |visit| -> io::Result<bool> {
            let is_file = walk::file_type(visit.stat) == rustix::fs::FileType::RegularFile;
            if is_file && (visit.stat.st_nlink == 1 || seen.insert(visit.stat.st_ino)) {
                written += u64::try_from(visit.stat.st_size).unwrap_or(0);
            }
            Ok(true)
        })
        .map_err(failed())?;
        let below: u64 = self.inner.catalog.read().stack(base).iter().map(|layer| layer.size).sum();
        Ok(SnapshotSize { written, root: written + below })
    }

    /// What the container changed, sorted by path.
    ///
    /// # Errors
    /// When the container has no root filesystem.
    pub fn snapshot_changes(&self, container: ContainerId) -> Result<Vec<Change>, ImageError> {
        let inner = &*self.inner;
        let base = inner.base_of(container)?;
        let failed =
            || ImageError::io(format!("cannot compare the root filesystem of container {}", container.short()));
        let mut lowers = vec![inner.skeleton(base).map_err(failed())?];
        lowers.extend(inner.lowers(base));
        diff::changes(&inner.upper(container)?, &lowers).map_err(failed())
    }

    /// Writes the whole root filesystem as a tar; nothing that is mounted in it.
    ///
    /// # Errors
    /// When it cannot be mounted or read, or the receiver has gone.
    pub fn snapshot_export(&self, container: ContainerId, output: impl Write) -> Result<(), ImageError> {
        let view = self.snapshot_view(container)?;
        let mut packer = Packer::new(output);
        let written = packer.tree(view.as_fd(), b"").and_then(|()| packer.finish().map(drop));
        written.map_err(|error| match error {
            PackError::Write { source } => ImageError::Stream { what: "write", source },
            other => ImageError::Io {
                what: format!("cannot export container {}", container.short()),
                source: io::Error::other(hako_base::error::chain(&other)),
            },
        })
    }

    /// Containers that have a root filesystem here; for the sweep of those that have no record.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn snapshot_list(&self) -> Result<Vec<ContainerId>, ImageError> {
        self.inner.bases()?;
        Ok(self.inner.held.lock().bases.keys().copied().collect())
    }
}

impl Inner {
    pub(super) fn container(&self, container: ContainerId) -> PathBuf {
        self.layers.containers().join(container.to_string())
    }

    /// What the container wrote.
    pub(super) fn upper(&self, container: ContainerId) -> Result<PathBuf, ImageError> {
        let path = self.container(container).join("fs");
        if path.exists() { Ok(path) } else { Err(ImageError::NoSuchSnapshot { container }) }
    }

    /// The files of a stack's layers, top first; always at least one directory.
    pub(super) fn lowers(&self, stack: Option<Digest>) -> Vec<PathBuf> {
        let catalog = self.catalog.read();
        let mut paths = Vec::new();
        for layer in catalog.stack(stack) {
            paths.push(self.layers.files(layer.chain_id));
            if layer.opaque_root {
                break;
            }
        }
        if paths.is_empty() {
            paths.push(self.layers.empty());
        }
        paths
    }

    fn prepare(&self, container: ContainerId, base: Option<Digest>) -> Result<(), ImageError> {
        let failed = || ImageError::io(format!("cannot make the root filesystem of container {}", container.short()));
        self.skeleton(base).map_err(failed())?;
        let path = self.container(container);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ImageError::SnapshotExists { container });
            }
            other => other.map_err(failed())?,
        }
        // The link comes last: with it the snapshot is whole. Its text is short enough to need no flush of its own:
        // the file system's journal carries it with whatever is committed after it.
        let text = base.map_or_else(|| "-".to_owned(), |base| base.hex());
        let made = fs::create_dir(path.join("fs"))
            .and_then(|()| open_to_all(&path.join("fs")))
            .and_then(|()| std::os::unix::fs::symlink(text, path.join("base")));
        made.map_err(|error| {
            let _ = fs::remove_dir_all(&path);
            failed()(error)
        })
    }

    /// The stack that a container stands on.
    pub(super) fn base_of(&self, container: ContainerId) -> Result<Option<Digest>, ImageError> {
        if let Some(base) = self.held.lock().bases.get(&container) {
            return Ok(*base);
        }
        let base = read_base(&self.container(container)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::NoSuchSnapshot { container },
            _ => ImageError::Io { what: format!("cannot read the snapshot of container {container}"), source: error },
        })?;
        self.held.lock().bases.insert(container, base);
        Ok(base)
    }

    /// The stacks that containers stand on.
    pub(super) fn bases(&self) -> Result<Vec<Option<Digest>>, ImageError> {
        let mut held = self.held.lock();
        if !held.is_complete {
            let failed = || ImageError::io("cannot list the root filesystems of containers");
            for entry in fs::read_dir(self.layers.containers()).map_err(failed())? {
                let entry = entry.map_err(failed())?;
                let Ok(container) = entry.file_name().to_string_lossy().parse::<ContainerId>() else { continue };
                // One without its link was never finished; nobody can mount it.
                if let Ok(base) = read_base(&entry.path()) {
                    held.bases.entry(container).or_insert(base);
                }
            }
            held.is_complete = true;
        }
        Ok(held.bases.values().copied().collect())
    }

    fn mount(&self, container: ContainerId, volatile: bool) -> Result<OwnedFd, ImageError> {
        let base = self.base_of(container)?;
        let upper = self.upper(container)?;
        let failed = || ImageError::io(format!("cannot mount the root filesystem of container {}", container.short()));
        let skeleton = self.skeleton(base).map_err(failed())?;
        let mut lowers = vec![skeleton];
        lowers.extend(self.lowers(base));
        let directory = self.container(container);
        let work = fresh_work(&directory).map_err(failed())?;
        hako_sys::mount::overlay(&lowers, Some((&upper, &work)), volatile).map_err(failed())
    }
}

fn read_base(directory: &std::path::Path) -> io::Result<Option<Digest>> {
    let text = fs::read_link(directory.join("base"))?;
    match text.to_str() {
        Some("-") => Ok(None),
        Some(hex) => format!("sha256:{hex}").parse().map(Some).map_err(|_| io::ErrorKind::InvalidData.into()),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

// A new work directory; the ones of earlier mounts go.
fn fresh_work(directory: &std::path::Path) -> io::Result<PathBuf> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"work-") && entry.metadata()?.mode() & 0o40000 != 0 {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let work = directory.join(format!("work-{}", hako_base::random::hex(4)));
    fs::create_dir(&work)?;
    Ok(work)
}
