//! The rows of `/networks`.

use hako_api::{
    network::Network,
    query::{NetworkInspectQuery, NetworkListQuery},
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
