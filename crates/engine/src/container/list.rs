//! `container list`: from snapshots in memory, newest first; no container's lock is taken.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    sync::Arc,
};

use hako_base::clock;
use hako_model::{ContainerState, Digest, Filters, MountKind};
use jiff::Timestamp;

use super::status;
use crate::{
    Engine, EngineError,
    network::{is_predefined, names::dns_names},
    record::{EndpointRecord, MountRecord, Record},
    view::{ContainerSummary, EndpointView, ListOptions, MountView, PortView, SizeView},
};

const KNOWN_FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

impl Engine {
    /// The containers that `options` asks for.
    ///
    /// # Errors
    /// A filter that there is none of, or whose value makes no sense.
    pub fn container_list(&self, options: &ListOptions) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = &options.filters;
        if let Some(key) = filters.unknown_key(KNOWN_FILTERS) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        check_values(filters)?;
        let bounds = self.bounds(filters)?;
        let ancestors = self.ancestors(filters);
        let mut records: Vec<Arc<Record>> = self.containers.all().iter().map(|container| container.record()).collect();
        let mut links = self.link_names_of_all(&records);
        records.sort_by_cached_key(|record| Reverse((record.created, record.id)));
        // `--filter status=exited` and `-n` mean stopped containers too, without `-a`.
        let all = options.all || options.limit > 0 || filters.has("status") || filters.has("exited");
        let wanted = records
            .into_iter()
            .filter(|record| all || record.is_running() || record.state.status == ContainerState::Restarting)
            .filter(|record| bounds.contain(record) && matches(record, filters, ancestors.as_deref()))
            .take(if options.limit > 0 { options.limit } else { usize::MAX });
        // Many containers have one image: each name is looked up once.
        let (mut images, now) = (HashMap::new(), clock::now());
        let summary = |record: Arc<Record>| {
            let mut summary = self.summary(&record, options.size, &mut images, now);
            summary.link_names = links.remove(&record.id).unwrap_or_default();
            summary
        };
        Ok(wanted.map(summary).collect())
    }

    fn summary(
        &self,
        record: &Record,
        size: bool,
        images: &mut HashMap<String, Option<Digest>>,
        now: Timestamp,
    ) -> ContainerSummary {
        ContainerSummary {
            id: record.id,
            name: record.name.clone(),
            link_names: Vec::new(),
            image: self.image_shown(record, images),
            image_id: record.image,
            command: command(record),
            created: record.created,
            ports: ports(record),
            labels: record.config.labels.clone(),
            state: record.state.status,
            status: status::text(&record.state, now),
            network_mode: record.spec.host.network_mode.text(),
            annotations: record.spec.host.annotations.clone(),
            networks: endpoints(record),
            mounts: mount_views(record),
            size: size.then(|| self.container_size(record)).flatten(),
        }
    }

    pub(crate) fn container_size(&self, record: &Record) -> Option<SizeView> {
        let size = self
            .images
            .snapshot_size(record.id)
            .inspect_err(|error| tracing::warn!(container = %record.id.short(), %error, "cannot measure"))
            .ok()?;
        Some(SizeView { rw: size.written, root_fs: size.root })
    }

    /// The image as it was typed, or its id once that name means another image.
    fn image_shown(&self, record: &Record, images: &mut HashMap<String, Option<Digest>>) -> String {
        let typed = &record.spec.image;
        let now = match images.get(typed) {
            Some(known) => *known,
            None => *images.entry(typed.clone()).or_insert(self.images.resolve(typed).ok().map(|image| image.id)),
        };
        if now == Some(record.image) { typed.clone() } else { record.image.to_string() }
    }

    fn bounds(&self, filters: &Filters) -> Result<Bounds, EngineError> {
        let one = |key: &str| filters.values(key).next().map(|name| self.containers.find(name)).transpose();
        Ok(Bounds {
            before: one("before")?.map(|container| container.record().created),
            since: one("since")?.map(|container| container.record().created),
        })
    }

    fn ancestors(&self, filters: &Filters) -> Option<Vec<hako_model::Digest>> {
        filters.has("ancestor").then(|| {
            filters.values("ancestor").filter_map(|name| self.images.resolve(name).ok()).map(|image| image.id).collect()
        })
    }
}

