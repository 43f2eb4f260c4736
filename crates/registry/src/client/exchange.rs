//! One request and its answer: connection, credentials, redirects, patience.
//!
//! ```text
//!   ask ──► send ──► 401? get what is asked for, once more ──► redirect? without credentials to another server
//!                └─► 429, 503? wait as told, a few times
//! ```

use std::{fs::File, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use serde::Deserialize;

use super::{
    Client, Credentials, RegistryError,
    auth::{Challenge, TokenAnswer, TokenAsk, TokenKey},
    connect::{self, Connection, objection},
    origin::{Address, Origin, Scheme, encode},
    parsed,
};
use crate::{body::Body, limits};

/// A request that can be made again.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) address: Address,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: AskBody,
    /// Who we are, and what for; nobody: no credentials at all.
    pub(crate) identity: Option<(&'a Credentials, &'a [String])>,
}

/// What a request carries.
#[derive(Clone)]
pub(crate) enum AskBody {
    Empty,
    Bytes(Bytes),
    /// A file from a position on, and who hears how much of it has gone.
    File {
        file: Arc<File>,
        start: u64,
        size: u64,
        sent: Option<tokio::sync::watch::Sender<u64>>,
    },
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, address: Address) -> Self {
        Self { method, address, headers: Vec::new(), body: AskBody::Empty, identity: None }
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub(crate) fn body(mut self, body: AskBody) -> Self {
        self.body = body;
        self
    }

    #[must_use]
    pub(crate) fn identity(mut self, credentials: &'a Credentials, scopes: &'a [String]) -> Self {
        self.identity = Some((credentials, scopes));
        self
    }

    // Go's client prints methods so: `Get "http://…": why`.
    fn verb(&self) -> String {
        let name = self.method.as_str();
        format!("{}{}", &name[..1], name[1..].to_ascii_lowercase())
    }

    fn failed(&self, why: impl Into<String>) -> RegistryError {
        RegistryError::Transport { method: self.verb(), address: self.address.to_string(), why: why.into() }
    }
}

/// An answer whose body is still to be read.
pub(crate) struct Reading {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where it came from, after redirects.
    pub(crate) address: Address,
    verb: String,
    incoming: Incoming,
    connection: Option<Connection>,
    client: Client,
}

impl Reading {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next bytes; `None` at the end, and then the connection is free for others.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let stall = self.client.settings().stall;
        loop {
            let failed = |why: String| RegistryError::Transport {
                method: self.verb.clone(),
                address: self.address.to_string(),
                why,
            };
            match tokio::time::timeout(stall, self.incoming.frame()).await {
                Err(_) => {
                    let address = self.address.to_string();
                    return Err(RegistryError::Stalled { method: self.verb.clone(), address, waited: stall });
                }
                Ok(None) => {
                    if let Some(connection) = self.connection.take() {
                        self.client.0.pool.give(&self.address.origin, connection);
                    }
                    return Ok(None);
                }
                Ok(Some(Err(error))) => return Err(failed(hako_base::error::chain(&error))),
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body, which must be small.
    pub(crate) async fn collect(&mut self, what: &str, most: usize) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > most {
                let address = self.address.to_string();
                return Err(RegistryError::TooLarge { what: what.to_owned(), address, most: most as u64 });
            }
        }
        Ok(bytes)
    }

