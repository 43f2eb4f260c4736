//! `container create`: from a spec to a container that could be started.
//!
//! Nothing runs yet. The order is chosen so that the record is written last: a crash before it
//! leaves only garbage that `recover` sweeps, never half a container.

use std::sync::Arc;

use hako_base::clock;
use hako_image::Image;
use hako_model::{ContainerId, ContainerSpec, NetworkMode};

use super::{
    check,
    merge::{Merged, merge},
    mounts, name,
};
use crate::{
    Engine, EngineError,
    log::LogPlan,
    operation::Operation,
    record::{Record, StateRecord, VERSION},
    table::Container,
    view::Created,
};

impl Engine {
    /// Makes a container, under `name` or one that is made up.
    ///
    /// # Errors
    /// A missing image (kind not-found), a spec that makes no sense, a name that is taken.
    pub async fn container_create(&self, name: Option<&str>, spec: ContainerSpec) -> Result<Created, EngineError> {
        let engine = self.clone();
        let name = name.filter(|name| !name.is_empty()).map(name::parse).transpose()?.map(str::to_owned);
        crate::blocking(move || engine.create(name, spec)).await
    }

    fn create(&self, name: Option<String>, mut spec: ContainerSpec) -> Result<Created, EngineError> {
        if spec.image.is_empty() {
            // Docker's words for what has neither an image nor a command.
            let nothing = spec.cmd.as_ref().is_none_or(Vec::is_empty) && spec.entrypoint.is_none();
            return Err(EngineError::invalid(if nothing { "no command specified" } else { "no image specified" }));
        }
        self.fill_defaults(&mut spec);
        let mut warnings = check::spec(&spec, self)?;
        self.pin_shared(&mut spec)?;
        let image = self.images.resolve(&spec.image).map_err(crate::image::error)?;
        warnings.extend(check::platform(&spec, &image.platform)?);
        let merged = merge(&spec, &image.config)?;
        warnings.extend(crate::health::warning(&merged.config));
        let id = ContainerId::random();
        let log = LogPlan::new(
            &self.container_files(id).join(format!("{id}-json.log")),
            &spec.host.log_driver,
            &spec.host.log_options,
        )?;

        // Declared before the operation, which may have to take them back.
        let (mounts, record);
        let mut operation = Operation::begin("container.create", &self.config.exec_root);
        let ids = operation.step("ids", || self.claim_ids(id, &spec.host), || self.release_ids(id))?;
        let name = operation.step("name", || self.claim_name(name, id), || self.release_names(id))?;
        operation.step("files", || self.make_files(id), || self.remove_container_files(id))?;
        operation.step("snapshot", || self.prepare_snapshot(id, &image), || self.forget_snapshot(id))?;
        mounts = mounts::resolve(self, &spec, &merged.config)?;
        // Taken back with the snapshot.
        mounts::keep_images(self, id, &mounts)?;
        operation.step(
            "volumes",
            || mounts::make_volumes(self, id, &mounts),
            || mounts::unmake_volumes(self, &mounts.fresh),
        )?;
        record = Record { ids, ..self.record_of(id, &name, spec, merged, &image, mounts.list.clone())? };
        operation.step("record", || self.records.create(&record), || drop(self.records.remove(&record)))?;
        operation.finish();

        self.containers.insert(Container::new(record.clone(), log));
        self.release_ids(id);
        self.publish_container("create", &record, []);
        Ok(Created { id, warnings })
    }

