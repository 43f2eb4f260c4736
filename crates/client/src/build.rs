//! The rows of `/build`.

use hako_api::{
    Operation,
    build::BuildPruneResponse,
    progress::ProgressMessage,
    query::{BuildPruneQuery, BuildStartQuery},
};

use hyper::header::HeaderName;

use crate::{Client, ClientError, Hijacked, JsonStream, RequestBody};

impl Client {
    /// Builds an image from a tar; errors after the first line come in band.
    pub async fn build_start(
        &self,
        query: &BuildStartQuery,
        tar: RequestBody,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        let body = self.call(Operation::BuildStart, &[]).query(query).tar(tar).stream().await?;
        Ok(JsonStream::new(Operation::BuildStart.name(), body))
    }

    /// A connection on which BuildKit's services are asked, by HTTP/2.
    pub async fn grpc_start(&self) -> Result<Hijacked, ClientError> {
        self.call(Operation::GrpcStart, &[]).hijack_as("h2c").await
    }

    /// A connection on which the daemon asks, by HTTP/2: for files, secrets, credentials.
    pub async fn session_start(&self, id: &str, shared_key: &str) -> Result<Hijacked, ClientError> {
        let call = self.call(Operation::SessionStart, &[]);
        let call = call.header(HeaderName::from_static("x-docker-expose-session-uuid"), id);
        let call = call.header(HeaderName::from_static("x-docker-expose-session-sharedkey"), shared_key);
        call.hijack_as("h2c").await
    }

    /// Forgets what the build cache keeps.
    pub async fn build_prune(&self, query: &BuildPruneQuery) -> Result<BuildPruneResponse, ClientError> {
        self.call(Operation::BuildPrune, &[]).query(query).read().await
    }
}
