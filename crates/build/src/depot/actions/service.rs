//! What the cache service is asked, in both of its protocols: find an entry, take a key, send bytes, commit.
//!
//! ```text
//!             v1 (_apis/artifactcache)          v2 (twirp …CacheService)
//!   find      GET cache?keys=…&version=…        GetCacheEntryDownloadURL
//!   take      POST caches → a number            CreateCacheEntry → a signed address
//!   send      PATCH caches/N, ranges            PUT there: a blob, or blocks and their list
//!   commit    POST caches/N                     FinalizeCacheEntryUpload
//!   read      GET the address that `find` gave, from any byte on
//! ```
//! A key is taken once and for all, and found by whoever asks for what it begins with; what is not committed is found by
//! nobody. Whoever is told to wait waits, as long as the place says; what broke is tried again a few times.

use std::{collections::HashSet, io};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hako_engine::{
    Engine,
    view::{WebBody, WebRequest, WebSent},
};
use hyper::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    super::web::{self, Content, Readable, Said, Web},
    place::{ActionsPlace, Protocol},
};
use crate::{cache::digest, limits};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// By this the service tells apart what is saved in different ways; the word is that of BuildKit's library.
const VERSION: &str = "|go-actionscache-1.0";

/// A cache service and who asks it.
pub(super) struct Service {
    web: Web,
    pub(super) place: ActionsPlace,
}

/// Something that was saved, and where it can be read for a while.
pub(super) struct Entry {
    pub(super) key: String,
    address: String,
}

/// A key that is ours, until what is sent is committed.
pub(super) struct Taken {
    key: String,
    /// The service's number of it, or the signed address that takes its bytes.
    place: String,
}

/// Why the service says no; each of its protocols has words of its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    msg: String,
    code: String,
    #[serde(rename = "typeKey")]
    kind: String,
}

// Some servers begin with a byte order mark.
fn refusal(said: &Said) -> Refusal {
    serde_json::from_slice(said.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&said.bytes)).unwrap_or_default()
}

fn is_taken(said: &Said) -> bool {
    let refusal = refusal(said);
    said.status == 409 || refusal.code == "already_exists" || refusal.kind.contains("AlreadyExists")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactEntry {
    cache_key: String,
    archive_location: String,
}

#[derive(Deserialize)]
struct ArtifactReserved {
    #[serde(rename = "cacheId", alias = "cacheID")]
    id: u64,
}

/// A page of keys, as GitHub's REST API has it.
#[derive(Deserialize)]
struct KeyPage {
    total_count: usize,
    actions_caches: Vec<ListedKey>,
}

#[derive(Deserialize)]
struct ListedKey {
    key: String,
}

/// What the newer protocol answers; what is empty may be missing.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ResultsAnswer {
    ok: bool,
    signed_upload_url: String,
    signed_download_url: String,
    matched_key: String,
    message: String,
}

impl Service {
    pub(super) fn new(engine: Engine, place: ActionsPlace) -> Self {
        let list = place.list.iter().map(|list| list.token.clone());
        let secrets = [place.token.text.clone()].into_iter().chain(list).collect();
        Self { web: Web { engine, patience: place.patience, secrets }, place }
    }

    /// The newest entry whose key begins so; those that are being saved are none.
    pub(super) async fn find(&self, key: &str) -> Result<Option<Entry>, String> {
        let what = format!("cannot look up {key}");
        match self.place.protocol {
            Protocol::Artifacts => {
                let mut request = self.request("_apis/artifactcache/cache", None);
                request.query = vec![("keys", key.to_owned()), ("version", version())];
                let said = self.said(&what, &request).await?;
                match said.status {
                    204 => Ok(None),
                    200 if said.bytes.is_empty() => Ok(None),
                    200 => {
                        let entry: ArtifactEntry = self.parsed(&what, &said)?;
                        Ok(Some(Entry { key: entry.cache_key, address: entry.archive_location }))
                    }
                    _ => Err(self.refused(&what, &said)),
                }
            }
            Protocol::Results => {
                let wanted = json!({ "key": key, "restore_keys": [key], "version": version() });
                let said = self.said(&what, &self.call("GetCacheEntryDownloadURL", &wanted)).await?;
                if said.status == 404 {
                    return Ok(None);
                }
                let answer: ResultsAnswer = self.answer(&what, &said)?;
                let entry = Entry { key: answer.matched_key, address: answer.signed_download_url };
                Ok(answer.ok.then_some(entry))
            }
        }
    }

