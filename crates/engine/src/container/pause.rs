//! `container pause` and `unpause`: the freezer of the container's cgroup.

use hako_base::ErrorKind;
use hako_model::ContainerState;

use crate::{Engine, EngineError};

impl Engine {
    /// Freezes every process of a container.
    ///
    /// # Errors
    /// No such container, or one that does not run or is paused already.
    pub async fn container_pause(&self, name: &str) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let _turn = container.operation.lock().await;
        let record = container.record();
        match record.state.status {
            ContainerState::Running => {}
            ContainerState::Paused => {
                return Err(EngineError::conflict(format!("Container {} is already paused", record.id)));
            }
            ContainerState::Restarting => {
                return Err(EngineError::conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    record.id
                )));
            }
            _ => return Err(EngineError::conflict(format!("container {} is not running", record.id))),
        }
        self.freeze(&container, true).await?;
        let record = container.change(|record| {
            // It may have ended just before.
            if record.state.status == ContainerState::Running {
                record.state.status = ContainerState::Paused;
            }
        });
        if record.state.status != ContainerState::Paused {
            return Err(EngineError::conflict(format!("container {} is not running", record.id)));
        }
        self.settle(&record).await;
        self.publish_container("pause", &record, []);
        Ok(())
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    /// No such container, or one that is not paused.
    pub async fn container_unpause(&self, name: &str) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let _turn = container.operation.lock().await;
        let record = container.record();
        if record.state.status != ContainerState::Paused {
            // A conflict by its nature; Docker's status is 500, and clients look for it.
            let text = format!("Container {} is not paused", record.id);
            return Err(EngineError::Mechanism { kind: ErrorKind::Internal, text });
        }
        self.freeze(&container, false).await?;
        let record = container.change(|record| {
            // It may have been killed meanwhile.
            if record.state.status == ContainerState::Paused {
                record.state.status = ContainerState::Running;
            }
        });
        self.settle(&record).await;
        self.publish_container("unpause", &record, []);
        Ok(())
    }

    /// Stops every process of a container, or lets them go on.
    pub(crate) async fn freeze(
        &self,
        container: &std::sync::Arc<crate::table::Container>,
        frozen: bool,
    ) -> Result<(), EngineError> {
        let container = container.clone();
        crate::blocking(move || {
            let live = container.live.lock();
            let Some(live) = live.as_ref() else {
                return Err(EngineError::conflict(format!("Container {} is not running", container.id)));
            };
            let done = if frozen { live.cgroup.freeze() } else { live.cgroup.thaw() };
            done.map_err(|error| EngineError::mechanism(error.kind(), &error))
        })
        .await
    }

    /// Writes a record that has changed, off the reactor.
    pub(crate) async fn settle(&self, record: &std::sync::Arc<crate::record::Record>) {
        let (engine, record) = (self.clone(), record.clone());
        crate::blocking(move || engine.records.settled(&record)).await;
    }
}
