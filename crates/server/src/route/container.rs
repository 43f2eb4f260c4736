//! The rows of `/containers` that answer at once.

use hako_api::{
    container::{
        ContainerCreateRequest, ContainerCreateResponse, ContainerEditRequest, ContainerExposure,
        ContainerPruneResponse, ContainerTopResponse, ContainerUpdateRequest, ContainerUpdateResponse,
        FilesystemChange,
    },
    query::{
        ContainerCreateQuery, ContainerInspectQuery, ContainerKillQuery, ContainerListQuery, ContainerRemoveQuery,
        ContainerRenameQuery, ContainerStartQuery, ContainerStopQuery, ContainerTopQuery, PruneQuery, ResizeQuery,
    },
};
use hako_engine::{
    EngineError,
    view::{EditOptions, ListOptions, RemoveOptions, StopOptions},
};
use hako_model::Signal;

use crate::{
    call::Call,
    convert,
    error::Failure,
    reply::{self, Reply, ReplyBody},
};

pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let query: ContainerListQuery = call.query()?;
    let options = ListOptions {
        all: query.all,
        limit: query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or_default(),
        size: query.size,
        filters: convert::filters(query.filters),
    };
    let (rows, version) = (call.engine().container_list(&options).await?, call.version);
    let render = |view| serde_json::to_vec(&convert::summary::summary(view).for_version(version));
    let mut texts = Vec::with_capacity(rows.len());
    for row in rows {
        texts.push(row.rendered(version.minor(), render)?);
    }
    Ok(reply::json_list(&texts))
}

pub(super) async fn create(mut call: Call) -> Result<Reply, Failure> {
    let query: ContainerCreateQuery = call.query()?;
    let missing = "invalid JSON: got EOF while reading request body";
    let request: ContainerCreateRequest = call.required_json(missing).await?;
    if request == ContainerCreateRequest::default() {
        return Err(Failure::invalid("config cannot be empty in order to create a container"));
    }
    let platform =
        query.platform.filter(|text| !text.is_empty()).map(|text| super::build::platform(&text)).transpose()?;
    let mut spec = convert::spec::container_spec(request, platform)?;
    convert::spec::as_meant_by(call.version, call.engine().cgroup_version(), &mut spec);
    if !call.version.at_least(44) && spec.networks.len() > 1 {
        let names: Vec<&str> = spec.networks.keys().map(String::as_str).collect();
        let names = names.join(", ");
        return Err(Failure::invalid(format!("Container cannot be created with multiple network endpoints: {names}")));
    }
    // Names are shown with a slash, and may come back with one.
    let name = query.name.as_deref().map(|name| name.trim_start_matches('/'));
    let created = call.engine().container_create(name, spec).await.map_err(create_failure)?;
    reply::created(&ContainerCreateResponse { id: created.id.to_string(), warnings: created.warnings })
}

/// Clients take any 404 of a create for a missing image, pull it and try again; Docker answers one
/// for images and containers only.
fn create_failure(error: EngineError) -> Failure {
    match error {
        EngineError::NoNetwork { .. } => Failure::invalid(error.to_string()),
        other => other.into(),
    }
}

pub(super) async fn exposure(call: Call) -> Result<Reply, Failure> {
    let exposure = call.engine().container_exposure(call.name())?;
    let ports = exposure.into_iter().map(|port| ContainerExposure {
        port: port.container.to_string(),
        host_ip: port.host.ip().to_string(),
        host_port: port.host.port(),
        reach: port.reach.to_owned(),
        reasons: port.reasons,
        translated: port.translated,
    });
    reply::json(&ports.collect::<Vec<_>>())
}

pub(super) async fn inspect(call: Call) -> Result<Reply, Failure> {
    let query: ContainerInspectQuery = call.query()?;
    let view = call.engine().container_inspect(call.name(), query.size).await?;
    reply::json(&convert::inspect::container(&view).for_version(call.version))
}

pub(super) async fn top(call: Call) -> Result<Reply, Failure> {
    let query: ContainerTopQuery = call.query()?;
    let top = call.engine().container_top(call.name(), query.ps_args.as_deref().unwrap_or("-ef")).await?;
    reply::json(&ContainerTopResponse { titles: top.titles, processes: top.processes })
}

pub(super) async fn changes(call: Call) -> Result<Reply, Failure> {
    let changes = call.engine().container_changes(call.name()).await?;
    let changes: Vec<FilesystemChange> =
        changes.into_iter().map(|change| FilesystemChange { path: change.path, kind: change.kind }).collect();
    // Go's nil slice.
    reply::json(&(!changes.is_empty()).then_some(changes))
}

pub(super) async fn export(call: Call) -> Result<Reply, Failure> {
    let tar = call.engine().container_export(call.name()).await?;
    Ok(reply::stream(reply::TAR, ReplyBody::channel(tar, |chunk| chunk)))
}

