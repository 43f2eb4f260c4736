//! A request as handlers see it: parameters, body, and the connection to take over.

use std::{
    io::{self, Read},
    sync::Arc,
};

use bytes::Bytes;
use hako_api::{
    ApiVersion, Folded,
    auth::{self, AuthConfig},
    query::{Query, QueryError},
};
use hako_base::chunks::ChunkReader;
use hako_engine::Engine;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request,
    body::{Body, Incoming},
    header,
    upgrade::OnUpgrade,
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::{error::Failure, limits, serve::Daemon};

/// One request of a built row.
pub(crate) struct Call {
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) version: ApiVersion,
    values: Vec<String>,
    query: Query,
    headers: HeaderMap,
    body: Incoming,
    /// Set when the client asked for the connection itself.
    pub(crate) upgrade: Option<OnUpgrade>,
}

impl Call {
    pub(crate) fn new(
        daemon: Arc<Daemon>,
        version: ApiVersion,
        values: Vec<String>,
        mut request: Request<Incoming>,
    ) -> Self {
        let upgrade = asks_for_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let (head, body) = request.into_parts();
        Self { daemon, version, values, query, headers: head.headers, body, upgrade }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.daemon.engine
    }

    /// The object that the path names.
    pub(crate) fn name(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    /// The credentials for a registry that the client sent along; none are empty ones.
    pub(crate) fn registry_auth(&self) -> AuthConfig {
        let value = self.headers.get(auth::HEADER).and_then(|value| value.to_str().ok());
        value.map(AuthConfig::decode).unwrap_or_default()
    }

    /// A header's text; nothing when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// One of several values in the path; empty if there are fewer.
    pub(crate) fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", String::as_str)
    }

    /// The parameters, as the type of this endpoint has them.
    pub(crate) fn query<Q>(&self) -> Result<Q, Failure>
    where
        Q: for<'q> TryFrom<&'q Query, Error = QueryError>,
    {
        Ok(Q::try_from(&self.query)?)
    }

    /// The JSON body; `None` when there is none.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let empty = self.body.is_end_stream() || self.body.size_hint().exact() == Some(0);
        if let Err(failure) = check_content_type(&self.headers, empty) {
            drain(&mut self.body).await;
            return Err(failure);
        }
        if empty {
            return Ok(None);
        }
        parse_json(&self.bytes().await?)
    }

    /// The JSON body, which must be there.
    pub(crate) async fn required_json<T: DeserializeOwned>(&mut self, missing: &str) -> Result<T, Failure> {
        self.json().await?.ok_or_else(|| Failure::invalid(missing))
    }

    async fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let mut drained = 0;
        while let Some(chunk) = next_chunk(&mut self.body).await {
            let chunk = chunk.map_err(|error| Failure::invalid(format!("cannot read the request body: {error}")))?;
            if bytes.len() + chunk.len() <= limits::BODY_BYTES_MAX && drained == 0 {
                bytes.extend_from_slice(&chunk);
                continue;
            }
            bytes = Vec::new();
            drained += chunk.len();
            if drained > limits::BODY_BYTES_DRAINED {
                break;
            }
        }
        if drained > 0 {
            return Err(Failure::invalid(format!(
                "request body too large: at most {} bytes are read",
                limits::BODY_BYTES_MAX
            )));
        }
        Ok(bytes)
    }

    /// The body for code that blocks while it reads. Ends early, with an error, when the client
    /// goes away.
    pub(crate) fn into_reader(self) -> Box<dyn Read + Send> {
        let (send, mut chunks) = mpsc::channel(limits::UPLOAD_CHUNKS_QUEUED);
        let mut body = self.body;
        tokio::spawn(async move {
            while let Some(chunk) = next_chunk(&mut body).await {
                if send.send(chunk).await.is_err() {
                    // Nobody wants the rest, but the client is still sending and must be able to
                    // finish before it reads the answer.
                    while next_chunk(&mut body).await.is_some_and(|chunk| chunk.is_ok()) {}
                    return;
                }
            }
        });
        Box::new(ChunkReader::new(move || chunks.blocking_recv()))
    }

    /// Body, as it comes: the input of a client that did not ask for the connection.
    pub(crate) fn into_body(self) -> Incoming {
        self.body
    }
}

