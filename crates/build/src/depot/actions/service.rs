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

use std::{
    collections::HashSet,
    fs::File,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hako_base::{backoff::Doubling, error::chain};
use hako_engine::{
    Engine, timer,
    view::{WebAnswer, WebBody, WebRequest, WebSent},
};
use hyper::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::mpsc;

use super::place::{ActionsPlace, Protocol};
use crate::{cache::digest, limits};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// By this the service tells apart what is saved in different ways; the word is that of BuildKit's library.
const VERSION: &str = "|go-actionscache-1.0";

/// A cache service and who asks it.
pub(super) struct Service {
    pub(super) engine: Engine,
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

/// What is saved.
#[derive(Clone)]
pub(super) enum Content {
    Bytes(Bytes),
    File(Arc<File>, u64),
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    // Where pieces begin and how long they are.
    fn pieces(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let size = self.size();
        let step = usize::try_from(limits::ACTIONS_PIECE_BYTES).unwrap_or(usize::MAX);
        (0..size).step_by(step).map(move |start| (start, limits::ACTIONS_PIECE_BYTES.min(size - start)))
    }

    fn piece(&self, (start, size): (u64, u64)) -> WebBody {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        match self {
            Self::Bytes(bytes) => WebBody::Bytes(bytes.slice(place(start)..place(start + size))),
            Self::File(file, _) => WebBody::File { file: file.clone(), start, size },
        }
    }
}

/// An answer and what it said.
struct Said {
    status: u16,
    bytes: Vec<u8>,
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

impl Said {
    fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    // Some servers begin with a byte order mark.
    fn refusal(&self) -> Refusal {
        serde_json::from_slice(self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.bytes)).unwrap_or_default()
    }

    fn is_taken(&self) -> bool {
        let refusal = self.refusal();
        self.status == 409 || refusal.code == "already_exists" || refusal.kind.contains("AlreadyExists")
    }
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
                let answer = self.answered("cannot list keys", &request).await.ok()?;
                let said = said_within(answer, limits::ACTIONS_KEY_PAGE_BYTES_MAX).await;
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
                if said.is_taken() {
                    return Ok(None);
                }
                self.answer::<ArtifactReserved>(&what, &said)?.id.to_string()
            }
            Protocol::Results => {
                let said = self.said(&what, &self.call("CreateCacheEntry", &wanted)).await?;
                if said.is_taken() {
                    return Ok(None);
                }
                let answer: ResultsAnswer = self.answer(&what, &said)?;
                if !answer.ok {
                    return Err(format!("{what}: the cache service does not take it{}", self.because(&answer.message)));
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
        for (start, size) in content.pieces() {
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
        let pieces: Vec<(u64, u64)> = content.pieces().collect();
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
                        Err(format!("{what}: the cache service does not take it{}", self.because(&answer.message)))
                    }
                }
            }
        }
    }

    /// Sends the bytes of an entry on: exactly `size` of them, or at most `most`.
    pub(super) async fn read(
        &self,
        mut entry: Entry,
        (size, most): (Option<u64>, u64),
        sender: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), String> {
        let what = format!("cannot read {}", entry.key);
        let (mut at, mut tries, mut is_renewed) = (0, 0, false);
        loop {
            let before = at;
            let why = match self.answered(&what, &self.reading(&entry, at)).await? {
                answer if matches!(answer.status(), 401 | 403) && !is_renewed => {
                    // What is signed is good for some minutes only.
                    is_renewed = true;
                    let found = self.find(&entry.key).await?.filter(|found| found.key == entry.key);
                    entry = found.ok_or_else(|| format!("{what}: it is gone"))?;
                    continue;
                }
                answer if !goes_on(&answer, at) => return Err(self.refused(&what, &said(answer).await)),
                answer => match pass_on(answer, &mut at, size.unwrap_or(most), sender).await {
                    Ok(()) if size.is_none_or(|size| at == size) => return Ok(()),
                    Ok(()) => format!("it ends after {at} bytes"),
                    Err(Broken::Over) => {
                        return Err(format!("{what}: it has more than {} bytes", size.unwrap_or(most)));
                    }
                    // Nobody reads any more.
                    Err(Broken::Unread) => return Ok(()),
                    Err(Broken::Off(why)) => why,
                },
            };
            (tries, is_renewed) = if at > before { (0, false) } else { (tries + 1, is_renewed) };
            if tries >= limits::ACTIONS_TRIES_MAX {
                return Err(format!("{what}: {why}"));
            }
            timer::after(limits::ACTIONS_PAUSE).await;
        }
    }

    fn reading(&self, entry: &Entry, at: u64) -> WebRequest {
        let range = (at > 0).then(|| ("range", format!("bytes={at}-")));
        WebRequest {
            address: entry.address.clone(),
            headers: range.into_iter().collect(),
            is_secret: true,
            ..WebRequest::default()
        }
    }
}

