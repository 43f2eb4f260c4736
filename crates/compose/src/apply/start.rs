//! The second half of `up`, and everything that is done to containers in the order of their dependencies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hako_api::query::{ContainerKillQuery, ContainerStartQuery, ContainerStopQuery};

use super::{Actor, Dependencies, Phase, Wanted, Watch, order};
use crate::{
    error::ApplyError,
    observe::{self, Seen},
    project::Project,
    service::{Condition, Dependency, Service},
};

/// What is done to containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Start,
    /// Seconds before it is killed.
    Stop(Option<i64>),
    Restart(Option<i64>),
    Kill(Option<String>),
    Pause,
    Unpause,
}

impl Deed {
    fn words(&self) -> [&'static str; 2] {
        match self {
            Self::Start => ["Starting", "Started"],
            Self::Stop(_) => ["Stopping", "Stopped"],
            Self::Restart(_) => ["Restarting", "Started"],
            Self::Kill(_) => ["Killing", "Killed"],
            Self::Pause => ["Pausing", "Paused"],
            Self::Unpause => ["Unpausing", "Unpaused"],
        }
    }

    // Whether it leaves a container in this state as it is.
    fn passes_over(&self, seen: &Seen) -> bool {
        match self {
            Self::Start => seen.is_running() || seen.state == "paused",
            Self::Stop(_) => !seen.is_running() && seen.state != "paused",
            Self::Kill(_) => !seen.is_running() && seen.state != "paused",
            Self::Pause => seen.state != "running",
            Self::Unpause => seen.state != "paused",
            Self::Restart(_) => false,
        }
    }
}

/// Who depends on whom among services.
pub(super) fn dependencies(project: &Project) -> Dependencies {
    project
        .services
        .iter()
        .map(|(name, service)| (name.clone(), service.depends_on.keys().cloned().collect()))
        .collect()
}

/// The same read from the labels of containers, where there is no file.
pub(super) fn dependencies_by_label(containers: &[Seen]) -> Dependencies {
    let services = services_by_label(containers.iter());
    services.into_iter().map(|(name, service)| (name, service.depends_on.into_keys().collect())).collect()
}

// Services as far as the labels of their containers tell: who depends on whom, and how.
fn services_by_label<'s>(containers: impl Iterator<Item = &'s Seen>) -> BTreeMap<String, Service> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for seen in containers {
        let service = services.entry(seen.service.clone()).or_default();
        service.name.clone_from(&seen.service);
        let label = seen.labels.get(crate::labels::DEPENDS_ON).map_or("", String::as_str);
        for entry in label.split(',').filter(|entry| !entry.is_empty()) {
            let mut parts = entry.split(':');
            let name = parts.next().unwrap_or_default();
            let condition = parts.next().and_then(Condition::named).unwrap_or_default();
            let dependency = Dependency { condition, ..Dependency::default() };
            service.depends_on.insert(name.to_owned(), dependency);
        }
    }
    services
}

// The named services (none: all), and what they depend on.
fn with_dependencies(project: &Project, named: &[String]) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    let mut open: Vec<String> =
        if named.is_empty() { project.services.keys().cloned().collect() } else { named.to_vec() };
    while let Some(name) = open.pop() {
        if let Some(service) = project.services.get(&name)
            && wanted.insert(name)
        {
            open.extend(service.depends_on.keys().cloned());
        }
    }
    wanted
}

impl Actor {
    /// Starts every container of the project that does not run, each when what it depends on is as far as it must be.
    ///
    /// # Errors
    /// At the first container that cannot be started, or dependency that fails.
    pub async fn start(&self) -> Result<(), ApplyError> {
        let conditional = |service: &crate::service::Service| {
            service.depends_on.values().any(|dependency| dependency.condition != Condition::Started)
        };
        let watch = match self.project.services.values().any(conditional) {
            true => Some(Watch::begin(&self.client, &self.project.name).await?),
            false => None,
        };
        let containers = Arc::new(self.own_containers().await?);
        let this = self.clone();
        order::walk(&dependencies(&self.project), move |name| {
            let (this, containers, watch) = (this.clone(), containers.clone(), watch.clone());
            async move {
                if let Some(watch) = watch {
                    this.await_dependencies(&name, &containers, &watch).await?;
                }
                let own = containers.get(&name).cloned().unwrap_or_default();
                order::together(own, move |seen| this.clone().deed(seen, Deed::Start)).await
            }
        })
        .await
    }

    /// Starts the containers of the named services (none: of all) and of what they depend on; makes none.
    ///
    /// # Errors
    /// When one of these services has no container, and as [`Actor::start`].
    pub async fn start_again(&self, services: &[String]) -> Result<(), ApplyError> {
        let containers = self.own_containers().await?;
        let mut project = Project::clone(&self.project);
        if project.services.is_empty() {
            project.services = services_by_label(containers.values().flatten());
        }
        let wanted = with_dependencies(&project, services);
        project.services.retain(|name, _| wanted.contains(name));
        let lacks = |service: &&Service| service.replicas() > 0 && !containers.contains_key(&service.name);
        if let Some(service) = project.services.values().find(lacks) {
            return Err(ApplyError::Said(format!("service {:?} has no container to start", service.name)));
        }
        Self { project: Arc::new(project), ..self.clone() }.start().await
    }

    /// Waits until what a service depends on is as far as it must be.
    ///
    /// # Errors
    /// When a dependency fails.
    pub async fn await_dependencies_of(&self, service: &str) -> Result<(), ApplyError> {
        let watch = Watch::begin(&self.client, &self.project.name).await?;
        let containers = self.own_containers().await?;
        self.await_dependencies(service, &containers, &watch).await
    }

