//! The rows of `/containers`.

use hako_api::{
    Operation,
    archive::{self, PathStat},
    container::{
        ContainerCreateRequest, ContainerCreateResponse, ContainerEditRequest, ContainerExposure, ContainerInspect,
        ContainerPruneResponse, ContainerSummary, ContainerTopResponse, ContainerUpdateRequest,
        ContainerUpdateResponse, ContainerWaitResponse, FilesystemChange,
    },
    query::{
        ContainerArchivePutQuery, ContainerArchiveQuery, ContainerAttachQuery, ContainerCreateQuery,
        ContainerInspectQuery, ContainerKillQuery, ContainerListQuery, ContainerLogsQuery, ContainerRemoveQuery,
        ContainerRenameQuery, ContainerStartQuery, ContainerStatsQuery, ContainerStopQuery, ContainerTopQuery,
        ContainerWaitQuery, PruneQuery, ResizeQuery,
    },
    stats::ContainerStats,
};
use hyper::{Response, body::Incoming, header};

use crate::{BodyReader, Client, ClientError, Hijacked, JsonStream, RequestBody, limits};

/// A container being waited for: the daemon has begun to wait.
#[derive(Debug)]
pub struct ContainerWait {
    body: BodyReader,
}

impl ContainerWait {
    /// Waits for what was asked for.
    ///
    /// # Errors
    /// When the connection breaks off before it happens.
    pub async fn outcome(self) -> Result<ContainerWaitResponse, ClientError> {
        let operation = Operation::ContainerWait.name();
        let body = self.body.collect(limits::ANSWER_BYTES_MAX).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::Decode { operation, source })
    }
}

/// A log being read.
#[derive(Debug)]
pub struct LogReader {
    /// Whether it comes in frames (`multiplex`); not known below API 1.42, where it depends on the
    /// container's terminal.
    pub multiplexed: Option<bool>,
    pub body: BodyReader,
}

/// What every method here may answer: that the daemon does not, or answers with an error.
type Answer<T> = Result<T, ClientError>;

impl Client {
    pub async fn container_list(&self, query: &ContainerListQuery) -> Answer<Vec<ContainerSummary>> {
        self.call(Operation::ContainerList, &[]).query(query).read().await
    }

    pub async fn container_create(
        &self,
        query: &ContainerCreateQuery,
        request: &ContainerCreateRequest,
    ) -> Answer<ContainerCreateResponse> {
        self.call(Operation::ContainerCreate, &[]).query(query).json(request)?.read().await
    }

    pub async fn container_inspect(&self, name: &str, query: &ContainerInspectQuery) -> Answer<ContainerInspect> {
        self.call(Operation::ContainerInspect, &[name]).query(query).read().await
    }

    /// Beyond Docker: ports and labels of a container that may be running.
    pub async fn container_edit(&self, name: &str, request: &ContainerEditRequest) -> Answer<()> {
        self.call(Operation::ContainerEdit, &[name]).json(request)?.done().await
    }

    pub async fn container_exposure(&self, name: &str) -> Answer<Vec<ContainerExposure>> {
        self.call(Operation::ContainerExposure, &[name]).read().await
    }

    pub async fn container_top(&self, name: &str, query: &ContainerTopQuery) -> Answer<ContainerTopResponse> {
        self.call(Operation::ContainerTop, &[name]).query(query).read().await
    }

    pub async fn container_logs(&self, name: &str, query: &ContainerLogsQuery) -> Answer<LogReader> {
        let response = self.call(Operation::ContainerLogs, &[name]).query(query).start().await?;
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let multiplexed = match content_type {
            Some("application/vnd.docker.multiplexed-stream") => Some(true),
            _ => None,
        };
        Ok(LogReader { multiplexed, body: BodyReader::new(Operation::ContainerLogs.name(), response.into_body()) })
    }

    /// Samples of what it uses; the stream ends after one unless more were asked for.
    pub async fn container_stats(&self, name: &str, query: &ContainerStatsQuery) -> Answer<JsonStream<ContainerStats>> {
        let body = self.call(Operation::ContainerStats, &[name]).query(query).stream().await?;
        Ok(JsonStream::new(Operation::ContainerStats.name(), body))
    }

    pub async fn container_changes(&self, name: &str) -> Answer<Vec<FilesystemChange>> {
        let changes: Option<Vec<_>> = self.call(Operation::ContainerChanges, &[name]).read().await?;
        Ok(changes.unwrap_or_default())
    }

    /// A tar of its file system.
    pub async fn container_export(&self, name: &str) -> Answer<BodyReader> {
        self.call(Operation::ContainerExport, &[name]).stream().await
    }

    pub async fn container_resize(&self, name: &str, query: &ResizeQuery) -> Answer<()> {
        self.call(Operation::ContainerResize, &[name]).query(query).done().await
    }

