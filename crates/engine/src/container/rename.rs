//! `container rename`: another name for the same container.

use hako_model::EventKind;

use super::name;
use crate::{Engine, EngineError};

impl Engine {
    /// Gives a container a new name.
    ///
    /// # Errors
    /// No such container, a name that is none, or one that is taken (also its own).
    pub async fn container_rename(&self, old: &str, new: &str) -> Result<(), EngineError> {
        let container = self.containers.find(old)?;
        if new.is_empty() {
            return Err(EngineError::invalid("Neither old nor new names may be empty"));
        }
        let refused = |error: &EngineError| format!("Error when allocating new name: {error}");
        let new = name::parse(new).map_err(|error| EngineError::invalid(refused(&error)))?;
        let _turn = container.operation.lock().await;
        let before = container.record().name.clone();
        if before == new {
            return Err(EngineError::invalid("Renaming a container with the same name as its current name".to_owned()));
        }
        let renamed = self.containers.rename(&container, new);
        let record = renamed.map_err(|error| EngineError::conflict(refused(&error)))?;
        self.names_renamed(&record);
        let engine = self.clone();
        let written = record.clone();
        crate::blocking(move || engine.records.settled(&written)).await;
        self.publish_container("rename", &record, [("oldName", format!("/{before}").as_str())]);
        Ok(())
    }
}

impl Engine {
    /// Publishes an event about a container with its image, name and labels, as Docker does.
    pub(crate) fn publish_container<'a>(
        &self,
        action: &str,
        record: &'a crate::record::Record,
        more: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        let labels = record.config.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let own = [("image", record.spec.image.as_str()), ("name", record.name.as_str())];
        self.events.publish(EventKind::Container, action, &record.id.to_string(), labels.chain(own).chain(more));
    }

    /// Publishes that a container's volumes are in use now (`mount`), or no longer (`unmount`).
    pub(crate) fn publish_volumes(&self, action: &str, record: &crate::record::Record) {
        let id = record.id.to_string();
        for mount in record.mounts.iter().filter(|mount| mount.kind == hako_model::MountKind::Volume) {
            let writable = mount.writable.to_string();
            let all = [
                ("container", id.as_str()),
                ("driver", mount.driver.as_str()),
                ("destination", mount.target.as_str()),
                ("propagation", ""),
                ("read/write", writable.as_str()),
            ];
            // The end of a use is told by whom and of what, no more.
            let told = if action == "mount" { all.len() } else { 2 };
            self.events.publish(EventKind::Volume, action, &mount.name, all.into_iter().take(told));
        }
    }
}