    /// All keys that begin so, of what may be read; nothing where nobody tells them.
    pub(super) async fn keys(&self, prefix: &str) -> Option<HashSet<String>> {
        let list = self.place.list.as_ref()?;
        let mut keys = HashSet::new();
        for scope in self.place.token.readable() {
            for page in 1..=limits::ACTIONS_KEY_PAGES_MAX {
                let text = |text: &str| text.to_owned();
                let request = WebRequest {
                    address: list.address.clone(),
                    query: vec![
                        ("per_page", limits::ACTIONS_KEYS_ON_PAGE.to_string()),
                        ("page", page.to_string()),
                        ("key", text(prefix)),
                        ("ref", text(scope)),
                    ],
                    headers: vec![
                        ("accept", text("application/vnd.github+json")),
                        ("x-github-api-version", text("2022-11-28")),
                    ],
                    authorization: Some(format!("Bearer {}", list.token.0)),
                    ..WebRequest::default()
                };
                let answer = self.web.answered("cannot list keys", || request.clone()).await.ok()?;
                let said = web::said(answer, limits::ACTIONS_KEY_PAGE_BYTES_MAX).await;
                let found: KeyPage = self.answer("cannot list keys", &said).ok()?;
                keys.extend(found.actions_caches.into_iter().map(|listed| listed.key));
                if found.total_count <= page * limits::ACTIONS_KEYS_ON_PAGE {
                    break;
                }
            }
        }
        Some(keys)
    }

    /// Takes a key; `None` where somebody has.
    pub(super) async fn take(&self, key: &str) -> Result<Option<Taken>, String> {
        let what = format!("cannot reserve {key}");
        let wanted = json!({ "key": key, "version": version() });
        let place = match self.place.protocol {
            Protocol::Artifacts => {
                let body = WebBody::Bytes(wanted.to_string().into());
                let request = self.request("_apis/artifactcache/caches", Some((Method::POST, JSON, body)));
                let said = self.said(&what, &request).await?;
                if is_taken(&said) {
                    return Ok(None);
                }
                self.answer::<ArtifactReserved>(&what, &said)?.id.to_string()
            }
            Protocol::Results => {
                let said = self.said(&what, &self.call("CreateCacheEntry", &wanted)).await?;
                if is_taken(&said) {
                    return Ok(None);
                }
                let answer: ResultsAnswer = self.answer(&what, &said)?;
                if !answer.ok {
                    return Err(format!(
                        "{what}: the cache service does not take it{}",
                        self.web.because(&answer.message)
                    ));
                }
                answer.signed_upload_url
            }
        };
        Ok(Some(Taken { key: key.to_owned(), place }))
    }

    /// Sends everything to where a key is taken, and commits it: from then on it is found.
    pub(super) async fn fill(&self, taken: &Taken, content: &Content) -> Result<(), String> {
        match self.place.protocol {
            Protocol::Artifacts => self.send_ranges(taken, content).await?,
            Protocol::Results => self.send_blob(taken, content).await?,
        }
        let Err(why) = self.commit(taken, content.size()).await else { return Ok(()) };
        // The answer may have been lost, and the second one is that it cannot be done twice.
        match self.find(&taken.key).await {
            Ok(Some(entry)) if entry.key == taken.key => Ok(()),
            _ => Err(why),
        }
    }

    async fn send_ranges(&self, taken: &Taken, content: &Content) -> Result<(), String> {
        let what = format!("cannot send {}", taken.key);
        let path = format!("_apis/artifactcache/caches/{}", taken.place);
        for (start, size) in content.pieces(limits::ACTIONS_PIECE_BYTES) {
            let mut request = self.request(&path, Some((Method::PATCH, BYTES, content.piece((start, size)))));
            request.headers.push(("content-range", format!("bytes {start}-{}/*", start + size - 1)));
            self.done(&what, &request).await?;
        }
        Ok(())
    }

    // One blob at once if it is small; else blocks, which are nothing before their list is there.
    async fn send_blob(&self, taken: &Taken, content: &Content) -> Result<(), String> {
        let what = format!("cannot send {}", taken.key);
        let put = |query: Vec<(&'static str, String)>, kind, body| WebRequest {
            address: taken.place.clone(),
            query,
            headers: vec![("x-ms-blob-type", "BlockBlob".to_owned())],
            sent: Some(WebSent { method: Method::PUT, kind, body }),
            is_secret: true,
            ..WebRequest::default()
        };
        let pieces: Vec<(u64, u64)> = content.pieces(limits::ACTIONS_PIECE_BYTES).collect();
        if let &[piece] = pieces.as_slice() {
            return self.done(&what, &put(Vec::new(), BYTES, content.piece(piece))).await;
        }
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for (number, piece) in pieces.into_iter().enumerate() {
            // All of them have to be of one length.
            let id = BASE64_STANDARD.encode(format!("{number:012}"));
            let query = vec![("comp", "block".to_owned()), ("blockid", id.clone())];
            self.done(&what, &put(query, BYTES, content.piece(piece))).await?;
            list.push_str(&format!("<Latest>{id}</Latest>"));
        }
        list.push_str("</BlockList>");
        let query = vec![("comp", "blocklist".to_owned())];
        self.done(&what, &put(query, "application/xml", WebBody::Bytes(list.into()))).await
    }

