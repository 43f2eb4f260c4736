//! A root filesystem for each container: an overlay over its image's layers, mounted only as a descriptor.
//!
//! `snapshots/containers/<id>/` holds `fs` (what the container wrote), a fresh `work-…` for every mount (reusing
//! one costs a millisecond), and `base`, a link whose text names the stack below. There is **one live overlay per
//! container**: a second one over the same upper directory would corrupt it with no more than a warning. What a process
//! gets as its root and what a view shows are copies of that one mount.
//!
//! ```text
//!   prepare ──► mount (start) ──► release (exit) ──► mount … ──► remove
//!                 view (cp, export, copying into new volumes) shares the live one
//! ```

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fs,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use hako_model::{ContainerId, Digest};
use hako_sys::{copies::Original, mount::MountAttributes};

use super::{
    Inner, Store, diff, mounted,
    remove::collect,
    skeleton::{For, open_to_all},
};
use crate::{
    Change, ImageError, SnapshotSize,
    archive::{PackError, Packer},
    catalog,
};

/// Which stack each container stands on; read from disk when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Held {
    is_complete: bool,
    bases: HashMap<ContainerId, Option<Digest>>,
    /// Stacks that are mounted in containers beside their own.
    pub(super) mounted: HashMap<ContainerId, HashSet<Digest>>,
}

/// Directories of a stack of layers.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Top first; none for an image of one layer.
    pub lower: Vec<PathBuf>,
    /// What was written on top of them: a container's own files, an image's last layer.
    pub upper: Option<PathBuf>,
}

/// A mounted root filesystem.
#[derive(Debug)]
pub(super) struct Live {
    /// The one overlay, with nothing mounted in it.
    original: Arc<Original>,
    /// The copy that a container's process has as its root.
    given: Option<Arc<OwnedFd>>,
    views: usize,
    /// Removed while somebody looked at it: the last view takes the files along.
    is_removed: bool,
}

impl Live {
    fn new(original: Original) -> Self {
        Self { original: Arc::new(original), given: None, views: 0, is_removed: false }
    }
}

/// A look at a container's root filesystem that shares its one overlay; dropping it ends it. As a descriptor it shows the
/// files alone, whatever is mounted over them in the container.
#[derive(Debug)]
pub struct View {
    inner: Arc<Inner>,
    container: ContainerId,
    original: Arc<Original>,
    given: Option<Arc<OwnedFd>>,
}

impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.original.as_fd()
    }
}

