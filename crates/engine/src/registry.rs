//! Images from and to registries: pull, push, search, login, and what a registry says about a name.
//!
//! The protocol is `registry`'s work; here names as clients send them become references, and what happened is told.

use std::io;

use bytes::Bytes;
use hako_base::chunks::ChunkReader;
use hako_image::ImageError;
use hako_model::{Digest, Platform, Reference};
use hako_registry::{
    PullOptions, Pulled, PushOptions, Step, Steps,
    client::{Credentials, RegistryError, SearchResult},
};
use tokio::sync::mpsc;

use crate::{
    Engine, EngineError,
    image::platform,
    limits,
    view::{DistributionView, ImportOptions, Progress, PushedView, WebAnswer, WebRequest},
};

use hako_model::Filters;

const SEARCH_FILTERS: &[&str] = &["is-automated", "is-official", "stars"];
/// What Docker Hub gives at most.
const SEARCH_LIMIT_MAX: usize = 100;
const SEARCH_LIMIT_DEFAULT: usize = 25;

pub(crate) fn error(error: RegistryError) -> EngineError {
    match error {
        RegistryError::Image(ImageError::NoSuchImage { reference }) => EngineError::NoImage { name: reference },
        other => EngineError::mechanism(other.kind(), &other),
    }
}

impl Engine {
    /// Brings an image, or with neither tag nor digest all of a repository; `tag` may be a digest.
    ///
    /// # Errors
    /// A name that is none; and what the registry says. Once progress has been told, errors belong into its stream.
    pub async fn image_pull(
        &self,
        name: &str,
        tag: &str,
        wanted: Option<&str>,
        credentials: Credentials,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), EngineError> {
        let reference = named(name, tag)?;
        let platform = wanted.filter(|text| !text.is_empty()).map(platform).transpose()?;
        let options = PullOptions { credentials, platform, unnamed: false };
        if reference.tag().is_some() || reference.digest().is_some() {
            return self.pull_one(&reference, &options, progress).await.map(drop);
        }
        let tags = self.registry.tags(&reference, &options.credentials).await.map_err(error)?;
        for tag in tags {
            let reference = reference.with_tag(&tag).map_err(|error| EngineError::invalid(error.to_string()))?;
            self.pull_one(&reference, &options, progress.clone()).await?;
        }
        Ok(())
    }

