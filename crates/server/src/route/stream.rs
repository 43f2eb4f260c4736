//! The rows of `/containers` whose answer goes on: attach, logs, wait.
//!
//! Their heads go out at once: clients attach and begin to wait before they start a container.

use hako_api::{
    container::{ContainerWaitResponse, WaitExitError},
    query::{ContainerAttachQuery, ContainerLogsQuery, ContainerStatsQuery, ContainerWaitQuery},
};
use hako_engine::{
    container::stats::StatsMode,
    stdio::StdinWriter,
    view::{AttachOptions, LogOptions, StatsView, WaitCondition},
};

use super::time;
use crate::{
    call::Call,
    convert,
    detach::DetachKeys,
    error::Failure,
    hijack::{self, Detach, Format, Session},
    reply::{self, Reply, ReplyBody},
    websocket,
};

pub(super) async fn attach(call: Call) -> Result<Reply, Failure> {
    let session = session(&call).await?;
    Ok(hijack::answer(call, session.format, std::future::ready(session)).await)
}

/// The same over a WebSocket.
pub(super) async fn attach_ws(call: Call) -> Result<Reply, Failure> {
    let session = session(&call).await?;
    websocket::answer(call, session)
}

async fn session(call: &Call) -> Result<Session<StdinWriter>, Failure> {
    let query: ContainerAttachQuery = call.query()?;
    let keys = DetachKeys::parse(query.detach_keys.as_deref())?;
    let options = AttachOptions {
        stdin: query.stdin,
        stdout: query.stdout,
        stderr: query.stderr,
        logs: query.logs,
        stream: query.stream,
    };
    let attachment = call.engine().container_attach(call.name(), options).await?;
    let (engine, name) = (call.engine().clone(), call.name().to_owned());
    let detach = Detach { keys, tell: Box::new(move || engine.container_detached(&name)) };
    Ok(Session::new(attachment, query.stdout || query.stderr, detach))
}

pub(super) async fn logs(call: Call) -> Result<Reply, Failure> {
    let query: ContainerLogsQuery = call.query()?;
    if !query.stdout && !query.stderr {
        return Err(Failure::invalid("Bad parameters: you must choose at least one stream"));
    }
    let options = LogOptions {
        follow: query.follow,
        stdout: query.stdout,
        stderr: query.stderr,
        since: time("since", &query.since)?,
        until: time("until", &query.until)?,
        timestamps: query.timestamps,
        // What is not a number means all, `all` itself included.
        tail: query.tail.parse().ok(),
        details: query.details,
    };
    let log = call.engine().container_logs(call.name(), options).await?;
    let format = Format::new(log.tty);
    Ok(reply::stream(format.content_type(call.version), format.body(log.output)))
}

/// Docker streams unless it is told not to.
pub(super) async fn stats(call: Call) -> Result<Reply, Failure> {
    let query: ContainerStatsQuery = call.query()?;
    // `one-shot` came with 1.41.
    let one_shot = query.one_shot && call.version.at_least(41);
    let mode = match (query.stream.unwrap_or(true), one_shot) {
        (true, true) => return Err(Failure::invalid("cannot have stream=true and one-shot=true")),
        (true, false) => StatsMode::Stream,
        (false, true) => StatsMode::OneShot,
        (false, false) => StatsMode::Once,
    };
    let samples = call.engine().container_stats(call.name(), mode)?;
    let line = |view: StatsView| {
        let mut bytes = serde_json::to_vec(&convert::stats::stats(&view))?;
        bytes.push(b'\n');
        Ok(bytes.into())
    };
    Ok(reply::stream(reply::JSON, ReplyBody::channel(samples, line)))
}

pub(super) async fn wait(call: Call) -> Result<Reply, Failure> {
    let query: ContainerWaitQuery = call.query()?;
    let condition = match query.condition.as_deref().filter(|_| call.version.at_least(30)) {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => return Err(Failure::invalid(format!("invalid condition: {other:?}"))),
    };
    let waiting = call.engine().container_wait(call.name(), condition)?;
    let body = async move {
        let outcome = waiting.await;
        let answer = ContainerWaitResponse {
            status_code: i64::from(outcome.code),
            error: outcome.error.map(|message| WaitExitError { message }),
        };
        let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
        bytes.push(b'\n');
        bytes.into()
    };
    Ok(reply::stream(reply::JSON, ReplyBody::later(body)))
}
