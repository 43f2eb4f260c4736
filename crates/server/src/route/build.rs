//! The rows of `/build`: the classic builder's API, on our builder.
//!
//! Everything that is wrong with the request or the Dockerfile is answered with a status; what fails later is told in
//! band. A client that hangs up ends its build.

use std::{collections::BTreeMap, sync::Arc};

use hako_api::{
    auth,
    build::{BuildCache, BuildPruneResponse},
    progress::{ErrorDetail, ProgressMessage},
    query::{BuildPruneQuery, BuildStartQuery},
};
use hako_build::{
    BuildError, BuildRequest, Builder, ClassicText, Context, DeviceGrants, Event, GivenSecrets, Progress, PruneWish,
    Space, buildkit::SessionHead,
};
use hako_engine::view::Credentials;
use hako_model::{HostSpec, Limits, NetworkMode, Platform, PlatformError, Reference, Ulimit};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::{
    call::Call,
    convert,
    error::Failure,
    limits,
    reply::{self, Reply, ReplyBody},
};

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::new(error.kind(), ClassicText::failure(&error).0)
    }
}

pub(super) async fn start(call: Call) -> Result<Reply, Failure> {
    let query: BuildStartQuery = call.query()?;
    refuse_what_is_not_built(&query)?;
    let names = names(&query.names)?;
    let builder = call.daemon.builder.clone();
    let credentials = registry_credentials(call.header(auth::CONFIG_HEADER));
    let dockerfile = if query.dockerfile.is_empty() { "Dockerfile".to_owned() } else { query.dockerfile.clone() };
    let (context, text) = if query.remote.is_empty() {
        sent(&builder, call, dockerfile.clone()).await?
    } else {
        fetched(&builder, &query.remote, &dockerfile).await?
    };
    let mut request = request(&query, names, context, dockerfile, text)?;
    request.secrets = Arc::new(GivenSecrets { credentials, ..GivenSecrets::default() });
    // The classic builder looks at images that are here, and at no others: where none of those that are named is, there is
    // no cache.
    let cache_from: Vec<String> = json("cachefrom", &query.cache_from)?;
    request.no_cache |= !cache_from.is_empty() && !cache_from.iter().any(|name| builder.has_image(name));
    request.depots = cache_from.iter().filter_map(|name| builder.image_depot(name)).map(Arc::new).collect();
    builder.check(&request)?;
    let (lines, receiver) = mpsc::channel::<ProgressMessage>(limits::PROGRESS_QUEUED);
    tokio::spawn(async move {
        let building = build(builder, request, &query, &lines);
        // A client that has gone wants no image.
        tokio::select! {
            () = building => {}
            () = lines.closed() => {}
        }
    });
    Ok(reply::stream(reply::JSON, ReplyBody::channel(receiver, |line| Ok(line.encode().into()))))
}

// The context that is the request's body, and the Dockerfile in it.
async fn sent(builder: &Builder, call: Call, name: String) -> Result<(Context, String), Failure> {
    let root = builder.root().to_owned();
    let input = call.into_reader();
    let read = tokio::task::spawn_blocking(move || -> Result<(Context, String), BuildError> {
        let context = Context::unpack(&root, input)?;
        let text = context.text(&name)?;
        let text = text.ok_or_else(|| missing(&name))?;
        let ignore = context.read_ignore(&name)?;
        Ok((context.with_ignore(ignore), text))
    });
    Ok(read.await.map_err(|_| Failure::new(hako_base::ErrorKind::Internal, "the builder ended"))??)
}

// The same from an address: a repository, a tar, or a Dockerfile alone.
async fn fetched(builder: &Builder, address: &str, name: &str) -> Result<(Context, String), Failure> {
    let found = builder.remote_context(address, false, &GivenSecrets::default()).await?;
    let text = match found.dockerfile {
        Some(text) => text,
        None => found.context.text(name)?.ok_or_else(|| missing(name))?,
    };
    let ignore = found.context.read_ignore(name)?;
    Ok((found.context.with_ignore(ignore), text))
}

// Credentials by the registry's name; Docker Hub's is an address, for historical reasons.
fn registry_credentials(header: &str) -> BTreeMap<String, Credentials> {
    let named = |(server, config): (String, auth::AuthConfig)| {
        let host = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        (host.to_owned(), super::registry::credentials(&config))
    };
    auth::decode_all(header).into_iter().map(named).collect()
}

fn missing(name: &str) -> BuildError {
    BuildError::Invalid { text: format!("Cannot locate specified Dockerfile: {name}") }
}

