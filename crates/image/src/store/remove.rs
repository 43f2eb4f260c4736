//! Removing names, images and the layers that nobody needs any more, by Docker's rules.
//!
//! ```text
//!   by name ── last name and a container? ── conflict (must force)
//!      │            other names left? ── untagged, done
//!   by id ── several repositories? ── conflict (must be forced)
//!      ▼
//!   children, running containers ── conflict (cannot be forced); by name: untagged, done
//!   stopped containers ── conflict (must be forced); by name: untagged, done
//!      ▼
//!   image ─► layers without another image, container or lease ─► nameless parents
//! ```

use std::collections::HashSet;

use hako_model::{Digest, Reference};
use parking_lot::MutexGuard;

use super::{Inner, Store, find};
use crate::{
    Image, ImageError, Pruned, RemoveOptions, Removed, Use,
    catalog::{Catalog, Change},
};

/// Who uses an image; a running container before a stopped one.
type UsedBy<'u> = &'u dyn Fn(&Digest) -> Option<Use>;

impl Store {
    /// Removes what `name` stands for: a name of an image, or the image.
    ///
    /// `used_by` answers who uses an image, a running container rather than a stopped one.
    ///
    /// # Errors
    /// [`ImageError::NoSuchImage`], and Docker's conflicts.
    pub fn remove(&self, name: &str, options: RemoveOptions, used_by: UsedBy<'_>) -> Result<Vec<Removed>, ImageError> {
        let inner = &*self.inner;
        let writing = inner.writing.lock();
        let image = find(&inner.catalog.read(), name)?;
        let mut removed = Vec::new();
        if is_id_prefix(&image, name) {
            untag_all_of_one_repository(inner, &image, options, used_by, &mut removed)?;
            delete(inner, &writing, &image, options, used_by, &mut removed)?;
            return Ok(removed);
        }
        if untag(inner, &image, name, options, used_by, &mut removed)? {
            return Ok(removed);
        }
        match delete(inner, &writing, &image, options, used_by, &mut removed) {
            // The name is gone, which was asked for; what is made from the image, or runs on it, keeps it, quietly.
            Err(ImageError::InUse { .. }) | Ok(()) => Ok(removed),
            Err(error) => Err(error),
        }
    }

    /// Removes images that nothing uses: those without a name, or with `all` any; those that `keep` wants stay. With
    /// `all`, one in use keeps the last of its names, as with Docker, which removes names as long as it may.
    ///
    /// # Errors
    /// When the records or the disk fail; conflicts only mean that an image stays.
    pub fn prune(&self, all: bool, keep: &dyn Fn(&Image) -> bool, used_by: UsedBy<'_>) -> Result<Pruned, ImageError> {
        let inner = &*self.inner;
        let writing = inner.writing.lock();
        let before = self.layers_size();
        let mut pruned = Pruned::default();
        let candidates: Vec<_> = inner.catalog.read().images.values().cloned().collect();
        for image in candidates {
            let is_parent = inner.catalog.read().children(image.id).next().is_some();
            let named = !inner.catalog.read().names_of(image.id).is_empty();
            if (named && !all) || is_parent || keep(&image) {
                continue;
            }
            if used_by(&image.id).is_some() {
                untag_but_the_last(inner, &image, used_by, &mut pruned.removed)?;
                continue;
            }
            let options = RemoveOptions { force: true, keep_parents: false };
            delete(inner, &writing, &image, options, used_by, &mut pruned.removed)?;
        }
        pruned.reclaimed = before.saturating_sub(self.layers_size());
        Ok(pruned)
    }

    /// Removes layers that neither an image, a container nor an operation in progress needs.
    ///
    /// # Errors
    /// When the records or the disk fail.
    pub fn collect_garbage(&self) -> Result<Vec<Removed>, ImageError> {
        let writing = self.inner.writing.lock();
        collect(&self.inner, &writing, Change::default())
    }
}

fn short(image: &Image) -> String {
    image.id.short()
}

// Whether a person gave (the beginning of) the id rather than a name.
fn is_id_prefix(image: &Image, name: &str) -> bool {
    let start = name.strip_prefix("sha256:").unwrap_or(name);
    let is_hex = !start.is_empty() && start.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_hex && image.id.hex().starts_with(start)
}

// One tag and digests of the same repository count as one name.
fn is_single(names: &[Reference]) -> bool {
    let repositories: HashSet<_> = names.iter().map(Reference::familiar_name).collect();
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    names.len() <= 1 || (repositories.len() == 1 && tags <= 1)
}

