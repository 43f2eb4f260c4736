//! The rows of `/images` and `/commit`.

use std::task::Poll;

use hako_api::{
    container::ContainerConfig,
    image::{IdResponse, ImageDeleteItem, ImageHistoryItem, ImagePruneResponse, ImageSummary},
    progress::ProgressMessage,
    query::{
        ImageCommitQuery, ImageCreateQuery, ImageListQuery, ImageLoadQuery, ImagePlatformQuery, ImageRemoveQuery,
        ImageSaveQuery, ImageTagQuery, PruneQuery,
    },
};
use hako_engine::view::{CommitOptions, ImportOptions, Progress};
use hyper::StatusCode;
use tokio::sync::mpsc;

use crate::{
    call::Call,
    convert,
    error::Failure,
    limits,
    reply::{self, Reply, ReplyBody},
};

pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let query: ImageListQuery = call.query()?;
    let mut filters = convert::filters(query.filters);
    if let Some(pattern) = query.filter {
        filters.add("reference", &pattern);
    }
    let images = call.engine().image_list(query.all, &filters)?;
    let summaries: Vec<ImageSummary> = images
        .iter()
        .map(|view| convert::image::summary(view, false, query.shared_size).for_version(call.version))
        .collect();
    reply::json(&summaries)
}

/// `import` with `fromSrc`; `pull` with `fromImage`.
pub(super) async fn create(call: Call) -> Result<Reply, Failure> {
    let query: ImageCreateQuery = call.query()?;
    if !query.from_image.is_empty() {
        return super::registry::pull(call, query).await;
    }
    let options = ImportOptions {
        repository: query.repo,
        tag: query.tag,
        message: query.message,
        changes: query.changes,
        platform: query.platform,
    };
    if query.from_src != "-" {
        return super::registry::import(call, query.from_src, options).await;
    }
    let engine = call.engine().clone();
    let id = engine.image_import(call.into_reader(), options).await?;
    let line = ProgressMessage { status: id.to_string(), ..ProgressMessage::default() };
    Ok(reply::stream(reply::JSON, ReplyBody::Whole(line.encode().into())))
}

pub(super) async fn inspect(call: Call) -> Result<Reply, Failure> {
    let query: ImagePlatformQuery = call.query()?;
    let view = call.engine().image_inspect(call.name())?;
    check_platform(&call, call.name(), query.platform)?;
    reply::json(&convert::image::inspect(&view).for_version(call.version))
}

pub(super) async fn history(call: Call) -> Result<Reply, Failure> {
    let query: ImagePlatformQuery = call.query()?;
    check_platform(&call, call.name(), query.platform)?;
    let lines = call.engine().image_history(call.name())?;
    let lines: Vec<ImageHistoryItem> = lines.iter().map(convert::image::history).collect();
    reply::json(&lines)
}

pub(super) async fn tag(call: Call) -> Result<Reply, Failure> {
    let query: ImageTagQuery = call.query()?;
    call.engine().image_tag(call.name(), &query.repo, &query.tag).await?;
    Ok(reply::empty(StatusCode::CREATED))
}

pub(super) async fn remove(call: Call) -> Result<Reply, Failure> {
    let query: ImageRemoveQuery = call.query()?;
    check_platform(&call, call.name(), query.platforms)?;
    let removed = call.engine().image_remove(call.name(), query.force, query.no_prune).await?;
    let lines: Vec<ImageDeleteItem> = removed.into_iter().map(convert::image::removed).collect();
    reply::json(&lines)
}

pub(super) async fn prune(call: Call) -> Result<Reply, Failure> {
    let query: PruneQuery = call.query()?;
    let (removed, space_reclaimed) = call.engine().image_prune(&convert::filters(query.filters)).await?;
    let lines: Vec<ImageDeleteItem> = removed.into_iter().map(convert::image::removed).collect();
    let images_deleted = (!lines.is_empty()).then_some(lines);
    reply::json(&ImagePruneResponse { images_deleted, space_reclaimed })
}

pub(super) async fn commit(mut call: Call) -> Result<Reply, Failure> {
    let query: ImageCommitQuery = call.query()?;
    let config: Option<ContainerConfig> = call.json().await?;
    let options = CommitOptions {
        repository: query.repo,
        tag: query.tag,
        comment: query.comment,
        author: query.author,
        pause: query.pause.unwrap_or(true),
        changes: query.changes,
        config: config.as_ref().map(convert::config::image_config).transpose()?,
    };
    let id = call.engine().image_commit(&query.container, options).await?;
    reply::created(&IdResponse { id: id.to_string() })
}

pub(super) async fn save(call: Call) -> Result<Reply, Failure> {
    let query: ImageSaveQuery = call.query()?;
    for (name, platform) in query.names.iter().flat_map(|name| query.platform.iter().map(move |one| (name, one))) {
        // Whoever wants two does not want one of them.
        check_platform(&call, name, [platform.clone()])?;
    }
    archive(&call, query.names, &query.without).await
}

pub(super) async fn save_one(call: Call) -> Result<Reply, Failure> {
    let query: ImageSaveQuery = call.query()?;
    for platform in &query.platform {
        check_platform(&call, call.name(), [platform.clone()])?;
    }
    archive(&call, vec![call.name().to_owned()], &query.without).await
}

/// An image here is for one platform: who asks for it gets it, and for another one an error.
pub(super) fn check_platform(call: &Call, name: &str, wanted: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let wanted: Vec<String> = wanted.into_iter().filter(|text| !text.is_empty()).collect();
    Ok(call.engine().image_check_platform(name, &wanted)?)
}

async fn archive(call: &Call, names: Vec<String>, without: &[String]) -> Result<Reply, Failure> {
    let without = without.iter().map(|text| text.parse()).collect::<Result<_, hako_model::IdError>>();
    let without = without.map_err(|error| Failure::invalid(error.to_string()))?;
    let tar = call.engine().image_save(names, without).await?;
    Ok(reply::stream(reply::TAR, ReplyBody::channel(tar, |chunk| chunk)))
}

/// The head goes out with the first line; what goes wrong later is told in band, as Docker does.
pub(super) async fn load(call: Call) -> Result<Reply, Failure> {
    let query: ImageLoadQuery = call.query()?;
    let engine = call.engine().clone();
    let (progress, mut steps) = mpsc::channel::<Progress>(limits::PROGRESS_QUEUED);
    let (lines, mut receiver) = mpsc::channel::<ProgressMessage>(limits::PROGRESS_QUEUED);
    let input = call.into_reader();
    tokio::spawn(async move {
        let loading = engine.image_load(input, &query.platform, progress);
        let telling = async {
            while let Some(step) = steps.recv().await {
                // `--quiet` wants the names alone.
                if (!query.quiet || !step.stream.is_empty())
                    && lines.send(convert::system::progress(step)).await.is_err()
                {
                    return;
                }
            }
        };
        let (loaded, ()) = tokio::join!(loading, telling);
        if let Err(error) = loaded {
            // A client that has gone does not want to know.
            let _ = lines.send(ProgressMessage::error(hako_base::error::chain(&error))).await;
        }
    });
    // A client that does not read what it is told closes once it has the head: with `--quiet`, that is when all is done.
    let first = receiver.recv().await;
    let mut first = first.map(|line| line.encode());
    let body = ReplyBody::Stream(Box::new(move |cx| match first.take() {
        Some(line) => Poll::Ready(Some(Ok(line.into()))),
        None => receiver.poll_recv(cx).map(|line| line.map(|line| Ok(line.encode().into()))),
    }));
    Ok(reply::stream(reply::JSON, body))
}