async fn build(
    builder: Builder,
    request: BuildRequest,
    query: &BuildStartQuery,
    lines: &mpsc::Sender<ProgressMessage>,
) {
    let names = request.names.clone();
    let (progress, mut events) = Progress::channel();
    let mut text = ClassicText::new(query.remove.unwrap_or(true), query.force_remove);
    let building = async {
        let built = builder.build(request, progress).await?;
        builder.record(&built, &names).await
    };
    let telling = async {
        while let Some(event) = events.recv().await {
            let messages = text.messages(&event);
            if let Event::Pull { step, .. } = event
                && !query.quiet
            {
                let _ = lines.send(convert::system::progress(step)).await;
            }
            for stream in messages.into_iter().filter(|_| !query.quiet) {
                let _ = lines.send(ProgressMessage { stream, ..ProgressMessage::default() }).await;
            }
        }
    };
    let (built, ()) = tokio::join!(building, telling);
    let say = async |message: ProgressMessage| drop(lines.send(message).await);
    match built {
        Ok(id) if query.quiet => {
            say(ProgressMessage { stream: format!("{id}\n"), ..ProgressMessage::default() }).await;
        }
        Ok(id) => {
            let aux = Some(serde_json::json!({ "ID": id.to_string() }));
            say(ProgressMessage { aux, ..ProgressMessage::default() }).await;
            let mut stream = format!("Successfully built {}\n", id.short());
            for name in names {
                stream.push_str(&format!("Successfully tagged {}\n", name.with_default_tag().familiar()));
            }
            for line in stream.split_inclusive('\n') {
                say(ProgressMessage { stream: line.to_owned(), ..ProgressMessage::default() }).await;
            }
        }
        Err(error) => {
            let (message, code) = ClassicText::failure(&error);
            let error_detail = Some(ErrorDetail { code, message: message.clone() });
            say(ProgressMessage { error: message, error_detail, ..ProgressMessage::default() }).await;
        }
    }
}

fn refuse_what_is_not_built(query: &BuildStartQuery) -> Result<(), Failure> {
    if query.version == "2" {
        return Err(Failure::not_built("build_start with version=2 is not built: BuildKit's clients use /grpc"));
    }
    if query.squash {
        return Err(Failure::not_built("build_start with squash is not built yet"));
    }
    if !matches!(query.outputs.as_str(), "" | "[]" | "null") {
        return Err(Failure::not_built("build_start with outputs is not built: use docker buildx build --output"));
    }
    Ok(())
}

fn names(texts: &[String]) -> Result<Vec<Reference>, Failure> {
    texts.iter().map(|text| text.parse::<Reference>().map_err(|error| Failure::invalid(error.to_string()))).collect()
}

