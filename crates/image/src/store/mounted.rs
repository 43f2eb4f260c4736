//! Images as read-only mounts in containers (`--mount type=image`): their stacks are kept as long as the container.
//!
//! A kept stack is a link `mount-<stack>` beside the container's `base`: it goes with the snapshot, and a sweep of layers
//! counts it, whether or not the image still has a name or a record. All containers share the files' pages.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use hako_model::{ContainerId, Digest};
use hako_sys::copies::Original;

use super::Store;
use crate::ImageError;

/// What the names of such links begin with.
const LINK: &str = "mount-";

impl Store {
    /// Keeps a stack until the container's snapshot is removed.
    ///
    /// # Errors
    /// When the container has no snapshot, or the stack is not here (any more).
    pub fn snapshot_keep(&self, container: ContainerId, stack: Digest) -> Result<(), ImageError> {
        let inner = &*self.inner;
        let failed = || ImageError::io(format!("cannot keep {stack} for container {}", container.short()));
        // First the claim, then the look: as for the stack that the container stands on.
        inner.held.lock().mounted.entry(container).or_default().insert(stack);
        let link = inner.container(container).join(format!("{LINK}{}", stack.hex()));
        match std::os::unix::fs::symlink(stack.hex(), link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed()(error)),
            _ => {}
        }
        if self.has_stack(Some(stack)) { Ok(()) } else { Err(ImageError::NoSuchImage { reference: stack.to_string() }) }
    }

    /// The files of a stack, or a directory or file in it, as a detached read-only mount; with the ids
    /// of a user namespace, if one is given.
    ///
    /// # Errors
    /// When it cannot be mounted, or has no such path.
    pub fn stack_mount(
        &self,
        stack: Option<Digest>,
        subpath: &Path,
        map: Option<BorrowedFd<'_>>,
    ) -> io::Result<OwnedFd> {
        let overlay = hako_sys::mount::overlay_mapped(&self.inner.lowers(stack), None, false, map)?;
        Original::new(overlay)?.copy_below(subpath)
    }
}

/// The stacks that a container's directory keeps.
pub(super) fn kept(directory: &Path) -> io::Result<HashSet<Digest>> {
    let mut stacks = HashSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let hex = name.to_str().and_then(|name| name.strip_prefix(LINK));
        stacks.extend(hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok()));
    }
    Ok(stacks)
}
