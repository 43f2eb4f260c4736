//! What a server is told: flags, and the `REGISTRY_*` variables that people set for the reference registry.
//!
//! A variable that is known is obeyed, one that would change what a person relies on but is not built is an error,
//! and any other is told as a remark. Pure: the variables come in as pairs.

use std::{path::PathBuf, time::Duration};

use hako_tls::{Pair, ServerFiles};

/// A server's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `ADDRESS:PORT`
    pub listen: String,
    /// The directory above `docker/registry/v2`.
    pub root: PathBuf,
    pub tls: Option<ServerFiles>,
    pub authorization: Authorization,
    /// Whether manifests, tags and blobs may be deleted.
    pub delete: bool,
    /// Whether nothing may be changed at all.
    pub read_only: bool,
    /// The registry that this one is a cache of.
    pub proxy: Option<ProxySettings>,
    /// How often what no manifest needs is removed; never, if it is not said.
    pub collect_every: Option<Duration>,
}

/// The registry that a cache fetches from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    pub url: String,
    pub username: String,
    pub password: String,
    /// What nobody has asked for in this time is forgotten; `None`: never.
    pub keep: Option<Duration>,
}

/// Who signs tokens, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSettings {
    /// The address of the token service.
    pub realm: String,
    pub service: String,
    pub issuer: String,
    /// Certificates of those who sign (PEM).
    pub bundle: Option<PathBuf>,
    /// A JSON Web Key Set.
    pub jwks: Option<PathBuf>,
}

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    Everybody,
    /// Those in an htpasswd file (bcrypt).
    Htpasswd {
        realm: String,
        path: PathBuf,
    },
    /// Those with a token that a service signed.
    Token(TokenSettings),
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct SettingsError {
    pub name: String,
    pub why: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:5000".to_owned(),
            root: PathBuf::from("/var/lib/registry"),
            tls: None,
            authorization: Authorization::Everybody,
            delete: false,
            read_only: false,
            proxy: None,
            collect_every: None,
        }
    }
}

/// Prefixes of variables that say nothing about what is served: caches, logs, health, secrets, debug servers.
const WITHOUT_EFFECT: &[&str] = &[
    "REGISTRY_VERSION",
    "REGISTRY_LOG",
    "REGISTRY_HEALTH",
    "REGISTRY_REDIS",
    "REGISTRY_STORAGE_CACHE",
    "REGISTRY_STORAGE_REDIRECT",
    "REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS",
    "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING",
    "REGISTRY_STORAGE_TAG",
    "REGISTRY_HTTP_SECRET",
    "REGISTRY_HTTP_HOST",
    "REGISTRY_HTTP_NET",
    "REGISTRY_HTTP_RELATIVEURLS",
    "REGISTRY_HTTP_DEBUG",
    "REGISTRY_HTTP_HTTP2",
    "REGISTRY_HTTP_DRAINTIMEOUT",
    "REGISTRY_VALIDATION",
    "REGISTRY_CATALOG",
    "REGISTRY_HTTP_HEADERS",
    "REGISTRY_AUTH_TOKEN_AUTOREDIRECT",
];

