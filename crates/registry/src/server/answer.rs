//! One request from its path to its answer: who asks, what for, and the handler that does it.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;
use serde_json::json;

use super::{
    Shared,
    access::{Grant, Granted, needs},
    blob,
    blob::set,
    endpoint::{Endpoint, Parameters, decode},
    error::ApiError,
    manifest, referrers, search, transfer, upload,
};
use crate::{body::Body, limits, name::Repository};

/// Answers one request, whatever it is.
pub(crate) async fn answer(shared: Arc<Shared>, peer: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    let (method, target) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = dispatch(&shared, request).await.unwrap_or_else(|error| {
        tracing::debug!(%peer, %method, %target, status = error.status.as_u16(), message = %error.message, "refused");
        error.into_response()
    });
    if method == Method::HEAD {
        // The answer to a GET without its body. Where there is none to measure, the handler has said how long it is.
        let length = response.body().size_hint().exact().filter(|length| *length > 0);
        if let Some(length) = length {
            set(&mut response, header::CONTENT_LENGTH, &length.to_string());
        }
        *response.body_mut() = Body::empty();
    }
    tracing::info!(%peer, %method, %target, status = response.status().as_u16());
    let headers = response.headers_mut();
    let version = HeaderName::from_static("docker-distribution-api-version");
    headers.insert(version, HeaderValue::from_static("registry/2.0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn dispatch(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let path = decode(&request.uri().path().replace('+', "%2B"));
    let parameters = Parameters::parse(request.uri().query().unwrap_or_default());
    let (head, body) = request.into_parts();
    let judged = judge(shared, &path, &parameters, &head.method, &head.headers).await;
    let (endpoint, granted) = match judged {
        Ok(judged) => judged,
        Err(error) => {
            transfer::drain(body).await;
            return Err(error);
        }
    };
    let headers = &head.headers;
    match (&head.method, endpoint) {
        (&Method::GET | &Method::HEAD, Endpoint::Root) => Ok(Response::new(Body::empty())),
        (&Method::GET | &Method::HEAD, Endpoint::Base) => json(&json!({})),
        (&Method::GET | &Method::HEAD, Endpoint::Ping1) => ping1(),
        (&Method::GET | &Method::HEAD, Endpoint::Search) => search::search(shared, &parameters).await,
        (&Method::GET | &Method::HEAD, Endpoint::Catalog) => catalog(shared, &parameters).await,
        (&Method::GET | &Method::HEAD, Endpoint::Tags(name)) => tags(shared, name, &parameters).await,
        (&Method::GET | &Method::HEAD, Endpoint::Manifest(name, target)) => {
            manifest::read(shared, &head.method, headers, name, target).await
        }
        (&Method::PUT, Endpoint::Manifest(name, target)) => {
            manifest::write(shared, name, target, &parameters, headers, body).await
        }
        (&Method::DELETE, Endpoint::Manifest(name, target)) => manifest::remove(shared, name, target).await,
        (&Method::GET | &Method::HEAD, Endpoint::Blob(name, digest)) => {
            blob::read(shared, &head.method, headers, name, digest).await
        }
        (&Method::DELETE, Endpoint::Blob(name, digest)) => blob::remove(shared, name, digest).await,
        (&Method::POST, Endpoint::Uploads(name)) => {
            upload::begin(shared, name, &parameters, &granted, headers, body).await
        }
        (&Method::GET | &Method::HEAD, Endpoint::Upload(name, id)) => upload::status(shared, name, &id).await,
        (&Method::PATCH, Endpoint::Upload(name, id)) => upload::piece(shared, name, &id, headers, body).await,
        (&Method::PUT, Endpoint::Upload(name, id)) => {
            upload::finish(shared, name, &id, &parameters, headers, body).await
        }
        (&Method::DELETE, Endpoint::Upload(name, id)) => upload::cancel(shared, name, &id).await,
        (&Method::GET | &Method::HEAD, Endpoint::Referrers(name, digest)) => {
            referrers::list(shared, name, digest, &parameters).await
        }
        (_, endpoint) => {
            transfer::drain(body).await;
            let error = ApiError::unsupported("the operation is unsupported");
            Err(error.header(header::ALLOW, allowed(&endpoint)))
        }
    }
}

/// What may be done at an endpoint: a refusal has to say it (RFC 9110, section 15.5.6).
fn allowed(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Endpoint::Blob(..) => "GET, HEAD, DELETE",
        Endpoint::Uploads(_) => "POST",
        Endpoint::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        _ => "GET, HEAD",
    }
}

// Whether this may be asked for at all, by anybody and by this one.
async fn judge(
    shared: &Arc<Shared>,
    path: &str,
    parameters: &Parameters,
    method: &Method,
    headers: &hyper::HeaderMap,
) -> Result<(Endpoint, Granted), ApiError> {
    let parsed = Endpoint::parse(path);
    let mut granted = Granted::Everything;
    if !matches!(parsed, Ok(Endpoint::Root | Endpoint::Ping1)) {
        // Strangers do not learn which paths there are.
        let needs = parsed.as_ref().map(|endpoint| needs(method, endpoint)).unwrap_or_default();
        let from = parameters.get("from").filter(|_| matches!(parsed, Ok(Endpoint::Uploads(_))));
        let wishes: Vec<Grant> = from.map(|name| Grant::repository(name, &["pull"])).into_iter().collect();
        granted = shared.access.check(headers, &needs, &wishes).await?;
    }
    let endpoint = parsed.map_err(|error| match (method, error.code) {
        // What is asked for under such a tag is not there; what is put there is wrong.
        (&Method::PUT, "MANIFEST_UNKNOWN") => ApiError::tag_invalid(path),
        _ => error,
    })?;
    let changes = !method.is_safe();
    if shared.upstream.is_some() && (changes || matches!(endpoint, Endpoint::Referrers(..))) {
        // Clients look for referrers under a tag when there is no such endpoint, and tags are brought.
        let why = "the registry is a cache of another one";
        return Err(if changes { ApiError::unsupported(why) } else { ApiError::not_found() });
    }
    if changes && shared.settings.read_only {
        return Err(ApiError::unsupported("the registry is read-only"));
    }
    // A tag is as much worth as a manifest (CVE-2026-41888): one switch for both, and for blobs.
    let deletes = method == Method::DELETE && matches!(endpoint, Endpoint::Manifest(..) | Endpoint::Blob(..));
    if deletes && !shared.settings.delete {
        let error = ApiError::unsupported("deleting is not allowed here (REGISTRY_STORAGE_DELETE_ENABLED)");
        return Err(error.header(header::ALLOW, "GET, HEAD"));
    }
    Ok((endpoint, granted))
}

// What registries of the first protocol said; docker searches nowhere else.
fn ping1() -> Result<Response<Body>, ApiError> {
    let mut response = json(&true)?;
    set(&mut response, HeaderName::from_static("x-docker-registry-version"), "0.9.0");
    set(&mut response, HeaderName::from_static("x-docker-registry-standalone"), "true");
    Ok(response)
}

async fn catalog(shared: &Arc<Shared>, parameters: &Parameters) -> Result<Response<Body>, ApiError> {
    let page = Page::of(parameters, Some(limits::PAGE_DEFAULT))?;
    let held = shared.clone();
    let names = blocking("cannot list repositories", move || held.storage.repositories()).await?;
    let names = names.into_iter().map(|name| name.as_str().to_owned()).collect();
    page.answer("/v2/_catalog", names, |names| json!({ "repositories": names }))
}

async fn tags(shared: &Arc<Shared>, name: Repository, parameters: &Parameters) -> Result<Response<Body>, ApiError> {
    let page = Page::of(parameters, None)?;
    if let Some(upstream) = &shared.upstream
        && let Some(tags) = upstream.tags(&name).await
    {
        let path = format!("/v2/{name}/tags/list");
        return page.answer(&path, tags, |tags| json!({ "name": name.as_str(), "tags": tags }));
    }
    let (held, known) = (shared.clone(), name.clone());
    let tags = blocking("cannot list tags", move || {
        let tags = held.storage.tags(&known)?;
        Ok((!tags.is_empty() || held.storage.has_repository(&known)).then_some(tags))
    });
    let tags = tags.await?.ok_or_else(|| ApiError::name_unknown(name.as_str()))?;
    page.answer(&format!("/v2/{name}/tags/list"), tags, |tags| json!({ "name": name.as_str(), "tags": tags }))
}

/// Which part of a sorted list is wanted.
struct Page {
    /// `None`: all.
    count: Option<usize>,
    after: Option<String>,
}

impl Page {
    fn of(parameters: &Parameters, default: Option<usize>) -> Result<Self, ApiError> {
        let bad = |text: &str| {
            let why = format!("{text:?} is not a number of entries");
            ApiError::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", why)
        };
        let count = parameters.get("n").map(|text| text.parse::<usize>().map_err(|_| bad(text))).transpose()?;
        let after = parameters.get("last").filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self { count: count.map(|count| count.min(limits::PAGE_MAX)).or(default), after })
    }

    fn answer(
        self,
        path: &str,
        mut all: Vec<String>,
        render: impl FnOnce(&[String]) -> serde_json::Value,
    ) -> Result<Response<Body>, ApiError> {
        if let Some(after) = &self.after {
            all.retain(|name| name > after);
        }
        let count = self.count.unwrap_or(all.len()).min(all.len());
        let is_more = count < all.len();
        all.truncate(count);
        let mut response = json(&render(&all))?;
        if let (true, Some(last)) = (is_more, all.last()) {
            let next = format!("<{path}?last={}&n={count}>; rel=\"next\"", last.replace('/', "%2F"));
            set(&mut response, header::LINK, &next);
        }
        Ok(response)
    }
}

/// 200 with JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Response<Body>, ApiError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", error.to_string()))?;
    let mut response = Response::new(Body::Whole(Bytes::from(text)));
    set(&mut response, header::CONTENT_TYPE, "application/json");
    Ok(response)
}

/// The disk's work, in a thread that may wait for it.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(ApiError::storage(what)),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the registry is stopping")),
        },
    }
}
