//! `GET …/referrers/DIGEST`: an index of the manifests whose subject is this one, filtered and in pages.
//!
//! What was pushed to a registry without this endpoint is listed in an index that clients kept under a tag made of the
//! digest; that index is read, too, but only what it lists and is here is believed.

use std::{io, sync::Arc};

use bytes::Bytes;
use hyper::{
    Response,
    header::{self, HeaderName},
};

use super::{
    Shared,
    answer::blocking,
    blob::set,
    endpoint::{Parameters, encode},
    error::ApiError,
};
use crate::{
    body::Body,
    digest::ContentDigest,
    limits,
    name::Repository,
    storage::Storage,
    wire::{Descriptor, Document, OCI_INDEX},
};

pub(crate) async fn list(
    shared: &Arc<Shared>,
    name: Repository,
    subject: ContentDigest,
    parameters: &Parameters,
) -> Result<Response<Body>, ApiError> {
    let (held, known) = (shared.clone(), name.clone());
    let all = blocking("cannot read referrers", move || referring(&held.storage, &known, subject)).await?;
    let wanted = parameters.get("artifactType");
    let after = parameters.get("last").and_then(|text| text.parse::<ContentDigest>().ok());
    let chosen = all
        .iter()
        .filter(|one| wanted.is_none() || one.artifact_type.as_deref() == wanted)
        .filter(|one| after.is_none_or(|after| one.digest > after));
    let page = page(chosen, limits::REFERRERS_BYTES_MAX);
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page.entries });
    let mut response = Response::new(Body::Whole(Bytes::from(index.to_string())));
    set(&mut response, header::CONTENT_TYPE, OCI_INDEX);
    if wanted.is_some() {
        set(&mut response, HeaderName::from_static("oci-filters-applied"), "artifactType");
    }
    if let (true, Some(last)) = (page.is_more, page.entries.last()) {
        let filter = wanted.map(|kind| format!("artifactType={}&", encode(kind))).unwrap_or_default();
        let next = format!("</v2/{name}/referrers/{subject}?{filter}last={}>; rel=\"next\"", last.digest);
        set(&mut response, header::LINK, &next);
    }
    Ok(response)
}

struct Page<'d> {
    entries: Vec<&'d Descriptor>,
    is_more: bool,
}

// As many as fit into one manifest, at least one.
fn page<'d>(all: impl Iterator<Item = &'d Descriptor>, most: usize) -> Page<'d> {
    let (mut entries, mut size) = (Vec::new(), 0);
    for one in all {
        size += serde_json::to_vec(one).map_or(0, |text| text.len() + 1);
        if size > most && !entries.is_empty() {
            return Page { entries, is_more: true };
        }
        entries.push(one);
    }
    Page { entries, is_more: false }
}

// In the order of their digests.
fn referring(storage: &Storage, name: &Repository, subject: ContentDigest) -> io::Result<Vec<Descriptor>> {
    let mut digests = storage.referrers(name, subject)?;
    let kept = storage.tag_read(name, &fallback_tag(subject))?;
    let kept = kept.map(|digest| storage.manifest_read(name, digest)).transpose()?.flatten();
    let kept = kept.and_then(|bytes| Document::parse(&bytes, "").ok()).and_then(|index| index.manifests);
    digests.extend(kept.unwrap_or_default().iter().map(|listed| listed.digest));
    digests.sort_unstable();
    digests.dedup();
    let mut all = Vec::new();
    for digest in digests {
        let Some(bytes) = storage.manifest_read(name, digest)? else { continue };
        let Ok(document) = Document::parse(&bytes, "") else { continue };
        if document.subject.as_ref().is_some_and(|of| of.digest == subject) {
            all.push(described(document, digest, bytes.len() as u64));
        }
    }
    Ok(all)
}

fn described(document: Document, digest: ContentDigest, size: u64) -> Descriptor {
    let of_config = document.config.map(|config| config.media_type);
    Descriptor {
        artifact_type: document.artifact_type.filter(|kind| !kind.is_empty()).or(of_config),
        media_type: document.media_type,
        digest,
        size,
        annotations: document.annotations.unwrap_or_default(),
        platform: None,
        urls: Vec::new(),
    }
}

// Clients of registries without this endpoint keep such an index themselves, under this tag.
fn fallback_tag(subject: ContentDigest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm().name(), &hex[..64])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn a_page_holds_what_fits_and_never_nothing() {
        let one = |name: &str| Descriptor {
            media_type: "x".repeat(100),
            digest: Algorithm::Sha256.of(name.as_bytes()),
            size: 1,
            artifact_type: None,
            annotations: Default::default(),
            platform: None,
            urls: Vec::new(),
        };
        let all = [one("a"), one("b"), one("c")];
        let check = |most| {
            let page = page(all.iter(), most);
            (page.entries.len(), page.is_more)
        };
        assert_eq!(check(10_000), (3, false));
        assert_eq!(check(500), (2, true));
        assert_eq!(check(1), (1, true));
    }

    #[test]
    fn the_tag_of_old_clients_is_cut_as_the_specification_says() {
        let (short, long) = (Algorithm::Sha256.of(b""), Algorithm::Sha512.of(b""));
        assert_eq!(fallback_tag(short), format!("sha256-{}", short.hex()));
        assert_eq!(fallback_tag(long), format!("sha512-{}", &long.hex()[..64]));
    }
}
