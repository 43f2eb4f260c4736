//! Layers that a build makes: written into a draft, put in place by renaming it, recorded when the build is over.
//!
//! ```text
//!   draft (staging) ─► layer in place, known in memory only ─► image or kept stack: one flush, one transaction
//! ```
//! Between two steps nothing is flushed; a daemon that is killed meanwhile leaves directories that no record speaks
//! of, and the next one sweeps them.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use hako_base::clock;
use hako_model::{Digest, ImageConfig, Platform, Reference};
use jiff::Timestamp;
use rustix::fs::{AtFlags, Timespec, Timestamps};

use super::{
    Arrivals, Candidate, Inner, Store,
    lease::Lease,
    remove::collect,
    skeleton::{For, open_to_all},
};
use crate::{
    Image, ImageError, Removed,
    archive::walk,
    catalog::{Change, ImageRecord},
    config::{Document, Line, RootFs, instant},
    content::digest_of,
    layer::{Private, take},
};

/// Keeps layers that a build counts on until it is dropped.
#[derive(Debug)]
pub struct Hold {
    inner: Arc<Inner>,
    pub(super) lease: Lease,
}

impl Hold {
    /// Keeps a whole stack; `false` when it is not here (any more).
    pub fn stack(&self, stack: Option<Digest>) -> bool {
        let catalog = self.inner.catalog.read();
        for layer in catalog.stack(stack) {
            self.lease.hold(layer.diff_id);
        }
        stack.is_none_or(|top| catalog.layers.contains_key(&top))
    }
}

/// A root filesystem that is written into and then becomes a layer. Dropping it removes it.
#[derive(Debug)]
pub struct Draft {
    mount: OwnedFd,
    private: Private,
    work: PathBuf,
}

impl AsFd for Draft {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

impl Draft {
    /// The directory of the layer itself, which has only what was written.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn layer(&self) -> Result<OwnedFd, ImageError> {
        let files = self.work.with_file_name("fs");
        walk::open_trusted(&files).map_err(ImageError::io("cannot open the layer of a build step"))
    }
}

/// A look at the files of a stack; read-only.
#[derive(Debug)]
pub struct StackView {
    mount: OwnedFd,
}

impl AsFd for StackView {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

/// An image that a build has made.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The image that `FROM` names, whose history goes on. It need not be recorded.
    pub base: Option<Arc<Image>>,
    pub platform: Platform,
    pub config: ImageConfig,
    pub author: String,
    pub created: Timestamp,
    pub lines: Vec<BuiltLine>,
    /// Its layers.
    pub stack: Option<Digest>,
    pub references: Vec<Reference>,
    /// Something beside the lines was changed (labels of the command line).
    pub is_changed: bool,
    /// The image that `images` shows as its parent (the classic builder's intermediate images).
    pub parent: Option<Digest>,
    /// What of the build's cache the image carries, in base64.
    pub inline_cache: Option<String>,
}

impl BuiltImage {
    /// Takes over what a configuration says, but its layers.
    ///
    /// # Errors
    /// What is no configuration.
    pub fn configure(&mut self, raw: &[u8]) -> Result<(), ImageError> {
        let bad =
            |error: serde_json::Error| ImageError::Config { image: "of the build".to_owned(), why: error.to_string() };
        let document = Document::parse(raw).map_err(bad)?;
        self.platform = document.platform();
        self.config = document.config.model();
        self.author.clone_from(&document.author);
        self.created = document.created().unwrap_or(self.created);
        let line = |line: &Line| BuiltLine {
            created: line.created.as_deref().and_then(instant).unwrap_or(self.created),
            created_by: line.created_by.clone(),
            comment: line.comment.clone(),
            empty_layer: line.empty_layer,
        };
        self.lines = document.history.iter().map(line).collect();
        Ok(())
    }
}

/// One line of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltLine {
    pub created: Timestamp,
    pub created_by: String,
    pub comment: String,
    pub empty_layer: bool,
}

impl Store {
    /// Begins to keep layers for a build.
    pub fn hold(&self) -> Hold {
        Hold { inner: self.inner.clone(), lease: self.inner.leases.take() }
    }

