//! Which cache of GitHub's Actions is meant, and who we are there: from the attributes of `type=gha`.
//!
//! The token says itself what it is good for. Nobody here can tell whether that is true, and nobody has to: it is used to
//! ask for what can be had, and the service decides.

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hako_base::{clock, duration};
use jiff::Timestamp;
use serde::Deserialize;

use super::super::web::Secret;
use crate::limits;

/// The scope of caches when nobody names one, as in BuildKit.
pub(crate) const SCOPE: &str = "buildkit";

/// GitHub's own address of the newer service: those who send it as the only one mean that.
const RESULTS: &str = "results-receiver.actions.githubusercontent.com";

/// The attributes of `--cache-to` that are read here.
pub(crate) const ATTRIBUTES: &[&str] =
    &["scope", "token", "url", "url_v2", "version", "timeout", "repository", "ghtoken", "api_url"];

/// Where GitHub's REST API is, if nobody names another.
const API: &str = "https://api.github.com";

/// How the service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `_apis/artifactcache`.
    Artifacts,
    /// `twirp/github.actions.results.api.v1.CacheService`, and Azure's blobs.
    Results,
}

/// A cache: which service, which of its caches, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionsPlace {
    pub(crate) scope: String,
    pub(super) protocol: Protocol,
    /// Ends with a slash.
    pub(super) address: String,
    pub(super) token: Token,
    /// How long a service that asks for patience is waited for.
    pub(super) patience: Duration,
    pub(super) list: Option<KeyList>,
}

/// Where all keys of a repository are told at once, which spares a question for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyList {
    /// With the repository.
    pub(super) address: String,
    pub(super) token: Secret,
}

/// Proves who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: Secret,
    scopes: Vec<Grant>,
    expires: Option<Timestamp>,
}

/// What may be done in one scope, which is a branch: 1 to read, 2 to write, or both.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Grant {
    #[serde(rename = "Scope", alias = "scope")]
    scope: String,
    #[serde(rename = "Permission", alias = "permission", default)]
    permission: u32,
}

#[derive(Deserialize)]
struct Claims {
    /// A list as JSON within the JSON.
    ac: Option<String>,
    exp: Option<f64>,
}

impl ActionsPlace {
    /// Reads the attributes that BuildKit's clients send.
    ///
    /// # Errors
    /// What is missing or makes no sense; no word of the token.
    pub(crate) fn parse(attributes: &HashMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| attributes.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let version = match text("version") {
            None => None,
            Some(text) => Some(text.parse::<u32>().map_err(|_| {
                format!("failed to parse api version {text:?} of the github actions cache: expected 1 or 2")
            })?),
        };
        let newer = text("url_v2").filter(|_| version != Some(1));
        let address = newer.or(text("url")).ok_or("url not set for github actions cache")?;
        let is_newer = newer.is_some() || version.map_or_else(|| address.contains(RESULTS), |version| version > 1);
        let api = text("api_url").unwrap_or(API);
        if [address, api].iter().any(|address| !address.starts_with("http://") && !address.starts_with("https://")) {
            return Err("the url of the github actions cache is none: expected http:// or https://".to_owned());
        }
        let token = text("token").ok_or("token not set for github actions cache")?;
        let scope = text("scope").unwrap_or(SCOPE);
        if scope.contains(',') || scope.len() > limits::ACTIONS_KEY_BYTES_MAX / 2 {
            return Err(format!("invalid scope {scope:?} of the github actions cache: no commas, at most 256 bytes"));
        }
        let patience = match text("timeout").map(|text| (text, duration::parse_go(text))) {
            None => limits::SERVICE_PATIENCE,
            Some((_, Ok(nanos))) if nanos >= 0 => Duration::from_nanos(nanos.unsigned_abs()),
            Some((text, _)) => {
                return Err(format!("failed to parse timeout {text:?} for github actions cache: expected 10m or 90s"));
            }
        };
        Ok(Self {
            scope: scope.to_owned(),
            protocol: if is_newer { Protocol::Results } else { Protocol::Artifacts },
            address: format!("{}/", address.trim_end_matches('/')),
            token: Token::parse(token)?,
            patience,
            list: text("repository").zip(text("ghtoken")).and_then(|(name, token)| KeyList::of(api, name, token)),
        })
    }
}

