//! `--flatten`: a result whose layers are one, without what earlier steps made and later ones took away.

use std::sync::Arc;

use hako_image::{BuiltImage, BuiltLine};

use super::{Solving, copy::Root};
use crate::error::BuildError;

impl Solving {
    /// The same image with one layer. Its history says so first; the lines after it made no layer of their own any more.
    pub(super) async fn flattened(&self, image: BuiltImage) -> Result<BuiltImage, BuildError> {
        let view = Arc::new(self.store().stack_view(image.stack)?);
        let (stack, _) = self.context_stack(Root::Stack(view), ".", false).await?;
        let created = image.created;
        let created_by = "all layers as one (--flatten)".to_owned();
        let first = BuiltLine { created, created_by, comment: String::new(), empty_layer: stack.is_none() };
        let rest = image.lines.iter().map(|line| BuiltLine { empty_layer: true, ..line.clone() });
        let lines = std::iter::once(first).chain(rest).collect();
        Ok(BuiltImage { base: None, parent: None, stack, lines, is_changed: true, ..image })
    }
}
