//! Images in OCI layouts of the client's (`--build-context NAME=oci-layout://…`): brought blob by blob over its session.
//!
//! Their layers are kept as those of steps are. There is no record of the image: what stands on it is one.

use std::{io::Read, sync::Arc};

use hako_engine::view::Progress as Step;
use hako_image::{Image, ImageError, Lead, Promised, Reception, WantedLayer};
use hako_model::{Digest, Platform};

use super::{Solving, blocking, now};
use crate::{
    attest::Material,
    cache::digest,
    depot::{Blob, Source},
    error::BuildError,
    event::Event,
    limits,
};

/// How the place of such an image begins: `oci-layout://STORE[:TAG]@DIGEST`.
pub(super) const PREFIX: &str = "oci-layout://";

impl Solving {
    /// The image of a layout; `place` is what follows the prefix.
    pub(super) async fn of_layout(
        &self,
        place: &str,
        platform: Option<Platform>,
        line: usize,
    ) -> Result<Arc<Image>, BuildError> {
        let name = self.name_of_layout(place);
        let failed = |why: String| BuildError::invalid(format!("the OCI layout {name}: {why}"));
        let (store, digest) = place.rsplit_once('@').unwrap_or((place, ""));
        let store = store.split(':').next().unwrap_or_default();
        let top: Digest = digest.parse().map_err(|_| failed(format!("{digest:?} is no digest")))?;
        let source = self.request.secrets.layout(store).ok_or_else(|| failed("the client offers none".to_owned()))?.0;
        let platform = platform.unwrap_or_else(Platform::host);
        let image = self.bring_layout(&*source, top, &platform, line).await.map_err(failed)?;
        self.note_material(Material::layout(&name, &crate::plan::platform_text(&image.platform), top));
        Ok(image)
    }

    // As the command line calls it: the store's name is only for this build.
    fn name_of_layout(&self, place: &str) -> String {
        let mut named = self.request.images.iter();
        let own = named.find(|(_, known)| known.strip_prefix(PREFIX) == Some(place));
        own.map_or_else(|| place.to_owned(), |(name, _)| name.clone())
    }

    async fn bring_layout(
        &self,
        source: &dyn Source,
        top: Digest,
        platform: &Platform,
        line: usize,
    ) -> Result<Arc<Image>, String> {
        let mut next = Promised { digest: top, size: 0 };
        for _ in 0..=hako_image::limits::INDEX_DEPTH_MAX {
            let bytes = document(source, next).await?;
            let (config, layers) = match Lead::read(&bytes, platform).map_err(said)? {
                Lead::Document(lead) => {
                    next = lead;
                    continue;
                }
                Lead::Image { config, layers } => (config, layers),
            };
            let config = document(source, config).await?;
            let stack = self.bring_layers(source, &config, &layers, line).await?;
            self.keep_stack(stack, "layers of an OCI layout");
            return self.store().image_of(config).map(Arc::new).map_err(said);
        }
        Err("its indexes are nested too deep".to_owned())
    }

    async fn bring_layers(
        &self,
        source: &dyn Source,
        config: &[u8],
        layers: &[Promised],
        line: usize,
    ) -> Result<Option<Digest>, String> {
        let diff_ids = Reception::diff_ids(config).map_err(said)?;
        if diff_ids.len() != layers.len() {
            return Err(format!("it has {} layers and its configuration {}", layers.len(), diff_ids.len()));
        }
        let vertex = self.vertex(line).map_or(0, |vertex| vertex.id);
        let mut stack = None;
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let tell = async |status: &str, current: u64| {
                let (id, status) = (layer.digest.short(), status.to_owned());
                let step = Step { id, status, current, total: layer.size, ..Step::default() };
                self.progress.tell(Event::Pull { id: vertex, step, at: now() }).await;
            };
            if let Some(there) = self.store().stack_with(stack, diff_id, &self.hold) {
                tell("Already exists", layer.size).await;
                stack = Some(there);
                continue;
            }
            tell("Downloading", 0).await;
            let input = source.blob(Blob { digest: layer.digest, size: layer.size }).await?;
            let (store, hold, wanted) =
                (self.store().clone(), self.hold.clone(), WantedLayer { diff_id, blob: layer.digest });
            let below = stack;
            stack = Some(blocking(move || store.layer_take(below, wanted, input, &hold)).await.map_err(said)?);
            tell("Pull complete", layer.size).await;
        }
        Ok(stack)
    }
}

fn said(error: ImageError) -> String {
    match error {
        // It is no archive, but wrong in the same ways.
        ImageError::Archive { why } => why,
        other => hako_base::error::chain(&other),
    }
}

// A small blob as a whole, verified.
async fn document(source: &dyn Source, wanted: Promised) -> Result<Vec<u8>, String> {
    let input = source.blob(Blob { digest: wanted.digest, size: wanted.size }).await?;
    let most = limits::DEPOT_DOCUMENT_BYTES_MAX;
    let bytes = blocking(move || {
        let mut bytes = Vec::new();
        input.take(most as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = bytes.await.map_err(|error| error.to_string())?;
    let found = digest(&bytes);
    match bytes.len() <= most && found == wanted.digest {
        true => Ok(bytes),
        false if bytes.len() > most => Err(format!("{} is no document: it is too large", wanted.digest)),
        false => Err(format!("a document is {found}, not {}", wanted.digest)),
    }
}
