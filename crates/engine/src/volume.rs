//! Volumes, and which containers use them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use hako_base::ErrorKind;
use hako_model::{EventKind, Filters, MountKind};

use crate::{
    Engine, EngineError,
    prune::Chosen,
    record::Record,
    view::{PruneView, VolumeOptions, VolumeView},
};

const KNOWN_FILTERS: &[&str] = &["dangling", "driver", "label", "name"];

pub(crate) fn error(error: hako_volume::VolumeError) -> EngineError {
    EngineError::mechanism(error.kind(), &error)
}

/// Tells watchers that a volume was made.
pub(crate) fn publish_created(engine: &Engine, name: &str) {
    engine.events.publish(EventKind::Volume, "create", name, [("driver", "local")]);
}

/// Tells watchers that a volume is gone.
pub(crate) fn publish_destroyed(engine: &Engine, name: &str) {
    engine.events.publish(EventKind::Volume, "destroy", name, [("driver", "local")]);
}

/// Refuses volume plugins by name, with the beginning of Docker's sentence for one that it does not find. Docker calls
/// that "not found" always; where a container is created its command line would then take the image for missing.
pub(crate) fn check_driver(name: &str, driver: &str, kind: ErrorKind) -> Result<(), EngineError> {
    if matches!(driver, "" | "local") {
        return Ok(());
    }
    let text = format!(
        "create {name}: error looking up volume plugin {driver}: plugin {driver:?} not found: hako has the driver local and no plugins"
    );
    Err(EngineError::Mechanism { kind, text })
}

impl Engine {
    /// Makes a volume; one that exists is answered as it is.
    ///
    /// # Errors
    /// A name that is none, an unknown driver or option.
    pub async fn volume_create(&self, options: VolumeOptions) -> Result<VolumeView, EngineError> {
        let anonymous = options.name.is_empty();
        let name = if anonymous { hako_base::random::hex(32) } else { options.name };
        check_driver(&name, &options.driver, ErrorKind::NotFound)?;
        hako_volume::check_name(&name).map_err(error)?;
        let existed = self.volumes.inspect(&name).is_ok();
        let wish = hako_volume::Wish { name, options: options.options, labels: options.labels, anonymous };
        let engine = self.clone();
        let volume = crate::blocking(move || engine.volumes.create(&wish)).await.map_err(error)?;
        if !existed {
            publish_created(self, &volume.name);
        }
        Ok(self.volume_view(&volume))
    }