    /// A root filesystem on top of a stack. `with_skeleton`: a process will have it as its root.
    ///
    /// # Errors
    /// When it cannot be made or mounted.
    pub fn draft(&self, base: Option<Digest>, with_skeleton: bool) -> Result<Draft, ImageError> {
        let inner = &*self.inner;
        let failed = || ImageError::io("cannot make the root filesystem of a build step");
        let (private, files) = inner.layers.private().map_err(failed())?;
        open_to_all(&files).map_err(failed())?;
        let work = files.with_file_name("work");
        fs::create_dir(&work).map_err(failed())?;
        let mut lowers = Vec::new();
        if with_skeleton {
            lowers.push(inner.skeleton(base, For::Steps).map_err(failed())?);
        }
        lowers.extend(inner.lowers(base));
        let mount = hako_sys::mount::overlay(&lowers, Some((&files, &work)), true).map_err(failed())?;
        Ok(Draft { mount, private, work })
    }

    /// What was written into a draft becomes a layer on top of `parent`; answers the new stack. A draft that nothing
    /// was written into makes none. With `not_after`, no file is younger than that (seconds since 1970).
    ///
    /// # Errors
    /// When the files cannot be read or the disk fails.
    pub fn draft_finish(
        &self,
        draft: Draft,
        parent: Option<Digest>,
        hold: &Hold,
        not_after: Option<i64>,
    ) -> Result<Option<Digest>, ImageError> {
        let inner = &*self.inner;
        let Draft { mount, private, work } = draft;
        drop(mount);
        let failed = || ImageError::io("cannot read what a build step wrote");
        fs::remove_dir_all(&work).map_err(failed())?;
        if let (Some(limit), Some(path)) = (not_after, &private.0) {
            clamp_times(&path.join("fs"), limit).map_err(failed())?;
        }
        let Some(received) = take(&inner.content, "the layer of a build step", private)? else { return Ok(None) };
        let diff_id = received.diff_id;
        hold.lease.hold(diff_id);
        let mut arrived = Arrivals::default();
        arrived.received.insert(diff_id, received);
        self.place_pending(parent, diff_id, arrived).map(Some)
    }

