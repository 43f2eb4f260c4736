//! What a front end of the client's asks of images before it makes a graph of them: digest and configuration.
//!
//! An image that is here answers, unless the registry is to be asked (`pull`) or the platform is another; else the
//! registry does, with the client's credentials, and nothing of the image is brought.

use bollard_buildkit_proto::{
    moby::buildkit::v1::frontend::{
        ResolveImageConfigRequest, ResolveImageConfigResponse, ResolveSourceImageResponse, ResolveSourceMetaRequest,
        ResolveSourceMetaResponse,
    },
    pb,
};
use hako_archive::content::LAYOUT;
use hako_base::{ErrorKind, error::chain};
use hako_engine::EngineError;
use hako_image::{Lead, Promised};
use hako_model::{Digest, Platform, Reference};
use tonic::Status;

use super::{BuildKit, content::ContentStore, solves::Solve};

/// The resolver of images in a client's layouts, by its number.
const OF_LAYOUT: i32 = 1;
/// The mode in which the registry is asked whatever is here.
const PULL: &str = "pull";

/// An image, as far as a front end has to know it.
struct Meta {
    /// Its name as a whole.
    name: String,
    /// What a registry knows it by; nothing: none does.
    digest: Option<Digest>,
    config: Vec<u8>,
}

/// How an image is looked for.
struct Look<'l> {
    platform: Option<&'l pb::Platform>,
    mode: &'l str,
}

impl BuildKit {
    /// Of an image by its name.
    pub(super) async fn meta_of_image(
        &self,
        solve: &Solve,
        request: &ResolveImageConfigRequest,
    ) -> Result<ResolveImageConfigResponse, Status> {
        let platform = request.platform.as_ref();
        let meta = if request.resolver_type == OF_LAYOUT {
            let session = if request.session_id.is_empty() { &solve.session } else { &request.session_id };
            self.in_layout(session, &request.store_id, &request.r#ref, platform).await?
        } else {
            self.by_name(solve, &request.r#ref, Look { platform, mode: &request.resolve_mode }).await?
        };
        let digest = meta.digest.map(|digest| digest.to_string()).unwrap_or_default();
        Ok(ResolveImageConfigResponse { digest, config: meta.config, r#ref: meta.name })
    }

    /// Of a source of a graph. What there is of other kinds shows when it is fetched.
    pub(super) async fn meta_of_source(
        &self,
        solve: &Solve,
        request: ResolveSourceMetaRequest,
    ) -> Result<ResolveSourceMetaResponse, Status> {
        let source = request.source.ok_or_else(|| Status::invalid_argument("source is required"))?;
        let platform = request.platform.as_ref();
        let meta = match source.identifier.split_once("://") {
            Some(("docker-image", name)) => {
                let of_source = source.attrs.get("image.resolvemode").map_or("", String::as_str);
                let mode = if request.resolve_mode.is_empty() { of_source } else { &request.resolve_mode };
                self.by_name(solve, name, Look { platform, mode }).await?
            }
            Some(("oci-layout", name)) => {
                let attribute = |key: &str| source.attrs.get(key).filter(|value| !value.is_empty());
                let session = attribute("oci.session").unwrap_or(&solve.session);
                let store = attribute("oci.store").ok_or_else(|| Status::invalid_argument("oci.store is required"))?;
                self.in_layout(session, store, name, platform).await?
            }
            _ => {
                let text = format!("ResolveSourceMeta of {} is not built: of images it is", source.identifier);
                return Err(Status::unimplemented(text));
            }
        };
        let wants_config = !request.image.is_some_and(|image| image.no_config);
        let image = ResolveSourceImageResponse {
            digest: meta.digest.map(|digest| digest.to_string()).unwrap_or_default(),
            config: if wants_config { meta.config } else { Vec::new() },
            ..ResolveSourceImageResponse::default()
        };
        Ok(ResolveSourceMetaResponse { source: Some(source), image: Some(image), ..Default::default() })
    }

    async fn by_name(&self, solve: &Solve, name: &str, look: Look<'_>) -> Result<Meta, Status> {
        let reference: Reference =
            name.parse().map_err(|error| Status::invalid_argument(format!("failed to parse {name:?}: {error}")))?;
        let reference = reference.with_default_tag();
        let wanted = look.platform.map(platform);
        let engine = self.0.builder.engine();
        if look.mode != PULL
            && let Ok(image) = engine.image_for_build(&reference.to_string())
            && wanted.as_ref().is_none_or(|wanted| wanted.architecture == image.platform.architecture)
        {
            let is_of = |known: &&Reference| (known.domain(), known.path()) == (reference.domain(), reference.path());
            let digest = image.repo_digests.iter().find(is_of).and_then(Reference::digest);
            return Ok(Meta { name: reference.to_string(), digest, config: image.raw_config.to_vec() });
        }
        let credentials = self.credentials(solve, &reference).await?;
        let platform = wanted.unwrap_or_else(Platform::host);
        let (asked, of) = (engine.clone(), reference.clone());
        // A task of its own, as a pull is.
        let mut asking = tokio::task::JoinSet::new();
        asking.spawn(async move { asked.distribution_config(&of, &platform, &credentials).await });
        let found = asking.join_next().await.and_then(Result::ok);
        let found = found.ok_or_else(|| Status::cancelled("the build was cancelled"))?;
        let (digest, config) = found.map_err(|error| unresolved(&reference, &error))?;
        Ok(Meta { name: reference.to_string(), digest: Some(digest), config })
    }

    async fn in_layout(
        &self,
        session: &str,
        store: &str,
        name: &str,
        wanted: Option<&pb::Platform>,
    ) -> Result<Meta, Status> {
        let top = name.rsplit_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok());
        let top = top.ok_or_else(|| Status::invalid_argument(format!("the OCI layout {name}: it has no digest")))?;
        let store = ContentStore::new(&self.0.sessions.get(session).await?, &format!("{LAYOUT}{store}"));
        let platform = wanted.map_or_else(Platform::host, platform);
        let mut next = Promised { digest: top, size: 0 };
        for _ in 0..=hako_image::limits::INDEX_DEPTH_MAX {
            let bytes = store.document(next.digest).await?;
            let lead = Lead::read(&bytes, &platform);
            match lead.map_err(|error| Status::unknown(format!("the OCI layout {name}: {}", chain(&error))))? {
                Lead::Document(lead) => next = lead,
                Lead::Image { config, .. } => {
                    let config = store.document(config.digest).await?;
                    return Ok(Meta { name: name.to_owned(), digest: Some(top), config });
                }
            }
        }
        Err(Status::unknown(format!("the OCI layout {name}: its indexes are nested too deep")))
    }
}

fn platform(said: &pb::Platform) -> Platform {
    let variant = Some(said.variant.clone()).filter(|variant| !variant.is_empty());
    Platform { os: said.os.clone(), architecture: said.architecture.clone(), variant }
}

fn unresolved(name: &Reference, error: &EngineError) -> Status {
    match error.kind() {
        ErrorKind::NotFound => Status::not_found(format!("{name}: not found")),
        _ => Status::unknown(format!("failed to resolve source metadata for {name}: {}", chain(error))),
    }
}
