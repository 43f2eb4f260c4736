//! `Control`: builds, their news, the cache, and what this builder is.

use std::{collections::HashMap, pin::Pin};

use bollard_buildkit_proto::{
    moby::buildkit::v1::{
        BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse, InfoRequest,
        InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveRequest, SolveResponse,
        StatusRequest, StatusResponse, UpdateBuildHistoryRequest, UpdateBuildHistoryResponse, UsageRecord,
        control_server::Control,
        types::{BuildkitVersion, WorkerRecord},
    },
    pb,
};
use hako_base::clock;
use hako_model::Platform;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{BuildKit, attributes, bridge::failed, export::Target, news, solves::Solve};
use crate::{CacheEntry, PruneWish};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One answer after the other, as `next` makes them.
fn answers<T: Send + 'static, F>(mut next: impl FnMut() -> F + Send + 'static) -> Answers<T>
where
    F: Future<Output = Option<Result<T, Status>>> + Send + 'static,
{
    let (send, receive) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        while let Some(item) = next().await {
            if send.send(item).await.is_err() {
                return;
            }
        }
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receive))
}

fn not_built(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not built yet"))
}

impl BuildKit {
    pub(super) fn version(&self) -> BuildkitVersion {
        BuildkitVersion { package: "hako".to_owned(), version: format!("v{}", self.0.version), revision: String::new() }
    }

    pub(super) fn worker(&self) -> WorkerRecord {
        let platform = Platform::host();
        WorkerRecord {
            id: "hako".to_owned(),
            labels: HashMap::from([("org.mobyproject.buildkit.worker.executor".to_owned(), "hako".to_owned())]),
            platforms: vec![pb::Platform {
                architecture: platform.architecture,
                os: platform.os,
                variant: platform.variant.unwrap_or_default(),
                ..pb::Platform::default()
            }],
            buildkit_version: Some(self.version()),
            ..WorkerRecord::default()
        }
    }

    async fn solve_to_the_end(&self, solve: &Solve, request: SolveRequest) -> Result<HashMap<String, String>, Status> {
        let targets = Target::all(&request)?;
        if let Some(export) = request.cache.as_ref().and_then(|cache| cache.exports.first()) {
            return Err(not_built(&format!("--cache-to type={}", export.r#type)));
        }
        let name = match request.frontend.as_str() {
            // The client drives the build through the bridge.
            "" if request.definition.as_ref().is_none_or(|graph| graph.def.is_empty()) => solve.returned().await?,
            "" => return Err(not_built("Solve of a graph (LLB)")),
            "dockerfile.v0" | "gateway.v0" if attributes::is_question(&request.frontend_attrs) => {
                return self.ask(solve, &request.frontend, &request.frontend_attrs).await;
            }
            "dockerfile.v0" | "gateway.v0" => {
                let imports = request.cache.iter().flat_map(|cache| &cache.imports);
                let imports: Vec<String> = imports.map(|one| one.r#type.clone()).collect();
                let built = self.build(solve, &request.frontend, &request.frontend_attrs, &imports).await?;
                Some(solve.keep(built))
            }
            other => return Err(not_built(&format!("the front end {other}"))),
        };
        let Some(name) = name else { return Ok(HashMap::new()) };
        let built = solve.result(&name)?;
        self.export(solve, &built, &targets).await
    }
}

#[tonic::async_trait]
impl Control for BuildKit {
    async fn disk_usage(&self, _: Request<DiskUsageRequest>) -> Result<Response<DiskUsageResponse>, Status> {
        let record = self.0.builder.cache_list().await.iter().map(usage).collect();
        Ok(Response::new(DiskUsageResponse { record }))
    }

    type PruneStream = Answers<UsageRecord>;

    async fn prune(&self, request: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        let request = request.into_inner();
        if request.min_free_space > 0 {
            return Err(not_built("pruning until so much of the disk is free"));
        }
        let age = jiff::SignedDuration::from_nanos(request.keep_duration);
        let wish = PruneWish {
            all: request.all,
            before: (request.keep_duration > 0).then(|| clock::now() - age),
            filters: PruneWish::filters(&request.filter),
            keep_bytes: u64::try_from(request.max_used_space.max(request.reserved_space)).unwrap_or_default(),
        };
        let gone = self.0.builder.cache_prune(wish).await.map_err(|error| failed(&error))?;
        let mut gone = gone.into_iter();
        Ok(Response::new(answers(move || {
            let next = gone.next().map(|entry| Ok(usage(&entry)));
            async move { next }
        })))
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        let request = request.into_inner();
        let (solve, _ending) =
            self.0.solves.begin(request.r#ref.clone(), request.session.clone(), request.entitlements.clone())?;
        let exporter_response = self.solve_to_the_end(&solve, request).await?;
        Ok(Response::new(SolveResponse { exporter_response }))
    }

    type StatusStream = Answers<StatusResponse>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let solve = self.0.solves.hear(&request.into_inner().r#ref).await?;
        let mut index = 0;
        Ok(Response::new(answers(move || {
            let (solve, at) = (solve.clone(), index);
            index += 1;
            async move { solve.news(at).await.map(Ok) }
        })))
    }

    type SessionStream = Answers<BytesMessage>;

    async fn session(&self, _: Request<Streaming<BytesMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        Err(not_built("a session within the connection: use POST /session"))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(ListWorkersResponse { record: vec![self.worker()] }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(InfoResponse { buildkit_version: Some(self.version()) }))
    }

    type ListenBuildHistoryStream = Answers<BuildHistoryEvent>;

    async fn listen_build_history(
        &self,
        _: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        Err(not_built("the history of builds"))
    }

    async fn update_build_history(
        &self,
        _: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        Err(not_built("the history of builds"))
    }
}

fn usage(entry: &CacheEntry) -> UsageRecord {
    UsageRecord {
        id: entry.id.clone(),
        mutable: false,
        in_use: entry.in_use,
        size: i64::try_from(entry.size).unwrap_or(i64::MAX),
        created_at: Some(news::time(entry.created)),
        last_used_at: Some(news::time(entry.last_used)),
        usage_count: i64::try_from(entry.uses).unwrap_or(i64::MAX),
        description: entry.description.clone(),
        record_type: entry.kind.to_owned(),
        shared: entry.shared,
        ..UsageRecord::default()
    }
}
