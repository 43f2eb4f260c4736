//! `network ls` and `inspect`, and what watchers are told.

use std::collections::BTreeMap;

use hako_model::{EventKind, Filters};

use super::NetworkRecord;
use crate::{Engine, EngineError, container::list::endpoints, record::Record, view::NetworkView};

const KNOWN_FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

impl Engine {
    /// The networks that `filters` chooses, by name.
    ///
    /// # Errors
    /// A filter that there is none of, or a value that it has not.
    pub fn network_list(&self, filters: &Filters) -> Result<Vec<NetworkView>, EngineError> {
        if let Some(key) = filters.unknown_key(KNOWN_FILTERS) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        if let Some(bad) = filters.values("type").find(|kind| !matches!(*kind, "builtin" | "custom")) {
            return Err(EngineError::invalid(format!("invalid filter: 'type'='{bad}'")));
        }
        let dangling = dangling(filters)?;
        let views = self.networks.all().into_iter().filter(|record| {
            let builtin = record.is_predefined();
            filters.any("name", |part| record.spec.name.contains(part))
                && filters.any("id", |part| record.id.to_string().starts_with(part))
                && filters.any("driver", |driver| driver == record.spec.driver.name())
                && filters.any("scope", |scope| scope == "local")
                && filters.any("type", |kind| (kind == "builtin") == builtin)
                && filters.labels("label", &record.spec.labels)
                && dangling.is_none_or(|wanted| !builtin && self.network_is_wanted(record) != wanted)
        });
        Ok(views.map(|record| self.network_view(&record)).collect())
    }

    /// Everything about one network.
    ///
    /// # Errors
    /// No such network.
    pub fn network_inspect(&self, name: &str) -> Result<NetworkView, EngineError> {
        Ok(self.network_view(&*self.networks.find(name)?))
    }

    fn network_view(&self, network: &NetworkRecord) -> NetworkView {
        let mut containers = BTreeMap::new();
        for id in self.networks.members(network.id) {
            let Ok(container) = self.containers.find(&id.to_string()) else { continue };
            let record = container.record();
            if let Some(view) = endpoints(&record).remove(&network.spec.name).filter(|_| record.is_running()) {
                containers.insert(record.id.to_string(), (record.name.clone(), view));
            }
        }
        let mut spec = network.spec.clone();
        if let Some(plan) = &network.plan {
            spec.pools.clone_from(&plan.pools);
        }
        NetworkView { id: network.id, created: network.created, spec, containers }
    }

    /// Tells watchers who joined or left which networks.
    pub(crate) fn publish_network(&self, action: &str, record: &Record) {
        for (name, place) in &record.endpoints {
            if let (Some(_), Ok(network)) = (place.network, self.networks.find(name)) {
                self.publish_membership(action, record, &network);
            }
        }
    }

    /// Tells watchers that a container joined or left a network.
    pub(super) fn publish_membership(&self, action: &str, record: &Record, network: &NetworkRecord) {
        let (container, driver) = (record.id.to_string(), network.spec.driver.name());
        self.events.publish(
            EventKind::Network,
            action,
            &network.id.to_string(),
            [("container", container.as_str()), ("name", network.spec.name.as_str()), ("type", driver)],
        );
    }
}

/// `dangling=true`: those that no container is in.
fn dangling(filters: &Filters) -> Result<Option<bool>, EngineError> {
    filters
        .values("dangling")
        .next()
        .map(|value| match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(EngineError::invalid(format!(
                "invalid value for filter 'dangling' ({other}), must be \"true\" (or \"1\"), or \"false\" (or \"0\")"
            ))),
        })
        .transpose()
}
