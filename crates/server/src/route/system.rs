//! The rows that concern the daemon itself.

use bytes::Bytes;
use hako_api::{
    ApiVersion, Map,
    query::{SystemDfQuery, SystemEventsQuery},
    system::{ComponentVersion, DiskUsage, PlatformName, SystemVersion},
};
use hako_model::{Event, EventKind};
use hyper::{
    StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use super::time;
use crate::{
    call::Call,
    convert::{self, signed},
    error::Failure,
    reply::{self, Reply, ReplyBody},
};

pub(super) async fn ping(_call: Call) -> Result<Reply, Failure> {
    Ok(pong(Bytes::from_static(b"OK")))
}

pub(super) async fn ping_head(_call: Call) -> Result<Reply, Failure> {
    let mut reply = pong(Bytes::new());
    reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(reply)
}

fn pong(body: Bytes) -> Reply {
    let mut reply = reply::with_body(StatusCode::OK, reply::TEXT, ReplyBody::Whole(body));
    let headers = reply.headers_mut();
    for (name, value) in [
        (HeaderName::from_static("builder-version"), "2"),
        (HeaderName::from_static("swarm"), "inactive"),
        (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (header::PRAGMA, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

pub(super) async fn options(_call: Call) -> Result<Reply, Failure> {
    Ok(reply::empty(StatusCode::OK))
}

/// Managed plugins are not built, so there is none: a list without entries, and no name is one's. `docker inspect`
/// asks here last, and takes the 404 for "no such object".
pub(super) async fn plugins(_call: Call) -> Result<Reply, Failure> {
    reply::json(&Vec::<()>::new())
}

pub(super) async fn plugin(call: Call) -> Result<Reply, Failure> {
    Err(Failure::not_found(format!("plugin {:?} not found", call.name())))
}

pub(super) async fn info(call: Call) -> Result<Reply, Failure> {
    let info = convert::system::info(call.engine().system_info(), &call.daemon.settings.version);
    reply::json(&info.for_version(call.version))
}

pub(super) async fn version(call: Call) -> Result<Reply, Failure> {
    let settings = &call.daemon.settings;
    let kernel_version = call.engine().system_info().kernel;
    let arch = hako_model::Platform::host().architecture;
    let details: Map = [
        ("ApiVersion", ApiVersion::MAX.to_string()),
        ("Arch", arch.clone()),
        ("BuildTime", settings.build_time.clone()),
        ("Experimental", "false".to_owned()),
        ("GitCommit", settings.git_commit.clone()),
        ("KernelVersion", kernel_version.clone()),
        ("MinAPIVersion", settings.min_api.to_string()),
        ("Os", "linux".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    reply::json(&SystemVersion {
        platform: PlatformName { name: "hako".to_owned() },
        components: vec![ComponentVersion { name: "Engine".to_owned(), version: settings.version.clone(), details }],
        version: settings.version.clone(),
        api_version: ApiVersion::MAX.to_string(),
        min_api_version: settings.min_api.to_string(),
        git_commit: settings.git_commit.clone(),
        // There is no Go in it.
        go_version: String::new(),
        os: "linux".to_owned(),
        arch,
        kernel_version,
        experimental: false,
        build_time: settings.build_time.clone(),
    })
}

pub(super) async fn events(call: Call) -> Result<Reply, Failure> {
    let query: SystemEventsQuery = call.query()?;
    // Unlike for logs, 0 is a moment here: everything that is remembered happened after it.
    let moment = |name: &str, text: &str| match text {
        "0" => Ok(Some(jiff::Timestamp::UNIX_EPOCH)),
        text => time(name, text),
    };
    let (since, until) = (moment("since", &query.since)?, moment("until", &query.until)?);
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        return Err(Failure::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            query.since, query.until
        )));
    }
    let events = call.engine().system_events(since, until, &convert::filters(query.filters))?;
    let version = call.version;
    Ok(reply::stream(reply::JSON, ReplyBody::channel(events, move |event| Ok(line(event, version)))))
}

/// One line; nothing for what this version of the API does not tell.
fn line(event: Event, version: ApiVersion) -> Bytes {
    if event.kind == EventKind::Image && event.action == "create" && !version.at_least(46) {
        return Bytes::new();
    }
    let mut bytes = serde_json::to_vec(&convert::system::event(event)).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

pub(super) async fn df(call: Call) -> Result<Reply, Failure> {
    let query: SystemDfQuery = call.query()?;
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(other) = query.types.iter().find(|kind| !known.contains(&kind.as_str())) {
        return Err(Failure::invalid(format!("unknown object type: {other}")));
    }
    // `type` came with 1.42.
    let wanted = |kind: &str| {
        query.types.is_empty() || !call.version.at_least(42) || query.types.iter().any(|wanted| wanted == kind)
    };
    let usage = call.engine().system_df().await?;
    let cache = super::build::usage(&call).await;
    // Layers that only the cache has are counted with it.
    let cached: u64 = cache.iter().filter(|one| one.kind == "regular" && !one.shared).map(|one| one.size).sum();
    let version = call.version;
    let answer = DiskUsage {
        layers_size: if wanted("image") { signed(usage.layers_bytes.saturating_sub(cached)) } else { 0 },
        images: wanted("image").then(|| {
            usage.images.iter().map(|view| convert::image::summary(view, true, true).for_version(version)).collect()
        }),
        containers: wanted("container").then(|| {
            usage.containers.into_iter().map(|from| convert::summary::summary(from).for_version(version)).collect()
        }),
        volumes: wanted("volume").then(|| usage.volumes.iter().map(convert::volume::volume).collect()),
        build_cache: wanted("build-cache").then_some(cache),
        builder_size: None,
    };
    reply::json(&answer.for_version(version))
}
