//! The first half of `up`: networks, volumes and images, then containers, made or made anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Actor, Dependencies, Phase, order};
use crate::{
    error::ApplyError,
    labels,
    observe::{self, Observed, Seen},
    plan::{Action, ContainerStep, ImageHow, ImageStep, Plan},
    request::{self, Creation},
    service::Service,
};
use hako_api::{
    container::ContainerInspect,
    network::{Ipam, IpamConfig, NetworkCreateRequest},
    query::{
        ContainerCreateQuery, ContainerInspectQuery, ContainerRemoveQuery, ContainerRenameQuery, ContainerStopQuery,
    },
    volume::VolumeCreateRequest,
};

/// How a plan is carried out.
#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    /// Seconds before a container that is replaced is killed.
    pub timeout_s: Option<i64>,
    /// Containers that are made anew get new anonymous volumes.
    pub renew_anonymous: bool,
}

impl Actor {
    /// Makes everything that the plan says, and starts nothing.
    ///
    /// # Errors
    /// At the first failure; what is there stays, and the next `up` goes on from it.
    pub async fn create(&self, plan: &Plan, observed: &Observed, options: &UpOptions) -> Result<(), ApplyError> {
        self.with_known(|known| known.containers = observe::known(observed).containers);
        self.networks(plan).await?;
        self.volumes(plan).await?;
        let known = observed.images.iter();
        let images = known.filter_map(|(name, id)| Some((name.clone(), id.clone()?))).collect();
        if plan.remove_orphans {
            let this = self.clone();
            let timeout = options.timeout_s;
            order::together(plan.orphans.clone(), move |seen| this.clone().discard(seen, timeout, false)).await?;
        }
        let context = Arc::new(Making { plan: plan.clone(), images, options: options.clone() });
        let graph = references(self.project.services.values());
        let this = self.clone();
        order::walk(&graph, move |name| this.clone().create_service(name, context.clone())).await
    }

    async fn networks(&self, plan: &Plan) -> Result<(), ApplyError> {
        let this = self.clone();
        order::together(plan.networks.clone(), move |key| {
            let this = this.clone();
            async move {
                let Some(network) = this.project.networks.get(&key) else { return Ok(()) };
                let request = network_request(&this.project.name, &key, network);
                let making = async { this.client.network_create(&request).await.map(drop) };
                this.step("Network", &network.name, ["Creating", "Created"], making).await
            }
        })
        .await
    }

    async fn volumes(&self, plan: &Plan) -> Result<(), ApplyError> {
        let this = self.clone();
        order::together(plan.volumes.clone(), move |key| {
            let this = this.clone();
            async move {
                let Some(volume) = this.project.volumes.get(&key) else { return Ok(()) };
                let request = VolumeCreateRequest {
                    name: volume.name.clone(),
                    driver: volume.driver.clone(),
                    driver_opts: (!volume.driver_opts.is_empty()).then(|| volume.driver_opts.clone()),
                    labels: Some(labels::resource(&this.project.name, labels::VOLUME, &key, volume)),
                    cluster_volume_spec: None,
                };
                let making = async { this.client.volume_create(&request).await.map(drop) };
                this.step("Volume", &format!("{:?}", volume.name), ["Creating", "Created"], making).await
            }
        })
        .await
    }

    /// Pulls the images that a plan wants pulled.
    ///
    /// # Errors
    /// When one of them cannot be had.
    pub async fn pull_all(&self, plan: &Plan) -> Result<(), ApplyError> {
        let this = self.clone();
        let steps: Vec<ImageStep> = plan.images.iter().filter(|step| step.how == ImageHow::Pull).cloned().collect();
        order::together(steps, move |step| {
            let this = this.clone();
            async move { this.pull(&step.image, &step.service).await }
        })
        .await
    }

    async fn create_service(self, name: String, making: Arc<Making>) -> Result<(), ApplyError> {
        let Some(service) = self.project.services.get(&name).cloned() else { return Ok(()) };
        let steps: Vec<ContainerStep> = making.plan.of(&name).cloned().collect();
        let service = Arc::new(service);
        let this = self.clone();
        order::together(steps, move |step| {
            let (this, service, making) = (this.clone(), service.clone(), making.clone());
            async move { this.create_container(&service, &step, &making).await }
        })
        .await?;
        // The first of several is the one that others refer to.
        self.with_known(|known| {
            if let Some(list) = known.containers.get_mut(&name) {
                list.sort();
            }
        });
        Ok(())
    }

    async fn create_container(
        &self,
        service: &Service,
        step: &ContainerStep,
        making: &Making,
    ) -> Result<(), ApplyError> {
        match &step.action {
            Action::Keep(_) | Action::Start(_) => Ok(()),
            Action::Remove(seen) => {
                self.forget(&seen.service, &seen.id);
                self.clone().discard(seen.clone(), making.options.timeout_s, false).await
            }
            Action::Create => {
                let creation = self.creation(service, step.number, making, None).await?;
                let creating = self.create_one(&creation, &step.name);
                let id = self.step("Container", &step.name, ["Creating", "Created"], creating).await?;
                self.remember(&service.name, &step.name, &id);
                Ok(())
            }
            Action::Recreate(seen, _) => {
                let replacing = self.replace(service, step, seen, making);
                let id = self.step("Container", &step.name, ["Recreate", "Recreated"], replacing).await?;
                self.forget(&service.name, &seen.id);
                self.remember(&service.name, &step.name, &id);
                Ok(())
            }
        }
    }

