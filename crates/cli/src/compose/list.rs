//! Commands that list: projects, containers, published ports, volumes.

use std::collections::{BTreeMap, BTreeSet};

use gotmpl::Value;
use hako_api::{
    Filters,
    container::ContainerSummary,
    query::{ContainerInspectQuery, VolumeListQuery},
};
use hako_compose::{labels, observe};

use super::{one_container, project_or_name};
use crate::{
    command::{Arguments, Command, Shape},
    container::list as container_list,
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::FlagSet,
    format::{
        listing::{self, Row},
        text,
    },
};

#[derive(Default)]
pub(crate) struct Ps {
    all: bool,
    filter: FilterFlag,
    format: Option<String>,
    no_orphans: Option<bool>,
    no_trunc: bool,
    quiet: bool,
    services: bool,
    status: Vec<String>,
}

const COLUMNS: &[listing::Column] = &[
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ExitCode", "EXIT CODE"),
    ("Health", "HEALTH"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Name", "NAME"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Ports", "PORTS"),
    ("Project", "PROJECT"),
    ("Publishers", "PUBLISHERS"),
    ("RunningFor", "CREATED"),
    ("Service", "SERVICE"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];
const TABLE: &str = "{{.Name}}\t{{.Image}}\t{{.Command}}\t{{.Service}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}";

impl Command for Ps {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose ps"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "List containers",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also those that do not run, and those of \"run\"");
        set.add(&mut self.filter, "--filter", "Only those that match (\"status=running\")");
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.no_orphans, "--orphans", "Include those of services that are gone (default true)");
        set.add(&mut self.no_trunc, "--no-trunc", "Shorten nothing");
        set.add(&mut self.quiet, "-q, --quiet", "Ids alone");
        set.add(&mut self.services, "--services", "Names of services alone");
        set.add(&mut self.status, "--status", "Only those in this state").kind("stringArray");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        if let Some(unknown) = self.filter.0.0.keys().find(|key| *key != "status") {
            return Err(CommandError::Said(format!("unknown filter {unknown:?}; status is known")));
        }
        let mut status = self.status.clone();
        status.extend(self.filter.0.0.get("status").into_iter().flatten().cloned());
        let all = self.all || !status.is_empty();
        let mut list = observe::containers(&cx.client()?, Some(&project.name), all).await?;
        let label = |it: &ContainerSummary, key: &str| it.labels.get(key).cloned().unwrap_or_default();
        list.retain(|it| {
            let service = label(it, labels::SERVICE);
            let known = project.all_services.is_empty() || project.all_services.contains(&service);
            (self.all || label(it, labels::ONE_OFF) != "True")
                && (services.is_empty() || services.contains(&service))
                && (known || self.no_orphans != Some(false))
                && (status.is_empty() || status.contains(&it.state))
        });
        list.sort_by_key(|it| it.names.first().cloned());
        if self.services {
            let names: BTreeSet<String> = list.iter().map(|it| label(it, labels::SERVICE)).collect();
            return names.iter().try_for_each(|name| cx.print_line(name));
        }
        if self.quiet {
            return list.iter().try_for_each(|it| cx.print_line(&it.id));
        }
        let now = hako_base::clock::now();
        let exits: Vec<i64> = list.iter().map(|it| exit_code(&it.status)).collect();
        let summaries = list.clone();
        let rows: Vec<PsRow> = container_list::rows(list, now, self.no_trunc)
            .into_iter()
            .zip(summaries)
            .zip(exits)
            .map(|((row, summary), exit_code)| PsRow { row, summary, exit_code })
            .collect();
        let shape = listing::Shape { columns: COLUMNS, table: TABLE };
        cx.print(&listing::render(&shape, self.format.as_deref().unwrap_or_default(), &rows)?)
    }
}

// `Exited (3) 2 minutes ago`
fn exit_code(status: &str) -> i64 {
    let inner = status.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inner, _)| inner);
    inner.filter(|_| status.starts_with("Exited")).and_then(|code| code.parse().ok()).unwrap_or(0)
}

struct PsRow {
    row: container_list::ContainerRow,
    summary: ContainerSummary,
    exit_code: i64,
}

impl Row for PsRow {
    fn column(&self, name: &str) -> String {
        let label = |key: &str| self.summary.labels.get(key).cloned().unwrap_or_default();
        match name {
            "Name" => self.row.column("Names"),
            "Service" => label(labels::SERVICE),
            "Project" => label(labels::PROJECT),
            "Health" => ["unhealthy", "healthy", "starting"]
                .into_iter()
                .find(|word| {
                    self.summary.status.contains(&format!("({word})"))
                        || self.summary.status.contains(&format!("health: {word}"))
                })
                .unwrap_or_default()
                .to_owned(),
            "ExitCode" => self.exit_code.to_string(),
            other => self.row.column(other),
        }
    }

    fn value(&self, name: &str) -> Value {
        match name {
            "ExitCode" => Value::Int(self.exit_code),
            "Publishers" => publishers(&self.summary),
            _ => Value::String(self.column(name).into()),
        }
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.summary.labels)
    }
}

fn publishers(it: &ContainerSummary) -> Value {
    let ports = it.ports.iter().map(|port| {
        let entries: BTreeMap<std::sync::Arc<str>, Value> = BTreeMap::from([
            ("URL".into(), Value::String(port.ip.as_str().into())),
            ("TargetPort".into(), Value::Int(port.private_port.into())),
            ("PublishedPort".into(), Value::Int(port.public_port.into())),
            ("Protocol".into(), Value::String(port.kind.as_str().into())),
        ]);
        Value::Map(std::sync::Arc::new(entries))
    });
    Value::List(ports.collect::<Vec<_>>().into())
}

