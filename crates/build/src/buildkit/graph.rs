//! Graphs of other front ends: what they may do is what the client of the build may.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bollard_buildkit_proto::pb;
use hako_model::{HostSpec, Platform};
use tonic::Status;

use super::{
    BuildKit, attributes,
    bridge::failed,
    export,
    news::{self, Teller},
    session::SessionSecrets,
    solves::Solve,
};
use crate::{
    context::Context,
    event::Progress,
    llb::Graph,
    request::{BuildRequest, DeviceGrants},
    solve::Built,
};

impl BuildKit {
    /// Solves a graph, telling the solve's listeners.
    pub(super) async fn build_graph(&self, solve: &Solve, definition: &pb::Definition) -> Result<Built, Status> {
        let graph = Graph::read(definition).map_err(Status::invalid_argument)?;
        export::check(solve, &HashMap::new())?;
        news::told(solve, Teller::default(), |progress| async move {
            let mut request = self.graph_request(solve).await?;
            request.depots = Box::pin(self.depots(solve, &solve.imports, &progress)).await?;
            let built = Box::pin(self.0.builder.build_graph(graph, request, progress)).await;
            built.map_err(|error| failed(&error))
        })
        .await
    }

    /// Solves what a client gives to a build as its inputs: graphs by name, each with its configuration if it has one.
    pub(super) async fn inputs(
        &self,
        solve: &Solve,
        attributes: &HashMap<String, String>,
        given: &HashMap<String, pb::Definition>,
        progress: &Progress,
    ) -> Result<BTreeMap<String, Arc<Built>>, Status> {
        let mut inputs = BTreeMap::new();
        for (name, definition) in given {
            let graph = Graph::read(definition).map_err(Status::invalid_argument)?;
            let request = self.graph_request(solve).await?;
            let built = Box::pin(self.0.builder.build_graph(graph, request, progress.clone())).await;
            let mut built = built.map_err(|error| failed(&error))?;
            if let Some(raw) = attributes::input_configuration(attributes, name)? {
                built = self.0.builder.configured(&built, &raw).map_err(|error| failed(&error))?;
            }
            inputs.insert(name.clone(), Arc::new(built));
        }
        Ok(inputs)
    }

    async fn graph_request(&self, solve: &Solve) -> Result<BuildRequest, Status> {
        // A client that has nothing to offer needs no session.
        let session = match solve.session.as_str() {
            "" => None,
            name => Some(self.0.sessions.get(name).await?),
        };
        let allows = |what: &str| solve.entitlements.iter().any(|entitlement| entitlement == what);
        Ok(BuildRequest {
            dockerfile: String::new(),
            dockerfile_name: String::new(),
            context: Arc::new(Context::empty(self.0.builder.root()).map_err(|error| failed(&error))?),
            contexts: BTreeMap::new(),
            images: BTreeMap::new(),
            inputs: BTreeMap::new(),
            arguments: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: None,
            names: Vec::new(),
            no_cache: false,
            no_cache_stages: Vec::new(),
            platform: Some(Platform::host()),
            place: None,
            pull: false,
            host: HostSpec::default(),
            secrets: Arc::new(SessionSecrets(session)),
            allow_host_network: allows("network.host"),
            allow_insecure: allows("security.insecure"),
            devices: DeviceGrants::of(&solve.entitlements),
            classic: false,
            epoch: None,
            rewrite_times: false,
            flatten: false,
            depots: Vec::new(),
            complete: false,
            source: None,
            sbom: None,
        })
    }
}
