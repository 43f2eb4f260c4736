//! The rows of `/hako/images`: layers looked at closely, what they cost, and what is other between two images.

use hako_api::{
    image::{ImageDiff, ImageFileNote, ImageLayerCheck, ImageLayerCost, ImageLayerSize},
    query::{ImageDiffQuery, ImageVerifyQuery},
};
use hako_engine::view::{FileNote, LayerCheckView, LayerCostView};

use super::registry::credentials;
use crate::{
    call::Call,
    error::Failure,
    reply::{self, Reply},
};

pub(super) async fn verify(call: Call) -> Result<Reply, Failure> {
    let query: ImageVerifyQuery = call.query()?;
    let credentials = credentials(&call.registry_auth());
    let checks = call.engine().image_verify(call.name(), query.repair, credentials).await?;
    let checks: Vec<ImageLayerCheck> = checks.into_iter().map(check).collect();
    reply::json(&checks)
}

pub(super) async fn explain(call: Call) -> Result<Reply, Failure> {
    let costs = call.engine().image_explain(call.name()).await?;
    let costs: Vec<ImageLayerCost> = costs.into_iter().map(cost).collect();
    reply::json(&costs)
}

pub(super) async fn diff(call: Call) -> Result<Reply, Failure> {
    let query: ImageDiffQuery = call.query()?;
    if query.with.is_empty() {
        return Err(Failure::invalid("which other image? (parameter with)"));
    }
    let view = call.engine().image_diff(call.name(), &query.with).await?;
    let sizes = |layers: Vec<(hako_model::Digest, u64)>| {
        layers.into_iter().map(|(id, size)| ImageLayerSize { diff_id: id.to_string(), size }).collect()
    };
    reply::json(&ImageDiff {
        files: notes(view.files),
        shared: sizes(view.shared),
        removed: sizes(view.removed),
        added: sizes(view.added),
    })
}

fn notes(files: Vec<FileNote>) -> Vec<ImageFileNote> {
    files.into_iter().map(|it| ImageFileNote { path: it.path, note: it.note, bytes: it.bytes }).collect()
}

fn check(it: LayerCheckView) -> ImageLayerCheck {
    ImageLayerCheck {
        diff_id: it.diff_id.to_string(),
        blob: it.blob.to_string(),
        blob_damage: it.blob_damage,
        files: notes(it.files),
        files_damaged: it.files_damaged,
        repaired: it.repaired,
        failure: it.failure,
    }
}

fn cost(it: LayerCostView) -> ImageLayerCost {
    ImageLayerCost {
        diff_id: it.diff_id.to_string(),
        created_by: it.created_by,
        size: it.size,
        blob_size: it.blob_size,
        files: it.files,
        wasted: it.wasted,
        hidden: notes(it.hidden),
    }
}
