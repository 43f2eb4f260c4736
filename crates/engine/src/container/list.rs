//! `container list`: from snapshots in memory, newest first; no container's lock is taken.
//!
//! Most of a list is what it was a second ago. What the caller made of a row is therefore kept with its container and
//! given again for as long as everything that it was made from is the same ([`ListRow::rendered`]).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    sync::Arc,
};

use bytes::Bytes;
use hako_base::clock;
use hako_model::{ContainerState, Digest, Filters, MountKind};

use super::status;
use crate::{
    Engine, EngineError,
    network::{is_predefined, names::dns_names},
    record::{EndpointRecord, MountRecord, Record},
    table::Container,
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

/// One container of a list: its record, and what the words about it depend on besides.
pub struct ListRow {
    pub(crate) container: Arc<Container>,
    pub(crate) record: Arc<Record>,
    image: String,
    status: String,
    /// What containers that are linked to it call it.
    link_names: Vec<String>,
    pub(crate) size: Option<SizeView>,
}

/// What was made of a row, and of what it was made.
pub(crate) struct Rendered {
    form: u16,
    record: Arc<Record>,
    image: String,
    status: String,
    link_names: Vec<String>,
    text: Bytes,
}

impl ListRow {
    /// What `render` makes of this row, or made of it when nothing was different. `form` tells apart renderings that
    /// differ for other reasons. A row with its sizes is always made anew.
    ///
    /// # Errors
    /// Those of `render`.
    pub fn rendered<E>(
        &self,
        form: u16,
        render: impl FnOnce(ContainerSummary) -> Result<Vec<u8>, E>,
    ) -> Result<Bytes, E> {
        if self.size.is_some() {
            return Ok(render(self.summary())?.into());
        }
        let kept =
            self.container.rendered.lock().as_ref().filter(|kept| kept.is_of(self, form)).map(|it| it.text.clone());
        if let Some(text) = kept {
            return Ok(text);
        }
        let text = Bytes::from(render(self.summary())?.into_boxed_slice());
        *self.container.rendered.lock() = Some(Rendered {
            form,
            record: self.record.clone(),
            image: self.image.clone(),
            status: self.status.clone(),
            link_names: self.link_names.clone(),
            text: text.clone(),
        });
        Ok(text)
    }

    /// All of it.
    pub fn summary(&self) -> ContainerSummary {
        let record = &*self.record;
        ContainerSummary {
            id: record.id,
            name: record.name.clone(),
            link_names: self.link_names.clone(),
            image: self.image.clone(),
            image_id: record.image,
            command: command(record),
            created: record.created,
            ports: ports(record),
            labels: record.config.labels.clone(),
            state: record.state.status,
            status: self.status.clone(),
            network_mode: record.spec.host.network_mode.text(),
            annotations: record.spec.host.annotations.clone(),
            networks: endpoints(record),
            mounts: mount_views(record),
            size: self.size,
        }
    }
}

impl Rendered {
    // A record is never changed in place: the same one says the same.
    fn is_of(&self, row: &ListRow, form: u16) -> bool {
        self.form == form
            && Arc::ptr_eq(&self.record, &row.record)
            && self.status == row.status
            && self.image == row.image
            && self.link_names == row.link_names
    }
}

impl Engine {
    /// The containers that `options` asks for.
    ///
    /// # Errors
    /// A filter that there is none of, or whose value makes no sense.
    pub async fn container_list(&self, options: &ListOptions) -> Result<Vec<ListRow>, EngineError> {
        let rows = self.list_rows(options)?;
        Ok(if options.size { self.rows_measured(rows).await } else { rows })
    }

    /// The same without sizes.
    pub(crate) fn list_rows(&self, options: &ListOptions) -> Result<Vec<ListRow>, EngineError> {
        let filters = &options.filters;
        if let Some(key) = filters.unknown_key(KNOWN_FILTERS) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        check_values(filters)?;
        let bounds = self.bounds(filters)?;
        let ancestors = self.ancestors(filters);
        let containers = self.containers.all();
        let mut snapshots: Vec<_> = containers.into_iter().map(|container| (container.record(), container)).collect();
        let mut links = self.link_names_of_all(snapshots.iter().map(|(record, _)| &**record));
        snapshots.sort_by_cached_key(|(record, _)| Reverse((record.created, record.id)));
        // `--filter status=exited` and `-n` mean stopped containers too, without `-a`.
        let all = options.all || options.limit > 0 || filters.has("status") || filters.has("exited");
        let wanted = snapshots
            .into_iter()
            .filter(|(record, _)| all || record.is_running() || record.state.status == ContainerState::Restarting)
            .filter(|(record, _)| bounds.contain(record) && matches(record, filters, ancestors.as_deref()))
            .take(if options.limit > 0 { options.limit } else { usize::MAX });
        // Many containers have one image: each name is looked up once.
        let (mut images, now) = (HashMap::new(), clock::now());
        let row = |(record, container): (Arc<Record>, Arc<Container>)| ListRow {
            image: self.image_shown(&record, &mut images),
            status: status::text(&record.state, now),
            link_names: links.remove(&record.id).unwrap_or_default(),
            size: None,
            container,
            record,
        };
        Ok(wanted.map(row).collect())
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
            }) || (record.endpoints.is_empty() && record.spec.host.network_mode.network_name() == Some(wanted))
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
    use hako_model::ContainerId;

    use super::*;
    use crate::{log::LogPlan, record::StateRecord};

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
    #[test]
    fn what_was_made_of_a_row_is_kept_until_anything_in_it_changes() {
        let record = Record {
            version: crate::record::VERSION,
            id: ContainerId::random(),
            name: "web".to_owned(),
            created: clock::now(),
            spec: Arc::default(),
            config: Arc::default(),
            image: Digest::from_sha256([1; 32]),
            path: "/bin/true".to_owned(),
            args: Vec::new(),
            hostname: String::new(),
            mounts: Vec::new(),
            state: StateRecord::default(),
            endpoints: BTreeMap::new(),
            published: Vec::new(),
            published_on: None,
            link_env: Vec::new(),
            ids: None,
        };
        let container = Container::new(record, LogPlan::json("log".as_ref(), 1, 1));
        let row = |change: fn(&mut ListRow)| {
            let mut row = ListRow {
                container: container.clone(),
                record: container.record(),
                image: "busybox".to_owned(),
                status: "Created".to_owned(),
                link_names: Vec::new(),
                size: None,
            };
            change(&mut row);
            row
        };
        let is_made = |form: u16, row: ListRow| {
            let mut made = false;
            row.rendered(form, |view| {
                made = true;
                Ok::<_, ()>(view.name.into_bytes())
            })
            .unwrap();
            made
        };
        assert!(is_made(1, row(|_| ())));
        assert!(!is_made(1, row(|_| ())), "nothing is different");
        assert!(is_made(2, row(|_| ())), "another form");
        assert!(is_made(2, row(|row| row.status = "Up 1 second".to_owned())));
        assert!(is_made(2, row(|row| row.image = "sha256:01".to_owned())));
        assert!(is_made(2, row(|row| row.link_names.push("web/db".to_owned()))));
        assert!(is_made(2, row(|row| row.size = Some(SizeView { rw: 1, root_fs: 1 }))));
        assert!(is_made(2, row(|_| ())));
        container.change(|record| "db".clone_into(&mut record.name));
        assert!(is_made(2, row(|_| ())), "another record");
        assert!(!is_made(2, row(|_| ())));
    }
}