#[derive(Default)]
pub(crate) struct List {
    all: bool,
    filter: FilterFlag,
    format: Option<String>,
    quiet: bool,
}

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose ls"],
        usage: "[OPTIONS]",
        about: "List projects",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also those that do not run");
        set.add(&mut self.filter, "--filter", "Only those that match (\"name=x\")");
        set.add(&mut self.format, "--format", "\"table\" or \"json\"");
        set.add(&mut self.quiet, "-q, --quiet", "Names alone");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        if let Some(unknown) = self.filter.0.0.keys().find(|key| *key != "name") {
            return Err(CommandError::Said(format!("invalid filter {unknown:?}; name is known")));
        }
        if let Some(other) = self.format.as_deref().filter(|format| !matches!(*format, "" | "table" | "json")) {
            return Err(CommandError::Said(format!("unsupported format {other:?}; table and json are known")));
        }
        let list = observe::containers(&cx.client()?, None, self.all).await?;
        let mut projects: BTreeMap<String, Vec<ContainerSummary>> = BTreeMap::new();
        for it in list {
            let name = it.labels.get(labels::PROJECT).cloned().unwrap_or_default();
            projects.entry(name).or_default().push(it);
        }
        let names = self.filter.0.0.get("name").cloned().unwrap_or_default();
        projects.retain(|name, _| names.is_empty() || names.iter().any(|wanted| name.contains(wanted.as_str())));
        if self.quiet {
            return projects.keys().try_for_each(|name| cx.print_line(name));
        }
        let rows: Vec<(String, String, String)> = projects.iter().map(|(name, list)| project_row(name, list)).collect();
        if self.format.as_deref() == Some("json") {
            // In the order in which docker compose writes them.
            let text = |text: &String| serde_json::Value::from(text.as_str()).to_string();
            let rows: Vec<String> = rows
                .iter()
                .map(|(name, status, files)| {
                    format!(r#"{{"Name":{},"Status":{},"ConfigFiles":{}}}"#, text(name), text(status), text(files))
                })
                .collect();
            return cx.print_line(&format!("[{}]", rows.join(",")));
        }
        let mut text = "NAME\tSTATUS\tCONFIG FILES\n".to_owned();
        for (name, status, files) in rows {
            text.push_str(&format!("{name}\t{status}\t{files}\n"));
        }
        cx.print(&crate::format::table::align_with(&text, 20, 3))
    }
}

fn project_row(name: &str, list: &[ContainerSummary]) -> (String, String, String) {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut files = BTreeSet::new();
    for it in list {
        *states.entry(it.state.as_str()).or_default() += 1;
        files.extend(it.labels.get(labels::FILES).into_iter().flat_map(|text| text.split(',')));
    }
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{state}({count})")).collect();
    (name.to_owned(), states.join(", "), files.into_iter().collect::<Vec<_>>().join(","))
}

#[derive(Default)]
pub(crate) struct Port {
    index: i64,
    protocol: Option<String>,
}

impl Command for Port {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose port"],
        usage: "[OPTIONS] SERVICE PRIVATE_PORT",
        about: "Print where a port is published",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.index, "--index", "Number of the container");
        set.add(&mut self.protocol, "--protocol", "tcp or udp (default \"tcp\")");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &words[..1])?;
        let client = cx.client()?;
        let seen = one_container(&client, &project, &words[0], self.index, false).await?;
        let (port, written) =
            words[1].split_once('/').map_or((words[1].as_str(), None), |(port, kind)| (port, Some(kind)));
        let kind = self.protocol.as_deref().or(written).unwrap_or("tcp");
        let there = client.container_inspect(&seen.id, &ContainerInspectQuery::default()).await?;
        let bindings = there.network_settings.ports.get(&format!("{port}/{kind}"));
        match bindings.and_then(Option::as_ref).and_then(|list| list.first()) {
            Some(binding) if binding.host_ip.contains(':') => {
                cx.print_line(&format!("[{}]:{}", binding.host_ip, binding.host_port))
            }
            Some(binding) => cx.print_line(&format!("{}:{}", binding.host_ip, binding.host_port)),
            None => Err(CommandError::Said(format!("no port {port}/{kind} for container {}", seen.name))),
        }
    }
}

#[derive(Default)]
pub(crate) struct Volumes {
    format: Option<String>,
    quiet: bool,
}

impl Command for Volumes {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose volumes"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "List volumes",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.quiet, "-q, --quiet", "Names alone");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let mut filters = Filters::default();
        filters.add("label", format!("{}={}", labels::PROJECT, project.name));
        let mut volumes = cx.client()?.volume_list(&VolumeListQuery { filters }).await?.volumes;
        if !services.is_empty() {
            let mounts = services.iter().filter_map(|name| project.services.get(name)).flat_map(|it| &it.volumes);
            let names: BTreeSet<&str> =
                mounts.filter_map(|it| project.volumes.get(&it.source)).map(|it| it.name.as_str()).collect();
            volumes.retain(|volume| names.contains(volume.name.as_str()));
        }
        volumes.sort_by(|left, right| text::natural(&left.name, &right.name));
        if self.quiet {
            return volumes.iter().try_for_each(|volume| cx.print_line(&volume.name));
        }
        cx.print(&crate::volume::listed(volumes, self.format.as_deref().unwrap_or_default())?)
    }
}
