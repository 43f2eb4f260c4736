//! The rows of `/hako/volumes`: snapshots, clones, export and import.

use hako_api::{
    query::{VolumeCloneQuery, VolumeImportQuery, VolumeSnapshotCreateQuery, VolumeSnapshotQuery},
    volume::{VolumeCopy, VolumeSnapshot},
};
use hako_base::clock;
use hako_engine::view::CopyView;

use crate::{
    call::Call,
    convert,
    error::Failure,
    reply::{self, Reply, ReplyBody},
};

pub(super) async fn snapshots(call: Call) -> Result<Reply, Failure> {
    let found = call.engine().volume_snapshot_list(call.name())?;
    let found: Vec<VolumeSnapshot> = found
        .into_iter()
        .map(|it| VolumeSnapshot { name: it.name, created_at: clock::rfc3339_nano(it.created) })
        .collect();
    reply::json(&found)
}

pub(super) async fn snapshot(call: Call) -> Result<Reply, Failure> {
    let query: VolumeSnapshotCreateQuery = call.query()?;
    reply::created(&copy(call.engine().volume_snapshot_create(call.name(), &query.name).await?))
}

pub(super) async fn remove_snapshot(call: Call) -> Result<Reply, Failure> {
    call.engine().volume_snapshot_remove(call.name(), call.value(1)).await?;
    reply::no_content()
}

pub(super) async fn restore(call: Call) -> Result<Reply, Failure> {
    let query: VolumeSnapshotQuery = call.query()?;
    let snapshot = query.snapshot.ok_or_else(|| Failure::invalid("which snapshot? (parameter snapshot)"))?;
    reply::json(&copy(call.engine().volume_restore(call.name(), &snapshot).await?))
}

pub(super) async fn clone(call: Call) -> Result<Reply, Failure> {
    let query: VolumeCloneQuery = call.query()?;
    reply::created(&copy(call.engine().volume_clone(call.name(), query.snapshot.as_deref(), &query.to).await?))
}

pub(super) async fn export(call: Call) -> Result<Reply, Failure> {
    let query: VolumeSnapshotQuery = call.query()?;
    let tar = call.engine().volume_export(call.name(), query.snapshot.as_deref()).await?;
    Ok(reply::stream(reply::TAR, ReplyBody::channel(tar, |chunk| chunk)))
}

pub(super) async fn import(call: Call) -> Result<Reply, Failure> {
    let query: VolumeImportQuery = call.query()?;
    let (engine, name) = (call.engine().clone(), call.name().to_owned());
    let view = engine.volume_import(&name, query.replace, call.into_reader()).await?;
    reply::json(&convert::volume::volume(&view))
}

fn copy(view: CopyView) -> VolumeCopy {
    VolumeCopy { name: view.name, bytes: view.bytes, shared_bytes: view.shared }
}
