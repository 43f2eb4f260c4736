//! Addresses that are no registry's: what `ADD` and remote build contexts fetch, by the same connections, proxies,
//! authorities and patience.

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
    pub headers: Vec<(&'static str, String)>,
    /// The value of `Authorization`; it does not follow a redirect to another server.
    pub authorization: Option<String>,
    /// What is posted, and of which kind it is.
    pub post: Option<(&'static str, Vec<u8>)>,
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
        let method = if request.post.is_some() { Method::POST } else { Method::GET };
        let Some(address) = Address::parse(&bare) else {
            return Err(RegistryError::Malformed {
                what: "a web address",
                address: bare,
                why: "expected http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH".to_owned(),
            });
        };
        let mut ask = Ask::new(method, address);
        for (name, value) in request.headers {
            ask = ask.header(header::HeaderName::from_static(name), value);
        }
        if let Some(value) = request.authorization.or(user) {
            ask = ask.header(header::AUTHORIZATION, value);
        }
        if let Some((kind, bytes)) = request.post {
            ask = ask.header(header::CONTENT_TYPE, kind).body(AskBody::Bytes(Bytes::from(bytes)));
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
