//! A pull-through cache: what is not here is fetched from another registry, served while it comes, and kept.
//!
//! Several clients that want one blob share one download, which goes on when they leave. The last byte is served only
//! once the digest was right, so that nobody takes a broken blob for a whole one. Tags are asked for upstream each
//! time (by HEAD, which Docker Hub does not count); when it does not answer, what is here is served.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io,
    sync::Arc,
};

use hako_base::backoff::Doubling;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::{Shared, answer::blocking, error::ApiError, settings::ProxySettings};
use crate::{
    body::Arriving,
    client::{Client, Credentials, RegistryError, Remote, Settings as ClientSettings, pause},
    digest::ContentDigest,
    limits,
    name::{Repository, Target},
    storage::{Appended, Upload},
    wire::Document,
};

/// The other registry.
pub(crate) struct Upstream {
    client: Client,
    settings: ProxySettings,
    coming: Mutex<HashMap<(Repository, ContentDigest), Coming>>,
}

/// A blob that is on its way.
#[derive(Clone)]
pub(crate) struct Coming {
    pub(crate) file: Arc<File>,
    pub(crate) size: u64,
    pub(crate) arriving: watch::Receiver<Arriving>,
}

impl Upstream {
    pub(crate) fn new(settings: ProxySettings) -> Self {
        let get = |name: &str| std::env::var(name).ok();
        let proxies = crate::client::Proxies::from_environment(get);
        let downloads = tokio::sync::Semaphore::MAX_PERMITS;
        let client = Client::new(ClientSettings { proxies, downloads, ..ClientSettings::default() });
        Self { client, settings, coming: Mutex::default() }
    }

    fn remote(&self, name: &Repository) -> Remote {
        let ProxySettings { username, password, .. } = self.settings.clone();
        let credentials = Credentials { username, password, ..Credentials::default() };
        Remote::new(self.client.clone(), self.settings.url.clone(), name.as_str(), credentials, false)
    }

    /// Brings a manifest here, unless what is here is what the upstream has. Whether it is then here is seen there.
    pub(crate) async fn manifest(
        &self,
        shared: &Arc<Shared>,
        name: &Repository,
        target: &Target,
    ) -> Result<(), ApiError> {
        let remote = self.remote(name);
        let (held, known, wanted) = (shared.clone(), name.clone(), target.clone());
        let here = blocking("cannot read a manifest", move || match wanted {
            Target::Tag(tag) => held.storage.tag_read(&known, &tag),
            Target::Digest(digest) => Ok(held.storage.has_manifest(&known, digest).then_some(digest)),
        })
        .await?;
        if let Some(digest) = here {
            let is_current = match target {
                Target::Digest(_) => true,
                Target::Tag(tag) => match remote.manifest_digest(tag).await {
                    Ok(found) => found == digest.sha256(),
                    Err(error) => {
                        tracing::warn!(
                            error = hako_base::error::chain(&error),
                            "the upstream does not answer: what is here is served"
                        );
                        true
                    }
                },
            };
            if is_current {
                let (held, known) = (shared.clone(), name.clone());
                return blocking("cannot keep a manifest", move || held.storage.manifest_freshen(&known, digest)).await;
            }
        }
        let fetched = match remote.manifest(&target.to_string()).await {
            Ok(fetched) => fetched,
            Err(error) => return missing_or(error),
        };
        let subject = Document::parse(&fetched.bytes, &fetched.media_type).ok();
        let subject = subject.and_then(|document| document.subject).map(|subject| subject.digest);
        let (held, known, target) = (shared.clone(), name.clone(), target.clone());
        blocking("cannot keep a manifest", move || {
            let tags: Vec<&str> = match &target {
                Target::Tag(tag) => vec![tag],
                Target::Digest(_) => Vec::new(),
            };
            held.storage.manifest_write(&known, fetched.digest.into(), &fetched.bytes, subject, &tags)
        })
        .await
    }

    /// The tags that the upstream has; `None` if it does not say.
    pub(crate) async fn tags(&self, name: &Repository) -> Option<Vec<String>> {
        let mut tags = self.remote(name).tags().await.ok()?;
        tags.sort_unstable();
        Some(tags)
    }

    /// A blob that is not here: how large it is, for those who only look.
    pub(crate) async fn blob_size(&self, name: &Repository, digest: ContentDigest) -> Result<Option<u64>, ApiError> {
        match self.remote(name).blob_size(digest).await {
            Ok(size) => Ok(size),
            Err(error) => missing_or(error).map(|()| None),
        }
    }

