//! Tokens for builders: got here, with credentials that then stay here.
//!
//! The seeds of keys are kept in docker's file, so that both tools are the same person to a builder.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use hako_base::{
    file::{Durability, write_atomic},
    random,
};
use hako_client::build::{TokenAnswer, TokenGiven, TokenWish, Tokens};
use hako_registry::client::{Client, TokenAsk};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::{
    credentials::{self, Credentials},
    registry,
};

/// The file of seeds, and the one that is held while it changes.
const SEEDS: &str = ".token_seed";
const LOCK: &str = ".token_seed.lock";

/// The person's credentials, by which tokens are got.
pub(super) struct Keeper {
    directory: PathBuf,
    known: Arc<Credentials>,
    client: Client,
    /// Registries that were asked, and whether they take tokens.
    asked: Mutex<BTreeMap<String, bool>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seed {
    /// In base64.
    seed: String,
}

impl Keeper {
    pub(super) fn new(directory: &Path, known: Arc<Credentials>) -> Self {
        Self { directory: directory.to_owned(), known, client: registry::client(Vec::new()), asked: Mutex::default() }
    }

    async fn takes_tokens(&self, host: &str) -> bool {
        let before = self.asked.lock().ok().and_then(|asked| asked.get(host).copied());
        if let Some(before) = before {
            return before;
        }
        let takes = self.client.token_service(host).await.is_ok_and(|realm| realm.is_some());
        if let Ok(mut asked) = self.asked.lock() {
            asked.insert(host.to_owned(), takes);
        }
        takes
    }

    fn own(&self, host: &str) -> hako_registry::client::Credentials {
        let domain = if host == "registry-1.docker.io" { "docker.io" } else { host };
        registry::shown(self.known.find(&credentials::key_of(domain)))
    }
}

impl Tokens for Keeper {
    fn seed<'a>(&'a self, host: &'a str) -> TokenAnswer<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            // Who has nothing to hide has nothing to prove; a registry that is not reached from here, or takes
            // passwords alone, is the builder's business.
            let has_some = self.own(host) != hako_registry::client::Credentials::default();
            if !has_some || !self.takes_tokens(host).await {
                return None;
            }
            seed(&self.directory, host).ok()
        })
    }

    fn token(&self, wish: TokenWish) -> TokenAnswer<'_, Result<TokenGiven, String>> {
        Box::pin(async move {
            let ask = TokenAsk { realm: wish.realm, service: wish.service, scopes: wish.scopes };
            let given = self.client.token_for(&wish.host, &ask, &self.own(&wish.host)).await;
            let given = given.map_err(|error| hako_base::error::chain(&error))?;
            Ok(TokenGiven { text: given.text, lifetime_s: given.lifetime.as_secs() })
        })
    }
}

// The seed for a registry, made when it is first asked for.
fn seed(directory: &Path, host: &str) -> io::Result<Vec<u8>> {
    fs::create_dir_all(directory)?;
    let lock = File::options().create(true).truncate(false).write(true).open(directory.join(LOCK))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive))?;
    let path = directory.join(SEEDS);
    let text = fs::read(&path).unwrap_or_default();
    let mut all: BTreeMap<String, Seed> = serde_json::from_slice(&text).unwrap_or_default();
    if let Some(known) = all.get(host).and_then(|known| hako_api::text::base64_url_decode(&known.seed)) {
        return Ok(known);
    }
    let made = random::bytes::<16>();
    all.insert(host.to_owned(), Seed { seed: hako_api::text::base64_standard(&made) });
    write_atomic(&path, &serde_json::to_vec_pretty(&all)?, 0o600, Durability::Process)?;
    Ok(made.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_dockers_and_stay() {
        let folder = std::env::temp_dir().join(format!("hako-seeds-{}", random::hex(8)));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(SEEDS), r#"{"a.test": {"Seed": "AAECAwQFBgcICQoLDA0ODw=="}}"#).unwrap();
        assert_eq!(seed(&folder, "a.test").unwrap(), (0..16).collect::<Vec<u8>>());
        let made = seed(&folder, "b.test").unwrap();
        assert_eq!((made.len(), seed(&folder, "b.test").unwrap() == made), (16, true));
        assert_eq!(seed(&folder, "a.test").unwrap()[15], 15);
        fs::remove_dir_all(folder).unwrap();
    }
}
