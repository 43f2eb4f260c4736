//! How registries ask who we are, and what we answer: passwords and tokens.
//!
//! ```text
//!   request ──► 401 WWW-Authenticate ──► Basic:  the password, if there is one
//!                                    └─► Bearer: a token from the service that is named, kept while it holds
//! ```
//! A password goes to the registry that it is for and to the token service that this registry names, nowhere else.
//! Whoever holds the password may also be somebody else ([`Holder`]), who is asked for tokens instead.

use std::{
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{Address, RegistryError};

/// Who we are at one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// A refresh token, which stands for the password.
    pub identity_token: String,
    /// A token to show as it is.
    pub registry_token: String,
    /// Somebody else, who has the password and answers for us.
    pub holder: Option<Holder>,
}

/// What a token is wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAsk {
    /// Where tokens are to be had, as the registry said it.
    pub realm: String,
    pub service: String,
    pub scopes: Vec<String>,
}

/// A token, and how long it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub lifetime: Duration,
}

/// An answer that takes its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers for somebody.
pub trait Answers: Send + Sync {
    /// A token for this purpose, or why there is none.
    fn token(&self, ask: TokenAsk) -> Answer<'_, Result<Token, String>>;

    /// The password itself, for a registry that takes nothing else.
    fn password(&self) -> Answer<'_, Credentials>;
}

/// Who holds a password that we do not have.
#[derive(Clone)]
pub struct Holder {
    /// Whose word it is: two with the same have the same tokens.
    identity: Vec<u8>,
    answers: Arc<dyn Answers>,
}

impl Holder {
    pub fn new(identity: Vec<u8>, answers: Arc<dyn Answers>) -> Self {
        Self { identity, answers }
    }

    pub(crate) fn answers(&self) -> &dyn Answers {
        self.answers.as_ref()
    }
}

impl PartialEq for Holder {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Holder {}

impl Hash for Holder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").finish_non_exhaustive()
    }
}

impl Credentials {
    pub(crate) fn basic(&self) -> Option<String> {
        if self.username.is_empty() && self.password.is_empty() {
            return None;
        }
        Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.username, self.password))))
    }
}

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

impl Challenge {
    /// The challenges of a `WWW-Authenticate` header, tokens first.
    pub(crate) fn parse(header: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut rest = header.trim();
        while !rest.is_empty() {
            let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let (parameters, next) = parameters(after);
            let get = |name: &str| parameters.get(name).cloned().unwrap_or_default();
            if scheme.eq_ignore_ascii_case("bearer") && parameters.contains_key("realm") {
                found.push(Self::Bearer { realm: get("realm"), service: get("service"), scope: get("scope") });
            } else if scheme.eq_ignore_ascii_case("basic") {
                found.push(Self::Basic);
            }
            if next.len() >= rest.len() {
                break;
            }
            rest = next;
        }
        found.sort_by_key(|challenge| *challenge == Self::Basic);
        found
    }
}

// `name="value", name=value`, until something follows that is no parameter: the next challenge.
fn parameters(text: &str) -> (HashMap<String, String>, &str) {
    let mut found = HashMap::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    loop {
        let Some((name, after)) = rest.split_once('=') else { return (found, "") };
        let name = name.trim();
        if name.contains(' ') || name.is_empty() {
            return (found, rest);
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut chars = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, char)) = chars.next() {
                    match char {
                        '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        char => value.push(char),
                    }
                }
                (value, &quoted[end..])
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.insert(name.to_ascii_lowercase(), value);
        rest = after.trim_start_matches([' ', ',']);
        if rest.is_empty() {
            return (found, "");
        }
    }
}

/// A token service's answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TokenAnswer {
    token: String,
    access_token: String,
    pub(crate) refresh_token: String,
    expires_in: Option<u64>,
}

impl TokenAnswer {
    pub(crate) fn token(&self, address: &Address) -> Result<Token, RegistryError> {
        match [&self.token, &self.access_token].into_iter().find(|token| !token.is_empty()) {
            Some(text) => Ok(Token { text: text.clone(), lifetime: lifetime(self.expires_in) }),
            None => Err(RegistryError::Malformed {
                what: "a token",
                address: address.to_string(),
                why: "authorization server did not include a token in the response".to_owned(),
            }),
        }
    }
}

/// How long a token may be used: a little less than its service says, a minute if it says nothing.
pub fn lifetime(expires_in: Option<u64>) -> Duration {
    let seconds = expires_in.unwrap_or(60).max(60);
    Duration::from_secs(seconds - 10)
}

/// Tokens that hold, by service, person and scope.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<TokenKey, (String, Instant)>>);

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) realm: String,
    pub(crate) service: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) credentials: Credentials,
}

impl Tokens {
    pub(crate) fn find(&self, key: &TokenKey) -> Option<String> {
        let mut known = self.0.lock();
        let now = Instant::now();
        known.retain(|_, (_, until)| *until > now);
        known.get(key).map(|(token, _)| token.clone())
    }

    pub(crate) fn keep(&self, key: TokenKey, token: String, lifetime: Duration) {
        self.0.lock().insert(key, (token, Instant::now() + lifetime));
    }

    pub(crate) fn forget(&self, key: &TokenKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_whatever_their_form() {
        let bearer = |realm: &str, service: &str, scope: &str| Challenge::Bearer {
            realm: realm.into(),
            service: service.into(),
            scope: scope.into(),
        };
        assert_eq!(Challenge::parse("Basic realm=\"x\""), [Challenge::Basic]);
        assert_eq!(
            Challenge::parse("Bearer realm=\"https://a/t\",service=\"r.io\",scope=\"repository:a/b:pull,push\""),
            [bearer("https://a/t", "r.io", "repository:a/b:pull,push")]
        );
        assert_eq!(
            Challenge::parse("basic realm=\"say \\\"x\\\"\", bearer realm=https://a, service=s"),
            [bearer("https://a", "s", ""), Challenge::Basic]
        );
        assert_eq!(Challenge::parse("Negotiate"), []);
        assert_eq!(Challenge::parse(""), []);
        assert_eq!(Challenge::parse("Bearer"), []);
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic_or_hang(text in "\\PC{0,60}") {
            Challenge::parse(&text);
        }
    }
}
