//! One repository at one place: its manifests, blobs, uploads and tags.

use std::{fs::File, sync::Arc};

use bytes::Bytes;
use hako_model::Digest;
use hyper::{Method, StatusCode, header};
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    Client, Credentials, RegistryError,
    exchange::{Ask, AskBody, Reading},
    hosts::Place,
    origin::Address,
    parsed,
};
use crate::{
    digest::ContentDigest,
    limits,
    wire::{DOCKER_LIST, DOCKER_MANIFEST, DOCKER_SCHEMA1_SIGNED, OCI_INDEX, OCI_MANIFEST},
};

/// The manifests that are understood, or at least recognised.
const ACCEPTED: [&str; 5] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, DOCKER_SCHEMA1_SIGNED];

/// A repository somewhere.
#[derive(Clone)]
pub(crate) struct Remote {
    client: Client,
    host: String,
    /// `library/debian`
    path: String,
    credentials: Credentials,
    scopes: Vec<String>,
    /// What a `hosts.toml` says of it; else `host` says everything.
    place: Option<Arc<Place>>,
}

/// A manifest as it came.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
}

/// How an upload began.
pub(crate) enum Begun {
    /// The blob is there already, taken from another repository.
    Mounted,
    /// It is to be sent here.
    Here(Address),
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Remote {
    pub(crate) fn new(client: Client, host: String, path: &str, credentials: Credentials, pushes: bool) -> Self {
        let actions = if pushes { "pull,push" } else { "pull" };
        let scopes = vec![format!("repository:{path}:{actions}")];
        Self { client, host, path: path.to_owned(), credentials, scopes, place: None }
    }

    /// The repository at a server that a `hosts.toml` names.
    #[must_use]
    pub(crate) fn at_place(mut self, place: Place) -> Self {
        self.place = Some(Arc::new(place));
        self
    }

    /// The same, allowed to take blobs from that repository, too.
    pub(crate) fn also_from(&self, path: &str) -> Self {
        let mut remote = self.clone();
        remote.scopes.push(format!("repository:{path}:pull"));
        remote
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    async fn at(&self, rest: &str) -> Result<Address, RegistryError> {
        if let Some(place) = &self.place {
            let address = place.origin.at(format!("{}/{}/{rest}", place.base, self.path));
            return Ok(match &place.namespace {
                Some(namespace) => address.with("ns", namespace),
                None => address,
            });
        }
        let prefix =
            self.host.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let prefix = prefix.trim_end_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        let origin = self.client.origin(&self.host).await?;
        Ok(origin.at(format!("{slash}{prefix}/v2/{}/{rest}", self.path)))
    }

    fn ask(&self, method: Method, address: Address) -> Ask<'_> {
        let mut ask = Ask::new(method, address).identity(&self.credentials, &self.scopes);
        ask.headers.extend(self.place.iter().flat_map(|place| place.headers.iter().cloned()));
        ask
    }

    /// The manifest of a tag or digest. Whether it is what was asked for is the caller's to see.
    pub(crate) async fn manifest(&self, target: &str) -> Result<Fetched, RegistryError> {
        let accept = ACCEPTED.join(", ");
        let address = self.at(&format!("manifests/{target}")).await?;
        let mut answer = self.client.ask(&self.ask(Method::GET, address).header(header::ACCEPT, accept)).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refusal().await);
        }
        let media_type = answer.header("content-type").unwrap_or_default().to_owned();
        let bytes: Bytes = answer.collect("the manifest", limits::MANIFEST_BYTES_MAX).await?.into();
        let digest = digest_of(&bytes);
        if let Ok(expected) = target.parse::<Digest>()
            && expected != digest
        {
            return Err(RegistryError::Digest { what: "the manifest".to_owned(), expected, found: digest });
        }
        Ok(Fetched { bytes, digest, media_type })
    }

    /// What a tag stands for, without bringing it; `None` if the registry only tells it with the manifest.
    pub(crate) async fn manifest_digest(&self, tag: &str) -> Result<Option<Digest>, RegistryError> {
        let address = self.at(&format!("manifests/{tag}")).await?;
        let answer =
            self.client.ask(&self.ask(Method::HEAD, address).header(header::ACCEPT, ACCEPTED.join(", "))).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refusal().await);
        }
        Ok(answer.header("docker-content-digest").and_then(|text| text.parse().ok()))
    }

    /// A small blob, verified.
    pub(crate) async fn document(&self, digest: Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let what = "the configuration";
        let most = usize::try_from(size).unwrap_or(usize::MAX).min(limits::CONFIG_BYTES_MAX);
        let mut answer = self.blob(digest, 0).await?;
        let bytes = answer.collect(what, most).await?;
        let found = digest_of(&bytes);
        if found != digest {
            return Err(RegistryError::Digest { what: what.to_owned(), expected: digest, found });
        }
        Ok(bytes)
    }

    /// The bytes of a blob from `start` to before `end`; `None` from a server that only gives the whole.
    pub(crate) async fn blob_part(
        &self,
        digest: Digest,
        start: u64,
        end: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let address = self.at(&format!("blobs/{digest}")).await?;
        let ask = self.ask(Method::GET, address).header(header::RANGE, format!("bytes={start}-{}", end - 1));
        let mut answer = self.client.ask(&ask).await?;
        match answer.status {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK => return Ok(None),
            _ => return Err(answer.refusal().await),
        }
        let count = usize::try_from(end - start).unwrap_or(usize::MAX);
        let bytes = answer.collect("a part of a blob", count).await?;
        let is_it = answer.header("content-range").is_some_and(|range| range.starts_with(&format!("bytes {start}-")));
        if !is_it || bytes.len() != count {
            let why = "the registry sent another part of the blob than was asked for".to_owned();
            return Err(RegistryError::Malformed { what: "a blob", address: answer.address.to_string(), why });
        }
        Ok(Some(bytes))
    }

    /// A blob from byte `start` on, as a stream. A server without ranges sends it whole: see the status.
    pub(crate) async fn blob(&self, digest: impl Into<ContentDigest>, start: u64) -> Result<Reading, RegistryError> {
        let address = self.at(&format!("blobs/{}", digest.into())).await?;
        let mut ask = self.ask(Method::GET, address);
        if start > 0 {
            ask = ask.header(header::RANGE, format!("bytes={start}-"));
        }
        let answer = self.client.ask(&ask).await?;
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            _ => Err(answer.refusal().await),
        }
    }

    /// How large a blob of the repository is; `None` if it is not there.
    pub(crate) async fn blob_size(&self, digest: impl Into<ContentDigest>) -> Result<Option<u64>, RegistryError> {
        let address = self.at(&format!("blobs/{}", digest.into())).await?;
        let answer = self.client.ask(&self.ask(Method::HEAD, address)).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.header("content-length").and_then(|text| text.parse().ok())),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(answer.refusal().await),
        }
    }

    /// Whether the repository has this blob.
    pub(crate) async fn has_blob(&self, digest: impl Into<ContentDigest>) -> Result<bool, RegistryError> {
        let address = self.at(&format!("blobs/{}", digest.into())).await?;
        let answer = self.client.ask(&self.ask(Method::HEAD, address)).await?;
        match answer.status {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.refusal().await),
        }
    }

    /// Begins an upload; with `mount`, asks first to take the blob from another repository of this registry.
    pub(crate) async fn upload_begin(&self, mount: Option<(Digest, &str)>) -> Result<Begun, RegistryError> {
        let mut address = self.at("blobs/uploads/").await?;
        if let Some((digest, from)) = mount {
            address = address.with("mount", &digest.to_string()).with("from", from);
        }
        let answer = self.client.ask(&self.ask(Method::POST, address)).await?;
        match answer.status {
            StatusCode::CREATED if mount.is_some() => Ok(Begun::Mounted),
            StatusCode::ACCEPTED | StatusCode::CREATED => {
                let location = answer.header("location").unwrap_or_default();
                Ok(Begun::Here(parsed(location, &answer.address)?))
            }
            _ => Err(answer.refusal().await),
        }
    }

    /// Sends a blob, at once, to where an upload began.
    pub(crate) async fn upload(
        &self,
        place: &Address,
        digest: Digest,
        body: BlobBody,
        sent: Option<watch::Sender<u64>>,
    ) -> Result<(), RegistryError> {
        let body = match body {
            BlobBody::Bytes(bytes) => AskBody::Bytes(bytes),
            BlobBody::File { file, size } => AskBody::File { file, start: 0, size, sent },
        };
        let place = place.with("digest", &digest.to_string());
        let ask = self.ask(Method::PUT, place).header(header::CONTENT_TYPE, "application/octet-stream").body(body);
        let answer = self.client.ask(&ask).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.refusal().await) }
    }

    /// Sends a file from `start` to its end, `size`; answers where to go on.
    pub(crate) async fn upload_piece(
        &self,
        place: &Address,
        file: Arc<File>,
        (start, size): (u64, u64),
        sent: Option<watch::Sender<u64>>,
    ) -> Result<Address, RegistryError> {
        let body = AskBody::File { file, start, size: size - start, sent };
        let mut ask = self.ask(Method::PATCH, place.clone()).header(header::CONTENT_TYPE, "application/octet-stream");
        // All at once goes without a range, as docker sends it: not all registries understand one.
        if start > 0 {
            ask = ask.header(header::CONTENT_RANGE, format!("{start}-{}", size - 1));
        }
        let answer = self.client.ask(&ask.body(body)).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(answer.refusal().await);
        }
        match answer.header("location") {
            Some(next) => parsed(next, &answer.address),
            None => Ok(place.clone()),
        }
    }

    /// Where an upload that broke off goes on, and from which byte.
    pub(crate) async fn upload_status(&self, place: &Address) -> Result<(Address, u64), RegistryError> {
        let answer = self.client.ask(&self.ask(Method::GET, place.clone())).await?;
        if answer.status != StatusCode::NO_CONTENT {
            return Err(answer.refusal().await);
        }
        let next = answer.header("location").map(|next| parsed(next, &answer.address)).transpose()?;
        let last = answer.header("range").and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok());
        // One byte and none look the same.
        let start = last.filter(|last| *last > 0).map_or(0, |last| last + 1);
        Ok((next.unwrap_or_else(|| place.clone()), start))
    }

    /// Puts a manifest under a tag or its digest.
    pub(crate) async fn manifest_put(&self, target: &str, media_type: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let address = self.at(&format!("manifests/{target}")).await?;
        let ask = self
            .ask(Method::PUT, address)
            .header(header::CONTENT_TYPE, media_type)
            .body(AskBody::Bytes(Bytes::copy_from_slice(bytes)));
        let answer = self.client.ask(&ask).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.refusal().await) }
    }

    /// All tags.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut all = Vec::new();
        let mut next = Some(self.at("tags/list").await?);
        while let Some(address) = next.take() {
            let mut answer = self.client.ask(&self.ask(Method::GET, address.clone())).await?;
            if answer.status != StatusCode::OK {
                return Err(answer.refusal().await);
            }
            let link = answer.header("link").and_then(next_of).map(str::to_owned);
            let bytes = answer.collect("the list of tags", limits::DOCUMENT_BYTES_MAX).await?;
            let page: Tags = serde_json::from_slice(&bytes).map_err(|error| RegistryError::Malformed {
                what: "the list of tags",
                address: address.to_string(),
                why: error.to_string(),
            })?;
            let before = all.len();
            all.extend(page.tags.unwrap_or_default());
            if all.len() > limits::TAGS_MAX {
                return Err(RegistryError::TooLarge {
                    what: "the list of tags".to_owned(),
                    address: address.to_string(),
                    most: limits::TAGS_MAX as u64,
                });
            }
            // A page without anything new has no next one.
            if let Some(link) = link.filter(|_| all.len() > before) {
                next = Some(parsed(&link, &address)?);
            }
        }
        Ok(all)
    }
}

/// A blob to send.
#[derive(Clone)]
pub(crate) enum BlobBody {
    Bytes(Bytes),
    File { file: Arc<File>, size: u64 },
}

// `<address>; rel="next"`
fn next_of(link: &str) -> Option<&str> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then_some(address)
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    Digest::from_sha256(digest)
}
