//! `down` and `rm`: containers first, those that others depend on last; then networks, volumes and images.

use std::{collections::BTreeMap, sync::Arc};

use hako_api::{
    Filters,
    query::{
        ContainerRemoveQuery, ContainerStopQuery, ImageRemoveQuery, NetworkListQuery, VolumeListQuery,
        VolumeRemoveQuery,
    },
};
use hako_client::ClientError;

use super::{Actor, Dependencies, Phase, order, start};
use crate::{
    error::ApplyError,
    labels,
    observe::{self, Seen},
};

/// Which images `down` removes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rmi {
    #[default]
    None,
    /// Those that have no name of their own in the file.
    Local,
    All,
}

/// What `down` takes with it.
#[derive(Debug, Clone, Default)]
pub struct DownOptions {
    pub services: Vec<String>,
    pub volumes: bool,
    pub orphans: bool,
    pub images: Rmi,
    pub timeout_s: Option<i64>,
}

impl Actor {
    /// Removes what belongs to the project. Without files, everything that has its label.
    ///
    /// # Errors
    /// At the first thing that cannot be removed.
    pub async fn down(&self, options: &DownOptions) -> Result<(), ApplyError> {
        let project = &self.project;
        let list = observe::containers(&self.client, Some(&project.name), true).await?;
        let no_file = project.all_services.is_empty();
        let goes = |seen: &Seen| match options.services.is_empty() {
            false => options.services.contains(&seen.service),
            // What is left out by its profile stays.
            true if no_file || project.services.contains_key(&seen.service) => true,
            true => options.orphans && !project.all_services.contains(&seen.service),
        };
        let containers: Vec<Seen> = list.iter().map(Seen::from_summary).filter(goes).collect();
        self.remove_containers(containers, options.timeout_s, options.volumes).await?;
        if options.services.is_empty() {
            self.remove_networks().await?;
            if options.volumes {
                self.remove_volumes().await?;
            }
        }
        self.remove_images(options).await
    }

    /// Removes the containers of services that no file knows.
    ///
    /// # Errors
    /// At the first that cannot be removed.
    pub async fn remove_orphans(&self) -> Result<(), ApplyError> {
        let list = observe::containers(&self.client, Some(&self.project.name), true).await?;
        let is_orphan = |seen: &Seen| !seen.one_off && !self.project.all_services.contains(&seen.service);
        let orphans = list.iter().map(Seen::from_summary).filter(is_orphan).collect();
        self.remove_containers(orphans, None, false).await
    }

    async fn remove_containers(
        &self,
        containers: Vec<Seen>,
        timeout_s: Option<i64>,
        volumes: bool,
    ) -> Result<(), ApplyError> {
        let mut graph = start::dependencies_by_label(&containers);
        for (name, on) in start::dependencies(&self.project) {
            if let Some(known) = graph.get_mut(&name) {
                *known = on;
            }
        }
        let graph: Dependencies = order::reversed(&graph);
        let mut by_service: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for seen in containers {
            by_service.entry(seen.service.clone()).or_default().push(seen);
        }
        let by_service = Arc::new(by_service);
        let this = self.clone();
        order::walk(&graph, move |name| {
            let this = this.clone();
            let own = by_service.get(&name).cloned().unwrap_or_default();
            async move { order::together(own, move |seen| this.clone().discard(seen, timeout_s, volumes)).await }
        })
        .await
    }

    /// Stops a container and removes it.
    pub(super) async fn discard(self, seen: Seen, timeout_s: Option<i64>, volumes: bool) -> Result<(), ApplyError> {
        if seen.is_running() || seen.state == "paused" {
            self.before_stop(&seen).await;
            let query = ContainerStopQuery { timeout_s, signal: None };
            let stopping = async { unless_gone(self.client.container_stop(&seen.id, &query).await) };
            self.step("Container", &seen.name, ["Stopping", "Stopped"], stopping).await?;
        }
        self.remove_container(&seen, volumes).await
    }

    /// Removes a container, whatever it does.
    ///
    /// # Errors
    /// When the daemon cannot.
    pub async fn remove_container(&self, seen: &Seen, volumes: bool) -> Result<(), ApplyError> {
        let query = ContainerRemoveQuery { force: true, volumes, link: false };
        let removing = async { unless_gone(self.client.container_remove(&seen.id, &query).await) };
        self.step("Container", &seen.name, ["Removing", "Removed"], removing).await
    }

    async fn remove_networks(&self) -> Result<(), ApplyError> {
        let query = NetworkListQuery { filters: self.own() };
        let networks: Vec<String> = self.client.network_list(&query).await?.into_iter().map(|it| it.name).collect();
        let this = self.clone();
        order::together(networks, move |name| {
            let this = this.clone();
            async move {
                if this.dry_run {
                    return this.step("Network", &name, ["Removing", "Removed"], nothing()).await;
                }
                this.say("Network", &name, "Removing", Phase::Working);
                match this.client.network_remove(&name).await {
                    // Somebody else is still in it; the rest is gone all the same.
                    Err(ClientError::Api { status: 403, .. }) => {
                        this.say("Network", &name, "Resource is still in use", Phase::Done);
                        Ok(())
                    }
                    other => {
                        unless_gone(other)?;
                        this.say("Network", &name, "Removed", Phase::Done);
                        Ok(())
                    }
                }
            }
        })
        .await
    }

    async fn remove_volumes(&self) -> Result<(), ApplyError> {
        let query = VolumeListQuery { filters: self.own() };
        let volumes: Vec<String> =
            self.client.volume_list(&query).await?.volumes.into_iter().map(|it| it.name).collect();
        let this = self.clone();
        order::together(volumes, move |name| {
            let this = this.clone();
            async move {
                if this.dry_run {
                    return this.step("Volume", &name, ["Removing", "Removed"], nothing()).await;
                }
                let query = VolumeRemoveQuery { force: true };
                let removing = async {
                    match this.client.volume_remove(&name, &query).await {
                        Err(ClientError::Api { status: 409, .. }) => Ok("Resource is still in use"),
                        other => unless_gone(other).map(|()| "Removed"),
                    }
                };
                this.say("Volume", &name, "Removing", Phase::Working);
                let state = removing.await?;
                this.say("Volume", &name, state, Phase::Done);
                Ok(())
            }
        })
        .await
    }

    async fn remove_images(&self, options: &DownOptions) -> Result<(), ApplyError> {
        let goes = |service: &&crate::service::Service| match options.images {
            Rmi::None => false,
            Rmi::Local => service.image.is_empty(),
            Rmi::All => true,
        };
        let named = |service: &&crate::service::Service| {
            options.services.is_empty() || options.services.contains(&service.name)
        };
        let mut images: Vec<String> = self
            .project
            .services
            .values()
            .filter(goes)
            .filter(named)
            .map(|service| self.project.image_of(service))
            .collect();
        images.sort();
        images.dedup();
        for image in images {
            let removing =
                async { unless_gone(self.client.image_remove(&image, &ImageRemoveQuery::default()).await.map(drop)) };
            self.step("Image", &image, ["Removing", "Removed"], removing).await?;
        }
        Ok(())
    }

    fn own(&self) -> Filters {
        let mut filters = Filters::default();
        filters.add("label", format!("{}={}", labels::PROJECT, self.project.name));
        filters
    }
}

async fn nothing() -> Result<(), ClientError> {
    Ok(())
}

// Somebody else has been quicker.
fn unless_gone(answer: Result<(), ClientError>) -> Result<(), ClientError> {
    match answer {
        Err(ClientError::Api { status: 404, .. }) => Ok(()),
        other => other,
    }
}
