//! What is mounted into a container.

use serde::{Deserialize, Serialize};

/// One mount, as a person asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    pub kind: MountKind,
    /// A host path for a bind, a volume's name (empty: an anonymous volume), an image, nothing for tmpfs.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    pub read_only: bool,
    pub bind: Option<BindOptions>,
    pub volume: Option<VolumeOptions>,
    pub tmpfs: Option<TmpfsOptions>,
    #[serde(default)]
    pub image: Option<ImageOptions>,
    /// `cached`, `consistent`, `delegated`: kept for `inspect`, without effect on Linux.
    pub consistency: String,
    /// Whether it was given as `-v SRC:DST[:MODE]` (which makes a missing host directory) or as `--mount`.
    pub from_binds: bool,
    /// The text of MODE, for `inspect`.
    pub mode: String,
}

/// The kinds of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    Bind,
    Volume,
    Tmpfs,
    Image,
}

/// How mounts made below a bind mount later travel between host and container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    #[default]
    RPrivate,
    Private,
    RShared,
    Shared,
    RSlave,
    Slave,
}

/// Options of a bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    pub propagation: Option<Propagation>,
    pub non_recursive: bool,
    pub create_source: bool,
    pub read_only_non_recursive: bool,
    pub read_only_force_recursive: bool,
    pub id_mapping: Option<IdMapping>,
}

/// Whose the files of a bind are in the container; on the host nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdMapping {
    /// The owner of the source is this user of the container; empty: the one that it runs as.
    MatchUser { user: String },
    /// As the container's own user namespace has it.
    Userns,
}

/// Options of a volume mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Do not fill a new volume with what the image has at the target.
    pub no_copy: bool,
    pub labels: std::collections::BTreeMap<String, String>,
    pub driver: String,
    pub driver_options: std::collections::BTreeMap<String, String>,
    /// A path inside the volume to mount instead of its root.
    pub subpath: String,
}

/// Options of an image mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageOptions {
    /// A path inside the image to mount instead of its root.
    pub subpath: String,
}

/// Options of a tmpfs mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// 0: half of the memory, the kernel's default.
    pub size_bytes: u64,
    /// Permission bits; `None` is 1777.
    pub mode: Option<u32>,
    /// Raw options of `--tmpfs /x:noexec,size=1m`, already split at commas.
    pub options: Vec<String>,
}
