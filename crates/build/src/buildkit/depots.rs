//! `--cache-from` and `--cache-to` of BuildKit's clients: depots in registries, in directories of the client's, and in
//! images.
//!
//! A depot that cannot be read is told and done without. One that cannot be written fails the build, as in BuildKit,
//! unless `ignore-error` says otherwise: whoever asked for it counts on it.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use base64::Engine as _;
use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptionsEntry, SolveRequest};
use bytes::Bytes;
use hako_archive::content::CACHE;
use hako_base::error::chain;
use hako_engine::view::{ArtifactBlob, Credentials};
use hako_image::WantedLayer;
use hako_model::{Digest, Platform, Reference};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    BuildKit,
    bridge::failed,
    content::ContentStore,
    news::{self, Teller},
    session::SessionSecrets,
    solves::Solve,
};
use crate::{
    depot::{
        ACTIONS_ATTRIBUTES, ACTIONS_SCOPE, Actions, ActionsPlace, Blob, BlobFuture, CONFIG, Depot, Extent,
        RegistrySource, RemoteLayer, S3, S3_ATTRIBUTES, S3Place, Source, Written, reader,
    },
    event::Progress,
    limits,
    request::Secrets,
    solve::{Built, blocking},
};

/// Where an image carries the document of its own depot, in base64; BuildKit's name of it.
const INLINE: &str = "moby.buildkit.cache.v0";

/// One `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Export {
    place: Place,
    all: bool,
    mounts: bool,
    as_index: bool,
    may_fail: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Inline,
    Registry(Reference),
    /// A store of the client's.
    Local(String),
    Actions(ActionsPlace),
    S3(S3Place),
}

impl Export {
    /// Everything that a request wants left somewhere.
    pub(super) fn all(request: &SolveRequest) -> Result<Vec<Self>, Status> {
        let entries = request.cache.iter().flat_map(|cache| &cache.exports);
        let mut all = entries.map(Self::one).collect::<Result<Vec<_>, _>>()?;
        let asked = request.frontend_attrs.get("build-arg:BUILDKIT_INLINE_CACHE");
        if asked.is_some_and(|value| matches!(value.as_str(), "1" | "true")) {
            all.push(Self { place: Place::Inline, all: false, mounts: false, as_index: false, may_fail: false });
        }
        Ok(all)
    }

    pub(super) fn is_inline(&self) -> bool {
        self.place == Place::Inline
    }

    /// Whether every step is wanted there.
    pub(super) fn is_complete(&self) -> bool {
        self.all
    }

    fn one(entry: &CacheOptionsEntry) -> Result<Self, Status> {
        let text = |key: &str| entry.attrs.get(key).map_or("", String::as_str);
        let flag = |key: &str, default: bool| match text(key) {
            "" => Ok(default),
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => {
                Err(Status::invalid_argument(format!("invalid {key}={other} in --cache-to: expected true or false")))
            }
        };
        let kind = entry.r#type.as_str();
        let (place, known): (Place, &[&str]) = match kind {
            "inline" => (Place::Inline, &[]),
            "registry" => (Place::Registry(reference(text("ref"))?), &["ref", "registry.insecure"]),
            "local" if text("dest").is_empty() => {
                return Err(Status::invalid_argument("--cache-to type=local needs dest"));
            }
            "local" => (Place::Local(format!("{CACHE}{}", text("dest"))), &["dest", "tag"]),
            "gha" => {
                let place = ActionsPlace::parse(&entry.attrs).map_err(Status::invalid_argument)?;
                (Place::Actions(place), ACTIONS_ATTRIBUTES)
            }
            "s3" => (Place::S3(S3Place::parse(&entry.attrs).map_err(Status::invalid_argument)?), S3_ATTRIBUTES),
            other => return Err(Status::unimplemented(format!("--cache-to type={other} is not built yet"))),
        };
        let common = ["mode", "mounts", "image-manifest", "oci-mediatypes", "ignore-error"];
        if let Some(key) =
            entry.attrs.keys().find(|key| !known.contains(&key.as_str()) && !common.contains(&key.as_str()))
        {
            return Err(Status::unimplemented(format!("--cache-to type={kind} with {key} is not built yet")));
        }
        let all = match (text("mode"), &place) {
            ("" | "min", _) => false,
            ("max", Place::Inline) => {
                return Err(Status::invalid_argument(
                    "--cache-to type=inline has no mode=max: an image has the layers of its own stage only",
                ));
            }
            ("max", _) => true,
            (other, _) => {
                return Err(Status::invalid_argument(format!(
                    "invalid mode={other} in --cache-to: expected min or max"
                )));
            }
        };
        Ok(Self {
            place,
            all,
            mounts: flag("mounts", false)?,
            as_index: !flag("image-manifest", true)?,
            may_fail: flag("ignore-error", false)?,
        })
    }
}