    /// What the daemon's configuration says where the person did not.
    pub(crate) fn fill_defaults(&self, spec: &mut ContainerSpec) {
        if spec.host.log_driver.is_empty() {
            self.config.log_driver.clone_into(&mut spec.host.log_driver);
            for (key, value) in &self.config.log_options {
                spec.host.log_options.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        if spec.host.shm_size_bytes == 0 {
            spec.host.shm_size_bytes = self.config.shm_bytes;
        }
        if spec.host.runtime.is_empty() {
            spec.host.runtime.clone_from(&self.reloadable.read().runtimes.default);
        }
        if self.config.bridge_disabled && matches!(spec.host.network_mode, NetworkMode::Default | NetworkMode::Bridge) {
            spec.network_disabled = true;
        }
        if spec.host.ipc_mode.is_empty() {
            self.config.ipc_mode.clone_into(&mut spec.host.ipc_mode);
        }
        if spec.host.cgroupns_mode.is_empty() {
            let private = hako_runtime::cgroup::Layout::of_host().version() == 2 && !spec.host.privileged;
            let usual = if private { "private" } else { "host" };
            let wanted =
                Some(self.config.cgroupns_mode.as_str()).filter(|mode| !mode.is_empty() && !spec.host.privileged);
            wanted.unwrap_or(usual).clone_into(&mut spec.host.cgroupns_mode);
        }
        // Docker's note for SELinux: who shares the host's processes or has all rights is not labelled.
        let unconfined = spec.host.privileged || spec.host.ipc_mode == "host" || spec.host.pid_mode == "host";
        if unconfined && !spec.host.security_opt.iter().any(|option| option.starts_with("label=")) {
            spec.host.security_opt.push("label=disable".to_owned());
        }
        for ulimit in &self.config.ulimits {
            if !spec.host.limits.ulimits.iter().any(|own| own.name == ulimit.name) {
                spec.host.limits.ulimits.push(ulimit.clone());
            }
        }
    }

    /// Containers whose namespaces are shared are remembered by their id: names change hands.
    fn pin_shared(&self, spec: &mut ContainerSpec) -> Result<(), EngineError> {
        // Not a 404: the command line would take the image for missing.
        let id_of = |name: &str| {
            let found = self.containers.find(name).map_err(|error| EngineError::invalid(error.to_string()))?;
            Ok::<_, EngineError>(found.id.to_string())
        };
        if let NetworkMode::Container(other) = &mut spec.host.network_mode {
            *other = id_of(other)?;
        }
        if let NetworkMode::Network(name) = &mut spec.host.network_mode {
            // As typed it may be an id, or a part of one.
            self.network_record(name)?.spec.name.clone_into(name);
        }
        if let Some(other) = spec.host.ipc_mode.strip_prefix("container:") {
            spec.host.ipc_mode = format!("container:{}", id_of(other)?);
        }
        if let Some(other) = spec.host.pid_mode.strip_prefix("container:") {
            spec.host.pid_mode = format!("container:{}", id_of(other)?);
        }
        Ok(())
    }

    fn claim_name(&self, wanted: Option<String>, id: ContainerId) -> Result<String, EngineError> {
        if let Some(name) = wanted {
            self.containers.claim(&name, id)?;
            return Ok(name);
        }
        for attempt in 0..1000 {
            let name = name::make_up(attempt);
            if self.containers.claim(&name, id).is_ok() {
                return Ok(name);
            }
        }
        Err(EngineError::conflict("no free name was found: give the container one with --name"))
    }

    fn release_names(&self, id: ContainerId) {
        self.containers.release_all(id);
    }

    fn make_files(&self, id: ContainerId) -> Result<(), EngineError> {
        let directory = self.container_files(id);
        hako_base::file::make_dir(&directory, 0o710)
            .map_err(|error| EngineError::io(format_args!("cannot make {}", directory.display()), &error))
    }

    fn remove_container_files(&self, id: ContainerId) {
        let _ = std::fs::remove_dir_all(self.container_files(id));
    }

    fn prepare_snapshot(&self, id: ContainerId, image: &Image) -> Result<(), EngineError> {
        self.images.snapshot_prepare(id, &image.id).map_err(crate::image::error)
    }

    fn forget_snapshot(&self, id: ContainerId) {
        if let Err(error) = self.images.snapshot_remove(id) {
            tracing::warn!(container = %id.short(), %error, "cannot remove the snapshot; the next start will");
        }
    }

    fn record_of(
        &self,
        id: ContainerId,
        name: &str,
        spec: ContainerSpec,
        merged: Merged,
        image: &Image,
        mounts: Vec<crate::record::MountRecord>,
    ) -> Result<Record, EngineError> {
        let hostname = self.hostname_of(id, &spec)?;
        Ok(Record {
            version: VERSION,
            id,
            name: name.to_owned(),
            created: clock::now(),
            endpoints: self.places(&spec)?,
            hostname,
            config: Arc::new(merged.config),
            path: merged.path,
            args: merged.args,
            image: image.id,
            mounts,
            spec: Arc::new(spec),
            state: StateRecord::default(),
            published: Vec::new(),
            published_on: None,
            link_env: Vec::new(),
            ids: None,
        })
    }

    fn hostname_of(&self, id: ContainerId, spec: &ContainerSpec) -> Result<String, EngineError> {
        if let NetworkMode::Container(other) = &spec.host.network_mode {
            return Ok(self.containers.find(other)?.record().hostname.clone());
        }
        if !spec.hostname.is_empty() {
            return Ok(spec.hostname.clone());
        }
        if spec.host.network_mode == NetworkMode::Host || spec.host.uts_mode == "host" {
            return Ok(hako_runtime::observe::hostname());
        }
        Ok(id.short())
    }
}
