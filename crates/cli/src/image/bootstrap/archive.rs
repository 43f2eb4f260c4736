//! What is fetched from Debian's archive. Releases are believed for their signatures, everything else for a digest in
//! what was believed before.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_base::clock;
use hako_debian::{
    DebianError, choose::Choice, index::Index, index::Package, limits, openpgp::Keyring, release::Release,
};
use hako_registry::client::{Client, Fetching, Proxies, Settings};
use ring::digest;
use tokio::{sync::Semaphore, task::JoinSet};

use super::debian::said;
use crate::error::CommandError;

/// Packages that come at once.
const AT_ONCE: usize = 6;

/// One suite at one place.
#[derive(Debug, Clone)]
pub(super) struct Suite {
    pub(super) mirror: String,
    pub(super) name: String,
}

/// Debian's archives.
pub(super) struct Archives {
    client: Client,
    keyring: Keyring,
    /// By the number that the packages of the index carry.
    mirrors: Vec<String>,
    pub(super) index: Index,
}

impl Archives {
    pub(super) fn new(keyring: Keyring) -> Self {
        let proxies = Proxies::from_environment(|variable| std::env::var(variable).ok());
        let client = Client::new(Settings { proxies, ..Settings::default() });
        Self { client, keyring, mirrors: Vec::new(), index: Index::default() }
    }

    /// The release of a suite, if it is to be believed.
    pub(super) async fn release(&self, suite: &Suite) -> Result<Release, CommandError> {
        let address = format!("{}/dists/{}/InRelease", suite.mirror, suite.name);
        let message = self.fetch(&address, limits::RELEASE_BYTES_MAX as u64).await?;
        Release::verify(&message, &suite.name, &self.keyring, clock::now()).map_err(|error| said(&error))
    }

    /// Takes up what a suite has for an architecture.
    pub(super) async fn add(
        &mut self,
        suite: &Suite,
        release: &Release,
        architecture: &str,
    ) -> Result<(), CommandError> {
        let (path, proof) = release.packages(architecture).map_err(|error| said(&error))?;
        let place = match path.rsplit_once('/') {
            Some((folder, _)) if release.by_hash => format!("{folder}/by-hash/SHA256/{}", proof.digest),
            _ => path,
        };
        let address = format!("{}/dists/{}/{place}", suite.mirror, suite.name);
        let bytes = self.fetch(&address, proof.size.min(limits::INDEX_BYTES_MAX)).await?;
        let number = self.mirrors.len();
        self.index.add(&bytes, proof, number, &address).map_err(|error| said(&error))?;
        self.mirrors.push(suite.mirror.clone());
        Ok(())
    }

    /// Fetches packages into a folder: where each is, in the order in which they were chosen.
    pub(super) async fn packages(&self, choice: &Choice, folder: &Path) -> Result<Vec<PathBuf>, CommandError> {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut coming = JoinSet::new();
        let mut files = Vec::new();
        for package in &choice.packages {
            let file = folder.join(package.path.rsplit('/').next().unwrap_or(&package.name));
            files.push(file.clone());
            let address = format!("{}/{}", self.mirrors[package.archive], package.path);
            let (client, slots, package) = (self.client.clone(), slots.clone(), package.clone());
            coming.spawn(async move {
                let _slot = slots.acquire().await;
                fetch_package(&client, &address, &package, &file).await
            });
        }
        while let Some(came) = coming.join_next().await {
            came.map_err(|error| CommandError::Said(format!("a download broke off: {error}")))??;
        }
        Ok(files)
    }

    async fn fetch(&self, address: &str, limit: u64) -> Result<Vec<u8>, CommandError> {
        let mut answer = fetching(&self.client, address).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| lost(address, &error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                let (what, found) = (address.to_owned(), bytes.len() as u64);
                return Err(said(&DebianError::Limit { what, found, limit }));
            }
        }
        Ok(bytes)
    }
}

async fn fetching(client: &Client, address: &str) -> Result<Fetching, CommandError> {
    client.fetch(address).await.map_err(|error| CommandError::Said(hako_base::error::chain(&error)))
}

fn lost(address: &str, error: &dyn std::error::Error) -> CommandError {
    CommandError::Said(format!("cannot fetch {address}: {}", hako_base::error::chain(error)))
}

async fn fetch_package(client: &Client, address: &str, package: &Package, file: &Path) -> Result<(), CommandError> {
    let mut answer = fetching(client, address).await?;
    let action = || format!("write {}", file.display());
    let mut output = File::create(file).map_err(CommandError::local(action()))?;
    let (mut context, mut size) = (digest::Context::new(&digest::SHA256), 0);
    while let Some(chunk) = answer.chunk().await.map_err(|error| lost(address, &error))? {
        size += chunk.len() as u64;
        // A body without an end is not worth a disk.
        if size > package.proof.size {
            break;
        }
        context.update(&chunk);
        output.write_all(&chunk).map_err(CommandError::local(action()))?;
    }
    package.proof.check(address, size, context.finish().as_ref()).map_err(|error| said(&error))
}
