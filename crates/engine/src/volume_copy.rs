//! Snapshots, clones, export and import of volumes.
//!
//! What is read stands still: containers that run and may write to the volume are frozen while it is copied, and go on
//! right after. What their programs had only in their own memory is not in the copy: it is as if the power had gone, which
//! databases are made for. A daemon that dies meanwhile lets them go on at its next start.

use std::{
    io::{self, Read},
    sync::Arc,
};

use bytes::Bytes;
use hako_model::{ContainerState, MountKind};
use tokio::sync::mpsc;

use crate::{
    Engine, EngineError,
    table::Container,
    view::{CopyView, SnapshotView, VolumeView},
    volume::error,
};

impl Engine {
    /// Keeps what a volume has now, under a name.
    ///
    /// # Errors
    /// No such volume, a name that is taken; those of copying.
    pub async fn volume_snapshot_create(&self, volume: &str, name: &str) -> Result<CopyView, EngineError> {
        let (volume, name) = (volume.to_owned(), name.to_owned());
        let frozen = volume.clone();
        self.while_still(&frozen, move |engine| {
            let copied = engine.volumes.snapshot_create(&volume, &name).map_err(error)?;
            Ok(copy_view(name, copied))
        })
        .await
    }

    /// The snapshots of a volume, by name.
    ///
    /// # Errors
    /// No such volume.
    pub fn volume_snapshot_list(&self, volume: &str) -> Result<Vec<SnapshotView>, EngineError> {
        let found = self.volumes.snapshot_list(volume).map_err(error)?;
        Ok(found.into_iter().map(|it| SnapshotView { name: it.name, created: it.created }).collect())
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// No such volume or snapshot.
    pub async fn volume_snapshot_remove(&self, volume: &str, name: &str) -> Result<(), EngineError> {
        let (engine, volume, name) = (self.clone(), volume.to_owned(), name.to_owned());
        crate::blocking(move || engine.volumes.snapshot_remove(&volume, &name).map_err(error)).await
    }

    /// Takes a volume back to what a snapshot has.
    ///
    /// # Errors
    /// No such volume or snapshot; a container that runs and has the volume.
    pub async fn volume_restore(&self, volume: &str, snapshot: &str) -> Result<CopyView, EngineError> {
        self.refuse_running(volume)?;
        let (engine, volume, snapshot) = (self.clone(), volume.to_owned(), snapshot.to_owned());
        crate::blocking(move || {
            let copied = engine.volumes.snapshot_restore(&volume, &snapshot).map_err(error)?;
            Ok(copy_view(snapshot, copied))
        })
        .await
    }

    /// Makes another volume with what this one, or a snapshot of it, has.
    ///
    /// # Errors
    /// No such volume or snapshot; a name that is taken or none.
    pub async fn volume_clone(&self, volume: &str, snapshot: Option<&str>, to: &str) -> Result<CopyView, EngineError> {
        let labels = self.volume_inspect(volume)?.labels;
        let wish = hako_volume::Wish { name: to.to_owned(), labels, ..hako_volume::Wish::default() };
        let (volume, snapshot) = (volume.to_owned(), snapshot.map(str::to_owned));
        let (name, frozen) = (to.to_owned(), volume.clone());
        let copy = move |engine: &Self| {
            let copied = engine.volumes.clone_volume(&volume, snapshot.as_deref(), &wish).map_err(error)?;
            crate::volume::publish_created(engine, &wish.name);
            Ok(copy_view(name, copied))
        };
        self.while_still(&frozen, copy).await
    }

    /// A volume, or a snapshot of it, as an archive. Of a volume that is used a snapshot is made first and sent, so that
    /// nobody stands still for as long as a client reads.
    ///
    /// # Errors
    /// No such volume or snapshot. What fails later is the last item of the stream.
    pub async fn volume_export(
        &self,
        volume: &str,
        snapshot: Option<&str>,
    ) -> Result<mpsc::Receiver<io::Result<Bytes>>, EngineError> {
        self.volume_inspect(volume)?;
        let mut temporary = None;
        if snapshot.is_none() && !self.writers(volume).is_empty() {
            let name = format!("export-{}", hako_base::random::hex(8));
            self.volume_snapshot_create(volume, &name).await?;
            temporary = Some(name);
        } else if let Some(snapshot) = snapshot
            && !self.volume_snapshot_list(volume)?.iter().any(|known| known.name == snapshot)
        {
            return Err(EngineError::mechanism(
                hako_base::ErrorKind::NotFound,
                &hako_volume::VolumeError::NoSuchSnapshot { volume: volume.to_owned(), name: snapshot.to_owned() },
            ));
        }
        let (engine, volume) = (self.clone(), volume.to_owned());
        let snapshot = temporary.clone().or(snapshot.map(str::to_owned));
        Ok(crate::container::filesystem::stream(move |output| {
            let exported = engine.volumes.export(&volume, snapshot.as_deref(), output);
            if let Some(name) = temporary
                && let Err(error) = engine.volumes.snapshot_remove(&volume, &name)
            {
                tracing::warn!(%volume, %error, "the snapshot made for an export stays");
            }
            exported.map_err(|error| io::Error::other(hako_base::error::chain(&error)))
        }))
    }

    /// Fills a volume, made if it is not there, from an archive.
    ///
    /// # Errors
    /// A container that runs and has the volume; one that is not empty, unless its content is to be replaced.
    pub async fn volume_import(
        &self,
        volume: &str,
        replace: bool,
        archive: Box<dyn Read + Send>,
    ) -> Result<VolumeView, EngineError> {
        let is_new = self.volumes.inspect(volume).is_err();
        if is_new {
            let options = crate::view::VolumeOptions { name: volume.to_owned(), ..Default::default() };
            self.volume_create(options).await?;
        }
        self.refuse_running(volume)?;
        let (engine, name) = (self.clone(), volume.to_owned());
        let imported = crate::blocking(move || engine.volumes.import(&name, replace, archive).map_err(error)).await;
        if let Err(failure) = imported {
            if is_new {
                self.volume_remove(volume, true).await?;
            }
            return Err(failure);
        }
        self.volume_inspect(volume)
    }

    /// Containers whose processes may write to the volume.
    fn writers(&self, volume: &str) -> Vec<Arc<Container>> {
        self.containers
            .all()
            .into_iter()
            .filter(|container| {
                let record = container.record();
                let mut mounts = record.mounts.iter();
                record.is_running()
                    && mounts.any(|mount| mount.kind == MountKind::Volume && mount.name == volume && mount.writable)
            })
            .collect()
    }

    fn refuse_running(&self, volume: &str) -> Result<(), EngineError> {
        let users: Vec<String> = self
            .containers
            .all()
            .iter()
            .map(|container| container.record())
            .filter(|record| record.is_running() && record.mounts.iter().any(|mount| mount.name == volume))
            .map(|record| record.name.clone())
            .collect();
        if users.is_empty() {
            return Ok(());
        }
        Err(EngineError::conflict(format!("volume {volume} is used by running containers: {}", users.join(", "))))
    }

    /// Copies while nobody writes: each writer's turn is held, and its processes are frozen unless it is paused already.
    async fn while_still<T: Send + 'static>(
        &self,
        volume: &str,
        copy: impl FnOnce(&Self) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let mut writers = self.writers(volume);
        // In one order, whoever else does the same.
        writers.sort_by_key(|container| container.id);
        let mut turns = Vec::new();
        for container in &writers {
            turns.push(container.operation.clone().lock_owned().await);
        }
        let running: Vec<_> =
            writers.into_iter().filter(|it| it.record().state.status == ContainerState::Running).collect();
        let mut frozen = Vec::new();
        let mut failed = None;
        for container in running {
            match self.freeze(&container, true).await {
                Ok(()) => frozen.push(container),
                // It has just ended, and writes no more.
                Err(EngineError::Conflict { .. }) => {}
                Err(error) => {
                    frozen.push(container);
                    failed = Some(error);
                    break;
                }
            }
        }
        let engine = self.clone();
        let copied = match failed {
            Some(error) => Err(error),
            None => crate::blocking(move || copy(&engine)).await,
        };
        for container in &frozen {
            if let Err(error) = self.freeze(container, false).await {
                tracing::warn!(container = %container.id.short(), %error, "it does not go on after a copy of its volume");
            }
        }
        drop(turns);
        copied
    }
}

fn copy_view(name: String, copied: hako_volume::Copied) -> CopyView {
    CopyView { name, bytes: copied.bytes, shared: copied.shared }
}