    fn remember(&self, service: &str, name: &str, id: &str) {
        self.with_known(|known| {
            known.containers.entry(service.to_owned()).or_default().push((name.to_owned(), id.to_owned()));
        });
    }

    fn forget(&self, service: &str, id: &str) {
        self.with_known(|known| {
            if let Some(list) = known.containers.get_mut(service) {
                list.retain(|(_, known)| known != id);
            }
        });
    }

    async fn creation(
        &self,
        service: &Service,
        number: u32,
        making: &Making,
        replaced: Option<&ContainerInspect>,
    ) -> Result<Creation, ApplyError> {
        let mut known = self.with_known(|known| known.clone());
        known.image_id = making.images.get(&self.project.image_of(service)).cloned().unwrap_or_default();
        if let Some(old) = replaced {
            known.replaces = Some(old.id.clone());
            if !making.options.renew_anonymous {
                let anonymous = old.mounts.iter().filter(|it| it.kind == "volume" && is_anonymous(&it.name));
                known.inherited = anonymous.map(|it| (it.destination.clone(), it.name.clone())).collect();
            }
        }
        request::creation(&self.project, service, number, &known).map_err(ApplyError::Said)
    }

    /// Creates a container under this name and copies its files in.
    ///
    /// # Errors
    /// When the daemon refuses it; then nothing is left of it.
    pub async fn create_one(&self, creation: &Creation, name: &str) -> Result<String, ApplyError> {
        let query = ContainerCreateQuery { name: Some(name.to_owned()), platform: creation.platform.clone() };
        let made = self.client.container_create(&query, &creation.request).await?;
        for warning in &made.warnings {
            self.say("Container", name, &format!("Warning: {warning}"), Phase::Working);
        }
        if let Err(error) = self.inject(&made.id, creation).await {
            let query = ContainerRemoveQuery { force: true, ..ContainerRemoveQuery::default() };
            // What remains of a container that cannot be removed is what the error is about.
            let _ = self.client.container_remove(&made.id, &query).await;
            return Err(error);
        }
        Ok(made.id)
    }

    // The new one is made beside the old one, which goes only when that has worked.
    async fn replace(
        &self,
        service: &Service,
        step: &ContainerStep,
        seen: &Seen,
        making: &Making,
    ) -> Result<String, ApplyError> {
        let old = self.client.container_inspect(&seen.id, &ContainerInspectQuery::default()).await?;
        let creation = self.creation(service, step.number, making, Some(&old)).await?;
        let short = seen.id.get(..12).unwrap_or(&seen.id);
        let temporary = format!("{short}_{}", creation.name);
        // Two containers cannot hold the same address or the same port, so the old one stops first.
        let id = self.create_one(&creation, &temporary).await?;
        self.before_stop(seen).await;
        let stop = ContainerStopQuery { timeout_s: making.options.timeout_s, signal: None };
        self.client.container_stop(&seen.id, &stop).await?;
        self.client.container_remove(&seen.id, &ContainerRemoveQuery::default()).await?;
        self.client.container_rename(&id, &ContainerRenameQuery { name: creation.name.clone() }).await?;
        Ok(id)
    }
}

struct Making {
    plan: Plan,
    images: BTreeMap<String, String>,
    options: UpOptions,
}

// The names that Docker gives to volumes without one.
fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn network_request(project: &str, key: &str, network: &crate::project::Resource) -> NetworkCreateRequest {
    let config: Vec<IpamConfig> = network
        .ipam
        .config
        .iter()
        .map(|it| IpamConfig {
            subnet: it.subnet.clone(),
            ip_range: it.ip_range.clone(),
            gateway: it.gateway.clone(),
            auxiliary_addresses: it.aux_addresses.clone(),
        })
        .collect();
    let ipam = Ipam {
        driver: network.ipam.driver.clone(),
        options: (!network.ipam.options.is_empty()).then(|| network.ipam.options.clone()),
        config: Some(config),
    };
    NetworkCreateRequest {
        name: network.name.clone(),
        driver: if network.driver.is_empty() { "bridge".to_owned() } else { network.driver.clone() },
        enable_ipv4: network.enable_ipv4,
        enable_ipv6: network.enable_ipv6.then_some(true),
        ipam: (ipam != Ipam { config: Some(Vec::new()), ..Ipam::default() }).then_some(ipam),
        internal: network.internal,
        attachable: network.attachable,
        options: Some(network.driver_opts.clone()),
        labels: Some(labels::resource(project, labels::NETWORK, key, network)),
        ..NetworkCreateRequest::default()
    }
}

// Whose containers must be there before others can be made: those that are named in the others' requests.
fn references<'s>(services: impl Iterator<Item = &'s Service>) -> Dependencies {
    services
        .map(|service| {
            let mut on = BTreeSet::new();
            for mode in [&service.network_mode, &service.ipc, &service.pid] {
                on.extend(mode.strip_prefix("service:").map(str::to_owned));
            }
            let named =
                service.links.iter().chain(service.volumes_from.iter().filter(|it| !it.starts_with("container:")));
            on.extend(named.filter_map(|text| text.split(':').next().map(str::to_owned)));
            on.remove(&service.name);
            (service.name.clone(), on.into_iter().collect())
        })
        .collect()
}
