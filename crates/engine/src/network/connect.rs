//! `network connect` and `disconnect`: a container joins or leaves a network while it is there.
//!
//! One that runs is plugged in or out at once; its other networks are not touched, but for the default routes and the
//! published ports, which belong to one of them and may have to move. One that does not run remembers the wish.

use std::sync::Arc;

use hako_base::ErrorKind;
use hako_model::{ContainerState, EndpointSpec};
use hako_network::Sandbox;

use super::{
    NetworkRecord,
    gateway::Gateways,
    join::{Place, gateways, note_place},
    place::WITH_HOST,
};
use crate::{
    Engine, EngineError,
    operation::Operation,
    record::{EndpointRecord, Record},
    table::Container,
};

impl Engine {
    /// Puts a container into a network.
    ///
    /// # Errors
    /// No such container or network, a network that it cannot be in, an address that cannot be had.
    pub async fn network_connect(&self, network: &str, name: &str, asked: EndpointSpec) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let network = self.networks.find(network)?;
        let _turn = container.operation.lock().await;
        // Its end waits until it is in: what is plugged in then is unplugged with the rest.
        let _alive = container.teardown.clone().lock_owned().await;
        let record = container.record();
        check_state(&record)?;
        self.check_connect(&record, &network, &asked)?;
        let (engine, target, there) = (self.clone(), container.clone(), network.clone());
        if record.is_running() {
            if record.endpoints.contains_key(&network.spec.name) {
                return Err(forbidden(format!(
                    "endpoint with name {} already exists in network {}",
                    record.name, network.spec.name
                )));
            }
            crate::blocking(move || engine.connect(&target, &there, asked)).await?;
            self.publish_membership("connect", &record, &network);
            return Ok(());
        }
        let record = container.change(|record| {
            let place = EndpointRecord { spec: asked, ..EndpointRecord::default() };
            record.endpoints.insert(network.spec.name.clone(), place);
        });
        crate::blocking(move || engine.records.changed(&record)).await
    }

    /// Takes a container out of a network.
    ///
    /// # Errors
    /// No such container or network, or one that the container is not in.
    pub async fn network_disconnect(&self, network: &str, name: &str, force: bool) -> Result<(), EngineError> {
        let network = self.networks.find(network)?;
        let container = self.containers.find(name).map_err(|error| match error {
            // Docker looks for an endpoint without a container then; there is none here.
            EngineError::NoContainer { name } if force => {
                EngineError::Mechanism { kind: ErrorKind::NotFound, text: format!("endpoint {name} not found") }
            }
            other => other,
        })?;
        let _turn = container.operation.lock().await;
        let _alive = container.teardown.clone().lock_owned().await;
        let record = container.record();
        check_state(&record)?;
        let in_it = record.endpoints.contains_key(&network.spec.name);
        if in_it && network.spec.name == "host" {
            return Err(forbidden(WITH_HOST));
        }
        if !in_it {
            let the = if record.is_running() { "" } else { "the " };
            return Err(forbidden(format!(
                "container {} is not connected to {the}network {}",
                record.id, network.spec.name
            )));
        }
        let (engine, target, there) = (self.clone(), container.clone(), network.clone());
        crate::blocking(move || engine.disconnect(&target, &there)).await?;
        if record.is_running() {
            self.publish_membership("disconnect", &record, &network);
        }
        Ok(())
    }

    fn connect(
        &self,
        container: &Arc<Container>,
        network: &NetworkRecord,
        asked: EndpointSpec,
    ) -> Result<(), EngineError> {
        let before = container.record();
        let sandbox = container.live.lock().as_ref().and_then(|live| live.sandbox.clone());
        let Some(sandbox) = sandbox else {
            return Err(EngineError::conflict(format!("container {} has no network of its own", before.id)));
        };
        let name = network.spec.name.as_str();
        let old = self.gateways_of(&before, None);
        let new = self.gateways_of(&before, Some((network, asked.gateway_priority)));
        let id = before.id;
        let asked = EndpointRecord { spec: asked, ..EndpointRecord::default() };

        let mut operation = Operation::begin("network.connect", &self.config.exec_root);
        let entered =
            operation.step("member", || self.networks.enter(name, id), || self.networks.leave(network.id, id))?;
        let endpoint = operation.step_with(
            "endpoint",
            || self.plug_in(&before, &entered, &asked, &sandbox, &new, false),
            |endpoint| {
                let (endpoint, sandbox, record) = (endpoint.clone(), sandbox.clone(), before.clone());
                let old = old.clone();
                move || {
                    self.network.names().remove(network.id, id);
                    if let Some(endpoint) = &endpoint {
                        self.pull_out(&sandbox, endpoint);
                    }
                    self.lead_routes(&record, &sandbox, &old);
                }
            },
        )?;
        let place = Place { network: entered, endpoint };
        let record = container.change(|record| {
            record.endpoints.insert(name.to_owned(), asked.clone());
            note_place(record, &place);
        });
        operation.step(
            "record",
            || self.records.changed(&record),
            || {
                let record = container.change(|record| drop(record.endpoints.remove(network.spec.name.as_str())));
                self.records.settled(&record);
            },
        )?;
        operation.finish();
        self.follow_way_out(container, &old, &new);
        self.network_files_changed(&before, &container.record());
        Ok(())
    }

    fn disconnect(&self, container: &Arc<Container>, network: &NetworkRecord) -> Result<(), EngineError> {
        let before = container.record();
        let name = network.spec.name.as_str();
        let left = container.change(|record| drop(record.endpoints.remove(name)));
        // First the record: after a crash the next daemon sweeps what is still plugged in.
        if let Err(error) = self.records.changed(&left) {
            container.change(|record| record.endpoints.clone_from(&before.endpoints));
            return Err(error);
        }
        let sandbox = container.live.lock().as_ref().and_then(|live| live.sandbox.clone());
        let (old, new) = (self.gateways_of(&before, None), self.gateways_of(&left, None));
        self.network.names().remove(network.id, before.id);
        if let Some(sandbox) = sandbox {
            // First, so that nothing leads to an address that somebody else may get.
            self.follow_way_out(container, &old, &new);
            if let Some(endpoint) = before.endpoints[name].plugged.as_ref() {
                self.pull_out(&sandbox, endpoint);
            }
            if old != new {
                self.lead_routes(&left, &sandbox, &new);
            }
        }
        self.networks.leave(network.id, before.id);
        if before.is_running() {
            self.network_files_changed(&before, &container.record());
        }
        Ok(())
    }

    /// Which networks have the container's default routes, with one more or without.
    fn gateways_of(&self, record: &Record, more: Option<(&NetworkRecord, i64)>) -> Gateways {
        let places: Vec<(Arc<NetworkRecord>, i64)> = record
            .endpoints
            .iter()
            .filter_map(|(name, place)| Some((self.networks.find(name).ok()?, place.spec.gateway_priority)))
            .collect();
        gateways(places.iter().map(|(network, priority)| (&**network, *priority)).chain(more))
    }

    fn pull_out(&self, sandbox: &Sandbox, endpoint: &hako_network::Endpoint) {
        if let Err(error) = self.network.endpoint_pull(sandbox, endpoint) {
            tracing::warn!(link = %endpoint.link, error = %hako_base::error::chain(&error), "cannot unplug");
        }
    }

    /// The default routes lead to these networks.
    fn lead_routes(&self, record: &Record, sandbox: &Sandbox, to: &Gateways) {
        let endpoint =
            |name: &Option<String>| record.endpoints.get(name.as_deref()?).and_then(|place| place.plugged.as_ref());
        let result = self.network.default_routes(sandbox, endpoint(&to.ipv4), endpoint(&to.ipv6));
        if let Err(error) = result {
            let error = hako_base::error::chain(&error);
            tracing::warn!(container = %record.id.short(), error, "the default routes cannot be led elsewhere");
        }
    }

    /// Published ports are at the way out: where that has moved, they move.
    fn follow_way_out(&self, container: &Container, old: &Gateways, new: &Gateways) {
        if old.publishing() == new.publishing() {
            return;
        }
        let record = container.record();
        let place = new.publishing().and_then(|name| record.endpoints.get(name));
        let moved = self.move_ports(&record, place.and_then(|place| place.plugged.as_ref()));
        let published = moved.unwrap_or_else(|error| {
            tracing::error!(container = %record.id.short(), %error, "its ports cannot be published again");
            Vec::new()
        });
        let record = container.change(|record| {
            record.published = published;
            record.published_on = new.publishing().map(str::to_owned);
        });
        self.records.settled(&record);
    }
}

fn check_state(record: &Record) -> Result<(), EngineError> {
    if matches!(record.state.status, ContainerState::Removing | ContainerState::Dead) {
        return Err(EngineError::conflict(format!(
            "container {} is marked for removal and cannot be connected or disconnected to the network",
            record.id
        )));
    }
    Ok(())
}

fn forbidden(text: impl Into<String>) -> EngineError {
    EngineError::Mechanism { kind: ErrorKind::Forbidden, text: text.into() }
}