    /// The error that the answer is; reads its body.
    pub(crate) async fn refusal(mut self) -> RegistryError {
        let (status, address) = (self.status.as_u16(), self.address.to_string());
        let said = self.collect("an error", limits::DOCUMENT_BYTES_MAX).await.unwrap_or_default();
        let errors: Errors = serde_json::from_slice(&said).unwrap_or_default();
        let first = errors.errors.into_iter().next();
        let (code, message) = match first {
            Some(error) if !error.code.is_empty() => (error.code, error.message),
            _ if !errors.details.is_empty() => (String::new(), errors.details),
            _ => match status {
                401 => ("UNAUTHORIZED".to_owned(), "authentication required".to_owned()),
                403 => ("DENIED".to_owned(), "requested access to the resource is denied".to_owned()),
                429 => ("TOOMANYREQUESTS".to_owned(), "too many requests".to_owned()),
                _ => (String::new(), String::new()),
            },
        };
        RegistryError::Said { address, status, code, message }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Errors {
    errors: Vec<Said>,
    details: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    code: String,
    message: String,
}

impl Client {
    /// Asks, with credentials if they are asked for; follows redirects of what only reads.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Reading, RegistryError> {
        let mut patience = 3;
        loop {
            let answer = self.ask_as_somebody(ask).await?;
            let overloaded = matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            let wait = answer.header("retry-after").and_then(retry_after).filter(|_| overloaded && patience > 0);
            let Some(wait) = wait else { return Ok(answer) };
            patience -= 1;
            tracing::debug!(address = %ask.address, ?wait, "a registry asks for patience");
            pause(wait).await;
        }
    }

    async fn ask_as_somebody(&self, ask: &Ask<'_>) -> Result<Reading, RegistryError> {
        let Some((credentials, scopes)) = ask.identity else { return self.follow(ask, None).await };
        let host = ask.address.origin.authority();
        let remembered = self.remembered(&host, credentials, scopes);
        let was_known = remembered.is_some();
        let answer = self.follow(ask, remembered.clone()).await?;
        // Somebody else's 401, behind a redirect, is none of our credentials' business.
        if answer.status != StatusCode::UNAUTHORIZED || answer.address.origin != ask.address.origin {
            return Ok(answer);
        }
        let challenges = answer.headers.get_all(header::WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok()).flat_map(Challenge::parse);
        // A token before a password, if either will do.
        match challenges.min_by_key(|challenge| *challenge == Challenge::Basic) {
            Some(Challenge::Bearer { realm, service, scope }) => {
                let token = self.token(ask, &realm, &service, &scope, credentials, scopes, was_known).await?;
                self.remember(&host, credentials, scopes, format!("Bearer {}", token.0), token.1);
                self.follow(ask, Some(format!("Bearer {}", token.0))).await
            }
            Some(Challenge::Basic) => match self.basic(credentials).await {
                Some(basic) if remembered.as_ref() == Some(&basic) => Ok(answer),
                Some(basic) => {
                    self.remember(&host, credentials, scopes, basic.clone(), Duration::from_secs(300));
                    self.follow(ask, Some(basic)).await
                }
                None => Err(ask.failed("no basic auth credentials")),
            },
            None => Ok(answer),
        }
    }

    async fn basic(&self, credentials: &Credentials) -> Option<String> {
        match &credentials.holder {
            Some(holder) => holder.answers().password().await.basic(),
            None => credentials.basic(),
        }
    }

    fn key(host: &str, credentials: &Credentials, scopes: &[String]) -> TokenKey {
        let realm = format!("host {host}");
        TokenKey { realm, service: String::new(), scopes: scopes.to_vec(), credentials: credentials.clone() }
    }

    // What this host took from us the last time, for the same purpose.
    fn remembered(&self, host: &str, credentials: &Credentials, scopes: &[String]) -> Option<String> {
        if !credentials.registry_token.is_empty() {
            return Some(format!("Bearer {}", credentials.registry_token));
        }
        self.0.tokens.find(&Self::key(host, credentials, scopes))
    }

    fn remember(&self, host: &str, credentials: &Credentials, scopes: &[String], value: String, lifetime: Duration) {
        self.0.tokens.keep(Self::key(host, credentials, scopes), value, lifetime);
    }

    #[expect(clippy::too_many_arguments, reason = "each is one word of the challenge or of our answer to it")]
    async fn token(
        &self,
        ask: &Ask<'_>,
        realm: &str,
        service: &str,
        scope: &str,
        credentials: &Credentials,
        scopes: &[String],
        renew: bool,
    ) -> Result<(String, Duration), RegistryError> {
        let mut wanted: Vec<String> = scopes.to_vec();
        // What the registry says it needs, if it is not what we thought.
        if wanted.is_empty() && !scope.is_empty() {
            wanted.push(scope.to_owned());
        }
        let (realm_text, service_text) = (realm.to_owned(), service.to_owned());
        let key = TokenKey {
            realm: realm_text,
            service: service_text,
            scopes: wanted.clone(),
            credentials: credentials.clone(),
        };
        if renew {
            self.0.tokens.forget(&key);
        }
        if let Some(token) = self.0.tokens.find(&key) {
            return Ok((token, Duration::from_secs(30)));
        }
        let address = self.trusted(parsed(realm, &ask.address)?);
        let token = match &credentials.holder {
            Some(holder) => {
                let wanted = TokenAsk { realm: address.to_string(), service: service.to_owned(), scopes: wanted };
                holder.answers().token(wanted).await.map_err(|why| ask.failed(why))?
            }
            None => self.token_fetch(&address, service, &wanted, credentials).await?.token(&address)?,
        };
        self.0.tokens.keep(key, token.text.clone(), token.lifetime);
        Ok((token.text, token.lifetime))
    }

    /// Asks a token service (`GET`; with a refresh token `POST`, as OAuth has it).
    pub(crate) async fn token_fetch(
        &self,
        address: &Address,
        service: &str,
        scopes: &[String],
        credentials: &Credentials,
    ) -> Result<TokenAnswer, RegistryError> {
        let ask = if credentials.identity_token.is_empty() {
            let mut address = address.clone();
            for (name, value) in [("service", service), ("account", credentials.username.as_str())] {
                if !value.is_empty() {
                    address = address.with(name, value);
                }
            }
            for scope in scopes {
                address = address.with("scope", scope);
            }
            let ask = Ask::new(Method::GET, address);
            match credentials.basic() {
                Some(basic) => ask.header(header::AUTHORIZATION, basic),
                None => ask,
            }
        } else {
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", "hako"),
                ("refresh_token", credentials.identity_token.as_str()),
                ("scope", &scopes.join(" ")),
            ];
            let form: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
            Ask::new(Method::POST, address.clone())
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(AskBody::Bytes(form.join("&").into()))
        };
        let mut answer = self.follow(&ask, None).await?;
        if !answer.status.is_success() {
            return Err(answer.refusal().await);
        }
        let bytes = answer.collect("a token", limits::DOCUMENT_BYTES_MAX).await?;
        serde_json::from_slice(&bytes).map_err(|error| RegistryError::Malformed {
            what: "a token",
            address: address.to_string(),
            why: error.to_string(),
        })
    }

