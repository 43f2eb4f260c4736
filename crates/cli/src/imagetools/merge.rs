//! One index of what several nodes of a builder have pushed.

use std::collections::BTreeMap;

use hako_model::{Digest, Reference};

use super::{
    annotation::Annotations,
    create::{fetch, to},
    failed,
    index::{Wanted, combine},
    source::Source,
};
use crate::{build::Step, context::Context, error::CommandError};

/// An index that was pushed.
#[derive(Debug)]
pub(crate) struct Merged {
    pub media_type: String,
    pub digest: String,
    pub size: usize,
}

/// Makes one index of several and gives it these names, or with `true` puts it there by its digest.
///
/// # Errors
/// When a registry does not have or take what is needed.
pub(crate) async fn merge(
    cx: &Context,
    sources: &[Reference],
    annotations: &BTreeMap<String, String>,
    (names, by_digest): (&[Reference], bool),
    step: &Step,
) -> Result<Merged, CommandError> {
    let mut found = Vec::new();
    for source in sources {
        found.push(fetch(cx, &Source::Name(source.clone()), source.clone()).await?);
    }
    let annotations = Annotations::of_index(annotations.clone());
    let made = combine(&found, &Wanted { annotations, platforms: Vec::new(), prefer_index: true }).map_err(failed)?;
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &made.bytes).as_ref());
    let digest = Digest::from_sha256(digest);
    for name in names {
        let name = if by_digest { name.with_digest(digest) } else { name.clone() };
        to(cx, &made, &found, &name, step).await?;
    }
    Ok(Merged { digest: digest.to_string(), size: made.bytes.len(), media_type: made.media_type })
}