fn reference(text: &str) -> Result<Reference, Status> {
    let parsed: Result<Reference, _> = text.parse();
    let parsed = parsed.map_err(|error| Status::invalid_argument(format!("the cache's ref {text:?}: {error}")))?;
    Ok(parsed.with_default_tag())
}

/// A manifest or an index, as far as a depot needs it.
#[derive(Deserialize)]
struct Document {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    size: u64,
    platform: Option<DescriptorPlatform>,
}

#[derive(Clone, Deserialize)]
struct DescriptorPlatform {
    architecture: String,
}

impl Document {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("the manifest is malformed: {error}"))
    }

    /// The cache configuration that it names.
    fn config(&self) -> Option<&Descriptor> {
        self.config.iter().chain(&self.manifests).find(|one| one.media_type == CONFIG)
    }

    /// The image of an index that this machine runs.
    fn own(&self) -> Option<&Descriptor> {
        let host = Platform::host().architecture;
        let mut all = self.manifests.iter();
        all.find(|one| one.platform.as_ref().is_none_or(|platform| platform.architecture == host))
    }
}

/// The document that an image's configuration carries, and the layers that it names.
fn carried(config: &[u8]) -> Result<(Vec<u8>, Vec<Digest>), String> {
    let config: serde_json::Value =
        serde_json::from_slice(config).map_err(|error| format!("the configuration is malformed: {error}"))?;
    let text = config[INLINE].as_str().ok_or("the image carries no cache")?;
    let document = base64::engine::general_purpose::STANDARD.decode(text);
    let document = document.map_err(|error| format!("the image's cache is malformed: {error}"))?;
    let diff_ids = config["rootfs"]["diff_ids"].as_array().into_iter().flatten();
    Ok((document, diff_ids.filter_map(|text| text.as_str()?.parse().ok()).collect()))
}

/// Layers that are all here.
struct Here;

impl Source for Here {
    fn blob(&self, blob: Blob) -> BlobFuture<'_> {
        Box::pin(async move { Err(format!("the layer {} is gone", blob.digest)) })
    }
}

/// Blobs of a store of the client's.
pub(super) struct ClientSource(pub(super) ContentStore);

impl Source for ClientSource {
    fn blob(&self, blob: Blob) -> BlobFuture<'_> {
        let store = self.0.clone();
        Box::pin(async move {
            Ok(reader(|sender| async move {
                if let Err(status) = store.read(blob.digest, sender.clone()).await {
                    let _ = sender.send(Err(io::Error::other(status.message().to_owned()))).await;
                }
            }))
        })
    }
}

// A file, piece by piece.
fn pieces(mut file: File) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, chunks) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(limits::DEPOT_PIECE_BYTES);
            let read = (&mut file).take(limits::DEPOT_PIECE_BYTES as u64).read_to_end(&mut piece);
            match read {
                Ok(0) => return,
                read => {
                    let piece = read.map(|_| piece.into());
                    let is_end = piece.is_err();
                    if sender.blocking_send(piece).is_err() || is_end {
                        return;
                    }
                }
            }
        }
    });
    chunks
}

