//! What a bucket is asked: whether an object is there, to take one, to give one.
//!
//! Small objects are sent at once, with the hash that their name has anyway; large ones in parts, which are nothing
//! before their list is there, and are thrown away where it never comes.

use std::{io, sync::Arc};

use bytes::Bytes;
use hako_base::clock;
use hako_engine::{
    Engine,
    view::{WebBody, WebRequest, WebSent},
};
use hyper::Method;
use jiff::Timestamp;
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    super::web::{self, Content, Readable, Said, Web},
    place::S3Place,
    sign::{UNSIGNED, Unsigned, encoded, signed},
};
use crate::{cache::digest, limits};

const BYTES: &str = "application/octet-stream";

/// A bucket and who asks.
pub(super) struct Service {
    web: Web,
    pub(super) place: S3Place,
}

/// A request of which all is said but who asks.
#[derive(Clone)]
struct Wish {
    method: Method,
    key: String,
    query: String,
    hash: String,
    headers: Vec<(&'static str, String)>,
    body: WebBody,
}

impl Wish {
    fn new(method: Method, key: &str) -> Self {
        Self {
            method,
            key: key.to_owned(),
            query: String::new(),
            hash: hash(b""),
            headers: Vec::new(),
            body: WebBody::Bytes(Bytes::new()),
        }
    }
}

fn hash(bytes: &[u8]) -> String {
    digest(bytes).hex()
}

impl Service {
    pub(super) fn new(engine: Engine, place: S3Place) -> Self {
        let identity = place.identity.iter();
        let secrets = identity.flat_map(|one| [&one.secret].into_iter().chain(&one.session)).cloned().collect();
        Self { web: Web { engine, patience: limits::SERVICE_PATIENCE, secrets }, place }
    }

    /// When an object was written last; nothing where there is none.
    pub(super) async fn find(&self, key: &str) -> Result<Option<Timestamp>, String> {
        let what = format!("cannot look up {key}");
        let wish = Wish::new(Method::HEAD, key);
        let answer = self.web.answered(&what, || self.request(&wish)).await?;
        match answer.status() {
            404 => Ok(None),
            200 => {
                let at = answer.header("last-modified").unwrap_or_default();
                let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(at);
                Ok(Some(at.unwrap_or_else(|_| clock::now())))
            }
            status => Err(format!("{what}: the bucket answers {status}")),
        }
    }

    /// Leaves an object. `hashed` is the hash of its bytes, if it is known.
    pub(super) async fn put(self: &Arc<Self>, key: &str, content: &Content, hashed: &str) -> Result<(), String> {
        if content.size() > limits::S3_OBJECT_BYTES_AT_ONCE {
            return self.put_parts(key, content).await;
        }
        let body = content.piece((0, content.size()));
        let wish = Wish { hash: hashed.to_owned(), body, ..Wish::new(Method::PUT, key) };
        self.done(&format!("cannot send {key}"), &wish).await.map(drop)
    }

    async fn put_parts(self: &Arc<Self>, key: &str, content: &Content) -> Result<(), String> {
        let what = format!("cannot send {key}");
        let said = self.done(&what, &Wish { query: "uploads=".to_owned(), ..Wish::new(Method::POST, key) }).await?;
        let id =
            between(&said.bytes, "UploadId").ok_or_else(|| format!("{what}: the answer of the bucket is malformed"))?;
        let query = format!("uploadId={}", encoded(&id, false));
        let mut upload = Upload { service: self.clone(), key: key.to_owned(), query, is_over: false };
        self.send_parts(key, content, &upload.query).await?;
        upload.is_over = true;
        Ok(())
    }

    async fn send_parts(&self, key: &str, content: &Content, upload: &str) -> Result<(), String> {
        let what = format!("cannot send {key}");
        // A bucket takes ten thousand at most.
        let size = limits::S3_PART_BYTES.max(content.size() / 9000 + 1);
        let mut list = String::from("<CompleteMultipartUpload>");
        for (number, piece) in (1..).zip(content.pieces(size)) {
            let query = format!("partNumber={number}&{upload}");
            let body = content.piece(piece);
            let wish = Wish { query, hash: UNSIGNED.to_owned(), body, ..Wish::new(Method::PUT, key) };
            let answer = self.web.answered(&what, || self.request(&wish)).await?;
            let tag = answer.header("etag").filter(|tag| !tag.contains(['<', '&'])).map(str::to_owned);
            let (true, Some(tag)) = (answer.status() == 200, tag) else {
                let said = web::said(answer, limits::SERVICE_ANSWER_BYTES_MAX).await;
                return Err(format!("{what}: {}", self.reason(&said)));
            };
            list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"));
        }
        list.push_str("</CompleteMultipartUpload>");
        let (hash, query) = (hash(list.as_bytes()), upload.to_owned());
        let wish = Wish { query, hash, body: WebBody::Bytes(list.into()), ..Wish::new(Method::POST, key) };
        let said = self.done(&what, &wish).await?;
        // It may say yes before it has tried.
        match between(&said.bytes, "Code") {
            None => Ok(()),
            Some(_) => Err(format!("{what}: {}", self.reason(&said))),
        }
    }

