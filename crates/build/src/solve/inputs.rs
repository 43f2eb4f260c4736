//! What other builds of the client's came to, as images that a Dockerfile names (`--build-context NAME=target:…` of
//! bake): their layers are here, and their builds hold them.

use std::sync::Arc;

use hako_image::Image;

use super::Solving;
use crate::error::BuildError;

/// How the place of such an image begins: `hako-input://NAME`.
pub(crate) const PREFIX: &str = "hako-input://";

impl Solving {
    /// The image of an input; `name` is what follows the prefix.
    pub(super) fn of_input(&self, name: &str) -> Result<Arc<Image>, BuildError> {
        let built = self.request.inputs.get(name);
        let built = built.ok_or_else(|| BuildError::invalid(format!("the client gives no input {name}")))?;
        for material in &built.trail.materials {
            self.note_material(material.clone());
        }
        let image = self.store().image_of(self.store().built_config(&built.image))?;
        Ok(Arc::new(image))
    }
}