pub(crate) async fn next_chunk(body: &mut Incoming) -> Option<io::Result<Bytes>> {
    loop {
        match body.frame().await? {
            Ok(frame) => match frame.into_data() {
                Ok(bytes) => return Some(Ok(bytes)),
                // Trailers say nothing here.
                Err(_) => continue,
            },
            Err(error) => return Some(Err(io::Error::other(error))),
        }
    }
}

/// Reads a body that nobody wants, within reason: a client that is still sending would see a broken pipe instead of the
/// answer.
pub(crate) async fn drain(body: &mut Incoming) {
    let reading = async {
        let mut drained = 0;
        while let Some(Ok(chunk)) = next_chunk(body).await {
            drained += chunk.len();
            if drained > limits::BODY_BYTES_DRAINED {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(limits::LINGER, reading).await;
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let says = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    };
    says(header::CONNECTION, "upgrade")
        && ["tcp", "h2c", "websocket"].iter().any(|protocol| says(header::UPGRADE, protocol))
}

/// A JSON body must be called one; no type at all will do when there is no body.
fn check_content_type(headers: &HeaderMap, empty: bool) -> Result<(), Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    if content_type.is_empty() && empty {
        return Ok(());
    }
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::invalid(format!("unsupported Content-Type header ({content_type}): must be 'application/json'")))
}

/// One value and nothing after it; `null` is no value. Field names may come in any case, as Go's decoder has it.
fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, Failure> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Option<Folded<T>>>();
    let value = match values.next() {
        Some(Ok(value)) => value.map(|Folded(value)| value),
        Some(Err(error)) => return Err(Failure::invalid(format!("invalid JSON: {error}"))),
        None => return Err(Failure::invalid("invalid JSON: got EOF while reading request body")),
    };
    let rest = &bytes[values.byte_offset()..];
    if !rest.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::invalid("unexpected content after JSON"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn bodies_must_be_called_json() {
        for (content_type, empty, expected) in [
            ("application/json", false, Ok(())),
            ("Application/JSON; charset=utf-8", false, Ok(())),
            ("application/json", true, Ok(())),
            ("text/plain", false, Err("unsupported Content-Type header (text/plain): must be 'application/json'")),
            ("text/plain", true, Err("unsupported Content-Type header (text/plain): must be 'application/json'")),
        ] {
            let checked = check_content_type(&headers(&[("content-type", content_type)]), empty);
            assert_eq!(checked.map_err(|failure| failure.message), expected.map_err(str::to_owned), "{content_type}");
        }
        assert!(check_content_type(&headers(&[]), true).is_ok());
        assert_eq!(check_content_type(&headers(&[]), false).unwrap_err().status, 400);
    }

    #[test]
    fn a_body_is_one_value() {
        let parse = |text: &str| parse_json::<serde_json::Value>(text.as_bytes()).map_err(|failure| failure.message);
        assert_eq!(parse("{}\n"), Ok(Some(serde_json::json!({}))));
        assert_eq!(parse("null"), Ok(None));
        assert_eq!(parse("{} {}"), Err("unexpected content after JSON".to_owned()));
        assert_eq!(parse("{}x"), Err("unexpected content after JSON".to_owned()));
        assert_eq!(parse("  "), Err("invalid JSON: got EOF while reading request body".to_owned()));
        assert!(parse("{").unwrap_err().starts_with("invalid JSON: "));
    }

    #[test]
    fn upgrades_are_asked_for_by_two_headers() {
        for (pairs, expected) in [
            (&[("connection", "Upgrade"), ("upgrade", "tcp")][..], true),
            (&[("connection", "keep-alive, upgrade"), ("upgrade", "TCP")][..], true),
            (&[("upgrade", "tcp")][..], false),
            (&[("connection", "Upgrade"), ("upgrade", "h2c")][..], true),
            (&[("connection", "Upgrade"), ("upgrade", "websocket")][..], true),
            (&[("connection", "Upgrade"), ("upgrade", "h3")][..], false),
            (&[][..], false),
        ] {
            assert_eq!(asks_for_upgrade(&headers(pairs)), expected, "{pairs:?}");
        }
    }
}