fn json<'t, T: Deserialize<'t> + Default>(name: &str, text: &'t str) -> Result<T, Failure> {
    if text.is_empty() {
        return Ok(T::default());
    }
    let parsed: Result<Option<T>, _> = serde_json::from_str(text);
    parsed.map(Option::unwrap_or_default).map_err(|error| Failure::invalid(format!("error reading {name}: {error}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireUlimit {
    name: String,
    #[serde(default)]
    soft: i64,
    #[serde(default)]
    hard: i64,
}

fn request(
    query: &BuildStartQuery,
    names: Vec<Reference>,
    context: Context,
    dockerfile_name: String,
    dockerfile: String,
) -> Result<BuildRequest, Failure> {
    let arguments: BTreeMap<String, Option<String>> = json("build args", &query.build_args)?;
    let epoch = arguments.get("SOURCE_DATE_EPOCH").cloned().flatten().filter(|text| !text.is_empty());
    let epoch = epoch.map(|text| {
        let seconds = text.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        seconds.ok_or_else(|| Failure::invalid(format!("SOURCE_DATE_EPOCH is no time: {text:?}")))
    });
    let platform = match query.platform.as_str() {
        "" => None,
        text => Some(platform(text)?),
    };
    Ok(BuildRequest {
        dockerfile,
        dockerfile_name,
        context: Arc::new(context),
        contexts: BTreeMap::new(),
        images: BTreeMap::new(),
        inputs: BTreeMap::new(),
        arguments,
        labels: json("labels", &query.labels)?,
        target: Some(query.target.clone()).filter(|target| !target.is_empty()),
        names,
        no_cache: query.no_cache,
        no_cache_stages: Vec::new(),
        platform,
        place: None,
        pull: query.pull,
        host: host(query)?,
        secrets: Arc::new(GivenSecrets::default()),
        // Who may speak to this socket may start such containers anyway.
        allow_host_network: true,
        allow_insecure: false,
        devices: DeviceGrants::default(),
        classic: true,
        epoch: epoch.transpose()?,
        rewrite_times: false,
        flatten: false,
        depots: Vec::new(),
        complete: false,
        source: None,
        sbom: None,
    })
}

fn host(query: &BuildStartQuery) -> Result<HostSpec, Failure> {
    let unsigned = |name: &str, value: Option<i64>| {
        let value = value.unwrap_or_default();
        u64::try_from(value).map_err(|_| Failure::invalid(format!("{name} cannot be negative: {value}")))
    };
    let ulimits: Vec<WireUlimit> = json("ulimits", &query.ulimits)?;
    let ulimit = |limit: WireUlimit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard };
    Ok(HostSpec {
        network_mode: NetworkMode::parse(&query.network_mode),
        extra_hosts: query.extra_hosts.clone(),
        shm_size_bytes: unsigned("shmsize", query.shm_size)?,
        cgroup_parent: query.cgroup_parent.clone(),
        limits: Limits {
            memory_bytes: unsigned("memory", query.memory)?,
            memory_swap_bytes: query.memory_swap.unwrap_or_default(),
            cpu_shares: unsigned("cpushares", query.cpu_shares)?,
            cpu_period_us: unsigned("cpuperiod", query.cpu_period)?,
            cpu_quota_us: query.cpu_quota.unwrap_or_default(),
            cpuset_cpus: query.cpuset_cpus.clone(),
            cpuset_mems: query.cpuset_mems.clone(),
            ulimits: ulimits.into_iter().map(ulimit).collect(),
            ..Limits::default()
        },
        ..HostSpec::default()
    })
}

pub(super) async fn prune(call: Call) -> Result<Reply, Failure> {
    let query: BuildPruneQuery = call.query()?;
    let mut filters = convert::filters(query.filters);
    let mut before = None;
    for text in filters.take("until").into_iter().chain(filters.take("unused-for")) {
        let age = hako_base::duration::parse_go(&text);
        let age = age.map_err(|_| Failure::invalid(format!("\"until\" filter expects a duration, not {text:?}")))?;
        before = Some(jiff::Timestamp::now() - jiff::SignedDuration::from_nanos(age));
    }
    let reserved = query.reserved_space.or(query.keep_storage).unwrap_or_default();
    let (most, free) = (query.max_used_space.unwrap_or_default(), query.min_free_space.unwrap_or_default());
    let wish = PruneWish { all: query.all, before, filters, space: Space::of(reserved, most, free) };
    let gone = call.daemon.builder.cache_prune(wish).await?;
    let space_reclaimed = gone.iter().filter(|entry| !entry.shared).map(|entry| entry.size).sum();
    let caches_deleted = (!gone.is_empty()).then(|| gone.into_iter().map(|entry| entry.id).collect());
    reply::json(&BuildPruneResponse { caches_deleted, space_reclaimed })
}

/// The build cache for `system df`.
pub(super) async fn usage(call: &Call) -> Vec<BuildCache> {
    let entries = call.daemon.builder.cache_list().await;
    let shown = entries.into_iter().map(|entry| BuildCache {
        id: entry.id,
        parents: None,
        kind: entry.kind.to_owned(),
        description: entry.description,
        in_use: entry.in_use,
        shared: entry.shared,
        size: entry.size,
        created_at: hako_base::clock::rfc3339_nano(entry.created),
        last_used_at: Some(hako_base::clock::rfc3339_nano(entry.last_used)),
        usage_count: entry.uses,
    });
    shown.collect()
}

/// BuildKit's services: the connection is the client's to ask on.
pub(super) async fn grpc(mut call: Call) -> Result<Reply, Failure> {
    let upgrade = call.upgrade.take().ok_or_else(|| Failure::invalid("no upgrade to h2c was asked for"))?;
    let (buildkit, stopped) = (call.daemon.buildkit.clone(), call.daemon.stopped());
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        tokio::select! {
            () = buildkit.serve(connection) => {}
            () = stopped => {}
        }
    });
    Ok(reply::upgraded_to_h2c())
}

/// A client's session: the connection is ours to ask on.
pub(super) async fn session(mut call: Call) -> Result<Reply, Failure> {
    let upgrade = call.upgrade.take().ok_or_else(|| Failure::invalid("no upgrade to h2c was asked for"))?;
    let head = SessionHead {
        id: call.header("x-docker-expose-session-uuid").to_owned(),
        shared_key: call.header("x-docker-expose-session-sharedkey").to_owned(),
    };
    if head.id.is_empty() {
        return Err(Failure::invalid("the session has no X-Docker-Expose-Session-Uuid"));
    }
    let (buildkit, stopped) = (call.daemon.buildkit.clone(), call.daemon.stopped());
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        tokio::select! {
            () = buildkit.session(head, connection) => {}
            () = stopped => {}
        }
    });
    Ok(reply::upgraded_to_h2c())
}
/// For which machine something is asked.
pub(super) fn platform(text: &str) -> Result<Platform, Failure> {
    text.parse().map_err(|error: PlatformError| Failure::invalid(error.to_string()))
}