    /// Brings an image that a Dockerfile names; without a tag it means `latest`. For another platform than this
    /// machine's it gets no name here: the name stays with what this machine runs. Answers its id, and the digest that
    /// the registry knows it by.
    ///
    /// # Errors
    /// A name that is none; and what the registry says.
    pub async fn image_pull_for_build(
        &self,
        name: &str,
        platform: Option<Platform>,
        credentials: Credentials,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(Digest, Digest), EngineError> {
        let reference = named(name, "")?.with_default_tag();
        let host = Platform::host();
        let unnamed = platform.as_ref().is_some_and(|wanted| wanted.architecture != host.architecture);
        let pulled = self.pull_one(&reference, &PullOptions { credentials, platform, unnamed }, progress).await?;
        Ok((pulled.id, pulled.digest))
    }

    /// Makes an image of an archive that is fetched from an address.
    ///
    /// # Errors
    /// An address where nothing is to be had; and as `image_import`.
    pub async fn image_import_from(
        &self,
        address: &str,
        mut options: ImportOptions,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), EngineError> {
        let mut coming = self.registry.fetch(address).await.map_err(error)?;
        let say = |status: String| Progress { status, ..Progress::default() };
        let _ = progress.send(say(format!("Downloading from {address}"))).await;
        if options.message.is_empty() {
            options.message = format!("Imported from {address}");
        }
        let (sender, mut chunks) = mpsc::channel::<io::Result<Bytes>>(limits::IMPORT_CHUNKS_QUEUED_MAX);
        let (bar, total) = (progress.clone(), coming.size.unwrap_or(0));
        tokio::spawn(async move {
            let mut current = 0;
            loop {
                let chunk = match coming.chunk().await {
                    Ok(None) => return,
                    Ok(Some(bytes)) => Ok(bytes),
                    Err(error) => Err(io::Error::other(hako_base::error::chain(&error))),
                };
                current += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
                // A listener that is slow misses some of them.
                let _ =
                    bar.try_send(Progress { status: "Importing".to_owned(), current, total, ..Progress::default() });
                let failed = chunk.is_err();
                if sender.send(chunk).await.is_err() || failed {
                    return;
                }
            }
        });
        let reader = ChunkReader::new(move || chunks.blocking_recv());
        let id = self.image_import(Box::new(reader), options).await?;
        let _ = progress.send(say(id.to_string())).await;
        Ok(())
    }

    async fn pull_one(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Pulled, EngineError> {
        let (steps, told) = steps(progress);
        let pulled = self.registry.pull(&self.images, reference, options, &steps).await;
        drop(steps);
        told.await;
        let pulled = pulled.map_err(error)?;
        self.publish_image("pull", &reference.familiar(), &reference.familiar_name());
        Ok(pulled)
    }

    /// Sends an image to the registry that its name has, or with an empty `tag` all of a repository.
    ///
    /// # Errors
    /// A name that is none, no such image; and what the registry says.
    pub async fn image_push(
        &self,
        name: &str,
        tag: &str,
        credentials: Credentials,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), EngineError> {
        let reference = named(name, tag)?;
        if reference.digest().is_some() {
            return Err(EngineError::invalid("cannot push a digest reference"));
        }
        let say = |status: String| Progress { status, ..Progress::default() };
        let repository = format!("The push refers to repository [{}/{}]", reference.domain(), reference.path());
        let _ = progress.send(say(repository)).await;
        let options = PushOptions { credentials };
        for one in self.meant_to_push(&reference)? {
            let (steps, told) = steps(progress.clone());
            let pushed = self.registry.push(&self.images, &one, &options, &steps).await;
            drop(steps);
            told.await;
            let pushed = pushed.map_err(error)?;
            let view = PushedView { tag: pushed.tag, digest: pushed.digest.to_string(), size: pushed.size };
            let _ = progress.send(Progress { pushed: Some(view), ..Progress::default() }).await;
            self.publish_image("push", &one.familiar(), &one.familiar_name());
        }
        Ok(())
    }

    // The tag, or without one every tag of the repository that is here.
    fn meant_to_push(&self, reference: &Reference) -> Result<Vec<Reference>, EngineError> {
        let is_wanted = |known: &Reference| {
            known.familiar_name() == reference.familiar_name()
                && (reference.tag().is_none() || known.tag() == reference.tag())
        };
        let images = self.images.list();
        let mut found: Vec<Reference> =
            images.iter().flat_map(|image| &image.references).filter(|known| is_wanted(known)).cloned().collect();
        found.sort();
        if found.is_empty() {
            let name = reference.familiar_name();
            return Err(EngineError::NoSuchTag { name });
        }
        Ok(found)
    }

    /// Repositories that a term matches, by Docker Hub's protocol.
    ///
    /// # Errors
    /// A filter or a limit that makes no sense; and what the registry says.
    pub async fn image_search(
        &self,
        term: &str,
        limit: Option<usize>,
        filters: &Filters,
        credentials: &Credentials,
    ) -> Result<Vec<SearchResult>, EngineError> {
        if let Some(key) = filters.unknown_key(SEARCH_FILTERS) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(SEARCH_LIMIT_DEFAULT);
        if limit > SEARCH_LIMIT_MAX {
            let why = format!("limit {limit} is outside the range of [1, {SEARCH_LIMIT_MAX}]");
            return Err(EngineError::invalid(why));
        }
        let bad = |key: &str, text: &str| EngineError::invalid(format!("invalid filter '{key}={text}'"));
        let flag = |key: &str| match filters.values(key).next() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(text) => Err(bad(key, text)),
        };
        let (official, automated) = (flag("is-official")?, flag("is-automated")?);
        let stars = filters.values("stars").map(|text| text.parse::<i64>().map_err(|_| bad("stars", text)));
        let stars = stars.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0);
        let found = self.registry.search(term, limit, credentials).await.map_err(error)?;
        let is_wanted = |one: &SearchResult| {
            one.star_count >= stars
                && official.is_none_or(|wanted| one.is_official == wanted)
                && automated.is_none_or(|wanted| one.is_automated == wanted)
        };
        Ok(found.into_iter().filter(is_wanted).collect())
    }