impl BuildKit {
    /// The depots that a build takes from. Those that cannot be read are told, and left out.
    pub(super) async fn depots(
        &self,
        solve: &Solve,
        imports: &[CacheOptionsEntry],
        progress: &Progress,
    ) -> Result<Vec<Arc<Depot>>, Status> {
        let mut depots = Vec::new();
        for (number, entry) in imports.iter().enumerate() {
            let attribute = |key: &str| entry.attrs.get(key).map_or("", String::as_str);
            let vertex = news::DEPOT - number as u64;
            let title = |from: &str| format!("importing cache manifest from {from}");
            let one = |depot| vec![depot];
            let found = match entry.r#type.as_str() {
                "registry" => {
                    let name = reference(attribute("ref"))?;
                    let reading = self.registry_depot(solve, &name);
                    news::around(progress, vertex, &title(attribute("ref")), reading).await.map(one)
                }
                "local" => {
                    let reading = self.local_depot(solve, attribute("src"), attribute("digest"));
                    let title = title(&format!("local:{}", attribute("src")));
                    news::around(progress, vertex, &title, reading).await.map(one)
                }
                "gha" => {
                    let scope = Some(attribute("scope")).filter(|scope| !scope.is_empty()).unwrap_or(ACTIONS_SCOPE);
                    let title = title(&format!("gha:{scope}"));
                    news::around(progress, vertex, &title, self.actions_depots(&entry.attrs)).await
                }
                "s3" => {
                    let title = title(&format!("s3:{}", attribute("bucket")));
                    news::around(progress, vertex, &title, self.s3_depots(&entry.attrs)).await
                }
                other => return Err(Status::unimplemented(format!("--cache-from type={other} is not built yet"))),
            };
            depots.extend(found.into_iter().flatten().map(Arc::new));
        }
        Ok(depots)
    }

    async fn registry_depot(&self, solve: &Solve, name: &Reference) -> Result<Depot, String> {
        if let Some(depot) = self.0.builder.image_depot(&name.familiar()) {
            return Ok(depot);
        }
        let engine = self.0.builder.engine().clone();
        let credentials = self.credentials(solve, name).await.map_err(|status| status.message().to_owned())?;
        let said = |error: hako_engine::EngineError| chain(&error);
        let mut manifest = engine.artifact_manifest(name, &credentials).await.map_err(said)?;
        let mut document = Document::parse(&manifest.bytes)?;
        if let (None, Some(own)) = (document.config(), document.own()) {
            let own = name.with_digest(own.digest);
            manifest = engine.artifact_manifest(&own, &credentials).await.map_err(said)?;
            document = Document::parse(&manifest.bytes)?;
        }
        let wanted = document.config().or(document.config.as_ref()).ok_or("the manifest names no configuration")?;
        let bytes = engine.artifact_document(name, (wanted.digest, wanted.size), &credentials).await.map_err(said)?;
        let shown = name.familiar();
        let source = |name: &Reference| {
            Box::new(RegistrySource { engine: engine.clone(), name: name.clone(), credentials: credentials.clone() })
        };
        if wanted.media_type == CONFIG {
            return Depot::read(&shown, &bytes, &[], source(name));
        }
        let (bytes, diff_ids) = carried(&bytes)?;
        let layers = document.layers.iter().zip(diff_ids);
        let layers: Vec<RemoteLayer> = layers
            .map(|(layer, diff_id)| RemoteLayer {
                wanted: WantedLayer { diff_id, blob: layer.digest },
                size: layer.size,
            })
            .collect();
        Depot::read(&shown, &bytes, &layers, source(name))
    }

    async fn local_depot(&self, solve: &Solve, directory: &str, digest: &str) -> Result<Depot, String> {
        let said = |status: Status| status.message().to_owned();
        let digest: Digest = digest.parse().map_err(|_| format!("{directory} has no cache"))?;
        let session = self.0.sessions.get(&solve.session).await.map_err(said)?;
        let store = ContentStore::new(&session, &format!("{CACHE}{directory}"));
        let document = Document::parse(&store.document(digest).await.map_err(said)?)?;
        let config = document.config().ok_or("the manifest is none of a cache")?;
        let bytes = store.document(config.digest).await.map_err(said)?;
        Depot::read(directory, &bytes, &[], Box::new(ClientSource(store)))
    }

    async fn actions_depots(&self, attributes: &HashMap<String, String>) -> Result<Vec<Depot>, String> {
        let place = ActionsPlace::parse(attributes)?;
        Actions::new(self.0.builder.engine().clone(), place).depots().await
    }

    async fn s3_depots(&self, attributes: &HashMap<String, String>) -> Result<Vec<Depot>, String> {
        S3::new(self.0.builder.engine().clone(), S3Place::parse(attributes)?).depots().await
    }

    /// Who the client is at the registry of a name.
    pub(super) async fn credentials(&self, solve: &Solve, name: &Reference) -> Result<Credentials, Status> {
        if solve.session.is_empty() {
            return Ok(Credentials::default());
        }
        let secrets = SessionSecrets(Some(self.0.sessions.get(&solve.session).await?));
        Ok(secrets.credentials(name.domain()).await)
    }

    /// Leaves what was built in depots; answers what the client has to write down itself.
    pub(super) async fn leave(
        &self,
        solve: &Solve,
        built: &[Arc<Built>],
        exports: &[Export],
    ) -> Result<HashMap<String, String>, Status> {
        news::told(solve, Teller::default(), |progress| async move {
            let mut answer = HashMap::new();
            for (number, export) in exports.iter().enumerate() {
                let title = match &export.place {
                    Place::Inline => continue,
                    Place::Registry(_) => "exporting cache to registry",
                    Place::Local(_) => "exporting cache to client directory",
                    Place::Actions(_) => "exporting to GitHub Actions Cache",
                    Place::S3(_) => "exporting cache to Amazon S3",
                };
                let vertex = news::DEPOT - 1000 - number as u64;
                match news::around(&progress, vertex, title, self.leave_one(solve, built, export)).await {
                    Ok(Some(manifest)) => drop(answer.insert("cache.manifest".to_owned(), manifest)),
                    Ok(None) => {}
                    Err(_) if export.may_fail => {}
                    Err(status) => return Err(status),
                }
            }
            Ok(answer)
        })
        .await
    }

    async fn leave_one(&self, solve: &Solve, built: &[Arc<Built>], export: &Export) -> Result<Option<String>, Status> {
        let (builder, results) = (self.0.builder.clone(), built.to_vec());
        let extent = Extent { all: export.all, mounts: export.mounts };
        let written = blocking(move || builder.depot_write(&results, extent)).await.map_err(|error| failed(&error))?;
        let (media_type, manifest) = written.manifest(export.as_index);
        match &export.place {
            Place::Inline => Ok(None),
            Place::Registry(name) => {
                let credentials = self.credentials(solve, name).await?;
                let blobs = artifact(written).map_err(|error| failed(&error))?;
                let engine = self.0.builder.engine().clone();
                let name = name.clone();
                // A task of its own, as a push is.
                let sending = tokio::spawn(async move {
                    engine.artifact_put(&name, blobs, (media_type, &manifest), &credentials).await
                });
                let sent = sending.await.map_err(|_| Status::aborted("the export was cancelled"))?;
                sent.map(|_| None).map_err(|error| Status::unknown(chain(&error)))
            }
            Place::Actions(place) => {
                let actions = Actions::new(self.0.builder.engine().clone(), place.clone());
                let config = Bytes::from(written.config.clone());
                let blobs = written.files().map_err(|error| failed(&error))?;
                actions.leave(blobs, config).await.map(|()| None).map_err(Status::unknown)
            }
            Place::S3(place) => {
                let bucket = S3::new(self.0.builder.engine().clone(), place.clone());
                let config = Bytes::from(written.config.clone());
                let blobs = written.files().map_err(|error| failed(&error))?;
                bucket.leave(blobs, config).await.map(|()| None).map_err(Status::unknown)
            }
            Place::Local(store) => {
                let session = self.0.sessions.get(&solve.session).await?;
                let store = ContentStore::new(&session, store);
                let config = Bytes::from(written.config.clone());
                for (blob, file) in written.files().map_err(|error| failed(&error))? {
                    store.write(blob.digest, blob.size, pieces(file)).await?;
                }
                let digest = crate::cache::digest(&manifest);
                let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": manifest.len() });
                for document in [config, manifest.into()] {
                    let (sender, chunks) = mpsc::channel(1);
                    let (digest, size) = (crate::cache::digest(&document), document.len() as u64);
                    let _ = sender.send(Ok(document)).await;
                    drop(sender);
                    store.write(digest, size, chunks).await?;
                }
                Ok(Some(descriptor.to_string()))
            }
        }
    }
}

