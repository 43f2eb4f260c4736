//! `history`: the lines of a configuration with the sizes of the layers they made, newest first.

use hako_model::{Digest, ImageHistory};

use super::Store;
use crate::{
    ImageError,
    catalog::chain_ids,
    config::{Document, instant},
};

impl Store {
    /// The history of an image, newest line first.
    ///
    /// # Errors
    /// When there is no such image, or it has more layers than lines that say so.
    pub fn history(&self, name: &str) -> Result<Vec<ImageHistory>, ImageError> {
        let image = self.resolve(name)?;
        let damaged = |why: &str| ImageError::Config { image: image.id.to_string(), why: why.to_owned() };
        let document = Document::parse(&image.raw_config).map_err(|error| damaged(&error.to_string()))?;
        let catalog = self.inner.catalog.read();
        let mut chain = chain_ids(&image.diff_ids).into_iter();
        let mut lines = Vec::with_capacity(document.history.len());
        for line in &document.history {
            let size = if line.empty_layer {
                0
            } else {
                let layer = chain.next().ok_or_else(|| damaged("too many non-empty layers in History section"))?;
                catalog.layers.get(&layer).map_or(0, |layer| layer.size)
            };
            lines.push(ImageHistory {
                created: line.created.as_deref().and_then(instant),
                created_by: line.created_by.clone(),
                author: line.author.clone(),
                comment: line.comment.clone(),
                empty_layer: line.empty_layer,
                size,
                image: None,
                tags: Vec::new(),
            });
        }
        lines.reverse();
        // The newest line completes this image; the lines of its parents are known as far as they are here.
        let mut next: Option<Digest> = Some(image.id);
        for line in &mut lines {
            let Some(image) = next.and_then(|id| catalog.images.get(&id)) else { break };
            line.image = Some(image.id);
            line.tags = image.references.iter().map(hako_model::Reference::familiar).collect();
            next = image.parent;
        }
        Ok(lines)
    }
}
