//! The client of registries: requests with the right credentials, at the right place, with an end in sight.
//!
//! [`Client`] holds connections and tokens; a [`Remote`] is one repository at one place. What to do with an image is
//! `pull`'s and `push`'s business.

mod auth; // passwords and tokens
mod connect; // connections
mod error; // why it failed
mod exchange; // one request and its answer
mod fetch; // anything of the web
mod held; // tokens for somebody who has no password
mod hosts; // hosts.toml
mod login; // whether a registry takes our word
mod lookup; // addresses of names
mod origin; // where things are
mod remote; // one repository: manifests, blobs, uploads, tags
mod search; // Docker Hub's search, which others speak as well
mod settings; // what the client is told
mod web; // addresses that are no registry's

use std::{collections::HashMap, sync::Arc, time::Instant};

use hako_model::Reference;
use hyper::Method;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use auth::{Answer, Answers, Credentials, Holder, Token, TokenAsk, lifetime};
pub use error::RegistryError;
pub(crate) use exchange::{Reading, pause};
pub use fetch::Fetching;
pub use login::LoggedIn;
pub(crate) use origin::encode;
pub(crate) use remote::{Begun, BlobBody, Fetched, Remote, digest_of};
pub use search::SearchResult;
pub use settings::{Proxies, SettingError, Settings};
pub use web::{WebAnswer, WebBody, WebRequest, WebSent};

use crate::limits;
use exchange::Ask;
use hosts::Capability;
pub(crate) use origin::Address;
use origin::{Origin, Scheme};

/// Docker Hub's names: the one in images, and where its registry and its index are.
pub(crate) const HUB: &str = "docker.io";
const HUB_REGISTRY: &str = "registry-1.docker.io";
const HUB_INDEX: &str = "index.docker.io";

/// A client; clones share connections and tokens.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    pool: connect::Pool,
    tokens: auth::Tokens,
    downloads: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    /// By which scheme a registry answered, and when.
    schemes: Mutex<HashMap<String, (Scheme, Instant)>>,
}

impl Client {
    /// A client that has connected nowhere yet.
    pub fn new(settings: Settings) -> Self {
        let slots = |count: usize| Arc::new(Semaphore::new(count.max(1)));
        let (downloads, uploads) = (slots(settings.downloads), slots(settings.uploads));
        let (pool, tokens, schemes) = Default::default();
        Self(Arc::new(Inner { settings, pool, tokens, downloads, uploads, schemes }))
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// How many layers may come at once, of all pulls together.
    pub(crate) fn downloads(&self) -> Arc<Semaphore> {
        self.0.downloads.clone()
    }

    /// How many layers may go at once, of all pushes together.
    pub(crate) fn uploads(&self) -> Arc<Semaphore> {
        self.0.uploads.clone()
    }

    /// The places a repository can be had from, in the order in which they are asked: mirrors of Docker Hub, then what
    /// a `hosts.toml` says, else the registry itself. With `pushes`, those that may be pushed to.
    ///
    /// # Errors
    /// A `hosts.toml` that makes no sense, or that allows nothing of the kind.
    pub(crate) fn remotes(
        &self,
        reference: &Reference,
        credentials: &Credentials,
        pushes: bool,
    ) -> Result<Vec<Remote>, RegistryError> {
        let is_hub = reference.domain() == HUB;
        let remote = |host: &str, credentials: &Credentials| {
            Remote::new(self.clone(), host.to_owned(), reference.path(), credentials.clone(), pushes)
        };
        // A mirror is another server: it is not told the password for the registry.
        let nobody = Credentials::default();
        let mut remotes = Vec::new();
        if is_hub && !pushes {
            remotes.extend(self.0.settings.mirrors.iter().map(|mirror| remote(mirror, &nobody)));
        }
        let host = if is_hub { HUB_REGISTRY } else { reference.domain() };
        let Some(places) = hosts::read(&self.0.settings.certificates, reference.domain())? else {
            remotes.push(remote(host, credentials));
            return Ok(remotes);
        };
        let wanted: &[Capability] = match (pushes, reference.digest()) {
            (true, _) => &[Capability::Push],
            (false, Some(_)) => &[Capability::Pull],
            (false, None) => &[Capability::Pull, Capability::Resolve],
        };
        for place in places.into_iter().filter(|place| place.allows(wanted)) {
            let credentials = if place.is_registry() { credentials } else { &nobody };
            remotes.push(remote(host, credentials).at_place(place));
        }
        if remotes.is_empty() {
            let what = if pushes { "pushing to" } else { "pulling from" };
            return Err(RegistryError::Invalid(format!("hosts.toml allows no {what} {}", reference.domain())));
        }
        Ok(remotes)
    }

    /// How a host is spoken to: by TLS, unless it is insecure and answers only without.
    ///
    /// `host` may be a whole address, which says the scheme itself.
    pub(crate) async fn origin(&self, host: &str) -> Result<Origin, RegistryError> {
        let (authority, schemes) = match host.split_once("://") {
            Some((scheme, rest)) => {
                let authority = rest.split('/').next().unwrap_or_default();
                match (scheme, self.0.settings.is_insecure(authority)) {
                    ("http", _) => (authority, vec![Scheme::Http]),
                    (_, true) => (authority, vec![Scheme::Unverified]),
                    (_, false) => (authority, vec![Scheme::Https]),
                }
            }
            None if self.0.settings.is_insecure(host) => (host, vec![Scheme::Unverified, Scheme::Http]),
            None => (host, vec![Scheme::Https]),
        };
        let known = self.0.schemes.lock().get(authority).copied();
        if let Some((scheme, since)) = known
            && since.elapsed() < limits::SCHEME_REMEMBERED
            && schemes.contains(&scheme)
        {
            return made(scheme, authority);
        }
        let mut failure = None;
        for scheme in schemes {
            let origin = made(scheme, authority)?;
            // Whatever it answers, it answers by this scheme.
            match self.send(&Ask::new(Method::GET, origin.at("/v2/"))).await {
                Ok(_) => {
                    self.0.schemes.lock().insert(authority.to_owned(), (scheme, Instant::now()));
                    return Ok(origin);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| RegistryError::Invalid(format!("{host:?} is not the name of a registry"))))
    }
}

fn made(scheme: Scheme, authority: &str) -> Result<Origin, RegistryError> {
    let bad = || RegistryError::Invalid(format!("{authority:?} is not the name of a registry"));
    Origin::new(scheme, authority).ok_or_else(bad)
}

/// An address that an answer gave, which must be one.
fn parsed(text: &str, from: &Address) -> Result<Address, RegistryError> {
    from.resolve(text).ok_or_else(|| RegistryError::Malformed {
        what: "an address",
        address: from.to_string(),
        why: if from.is_secret { "it is no address".to_owned() } else { format!("{text:?}") },
    })
}
