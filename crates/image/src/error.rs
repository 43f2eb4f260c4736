//! Everything that can go wrong with images and snapshots.
//!
//! Sentences that clients look at are Docker's to the letter (and so may begin with a capital);
//! the others say what failed, on what, and carry the cause in `source`.

use std::{io, path::PathBuf};

use hako_base::ErrorKind;
use hako_model::{ContainerId, Digest, ReferenceError};

use crate::{archive::UnpackError, change::ChangeError, tar::TarError};

/// Why an image operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("No such image: {reference}")]
    NoSuchImage { reference: String },
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("refusing to create a tag with a digest reference")]
    TagWithDigest,
    /// A name, the only one of its image, would go while a container needs it.
    #[error(
        "conflict: unable to remove repository reference {reference:?} (must force) - container {container} is using its referenced image {image}"
    )]
    NameInUse { reference: String, container: String, image: String },
    /// An image cannot go as it is asked.
    #[error("conflict: unable to delete {image} ({}) - {why}", if *.hard { "cannot be forced" } else { "must be forced" })]
    InUse { image: String, hard: bool, why: String },
    #[error("No such snapshot: {container}")]
    NoSuchSnapshot { container: ContainerId },
    #[error("the root filesystem of container {container} is mounted already")]
    SnapshotBusy { container: ContainerId },
    #[error(
        "the file system that has the layers ({path}) cannot show them with the ids of a user namespace: tmpfs can since \
         Linux 6.3, ext4, xfs and btrfs since 5.15; use another data root, or --userns=host"
    )]
    NoMappedIds { path: PathBuf },
    #[error("the root filesystem of container {container} exists already")]
    SnapshotExists { container: ContainerId },
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The archive as a whole makes no sense.
    #[error("cannot read the image archive: {why}")]
    Archive { why: String },
    #[error("cannot read the image archive")]
    ArchiveTar { source: TarError },
    /// One layer could not be unpacked.
    #[error("cannot unpack {layer}")]
    Layer { layer: String, source: UnpackError },
    /// Docker's sentence.
    #[error("invalid diffID for layer {index}: expected {expected:?}, got {found:?}")]
    DiffId { index: usize, expected: String, found: String },
    #[error("{what} has digest {found}, not {expected}")]
    DigestMismatch { what: String, expected: Digest, found: Digest },
    /// A layer that was loaded is stored by its files; nothing here has them a second time.
    #[error("{path} {why}, and nothing else here has layer {layer}: remove the image and load or build it again")]
    OnlyCopy { layer: Digest, path: String, why: &'static str },
    #[error("{what} is not in the content store")]
    Missing { what: String },
    #[error("cannot read the configuration of image {image}: {why}")]
    Config { image: String, why: String },
    #[error("image {image} has {layers} layers, more than the {} that can be stacked", crate::limits::LAYERS_MAX)]
    TooManyLayers { image: String, layers: usize },
    #[error("{what}")]
    Io { what: String, source: io::Error },
    #[error("cannot {what} the image records")]
    Database { what: &'static str, source: redb::Error },
    #[error("image record {id} is damaged: {why}")]
    Record { id: String, why: String },
    /// The receiver of an archive has gone, or the sender broke off.
    #[error("cannot {what} the archive stream")]
    Stream { what: &'static str, source: io::Error },
}

impl ImageError {
    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchImage { .. } | Self::NoSuchSnapshot { .. } => ErrorKind::NotFound,
            Self::Reference(_) | Self::TagWithDigest | Self::Change(_) => ErrorKind::InvalidInput,
            Self::NameInUse { .. } | Self::InUse { .. } | Self::SnapshotBusy { .. } | Self::SnapshotExists { .. } => {
                ErrorKind::Conflict
            }
            Self::Archive { .. } | Self::DiffId { .. } | Self::DigestMismatch { .. } | Self::Config { .. } => {
                ErrorKind::InvalidInput
            }
            Self::TooManyLayers { .. } | Self::NoMappedIds { .. } => ErrorKind::InvalidInput,
            Self::ArchiveTar { source } => source.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::OnlyCopy { .. }
            | Self::Missing { .. }
            | Self::Io { .. }
            | Self::Database { .. }
            | Self::Record { .. } => ErrorKind::Internal,
            Self::Stream { .. } => ErrorKind::Internal,
        }
    }

    /// For `map_err`: an input/output error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn archive(why: impl Into<String>) -> Self {
        Self::Archive { why: why.into() }
    }
}

/// For `map_err`: any of redb's many error types, with what was tried.
pub(crate) fn database<E: Into<redb::Error>>(what: &'static str) -> impl FnOnce(E) -> ImageError {
    move |source| ImageError::Database { what, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_told_in_dockers_words() {
        let error = ImageError::NameInUse { reference: "x".into(), container: "123".into(), image: "abc".into() };
        assert_eq!(
            error.to_string(),
            "conflict: unable to remove repository reference \"x\" (must force) - container 123 is using its referenced image abc"
        );
        let error = ImageError::InUse {
            image: "abc".into(),
            hard: false,
            why: "image is referenced in multiple repositories".into(),
        };
        assert_eq!(
            error.to_string(),
            "conflict: unable to delete abc (must be forced) - image is referenced in multiple repositories"
        );
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
}
