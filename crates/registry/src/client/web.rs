//! Addresses that are no registry's: what `ADD` and remote build contexts fetch, by the same connections, proxies,
//! authorities and patience.

use std::{fs::File, sync::Arc};

use bytes::Bytes;
use hyper::{Method, header};

use super::{
    Client, RegistryError,
    exchange::{Ask, AskBody, Reading},
    origin::Address,
};

/// One request for a web address.
#[derive(Debug, Clone, Default)]
pub struct WebRequest {
    /// `http://…` or `https://…`; user and password in it are for that server alone.
    pub address: String,
    /// Parameters that are added to it.
    pub query: Vec<(&'static str, String)>,
    pub headers: Vec<(&'static str, String)>,
    /// The value of `Authorization`; it does not follow a redirect to another server.
    pub authorization: Option<String>,
    /// What is sent there; without, the address is read.
    pub sent: Option<WebSent>,
    /// The address is a secret itself, as those are that are signed: errors and logs name its server alone.
    pub is_secret: bool,
}

/// What is sent to an address.
#[derive(Debug, Clone)]
pub struct WebSent {
    /// `POST`, `PUT`, `PATCH`.
    pub method: Method,
    /// The value of `Content-Type`.
    pub kind: &'static str,
    pub body: WebBody,
}

/// The bytes that are sent.
#[derive(Debug, Clone)]
pub enum WebBody {
    Bytes(Bytes),
    /// Bytes of a file from a position on, as they are read.
    File {
        file: Arc<File>,
        start: u64,
        size: u64,
    },
}

/// An answer whose body is still to be read.
pub struct WebAnswer(Reading);

impl WebAnswer {
    /// The status, as a number.
    pub fn status(&self) -> u16 {
        self.0.status.as_u16()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    /// Where it came from, after redirects.
    pub fn address(&self) -> String {
        self.0.address.to_string()
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// A connection that breaks or stalls.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        self.0.chunk().await
    }
}

impl Client {
    /// Asks for a web address; redirects of what only reads are followed.
    ///
    /// # Errors
    /// An address that is none, and a server that cannot be reached. Whatever it answers is an answer.
    pub async fn web(&self, request: WebRequest) -> Result<WebAnswer, RegistryError> {
        let (bare, user) = without_user(&request.address);
        let method = request.sent.as_ref().map_or(Method::GET, |sent| sent.method.clone());
        let Some(mut address) = Address::parse(&bare) else {
            return Err(RegistryError::Malformed {
                what: "a web address",
                address: if request.is_secret { "what is secret".to_owned() } else { bare },
                why: "expected http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH".to_owned(),
            });
        };
        for (name, value) in &request.query {
            address = address.with(name, value);
        }
        address.is_secret = request.is_secret;
        let mut ask = Ask::new(method, address);
        for (name, value) in request.headers {
            ask = ask.header(header::HeaderName::from_static(name), value);
        }
        if let Some(value) = request.authorization.or(user) {
            ask = ask.header(header::AUTHORIZATION, value);
        }
        if let Some(sent) = request.sent {
            let body = match sent.body {
                WebBody::Bytes(bytes) => AskBody::Bytes(bytes),
                WebBody::File { file, start, size } => AskBody::File { file, start, size, sent: None },
            };
            ask = ask.header(header::CONTENT_TYPE, sent.kind).body(body);
        }
        Ok(WebAnswer(self.ask(&ask).await?))
    }
}

// An address without who we are there, and that as the value of a header.
fn without_user(address: &str) -> (String, Option<String>) {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let Some((scheme, rest)) = address.split_once("://") else { return (address.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => {
            let user = if user.contains(':') { user.to_owned() } else { format!("{user}:") };
            let value = format!("Basic {}", BASE64_STANDARD.encode(unescape(&user)));
            (format!("{scheme}://{host}{}", &rest[end..]), Some(value))
        }
        None => (address.to_owned(), None),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        (bytes, rest) = match (first, hex) {
            (b'%', Some(byte)) => ([&bytes[..], &[byte]].concat(), &after[2..]),
            (other, _) => ([&bytes[..], &[*other]].concat(), after),
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_we_are_is_no_part_of_an_address() {
        let (address, user) = without_user("https://me:p%40ss@host:8443/a@b?c");
        assert_eq!((address.as_str(), user.as_deref()), ("https://host:8443/a@b?c", Some("Basic bWU6cEBzcw==")));
        assert_eq!(without_user("http://host/me@there").1, None);
    }
}