// Takes one name away; `true` when the image keeps others and so stays.
fn untag(
    inner: &Inner,
    image: &Image,
    name: &str,
    options: RemoveOptions,
    used_by: UsedBy<'_>,
    removed: &mut Vec<Removed>,
) -> Result<bool, ImageError> {
    let mut catalog = inner.catalog.write();
    let names = catalog.names_of(image.id);
    if !options.force
        && is_single(&names)
        && let Some(user) = used_by(&image.id)
    {
        let container = user.container.short();
        return Err(ImageError::NameInUse { reference: name.to_owned(), container, image: short(image) });
    }
    let wanted = name.parse::<Reference>()?.with_default_tag();
    let mut gone: Vec<_> =
        names.iter().filter(|known| **known == wanted || same_digest(known, &wanted)).cloned().collect();
    let repository = wanted.familiar_name();
    let of_repository = |known: &&Reference| known.familiar_name() == repository && !gone.contains(known);
    let has_other_tag = names.iter().filter(of_repository).any(|known| known.digest().is_none());
    if wanted.digest().is_none() && !has_other_tag {
        // Without a tag, the digests of the repository name nothing that a person could want.
        let digests: Vec<_> = names.iter().filter(of_repository).cloned().collect();
        gone.extend(digests);
    }
    let is_left = gone.len() < names.len();
    drop_names(inner, &mut catalog, image.id, gone, removed)?;
    Ok(is_left)
}

