//! Graphs of other front ends: what they take of the client is fetched, then the solver does them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bollard_buildkit_proto::pb;
use hako_archive::Ignore;
use hako_model::{HostSpec, Platform};
use tonic::Status;

use super::{
    BuildKit,
    bridge::failed,
    export,
    news::{self, Teller},
    receive::{self, Wanted},
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
            let contexts = self.locals(solve, &graph, &progress).await?;
            let mut request = self.graph_request(solve, contexts).await?;
            request.depots = Box::pin(self.depots(solve, &solve.imports, &progress)).await?;
            let built = Box::pin(self.0.builder.build_graph(graph, request, progress)).await;
            built.map_err(|error| failed(&error))
        })
        .await
    }

    // Directories of the client's, by the digest of the operation that takes them.
    async fn locals(
        &self,
        solve: &Solve,
        graph: &Graph,
        progress: &Progress,
    ) -> Result<BTreeMap<String, Arc<Context>>, Status> {
        let mut contexts = BTreeMap::new();
        for (number, (digest, name, source)) in graph.locals().enumerate() {
            let session = self.0.sessions.get(&solve.session).await?;
            let patterns = |key: &str| -> Result<Vec<String>, Status> {
                let text = source.attrs.get(key).map(String::as_str).filter(|text| !text.is_empty());
                let read = text.map(serde_json::from_str::<Vec<String>>).transpose();
                read.map(Option::unwrap_or_default).map_err(|error| Status::invalid_argument(format!("{key}: {error}")))
            };
            let mut include = patterns("local.includepattern")?;
            include.extend(patterns("local.followpaths")?);
            let wanted = Wanted { include, exclude: patterns("local.excludepatterns")? };
            let work = async {
                let context = Context::empty(self.0.builder.root()).map_err(|error| failed(&error))?;
                let (context, _) = receive::receive(&session, name, &wanted, context).await?;
                Ok::<_, Status>(context.with_ignore(Ignore::default()))
            };
            let title = format!("[local {name}] load from client");
            let context = news::around(progress, news::CONTEXT - 1000 - number as u64, &title, work).await?;
            contexts.insert(digest.to_owned(), Arc::new(context));
        }
        Ok(contexts)
    }

    async fn graph_request(
        &self,
        solve: &Solve,
        contexts: BTreeMap<String, Arc<Context>>,
    ) -> Result<BuildRequest, Status> {
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
            contexts,
            images: BTreeMap::new(),
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
            devices: DeviceGrants::default(),
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