    async fn own_containers(&self) -> Result<BTreeMap<String, Vec<Seen>>, ApplyError> {
        let list = observe::containers(&self.client, Some(&self.project.name), true).await?;
        let mut own: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for seen in list.iter().map(Seen::from_summary).filter(|seen| !seen.one_off) {
            own.entry(seen.service.clone()).or_default().push(seen);
        }
        Ok(own)
    }

    async fn await_dependencies(
        &self,
        name: &str,
        containers: &BTreeMap<String, Vec<Seen>>,
        watch: &Watch,
    ) -> Result<(), ApplyError> {
        let Some(service) = self.project.services.get(name) else { return Ok(()) };
        // What does not take part (`--no-deps`, a profile that is off) is not waited for.
        let taking_part = service.depends_on.iter().filter(|(other, _)| self.project.services.contains_key(*other));
        for (other, dependency) in taking_part {
            let wanted = match dependency.condition {
                Condition::Started => continue,
                Condition::Healthy => Wanted::Healthy,
                Condition::Completed => Wanted::Completed,
            };
            for seen in containers.get(other).into_iter().flatten() {
                self.say("Container", &seen.name, "Waiting", Phase::Working);
                let done = if wanted == Wanted::Completed { "Exited" } else { "Healthy" };
                match watch.until(&self.client, &seen.id, wanted).await {
                    Ok(()) => self.say("Container", &seen.name, done, Phase::Done),
                    Err(error) if dependency.required => {
                        self.say("Container", &seen.name, "Error", Phase::Failed);
                        return Err(dependency_failed(wanted, other, &error));
                    }
                    // Whoever does not require it goes on without it.
                    Err(error) => {
                        let state = format!("Skipped - optional dependency {other:?} failed: {error}");
                        self.say("Container", &seen.name, &state, Phase::Done);
                    }
                }
            }
        }
        Ok(())
    }

    /// Does the same to containers of the named services (none: of all), in order; stopping goes backwards.
    ///
    /// # Errors
    /// At the first failure.
    pub async fn act(&self, services: &[String], deed: &Deed, without_dependencies: bool) -> Result<(), ApplyError> {
        let containers = self.own_containers().await?;
        let graph = match self.project.services.is_empty() {
            true => dependencies_by_label(&containers.values().flatten().cloned().collect::<Vec<_>>()),
            false => dependencies(&self.project),
        };
        let mut graph: Dependencies =
            graph.into_iter().filter(|(name, _)| services.is_empty() || services.contains(name)).collect();
        if without_dependencies {
            graph.values_mut().for_each(Vec::clear);
        }
        if matches!(deed, Deed::Stop(_) | Deed::Kill(_)) {
            graph = order::reversed(&graph);
        }
        let containers = Arc::new(containers);
        let this = self.clone();
        order::walk(&graph, move |name| {
            let (this, deed) = (this.clone(), deed.clone());
            let own = containers.get(&name).cloned().unwrap_or_default();
            async move { order::together(own, move |seen| this.clone().deed(seen, deed.clone())).await }
        })
        .await
    }

    /// Does one thing to one container.
    pub(super) async fn deed(self, seen: Seen, deed: Deed) -> Result<(), ApplyError> {
        if deed.passes_over(&seen) {
            if deed == Deed::Start {
                self.say("Container", &seen.name, "Running", Phase::Done);
            }
            return Ok(());
        }
        let (client, id) = (&self.client, seen.id.as_str());
        let stop = |timeout_s: Option<i64>| ContainerStopQuery { timeout_s, signal: None };
        if matches!(deed, Deed::Stop(_) | Deed::Restart(_)) {
            self.before_stop(&seen).await;
        }
        let doing = async {
            match &deed {
                Deed::Start => client.container_start(id, &ContainerStartQuery::default()).await,
                Deed::Stop(timeout) => client.container_stop(id, &stop(*timeout)).await,
                Deed::Restart(timeout) => client.container_restart(id, &stop(*timeout)).await,
                Deed::Kill(signal) => client.container_kill(id, &ContainerKillQuery { signal: signal.clone() }).await,
                Deed::Pause => client.container_pause(id).await,
                Deed::Unpause => client.container_unpause(id).await,
            }
        };
        self.step("Container", &seen.name, deed.words(), doing).await?;
        match deed {
            Deed::Start | Deed::Restart(_) if !self.dry_run => self.after_start(&seen).await,
            _ => Ok(()),
        }
    }

    /// Waits until every container of the named services (none: of all) runs, and is healthy where it has a check.
    ///
    /// # Errors
    /// When one of them ends or falls ill.
    pub async fn wait_until_up(&self, services: &[String]) -> Result<(), ApplyError> {
        let watch = Watch::begin(&self.client, &self.project.name).await?;
        let wanted = |seen: &Seen| match services.is_empty() {
            true => self.project.services.contains_key(&seen.service),
            false => services.contains(&seen.service),
        };
        let containers = self.own_containers().await?.into_values().flatten().filter(wanted).collect();
        let this = self.clone();
        order::together(containers, move |seen: Seen| {
            let (this, watch) = (this.clone(), watch.clone());
            async move {
                this.say("Container", &seen.name, "Waiting", Phase::Working);
                match watch.until(&this.client, &seen.id, Wanted::RunningOrHealthy).await {
                    Ok(()) => this.say("Container", &seen.name, "Healthy", Phase::Done),
                    Err(error) => {
                        this.say("Container", &seen.name, "Error", Phase::Failed);
                        return Err(error);
                    }
                }
                Ok(())
            }
        })
        .await
    }
}

fn dependency_failed(wanted: Wanted, service: &str, error: &ApplyError) -> ApplyError {
    ApplyError::Said(match wanted {
        Wanted::Completed => format!("service {service:?} didn't complete successfully: {error}"),
        _ => format!("dependency failed to start: {error}"),
    })
}
