//! `/v1/search`, as Docker Hub answers it, over what is here: names and descriptions match.
//!
//! A description is the OCI annotation of a repository's index or manifest, or the label of its configuration. There
//! are no stars here; results are in order of how well the name fits.

use std::{collections::HashMap, sync::Arc};

use hyper::Response;
use parking_lot::Mutex;
use serde::Serialize;

use super::{
    Shared,
    answer::{blocking, json},
    endpoint::Parameters,
    error::ApiError,
};
use crate::{
    body::Body,
    digest::ContentDigest,
    limits,
    name::Repository,
    storage::Storage,
    wire::{DESCRIPTION, Document},
};

/// Descriptions by the digest of the manifest they come from; those never change.
#[derive(Default)]
pub(crate) struct Descriptions(Mutex<HashMap<ContentDigest, String>>);

/// More descriptions than a registry has repositories are not kept.
const DESCRIPTIONS_MAX: usize = 100_000;

#[derive(Serialize)]
struct Results {
    num_pages: usize,
    num_results: usize,
    page: usize,
    page_size: usize,
    query: String,
    results: Vec<Found>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Found {
    name: String,
    description: String,
    star_count: u64,
    is_official: bool,
    is_automated: bool,
    is_trusted: bool,
}

pub(crate) async fn search(shared: &Arc<Shared>, parameters: &Parameters) -> Result<Response<Body>, ApiError> {
    let query = parameters.get("q").unwrap_or_default().to_owned();
    let number =
        |name: &str, default: usize| parameters.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let page_size = number("n", limits::SEARCH_RESULTS_DEFAULT).clamp(1, limits::SEARCH_RESULTS_MAX);
    let page = number("page", 1).max(1);
    let (held, words) = (shared.clone(), query.clone());
    let found = blocking("cannot search", move || {
        let mut all = Vec::new();
        for name in held.storage.repositories()? {
            let description = held.descriptions.of(&held.storage, &name)?;
            all.push((name.as_str().to_owned(), description));
        }
        Ok(rank(&words, all))
    });
    let found = found.await?;
    let num_results = found.len();
    let results = found.into_iter().skip((page - 1).saturating_mul(page_size)).take(page_size).collect();
    let num_pages = num_results.div_ceil(page_size);
    json(&Results { num_pages, num_results, page, page_size, query, results })
}

// Every word must be in the name or the description; the name itself first, then names that begin so.
fn rank(query: &str, all: Vec<(String, String)>) -> Vec<Found> {
    let query = query.to_lowercase();
    let mut found: Vec<(u8, String, String)> = all
        .into_iter()
        .filter(|(name, description)| {
            let description = description.to_lowercase();
            query.split_whitespace().all(|word| name.contains(word) || description.contains(word))
        })
        .map(|(name, description)| {
            let last = name.rsplit('/').next().unwrap_or_default();
            let rank = match () {
                () if name == query || last == query => 0,
                () if last.starts_with(&query) => 1,
                () if name.contains(&query) => 2,
                () => 3,
            };
            (rank, name, description)
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(_, name, description)| Found {
            name,
            description,
            star_count: 0,
            is_official: false,
            is_automated: false,
            is_trusted: false,
        })
        .collect()
}

impl Descriptions {
    // The description of a repository's `latest`, else of any of its tags.
    fn of(&self, storage: &Storage, name: &Repository) -> std::io::Result<String> {
        let latest = storage.tag_read(name, "latest")?;
        let digest = match latest {
            Some(digest) => Some(digest),
            None => storage.tags(name)?.last().map(|tag| storage.tag_read(name, tag)).transpose()?.flatten(),
        };
        let Some(digest) = digest else { return Ok(String::new()) };
        if let Some(known) = self.0.lock().get(&digest) {
            return Ok(known.clone());
        }
        let description = read(storage, name, digest, 0)?.unwrap_or_default();
        let mut known = self.0.lock();
        if known.len() < DESCRIPTIONS_MAX {
            known.insert(digest, description.clone());
        }
        Ok(description)
    }
}

fn read(storage: &Storage, name: &Repository, digest: ContentDigest, depth: usize) -> std::io::Result<Option<String>> {
    let Some(bytes) = storage.manifest_read(name, digest)? else { return Ok(None) };
    let Ok(document) = Document::parse(&bytes, "") else { return Ok(None) };
    if let Some(text) = document.annotations.as_ref().and_then(|annotations| annotations.get(DESCRIPTION)) {
        return Ok(Some(one_line(text)));
    }
    if let Some(config) = &document.config {
        let config = storage.document_read(config.digest)?;
        let config: Option<serde_json::Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let label = config.as_ref().and_then(|config| config["config"]["Labels"][DESCRIPTION].as_str());
        return Ok(label.map(one_line));
    }
    match document.manifests.iter().flatten().next() {
        Some(first) if depth == 0 => read(storage, name, first.digest, 1),
        _ => Ok(None),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_descriptions() {
        let all =
            [("tools/pip", "Installs Python packages"), ("python", "A language"), ("my/python-web", ""), ("redis", "")];
        let all = all.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec();
        let names = |query: &str| rank(query, all.clone()).into_iter().map(|found| found.name).collect::<Vec<_>>();
        assert_eq!(names("python"), ["python", "my/python-web", "tools/pip"]);
        assert_eq!(names("PYTHON packages"), ["tools/pip"]);
        assert_eq!(names("nothing"), [""; 0]);
        assert_eq!(names("").len(), 4);
    }
}
