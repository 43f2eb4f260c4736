//! `container ls`, `ps`: the containers of this host.

use std::collections::BTreeMap;

use gotmpl::Value;
use hako_api::{
    container::{ContainerSummary, Port},
    query::ContainerListQuery,
};
use hako_model::Reference;
use jiff::Timestamp;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::{FlagSet, go_quote},
    format::{
        duration,
        listing::{self, Row},
        size, text,
    },
};

pub(crate) struct List {
    all: bool,
    filter: FilterFlag,
    format: Option<String>,
    last: i64,
    latest: bool,
    no_trunc: bool,
    quiet: bool,
    size: bool,
}

impl Default for List {
    fn default() -> Self {
        Self {
            all: false,
            filter: FilterFlag::default(),
            format: None,
            last: -1,
            latest: false,
            no_trunc: false,
            quiet: false,
            size: false,
        }
    }
}

pub(crate) const COLUMNS: &[listing::Column] = &[
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("HealthStatus", "HEALTH STATUS"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];
const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const TABLE_WITH_SIZE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container ls", "container list", "container ps", "ps"],
        usage: "[OPTIONS]",
        about: "List containers",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also those that do not run");
        set.add(&mut self.filter, "-f, --filter", "Only those that match (\"status=exited\")");
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.last, "-n, --last", "The last created ones, in any state (default -1)");
        set.add(&mut self.latest, "-l, --latest", "The last created one, in any state");
        set.add(&mut self.no_trunc, "--no-trunc", "Shorten nothing");
        set.add(&mut self.quiet, "-q, --quiet", "Ids alone");
        set.add(&mut self.size, "-s, --size", "Show how much they have written");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let format = match &self.format {
            Some(format) if self.quiet && !matches!(format.as_str(), "table" | "") => {
                cx.remark("WARNING: Ignoring custom format, because both --format and --quiet are set.");
                ""
            }
            Some(format) => format.as_str(),
            None if self.quiet => "",
            None => cx.config.ps_format.as_str(),
        };
        let limit = if self.latest { 1 } else { self.last };
        let query = ContainerListQuery {
            all: self.all,
            limit: (limit > 0).then_some(limit),
            // Sizes cost the daemon a walk through every layer: only when they are shown.
            size: self.size || format.contains("json .") || format.contains(".Size"),
            filters: self.filter.0.clone(),
        };
        let containers = cx.client()?.container_list(&query).await?;
        let now = hako_base::clock::now();
        let rows: Vec<ContainerRow> =
            containers.into_iter().map(|container| ContainerRow { container, now, whole: self.no_trunc }).collect();
        let text = if self.quiet && matches!(format, "" | "table") {
            rows.iter().map(|row| format!("{}\n", row.column("ID"))).collect()
        } else {
            let format = if format == "raw" { RAW } else { format };
            let table = if self.size { TABLE_WITH_SIZE } else { TABLE };
            listing::render(&listing::Shape { columns: COLUMNS, table }, format, &rows)?
        };
        cx.print(&text)
    }
}

/// Containers as rows; `whole` where nothing is to be shortened.
pub(crate) fn rows(containers: Vec<ContainerSummary>, now: Timestamp, whole: bool) -> Vec<ContainerRow> {
    containers.into_iter().map(|container| ContainerRow { container, now, whole }).collect()
}

pub(crate) struct ContainerRow {
    container: ContainerSummary,
    now: Timestamp,
    whole: bool,
}

impl Row for ContainerRow {
    fn column(&self, name: &str) -> String {
        let it = &self.container;
        match name {
            "ID" if self.whole => it.id.clone(),
            "ID" => text::short_id(&it.id).to_owned(),
            "Names" => self.names(),
            "Image" => self.image(),
            "Command" if self.whole => go_quote(&it.command),
            "Command" => go_quote(&text::ellipsis(&it.command, 20)),
            "CreatedAt" => text::go_time(it.created),
            "RunningFor" => duration::ago(it.created, self.now),
            "Ports" => ports(&it.ports),
            "State" => it.state.clone(),
            "HealthStatus" => health(&it.status).to_owned(),
            "Status" => it.status.clone(),
            "Size" => match it.size_root_fs {
                1.. => format!("{} (virtual {})", size::human(it.size_rw, 3), size::human(it.size_root_fs, 3)),
                _ => size::human(it.size_rw, 3),
            },
            "Labels" => listing::labels_text(&it.labels),
            "LocalVolumes" => it.mounts.iter().filter(|mount| mount.driver == "local").count().to_string(),
            "Mounts" => self.mounts(),
            "Networks" => it.network_settings.networks.keys().cloned().collect::<Vec<_>>().join(","),
            _ => String::new(),
        }
    }

    fn value(&self, name: &str) -> Value {
        match name {
            // Only daemons with images of several platforms say it.
            "Platform" => Value::Nil,
            _ => Value::String(self.column(name).into()),
        }
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.container.labels)
    }
}