// Names of an image in use go one by one, in their order, until only one is left that must stay.
fn untag_but_the_last(
    inner: &Inner,
    image: &Image,
    used_by: UsedBy<'_>,
    removed: &mut Vec<Removed>,
) -> Result<(), ImageError> {
    let mut names = inner.catalog.read().names_of(image.id);
    names.sort_by_key(Reference::to_string);
    let options = RemoveOptions { force: false, keep_parents: false };
    for name in names {
        // The digests of a repository go with its last tag.
        if !inner.catalog.read().names_of(image.id).contains(&name) {
            continue;
        }
        match untag(inner, image, &name.to_string(), options, used_by, removed) {
            Ok(_) => {}
            Err(ImageError::NameInUse { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn same_digest(known: &Reference, wanted: &Reference) -> bool {
    wanted.digest().is_some() && known.digest() == wanted.digest() && known.familiar_name() == wanted.familiar_name()
}

fn untag_all_of_one_repository(
    inner: &Inner,
    image: &Image,
    options: RemoveOptions,
    used_by: UsedBy<'_>,
    removed: &mut Vec<Removed>,
) -> Result<(), ImageError> {
    let mut catalog = inner.catalog.write();
    let names = catalog.names_of(image.id);
    if !is_single(&names) {
        return Ok(());
    }
    check_conflict(&catalog, image, options.force, false, used_by)?;
    drop_names(inner, &mut catalog, image.id, names, removed)
}

fn drop_names(
    inner: &Inner,
    catalog: &mut Catalog,
    image: Digest,
    gone: Vec<Reference>,
    removed: &mut Vec<Removed>,
) -> Result<(), ImageError> {
    let change = Change { names_gone: gone.clone(), ..Change::default() };
    catalog.commit(&inner.database, change)?;
    removed.extend(gone.into_iter().map(|reference| Removed::Untagged { reference, image }));
    Ok(())
}

// Children and running containers cannot be overridden; names (where they count) and stopped containers can.
fn check_conflict(
    catalog: &Catalog,
    image: &Image,
    force: bool,
    names_count: bool,
    used_by: UsedBy<'_>,
) -> Result<(), ImageError> {
    let conflict = |hard, why: String| Err(ImageError::InUse { image: short(image), hard, why });
    if catalog.children(image.id).next().is_some() {
        return conflict(true, "image has dependent child images".to_owned());
    }
    let user = used_by(&image.id);
    if let Some(user) = user.as_ref().filter(|user| user.running) {
        return conflict(true, format!("image is being used by running container {}", user.container.short()));
    }
    if force {
        return Ok(());
    }
    if names_count && !catalog.names_of(image.id).is_empty() {
        return conflict(false, "image is referenced in multiple repositories".to_owned());
    }
    match user {
        Some(user) => conflict(false, format!("image is being used by stopped container {}", user.container.short())),
        None => Ok(()),
    }
}

// Deletes an image, its layers, and the parents that only it kept.
fn delete(
    inner: &Inner,
    writing: &MutexGuard<'_, ()>,
    image: &Image,
    options: RemoveOptions,
    used_by: UsedBy<'_>,
    removed: &mut Vec<Removed>,
) -> Result<(), ImageError> {
    check_conflict(&inner.catalog.read(), image, options.force, true, used_by)?;
    delete_one(inner, writing, image, removed)?;
    let mut parent = image.parent;
    while let (false, Some(id)) = (options.keep_parents, parent) {
        let Some(image) = inner.catalog.read().images.get(&id).cloned() else { break };
        // A parent that something still needs stays, quietly.
        if check_conflict(&inner.catalog.read(), &image, false, true, used_by).is_err() {
            break;
        }
        delete_one(inner, writing, &image, removed)?;
        parent = image.parent;
    }
    Ok(())
}

fn delete_one(
    inner: &Inner,
    writing: &MutexGuard<'_, ()>,
    image: &Image,
    removed: &mut Vec<Removed>,
) -> Result<(), ImageError> {
    let names = inner.catalog.read().names_of(image.id);
    removed.extend(names.iter().map(|name| Removed::Untagged { reference: name.clone(), image: image.id }));
    let change = Change { names_gone: names, images_gone: vec![image.id], ..Change::default() };
    let layers = collect(inner, writing, change)?;
    removed.push(Removed::Image(image.id));
    removed.extend(layers);
    Ok(())
}

/// Commits `change` and, in the same transaction, the end of every layer that is not needed after it.
pub(super) fn collect(
    inner: &Inner,
    _writing: &MutexGuard<'_, ()>,
    mut change: Change,
) -> Result<Vec<Removed>, ImageError> {
    // In this order: a snapshot claims its stack before it looks for its image, so it is either counted here or
    // finds the image gone.
    let mut catalog = inner.catalog.write();
    let bases = inner.bases()?;
    let gone: HashSet<_> = change.images_gone.iter().copied().collect();
    let tops = catalog.images.values().filter(|image| !gone.contains(&image.id)).map(|image| image.chain_id);
    let dropped: HashSet<_> = change.kept_gone.iter().copied().collect();
    let kept = catalog.kept.iter().filter(|stack| !dropped.contains(*stack)).map(|stack| Some(*stack));
    let needed: HashSet<Digest> =
        tops.chain(bases).chain(kept).flat_map(|top| catalog.stack(top)).map(|layer| layer.chain_id).collect();
    let mut dead: Vec<_> = catalog
        .layers
        .values()
        .filter(|layer| !needed.contains(&layer.chain_id) && !inner.leases.holds(layer.diff_id))
        .cloned()
        .collect();
    // From the top down, as Docker reports them.
    dead.sort_by_cached_key(|layer| std::cmp::Reverse((catalog.stack(Some(layer.chain_id)).len(), layer.chain_id)));
    let manifests = change.images_gone.iter().flat_map(|id| catalog.manifests_of(*id)).map(|kept| kept.digest);
    let documents: Vec<Digest> = change.images_gone.iter().copied().chain(manifests).collect();
    change.layers_gone = dead.iter().map(|layer| layer.chain_id).collect();
    catalog.commit(&inner.database, change)?;
    let blobs: HashSet<Digest> = catalog.layers.values().map(|layer| layer.blob).collect();
    drop(catalog);

    let failed = |what: String| ImageError::io(format!("cannot remove {what}"));
    for layer in &dead {
        let directory = inner.layers.directory(Some(layer.chain_id));
        inner.layers.remove(&directory).map_err(failed(format!("layer {}", layer.chain_id)))?;
        inner.skeletons.lock().retain(|(stack, _)| *stack != Some(layer.chain_id));
        if !blobs.contains(&layer.blob) {
            let gzip = inner.gzipped.lock().remove(&layer.blob).map(|made| made.blob);
            if let Some(gzip) = gzip.filter(|gzip| !blobs.contains(gzip)) {
                inner.content.remove(gzip).map_err(failed(format!("blob {gzip}")))?;
            }
            inner.content.remove(layer.blob).map_err(failed(format!("blob {}", layer.blob)))?;
        }
    }
    for document in documents {
        inner.content.remove(document).map_err(failed(format!("blob {document}")))?;
    }
    Ok(dead.into_iter().map(|layer| Removed::Layer(layer.chain_id)).collect())
}
