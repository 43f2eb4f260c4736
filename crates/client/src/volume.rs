//! The rows of `/volumes`.

use hako_api::{
    Operation,
    query::{PruneQuery, VolumeListQuery, VolumeRemoveQuery},
    volume::{Volume, VolumeCreateRequest, VolumeListResponse, VolumePruneResponse},
};

use crate::{Client, ClientError};

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
}
