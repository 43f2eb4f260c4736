//! Where something is: scheme, host and port; and addresses that answers point to. Pure.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use hako_tls::Pair;
use hyper::Uri;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What a `hosts.toml` says of it alone.
    pub(crate) trust: Option<Arc<HostTrust>>,
}

/// Whom one server is believed by, and what it is shown, besides what holds for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct HostTrust {
    /// Files of further authorities.
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) own: Option<Pair>,
    /// How long a connection may take.
    pub(crate) dial: Option<Duration>,
}

/// How to talk to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
    /// TLS with whatever certificate: an insecure registry.
    Unverified,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https | Self::Unverified => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https | Self::Unverified => 443,
        }
    }
}

/// A server and a path on it, with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) origin: Origin,
    pub(crate) target: String,
    /// Whoever has it may do what it is for, without proving who he is: it is shown without its path.
    pub(crate) is_secret: bool,
}

impl Origin {
    /// `HOST[:PORT]`, as it stands in an image's name.
    pub(crate) fn new(scheme: Scheme, authority: &str) -> Option<Self> {
        let (host, port) = split_port(authority)?;
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
            return None;
        }
        let port = port.unwrap_or_else(|| scheme.default_port());
        Some(Self { scheme, host: host.to_owned(), port, trust: None })
    }

    /// As it stands in addresses and in `Host`: without the port that goes without saying.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    pub(crate) fn at(&self, target: impl Into<String>) -> Address {
        Address { origin: self.clone(), target: target.into(), is_secret: false }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, if self.is_secret { "/…" } else { &self.target })
    }
}

impl Address {
    /// An absolute address; `None` for what is none. User and password in it are not taken.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        let origin = Origin::new(scheme, authority)?;
        Some(origin.at(uri.path_and_query().map_or("/", |target| target.as_str())))
    }

    /// As it is asked for, by way of a proxy.
    pub(crate) fn whole(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }

    /// Where a `Location` of an answer to this points. What a secret leads to is one.
    pub(crate) fn resolve(&self, location: &str) -> Option<Self> {
        Some(Self { is_secret: self.is_secret, ..self.located(location)? })
    }

    fn located(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            let mut address = Self::parse(location)?;
            // The same server stays as trusted as it is.
            let same = address.origin.host == self.origin.host && address.origin.port == self.origin.port;
            if same && address.origin.scheme == Scheme::Https {
                address.origin.scheme = self.origin.scheme;
            }
            if same {
                address.origin.trust.clone_from(&self.origin.trust);
            }
            return Some(address);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.origin.scheme.name()));
        }
        if location.starts_with('/') {
            return Some(self.origin.at(location));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let (above, _) = path.rsplit_once('/')?;
        Some(self.origin.at(format!("{above}/{location}")))
    }

    /// The same with one parameter more.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mark = if self.target.contains('?') { '&' } else { '?' };
        self.origin.at(format!("{}{mark}{name}={}", self.target, encode(value)))
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(v6) = authority.strip_prefix('[') {
        let (host, rest) = v6.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some((host, port));
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

/// For a value in a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b',' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_against_where_they_were_said() {
        let from = Address::parse("https://example:5000/v2/a/blobs/uploads/").unwrap();
        for (location, expected) in [
            ("/v2/x?y=1", "https://example:5000/v2/x?y=1"),
            ("uuid", "https://example:5000/v2/a/blobs/uploads/uuid"),
            ("http://other/x", "http://other/x"),
            ("https://[::1]:443/x", "https://[::1]/x"),
            ("//other/x", "https://other/x"),
        ] {
            assert_eq!(from.resolve(location).unwrap().to_string(), expected);
        }
        assert_eq!(from.resolve("ftp://x/y"), None);
        assert_eq!(from.with("digest", "sha256:a b").target, "/v2/a/blobs/uploads/?digest=sha256:a%20b");
        assert_eq!(from.with("a", "1").with("b", "2").target, "/v2/a/blobs/uploads/?a=1&b=2");
    }

    #[test]
    fn a_secret_address_is_shown_without_its_path_wherever_it_leads() {
        let mut from = Address::parse("https://example/blob?sig=hush").unwrap();
        from.is_secret = true;
        assert_eq!(from.to_string(), "https://example/…");
        assert_eq!(from.whole(), "https://example/blob?sig=hush");
        assert_eq!(from.resolve("http://other/x?sig=hush").unwrap().to_string(), "http://other/…");
    }

    #[test]
    fn hosts_come_with_and_without_ports() {
        let origin = |text| Origin::new(Scheme::Https, text).map(|origin| format!("{} {}", origin.host, origin.port));
        assert_eq!(origin("localhost:5000").as_deref(), Some("localhost 5000"));
        assert_eq!(origin("[::1]:5000").as_deref(), Some("::1 5000"));
        assert_eq!(origin("ghcr.io").as_deref(), Some("ghcr.io 443"));
        assert_eq!(origin("a:b"), None);
        assert_eq!(origin(""), None);
    }
}
