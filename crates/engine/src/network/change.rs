//! `network create`, `rm` and `prune`.

use hako_base::{ErrorKind, clock};
use hako_model::{EventKind, Filters, NetworkDriver, NetworkId, NetworkSpec};

use super::{NetworkRecord, Removal, error, is_predefined};
use crate::{Engine, EngineError, operation::Operation, prune::Chosen, view::PruneView};

impl Engine {
    /// Makes a network.
    ///
    /// # Errors
    /// A name that is taken, settings that make no sense, no free subnet.
    pub async fn network_create(&self, mut spec: NetworkSpec) -> Result<NetworkId, EngineError> {
        check(&spec)?;
        for (key, value) in self.config.network_options.get(spec.driver.name()).into_iter().flatten() {
            spec.options.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let engine = self.clone();
        crate::blocking(move || engine.create_network(spec)).await
    }

    fn create_network(&self, mut spec: NetworkSpec) -> Result<NetworkId, EngineError> {
        let _one_at_a_time = self.networks.changes.lock();
        if self.networks.all().iter().any(|known| known.spec.name == spec.name) {
            return Err(EngineError::conflict(format!("network with name {} already exists", spec.name)));
        }
        let id = NetworkId::random();
        if spec.config_only {
            let made = self.networks.put(NetworkRecord { id, created: clock::now(), spec, plan: None })?;
            self.publish_change("create", &made);
            return Ok(id);
        }
        if let Some(source) = spec.config_from.clone() {
            self.take_configuration(&mut spec, &source)?;
        }
        // The driver `null` of addresses has none to give.
        if spec.ipam_driver == "null" && spec.pools.is_empty() && spec.driver != NetworkDriver::Null {
            return Err(EngineError::invalid("ipv4 pool is empty"));
        }
        let plan = self.network.plan(id, &spec, None).map_err(error)?;
        // A parent that leads nowhere makes the network internal.
        spec.internal = plan.internal;
        let (name, way_out) = (spec.name.clone(), !spec.internal);
        let record = NetworkRecord { id, created: clock::now(), spec, plan: Some(plan.clone()) };
        let mut operation = Operation::begin("network.create", &self.config.exec_root);
        operation.step("bridge", || self.network.bridge_up(&plan).map_err(error), || self.take_bridge_down(id))?;
        operation.step(
            "names",
            || {
                self.network.names().network_set(id, &name, way_out);
                Ok(())
            },
            || self.network.names().network_remove(id),
        )?;
        let made = operation.step_with(
            "record",
            || self.networks.put(record),
            |made| {
                let made = made.clone();
                move || drop(self.networks.remove(&made))
            },
        )?;
        operation.finish();
        self.publish_change("create", &made);
        Ok(id)
    }

    /// `--config-from`: all of the settings are the other's, whose name is remembered.
    fn take_configuration(&self, spec: &mut NetworkSpec, source: &str) -> Result<(), EngineError> {
        let found = self.networks.find(source).ok().filter(|source| source.spec.config_only);
        let Some(source) = found else {
            let text = format!("configuration network {source:?} does not exist");
            return Err(EngineError::Mechanism { kind: ErrorKind::NotFound, text });
        };
        let own = !spec.pools.is_empty()
            || !spec.options.is_empty()
            || !spec.labels.is_empty()
            || spec.ipam_options.as_ref().is_some_and(|options| !options.is_empty())
            || spec.ipv6;
        if own {
            return Err(forbidden(
                "user specified configurations are not supported if the network depends on a configuration network"
                    .to_owned(),
            ));
        }
        let from = &source.spec;
        spec.config_from = Some(from.name.clone());
        spec.pools.clone_from(&from.pools);
        spec.options.clone_from(&from.options);
        spec.labels.clone_from(&from.labels);
        spec.ipam_driver.clone_from(&from.ipam_driver);
        spec.ipam_options.clone_from(&from.ipam_options);
        (spec.ipv4, spec.ipv6) = (from.ipv4, from.ipv6);
        Ok(())
    }

    fn take_bridge_down(&self, id: NetworkId) {
        if let Err(error) = self.network.bridge_down(id) {
            let error = hako_base::error::chain(&error);
            tracing::warn!(network = %id.short(), error, "its bridge stays until the next start");
        }
    }

    /// Removes a network that no running container is in.
    ///
    /// # Errors
    /// No such network, one that every host has, or one that is used: by whom.
    pub async fn network_remove(&self, name: &str) -> Result<(), EngineError> {
        let record = self.networks.find(name)?;
        if record.is_predefined() {
            return Err(forbidden(format!("{} is a pre-defined network and cannot be removed", record.spec.name)));
        }
        let engine = self.clone();
        crate::blocking(move || engine.remove_network(&record)).await
    }

    fn remove_network(&self, record: &NetworkRecord) -> Result<(), EngineError> {
        let _one_at_a_time = self.networks.changes.lock();
        // Somebody was faster.
        self.networks.find(&record.id.to_string())?;
        let name = &record.spec.name;
        if record.spec.config_only
            && self.networks.all().iter().any(|other| other.spec.config_from.as_ref() == Some(name))
        {
            return Err(forbidden(format!("error while removing network: configuration network {name:?} is in use")));
        }
        match self.networks.remove(record) {
            Ok(()) => {}
            Err(Removal::Failed(error)) => return Err(error),
            Err(Removal::InUse(members)) => {
                let users: Vec<String> = members
                    .iter()
                    .map(|id| {
                        let found = self.containers.find(&id.to_string());
                        let name = found.map_or_else(|_| String::new(), |container| container.record().name.clone());
                        format!("name:\"{name}\" id:\"{}\"", id.short())
                    })
                    .collect();
                return Err(forbidden(format!(
                    "error while removing network: network {} has active endpoints ({})",
                    record.spec.name,
                    users.join(", ")
                )));
            }
        }
        self.network.names().network_remove(record.id);
        self.take_bridge_down(record.id);
        self.publish_change("destroy", record);
        Ok(())
    }

    /// Removes every network that no container is in, running or not, and that the filters (`label`, `label!`,
    /// `until`) choose.
    ///
    /// # Errors
    /// A filter that there is none of.
    pub async fn network_prune(&self, filters: &Filters) -> Result<PruneView, EngineError> {
        if let Some(key) = filters.unknown_key(&["label", "label!", "until"]) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        let chosen = Chosen::parse(filters, &[])?;
        let mut view = PruneView::default();
        for record in self.networks.all() {
            let keep = record.is_predefined()
                || record.spec.config_only
                || !chosen.contains(record.created, &record.spec.labels)
                || self.network_is_wanted(&record);
            if keep {
                continue;
            }
            match self.network_remove(&record.id.to_string()).await {
                Ok(()) => view.removed.push(record.spec.name.clone()),
                // It was joined or removed meanwhile.
                Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.events.publish(EventKind::Network, "prune", "", [("reclaimed", "0")]);
        Ok(view)
    }

    /// Whether any container, running or not, wants to be in it.
    pub(super) fn network_is_wanted(&self, network: &NetworkRecord) -> bool {
        let wants = |record: &crate::record::Record| record.endpoints.contains_key(&network.spec.name);
        self.containers.all().iter().any(|container| wants(&container.record()))
    }

    fn publish_change(&self, action: &str, network: &NetworkRecord) {
        let (id, driver) = (network.id.to_string(), network.spec.driver.name());
        let attributes = [("name", network.spec.name.as_str()), ("type", driver)];
        self.events.publish(EventKind::Network, action, &id, attributes);
    }
}

fn check(spec: &NetworkSpec) -> Result<(), EngineError> {
    if spec.name.trim().is_empty() {
        return Err(EngineError::invalid("invalid name: name is empty"));
    }
    if is_predefined(&spec.name) {
        return Err(forbidden(format!("operation is not permitted on predefined {} network", spec.name)));
    }
    if spec.config_only {
        return check_configuration(spec);
    }
    if matches!(spec.driver, NetworkDriver::Host | NetworkDriver::Null) {
        return Err(forbidden(format!("only one instance of \"{}\" network is allowed", spec.driver.name())));
    }
    if !spec.ipv4 && !spec.ipv6 {
        return Err(EngineError::invalid("IPv4 or IPv6 must be enabled"));
    }
    Ok(())
}

fn check_configuration(spec: &NetworkSpec) -> Result<(), EngineError> {
    if spec.config_from.is_some() {
        return Err(forbidden("a configuration network cannot depend on another configuration network".to_owned()));
    }
    if spec.internal || spec.attachable {
        let text = "configuration network can only contain network specific fields. Network operator fields like \
                    [ ingress | internal | attachable | scope ] are not supported.";
        return Err(forbidden(text.to_owned()));
    }
    Ok(())
}

fn forbidden(text: String) -> EngineError {
    EngineError::Mechanism { kind: ErrorKind::Forbidden, text }
}