    /// The volumes that `filters` chooses, by name.
    ///
    /// # Errors
    /// A filter that there is none of.
    pub fn volume_list(&self, filters: &Filters) -> Result<Vec<VolumeView>, EngineError> {
        if let Some(key) = filters.unknown_key(KNOWN_FILTERS) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        let dangling = filters.boolean("dangling").map_err(EngineError::invalid)?;
        let mut views: Vec<VolumeView> = self
            .volumes
            .list()
            .iter()
            .filter(|volume| filters.any("name", |part| volume.name.contains(part)))
            .filter(|volume| {
                filters.any("driver", |driver| driver == "local") && filters.labels("label", &volume.labels)
            })
            .filter(|volume| dangling.is_none_or(|wanted| self.volume_users(&volume.name).is_empty() == wanted))
            .map(|volume| self.volume_view(volume))
            .collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    /// Everything about one volume.
    ///
    /// # Errors
    /// No such volume.
    pub fn volume_inspect(&self, name: &str) -> Result<VolumeView, EngineError> {
        let volume = self.volumes.inspect(name).map_err(|_| EngineError::NoVolume { name: name.to_owned() })?;
        Ok(self.volume_view(&volume))
    }

    /// Removes a volume that no container uses; with `force` a missing one is no error.
    ///
    /// # Errors
    /// No such volume, or one that is used.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<(), EngineError> {
        if self.volumes.inspect(name).is_err() {
            return if force { Ok(()) } else { Err(EngineError::NoVolume { name: name.to_owned() }) };
        }
        let users = self.volume_users(name);
        if !users.is_empty() {
            return Err(EngineError::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        let (engine, owned) = (self.clone(), name.to_owned());
        crate::blocking(move || engine.volumes.remove(&owned)).await.map_err(error)?;
        publish_destroyed(self, name);
        Ok(())
    }

    /// Removes unused volumes: those without a name or, with the filter `all=true`, every unused one. Not those with
    /// options, as in Docker: what they mount (a share of another machine, a directory) is not hako's to empty.
    ///
    /// # Errors
    /// A filter that there is none of.
    pub async fn volume_prune(&self, filters: &Filters) -> Result<PruneView, EngineError> {
        let all = filters.values("all").any(|value| matches!(value, "true" | "1"));
        if let Some(key) = filters.unknown_key(&["all", "label", "label!"]) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        let chosen = Chosen::parse(filters, &["all"])?;
        let mut view = PruneView::default();
        for volume in self.volumes.list() {
            if !(all || volume.anonymous)
                || !volume.options.is_empty()
                || !chosen.contains(volume.created, &volume.labels)
                || !self.volume_users(&volume.name).is_empty()
            {
                continue;
            }
            let engine = self.clone();
            let name = volume.name.clone();
            let size = crate::blocking(move || engine.volumes.size(&name)).await;
            if self.volume_remove(&volume.name, false).await.is_ok() {
                view.removed.push(volume.name.clone());
                view.reclaimed += size;
            }
        }
        let reclaimed = view.reclaimed.to_string();
        self.events.publish(EventKind::Volume, "prune", "", [("reclaimed", reclaimed.as_str())]);
        Ok(view)
    }

    /// Gives up what volumes have in memory where no process is left that uses them.
    pub(crate) fn release_volumes(&self, record: &Record) {
        for mount in record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume) {
            let is_used = self.containers.all().iter().any(|container| {
                let other = container.record();
                other.is_running() && other.mounts.iter().any(|used| used.name == mount.name)
            });
            if !is_used {
                self.volumes.release(&mount.name);
            }
        }
    }

    /// Takes over what a container that was found running has of volumes in memory.
    pub(crate) fn adopt_volumes(&self, record: &Record) {
        let volumes = record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume);
        for mount in volumes.filter(|mount| self.volumes.is_only_memory(&mount.name)) {
            if mount.spec.volume.as_ref().is_some_and(|options| !options.subpath.is_empty()) {
                continue;
            }
            if let Err(error) = self.volumes.adopt(&mount.name, record.state.pid, Path::new(&mount.target)) {
                tracing::warn!(volume = %mount.name, %error, "what it has in memory cannot be shared with others");
            }
        }
    }

    /// Ids of the containers, running or not, that have this volume.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        self.containers
            .all()
            .iter()
            .map(|container| container.record())
            .filter(|record| record.mounts.iter().any(|mount| mount.name == name))
            .map(|record| record.id.to_string())
            .collect()
    }

    /// How many containers each volume is mounted in.
    pub(crate) fn volume_use(&self) -> BTreeMap<String, usize> {
        let mut users = BTreeMap::new();
        for record in self.containers.all().iter().map(|container| container.record()) {
            let names: BTreeSet<&str> = record.mounts.iter().map(|mount| mount.name.as_str()).collect();
            names.into_iter().for_each(|name| *users.entry(name.to_owned()).or_default() += 1);
        }
        users
    }

    pub(crate) fn volume_view(&self, volume: &hako_volume::Volume) -> VolumeView {
        VolumeView {
            name: volume.name.clone(),
            driver: "local".to_owned(),
            mountpoint: self.volumes.path(&volume.name).display().to_string(),
            created: volume.created,
            labels: volume.labels.clone(),
            options: volume.options.clone(),
            anonymous: volume.anonymous,
            usage: None,
        }
    }
}
