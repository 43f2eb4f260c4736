//! The rows of `/volumes`.

use hako_api::{
    query::{PruneQuery, VolumeListQuery, VolumeRemoveQuery},
    volume::{Volume, VolumeCreateRequest, VolumeListResponse, VolumePruneResponse},
};

use crate::{
    call::Call,
    convert,
    error::Failure,
    reply::{self, Reply},
};

pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let query: VolumeListQuery = call.query()?;
    let volumes = call.engine().volume_list(&convert::filters(query.filters))?;
    let volumes: Vec<Volume> = volumes.iter().map(convert::volume::volume).collect();
    reply::json(&VolumeListResponse { volumes, warnings: None })
}

pub(super) async fn create(mut call: Call) -> Result<Reply, Failure> {
    let request: VolumeCreateRequest = call.json().await?.unwrap_or_default();
    let view = call.engine().volume_create(convert::volume::options(request)?).await?;
    reply::created(&convert::volume::volume(&view))
}

pub(super) async fn inspect(call: Call) -> Result<Reply, Failure> {
    let view = call.engine().volume_inspect(call.name())?;
    reply::json(&convert::volume::volume(&view))
}

pub(super) async fn remove(call: Call) -> Result<Reply, Failure> {
    let query: VolumeRemoveQuery = call.query()?;
    call.engine().volume_remove(call.name(), query.force).await?;
    reply::no_content()
}

pub(super) async fn prune(call: Call) -> Result<Reply, Failure> {
    let query: PruneQuery = call.query()?;
    let mut filters = convert::filters(query.filters);
    // Until 1.41 a prune took every unused volume, named ones too.
    if !call.version.at_least(42) && !filters.has("all") {
        filters.add("all", "true");
    }
    let pruned = call.engine().volume_prune(&filters).await?;
    reply::json(&VolumePruneResponse { volumes_deleted: Some(pruned.removed), space_reclaimed: pruned.reclaimed })
}
