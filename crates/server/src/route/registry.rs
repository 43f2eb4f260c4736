//! The rows that speak to registries: pull, push, search, login, and what a registry has under a name.

use hako_api::{
    auth::{AuthConfig, AuthResponse},
    image::{DistributionInspect, RemoteDescriptor, RemotePlatform, SearchItem},
    progress::ProgressMessage,
    query::{ImageCreateQuery, ImagePushQuery, ImageSearchQuery},
};
use hako_engine::{
    EngineError,
    view::{Credentials, ImportOptions, Progress},
};
use tokio::sync::mpsc;

use crate::{
    call::Call,
    convert::{self, signed},
    error::Failure,
    limits,
    reply::{self, Reply, ReplyBody},
};

/// `POST /images/create` with `fromImage`.
pub(super) async fn pull(call: Call, query: ImageCreateQuery) -> Result<Reply, Failure> {
    let (engine, credentials) = (call.engine().clone(), credentials(&call.registry_auth()));
    told(move |progress| async move {
        let wanted = query.platform.as_deref();
        engine.image_pull(&query.from_image, &query.tag, wanted, credentials, progress).await
    })
    .await
}

/// `POST /images/create` with an address as `fromSrc`.
pub(super) async fn import(call: Call, address: String, options: ImportOptions) -> Result<Reply, Failure> {
    let engine = call.engine().clone();
    told(move |progress| async move { engine.image_import_from(&address, options, progress).await }).await
}

pub(super) async fn push(call: Call) -> Result<Reply, Failure> {
    let query: ImagePushQuery = call.query()?;
    let tagged = if query.tag.is_empty() { call.name().to_owned() } else { format!("{}:{}", call.name(), query.tag) };
    super::image::check_platform(&call, &tagged, query.platform)?;
    let (engine, credentials) = (call.engine().clone(), credentials(&call.registry_auth()));
    let name = call.name().to_owned();
    told(move |progress| async move { engine.image_push(&name, &query.tag, credentials, progress).await }).await
}

pub(super) async fn search(call: Call) -> Result<Reply, Failure> {
    let query: ImageSearchQuery = call.query()?;
    let limit = query.limit.as_deref().filter(|text| !text.is_empty());
    let limit =
        limit.map(|text| text.parse::<usize>().map_err(|_| Failure::invalid(format!("invalid limit {text:?}"))));
    let credentials = credentials(&call.registry_auth());
    let filters = convert::filters(query.filters);
    let found = call.engine().image_search(&query.term, limit.transpose()?, &filters, &credentials).await?;
    let items: Vec<SearchItem> = found
        .into_iter()
        .map(|one| SearchItem {
            star_count: one.star_count,
            is_official: one.is_official,
            name: one.name,
            is_automated: one.is_automated,
            description: one.description,
        })
        .collect();
    reply::json(&items)
}

pub(super) async fn auth(mut call: Call) -> Result<Reply, Failure> {
    let config: AuthConfig = call.required_json("no credentials were sent").await?;
    let token = call.engine().system_auth(&config.serveraddress, &credentials(&config)).await?;
    reply::json(&AuthResponse { status: "Login Succeeded".to_owned(), identity_token: token })
}

pub(super) async fn distribution(call: Call) -> Result<Reply, Failure> {
    let credentials = credentials(&call.registry_auth());
    let found = call.engine().distribution_inspect(call.name(), &credentials).await?;
    let platforms = found.platforms.into_iter().map(|one| RemotePlatform {
        architecture: one.architecture,
        os: one.os,
        variant: one.variant.unwrap_or_default(),
    });
    reply::json(&DistributionInspect {
        descriptor: RemoteDescriptor {
            media_type: found.media_type,
            digest: found.digest.to_string(),
            size: signed(found.size),
        },
        platforms: platforms.collect(),
    })
}

/// Credentials as the engine knows them.
pub(super) fn credentials(config: &AuthConfig) -> Credentials {
    let mut credentials = Credentials {
        username: config.username.clone(),
        password: config.password.clone(),
        identity_token: config.identitytoken.clone(),
        registry_token: config.registrytoken.clone(),
        holder: None,
    };
    // Some clients send what `config.json` has: user and password in one.
    if credentials.username.is_empty()
        && let Some(both) =
            hako_api::text::base64_url_decode(&config.auth).and_then(|bytes| String::from_utf8(bytes).ok())
        && let Some((user, password)) = both.split_once(':')
    {
        (credentials.username, credentials.password) = (user.to_owned(), password.to_owned());
    }
    credentials
}

// Answers with what an operation tells as it goes on. What fails before it has told anything is the status of the
// answer; what fails later is a line in it, as Docker does.
async fn told<F>(operation: impl FnOnce(mpsc::Sender<Progress>) -> F) -> Result<Reply, Failure>
where
    F: Future<Output = Result<(), EngineError>> + Send + 'static,
{
    let (progress, mut steps) = mpsc::channel::<Progress>(limits::PROGRESS_QUEUED);
    let mut running = tokio::spawn(operation(progress));
    let first = steps.recv().await;
    if first.is_none() {
        let done =
            (&mut running).await.map_err(|error| Failure::new(hako_base::ErrorKind::Internal, error.to_string()))?;
        done?;
        return Ok(reply::stream(reply::JSON, ReplyBody::Whole(Default::default())));
    }
    let (lines, receiver) = mpsc::channel::<ProgressMessage>(limits::PROGRESS_QUEUED);
    tokio::spawn(async move {
        let mut next = first;
        while let Some(step) = next {
            if lines.send(convert::system::progress(step)).await.is_err() {
                // Who pulls and goes does not want the image any more (Docker stops as well).
                running.abort();
                return;
            }
            next = steps.recv().await;
        }
        if let Ok(Err(error)) = running.await {
            let _ = lines.send(ProgressMessage::error(hako_base::error::chain(&error))).await;
        }
    });
    Ok(reply::stream(reply::JSON, ReplyBody::channel(receiver, |line| Ok(line.encode().into()))))
}
