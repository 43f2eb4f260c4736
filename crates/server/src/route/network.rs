//! The rows of `/networks`.

use hako_api::{
    network::{
        Network, NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
        NetworkPruneResponse,
    },
    query::{NetworkInspectQuery, NetworkListQuery, PruneQuery},
};

use crate::{
    call::Call,
    convert,
    error::Failure,
    reply::{self, Reply},
};

pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let query: NetworkListQuery = call.query()?;
    let networks = call.engine().network_list(&convert::filters(query.filters))?;
    let networks: Vec<Network> =
        networks.iter().map(|view| convert::network::network(view, false).for_version(call.version)).collect();
    reply::json(&networks)
}

pub(super) async fn inspect(call: Call) -> Result<Reply, Failure> {
    let query: NetworkInspectQuery = call.query()?;
    let view = call.engine().network_inspect(call.name())?;
    if query.scope.is_some_and(|scope| scope != "local") {
        return Err(Failure::new(hako_base::ErrorKind::NotFound, format!("network {} not found", call.name())));
    }
    reply::json(&convert::network::network(&view, true).for_version(call.version))
}

pub(super) async fn create(mut call: Call) -> Result<Reply, Failure> {
    let request: NetworkCreateRequest = call.json().await?.unwrap_or_default();
    let (spec, families) = convert::network::spec(request)?;
    let id = call.engine().network_create(spec, families).await?;
    reply::created(&NetworkCreateResponse { id: id.to_string(), warning: String::new() })
}

pub(super) async fn remove(call: Call) -> Result<Reply, Failure> {
    call.engine().network_remove(call.name()).await?;
    reply::no_content()
}

pub(super) async fn connect(mut call: Call) -> Result<Reply, Failure> {
    let request: NetworkConnectRequest = call.json().await?.unwrap_or_default();
    let asked = convert::endpoint::endpoint(&request.endpoint_config.unwrap_or_default())?;
    call.engine().network_connect(call.name(), &request.container, asked).await?;
    Ok(reply::empty(hyper::StatusCode::OK))
}

pub(super) async fn disconnect(mut call: Call) -> Result<Reply, Failure> {
    let request: NetworkDisconnectRequest = call.json().await?.unwrap_or_default();
    call.engine().network_disconnect(call.name(), &request.container, request.force).await?;
    Ok(reply::empty(hyper::StatusCode::OK))
}

pub(super) async fn prune(call: Call) -> Result<Reply, Failure> {
    let query: PruneQuery = call.query()?;
    let pruned = call.engine().network_prune(&convert::filters(query.filters)).await?;
    let networks_deleted = (!pruned.removed.is_empty()).then_some(pruned.removed);
    reply::json(&NetworkPruneResponse { networks_deleted })
}