    /// Writes an object anew, as it is.
    pub(super) async fn touch(&self, key: &str) -> Result<(), String> {
        let source = format!("/{}/{}", self.place.bucket, encoded(key, true));
        let headers = vec![("x-amz-copy-source", source), ("x-amz-metadata-directive", "REPLACE".to_owned())];
        let what = format!("cannot refresh {key}");
        let said = self.done(&what, &Wish { headers, ..Wish::new(Method::PUT, key) }).await?;
        match between(&said.bytes, "Code") {
            None => Ok(()),
            Some(_) => Err(format!("{what}: {}", self.reason(&said))),
        }
    }

    /// Sends the bytes of an object on: exactly `size` of them, or at most `most`.
    pub(super) async fn read(
        &self,
        key: &str,
        limits: (Option<u64>, u64),
        sender: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), String> {
        let reading = Reading { service: self, key };
        self.web.read(&format!("cannot read {key}"), reading, limits, sender).await
    }

    async fn done(&self, what: &str, wish: &Wish) -> Result<Said, String> {
        let said = self.web.said(what, || self.request(wish)).await?;
        if said.is_good() { Ok(said) } else { Err(format!("{what}: {}", self.reason(&said))) }
    }

    // Each try has its own time, and so its own signature.
    fn request(&self, wish: &Wish) -> WebRequest {
        let path = format!("{}{}", self.place.root, encoded(&wish.key, true));
        let mark = if wish.query.is_empty() { "" } else { "?" };
        let address = format!("{}{path}{mark}{}", self.place.origin, wish.query);
        let unsigned = Unsigned {
            method: wish.method.as_str(),
            host: &self.place.host,
            path: &path,
            query: &wish.query,
            hash: &wish.hash,
            headers: wish.headers.clone(),
        };
        let (headers, authorization) = match &self.place.identity {
            Some(identity) => {
                let (headers, authorization) = signed(unsigned, identity, &self.place.region, clock::now());
                (headers, Some(authorization))
            }
            None => (wish.headers.clone(), None),
        };
        let sent = WebSent { method: wish.method.clone(), kind: BYTES, body: wish.body.clone() };
        let sent = (wish.method != Method::GET).then_some(sent);
        WebRequest { address, headers, authorization, sent, ..WebRequest::default() }
    }

    fn reason(&self, said: &Said) -> String {
        let word = |name| between(&said.bytes, name).unwrap_or_default();
        let why = [word("Code"), word("Message")].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
        format!("the bucket answers {}{}", said.status, self.web.because(&why.join(": ")))
    }
}

/// An upload in parts. One that does not come to its end, whatever the reason, is given up: what was sent would be paid
/// for as long as it is there.
struct Upload {
    service: Arc<Service>,
    key: String,
    query: String,
    is_over: bool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Ok(runtime), false) = (Handle::try_current(), self.is_over) else { return };
        let (service, key) = (self.service.clone(), std::mem::take(&mut self.key));
        let wish = Wish { query: std::mem::take(&mut self.query), ..Wish::new(Method::DELETE, &key) };
        runtime.spawn(async move {
            if let Err(why) = service.done("cannot give an upload up", &wish).await {
                tracing::warn!(key, why, "an upload in parts stays unfinished");
            }
        });
    }
}

/// An object that is read.
struct Reading<'s> {
    service: &'s Service,
    key: &'s str,
}

impl Readable for Reading<'_> {
    fn request(&self, at: u64) -> WebRequest {
        let range = (at > 0).then(|| ("range", format!("bytes={at}-")));
        let headers = range.into_iter().collect();
        self.service.request(&Wish { headers, ..Wish::new(Method::GET, self.key) })
    }

    async fn renew(&mut self) -> Result<bool, String> {
        Ok(false)
    }

    fn refused(&self, said: &Said) -> String {
        self.service.reason(said)
    }
}

// The text of the first element of this name, of those few that a bucket answers with.
fn between(bytes: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = [("&quot;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    Some(plain.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain)))
}