    /// The files of a stack, read-only.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn stack_view(&self, stack: Option<Digest>) -> Result<StackView, ImageError> {
        let mut lowers = self.inner.lowers(stack);
        if stack.is_some() && lowers.len() == 1 {
            // One layer by itself would show its whiteouts, which it has if it is but a difference.
            lowers.push(self.inner.layers.empty());
        }
        let mount = hako_sys::mount::overlay(&lowers, None, false);
        Ok(StackView { mount: mount.map_err(ImageError::io("cannot open the files of a build stage"))? })
    }

    /// The numbers of all files in the layers of a stack.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn stack_files(&self, stack: Option<Digest>) -> std::io::Result<std::collections::HashSet<u64>> {
        let mut numbers = std::collections::HashSet::new();
        for layer in self.inner.lowers(stack) {
            walk::numbers(walk::open_trusted(&layer)?.as_fd(), &mut numbers)?;
        }
        Ok(numbers)
    }

    /// Whether all layers of a stack are here.
    pub fn has_stack(&self, stack: Option<Digest>) -> bool {
        stack.is_none_or(|top| self.inner.catalog.read().layers.contains_key(&top))
    }

    /// Stacks that are kept without an image.
    pub fn kept_stacks(&self) -> Vec<Digest> {
        self.inner.catalog.read().kept.iter().copied().collect()
    }

    /// Bytes of the files in a stack's top layer.
    pub fn layer_size(&self, stack: Digest) -> u64 {
        self.inner.catalog.read().layers.get(&stack).map_or(0, |layer| layer.size)
    }

    /// The id that an image will have.
    pub fn built_id(&self, image: &BuiltImage) -> Digest {
        if let Some(base) = unchanged(image) {
            return base.id;
        }
        digest_of(&self.encode(image).1)
    }

    /// The configuration that an image will have, as its id is the digest of it.
    pub fn built_config(&self, image: &BuiltImage) -> Vec<u8> {
        unchanged(image).map_or_else(|| self.encode(image).1, |base| base.raw_config.to_vec())
    }

    /// Records images, all or none; one that is here already only gets the names. Answers their ids.
    ///
    /// # Errors
    /// When a layer is gone or the disk fails; nothing is left then.
    pub fn build_finish_all(&self, images: &[BuiltImage]) -> Result<Vec<Digest>, ImageError> {
        let inner = &*self.inner;
        let mut ids = Vec::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        for image in images {
            let references: Vec<Reference> =
                image.references.iter().map(|name| name.clone().with_default_tag()).collect();
            if let Some(base) = unchanged(image).filter(|base| inner.catalog.read().images.contains_key(&base.id)) {
                for name in &references {
                    self.tag(&base.id.to_string(), name)?;
                }
                ids.push(base.id);
                continue;
            }
            let (diff_ids, raw) = match unchanged(image) {
                Some(base) => (base.diff_ids.clone(), base.raw_config.to_vec()),
                None => self.encode(image),
            };
            let id = digest_of(&raw);
            ids.push(id);
            let is_known = {
                let catalog = inner.catalog.read();
                catalog.images.contains_key(&id) && references.iter().all(|name| catalog.names.get(name) == Some(&id))
            };
            if !is_known && !candidates.iter().any(|other| other.id == id && other.references == references) {
                let record = ImageRecord { parent: image.parent, ..ImageRecord::default() };
                candidates.push(Candidate { config: raw.into(), id, diff_ids, record, references });
            }
        }
        if !candidates.is_empty() {
            self.record(candidates, Arrivals::default())?;
        }
        Ok(ids)
    }

    // Digests of the layers, and the bytes of the configuration.
    fn encode(&self, image: &BuiltImage) -> (Vec<Digest>, Vec<u8>) {
        let diff_ids: Vec<Digest> =
            self.inner.catalog.read().stack(image.stack).iter().rev().map(|layer| layer.diff_id).collect();
        let mut document = Document::new(&image.platform, &image.config, image.created);
        document.author.clone_from(&image.author);
        document.inline_cache.clone_from(&image.inline_cache);
        if let Some(base) = &image.base {
            document.os_version.clone_from(&base.os_version);
            document.history = Document::parse(&base.raw_config).map(|document| document.history).unwrap_or_default();
        }
        document.history.extend(image.lines.iter().map(|line| Line {
            created: Some(clock::rfc3339_nano(line.created)),
            created_by: line.created_by.clone(),
            comment: line.comment.clone(),
            empty_layer: line.empty_layer,
            ..Line::default()
        }));
        document.rootfs = RootFs { diff_ids: diff_ids.clone(), ..RootFs::default() };
        (diff_ids, document.bytes())
    }

    /// Keeps stacks without an image, and lets others go; layers that nobody needs then are removed.
    ///
    /// # Errors
    /// When the records or the disk fail.
    pub fn keep_stacks(&self, keep: &[Digest], drop: &[Digest]) -> Result<Vec<Removed>, ImageError> {
        let inner = &*self.inner;
        let writing = inner.writing.lock();
        let mut change = Change { kept_gone: drop.to_vec(), ..Change::default() };
        {
            let catalog = inner.catalog.read();
            for stack in keep.iter().filter(|stack| !catalog.kept.contains(*stack)) {
                if !catalog.layers.contains_key(stack) {
                    continue;
                }
                for layer in catalog.stack(Some(*stack)) {
                    let is_new = catalog.pending.contains(&layer.chain_id);
                    if is_new && !change.layers.iter().any(|known| known.chain_id == layer.chain_id) {
                        change.layers.push(layer.clone());
                    }
                }
                change.kept.push(*stack);
            }
        }
        if !change.layers.is_empty() {
            inner.layers.flush()?;
        }
        if !change.kept_gone.is_empty() {
            return collect(inner, &writing, change);
        }
        if !change.kept.is_empty() {
            inner.catalog.write().commit(&inner.database, change)?;
        }
        Ok(Vec::new())
    }
}

// An image to which nothing was done is its base.
fn unchanged(image: &BuiltImage) -> Option<&Arc<Image>> {
    image.base.as_ref().filter(|_| image.lines.is_empty() && !image.is_changed)
}

// Nothing below is younger than `limit`.
fn clamp_times(files: &std::path::Path, limit: i64) -> std::io::Result<()> {
    let root = walk::open_trusted(files)?;
    let at = Timespec { tv_sec: limit, tv_nsec: 0 };
    walk::tree(root.as_fd(), |visit| -> std::io::Result<bool> {
        if visit.stat.st_mtime > limit && !walk::is_whiteout(visit.stat) {
            let times = Timestamps { last_access: at, last_modification: at };
            rustix::fs::utimensat(visit.parent, visit.leaf, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(true)
    })
}
