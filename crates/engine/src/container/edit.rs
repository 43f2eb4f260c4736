//! `container edit`: published ports, labels and limits of the log of a container, changed while it runs; beyond Docker.
//!
//! A port is added to what leads to the container and taken from it; nothing else is touched, so that connections through
//! other ports go on. What is changed is kept for the next start.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc};

use hako_model::{NetworkMode, PortBinding};
use hako_network::{PortRequest, PublishedPort};

use crate::{
    Engine, EngineError,
    log::LogPlan,
    network::{port_requests_of, ports_key},
    record::Record,
    table::Container,
    view::{EditOptions, PortChoice},
};

/// What of a log may change while it is written: how much is kept.
const LIVE_LOG_OPTIONS: [&str; 6] =
    ["max-size", "max-file", "compress", "cache-max-size", "cache-max-file", "cache-compress"];

impl Engine {
    /// Publishes and unpublishes ports, sets and removes labels, changes how much of the log is kept.
    ///
    /// # Errors
    /// No such container, a port that is not published or cannot be had; nothing is changed then.
    pub async fn container_edit(&self, name: &str, edit: EditOptions) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let _turn = container.operation.lock().await;
        // Its end waits: a port that is published after the end would never be taken back.
        let _alive = container.teardown.clone().lock_owned().await;
        let before = container.record();
        let mut edited = (*before).clone();
        apply(&mut edited, &edit)?;
        let log = self.relogged(&container, &mut edited, &edit)?;
        let engine = self.clone();
        let published = crate::blocking(move || engine.republish(&before, &edit)).await?;
        let record = container.change(|record| {
            record.spec = edited.spec;
            record.config = edited.config;
            record.published = published;
        });
        self.settle(&record).await;
        if let Some(plan) = log {
            if !record.is_running() {
                plan.trim(container.log().files_max);
            }
            container.log_plan.send_replace(Arc::new(plan));
        }
        self.publish_container("update", &record, []);
        Ok(())
    }

    /// The log's plan after the edit, if it changes that.
    fn relogged(
        &self,
        container: &Container,
        record: &mut Record,
        edit: &EditOptions,
    ) -> Result<Option<LogPlan>, EngineError> {
        if edit.log_options.is_empty() {
            return Ok(None);
        }
        if let Some(key) = edit.log_options.keys().find(|key| !LIVE_LOG_OPTIONS.contains(&key.as_str())) {
            return Err(EngineError::invalid(format!(
                "log opt '{key}' cannot be changed: {} can be, everything else needs a new container",
                LIVE_LOG_OPTIONS.join(", ")
            )));
        }
        let mut spec = (*record.spec).clone();
        spec.host.log_options.extend(edit.log_options.clone());
        let path = self.container_files(container.id).join(format!("{}-json.log", container.id));
        let plan = LogPlan::new(&path, &spec.host.log_driver, &spec.host.log_options)?;
        record.spec = Arc::new(spec);
        Ok(Some(plan))
    }

    /// What a running container has published after the edit; of another one nothing is.
    fn republish(&self, record: &Record, edit: &EditOptions) -> Result<Vec<PublishedPort>, EngineError> {
        let requests = port_requests_of(&edit.publish, self.config.publish_address);
        let (gone, mut published): (Vec<_>, Vec<_>) =
            record.published.iter().copied().partition(|port| edit.unpublish.iter().any(|choice| choice.has(port)));
        if !record.is_running() || (requests.is_empty() && gone.is_empty()) {
            return Ok(record.published.clone());
        }
        let network = record.published_on.as_deref().or(record.spec.host.network_mode.network_name());
        let endpoint = network.and_then(|name| record.endpoints.get(name)).and_then(|place| place.plugged.as_ref());
        let endpoint = endpoint.ok_or_else(|| EngineError::invalid("the container is in no network that has ports"))?;
        self.network.unpublish(&gone).map_err(|error| EngineError::mechanism(error.kind(), &error))?;
        if !gone.is_empty() {
            // A port is free when the keeper has let go of its socket, too.
            self.keep_ports(record, self.network.sockets_without(self.port_sockets(record), &gone))?;
        }
        let mut sockets = self.port_sockets(record);
        let publication = match self.network.publish(endpoint, &requests) {
            Ok(publication) => publication,
            Err(error) => {
                // As it was: the ports are free, since they were its own a moment ago.
                let again: Vec<PortRequest> = gone.iter().map(as_request).collect();
                let restored = self.network.publish(endpoint, &again).map(|made| sockets.extend(made.listeners));
                if let Err(error) = restored {
                    tracing::error!(container = %record.id.short(), %error, "its ports cannot be published again");
                }
                self.keep_ports(record, sockets)?;
                return Err(EngineError::mechanism(error.kind(), &error));
            }
        };
        published.extend(publication.ports);
        sockets.extend(publication.listeners);
        self.keep_ports(record, sockets)?;
        Ok(published)
    }

    fn port_sockets(&self, record: &Record) -> Vec<Arc<OwnedFd>> {
        self.keepers.kept(&ports_key(record.id)).into_iter().flat_map(|(_, sockets)| sockets).collect()
    }

    /// The keeper holds exactly these; it closes what it held before.
    fn keep_ports(&self, record: &Record, sockets: Vec<Arc<OwnedFd>>) -> Result<(), EngineError> {
        let kept = self.keepers.keep(&ports_key(record.id), sockets);
        kept.map_err(|error| EngineError::mechanism(error.kind(), &error))
    }
}

