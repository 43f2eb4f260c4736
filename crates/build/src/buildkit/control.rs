//! `Control`: builds, their news, the cache, and what this builder is.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bollard_buildkit_proto::{
    moby::buildkit::v1::{
        BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRequest, BytesMessage, DiskUsageRequest,
        DiskUsageResponse, InfoRequest, InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest,
        SolveRequest, SolveResponse, StatusRequest, StatusResponse, UpdateBuildHistoryRequest,
        UpdateBuildHistoryResponse, UsageRecord,
        control_server::Control,
        types::{BuildkitVersion, WorkerRecord},
    },
    pb,
};
use hako_base::clock;
use hako_model::Platform;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::broadcast,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{BuildKit, SessionHead, attested::Attested, attributes, bridge::failed, news, solves::Solve};
use crate::{CacheEntry, PruneWish, Space, limits, solve::Built};

/// The BuildKit that clients may take this for.
const LIKE: &str = "v0.23.2";

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
    // Clients ask by its number what a builder can do: that of the BuildKit whose protocols these are, and our own.
    pub(super) fn version(&self) -> BuildkitVersion {
        let version = format!("{LIKE}+hako.{}", self.0.version);
        BuildkitVersion { package: "hako".to_owned(), version, revision: String::new() }
    }

    pub(super) fn worker(&self) -> WorkerRecord {
        let platform = |platform: Platform| pb::Platform {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant.unwrap_or_default(),
            ..pb::Platform::default()
        };
        // By the second label Buildx's driver for Docker knows that there are several platforms, attestations, caches
        // elsewhere and OCI archives: Docker's own daemon has them with containerd's snapshotters alone.
        let labels = [("executor", "hako"), ("snapshotter", "overlayfs")];
        let label = |(name, value): (&str, &str)| (format!("org.mobyproject.buildkit.worker.{name}"), value.to_owned());
        WorkerRecord {
            id: "hako".to_owned(),
            labels: labels.map(label).into(),
            platforms: self.0.builder.engine().step_platforms().into_iter().map(platform).collect(),
            buildkit_version: Some(self.version()),
            ..WorkerRecord::default()
        }
    }

    async fn solve_to_the_end(&self, solve: &Solve, request: SolveRequest) -> Result<HashMap<String, String>, Status> {
        let names = match request.frontend.as_str() {
            // The client drives the build through the bridge.
            "" if request.definition.as_ref().is_none_or(|graph| graph.def.is_empty()) => solve.returned().await?,
            "" => {
                let definition = request.definition.unwrap_or_default();
                vec![solve.keep(Box::pin(self.build_graph(solve, &definition)).await?)]
            }
            "dockerfile.v0" | "gateway.v0" if attributes::is_question(&request.frontend_attrs) => {
                return self.ask(solve, &request.frontend, &request.frontend_attrs).await;
            }
            "dockerfile.v0" | "gateway.v0" => {
                let built = self
                    .build(solve, &request.frontend, &request.frontend_attrs, &[], &request.frontend_inputs)
                    .await?;
                built.into_iter().map(|built| solve.keep(built)).collect()
            }
            other => return Err(not_built(&format!("the front end {other}"))),
        };
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let built = self.configured(solve, solve.results(&names)?)?;
        solve.attest(Attested::of(solve, &built));
        let mut answer = Box::pin(self.export(solve, &built)).await?;
        answer.extend(Box::pin(self.leave(solve, &built, &solve.exports)).await?);
        Ok(answer)
    }
}