    async fn commit(&self, taken: &Taken, size: u64) -> Result<(), String> {
        let what = format!("cannot commit {}", taken.key);
        match self.place.protocol {
            Protocol::Artifacts => {
                let body = WebBody::Bytes(json!({ "size": size }).to_string().into());
                let path = format!("_apis/artifactcache/caches/{}", taken.place);
                self.done(&what, &self.request(&path, Some((Method::POST, JSON, body)))).await
            }
            Protocol::Results => {
                let wanted = json!({ "key": taken.key, "size_bytes": size, "version": version() });
                let said = self.said(&what, &self.call("FinalizeCacheEntryUpload", &wanted)).await?;
                let answer: ResultsAnswer = self.answer(&what, &said)?;
                match answer.ok {
                    true => Ok(()),
                    false => {
                        Err(format!("{what}: the cache service does not take it{}", self.web.because(&answer.message)))
                    }
                }
            }
        }
    }

    /// Sends the bytes of an entry on: exactly `size` of them, or at most `most`.
    pub(super) async fn read(
        &self,
        entry: Entry,
        limits: (Option<u64>, u64),
        sender: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), String> {
        let what = format!("cannot read {}", entry.key);
        self.web.read(&what, Reading { service: self, entry }, limits, sender).await
    }
}

/// An entry that is read.
struct Reading<'s> {
    service: &'s Service,
    entry: Entry,
}

impl Readable for Reading<'_> {
    fn request(&self, at: u64) -> WebRequest {
        let range = (at > 0).then(|| ("range", format!("bytes={at}-")));
        WebRequest {
            address: self.entry.address.clone(),
            headers: range.into_iter().collect(),
            is_secret: true,
            ..WebRequest::default()
        }
    }

    // What is signed is good for some minutes only.
    async fn renew(&mut self) -> Result<bool, String> {
        let found = self.service.find(&self.entry.key).await?.filter(|found| found.key == self.entry.key);
        self.entry = found.ok_or_else(|| format!("{} is gone", self.entry.key))?;
        Ok(true)
    }

    fn refused(&self, said: &Said) -> String {
        self.service.reason(said)
    }
}

fn version() -> String {
    digest(VERSION.as_bytes()).hex()
}

impl Service {
    fn request(&self, path: &str, sent: Option<(Method, &'static str, WebBody)>) -> WebRequest {
        WebRequest {
            address: format!("{}{path}", self.place.address),
            headers: vec![("accept", "application/json;api-version=6.0-preview.1".to_owned())],
            authorization: Some(format!("Bearer {}", self.place.token.text.0)),
            sent: sent.map(|(method, kind, body)| WebSent { method, kind, body }),
            // Whose caches they are is a part of the older one's path.
            is_secret: true,
            ..WebRequest::default()
        }
    }

    fn call(&self, method: &str, wanted: &serde_json::Value) -> WebRequest {
        let path = format!("twirp/github.actions.results.api.v1.CacheService/{method}");
        let mut request = self.request(&path, Some((Method::POST, JSON, WebBody::Bytes(wanted.to_string().into()))));
        request.headers = vec![("accept", JSON.to_owned())];
        request
    }

    async fn said(&self, what: &str, request: &WebRequest) -> Result<Said, String> {
        self.web.said(what, || request.clone()).await
    }

    async fn done(&self, what: &str, request: &WebRequest) -> Result<(), String> {
        let said = self.said(what, request).await?;
        if said.is_good() { Ok(()) } else { Err(self.refused(what, &said)) }
    }

    fn answer<T: DeserializeOwned>(&self, what: &str, said: &Said) -> Result<T, String> {
        if said.is_good() { self.parsed(what, said) } else { Err(self.refused(what, said)) }
    }

    fn parsed<T: DeserializeOwned>(&self, what: &str, said: &Said) -> Result<T, String> {
        serde_json::from_slice(&said.bytes).map_err(|_| format!("{what}: the answer of the cache service is malformed"))
    }

    fn refused(&self, what: &str, said: &Said) -> String {
        format!("{what}: {}", self.reason(said))
    }

    fn reason(&self, said: &Said) -> String {
        let Refusal { message, msg, code, .. } = refusal(said);
        let why = [message, msg, code].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        format!("the cache service answers {}{}", said.status, self.web.because(&why))
    }
}
