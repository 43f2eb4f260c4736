//! The rows that concern the daemon itself.

use hako_api::{
    ApiVersion, Operation,
    query::{SystemDfQuery, SystemEventsQuery},
    system::{DiskUsage, EventMessage, SystemInfo, SystemVersion},
};
use hyper::{HeaderMap, Request};

use crate::{BodyReader, Client, ClientError, JsonStream, RequestBody, limits, request::read_error};

/// What the headers of `_ping` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ping {
    pub api_version: Option<ApiVersion>,
    pub os_type: String,
    pub experimental: bool,
    /// `2` when BuildKit is the default.
    pub builder_version: String,
    /// `inactive`, `active/manager`, …
    pub swarm: String,
}

impl Client {
    pub async fn plugin_list(&self) -> Result<Vec<serde_json::Value>, ClientError> {
        self.call(Operation::PluginList, &[]).read().await
    }

    pub async fn plugin_inspect(&self, name: &str) -> Result<serde_json::Value, ClientError> {
        self.call(Operation::PluginInspect, &[name]).read().await
    }

    /// Asks whether the daemon is there, by HEAD and, where a proxy refuses that, by GET.
    pub async fn system_ping(&self) -> Result<Ping, ClientError> {
        match self.system_ping_head().await {
            Err(ClientError::Api { .. } | ClientError::Transport { .. }) => self.ping(Operation::SystemPing).await,
            other => other,
        }
    }

    pub async fn system_ping_head(&self) -> Result<Ping, ClientError> {
        self.ping(Operation::SystemPingHead).await
    }

    // Without a version, since it is by this that the version becomes known.
    async fn ping(&self, row: Operation) -> Result<Ping, ClientError> {
        let (operation, route) = (row.name(), row.route());
        let request = Request::builder().method(route.method.name()).uri(route.path).body(RequestBody::Empty);
        let request = request.map_err(|source| ClientError::Request { operation, source })?;
        let (response, sender) = self.send(operation, request).await?;
        if !response.status().is_success() {
            return Err(read_error(operation, route.path.to_owned(), response).await);
        }
        let ping = read_ping(response.headers());
        BodyReader::new(operation, response.into_body()).collect(limits::ERROR_BYTES_MAX).await?;
        self.keep(sender);
        Ok(ping)
    }

    pub async fn system_info(&self) -> Result<SystemInfo, ClientError> {
        self.call(Operation::SystemInfo, &[]).read().await
    }

    pub async fn system_version(&self) -> Result<SystemVersion, ClientError> {
        self.call(Operation::SystemVersion, &[]).read().await
    }

    pub async fn system_df(&self, query: &SystemDfQuery) -> Result<DiskUsage, ClientError> {
        self.call(Operation::SystemDf, &[]).query(query).read().await
    }

    pub async fn system_events(&self, query: &SystemEventsQuery) -> Result<JsonStream<EventMessage>, ClientError> {
        let body = self.call(Operation::SystemEvents, &[]).query(query).stream().await?;
        Ok(JsonStream::new(Operation::SystemEvents.name(), body))
    }

    /// What the daemon allows: an answer without a meaning, left over from CORS.
    pub async fn system_options(&self) -> Result<(), ClientError> {
        self.call(Operation::SystemOptions, &["info"]).done().await
    }
}

fn read_ping(headers: &HeaderMap) -> Ping {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Ping {
        api_version: text("api-version").parse().ok(),
        os_type: text("ostype"),
        experimental: text("docker-experimental") == "true",
        builder_version: text("builder-version"),
        swarm: text("swarm"),
    }
}