    /// Shows credentials to a registry; answers the token that stands for them, or nothing.
    ///
    /// # Errors
    /// When the registry does not take them, or does not answer.
    pub async fn system_auth(&self, server: &str, credentials: &Credentials) -> Result<String, EngineError> {
        Ok(self.registry.login(server, credentials).await.map_err(error)?.identity_token)
    }

    /// Asks a web server: for what `ADD` and remote build contexts name.
    ///
    /// # Errors
    /// An address that is none, and a server that does not answer.
    pub async fn web_fetch(&self, request: WebRequest) -> Result<WebAnswer, EngineError> {
        self.registry.web(request).await.map_err(error)
    }

    /// What a registry has under a name, without bringing it.
    ///
    /// # Errors
    /// A name that is none; and what the registry says.
    pub async fn distribution_inspect(
        &self,
        name: &str,
        credentials: &Credentials,
    ) -> Result<DistributionView, EngineError> {
        let reference = named(name, "")?.with_default_tag();
        let found = self.registry.inspect(&reference, credentials).await.map_err(error)?;
        Ok(DistributionView {
            media_type: found.media_type,
            digest: found.digest,
            size: found.size,
            platforms: found.platforms,
        })
    }
}

impl Engine {
    /// What a registry knows a name by, and the configuration of its image for a platform; nothing else is brought.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn distribution_config(
        &self,
        name: &Reference,
        platform: &Platform,
        credentials: &Credentials,
    ) -> Result<(Digest, Vec<u8>), EngineError> {
        self.registry.config(name, platform, credentials).await.map_err(error)
    }
}

// A name from the two halves in which clients send it.
fn named(name: &str, tag: &str) -> Result<Reference, EngineError> {
    let bad = |error: hako_model::ReferenceError| EngineError::invalid(error.to_string());
    let reference: Reference = name.parse().map_err(bad)?;
    if tag.is_empty() {
        return Ok(reference);
    }
    if tag.contains(':') {
        let digest = tag.parse().map_err(|_| EngineError::invalid("invalid reference format"))?;
        return Ok(reference.with_digest(digest));
    }
    reference.with_tag(tag).map_err(bad)
}

// Steps of the registry's client become progress, until the last of them has been told.
fn steps(progress: mpsc::Sender<Progress>) -> (Steps, impl Future<Output = ()>) {
    let (sender, mut receiver) = mpsc::channel::<Step>(limits::STEPS_QUEUED);
    let telling = tokio::spawn(async move {
        while let Some(step) = receiver.recv().await {
            let Step { id, status, current, total } = step;
            let line = Progress { id, status, current, total, ..Progress::default() };
            if progress.send(line).await.is_err() {
                return;
            }
        }
    });
    (Steps::new(sender), async move { drop(telling.await) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_put_together() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |name: &str, tag: &str| {
            named(name, tag).map_or_else(|error| error.to_string(), |reference| reference.to_string())
        };
        assert_eq!(check("debian", "12"), "docker.io/library/debian:12");
        assert_eq!(check("debian:11", ""), "docker.io/library/debian:11");
        assert_eq!(check("debian", ""), "docker.io/library/debian");
        assert_eq!(check("debian:11", &digest), format!("docker.io/library/debian@{digest}"));
        assert_eq!(check("debian", "sha256:1"), "invalid reference format");
        assert_eq!(check("Debian", ""), "invalid reference format: repository name (library/Debian) must be lowercase");
    }
}
