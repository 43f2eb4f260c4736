//! From a request to its row's handler.
//!
//! The decision ([`find`]) is a function of method and path alone, so that it is tested as data.

use std::{sync::Arc, time::Instant};

use hako_api::{
    ApiVersion, Operation, query,
    route::{self, State},
};
use hako_base::ErrorKind;
use hyper::{
    HeaderMap, Request,
    body::Incoming,
    header::{HeaderName, HeaderValue, SERVER},
};

use crate::{
    call::{Call, drain},
    error::Failure,
    reply::{self, Reply},
    route::{Handling, handler},
    serve::Daemon,
};

pub(crate) const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
const NOT_IN_A_SWARM: &str = "This node is not part of a swarm";

/// Answers one request, whatever it is.
pub(crate) async fn answer(daemon: Arc<Daemon>, request: Request<Incoming>) -> Reply {
    let server = format!("Hako/{} (linux)", daemon.settings.version);
    let (method, target) = (request.method().clone(), request.uri().path().to_owned());
    let found = find(method.as_str(), &target).and_then(|found| {
        let oldest = daemon.settings.min_api;
        if found.version < oldest {
            return Err(Failure::invalid(format!(
                "client version {} is too old. Minimum supported API version is {oldest}, please upgrade your client to a newer version",
                found.version
            )));
        }
        let handle = handler(found.operation).ok_or_else(|| not_built(found.operation))?;
        Ok((found, handle))
    });
    let replied = match found {
        Ok((found, handle)) => {
            let handling = handle(Call::new(daemon.clone(), found.version, found.values, request));
            let began = Instant::now();
            let replied = if method.is_safe() { handling.await } else { to_the_end(handling).await };
            if replied.is_ok() {
                daemon.timings.note(found.operation, began.elapsed());
            }
            replied
        }
        Err(failure) => {
            // A client that is still sending would see a broken pipe instead of the reason.
            drain(&mut request.into_body()).await;
            Err(failure)
        }
    };
    let mut reply = replied.unwrap_or_else(|failure| {
        tracing::debug!(%method, %target, status = failure.status, message = %failure.message, "refused");
        reply::failure(failure)
    });
    add_headers(reply.headers_mut(), &server);
    reply
}

/// What changes something is done to its end, whether or not the client stays to hear of it: the future of a request
/// whose connection has ended is dropped, and half a start is a process that nobody looks after.
async fn to_the_end(handling: Handling) -> Result<Reply, Failure> {
    match tokio::spawn(handling).await {
        Ok(replied) => replied,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down; nobody is left to hear the answer.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    operation: Operation,
    version: ApiVersion,
    values: Vec<String>,
}

fn find(method: &str, target: &str) -> Result<Found, Failure> {
    let decoded = query::percent_decode(target);
    let (version, path) = route::split_version(&decoded);
    let not_found = || Failure::new(ErrorKind::NotFound, "page not found");
    let found = route::find(method, path).ok_or_else(not_found)?;
    let version = match version {
        None => ApiVersion::MAX,
        Some(text) => {
            let version: ApiVersion = text.parse().map_err(|_| not_found())?;
            version.supported().map_err(|unsupported| Failure::invalid(unsupported.to_string()))?
        }
    };
    let operation = found.route.operation;
    match found.route.state {
        State::Built => Ok(Found { operation, version, values: found.values.into_iter().map(str::to_owned).collect() }),
        State::NotBuilt => Err(not_built(operation)),
        State::SwarmOnly => Err(Failure::new(
            ErrorKind::Unavailable,
            match operation {
                Operation::SwarmLeave | Operation::SwarmUnlock => NOT_IN_A_SWARM,
                Operation::VolumeUpdate => "volume update only valid for cluster volumes, but swarm is unavailable",
                _ => NOT_A_MANAGER,
            },
        )),
    }
}

fn not_built(operation: Operation) -> Failure {
    let row = operation.route();
    Failure::not_built(format!("{operation} ({} {}) is not built yet", row.method.name(), row.path))
}

fn add_headers(headers: &mut HeaderMap, server: &str) {
    for (name, value) in [("docker-experimental", "false"), ("ostype", "linux")] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    for (name, value) in
        [(HeaderName::from_static("api-version"), ApiVersion::MAX.to_string()), (SERVER, server.to_owned())]
    {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use hako_api::route::ROUTES;

    use super::*;

    fn check(request: &str, expected: &str) {
        let (method, path) = request.split_once(' ').unwrap();
        let got = match find(method, path) {
            Ok(found) => format!("{} {} {}", found.version, found.operation, found.values.join(" ")),
            Err(failure) => format!("{} {}", failure.status, failure.message),
        };
        assert_eq!(got.trim_end(), expected, "{request}");
    }

    #[tokio::test]
    async fn a_change_is_done_though_its_client_has_gone() {
        let (begin, begun) = tokio::sync::oneshot::channel::<()>();
        let (done, mut is_done) = tokio::sync::mpsc::channel(1);
        let handling: Handling = Box::pin(async move {
            let _ = begun.await;
            let _ = done.send(()).await;
            Err(Failure::invalid("nobody hears this"))
        });
        let client = tokio::spawn(to_the_end(handling));
        tokio::task::yield_now().await;
        client.abort();
        assert!(client.await.is_err());
        begin.send(()).unwrap();
        assert_eq!(is_done.recv().await, Some(()));
    }

    #[test]
    fn requests_become_calls() {
        check("GET /v1.41/containers/json", "1.41 container_list");
        check("GET /containers/json", "1.50 container_list");
        check("GET /v1.24/images/a%2Fb:c/json", "1.24 image_inspect a/b:c");
        check("POST /v1.50/containers/web/stop", "1.50 container_stop web");
        check("HEAD /_ping", "1.50 system_ping_head");
    }

    #[test]
    fn versions_outside_are_told_in_dockers_words() {
        let old = "400 client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version";
        check("GET /v1.23/info", old);
        check("GET /v1.51/info", "400 client version 1.51 is too new. Maximum supported API version is 1.50");
    }

    #[test]
    fn an_unknown_route_or_method_is_no_page() {
        for request in ["GET /", "GET /v1.41/nope", "PATCH /info", "POST /v1.41/containers/json", "GET /v1.2.3/info"] {
            check(request, "404 page not found");
        }
    }

    #[test]
    fn rows_to_come_say_so() {
        check("POST /v1.41/build/cancel", "501 build_cancel (POST /build/cancel) is not built yet");
        check("GET /services", &format!("503 {NOT_A_MANAGER}"));
        check("GET /swarm", &format!("503 {NOT_A_MANAGER}"));
        check("POST /swarm/leave", &format!("503 {NOT_IN_A_SWARM}"));
        check("POST /swarm/init", "501 swarm_init (POST /swarm/init) is not built yet");
    }

    #[test]
    fn every_built_row_has_a_handler_and_no_other_has() {
        for row in ROUTES {
            assert_eq!(handler(row.operation).is_some(), row.state == State::Built, "{}", row.operation);
        }
    }
}
