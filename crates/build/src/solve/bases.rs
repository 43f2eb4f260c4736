//! Images that a Dockerfile names: those that are here, and those that a registry has.
//!
//! One name means one image for a whole build, however often it is named and whatever a registry says meanwhile.

use std::{collections::HashMap, sync::Arc};

use hako_engine::{EngineError, view::Credentials};
use hako_image::Image;
use hako_model::{Digest, Platform, Reference};
use parking_lot::Mutex;
use tokio::{
    sync::{OnceCell, mpsc},
    task::JoinSet,
};

use super::{Solving, inputs, layout, now};
use crate::{error::BuildError, event::Event};

/// News of a pull that wait for a slow reader.
const QUEUED: usize = 64;

type Found = Arc<OnceCell<Arc<Image>>>;

/// What was found so far, by name and platform.
#[derive(Default)]
pub(super) struct Bases(Mutex<HashMap<(String, Option<Platform>), Found>>);

impl Solving {
    /// An image that the Dockerfile names on this line; its layers stay for as long as the build lasts.
    pub(super) async fn find_image(
        &self,
        name: &str,
        platform: Option<Platform>,
        line: usize,
    ) -> Result<Arc<Image>, BuildError> {
        let found = self.bases.0.lock().entry((name.to_owned(), platform.clone())).or_default().clone();
        let image = found.get_or_try_init(|| self.here_or_pulled(name, platform, line)).await?;
        Ok(image.clone())
    }

    async fn here_or_pulled(
        &self,
        name: &str,
        platform: Option<Platform>,
        line: usize,
    ) -> Result<Arc<Image>, BuildError> {
        let engine = self.builder.engine();
        if let Some(place) = name.strip_prefix(layout::PREFIX) {
            return self.of_layout(place, platform, line).await;
        }
        if let Some(input) = name.strip_prefix(inputs::PREFIX) {
            return self.of_input(input);
        }
        let here = engine.image_for_build(name);
        let is_other =
            |image: &Image| platform.as_ref().is_some_and(|wanted| wanted.architecture != image.platform.architecture);
        match here {
            Ok(image) if !self.request.pull && !is_other(&image) => {
                self.note_image_used(name, &image, None);
                return Ok(image);
            }
            // An id is of this host: no registry knows it.
            Ok(image) if is_id(name) => return Ok(image),
            Ok(_) | Err(EngineError::NoImage { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (id, top) = self.pull(name, platform, line).await?;
        let image = engine.image_for_build(&id.to_string())?;
        // Before anybody can remove it.
        self.hold.stack(image.chain_id);
        self.note_image_used(name, &image, Some(top));
        Ok(image)
    }

    // Answers the image's id, and what the registry knows it by.
    async fn pull(&self, name: &str, platform: Option<Platform>, line: usize) -> Result<(Digest, Digest), BuildError> {
        let engine = self.builder.engine().clone();
        let credentials = match name.parse::<Reference>() {
            Ok(reference) => self.request.secrets.credentials(reference.domain()).await,
            Err(_) => Credentials::default(),
        };
        let id = self.vertex(line).map_or(0, |vertex| vertex.id);
        let (send, mut steps) = mpsc::channel(QUEUED);
        let telling = async {
            while let Some(step) = steps.recv().await {
                self.progress.tell(Event::Pull { id, step, at: now() }).await;
            }
        };
        // A task of its own: below a build's futures its own would overflow the stack of a thread. It ends with the set.
        let mut pulling = JoinSet::new();
        let name = name.to_owned();
        pulling.spawn(async move { engine.image_pull_for_build(&name, platform, credentials, send).await });
        let (pulled, ()) = tokio::join!(pulling.join_next(), telling);
        match pulled {
            Some(Ok(pulled)) => Ok(pulled?),
            _ => Err(BuildError::Cancelled),
        }
    }
}

fn is_id(name: &str) -> bool {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