impl KeyList {
    // What is no repository has no list, and nobody needs it.
    fn of(api: &str, repository: &str, token: &str) -> Option<Self> {
        let is_word = |text: &str| {
            let mut bytes = text.bytes();
            !matches!(text, "" | "." | "..") && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let (owner, name) = repository.split_once('/')?;
        (is_word(owner) && is_word(name)).then(|| Self {
            address: format!("{}/repos/{owner}/{name}/actions/caches", api.trim_end_matches('/')),
            token: Secret(token.to_owned()),
        })
    }
}

impl Token {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("invalid token for github actions cache: {why}");
        if text.len() > limits::ACTIONS_TOKEN_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte));
        let &[_, claims, _] = parts.as_slice() else { return Err(bad("it is no JSON web token")) };
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok().filter(|_| is_word);
        let claims = claims.and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok());
        let claims = claims.ok_or_else(|| bad("its claims are malformed"))?;
        let controls = claims.ac.ok_or_else(|| bad("it has no access controls"))?;
        let scopes: Vec<Grant> =
            serde_json::from_str(&controls).map_err(|_| bad("its access controls are malformed"))?;
        if scopes.len() > limits::ACTIONS_SCOPES_MAX {
            return Err(bad("it has too many scopes"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "a time too far away is the last there is")]
        let expires = claims.exp.map(|seconds| Timestamp::from_second(seconds as i64).unwrap_or(Timestamp::MAX));
        Ok(Self { text: Secret(text.to_owned()), scopes, expires })
    }

    /// # Errors
    /// When its time is over.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.expires {
            Some(at) if at < clock::now() => Err(format!("cache token expired at {}", clock::rfc3339_nano(at))),
            _ => Ok(()),
        }
    }

    /// The scopes to read from, the own one before those of others.
    pub(super) fn readable(&self) -> Vec<&str> {
        let (own, others): (Vec<&Grant>, Vec<&Grant>) =
            self.scopes.iter().filter(|grant| grant.permission & 1 != 0).partition(|grant| grant.permission & 2 != 0);
        own.into_iter().chain(others).map(|grant| grant.scope.as_str()).collect()
    }

    /// The scope that what is saved goes into.
    pub(super) fn writable(&self) -> Option<&str> {
        self.scopes.iter().rev().find(|grant| grant.permission & 2 != 0).map(|grant| grant.scope.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTS: &str = r#"[{"Scope":"refs/heads/main","Permission":1},{"Scope":"refs/pull/1","Permission":3}]"#;

    fn token(claims: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn check(attributes: &[(&str, &str)], expected: &str) {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let got = match ActionsPlace::parse(&attributes) {
            Ok(place) => {
                let list = place.list.map(|list| format!(" {}", list.address)).unwrap_or_default();
                format!("{} {:?} {} {:?}{list}", place.scope, place.protocol, place.address, place.patience)
            }
            Err(error) => error,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn a_place_is_read_from_what_clients_send() {
        let token = token(&serde_json::json!({ "ac": GRANTS, "exp": 4_000_000_000_u64 }));
        let (token, url) = (("token", token.as_str()), ("url", "https://host/x/"));
        let newer = ("url_v2", "https://newer");
        check(&[token, url], "buildkit Artifacts https://host/x/ 600s");
        check(&[token, url, newer, ("scope", "app"), ("timeout", "1m30s")], "app Results https://newer/ 90s");
        check(&[token, url, newer, ("version", "1")], "buildkit Artifacts https://host/x/ 600s");
        check(&[token, url, ("version", "2")], "buildkit Results https://host/x/ 600s");
        check(&[token, ("url", "https://results-receiver.actions.githubusercontent.com/")], {
            "buildkit Results https://results-receiver.actions.githubusercontent.com/ 600s"
        });
        let github = ("ghtoken", "hush");
        check(&[token, url, github, ("repository", "a/b")], {
            "buildkit Artifacts https://host/x/ 600s https://api.github.com/repos/a/b/actions/caches"
        });
        check(&[token, url, github, ("repository", "../b")], "buildkit Artifacts https://host/x/ 600s");
        check(&[token], "url not set for github actions cache");
        check(&[url], "token not set for github actions cache");
        check(&[token, ("url", "host")], "the url of the github actions cache is none: expected http:// or https://");
        check(
            &[token, url, ("version", "two")],
            "failed to parse api version \"two\" of the github actions cache: expected 1 or 2",
        );
        check(
            &[token, url, ("timeout", "soon")],
            "failed to parse timeout \"soon\" for github actions cache: expected 10m or 90s",
        );
        check(
            &[token, url, ("scope", "a,b")],
            "invalid scope \"a,b\" of the github actions cache: no commas, at most 256 bytes",
        );
    }

    #[test]
    fn a_token_says_what_it_is_good_for_and_is_shown_to_nobody() {
        let parsed = |claims: serde_json::Value| Token::parse(&token(&claims));
        let good = parsed(serde_json::json!({ "ac": GRANTS, "exp": 1 })).unwrap();
        assert_eq!(good.readable(), ["refs/pull/1", "refs/heads/main"]);
        assert_eq!(good.writable(), Some("refs/pull/1"));
        assert_eq!(good.check().unwrap_err(), "cache token expired at 1970-01-01T00:00:01Z");
        assert!(!format!("{good:?}").contains(&good.text.0));
        for (bad, why) in [
            (parsed(serde_json::json!({ "exp": 1 })), "it has no access controls"),
            (parsed(serde_json::json!({ "ac": "x" })), "its access controls are malformed"),
            (Token::parse("a.%.c"), "its claims are malformed"),
            (Token::parse("hush"), "it is no JSON web token"),
            (Token::parse(&"x".repeat(100_000)), "it is too long"),
        ] {
            assert_eq!(bad.unwrap_err(), format!("invalid token for github actions cache: {why}"));
        }
    }
}
