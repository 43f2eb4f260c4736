//! Views of images looked at closely.

use hako_model::Digest;

/// What a close look at a layer found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCheckView {
    pub diff_id: Digest,
    pub blob: Digest,
    /// What is wrong with the blob; empty: nothing.
    pub blob_damage: String,
    pub files: Vec<FileNote>,
    pub files_damaged: u64,
    pub repaired: bool,
    /// Why it could not be repaired.
    pub failure: String,
}

/// Something about a file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNote {
    pub path: String,
    pub note: String,
    pub bytes: i64,
}

/// What a layer costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCostView {
    pub diff_id: Digest,
    pub created_by: String,
    pub size: u64,
    pub blob_size: u64,
    pub files: u64,
    pub wasted: u64,
    pub hidden: Vec<FileNote>,
}

/// What is other in a second image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDiffView {
    pub files: Vec<FileNote>,
    pub shared: Vec<(Digest, u64)>,
    pub removed: Vec<(Digest, u64)>,
    pub added: Vec<(Digest, u64)>,
}