fn as_request(port: &PublishedPort) -> PortRequest {
    let number = port.host.port();
    PortRequest {
        container: port.container,
        host: PortBinding { address: Some(port.host.ip()), port: number, port_end: number, zero_is_written: false },
    }
}

/// The edit in the record: what `inspect` shows, and what the next start does.
fn apply(record: &mut Record, edit: &EditOptions) -> Result<(), EngineError> {
    let mut spec = (*record.spec).clone();
    let mut config = (*record.config).clone();
    let ports_change = !edit.publish.is_empty() || !edit.unpublish.is_empty();
    if ports_change && !matches!(spec.host.network_mode, NetworkMode::Default | NetworkMode::Network(_)) {
        return Err(EngineError::invalid("ports are published in networks: the container is in none of its own"));
    }
    for choice in &edit.unpublish {
        let wished = spec.host.port_bindings.get_mut(&choice.container);
        let on_host = record.published.iter().any(|port| choice.has(port));
        let before = wished.as_ref().map_or(0, |bindings| bindings.len());
        let left = wished.map_or(0, |bindings| {
            // Any free port was wished for, and this is the one that it got.
            let got_it = |binding: &PortBinding| on_host && choice.host != 0 && binding.port == 0;
            bindings.retain(|binding| !choice.names(binding) && !got_it(binding));
            bindings.len()
        });
        if before == left && !on_host {
            return Err(EngineError::invalid(format!("port {choice} is not published")));
        }
        if left == 0 {
            spec.host.port_bindings.remove(&choice.container);
        }
    }
    for (port, bindings) in &edit.publish {
        let wished = spec.host.port_bindings.entry(*port).or_default();
        wished.extend(bindings.iter().filter(|binding| !wished.contains(binding)).cloned().collect::<Vec<_>>());
        if !config.exposed_ports.contains(port) {
            config.exposed_ports.push(*port);
            config.exposed_ports.sort_unstable();
        }
    }
    relabel(&mut spec.labels, edit);
    relabel(&mut config.labels, edit);
    record.spec = Arc::new(spec);
    record.config = Arc::new(config);
    Ok(())
}

fn relabel(labels: &mut BTreeMap<String, String>, edit: &EditOptions) {
    labels.retain(|name, _| !edit.unlabel.contains(name));
    labels.extend(edit.labels.clone());
}

impl PortChoice {
    fn has(&self, port: &PublishedPort) -> bool {
        port.container == self.container && (self.host == 0 || port.host.port() == self.host)
    }

    fn names(&self, binding: &PortBinding) -> bool {
        self.host == 0 || binding.port == self.host
    }
}

impl std::fmt::Display for PortChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { container, host } = self;
        if *host == 0 { write!(f, "{container}") } else { write!(f, "{host}:{container}") }
    }
}

#[cfg(test)]
mod tests {
    use hako_model::PortKey;

    use super::*;

    fn port(text: &str) -> PortKey {
        text.parse().unwrap()
    }

    #[test]
    fn a_choice_names_a_port_of_the_container_and_perhaps_of_the_host() {
        let published = PublishedPort { container: port("80/tcp"), host: "0.0.0.0:8080".parse().unwrap() };
        let choice = |host, container: &str| PortChoice { container: port(container), host };
        assert!(choice(0, "80/tcp").has(&published) && choice(8080, "80/tcp").has(&published));
        assert!(!choice(8081, "80/tcp").has(&published) && !choice(0, "80/udp").has(&published));
        assert_eq!(choice(8080, "80/tcp").to_string(), "8080:80/tcp");
    }

    #[test]
    fn labels_are_set_after_others_are_removed() {
        let mut labels: BTreeMap<_, _> = [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let edit = EditOptions {
            labels: [("a".to_owned(), "3".to_owned())].into(),
            unlabel: vec!["a".to_owned(), "b".to_owned()],
            ..EditOptions::default()
        };
        relabel(&mut labels, &edit);
        assert_eq!(labels, [("a".to_owned(), "3".to_owned())].into());
    }
}