impl Settings {
    /// Changes what the variables say; answers with remarks for the log.
    ///
    /// # Errors
    /// A value that makes no sense, or a setting that is not built.
    pub fn apply(&mut self, variables: &[(String, String)]) -> Result<Vec<String>, SettingsError> {
        let mut remarks = Vec::new();
        let (mut realm, mut htpasswd, mut kind) = ("Registry Realm".to_owned(), None, None);
        let (mut certificate, mut key, mut clients) = (None, None, Vec::new());
        let (mut token, mut proxy) = (TokenSettings::default(), ProxyWords::default());
        for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("REGISTRY_")) {
            match name.as_str() {
                "REGISTRY_HTTP_ADDR" => self.listen = listen(value),
                "REGISTRY_STORAGE" if value == "filesystem" => {}
                "REGISTRY_STORAGE" => return Err(not_built(name, value, "filesystem is the only storage")),
                "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY" => self.root = value.into(),
                "REGISTRY_STORAGE_DELETE_ENABLED" => self.delete = switch(name, value)?,
                "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED" => self.read_only = switch(name, value)?,
                "REGISTRY_STORAGE_MAINTENANCE_READONLY" => self.read_only = value.contains("true"),
                "REGISTRY_AUTH" => kind = Some(value.as_str()),
                "REGISTRY_AUTH_HTPASSWD_REALM" => realm.clone_from(value),
                "REGISTRY_AUTH_HTPASSWD_PATH" => htpasswd = Some(PathBuf::from(value)),
                "REGISTRY_AUTH_TOKEN_REALM" => token.realm.clone_from(value),
                "REGISTRY_AUTH_TOKEN_SERVICE" => token.service.clone_from(value),
                "REGISTRY_AUTH_TOKEN_ISSUER" => token.issuer.clone_from(value),
                "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE" => token.bundle = Some(PathBuf::from(value)),
                "REGISTRY_AUTH_TOKEN_JWKS" => token.jwks = Some(PathBuf::from(value)),
                "REGISTRY_PROXY_REMOTEURL" => proxy.url.clone_from(value),
                "REGISTRY_PROXY_USERNAME" => proxy.username.clone_from(value),
                "REGISTRY_PROXY_PASSWORD" => proxy.password.clone_from(value),
                "REGISTRY_PROXY_TTL" => proxy.ttl = Some(value.as_str()),
                "REGISTRY_HTTP_TLS_CERTIFICATE" => certificate = Some(PathBuf::from(value)),
                "REGISTRY_HTTP_TLS_KEY" => key = Some(PathBuf::from(value)),
                name if name.starts_with("REGISTRY_HTTP_TLS_CLIENTCAS") => clients.push(PathBuf::from(value)),
                name if must_not_be_ignored(name) => return Err(not_built(name, value, "this is not built yet")),
                name if WITHOUT_EFFECT.iter().any(|known| name.starts_with(known)) => {}
                _ => remarks.push(format!("{name} does nothing here")),
            }
        }
        match (kind, htpasswd) {
            (None | Some("htpasswd"), Some(path)) => self.authorization = Authorization::Htpasswd { realm, path },
            (None, None) if token == TokenSettings::default() => {}
            (Some("none"), None) => {}
            (None | Some("token"), None) => self.authorization = Authorization::Token(complete(token)?),
            (Some("htpasswd"), None) => return Err(missing("REGISTRY_AUTH_HTPASSWD_PATH", "REGISTRY_AUTH")),
            (Some(other), _) => return Err(not_built("REGISTRY_AUTH", other, "htpasswd and token are what is built")),
        }
        self.proxy = proxy.read()?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => self.tls = Some(ServerFiles { own: Pair { certificate, key }, clients }),
            (None, None) => {}
            (Some(_), None) => return Err(missing("REGISTRY_HTTP_TLS_KEY", "REGISTRY_HTTP_TLS_CERTIFICATE")),
            (None, Some(_)) => return Err(missing("REGISTRY_HTTP_TLS_CERTIFICATE", "REGISTRY_HTTP_TLS_KEY")),
        }
        Ok(remarks)
    }
}

#[derive(Default)]
struct ProxyWords<'v> {
    url: String,
    username: String,
    password: String,
    ttl: Option<&'v str>,
}

impl ProxyWords<'_> {
    fn read(self) -> Result<Option<ProxySettings>, SettingsError> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let bad = |name: &str, why: &str| SettingsError { name: name.to_owned(), why: why.to_owned() };
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            return Err(bad("REGISTRY_PROXY_REMOTEURL", "expected http://HOST[:PORT] or https://HOST[:PORT]"));
        }
        let keep = match self.ttl {
            None => Some(PROXY_KEEP),
            Some("0") => None,
            Some(text) => {
                let nanoseconds = hako_base::duration::parse_go(text).ok().and_then(|span| u64::try_from(span).ok());
                let span = nanoseconds.ok_or_else(|| bad("REGISTRY_PROXY_TTL", "expected a duration such as 168h"))?;
                Some(Duration::from_nanos(span)).filter(|span| !span.is_zero())
            }
        };
        let (url, username, password) = (self.url, self.username, self.password);
        Ok(Some(ProxySettings { url, username, password, keep }))
    }
}

/// How long a cache keeps what nobody asks for: as the reference registry.
const PROXY_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

