//! Builds that a builder remembers.

use bollard_buildkit_proto::moby::buildkit::v1::{BuildHistoryRecord, BuildHistoryRequest, UpdateBuildHistoryRequest};
use hako_api::build::{BuildNews, BuildRecord};
use tokio::sync::mpsc;

use super::{Builder, build_error, news, tell};
use crate::ClientError;

fn read(record: BuildHistoryRecord) -> BuildRecord {
    let time = |at| news::time(at).unwrap_or_default();
    BuildRecord {
        reference: record.r#ref,
        attributes: record.frontend_attrs.into_iter().collect(),
        created: time(record.created_at),
        completed: time(record.completed_at),
        error: record.error.map(|error| error.message).unwrap_or_default(),
        result: record.exporter_response.into_iter().collect(),
        steps: record.num_total_steps,
        completed_steps: record.num_completed_steps,
        cached_steps: record.num_cached_steps,
        warnings: record.num_warnings,
    }
}

impl Builder {
    /// Every build that is remembered, the oldest first.
    ///
    /// # Errors
    /// When the builder remembers no builds.
    pub async fn history(&self) -> Result<Vec<BuildRecord>, ClientError> {
        let mut control = self.control().await?;
        let request = BuildHistoryRequest { early_exit: true, ..BuildHistoryRequest::default() };
        let events = control.listen_build_history(request).await.map_err(|status| build_error(&status))?;
        let (mut events, mut records) = (events.into_inner(), Vec::new());
        while let Some(event) = events.message().await.map_err(|status| build_error(&status))? {
            records.extend(event.record.map(read));
        }
        Ok(records)
    }

    /// Everything that a build has told.
    ///
    /// # Errors
    /// When the builder cannot be asked; of a build that there is none of nothing is told.
    pub async fn history_logs(&self, reference: &str, news: mpsc::Sender<BuildNews>) -> Result<(), ClientError> {
        let control = self.control().await?;
        tell(control, reference.to_owned(), news).await;
        Ok(())
    }

    /// Forgets a build that is over.
    ///
    /// # Errors
    /// When there is no such build.
    pub async fn history_remove(&self, reference: &str) -> Result<(), ClientError> {
        let mut control = self.control().await?;
        let request = UpdateBuildHistoryRequest {
            r#ref: reference.to_owned(),
            delete: true,
            ..UpdateBuildHistoryRequest::default()
        };
        control.update_build_history(request).await.map(drop).map_err(|status| build_error(&status))
    }
}