impl BuildKit {
    // A graph knows nothing of images: the front end that made it says what the image's process is.
    fn configured(&self, solve: &Solve, built: Vec<Arc<Built>>) -> Result<Vec<Arc<Built>>, Status> {
        let one = |built: Arc<Built>| {
            let raw = solve.configuration(&built.image.platform).filter(|_| built.is_graph());
            match raw {
                None => Ok(built),
                Some(raw) => {
                    let made = self.0.builder.configured(&built, &raw).map_err(|error| failed(&error))?;
                    Ok(Arc::new(made))
                }
            }
        };
        built.into_iter().map(one).collect()
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
        let age = jiff::SignedDuration::from_nanos(request.keep_duration);
        let wish = PruneWish {
            all: request.all,
            before: (request.keep_duration > 0).then(|| clock::now() - age),
            filters: PruneWish::filters(&request.filter),
            space: Space::of(request.reserved_space, request.max_used_space, request.min_free_space),
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
        let (solve, _ending) = self.0.solves.begin(&request)?;
        let noting = self.0.history.begin(&solve, &request);
        let done = Box::pin(self.solve_to_the_end(&solve, request)).await;
        noting.ended(&done);
        Ok(Response::new(SolveResponse { exporter_response: done? }))
    }

    type StatusStream = Answers<StatusResponse>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let reference = request.into_inner().r#ref;
        if let (false, Some(news)) = (self.0.solves.has(&reference), self.0.history.news(&reference)) {
            let mut news = news.into_iter();
            return Ok(Response::new(answers(move || {
                let next = news.next().map(Ok);
                async move { next }
            })));
        }
        let solve = self.0.solves.hear(&reference).await?;
        let number = Arc::new(AtomicU64::new(0));
        Ok(Response::new(answers(move || {
            let (solve, number) = (solve.clone(), number.clone());
            async move {
                let (news, next) = solve.news(number.load(Ordering::Relaxed)).await?;
                number.store(next, Ordering::Relaxed);
                Some(Ok(news))
            }
        })))
    }

    type SessionStream = Answers<BytesMessage>;

    // The session of a client that has this one connection: bytes of HTTP/2 within messages.
    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let header =
            |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let head = SessionHead {
            id: header("x-docker-expose-session-uuid").to_owned(),
            shared_key: header("x-docker-expose-session-sharedkey").to_owned(),
        };
        if head.id.is_empty() {
            return Err(Status::invalid_argument("the session has no X-Docker-Expose-Session-Uuid"));
        }
        let (ours, theirs) = tokio::io::duplex(limits::SESSION_BYTES_BUFFERED);
        let buildkit = self.clone();
        tokio::spawn(async move { buildkit.0.sessions.hold(head, TokioIo::new(ours)).await });
        let (mut reader, mut writer) = tokio::io::split(theirs);
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if writer.write_all(&message.data).await.is_err() {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        });
        let (send, receive) = tokio::sync::mpsc::channel(limits::PACKETS_QUEUED);
        tokio::spawn(async move {
            let mut buffer = vec![0; limits::DATA_BYTES];
            while let Ok(count) = reader.read(&mut buffer).await {
                let message = BytesMessage { data: buffer[..count].to_vec() };
                if count == 0 || send.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receive))))
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
        request: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        let request = request.into_inner();
        if !request.filter.is_empty() {
            return Err(not_built("a filter for the history of builds"));
        }
        let (mut events, mut changes) = self.0.history.listen(&request.r#ref);
        if request.active_only {
            events.retain(|event| event.r#type() == BuildHistoryEventType::Started);
        }
        let limit = usize::try_from(request.limit).unwrap_or_default();
        if limit > 0 {
            events.drain(..events.len().saturating_sub(limit));
        }
        let (send, receive) = tokio::sync::mpsc::channel(64);
        tokio::spawn(async move {
            for event in events {
                if send.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            if request.early_exit {
                return;
            }
            loop {
                let event = match changes.recv().await {
                    Ok(event) => event,
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let is_wanted = request.r#ref.is_empty()
                    || event.record.as_ref().is_some_and(|record| record.r#ref == request.r#ref);
                if is_wanted && send.send(Ok(event)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receive))))
    }

    async fn update_build_history(
        &self,
        request: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        let request = request.into_inner();
        // There is nothing to be finalized: what is known of a build is known when it is over.
        if request.delete {
            self.0.history.remove(&request.r#ref)?;
        } else if !request.finalize {
            self.0.history.pin(&request.r#ref, request.pinned)?;
        }
        Ok(Response::new(UpdateBuildHistoryResponse {}))
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
