//! `container rm`: the container is gone from every list at once; its files follow.

use std::sync::Arc;

use hako_model::{ContainerState, EventKind, Filters, Signal};

use crate::{
    Engine, EngineError, limits,
    table::Container,
    view::{PruneView, RemoveOptions},
};

impl Engine {
    /// Removes a container; `force` ends it first.
    ///
    /// # Errors
    /// No such container, one that runs, or one that is already being removed.
    pub async fn container_remove(&self, name: &str, options: RemoveOptions) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        if options.force {
            // Before the turn: a stop that waits for a stubborn process holds it.
            self.end_by_force(&container).await?;
            if self.removes_itself(&container).await {
                return Ok(());
            }
        }
        let _turn = container.operation.lock().await;
        if options.force {
            // Whoever had the turn may have started it.
            self.end_by_force(&container).await?;
        }
        // A life that has just ended writes its last record while it is taken down: after the removal that would bring
        // the container back with the next daemon.
        let _taken_down = container.teardown.lock().await;
        let record = container.record();
        // Somebody else was faster.
        if self.containers.find(&record.id.to_string()).is_err() {
            if options.force && record.auto_remove() {
                return Ok(());
            }
            return Err(EngineError::NoContainer { name: name.to_owned() });
        }
        let refuse = |word: &str, advice: &str| {
            EngineError::conflict(format!(
                "cannot remove container \"/{}\": container is {word}: {advice}",
                record.name
            ))
        };
        match record.state.status {
            ContainerState::Running => {
                return Err(refuse("running", "stop the container before removing or force remove"));
            }
            ContainerState::Paused => {
                return Err(refuse("paused", "unpause and then stop the container before removing or force remove"));
            }
            ContainerState::Restarting if !options.force => {
                return Err(refuse("restarting", "stop the container before removing or force remove"));
            }
            ContainerState::Removing => {
                return Err(EngineError::conflict(format!(
                    "removal of container {} is already in progress",
                    record.id
                )));
            }
            _ => {}
        }
        self.remove_locked(&container, options.volumes).await
    }

    /// Ends whatever runs, or is about to run again, and waits for that.
    async fn end_by_force(&self, container: &Container) -> Result<(), EngineError> {
        let record = container.record();
        if !record.is_running() && record.state.status != ContainerState::Restarting {
            return Ok(());
        }
        match self.container_kill(&container.id.to_string(), Some(Signal::KILL)).await {
            // It ended just before: that has still to be heard of.
            Ok(()) | Err(EngineError::Conflict { .. } | EngineError::NoContainer { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut phase = container.phase.subscribe();
        let _ = tokio::time::timeout(limits::KILL_DEADLINE, phase.wait_for(|phase| !phase.running)).await;
        Ok(())
    }

    /// Whether a `--rm` container that was just ended goes by itself; waits until it is gone.
    async fn removes_itself(&self, container: &Container) -> bool {
        if !container.record().auto_remove() || container.record().state.status == ContainerState::Created {
            return false;
        }
        let mut phase = container.phase.subscribe();
        tokio::time::timeout(limits::KILL_DEADLINE, phase.wait_for(|phase| phase.removed))
            .await
            .is_ok_and(|found| found.is_ok())
    }

    /// Removes a container that does not run. The caller has its turn, or knows that nobody else can.
    pub(crate) async fn remove_locked(&self, container: &Arc<Container>, volumes: bool) -> Result<(), EngineError> {
        let before = container.record().state.status;
        let record = container.change(|record| record.state.status = ContainerState::Removing);
        let engine = self.clone();
        let forgotten = record.clone();
        // The record goes first: whatever a crash leaves of the rest is garbage that `recover` sweeps.
        if let Err(error) = crate::blocking(move || engine.records.remove(&forgotten)).await {
            // The disk is full, say: it is as it was, and can be removed later.
            let record = container.change(|record| record.state.status = before);
            self.settle(&record).await;
            return Err(error);
        }
        self.containers.remove(record.id);
        self.forget_execs(container);
        container.listeners.end();
        self.publish_container("destroy", &record, []);
        container.phase.send_modify(|phase| phase.removed = true);
        let (engine, container) = (self.clone(), container.clone());
        let rest = tokio::task::spawn_blocking(move || engine.remove_files(&container, volumes));
        if !record.auto_remove() {
            // People look at the disk after `rm`; nobody waits for what `--rm` leaves.
            let _ = rest.await;
        }
        Ok(())
    }

    fn remove_files(&self, container: &Container, volumes: bool) {
        let record = container.record();
        let short = record.id.short();
        if let Err(error) = self.images.snapshot_remove(record.id) {
            tracing::warn!(container = %short, %error, "cannot remove the snapshot; the next start will");
        }
        container.log().remove();
        let files = self.container_files(record.id);
        if let Err(error) = std::fs::remove_dir_all(&files)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(container = %short, %error, "cannot remove {}", files.display());
        }
        if volumes {
            for mount in record.mounts.iter().filter(|mount| mount.anonymous) {
                if !self.volume_users(&mount.name).is_empty() {
                    continue;
                }
                match self.volumes.remove(&mount.name) {
                    Ok(()) => crate::volume::publish_destroyed(self, &mount.name),
                    Err(error) => tracing::warn!(volume = %mount.name, %error, "cannot remove"),
                }
            }
        }
    }

    /// Removes every stopped container that the filters (`label`, `label!`, `until`) choose.
    ///
    /// # Errors
    /// A filter that there is none of.
    pub async fn container_prune(&self, filters: &Filters) -> Result<PruneView, EngineError> {
        let chosen = crate::prune::Chosen::parse(filters, &[])?;
        let mut view = PruneView::default();
        for container in self.containers.all() {
            let record = container.record();
            let stopped =
                matches!(record.state.status, ContainerState::Created | ContainerState::Exited | ContainerState::Dead);
            if !stopped || !chosen.contains(record.created, &record.config.labels) {
                continue;
            }
            let size = self.size_measured(&record).await.map_or(0, |size| size.rw);
            match self.container_remove(&record.id.to_string(), RemoveOptions::default()).await {
                Ok(()) => {
                    view.removed.push(record.id.to_string());
                    view.reclaimed += size;
                }
                // It was started or removed meanwhile.
                Err(EngineError::Conflict { .. } | EngineError::NoContainer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let reclaimed = view.reclaimed.to_string();
        self.events.publish(EventKind::Container, "prune", "", [("reclaimed", reclaimed.as_str())]);
        Ok(view)
    }
}