impl ContainerRow {
    fn names(&self) -> String {
        let names = self.container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
        // A name with a further slash is a link's; the table leaves those out.
        names.filter(|name| self.whole || !name.contains('/')).collect::<Vec<_>>().join(",")
    }

    fn image(&self) -> String {
        let it = &self.container;
        if it.image.is_empty() {
            return "<no image>".to_owned();
        }
        if self.whole {
            return it.image.clone();
        }
        if text::short_id(&it.image_id) == text::short_id(&it.image) {
            return text::short_id(&it.image).to_owned();
        }
        match it.image.parse::<Reference>() {
            Ok(reference) if reference.digest().is_some() => match reference.tag() {
                Some(tag) => format!("{}:{tag}", reference.familiar_name()),
                None => reference.familiar_name(),
            },
            _ => it.image.clone(),
        }
    }

    fn mounts(&self) -> String {
        let place = |mount: &hako_api::container::MountPoint| {
            let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
            if self.whole { name.clone() } else { text::ellipsis(name, 15) }
        };
        self.container.mounts.iter().map(place).collect::<Vec<_>>().join(",")
    }
}

/// What the status says behind its time: `Up 5 minutes (healthy)`, `Up 1 second (health: starting)`.
fn health(status: &str) -> &str {
    let said = status.strip_suffix(')').and_then(|text| text.rsplit_once('(')).map_or("", |(_, said)| said);
    match said {
        "healthy" | "unhealthy" => said,
        "health: starting" => "starting",
        _ => "",
    }
}

// `0.0.0.0:8080->80/tcp, 90-92/udp`: ports that are the same on both sides, or not published,
// are joined into ranges; the rest stands alone, behind them.
fn ports(all: &[Port]) -> String {
    let mut sorted: Vec<&Port> = all.iter().collect();
    sorted.sort_by_key(|port| (port.private_port, port.ip.clone(), port.public_port, port.kind.clone()));
    let mut shown: Vec<String> = Vec::new();
    let mut mapped: Vec<String> = Vec::new();
    let mut ranges: Vec<((String, String), (u16, u16))> = Vec::new();
    for port in sorted {
        if port.public_port > 0 && port.public_port != port.private_port {
            let host = join_host_port(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{host}->{}/{}", port.private_port, port.kind));
            continue;
        }
        let ip = if port.public_port > 0 { port.ip.clone() } else { String::new() };
        let key = (ip, port.kind.clone());
        match ranges.iter_mut().find(|(known, _)| *known == key) {
            Some((_, (_, last))) if port.private_port == *last + 1 => *last = port.private_port,
            Some((_, (_, last))) if port.private_port == *last => {}
            Some((known, range)) => {
                shown.push(range_text(known, *range));
                *range = (port.private_port, port.private_port);
            }
            None => ranges.push((key, (port.private_port, port.private_port))),
        }
    }
    shown.extend(ranges.iter().map(|(key, range)| range_text(key, *range)));
    shown.extend(mapped);
    shown.join(", ")
}

fn range_text((ip, kind): &(String, String), (first, last): (u16, u16)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match ip.as_str() {
        "" => format!("{range}/{kind}"),
        _ => format!("{}->{range}/{kind}", join_host_port(ip, &range)),
    }
}

fn join_host_port(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(all: &[(&str, u16, u16, &str)], expected: &str) {
        let all: Vec<Port> = all
            .iter()
            .map(|(ip, public_port, private_port, kind)| Port {
                ip: (*ip).to_owned(),
                private_port: *private_port,
                public_port: *public_port,
                kind: (*kind).to_owned(),
            })
            .collect();
        assert_eq!(ports(&all), expected);
    }

    #[test]
    fn health_is_what_the_status_says() {
        let all =
            ["Up 2 hours (healthy)", "Up 1 second (health: starting)", "Up 2 hours (Paused)", "Exited (0) 1 day ago"];
        assert_eq!(all.map(health), ["healthy", "starting", "", ""]);
    }

    #[test]
    fn ports_are_joined_into_ranges() {
        check(&[("", 0, 80, "tcp")], "80/tcp");
        check(&[("", 0, 92, "udp"), ("", 0, 90, "udp"), ("", 0, 91, "udp")], "90-92/udp");
        check(
            &[("0.0.0.0", 8080, 80, "tcp"), ("::", 8080, 80, "tcp"), ("", 0, 443, "tcp")],
            "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        );
        check(&[("0.0.0.0", 80, 80, "tcp"), ("0.0.0.0", 81, 81, "tcp")], "0.0.0.0:80-81->80-81/tcp");
        check(&[("", 0, 80, "tcp"), ("", 0, 90, "tcp")], "80/tcp, 90/tcp");
    }
}
