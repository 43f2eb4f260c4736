//! An image as the rest of hako sees it, and what operations ask for and answer.

use std::sync::Arc;

use hako_model::{ContainerId, Digest, ImageConfig, Platform, Reference};
use jiff::Timestamp;

/// An image that is here, whole.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration's bytes.
    pub id: Digest,
    /// Its names with tags, sorted.
    pub references: Vec<Reference>,
    /// Its names with digests: what registries know it by.
    pub repo_digests: Vec<Reference>,
    /// The image it was committed from, if it was made here.
    pub parent: Option<Digest>,
    /// `None`: its configuration does not say.
    pub created: Option<Timestamp>,
    pub author: String,
    pub comment: String,
    pub docker_version: String,
    pub platform: Platform,
    pub os_version: String,
    pub config: ImageConfig,
    /// The configuration as it came; its digest is [`Self::id`].
    pub raw_config: Arc<[u8]>,
    /// Digests of the layers' uncompressed tars, base first.
    pub diff_ids: Vec<Digest>,
    /// What names the stack of all layers in the snapshot store; `None` for an image without layers.
    pub chain_id: Option<Digest>,
    /// Bytes of the files in all layers together.
    pub size: u64,
    /// When a name was last given to it here.
    pub last_tagged: Option<Timestamp>,
}

impl Image {
    /// Whether it has no name with a tag.
    pub fn is_dangling(&self) -> bool {
        self.references.is_empty()
    }
}

/// Who needs an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub container: ContainerId,
    pub running: bool,
}

/// How images are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoveOptions {
    /// Even with several names or a stopped container.
    pub force: bool,
    /// Keep parents that nothing names.
    pub keep_parents: bool,
}

/// What a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone; as people write it. The image had this id.
    Untagged { reference: Reference, image: Digest },
    /// An image is gone.
    Image(Digest),
    /// A layer is gone: its chain id.
    Layer(Digest),
}

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    pub removed: Vec<Removed>,
    /// Bytes of files in the layers that went.
    pub reclaimed: u64,
}

/// How far reading an archive has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// `current` of `total` bytes of a layer (short digest) are unpacked.
    Layer { layer: String, current: u64, total: u64 },
    /// This layer was here already.
    Exists { layer: String },
    /// A name moves from the image `old` to the one that is loaded.
    Renamed { reference: Reference, old: Digest },
}

/// One image that an archive carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub id: Digest,
    /// The names it got by this archive; none: only its id.
    pub references: Vec<Reference>,
}

/// What is said about an image made from a root filesystem archive.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The name it gets.
    pub reference: Option<Reference>,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// `None`: "Imported from -" as Docker says it.
    pub message: Option<String>,
    /// `None`: this host's.
    pub platform: Option<Platform>,
}

/// What is said about an image made from a container.
#[derive(Debug, Clone)]
pub struct CommitOptions {
    /// The image the container was made from; `None` if it is gone.
    pub base: Option<Digest>,
    /// What the container runs with; `changes` are applied to it.
    pub config: ImageConfig,
    pub changes: Vec<String>,
    pub author: String,
    pub comment: String,
    /// The name it gets.
    pub reference: Option<Reference>,
    /// The container's command line, for the history.
    pub created_by: String,
}

/// What a container did to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Changed,
    Added,
    Deleted,
}

/// One path of `docker diff`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute in the container.
    pub path: String,
    pub kind: ChangeKind,
}

/// Bytes of a container's root filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSize {
    /// In files that the container wrote.
    pub written: u64,
    /// In its image and what it wrote, together.
    pub root: u64,
}
