//! The rows of `/volumes`.

use hako_api::{
    Operation,
    query::{
        PruneQuery, VolumeCloneQuery, VolumeImportQuery, VolumeListQuery, VolumeRemoveQuery, VolumeSnapshotCreateQuery,
        VolumeSnapshotQuery,
    },
    volume::{Volume, VolumeCopy, VolumeCreateRequest, VolumeListResponse, VolumePruneResponse, VolumeSnapshot},
};

use crate::{BodyReader, Client, ClientError, RequestBody};

impl Client {
    pub async fn volume_list(&self, query: &VolumeListQuery) -> Result<VolumeListResponse, ClientError> {
        self.call(Operation::VolumeList, &[]).query(query).read().await
    }

    pub async fn volume_create(&self, request: &VolumeCreateRequest) -> Result<Volume, ClientError> {
        self.call(Operation::VolumeCreate, &[]).json(request)?.read().await
    }

    pub async fn volume_inspect(&self, name: &str) -> Result<Volume, ClientError> {
        self.call(Operation::VolumeInspect, &[name]).read().await
    }

    pub async fn volume_remove(&self, name: &str, query: &VolumeRemoveQuery) -> Result<(), ClientError> {
        self.call(Operation::VolumeRemove, &[name]).query(query).done().await
    }

    pub async fn volume_prune(&self, query: &PruneQuery) -> Result<VolumePruneResponse, ClientError> {
        self.call(Operation::VolumePrune, &[]).query(query).read().await
    }

    pub async fn volume_snapshot_list(&self, volume: &str) -> Result<Vec<VolumeSnapshot>, ClientError> {
        self.call(Operation::VolumeSnapshotList, &[volume]).read().await
    }

    pub async fn volume_snapshot_create(
        &self,
        volume: &str,
        query: &VolumeSnapshotCreateQuery,
    ) -> Result<VolumeCopy, ClientError> {
        self.call(Operation::VolumeSnapshotCreate, &[volume]).query(query).read().await
    }

    pub async fn volume_snapshot_remove(&self, volume: &str, snapshot: &str) -> Result<(), ClientError> {
        self.call(Operation::VolumeSnapshotRemove, &[volume, snapshot]).done().await
    }

    pub async fn volume_restore(&self, volume: &str, query: &VolumeSnapshotQuery) -> Result<VolumeCopy, ClientError> {
        self.call(Operation::VolumeRestore, &[volume]).query(query).read().await
    }

    pub async fn volume_clone(&self, volume: &str, query: &VolumeCloneQuery) -> Result<VolumeCopy, ClientError> {
        self.call(Operation::VolumeClone, &[volume]).query(query).read().await
    }

    /// A tar of the volume.
    pub async fn volume_export(&self, volume: &str, query: &VolumeSnapshotQuery) -> Result<BodyReader, ClientError> {
        self.call(Operation::VolumeExport, &[volume]).query(query).stream().await
    }

    pub async fn volume_import(
        &self,
        volume: &str,
        query: &VolumeImportQuery,
        tar: RequestBody,
    ) -> Result<Volume, ClientError> {
        self.call(Operation::VolumeImport, &[volume]).query(query).tar(tar).read().await
    }
}
