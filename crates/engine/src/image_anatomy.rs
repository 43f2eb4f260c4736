//! Images looked at closely: whether their layers are what they were, what those cost, what is other in another one.

use hako_image::{ChangeKind, LayerCheck};
use hako_registry::client::Credentials;

use crate::{
    Engine, EngineError,
    image::error,
    view::{FileNote, ImageDiffView, LayerCheckView, LayerCostView},
};

impl Engine {
    /// Looks at every layer of an image, base first; with `repair`, makes what is damaged what it was.
    ///
    /// # Errors
    /// No such image. What cannot be repaired is told of its layer.
    pub async fn image_verify(
        &self,
        name: &str,
        repair: bool,
        credentials: Credentials,
    ) -> Result<Vec<LayerCheckView>, EngineError> {
        let (engine, owned) = (self.clone(), name.to_owned());
        let checks = crate::blocking(move || engine.images.verify(&owned)).await.map_err(error)?;
        let mut views = Vec::with_capacity(checks.len());
        for check in checks {
            let mut view = check_view(&check);
            if repair && !check.is_good() {
                match self.registry.repair(&self.images, &check, &credentials).await {
                    Ok(()) => view.repaired = true,
                    Err(why) => view.failure = hako_base::error::chain(&why),
                }
            }
            views.push(view);
        }
        Ok(views)
    }

    /// What each layer of an image costs, base first, with the line of its history that made it.
    ///
    /// # Errors
    /// No such image.
    pub async fn image_explain(&self, name: &str) -> Result<Vec<LayerCostView>, EngineError> {
        let (engine, owned) = (self.clone(), name.to_owned());
        let costs = crate::blocking(move || engine.images.explain(&owned)).await.map_err(error)?;
        let history = self.images.history(name).map_err(error)?;
        let mut lines = history.iter().rev().filter(|line| !line.empty_layer);
        let note = |(path, bytes): (String, u64)| FileNote {
            path,
            note: String::new(),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        };
        let view = |cost: hako_image::LayerCost| LayerCostView {
            diff_id: cost.diff_id,
            created_by: lines.next().map(|line| line.created_by.clone()).unwrap_or_default(),
            size: cost.size,
            blob_size: cost.blob_size,
            files: cost.files as u64,
            wasted: cost.wasted,
            hidden: cost.hidden.into_iter().map(note).collect(),
        };
        Ok(costs.into_iter().map(view).collect())
    }

    /// What is other in a second image, file by file and layer by layer.
    ///
    /// # Errors
    /// No such images.
    pub async fn image_diff(&self, name: &str, with: &str) -> Result<ImageDiffView, EngineError> {
        let (engine, first, second) = (self.clone(), name.to_owned(), with.to_owned());
        let found = crate::blocking(move || engine.images.compare(&first, &second)).await.map_err(error)?;
        let note = |(change, bytes): (hako_image::Change, i64)| {
            let letter = match change.kind {
                ChangeKind::Added => "A",
                ChangeKind::Changed => "C",
                ChangeKind::Deleted => "D",
            };
            FileNote { path: change.path, note: letter.to_owned(), bytes }
        };
        let files = found.changes.into_iter().map(note).collect();
        Ok(ImageDiffView { files, shared: found.shared, removed: found.removed, added: found.added })
    }
}

fn check_view(check: &LayerCheck) -> LayerCheckView {
    let note = |(path, note): &(String, String)| FileNote { path: path.clone(), note: note.clone(), bytes: 0 };
    LayerCheckView {
        diff_id: check.diff_id,
        blob: check.blob,
        blob_damage: check.blob_damage.clone().unwrap_or_default(),
        files: check.files.iter().map(note).collect(),
        files_damaged: check.files_damaged as u64,
        repaired: false,
        failure: String::new(),
    }
}