struct Bounds {
    before: Option<jiff::Timestamp>,
    since: Option<jiff::Timestamp>,
}

impl Bounds {
    fn contain(&self, record: &Record) -> bool {
        self.before.is_none_or(|at| record.created < at) && self.since.is_none_or(|at| record.created > at)
    }
}

fn check_values(filters: &Filters) -> Result<(), EngineError> {
    const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
    const STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
    if let Some(bad) = filters.values("status").find(|value| !STATES.contains(value)) {
        return Err(EngineError::invalid(format!("invalid filter 'status={bad}'")));
    }
    if let Some(bad) = filters.values("health").find(|value| !HEALTHS.contains(value)) {
        return Err(EngineError::invalid(format!("unrecognized filter value for health: {bad}")));
    }
    if let Some(bad) = filters.values("exited").find(|value| value.parse::<i32>().is_err()) {
        let text = format!("invalid filter 'exited={bad}': strconv.Atoi: parsing {bad:?}: invalid syntax");
        return Err(EngineError::invalid(text));
    }
    if let Some(bad) = filters.values("is-task").find(|value| !matches!(*value, "true" | "1" | "false" | "0")) {
        return Err(EngineError::invalid(format!("invalid filter 'is-task=[{bad}]'")));
    }
    for key in ["publish", "expose"] {
        if let Some(bad) = filters.values(key).find(|value| port_range(value).is_none()) {
            return Err(EngineError::invalid(format!("error while looking up for {key} {bad}: not a port or a range")));
        }
    }
    Ok(())
}

fn matches(record: &Record, filters: &Filters, ancestors: Option<&[hako_model::Digest]>) -> bool {
    if filters.is_empty() {
        return true;
    }
    let state = &record.state;
    let id = record.id.to_string();
    filters.any("status", |wanted| wanted == state.status.name())
        && filters
            .any("exited", |wanted| state.status == ContainerState::Exited && wanted.parse() == Ok(state.exit_code))
        && filters.any("id", |wanted| id.starts_with(wanted))
        && filters.any("name", |wanted| name_matches(&record.name, wanted))
        && filters.labels("label", &record.config.labels)
        && ancestors.is_none_or(|wanted| wanted.contains(&record.image))
        && filters.any("network", |wanted| {
            record.endpoints.iter().any(|(name, endpoint)| {
                name == wanted || endpoint.network.is_some_and(|network| network.to_string().starts_with(wanted))
            }) || record.spec.host.network_mode.network_name() == Some(wanted)
        })
        && filters.any("volume", |wanted| {
            record.mounts.iter().any(|mount| mount.name == wanted || mount.source == wanted || mount.target == wanted)
        })
        && filters.any("publish", |wanted| {
            ports(record)
                .iter()
                .any(|port| port.public.is_some_and(|public| port_matches(public, port.protocol, wanted)))
        })
        && filters
            .any("expose", |wanted| ports(record).iter().any(|port| port_matches(port.private, port.protocol, wanted)))
        && filters.any("health", |wanted| state.health.as_ref().map_or("none", |health| health.status.name()) == wanted)
        && filters.any("is-task", |wanted| matches!(wanted, "false" | "0"))
}

/// Docker takes a regular expression here; what people type is a part of the name, perhaps anchored.
fn name_matches(name: &str, wanted: &str) -> bool {
    let (start, rest) = wanted.strip_prefix('^').map_or((false, wanted), |rest| (true, rest));
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (end, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    match (start, end) {
        (true, true) => name == rest,
        (true, false) => name.starts_with(rest),
        (false, true) => name.ends_with(rest),
        (false, false) => name.contains(rest),
    }
}

/// `80`, `80/tcp`, `8000-8010`, `8000-8010/udp`.
fn port_matches(port: u16, protocol: &str, wanted: &str) -> bool {
    port_range(wanted).is_some_and(|(range, wanted)| wanted == protocol && range.contains(&port))
}

fn port_range(text: &str) -> Option<(RangeInclusive<u16>, &str)> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some((first.parse().ok()?..=last.parse().ok()?, protocol))
}