    /// A blob that is not here: joins its download, or begins it. `None`: the upstream does not have it.
    pub(crate) async fn blob(
        &self,
        shared: &Arc<Shared>,
        name: &Repository,
        digest: ContentDigest,
    ) -> Result<Option<Coming>, ApiError> {
        let key = (name.clone(), digest);
        if let Some(coming) = self.coming.lock().get(&key) {
            return Ok(Some(coming.clone()));
        }
        let remote = self.remote(name);
        let reading = match remote.blob(digest, 0).await {
            Ok(reading) => reading,
            Err(error) => return missing_or(error).map(|()| None),
        };
        let size = reading.header("content-length").and_then(|text| text.parse().ok());
        let size = size.ok_or_else(|| bad_gateway("the upstream does not say how large the blob is".to_owned()))?;
        let (held, known, id) = (shared.clone(), name.clone(), super::upload::uuid());
        let begun = blocking("cannot begin a download", move || {
            let upload = held.storage.upload_begin(&known, &id, digest.algorithm())?;
            let file = upload.read()?;
            Ok((upload, file))
        });
        let (upload, file) = begun.await?;
        let (tell, arriving) = watch::channel(Arriving::Here(0));
        let coming = Coming { file: Arc::new(file), size, arriving };
        let other = match self.coming.lock().entry(key.clone()) {
            Entry::Occupied(other) => Some(other.get().clone()),
            Entry::Vacant(place) => {
                place.insert(coming.clone());
                None
            }
        };
        if other.is_some() {
            // Somebody was faster.
            blocking("cannot end a download", move || upload.cancel()).await?;
            return Ok(other);
        }
        let shared = shared.clone();
        tokio::spawn(async move {
            let came = bring(&shared, &remote, reading, upload, &key, size, &tell).await;
            if let Err(why) = &came {
                tracing::warn!(repository = %key.0, digest = %key.1, why, "a blob could not be brought");
            }
            if let Some(upstream) = &shared.upstream {
                upstream.coming.lock().remove(&key);
            }
            tell.send_replace(came.map_or_else(Arriving::Failed, |()| Arriving::Whole));
        });
        Ok(Some(coming))
    }
}

// The whole way of a blob: from the first answer, resumed where it breaks, to its place.
async fn bring(
    shared: &Arc<Shared>,
    remote: &Remote,
    mut reading: crate::client::Reading,
    upload: Upload,
    (name, digest): &(Repository, ContentDigest),
    size: u64,
    tell: &watch::Sender<Arriving>,
) -> Result<(), String> {
    let (sender, chunks) = mpsc::channel(limits::CHUNKS_QUEUED_MAX);
    let writing = tokio::task::spawn_blocking({
        let tell = tell.clone();
        move || write(upload, chunks, &tell)
    });
    let mut pauses = Doubling::new(limits::RETRY_PAUSE, limits::RETRY_PAUSE_MAX);
    let (mut done, mut attempts) = (0_u64, 5);
    let came = loop {
        let failure = loop {
            match reading.chunk().await {
                Ok(Some(chunk)) => {
                    done += chunk.len() as u64;
                    if done > size || sender.send(chunk).await.is_err() {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if done >= size {
            break Ok(());
        }
        attempts -= 1;
        match failure {
            Some(error) if attempts == 0 || !error.is_passing() => break Err(hako_base::error::chain(&error)),
            None if attempts == 0 => break Err("the upstream broke off".to_owned()),
            _ => pause(pauses.next().unwrap_or(limits::RETRY_PAUSE_MAX)).await,
        }
        match remote.blob(*digest, done).await {
            Ok(next) if next.status == hyper::StatusCode::PARTIAL_CONTENT || done == 0 => reading = next,
            Ok(_) => break Err("the upstream broke off and does not resume".to_owned()),
            Err(error) => break Err(hako_base::error::chain(&error)),
        }
    };
    drop(sender);
    let (upload, written) = writing.await.map_err(|error| error.to_string())?;
    let (held, name, digest) = (shared.clone(), name.clone(), *digest);
    let kept = tokio::task::spawn_blocking(move || {
        let failed = |error: io::Error| error.to_string();
        let checked = came.and_then(|()| written.map_err(failed)).and_then(|()| {
            let found = upload.digest(digest.algorithm()).map_err(failed)?;
            if found == digest { Ok(()) } else { Err(format!("the upstream sent {found} for {digest}")) }
        });
        match checked {
            Ok(()) => held.storage.upload_finish(&name, upload, digest).map_err(failed),
            Err(why) => upload.cancel().map_err(failed).and(Err(why)),
        }
    });
    kept.await.map_err(|error| error.to_string())?
}

fn write(
    mut upload: Upload,
    mut chunks: mpsc::Receiver<bytes::Bytes>,
    tell: &watch::Sender<Arriving>,
) -> (Upload, io::Result<()>) {
    let mut all = || -> io::Result<()> {
        let mut file = upload.open()?;
        while let Some(chunk) = chunks.blocking_recv() {
            if upload.append(&mut file, &chunk)? == Appended::TooLong {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            tell.send_replace(Arriving::Here(upload.size));
        }
        Ok(())
    };
    let written = all();
    (upload, written)
}

// What the upstream does not have is not here either; whatever else it says is its own fault.
fn missing_or(error: RegistryError) -> Result<(), ApiError> {
    match &error {
        RegistryError::Said { status: 404, .. } => Ok(()),
        RegistryError::Said { status: status @ (401 | 403), .. } => {
            Err(bad_gateway(format!("the upstream refuses ({status}): see REGISTRY_PROXY_USERNAME")))
        }
        _ => Err(bad_gateway(hako_base::error::chain(&error))),
    }
}

fn bad_gateway(why: String) -> ApiError {
    ApiError::new(hyper::StatusCode::BAD_GATEWAY, "UNKNOWN", why)
}