// Everything that a registry is to have before the manifest.
fn artifact(written: Written) -> Result<Vec<ArtifactBlob>, crate::BuildError> {
    let of_file =
        |(blob, file): (Blob, File)| ArtifactBlob::File { digest: blob.digest, size: blob.size, file: Arc::new(file) };
    let config = ArtifactBlob::Bytes(written.config.clone().into());
    Ok(written.files()?.into_iter().map(of_file).chain([config]).collect())
}

impl crate::Builder {
    /// Whether an image of this name is here.
    pub fn has_image(&self, name: &str) -> bool {
        self.engine().image_for_build(name).is_ok()
    }

    /// The depot that an image carries which is here.
    pub fn image_depot(&self, name: &str) -> Option<Depot> {
        let image = self.engine().image_for_build(name).ok()?;
        let (document, _) = carried(&image.raw_config).ok()?;
        let blobs = self.engine().image_store().stack_blobs(image.chain_id);
        let layers: Vec<RemoteLayer> = blobs.iter().map(RemoteLayer::from).collect();
        Depot::read(name, &document, &layers, Box::new(Here)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, attributes: &[(&str, &str)], expected: &str) {
        let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let got = match Export::one(&CacheOptionsEntry { r#type: kind.to_owned(), attrs }) {
            Ok(export) => {
                format!("{:?} all={} mounts={} index={}", export.place, export.all, export.mounts, export.as_index)
            }
            Err(status) => status.message().to_owned(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn what_a_depot_is_asked_for_is_understood_or_refused() {
        check("inline", &[], "Inline all=false mounts=false index=false");
        check(
            "local",
            &[("dest", "d"), ("mode", "max"), ("mounts", "true")],
            "Local(\"local:d\") all=true mounts=true index=false",
        );
        check(
            "local",
            &[("dest", "d"), ("image-manifest", "false")],
            "Local(\"local:d\") all=false mounts=false index=true",
        );
        check("local", &[], "--cache-to type=local needs dest");
        check("gha", &[], "url not set for github actions cache");
        check("s3", &[], "bucket ($AWS_BUCKET) not set for s3 cache");
        check("azblob", &[], "--cache-to type=azblob is not built yet");
        check(
            "local",
            &[("dest", "d"), ("compression", "zstd")],
            "--cache-to type=local with compression is not built yet",
        );
        check("local", &[("dest", "d"), ("mode", "most")], "invalid mode=most in --cache-to: expected min or max");
        check(
            "local",
            &[("dest", "d"), ("mounts", "perhaps")],
            "invalid mounts=perhaps in --cache-to: expected true or false",
        );
    }
}