/// Path and arguments in one line, as `ps` shows it.
fn command(record: &Record) -> String {
    let mut line = record.path.clone();
    for argument in &record.args {
        line.push(' ');
        // Docker quotes what a shell would split.
        if argument.contains(' ') || argument.is_empty() {
            line.push_str(&format!("'{argument}'"));
        } else {
            line.push_str(argument);
        }
    }
    line
}

/// Exposed and published ports of a running container.
pub(crate) fn ports(record: &Record) -> Vec<PortView> {
    if !record.is_running() {
        return Vec::new();
    }
    let mut views = Vec::new();
    let published = record.ports();
    for key in &record.config.exposed_ports {
        if !published.contains_key(key) {
            views.push(PortView { address: None, private: key.port, public: None, protocol: key.protocol.name() });
        }
    }
    for (key, bindings) in &published {
        views.extend(bindings.iter().map(|binding| PortView {
            address: Some(binding.address.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string())),
            private: key.port,
            public: Some(binding.port),
            protocol: key.protocol.name(),
        }));
    }
    views.sort();
    views.dedup();
    views
}

/// The endpoints of a container as views.
pub(crate) fn endpoints(record: &Record) -> BTreeMap<String, EndpointView> {
    record.endpoints.iter().map(|(name, endpoint)| (name.clone(), endpoint_view(name, endpoint, record))).collect()
}

fn endpoint_view(name: &str, endpoint: &EndpointRecord, record: &Record) -> EndpointView {
    let plugged = endpoint.plugged.as_ref();
    let (v4, v6) = (plugged.and_then(|plugged| plugged.ipv4), plugged.and_then(|plugged| plugged.ipv6));
    EndpointView {
        spec: endpoint.spec.clone(),
        network_id: endpoint.network.map(|id| id.to_string()).unwrap_or_default(),
        endpoint_id: endpoint.endpoint_id.clone(),
        gateway: plugged.and_then(|plugged| plugged.gateway),
        address: v4.map(|net| net.addr()),
        prefix: v4.map_or(0, |net| net.prefix_len()),
        gateway6: plugged.and_then(|plugged| plugged.gateway_ipv6),
        address6: v6.map(|net| net.addr()),
        prefix6: v6.map_or(0, |net| net.prefix_len()),
        mac: plugged.map(|plugged| plugged.mac).or(endpoint.spec.mac),
        // Names are served in networks that a person made, not on the default bridge.
        dns_names: if is_predefined(name) { Vec::new() } else { dns_names(record, &endpoint.spec) },
    }
}

/// The mounts that Docker shows: what `--tmpfs` asks for is not among them, what `--mount` does is.
pub(crate) fn mount_views(record: &Record) -> Vec<MountView> {
    let shown = |mount: &&MountRecord| !(mount.kind == MountKind::Tmpfs && mount.spec.from_binds);
    record.mounts.iter().filter(shown).map(mount_view).collect()
}

fn mount_view(mount: &MountRecord) -> MountView {
    MountView {
        kind: mount.kind,
        name: mount.name.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        writable: mount.writable,
        propagation: mount.propagation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_part_or_anchored() {
        for (name, wanted, expected) in [
            ("web-1", "web", true),
            ("web-1", "^web$", false),
            ("web", "^/web$", true),
            ("web", "^/?", false),
            ("my-web", "web$", true),
            ("db", "web", false),
        ] {
            assert_eq!(name_matches(name, wanted), expected, "{name} {wanted}");
        }
    }

    #[test]
    fn ports_match_by_number_range_and_protocol() {
        for (wanted, expected) in [("80", true), ("80/tcp", true), ("80/udp", false), ("79-81", true), ("x", false)] {
            assert_eq!(port_matches(80, "tcp", wanted), expected, "{wanted}");
        }
    }
}