    // A token service of an insecure registry may be insecure as well.
    pub(crate) fn trusted(&self, mut address: Address) -> Address {
        if address.origin.scheme == Scheme::Https && self.settings().is_insecure(&address.origin.authority()) {
            address.origin.scheme = Scheme::Unverified;
        }
        address
    }

    async fn follow(&self, ask: &Ask<'_>, authorization: Option<String>) -> Result<Reading, RegistryError> {
        let mut ask = ask.clone();
        let mut authorization = authorization;
        for _ in 0..limits::REDIRECTS_MAX {
            let mut asked = ask.clone();
            if let Some(value) = &authorization {
                asked.headers.push((header::AUTHORIZATION, value.clone()));
            }
            let answer = self.send(&asked).await?;
            let follows = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) && ask.method.is_safe();
            let location = answer.header("location").map(str::to_owned).filter(|_| follows);
            let Some(location) = location else { return Ok(answer) };
            let next = parsed(&location, &ask.address)?;
            if next.origin != ask.address.origin {
                // What proves who we are is for the server that asked for it.
                authorization = None;
                // So is whatever a `hosts.toml` has it sent.
                ask.headers.retain(|(name, _)| [header::ACCEPT, header::RANGE].contains(name));
            }
            ask.address = next;
        }
        Err(ask.failed(format!("stopped after {} redirects", limits::REDIRECTS_MAX)))
    }

    /// Sends one request over a waiting or a new connection.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Result<Reading, RegistryError> {
        let origin = &ask.address.origin;
        let stall = self.settings().stall;
        loop {
            let (mut connection, is_new) = match self.0.pool.take(origin) {
                Some(connection) => (connection, false),
                None => {
                    let opened = connect::open(self.settings(), origin).await;
                    (opened.map_err(|why| ask.failed(why))?, true)
                }
            };
            let (request, moving) = request(ask, origin, connection.through_proxy, &self.settings().user_agent)?;
            let answering = connection.sender.send_request(request);
            match patient(answering, moving, stall).await {
                Some(Ok(response)) => {
                    let (head, incoming) = response.into_parts();
                    return Ok(Reading {
                        status: head.status,
                        headers: head.headers,
                        address: ask.address.clone(),
                        verb: ask.verb(),
                        incoming,
                        connection: Some(connection),
                        client: self.clone(),
                    });
                }
                // A connection that waited may have been closed in the same moment.
                Some(Err(error))
                    if !is_new && (error.is_canceled() || error.is_closed() || error.is_incomplete_message()) => {}
                Some(Err(error)) => return Err(ask.failed(transport_text(&error))),
                None => {
                    let address = ask.address.to_string();
                    return Err(RegistryError::Stalled { method: ask.verb(), address, waited: stall });
                }
            }
        }
    }
}

