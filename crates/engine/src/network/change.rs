//! `network create`, `rm` and `prune`.

use std::collections::BTreeMap;

use hako_base::{ErrorKind, clock};
use hako_model::{EventKind, Filters, NetworkDriver, NetworkId, NetworkSpec};

use super::{NetworkRecord, Removal, error, is_predefined};
use crate::{Engine, EngineError, operation::Operation, prune::Chosen, view::PruneView};

impl Engine {
    /// Makes a network.
    ///
    /// # Errors
    /// A name that is taken, settings that make no sense, no free subnet.
    pub async fn network_create(&self, spec: NetworkSpec, families: Families) -> Result<NetworkId, EngineError> {
        let engine = self.clone();
        crate::blocking(move || engine.create_network(spec, families)).await
    }

    fn create_network(&self, mut spec: NetworkSpec, families: Families) -> Result<NetworkId, EngineError> {
        families.decide(&mut spec)?;
        check(&spec)?;
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
        let defaults = self.config.network_options.get(spec.driver.name());
        families.take_defaults(&mut spec, defaults.into_iter().flatten())?;
        if !spec.ipv4 && !spec.ipv6 {
            return Err(EngineError::invalid("IPv4 or IPv6 must be enabled"));
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

/// Which families of addresses were asked for by name; the options of a network and the daemon's defaults may say it too.
#[derive(Debug, Clone, Copy, Default)]
pub struct Families {
    pub ipv4: Option<bool>,
    pub ipv6: Option<bool>,
}

const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

impl Families {
    // What is named counts, then the network's own option, then Docker's habit.
    fn decide(self, spec: &mut NetworkSpec) -> Result<(), EngineError> {
        spec.ipv4 = self.ipv4.or(switch(&spec.options, ENABLE_IPV4)?).unwrap_or(true);
        spec.ipv6 = self.ipv6.or(switch(&spec.options, ENABLE_IPV6)?).unwrap_or(false);
        Ok(())
    }

    // The daemon's default options; one that is not obeyed here is not shown either.
    fn take_defaults<'d>(
        self,
        spec: &mut NetworkSpec,
        defaults: impl Iterator<Item = (&'d String, &'d String)>,
    ) -> Result<(), EngineError> {
        let is_made_elsewhere = spec.config_from.is_some();
        for (key, value) in defaults {
            let is_decided = match key.as_str() {
                ENABLE_IPV4 => self.ipv4.is_some() || is_made_elsewhere,
                ENABLE_IPV6 => self.ipv6.is_some() || is_made_elsewhere,
                _ => false,
            };
            if is_decided || spec.options.contains_key(key) {
                continue;
            }
            spec.options.insert(key.clone(), value.clone());
            match key.as_str() {
                ENABLE_IPV4 => spec.ipv4 = switch(&spec.options, key)?.unwrap_or(true),
                ENABLE_IPV6 => spec.ipv6 = switch(&spec.options, key)?.unwrap_or(false),
                _ => {}
            }
        }
        Ok(())
    }
}

fn switch(options: &BTreeMap<String, String>, key: &str) -> Result<Option<bool>, EngineError> {
    let read = |text: &String| match text.as_str() {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        other => {
            Err(EngineError::invalid(format!("invalid value for option {key}: {other:?} is neither true nor false")))
        }
    };
    options.get(key).map(read).transpose()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `options` and `defaults` by the last word of their names: `4=true 6=false mtu=9000`.
    #[track_caller]
    fn check(families: (Option<bool>, Option<bool>), options: &str, defaults: &str, expected: &str) {
        let map = |text: &str| {
            let pair = |word: &str| {
                let (key, value) = word.split_once('=').unwrap();
                (key.replace('4', ENABLE_IPV4).replace('6', ENABLE_IPV6), value.to_owned())
            };
            text.split_whitespace().map(pair).collect::<BTreeMap<_, _>>()
        };
        let mut spec =
            NetworkSpec { options: map(options), ..crate::network::predefined::spec("n", NetworkDriver::Bridge) };
        let families = Families { ipv4: families.0, ipv6: families.1 };
        families.decide(&mut spec).unwrap();
        families.take_defaults(&mut spec, map(defaults).iter()).unwrap();
        let shown: Vec<String> = spec.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let shown = shown.join(" ").replace(ENABLE_IPV4, "4").replace(ENABLE_IPV6, "6");
        assert_eq!(format!("{} {} [{shown}]", spec.ipv4, spec.ipv6), expected, "{families:?} {options} {defaults}");
    }

    #[test]
    fn families_are_what_is_named_then_optioned_then_usual() {
        check((None, None), "", "", "true false []");
        check((None, Some(true)), "", "", "true true []");
        check((None, None), "4=false 6=true", "", "false true [4=false 6=true]");
        check((Some(true), None), "4=false", "", "true false [4=false]");
        check((None, None), "", "4=false 6=true mtu=9", "false true [4=false 6=true mtu=9]");
        check((Some(true), None), "", "4=false 6=true", "true true [6=true]");
        check((None, None), "6=false mtu=8", "6=true mtu=9", "true false [6=false mtu=8]");
    }

    #[test]
    fn a_switch_that_is_none_is_named() {
        let mut spec = crate::network::predefined::spec("n", NetworkDriver::Bridge);
        spec.options.insert(ENABLE_IPV6.to_owned(), "maybe".to_owned());
        let refused = Families::default().decide(&mut spec).unwrap_err().to_string();
        assert_eq!(refused, format!("invalid value for option {ENABLE_IPV6}: \"maybe\" is neither true nor false"));
    }
}
