//! What the daemon builds for.

use bollard_buildkit_proto::moby::buildkit::v1::{ListWorkersRequest, control_client::ControlClient};

use super::{build_error, channel};
use crate::{Client, ClientError};

impl Client {
    /// The platforms that steps of builds run for (`linux/arm64`), the machine's own first.
    ///
    /// # Errors
    /// When the daemon speaks none of BuildKit's protocols.
    pub async fn build_platforms(&self) -> Result<Vec<String>, ClientError> {
        let mut control = ControlClient::new(channel(self.grpc_start().await?).await?);
        let workers = control.list_workers(ListWorkersRequest { filter: Vec::new() }).await;
        let workers = workers.map_err(|status| build_error(&status))?.into_inner().record;
        let mut platforms = Vec::new();
        for platform in workers.into_iter().flat_map(|worker| worker.platforms) {
            let variant = if platform.variant.is_empty() { String::new() } else { format!("/{}", platform.variant) };
            let platform = format!("{}/{}{variant}", platform.os, platform.architecture);
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(platforms)
    }
}
