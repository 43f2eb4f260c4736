//! The rows of `/networks`.

use hako_api::{
    Operation,
    network::Network,
    query::{NetworkInspectQuery, NetworkListQuery},
};

use crate::{Client, ClientError};

impl Client {
    pub async fn network_list(&self, query: &NetworkListQuery) -> Result<Vec<Network>, ClientError> {
        self.call(Operation::NetworkList, &[]).query(query).read().await
    }

    pub async fn network_inspect(&self, name: &str, query: &NetworkInspectQuery) -> Result<Network, ClientError> {
        self.call(Operation::NetworkInspect, &[name]).query(query).read().await
    }
}