impl View {
    /// What the container's process has as its root, with everything that is mounted there; `None` if there is none.
    pub fn process_root(&self) -> Option<BorrowedFd<'_>> {
        self.given.as_ref().map(AsFd::as_fd)
    }

    /// The root filesystem with these mounts at their paths, as a process would see it. Missing places are made.
    ///
    /// # Errors
    /// When something stands in the way of a place, or the kernel cannot mount there.
    pub fn with_mounts(&self, mounts: Vec<(PathBuf, OwnedFd)>, read_only: bool) -> io::Result<OwnedFd> {
        let tree = hako_sys::workshop::tree(self.original.copy()?, mounts)?;
        if read_only {
            let attributes = MountAttributes { read_only: true, ..MountAttributes::default() };
            hako_sys::mount::set_attributes(tree.as_fd(), attributes)?;
        }
        Ok(tree)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut live = self.inner.live.lock();
        let Some(entry) = live.get_mut(&self.container) else { return };
        if !Arc::ptr_eq(&entry.original, &self.original) {
            return;
        }
        entry.views -= 1;
        if entry.views > 0 || entry.given.is_some() {
            return;
        }
        let is_removed = entry.is_removed;
        live.remove(&self.container);
        drop(live);
        if is_removed && let Err(error) = self.inner.delete_snapshot(self.container) {
            tracing::warn!(container = %self.container.short(), %error, "cannot remove; the next start will");
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
    /// [`ImageError::SnapshotBusy`] while it is the root of a process.
    pub fn snapshot_mount(&self, container: ContainerId, volatile: bool) -> Result<OwnedFd, ImageError> {
        let mut live = self.inner.live.lock();
        let entry = self.inner.enter(&mut live, container, volatile)?;
        if entry.given.is_some() || entry.is_removed {
            return Err(ImageError::SnapshotBusy { container });
        }
        let failed = || ImageError::io(format!("cannot mount the root filesystem of container {}", container.short()));
        let copy = entry.original.copy().map_err(failed())?;
        entry.given = Some(Arc::new(copy.try_clone().map_err(failed())?));
        Ok(copy)
    }

    /// The root filesystem is mounted with the ids of this user namespace from now on, until it is released; on the disk
    /// nothing changes.
    pub fn snapshot_map(&self, container: ContainerId, user_namespace: Arc<OwnedFd>) {
        self.inner.maps.lock().insert(container, user_namespace);
    }

    /// The process whose root it was has ended (or never began).
    pub fn snapshot_release(&self, container: ContainerId) {
        self.inner.maps.lock().remove(&container);
        let mut live = self.inner.live.lock();
        if let Some(entry) = live.get_mut(&container) {
            entry.given = None;
            if entry.views == 0 {
                live.remove(&container);
            }
        }
    }

    /// A container was found running: this is the root of its process.
    ///
    /// # Errors
    /// Those of copying a mount.
    pub fn snapshot_adopt(&self, container: ContainerId, root: &Original) -> Result<(), ImageError> {
        let failed = || ImageError::io(format!("cannot take over the root filesystem of {}", container.short()));
        let given = root.as_fd().try_clone_to_owned().map_err(failed())?;
        // A copy of its own shows what is below the container's mounts.
        let original = root.copy().and_then(Original::housed).map_err(failed())?;
        let entry = Live { given: Some(Arc::new(given)), ..Live::new(original) };
        let mut live = self.inner.live.lock();
        self.inner.measured.lock().remove(&container);
        live.insert(container, entry);
        Ok(())
    }

    /// A look at the root filesystem: the running container's own, or one mounted for it.
    ///
    /// # Errors
    /// When the container has none or it cannot be mounted.
    pub fn snapshot_view(&self, container: ContainerId) -> Result<View, ImageError> {
        let mut live = self.inner.live.lock();
        let entry = self.inner.enter(&mut live, container, false)?;
        entry.views += 1;
        let (original, given) = (entry.original.clone(), entry.given.clone());
        Ok(View { inner: self.inner.clone(), container, original, given })
    }

    /// Removes a container's root filesystem, and layers that only it needed. One that is not there is no error; one that
    /// somebody looks at goes with the last look.
    ///
    /// # Errors
    /// [`ImageError::SnapshotBusy`] while it is the root of a process; those of the disk.
    pub fn snapshot_remove(&self, container: ContainerId) -> Result<(), ImageError> {
        if let Some(entry) = self.inner.live.lock().get_mut(&container) {
            if entry.given.is_some() {
                return Err(ImageError::SnapshotBusy { container });
            }
            entry.is_removed = true;
            return Ok(());
        }
        self.inner.delete_snapshot(container)
    }

    /// Bytes that the container wrote, and those together with its image's. Nothing but a mount changes what it wrote,
    /// so that a container that is not mounted is measured once.
    ///
    /// # Errors
    /// When the container has no root filesystem.
    pub fn snapshot_size(&self, container: ContainerId) -> Result<SnapshotSize, ImageError> {
        let inner = &*self.inner;
        let base = inner.base_of(container)?;
        let known = inner.measured.lock().get(&container).copied();
        let written = match known {
            Some(written) => written,
            None => inner.measure(container)?,
        };
        let below: u64 = inner.catalog.read().stack(base).iter().map(|layer| layer.size).sum();
        Ok(SnapshotSize { written, root: written + below })
    }

    /// Where a container's root filesystem is kept: its layers (top first), what it wrote, and the overlay's work place.
    ///
    /// # Errors
    /// When the container has no root filesystem.
    pub fn snapshot_places(&self, container: ContainerId) -> Result<Places, ImageError> {
        let inner = &*self.inner;
        let base = inner.base_of(container)?;
        Ok(Places { lower: inner.lowers(base), upper: Some(inner.upper(container)?) })
    }

    /// Where the layers of an image are kept, top first.
    pub fn image_places(&self, stack: Option<Digest>) -> Places {
        let mut lower = self.inner.lowers(stack);
        let upper = Some(lower.remove(0));
        Places { lower, upper }
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
        let mut lowers = vec![inner.skeleton(base, For::Containers).map_err(failed())?];
        lowers.extend(inner.lowers(base));
        diff::changes(&inner.upper(container)?, &lowers).map_err(failed())
    }

    /// Writes the whole root filesystem as a tar; nothing that is mounted in it. `ids`: how it is mapped.
    ///
    /// # Errors
    /// When it cannot be mounted or read, or the receiver has gone.
    pub fn snapshot_export(
        &self,
        container: ContainerId,
        ids: &hako_archive::Ids,
        output: impl Write,
    ) -> Result<(), ImageError> {
        let view = self.snapshot_view(container)?;
        let mut packer = Packer::new(output).with_ids(ids.clone());
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
        self.skeleton(base, For::Containers).map_err(failed())?;
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

    /// The stacks that containers stand on, or have mounted.
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
                    held.mounted.entry(container).or_default().extend(mounted::kept(&entry.path()).map_err(failed())?);
                }
            }
            held.is_complete = true;
        }
        let mounted = held.mounted.values().flatten().copied().map(Some);
        Ok(held.bases.values().copied().chain(mounted).collect())
    }

    /// The live overlay of a container, mounted if it is not.
    fn measure(&self, container: ContainerId) -> Result<u64, ImageError> {
        let mounts = self.mounts.load(Ordering::Acquire);
        let upper = self.upper(container)?;
        let failed = ImageError::io(format!("cannot measure {}", upper.display()));
        let written = hako_archive::size_of(&upper).map_err(failed)?;
        let live = self.live.lock();
        // What was mounted meanwhile, if only for a moment, may have grown behind the measurement.
        if !live.contains_key(&container) && self.mounts.load(Ordering::Acquire) == mounts {
            self.measured.lock().insert(container, written);
        }
        Ok(written)
    }

    fn enter<'l>(
        &self,
        live: &'l mut HashMap<ContainerId, Live>,
        container: ContainerId,
        volatile: bool,
    ) -> Result<&'l mut Live, ImageError> {
        Ok(match live.entry(container) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(place) => {
                self.mounts.fetch_add(1, Ordering::AcqRel);
                self.measured.lock().remove(&container);
                place.insert(Live::new(self.mount(container, volatile)?))
            }
        })
    }

    fn delete_snapshot(&self, container: ContainerId) -> Result<(), ImageError> {
        let path = self.container(container);
        let base = self.base_of(container);
        self.measured.lock().remove(&container);
        self.layers.remove(&path).map_err(ImageError::io(format!("cannot remove {}", path.display())))?;
        let mounted = {
            let mut held = self.held.lock();
            held.bases.remove(&container);
            held.mounted.remove(&container).unwrap_or_default()
        };
        let is_needed =
            |stack: &Digest| self.catalog.read().images.values().any(|image| image.chain_id == Some(*stack));
        if !base.ok().flatten().iter().chain(&mounted).all(is_needed) {
            collect(self, &self.writing.lock(), catalog::Change::default())?;
        }
        Ok(())
    }

    fn mount(&self, container: ContainerId, volatile: bool) -> Result<Original, ImageError> {
        let base = self.base_of(container)?;
        let upper = self.upper(container)?;
        let failed = || ImageError::io(format!("cannot mount the root filesystem of container {}", container.short()));
        let skeleton = self.skeleton(base, For::Containers).map_err(failed())?;
        let mut lowers = vec![skeleton];
        lowers.extend(self.lowers(base));
        let directory = self.container(container);
        let work = fresh_work(&directory).map_err(failed())?;
        let map = self.maps.lock().get(&container).cloned();
        let map = map.as_ref().map(|map| map.as_fd());
        let overlay = hako_sys::mount::overlay_mapped(&lowers, Some((&upper, &work)), volatile, map);
        let unmapped =
            |error: &io::Error| map.is_some() && error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error());
        match overlay {
            Err(error) if unmapped(&error) => Err(ImageError::NoMappedIds { path: directory }),
            overlay => overlay.and_then(Original::new).map_err(failed()),
        }
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
