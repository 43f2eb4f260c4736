//! Depots in the cache of GitHub's Actions (`type=gha`), or whoever speaks its protocols.
//!
//! ```text
//!   index-SCOPE-1-BRANCH#N        the document; each export saves the next number, since nothing there ever changes
//!   buildkit-blob-1-sha256:…      a blob, for all branches that may read it; #N where somebody took the key and died
//! ```
//! The names are BuildKit's. The document goes last: whoever finds it finds what it names. What a key was taken for and
//! not committed is found by nobody.

mod place; // attributes and the token
mod service; // what the service is asked

use std::{collections::HashSet, fs::File, io, sync::Arc, time::Instant};

use bytes::Bytes;
use hako_engine::{Engine, timer};
use tokio::sync::Mutex;

pub(crate) use place::{ATTRIBUTES, ActionsPlace, SCOPE};
use service::{Entry, Service};

use super::{
    Blob, BlobFuture, Depot, Source, reader,
    web::{self, Content},
};
use crate::{cache::digest, limits};

/// How keys of blobs begin, as BuildKit has them.
const BLOB: &str = "buildkit-blob-1-";

/// A cache of GitHub's Actions; clones are the same.
#[derive(Clone)]
pub(crate) struct Actions(Arc<Service>);

impl Actions {
    pub(crate) fn new(engine: Engine, place: ActionsPlace) -> Self {
        Self(Arc::new(Service::new(engine, place)))
    }

    /// What was left there, in each scope that may be read: of the own branch, and of those that it comes from.
    pub(crate) async fn depots(&self) -> Result<Vec<Depot>, String> {
        let place = &self.0.place;
        place.token.check()?;
        let mut depots = Vec::new();
        for branch in place.token.readable() {
            let Some(entry) = self.found(&self.index(branch), true).await? else { continue };
            let document = self.document(entry).await?;
            let name = format!("gha:{}", place.scope);
            depots.push(Depot::read(&name, &document, &[], Box::new(self.clone()))?);
        }
        Ok(depots)
    }

    /// Saves blobs that are not there yet, and then the document that names them.
    pub(crate) async fn leave(&self, blobs: Vec<(Blob, File)>, document: Bytes) -> Result<(), String> {
        let token = &self.0.place.token;
        token.check()?;
        let branch = token.writable().ok_or("the token of the github actions cache lets nothing be saved")?;
        let taken = Arc::new(Mutex::new(None));
        let listed = self.0.keys(BLOB).await;
        let has = |listed: &HashSet<String>, key: &str| listed.iter().any(|found| number(key, found).is_some());
        let is_listed = |blob: Blob| listed.as_ref().is_some_and(|listed| has(listed, &blob_key(blob)));
        let is_new = listed.is_some();
        let mut known = HashSet::new();
        // The same blob may be two layers.
        let blobs = blobs.into_iter().filter(|(blob, _)| known.insert(blob.digest) && !is_listed(*blob));
        let save = |(blob, file)| {
            let (actions, taken) = (self.clone(), taken.clone());
            async move { actions.save_blob(blob, file, is_new, &taken).await }
        };
        web::side_by_side(blobs.map(save), limits::ACTIONS_BLOBS_AT_ONCE).await?;
        self.save_document(&self.index(branch), document, &taken).await
    }

    fn index(&self, branch: &str) -> String {
        let branch = digest(branch.as_bytes());
        let branch: String = branch.hex().chars().take(8).collect();
        format!("index-{}-1-{branch}", self.0.place.scope)
    }

    // The newest entry of a key: with its number, or also without where it may have none.
    async fn found(&self, key: &str, is_numbered: bool) -> Result<Option<Entry>, String> {
        let wanted = if is_numbered { format!("{key}#") } else { key.to_owned() };
        let entry = self.0.find(&wanted).await?;
        Ok(entry.filter(|entry| number(key, &entry.key).is_some_and(|number| number > 0 || !is_numbered)))
    }

    async fn document(&self, entry: Entry) -> Result<Vec<u8>, String> {
        let most = limits::DEPOT_DOCUMENT_BYTES_MAX as u64;
        web::document(|sender| async move { self.0.read(entry, (None, most), &sender).await }).await
    }

    // `is_new`: that nobody has saved it is known.
    async fn save_blob(
        &self,
        blob: Blob,
        file: File,
        is_new: bool,
        taken: &Mutex<Option<Instant>>,
    ) -> Result<(), String> {
        let key = blob_key(blob);
        let content = Content::File(Arc::new(file), blob.size);
        let (mut number, mut is_new) = (0, is_new);
        while is_new || self.found(&key, false).await?.is_none() {
            is_new = false;
            match self.0.take(&numbered(&key, number)).await? {
                Some(place) => return self.0.fill(&place, &content).await,
                None if is_waited_for(taken).await => {}
                None => number = next(&key, number)?,
            }
        }
        Ok(())
    }

    async fn save_document(&self, key: &str, document: Bytes, taken: &Mutex<Option<Instant>>) -> Result<(), String> {
        let mut skipped = 0;
        loop {
            let newest = self.found(key, true).await?.and_then(|entry| number(key, &entry.key)).unwrap_or(0);
            match self.0.take(&numbered(key, newest.saturating_add(1 + skipped))).await? {
                Some(place) => return self.0.fill(&place, &Content::Bytes(document)).await,
                None if is_waited_for(taken).await => {}
                None => skipped = next(key, skipped)?,
            }
        }
    }
}

impl Source for Actions {
    fn blob(&self, blob: Blob) -> BlobFuture<'_> {
        let actions = self.clone();
        Box::pin(async move {
            let entry = actions.found(&blob_key(blob), false).await?;
            let entry = entry.ok_or_else(|| format!("the blob {} is gone from the cache", blob.digest))?;
            Ok(reader(|sender| async move {
                if let Err(why) = actions.0.read(entry, (Some(blob.size), blob.size), &sender).await {
                    let _ = sender.send(Err(io::Error::other(why))).await;
                }
            }))
        })
    }
}

fn blob_key(blob: Blob) -> String {
    format!("{BLOB}{}", blob.digest)
}

fn numbered(key: &str, number: u64) -> String {
    if number == 0 { key.to_owned() } else { format!("{key}#{number}") }
}

// Which number of a key an entry has: 0 without one, nothing where it is another key's.
fn number(key: &str, found: &str) -> Option<u64> {
    match found.strip_prefix(key)?.strip_prefix('#') {
        Some(number) => number.parse().ok(),
        None => (found == key).then_some(0),
    }
}

fn next(key: &str, number: u64) -> Result<u64, String> {
    let next = number + 1;
    if next > limits::ACTIONS_TAKEN_MAX {
        return Err(format!("cannot reserve {key}: others have taken {number} keys and saved nothing under them"));
    }
    Ok(next)
}

// Somebody has a key and has saved nothing yet: he gets some time, which all such keys of an export share.
async fn is_waited_for(taken: &Mutex<Option<Instant>>) -> bool {
    let since = *taken.lock().await.get_or_insert_with(Instant::now);
    if since.elapsed() >= limits::ACTIONS_TAKEN_WAIT {
        return false;
    }
    timer::after(limits::ACTIONS_TAKEN_PAUSE).await;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_of_its_own_key_only() {
        for (key, found, expected) in [
            ("index-a", "index-a#12", Some(12)),
            ("index-a", "index-a", Some(0)),
            ("index-a", "index-a-sig#1", None),
            ("index-a", "index-ab", None),
            ("index-a", "index-a#", None),
            ("index-a", "other", None),
        ] {
            assert_eq!(number(key, found), expected, "{found}");
        }
    }
}