// Waits as long as something moves: an upload may take hours, but each minute must bring it on.
async fn patient<T>(
    future: impl Future<Output = T>,
    mut moving: Option<tokio::sync::watch::Receiver<u64>>,
    stall: Duration,
) -> Option<T> {
    let mut future = std::pin::pin!(future);
    loop {
        let moved = async {
            let changed = match &mut moving {
                Some(moving) => moving.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                // All has gone; now it is the server's turn.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            done = future.as_mut() => return Some(done),
            () = moved => {}
            () = pause(stall) => return None,
        }
    }
}

/// Waits; `tokio::time::timeout` of what never comes.
pub(crate) async fn pause(duration: Duration) {
    let _ = tokio::time::timeout(duration, std::future::pending::<()>()).await;
}

type Moving = Option<tokio::sync::watch::Receiver<u64>>;

fn request(
    ask: &Ask<'_>,
    origin: &Origin,
    through_proxy: bool,
    user_agent: &str,
) -> Result<(Request<Body>, Moving), RegistryError> {
    let target = if through_proxy { ask.address.whole() } else { ask.address.target.clone() };
    let uri: Uri = target.parse().map_err(|_| ask.failed("the address is malformed"))?;
    let (body, length, moving) = match &ask.body {
        AskBody::Empty => (Body::empty(), 0, None),
        AskBody::Bytes(bytes) => (Body::Whole(bytes.clone()), bytes.len() as u64, None),
        AskBody::File { file, start, size, sent } => {
            let sent = sent.clone().unwrap_or_else(|| tokio::sync::watch::Sender::new(0));
            let moving = sent.subscribe();
            (Body::of_file_counted(file.clone(), *start, *size, sent), *size, Some(moving))
        }
    };
    let mut request = Request::new(body);
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = uri;
    let (agent, authority) = (user_agent.to_owned(), origin.authority());
    let mut all = vec![(header::HOST, authority), (header::USER_AGENT, agent)];
    if !ask.method.is_safe() {
        all.push((header::CONTENT_LENGTH, length.to_string()));
    }
    all.extend(ask.headers.iter().cloned());
    for (name, value) in all {
        let value = HeaderValue::from_str(&value)
            .map_err(|_| ask.failed(format!("{name} has characters that cannot be sent")))?;
        request.headers_mut().append(name, value);
    }
    Ok((request, moving))
}

fn transport_text(error: &hyper::Error) -> String {
    if let Some(said) = objection(error) {
        return said;
    }
    if error.is_incomplete_message() {
        return "EOF".to_owned();
    }
    if error.is_parse() {
        return format!("net/http: HTTP/1.x transport connection broken: malformed HTTP response ({error})");
    }
    hako_base::error::chain(error)
}

// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
            Duration::try_from(at.duration_since(hako_base::clock::now())).unwrap_or(Duration::ZERO)
        }
    };
    (wait <= limits::RETRY_AFTER_MAX).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_bounded() {
        assert_eq!(retry_after("5"), Some(Duration::from_secs(5)));
        assert_eq!(retry_after("100000"), None);
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }
}
