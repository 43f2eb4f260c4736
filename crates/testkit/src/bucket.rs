//! A stand-in of Amazon's S3, which cannot be reached from here: one bucket, named in the path or in the host.
//!
//! It is strict where the real one is: each request is signed (version 4), all its headers of the protocol with it; what
//! is sent is what was hashed; parts are listed by the tags that they were given.

use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use ring::{digest, hmac};

use crate::{
    Host,
    answer::{Connection, Reply, Request},
    namespace,
};

/// Who may write.
pub const KEY: &str = "AKIATEST";
/// See [`KEY`]; with characters that have to be written otherwise in some places.
pub const SECRET: &str = "hush/hush+hush";
/// Goes with both.
pub const SESSION: &str = "session/of+the=test";

const NAME: &str = "box";
const REGION: &str = "eu-test-1";

/// All parts but the last have so much, as Amazon wants it.
const PART_BYTES_MIN: usize = 5 << 20;

/// The bucket `box` in the region `eu-test-1`; it ends with the test's process.
#[derive(Debug)]
pub struct Bucket {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Vec<(usize, Vec<u8>)>>,
    seen: Vec<String>,
    cuts: usize,
    is_full: bool,
}

#[derive(Debug)]
struct Object {
    bytes: Vec<u8>,
    /// Seconds since 1970.
    written: i64,
}

impl Bucket {
    /// Listens where the daemons of a host can reach it.
    ///
    /// # Panics
    /// Where that is not possible.
    pub fn open(host: &Host) -> Self {
        let inside = host.processes_of("daemon").first().copied().expect("a daemon runs");
        let listener = namespace::in_network_of(inside, || TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                // A client that is not served sees its connection end.
                thread::spawn(move || drop(serve(&client, &state)));
            }
        });
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens: an address and a port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was asked since the last time: `PUT blobs/… 200`.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state().seen)
    }

    /// The keys of what is there.
    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// How many uploads in parts have neither been finished nor given up.
    pub fn unfinished(&self) -> usize {
        self.state().uploads.len()
    }

    /// So many downloads end in their middle.
    pub fn cut(&self, count: usize) {
        self.state().cuts = count;
    }

    /// Whether nothing more is taken.
    pub fn full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// Changes a byte of everything whose key has this; the second time it is as it was.
    pub fn spoil(&self, part: &str) {
        for (_, object) in self.state().objects.iter_mut().filter(|(key, _)| key.contains(part)) {
            if let Some(last) = object.bytes.last_mut() {
                *last ^= 1;
            }
        }
    }

    /// Everything was written so many seconds ago.
    pub fn age(&self, seconds: i64) {
        for object in self.state().objects.values_mut() {
            object.written -= seconds;
        }
    }
}

fn serve(client: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut connection = Connection::new(client)?;
    while let Some(request) = connection.read()? {
        let reply = match request {
            Ok(request) => state.lock().unwrap_or_else(PoisonError::into_inner).answer(&request),
            Err(refusal) => refusal,
        };
        connection.write(reply)?;
    }
    Ok(())
}

fn refusal(status: u16, code: &str) -> Reply {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>it is &lt;no&gt;</Message></Error>");
    Reply::new(status).header("Content-Type", "application/xml").body(text.into_bytes())
}