// Without one of these every token would be refused, or any be taken.
fn complete(token: TokenSettings) -> Result<TokenSettings, SettingsError> {
    let because = "token authorization";
    match () {
        () if token.realm.is_empty() => Err(missing("REGISTRY_AUTH_TOKEN_REALM", because)),
        () if token.service.is_empty() => Err(missing("REGISTRY_AUTH_TOKEN_SERVICE", because)),
        () if token.issuer.is_empty() => Err(missing("REGISTRY_AUTH_TOKEN_ISSUER", because)),
        () if token.bundle.is_none() && token.jwks.is_none() => {
            Err(missing("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", because))
        }
        () => Ok(token),
    }
}

/// `:5000` is every address.
pub(crate) fn listen(text: &str) -> String {
    if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() }
}

// Security or what clients see would differ from what was asked for.
fn must_not_be_ignored(name: &str) -> bool {
    [
        "REGISTRY_AUTH_",
        "REGISTRY_PROXY_",
        "REGISTRY_HTTP_TLS_",
        "REGISTRY_HTTP_PREFIX",
        "REGISTRY_STORAGE_",
        "REGISTRY_MIDDLEWARE",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
        && !WITHOUT_EFFECT.iter().any(|known| name.starts_with(known))
}

fn switch(name: &str, value: &str) -> Result<bool, SettingsError> {
    match value {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(SettingsError { name: name.to_owned(), why: format!("{value:?}: expected true or false") }),
    }
}

fn not_built(name: &str, value: &str, why: &str) -> SettingsError {
    SettingsError { name: name.to_owned(), why: format!("{value}: {why}") }
}

fn missing(name: &str, because: &str) -> SettingsError {
    SettingsError { name: name.to_owned(), why: format!("is missing, but {because} is set") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: &str) {
        let pairs: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut settings = Settings::default();
        let got = match settings.apply(&pairs) {
            Ok(remarks) => format!(
                "{} {} delete={} {:?} tls={} {remarks:?}",
                settings.listen,
                settings.root.display(),
                settings.delete,
                settings.authorization,
                settings.tls.is_some()
            ),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn variables_of_the_reference_registry_are_obeyed_or_refused() {
        check(&[], "0.0.0.0:5000 /var/lib/registry delete=false Everybody tls=false []");
        check(
            &[("REGISTRY_HTTP_ADDR", ":443"), ("REGISTRY_STORAGE_DELETE_ENABLED", "true"), ("HOME", "/")],
            "[::]:443 /var/lib/registry delete=true Everybody tls=false []",
        );
        check(
            &[("REGISTRY_AUTH", "htpasswd"), ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd")],
            "0.0.0.0:5000 /var/lib/registry delete=false Htpasswd { realm: \"Registry Realm\", path: \"/auth/htpasswd\" } tls=false []",
        );
        check(&[("REGISTRY_AUTH", "htpasswd")], "REGISTRY_AUTH_HTPASSWD_PATH: is missing, but REGISTRY_AUTH is set");
        check(&[("REGISTRY_AUTH", "silly")], "REGISTRY_AUTH: silly: htpasswd and token are what is built");
        check(
            &[("REGISTRY_AUTH_TOKEN_REALM", "https://x/token")],
            "REGISTRY_AUTH_TOKEN_SERVICE: is missing, but token authorization is set",
        );
        check(
            &[("REGISTRY_HTTP_TLS_KEY", "k")],
            "REGISTRY_HTTP_TLS_CERTIFICATE: is missing, but REGISTRY_HTTP_TLS_KEY is set",
        );
        check(
            &[("REGISTRY_PROXY_REMOTEURL", "x")],
            "REGISTRY_PROXY_REMOTEURL: expected http://HOST[:PORT] or https://HOST[:PORT]",
        );
        check(&[("REGISTRY_STORAGE_S3_BUCKET", "x")], "REGISTRY_STORAGE_S3_BUCKET: x: this is not built yet");
        check(
            &[("REGISTRY_LOG_LEVEL", "debug"), ("REGISTRY_FOO", "1")],
            "0.0.0.0:5000 /var/lib/registry delete=false Everybody tls=false [\"REGISTRY_FOO does nothing here\"]",
        );
        check(
            &[("REGISTRY_STORAGE_DELETE_ENABLED", "maybe")],
            "REGISTRY_STORAGE_DELETE_ENABLED: \"maybe\": expected true or false",
        );
    }
}