pub(super) async fn resize(call: Call) -> Result<Reply, Failure> {
    let query: ResizeQuery = call.query()?;
    call.engine().container_resize(call.name(), query.rows, query.columns)?;
    Ok(reply::empty(hyper::StatusCode::OK))
}

pub(super) async fn start(call: Call) -> Result<Reply, Failure> {
    let query: ContainerStartQuery = call.query()?;
    if query.checkpoint.is_some() || query.checkpoint_dir.is_some() {
        return Err(Failure::not_built("starting from a checkpoint is not built yet"));
    }
    call.engine().container_start(call.name()).await?;
    reply::no_content()
}

pub(super) async fn stop(call: Call) -> Result<Reply, Failure> {
    let options = stop_options(&call)?;
    call.engine().container_stop(call.name(), options).await?;
    reply::no_content()
}

pub(super) async fn restart(call: Call) -> Result<Reply, Failure> {
    let options = stop_options(&call)?;
    call.engine().container_restart(call.name(), options).await?;
    reply::no_content()
}

fn stop_options(call: &Call) -> Result<StopOptions, Failure> {
    let query: ContainerStopQuery = call.query()?;
    // `signal` came with 1.42; before, it was an unknown parameter and ignored.
    let text = query.signal.filter(|_| call.version.at_least(42));
    Ok(StopOptions { signal: signal(text.as_deref())?, timeout_s: query.timeout_s })
}

fn signal(text: Option<&str>) -> Result<Option<Signal>, Failure> {
    text.map(|text| text.parse::<Signal>().map_err(|error| Failure::invalid(error.to_string()))).transpose()
}

pub(super) async fn kill(call: Call) -> Result<Reply, Failure> {
    let query: ContainerKillQuery = call.query()?;
    let killed = match signal(query.signal.as_deref()) {
        Ok(signal) => call.engine().container_kill(call.name(), signal).await.map_err(Failure::from),
        Err(invalid) => Err(invalid),
    };
    match killed {
        Ok(()) => reply::no_content(),
        Err(Failure { status, message }) => {
            Err(Failure { status, message: format!("cannot kill container: {}: {message}", call.name()) })
        }
    }
}

pub(super) async fn update(mut call: Call) -> Result<Reply, Failure> {
    let request: ContainerUpdateRequest = call.required_json("the update says nothing").await?;
    let mut limits = convert::limits::limits(&request.resources)?;
    if !call.version.at_least(40) {
        // Older clients send it with every update, and mean nothing by it.
        limits.pids_max = 0;
    } else if request.resources.pids_limit.is_some_and(|most| most <= 0) {
        limits.pids_max = hako_model::Limits::PIDS_UNLIMITED;
    }
    let named = !request.restart_policy.name.is_empty();
    let restart = named.then(|| convert::host::restart_policy(&request.restart_policy)).transpose()?;
    let warnings = call.engine().container_update(call.name(), limits, restart).await?;
    // Go's nil slice.
    reply::json(&ContainerUpdateResponse { warnings: (!warnings.is_empty()).then_some(warnings) })
}

pub(super) async fn edit(mut call: Call) -> Result<Reply, Failure> {
    let request: ContainerEditRequest = call.required_json("the edit says nothing").await?;
    let edit = EditOptions {
        publish: convert::port::bindings(&request.publish_add)?,
        unpublish: request.publish_remove.iter().map(|text| convert::port::choice(text)).collect::<Result<_, _>>()?,
        labels: request.labels_add,
        unlabel: request.labels_remove,
        log_options: request.log_options,
    };
    call.engine().container_edit(call.name(), edit).await?;
    reply::no_content()
}

pub(super) async fn rename(call: Call) -> Result<Reply, Failure> {
    let query: ContainerRenameQuery = call.query()?;
    if query.name.is_empty() {
        return Err(Failure::invalid("Neither old nor new names may be empty"));
    }
    call.engine().container_rename(call.name(), query.name.trim_start_matches('/')).await?;
    reply::no_content()
}

pub(super) async fn pause(call: Call) -> Result<Reply, Failure> {
    call.engine().container_pause(call.name()).await?;
    reply::no_content()
}

pub(super) async fn unpause(call: Call) -> Result<Reply, Failure> {
    call.engine().container_unpause(call.name()).await?;
    reply::no_content()
}

pub(super) async fn remove(call: Call) -> Result<Reply, Failure> {
    let query: ContainerRemoveQuery = call.query()?;
    if query.link {
        call.engine().container_unlink(call.name()).await?;
        return reply::no_content();
    }
    let options = RemoveOptions { force: query.force, volumes: query.volumes };
    call.engine().container_remove(call.name(), options).await?;
    reply::no_content()
}

pub(super) async fn prune(call: Call) -> Result<Reply, Failure> {
    let query: PruneQuery = call.query()?;
    let pruned = call.engine().container_prune(&convert::filters(query.filters)).await?;
    let containers_deleted = (!pruned.removed.is_empty()).then_some(pruned.removed);
    reply::json(&ContainerPruneResponse { containers_deleted, space_reclaimed: pruned.reclaimed })
}