fn xml(text: &str) -> Reply {
    Reply::new(200).header("Content-Type", "application/xml").body(text.as_bytes().to_vec())
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let host = request.header("host").unwrap_or_default();
        let in_host = host.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('.')).is_some();
        let key = match request.path.strip_prefix('/') {
            Some(key) if in_host => Some(key),
            Some(path) => path.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('/')),
            None => None,
        };
        let reply = match (key, objection(request)) {
            (None, _) => refusal(404, "NoSuchBucket"),
            (_, Some(code)) => refusal(403, code),
            (Some(key), None) => self.object(key, request),
        };
        let key = key.unwrap_or("?").split(':').next().unwrap_or_default().to_owned();
        let part = if request.query.is_empty() { "" } else { " in parts" };
        self.seen.push(format!("{} {key}{part} {}", request.method, reply.status));
        if request.method == "HEAD" { reply.bare() } else { reply }
    }

    fn object(&mut self, key: &str, request: &Request) -> Reply {
        let id = request.parameter("uploadId").unwrap_or_default().to_owned();
        if self.is_full && request.method == "PUT" {
            return refusal(400, "QuotaExceeded");
        }
        match (request.method.as_str(), request.query.len()) {
            ("HEAD" | "GET", 0) => self.get(key, request),
            ("PUT", 0) => match request.header("x-amz-copy-source") {
                Some(source) => self.copy(key, source, request),
                None => {
                    self.put(key, request.body.clone());
                    Reply::new(200).header("ETag", tag(&request.body))
                }
            },
            ("POST", 1) if request.parameter("uploads").is_some() => {
                let id = format!("{}/+", hako_base::random::hex(8));
                self.uploads.insert(id.clone(), Vec::new());
                xml(&format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            ("PUT", 2) => {
                let number = request.parameter("partNumber").and_then(|number| number.parse::<usize>().ok());
                match (self.uploads.get_mut(&id), number.filter(|number| (1..=10_000).contains(number))) {
                    (Some(parts), Some(number)) => {
                        parts.retain(|(other, _)| *other != number);
                        parts.push((number, request.body.clone()));
                        Reply::new(200).header("ETag", tag(&request.body))
                    }
                    _ => refusal(404, "NoSuchUpload"),
                }
            }
            ("POST", 1) => self.complete(key, &id, &request.body),
            ("DELETE", 1) if self.uploads.remove(&id).is_some() => Reply::new(204),
            _ => refusal(405, "MethodNotAllowed"),
        }
    }

    fn put(&mut self, key: &str, bytes: Vec<u8>) {
        let written = hako_base::clock::now().as_second();
        self.objects.insert(key.to_owned(), Object { bytes, written });
    }

    fn copy(&mut self, key: &str, source: &str, request: &Request) -> Reply {
        let is_itself = source == format!("/{NAME}/{}", encoded(key, true));
        if !is_itself || request.header("x-amz-metadata-directive") != Some("REPLACE") {
            return refusal(400, "InvalidRequest");
        }
        let Some(object) = self.objects.get_mut(key) else { return refusal(404, "NoSuchKey") };
        object.written = hako_base::clock::now().as_second();
        xml("<CopyObjectResult></CopyObjectResult>")
    }

    fn get(&mut self, key: &str, request: &Request) -> Reply {
        let Some(object) = self.objects.get(key) else { return refusal(404, "NoSuchKey") };
        let written = object.written;
        let size = object.bytes.len();
        let range = request.header("range").map(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let start: usize = match range {
            None => 0,
            Some(Some(start)) if start < size => start,
            Some(_) => return refusal(416, "InvalidRange"),
        };
        let reply = match range {
            None => Reply::new(200),
            Some(_) => Reply::new(206).header("Content-Range", format!("bytes {start}-{}/{size}", size - 1)),
        };
        let at = date(written, "%a, %d %b %Y %H:%M:%S GMT");
        let reply = reply.header("Last-Modified", at).body(object.bytes[start..].to_vec());
        if self.cuts > 0 && request.method == "GET" {
            self.cuts -= 1;
            return reply.cut();
        }
        reply
    }

    fn complete(&mut self, key: &str, id: &str, list: &[u8]) -> Reply {
        let Some(parts) = self.uploads.get(id) else { return refusal(404, "NoSuchUpload") };
        let list = String::from_utf8_lossy(list).into_owned();
        let between = |text: &str, name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(text, _)| text.to_owned())
        };
        let mut bytes = Vec::new();
        let listed: Vec<&str> = list.split("<Part>").skip(1).collect();
        for (place, part) in listed.iter().enumerate() {
            let number = between(part, "PartNumber").and_then(|number| number.parse::<usize>().ok());
            let found = parts.iter().find(|(other, _)| Some(*other) == number);
            let found = found.filter(|(_, bytes)| between(part, "ETag").as_deref() == Some(&tag(bytes)));
            let Some((_, part)) = found else { return refusal(400, "InvalidPart") };
            if part.len() < PART_BYTES_MIN && place + 1 < listed.len() {
                return refusal(400, "EntityTooSmall");
            }
            bytes.extend_from_slice(part);
        }
        self.uploads.remove(id);
        self.put(key, bytes);
        xml("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
    }
}

fn date(seconds: i64, form: &str) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().strftime(form).to_string()
}

fn hash(bytes: &[u8]) -> String {
    hako_base::random::encode_hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", &hash(bytes)[..32])
}

fn encoded(text: &str, keeps_slashes: bool) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b'/' if keeps_slashes => "/".to_owned(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

// Why a request is not to be believed.
fn objection(request: &Request) -> Option<&'static str> {
    let signed = request.header("authorization").and_then(|text| text.strip_prefix("AWS4-HMAC-SHA256 "));
    let Some(signed) = signed else { return Some("AccessDenied") };
    let word =
        |name: &str| signed.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    let (Some(scope), Some(names), Some(signature)) = (word("Credential"), word("SignedHeaders"), word("Signature"))
    else {
        return Some("AuthorizationHeaderMalformed");
    };
    let time = request.header("x-amz-date").unwrap_or_default();
    let around = |seconds: i64| date(hako_base::clock::now().as_second() + seconds, "%Y%m%dT%H%M%SZ");
    if time < around(-900).as_str() || time > around(900).as_str() {
        return Some("RequestTimeTooSkewed");
    }
    let day = time.get(..8).unwrap_or_default();
    let own = format!("{day}/{REGION}/s3/aws4_request");
    if scope != format!("{KEY}/{own}") {
        return Some("InvalidAccessKeyId");
    }
    if request.header("x-amz-security-token") != Some(SESSION) {
        return Some("InvalidToken");
    }
    let listed: Vec<&str> = names.split(';').collect();
    let needed = request.headers.iter().map(|(name, _)| name.as_str());
    let needed = needed.filter(|name| *name == "host" || name.starts_with("x-amz-"));
    if needed.clone().any(|name| !listed.contains(&name)) || !listed.is_sorted() {
        return Some("SignatureDoesNotMatch");
    }
    let sent = request.header("x-amz-content-sha256").unwrap_or_default();
    if sent != "UNSIGNED-PAYLOAD" && sent != hash(&request.body) {
        return Some("XAmzContentSHA256Mismatch");
    }
    let mut query: Vec<String> = request
        .query
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name, false), encoded(value, false)))
        .collect();
    query.sort();
    let lines: String =
        listed.iter().map(|name| format!("{name}:{}\n", request.header(name).unwrap_or_default())).collect();
    let canonical =
        format!("{}\n{}\n{}\n{lines}\n{names}\n{sent}", request.method, encoded(&request.path, true), query.join("&"));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{own}\n{}", hash(canonical.as_bytes()));
    let mac =
        |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
    let first = format!("AWS4{SECRET}").into_bytes();
    let key = [day, REGION, "s3", "aws4_request"].iter().fold(first, |key, word| mac(&key, word));
    let good = hako_base::random::encode_hex(&mac(&key, &text)) == signature;
    (!good).then_some("SignatureDoesNotMatch")
}
