//! What the client is told: which registries are insecure or mirrored, where certificates are, which proxies there are.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::origin::{Origin, Scheme};
use crate::limits;

/// The client's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HOST[:PORT]` or `ADDRESS/BITS`: may be spoken to without TLS, or with any certificate.
    pub insecure: Vec<String>,
    /// Addresses of mirrors of Docker Hub, in the order in which they are asked.
    pub mirrors: Vec<String>,
    /// Directories with a folder for each registry: `HOST[:PORT]/{*.crt,NAME.cert,NAME.key}`.
    pub certificates: Vec<PathBuf>,
    pub proxies: Proxies,
    pub user_agent: String,
    /// A connection on which nothing moves for this long is given up.
    pub stall: Duration,
    /// How many layers come, or go, at once.
    pub downloads: usize,
    /// See [`Self::downloads`].
    pub uploads: usize,
    /// How often a download is begun or resumed before it is given up.
    pub attempts: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certificates: vec![PathBuf::from("/etc/docker/certs.d")],
            proxies: Proxies::default(),
            user_agent: concat!("hako/", env!("CARGO_PKG_VERSION")).to_owned(),
            stall: limits::STALL_DEADLINE,
            downloads: 3,
            uploads: 5,
            attempts: 5,
        }
    }
}

/// Proxies, as the environment names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    pub http: String,
    pub https: String,
    /// Comma-separated hosts, domains, addresses and networks that are spoken to directly.
    pub none: String,
}

impl Proxies {
    /// From variables, lower-case ones first as everywhere.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        let find = |upper: &str| {
            let lower = get(&upper.to_ascii_lowercase()).filter(|value| !value.is_empty());
            lower.or_else(|| get(upper)).unwrap_or_default()
        };
        Self { http: find("HTTP_PROXY"), https: find("HTTPS_PROXY"), none: find("NO_PROXY") }
    }

    /// The proxy to reach a server through, if one is to be used.
    pub(crate) fn of(&self, origin: &Origin) -> Option<&str> {
        let proxy = if origin.scheme.name() == "http" { &self.http } else { &self.https };
        let is_local =
            origin.host == "localhost" || origin.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        (!proxy.is_empty() && !is_local && !self.is_excepted(origin)).then_some(proxy.as_str())
    }

    fn is_excepted(&self, origin: &Origin) -> bool {
        let host = origin.host.to_ascii_lowercase();
        self.none.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(
            |entry| {
                if entry == "*" || in_network(&entry, &host) {
                    return true;
                }
                let (name, port) = match entry.rsplit_once(':') {
                    Some((name, port)) if !name.contains(':') => (name, port.parse::<u16>().ok()),
                    _ => (entry.as_str(), None),
                };
                if port.is_some_and(|port| port != origin.port) {
                    return false;
                }
                let bare = name.trim_start_matches("*.").trim_start_matches('.');
                // `.example` excepts what is below it only, `example` itself as well.
                (!name.starts_with(['.', '*']) && host == bare) || host.ends_with(&format!(".{bare}"))
            },
        )
    }
}

/// A setting that makes no sense: the daemon's flag for it, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct SettingError {
    pub setting: &'static str,
    pub why: String,
}

impl Settings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The first that makes none.
    pub fn check(&self) -> Result<(), SettingError> {
        for mirror in &self.mirrors {
            let why = match mirror.split_once("://") {
                Some(("http" | "https", rest)) if Origin::new(Scheme::Https, rest.trim_end_matches('/')).is_some() => {
                    continue;
                }
                Some(("http" | "https", _)) => "path, query, fragment and user are not allowed",
                _ => "expected http://HOST[:PORT] or https://HOST[:PORT]",
            };
            return Err(SettingError { setting: "registry-mirror", why: format!("invalid mirror {mirror:?}: {why}") });
        }
        for entry in &self.insecure {
            if entry.contains("://") {
                let why = format!("{entry:?} should not contain a scheme: expected HOST[:PORT] or ADDRESS/BITS");
                return Err(SettingError { setting: "insecure-registry", why });
            }
        }
        Ok(())
    }

    /// Whether this host may be spoken to without TLS. The loopback network always may.
    pub(crate) fn is_insecure(&self, authority: &str) -> bool {
        let Some(origin) = Origin::new(Scheme::Https, authority) else { return false };
        let address = origin.host.parse::<IpAddr>().ok();
        let is_loopback = origin.host == "localhost" || address.is_some_and(|address| address.is_loopback());
        is_loopback
            || self
                .insecure
                .iter()
                .any(|entry| entry == authority || *entry == origin.host || in_network(entry, &origin.host))
    }
}

// `10.0.0.0/8`
fn in_network(entry: &str, host: &str) -> bool {
    let (Some((network, bits)), Ok(address)) = (entry.split_once('/'), host.parse::<IpAddr>()) else { return false };
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(network) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_what_is_named_are_insecure() {
        let insecure = vec!["registry.test:5000".to_owned(), "10.0.0.0/8".to_owned()];
        let settings = Settings { insecure, ..Settings::default() };
        for (host, expected) in [
            ("localhost:5000", true),
            ("127.1.2.3", true),
            ("[::1]:5000", true),
            ("registry.test:5000", true),
            ("registry.test", false),
            ("10.9.8.7:80", true),
            ("11.0.0.1", false),
            ("localhost.test", false),
        ] {
            assert_eq!(settings.is_insecure(host), expected, "{host}");
        }
    }

    #[test]
    fn proxies_have_exceptions() {
        let none = "direct.test,.below.test,192.0.2.0/24,port.test:81".to_owned();
        let proxies = Proxies { http: "http://proxy:3128".into(), https: String::new(), none };
        for (host, expected) in [
            ("x.test", true),
            ("direct.test", false),
            ("a.direct.test", false),
            ("below.test", true),
            ("a.below.test", false),
            ("192.0.2.9", false),
            ("port.test:81", false),
            ("port.test", true),
            ("localhost:5000", false),
        ] {
            let origin = Origin::new(Scheme::Http, host).unwrap();
            assert_eq!(proxies.of(&origin).is_some(), expected, "{host}");
        }
        assert_eq!(proxies.of(&Origin::new(Scheme::Https, "x.test").unwrap()), None);
    }
}