    /// An already running container is no error here.
    pub async fn container_start(&self, name: &str, query: &ContainerStartQuery) -> Answer<()> {
        unless_not_modified(self.call(Operation::ContainerStart, &[name]).query(query).done().await)
    }

    /// An already stopped container is no error here.
    pub async fn container_stop(&self, name: &str, query: &ContainerStopQuery) -> Answer<()> {
        unless_not_modified(self.call(Operation::ContainerStop, &[name]).query(query).done().await)
    }

    pub async fn container_restart(&self, name: &str, query: &ContainerStopQuery) -> Answer<()> {
        self.call(Operation::ContainerRestart, &[name]).query(query).done().await
    }

    pub async fn container_kill(&self, name: &str, query: &ContainerKillQuery) -> Answer<()> {
        self.call(Operation::ContainerKill, &[name]).query(query).done().await
    }

    pub async fn container_update(
        &self,
        name: &str,
        request: &ContainerUpdateRequest,
    ) -> Answer<ContainerUpdateResponse> {
        self.call(Operation::ContainerUpdate, &[name]).json(request)?.read().await
    }

    pub async fn container_rename(&self, name: &str, query: &ContainerRenameQuery) -> Answer<()> {
        self.call(Operation::ContainerRename, &[name]).query(query).done().await
    }

    pub async fn container_pause(&self, name: &str) -> Answer<()> {
        self.call(Operation::ContainerPause, &[name]).done().await
    }

    pub async fn container_unpause(&self, name: &str) -> Answer<()> {
        self.call(Operation::ContainerUnpause, &[name]).done().await
    }

    pub async fn container_attach(&self, name: &str, query: &ContainerAttachQuery) -> Answer<Hijacked> {
        self.call(Operation::ContainerAttach, &[name]).query(query).hijack().await
    }

    /// The same by a WebSocket, for programs that stand between a browser and the daemon: `key` is the browser's, and
    /// what follows are frames of RFC 6455.
    pub async fn container_attach_ws(&self, name: &str, query: &ContainerAttachQuery, key: &str) -> Answer<Hijacked> {
        let call = self.call(Operation::ContainerAttachWs, &[name]).query(query);
        let call = call.header(header::HeaderName::from_static("sec-websocket-key"), key);
        let call = call.header(header::HeaderName::from_static("sec-websocket-version"), "13");
        call.hijack_as("websocket").await
    }

    /// Returns as soon as the daemon waits, so that a start after it cannot be missed.
    pub async fn container_wait(&self, name: &str, query: &ContainerWaitQuery) -> Answer<ContainerWait> {
        Ok(ContainerWait { body: self.call(Operation::ContainerWait, &[name]).query(query).stream().await? })
    }

    pub async fn container_remove(&self, name: &str, query: &ContainerRemoveQuery) -> Answer<()> {
        self.call(Operation::ContainerRemove, &[name]).query(query).done().await
    }

    /// What a path of a container is. The answer to a path that is not there has no text, as any answer to `HEAD`.
    pub async fn container_archive_stat(&self, name: &str, query: &ContainerArchiveQuery) -> Answer<PathStat> {
        let response = self.call(Operation::ContainerArchiveStat, &[name]).query(query).start().await?;
        path_stat(Operation::ContainerArchiveStat, &response)
    }

    /// A path of a container, as a tar.
    pub async fn container_archive_get(
        &self,
        name: &str,
        query: &ContainerArchiveQuery,
    ) -> Answer<(PathStat, BodyReader)> {
        let operation = Operation::ContainerArchiveGet;
        let response = self.call(operation, &[name]).query(query).start().await?;
        Ok((path_stat(operation, &response)?, BodyReader::new(operation.name(), response.into_body())))
    }

    /// Unpacks a tar into a directory of a container.
    pub async fn container_archive_put(
        &self,
        name: &str,
        query: &ContainerArchivePutQuery,
        tar: RequestBody,
    ) -> Answer<()> {
        self.call(Operation::ContainerArchivePut, &[name]).query(query).tar(tar).done().await
    }

    pub async fn container_prune(&self, query: &PruneQuery) -> Answer<ContainerPruneResponse> {
        self.call(Operation::ContainerPrune, &[]).query(query).read().await
    }
}

fn path_stat(operation: Operation, response: &Response<Incoming>) -> Answer<PathStat> {
    let value = response.headers().get(archive::HEADER).and_then(|value| value.to_str().ok());
    value.and_then(PathStat::decode).ok_or_else(|| ClientError::Decode {
        operation: operation.name(),
        source: serde::de::Error::custom(format!("the header {} is missing or damaged", archive::HEADER)),
    })
}

// Docker answers 304 where nothing had to be done; its own client takes that for success.
fn unless_not_modified(answer: Answer<()>) -> Answer<()> {
    match answer {
        Err(ClientError::Api { status: 304, .. }) => Ok(()),
        other => other,
    }
}
