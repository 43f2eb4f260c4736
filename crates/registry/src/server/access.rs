//! Who may do what. The challenge tells clients how to prove who they are.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{
    Method, StatusCode,
    header::{self, HeaderMap},
};
use serde::Deserialize;

use super::{
    ServeError, endpoint::Endpoint, error::ApiError, password::Passwords, settings::Authorization, token::Tokens,
};

/// The guard at the door.
pub(crate) enum Access {
    Everybody,
    Htpasswd { realm: String, passwords: Arc<Passwords> },
    Tokens(Box<Tokens>),
}

/// What somebody may do with something: `repository:NAME:pull,push`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Grant {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) actions: Vec<String>,
}

/// What the bearer of a request may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Granted {
    Everything,
    Only(Vec<Grant>),
}

impl Grant {
    pub(crate) fn repository(name: &str, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Self { kind: "repository".to_owned(), name: name.to_owned(), actions }
    }

    fn scope(&self) -> String {
        format!("{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

impl Granted {
    pub(crate) fn allows(&self, need: &Grant) -> bool {
        let Self::Only(grants) = self else { return true };
        let has = |action: &String| {
            grants
                .iter()
                .filter(|grant| grant.kind == need.kind && grant.name == need.name)
                .any(|grant| grant.actions.iter().any(|known| known == action || known == "*"))
        };
        need.actions.iter().all(has)
    }
}

/// What a request needs to be allowed to do.
pub(crate) fn needs(method: &Method, endpoint: &Endpoint) -> Vec<Grant> {
    let catalog = || Grant { kind: "registry".to_owned(), name: "catalog".to_owned(), actions: vec!["*".to_owned()] };
    let (name, actions): (_, &[&str]) = match endpoint {
        Endpoint::Root | Endpoint::Base | Endpoint::Ping1 => return Vec::new(),
        Endpoint::Catalog | Endpoint::Search => return vec![catalog()],
        Endpoint::Uploads(name) | Endpoint::Upload(name, _) => (name, &["pull", "push"]),
        Endpoint::Tags(name) | Endpoint::Referrers(name, _) => (name, &["pull"]),
        Endpoint::Manifest(name, _) | Endpoint::Blob(name, _) => match *method {
            Method::GET | Method::HEAD => (name, &["pull"]),
            Method::DELETE => (name, &["delete"]),
            _ => (name, &["pull", "push"]),
        },
    };
    vec![Grant::repository(name.as_str(), actions)]
}

impl Access {
    pub(crate) fn new(settings: &Authorization) -> Result<Self, ServeError> {
        match settings {
            Authorization::Everybody => Ok(Self::Everybody),
            Authorization::Htpasswd { realm, path } => {
                let passwords = Passwords::open(path)
                    .map_err(|source| ServeError::Access { path: path.display().to_string(), source })?;
                Ok(Self::Htpasswd { realm: realm.clone(), passwords: Arc::new(passwords) })
            }
            Authorization::Token(settings) => Ok(Self::Tokens(Box::new(Tokens::open(settings)?))),
        }
    }

    /// Lets a request in, or says how to ask. `wishes` are asked for together with the needs, and may be refused.
    pub(crate) async fn check(
        &self,
        headers: &HeaderMap,
        needs: &[Grant],
        wishes: &[Grant],
    ) -> Result<Granted, ApiError> {
        match self {
            Self::Everybody => Ok(Granted::Everything),
            Self::Htpasswd { realm, passwords } => {
                if let Some((user, password)) = basic(headers) {
                    let passwords = passwords.clone();
                    let verified = tokio::task::spawn_blocking(move || passwords.verify(&user, &password)).await;
                    if verified.unwrap_or(false) {
                        return Ok(Granted::Everything);
                    }
                }
                Err(refused(&format!("Basic realm=\"{}\"", plain(realm))))
            }
            Self::Tokens(tokens) => {
                let shown = credentials(headers, "bearer");
                let now = hako_base::clock::now().as_second();
                let granted = shown.and_then(|token| tokens.verify(token, now)).map(Granted::Only);
                let why = match (&granted, shown) {
                    (Some(granted), _) if needs.iter().all(|need| granted.allows(need)) => return Ok(granted.clone()),
                    (Some(_), _) => ",error=\"insufficient_scope\"",
                    (None, Some(_)) => ",error=\"invalid_token\"",
                    (None, None) => "",
                };
                let scopes: Vec<String> = needs.iter().chain(wishes).map(Grant::scope).collect();
                let scope =
                    if scopes.is_empty() { String::new() } else { format!(",scope=\"{}\"", plain(&scopes.join(" "))) };
                let (realm, service) = (plain(&tokens.realm), plain(&tokens.service));
                Err(refused(&format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}{why}")))
            }
        }
    }
}

fn refused(challenge: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
        .header(header::WWW_AUTHENTICATE, challenge)
}

// What stands between quotes in a header.
fn plain(text: &str) -> String {
    text.replace(['"', '\\'], "")
}

fn credentials<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64_STANDARD.decode(credentials(headers, "basic")?).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_what_it_does_and_no_more() {
        let need = |method: Method, path: &str| {
            let scopes: Vec<_> = needs(&method, &Endpoint::parse(path).unwrap()).iter().map(Grant::scope).collect();
            scopes.join(" ")
        };
        assert_eq!(need(Method::GET, "/v2/"), "");
        assert_eq!(need(Method::HEAD, "/v2/a/b/manifests/1"), "repository:a/b:pull");
        assert_eq!(need(Method::PUT, "/v2/a/b/manifests/1"), "repository:a/b:pull,push");
        assert_eq!(need(Method::DELETE, "/v2/a/b/manifests/1"), "repository:a/b:delete");
        assert_eq!(need(Method::POST, "/v2/a/blobs/uploads/"), "repository:a:pull,push");
        assert_eq!(need(Method::GET, "/v2/_catalog"), "registry:catalog:*");
    }

    #[test]
    fn a_grant_covers_its_own_repository_and_its_own_actions() {
        let granted = Granted::Only(vec![Grant::repository("a", &["pull"]), Grant::repository("b", &["*"])]);
        let allows = |name: &str, actions: &[&str]| granted.allows(&Grant::repository(name, actions));
        assert!(allows("a", &["pull"]) && allows("b", &["pull", "push", "delete"]));
        assert!(!allows("a", &["pull", "push"]) && !allows("c", &["pull"]) && !allows("a/b", &["pull"]));
    }
}
