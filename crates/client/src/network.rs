//! The rows of `/networks`.

use hako_api::{
    Operation,
    network::{
        Network, NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
        NetworkPruneResponse,
    },
    query::{NetworkInspectQuery, NetworkListQuery, PruneQuery},
};

use crate::{Client, ClientError};

impl Client {
    pub async fn network_list(&self, query: &NetworkListQuery) -> Result<Vec<Network>, ClientError> {
        self.call(Operation::NetworkList, &[]).query(query).read().await
    }

    pub async fn network_inspect(&self, name: &str, query: &NetworkInspectQuery) -> Result<Network, ClientError> {
        self.call(Operation::NetworkInspect, &[name]).query(query).read().await
    }

    pub async fn network_create(&self, request: &NetworkCreateRequest) -> Result<NetworkCreateResponse, ClientError> {
        self.call(Operation::NetworkCreate, &[]).json(request)?.read().await
    }

    pub async fn network_remove(&self, name: &str) -> Result<(), ClientError> {
        self.call(Operation::NetworkRemove, &[name]).done().await
    }

    pub async fn network_connect(&self, name: &str, request: &NetworkConnectRequest) -> Result<(), ClientError> {
        self.call(Operation::NetworkConnect, &[name]).json(request)?.done().await
    }

    pub async fn network_disconnect(&self, name: &str, request: &NetworkDisconnectRequest) -> Result<(), ClientError> {
        self.call(Operation::NetworkDisconnect, &[name]).json(request)?.done().await
    }

    pub async fn network_prune(&self, query: &PruneQuery) -> Result<NetworkPruneResponse, ClientError> {
        self.call(Operation::NetworkPrune, &[]).query(query).read().await
    }
}