/// Why reading ended before its end.
enum Broken {
    Over,
    Unread,
    Off(String),
}

fn goes_on(answer: &WebAnswer, at: u64) -> bool {
    let range = answer.header("content-range").unwrap_or_default();
    match answer.status() {
        200 => at == 0,
        206 => range.strip_prefix("bytes ").and_then(|rest| rest.split('-').next()) == Some(&at.to_string()),
        _ => false,
    }
}

async fn pass_on(
    mut answer: WebAnswer,
    at: &mut u64,
    most: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Broken> {
    while let Some(bytes) = answer.chunk().await.map_err(|error| Broken::Off(chain(&error)))? {
        *at += bytes.len() as u64;
        if *at > most {
            return Err(Broken::Over);
        }
        sender.send(Ok(bytes)).await.map_err(|_| Broken::Unread)?;
    }
    Ok(())
}

fn version() -> String {
    digest(VERSION.as_bytes()).hex().clone()
}

// What an answer says, as far as it is read. One that breaks off has said nothing.
async fn said(answer: WebAnswer) -> Said {
    said_within(answer, limits::ACTIONS_ANSWER_BYTES_MAX).await
}

async fn said_within(mut answer: WebAnswer, most: usize) -> Said {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if bytes.len() + chunk.len() > most {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Said { status: answer.status(), bytes }
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

    // Asks until there is an answer that is one: not "wait", not "something broke here".
    async fn answered(&self, what: &str, request: &WebRequest) -> Result<WebAnswer, String> {
        let end = Instant::now() + self.place.patience;
        let mut pauses = Doubling::new(limits::ACTIONS_PAUSE, limits::ACTIONS_PAUSE_MAX);
        let mut tries = 0;
        loop {
            let answer = self.engine.web_fetch(request.clone()).await;
            let pause = pauses.next().unwrap_or(limits::ACTIONS_PAUSE_MAX);
            let (pause, why) = match answer {
                Ok(answer) if answer.status() == 429 => {
                    let asked = answer.header("retry-after").and_then(|text| text.trim().parse().ok());
                    (asked.map_or(pause, Duration::from_secs).max(pause), "too many requests".to_owned())
                }
                Ok(answer) if answer.status() < 500 => return Ok(answer),
                answer => {
                    tries += 1;
                    if tries > limits::ACTIONS_TRIES_MAX {
                        return answer.map_err(|error| format!("{what}: {}", self.masked(&chain(&error))));
                    }
                    let why = answer.map_or_else(|error| chain(&error), |answer| format!("status {}", answer.status()));
                    (pause, why)
                }
            };
            if Instant::now() + pause > end {
                return Err(format!("{what}: the cache service lets nobody in for now: {}", self.masked(&why)));
            }
            timer::after(pause).await;
        }
    }

    async fn said(&self, what: &str, request: &WebRequest) -> Result<Said, String> {
        Ok(said(self.answered(what, request).await?).await)
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
        let Refusal { message, msg, code, .. } = said.refusal();
        let why = [message, msg, code].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        format!("{what}: the cache service answers {}{}", said.status, self.because(&why))
    }

    fn because(&self, why: &str) -> String {
        let why: String = self.masked(why).chars().filter(|c| !c.is_control()).take(200).collect();
        if why.is_empty() { why } else { format!(": {why}") }
    }

    // A server may repeat what it was sent.
    fn masked(&self, text: &str) -> String {
        let list = self.place.list.iter().map(|list| &list.token);
        [&self.place.token.text]
            .into_iter()
            .chain(list)
            .fold(text.to_owned(), |text, word| text.replace(&word.0, "***"))
    }
}
