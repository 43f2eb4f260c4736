//! Commands for volumes: create, ls, rm, prune, update.

use std::collections::BTreeMap;

use hako_api::{
    query::{PruneQuery, VolumeListQuery, VolumeRemoveQuery},
    volume::{Volume, VolumeCreateRequest},
};

use crate::{
    command::{Arguments, Command, Shape},
    context::{Context, for_each_name},
    error::CommandError,
    filter::FilterFlag,
    flag::{FlagSet, KeyValue},
    format::{
        listing::{self, Row},
        size, text,
    },
    parse::name::Label,
    system::confirm::confirm,
};

pub(crate) struct Create {
    driver: String,
    labels: Vec<Label>,
    name: String,
    options: Vec<KeyValue>,
}

impl Default for Create {
    fn default() -> Self {
        Self { driver: "local".to_owned(), labels: Vec::new(), name: String::new(), options: Vec::new() }
    }
}

impl Command for Create {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume create"],
        usage: "[OPTIONS] [VOLUME]",
        about: "Make a volume",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.driver, "-d, --driver", "Driver (default \"local\")");
        set.add(&mut self.labels, "--label", "Label (name=value)");
        set.add(&mut self.name, "--name", "Name").hide();
        set.add(&mut self.options, "-o, --opt", "Option of the driver (name=value)");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        if !self.name.is_empty() && !words.is_empty() {
            return Err(CommandError::Said(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
                    .to_owned(),
            ));
        }
        let labels = self.labels.iter().map(|label| {
            let (key, value) = label.0.split_once('=').unwrap_or((&label.0, ""));
            (key.to_owned(), value.to_owned())
        });
        let request = VolumeCreateRequest {
            name: words.first().cloned().unwrap_or(self.name),
            driver: self.driver,
            driver_opts: Some(self.options.into_iter().map(|pair| (pair.key, pair.value)).collect()),
            labels: Some(labels.collect()),
            cluster_volume_spec: None,
        };
        let volume = cx.client()?.volume_create(&request).await?;
        cx.print_line(&volume.name)
    }
}

#[derive(Default)]
pub(crate) struct List {
    filter: FilterFlag,
    format: Option<String>,
    quiet: bool,
}

pub(crate) const COLUMNS: &[listing::Column] = &[
    ("Availability", "AVAILABILITY"),
    ("Driver", "DRIVER"),
    ("Group", "GROUP"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];
const SHAPE: listing::Shape = listing::Shape { columns: COLUMNS, table: "{{.Driver}}\t{{.Name}}" };
const RAW: &str = "name: {{.Name}}\ndriver: {{.Driver}}\n";

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume ls", "volume list"],
        usage: "[OPTIONS]",
        about: "List volumes",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.filter, "-f, --filter", "Only those that match (\"dangling=true\")");
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.quiet, "-q, --quiet", "Names alone");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let answer = cx.client()?.volume_list(&VolumeListQuery { filters: self.filter.0 }).await?;
        for warning in answer.warnings.iter().flatten() {
            cx.remark(&format!("WARNING: {warning}"));
        }
        let mut volumes = answer.volumes;
        volumes.sort_by(|left, right| text::natural(&left.name, &right.name));
        let format = match &self.format {
            Some(format) => format.as_str(),
            None if self.quiet => "",
            None => cx.config.volumes_format.as_str(),
        };
        let rows: Vec<VolumeRow> = volumes.into_iter().map(VolumeRow).collect();
        let text = if self.quiet && matches!(format, "" | "table") {
            rows.iter().map(|row| format!("{}\n", row.column("Name"))).collect()
        } else {
            listing::render(&SHAPE, if format == "raw" { RAW } else { format }, &rows)?
        };
        cx.print(&text)
    }
}

/// Volumes as `format` wants them.
///
/// # Errors
/// When the format is none.
pub(crate) fn listed(volumes: Vec<Volume>, format: &str) -> Result<String, CommandError> {
    let rows: Vec<VolumeRow> = volumes.into_iter().map(VolumeRow).collect();
    Ok(listing::render(&SHAPE, format, &rows)?)
}

pub(crate) struct VolumeRow(pub(crate) Volume);

impl Row for VolumeRow {
    fn column(&self, name: &str) -> String {
        let it = &self.0;
        let usage = it.usage_data.as_ref();
        match name {
            "Name" => it.name.clone(),
            "Driver" => it.driver.clone(),
            "Scope" => it.scope.clone(),
            "Mountpoint" => it.mountpoint.clone(),
            "Labels" => it.labels.as_ref().map(listing::labels_text).unwrap_or_default(),
            "Links" => usage.map_or_else(|| "N/A".to_owned(), |usage| usage.ref_count.to_string()),
            "Size" => usage.map_or_else(|| "N/A".to_owned(), |usage| size::human(usage.size, 4)),
            // Words of volumes of a swarm, which this one is not.
            "Availability" | "Group" | "Status" => "N/A".to_owned(),
            _ => String::new(),
        }
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.0.labels.as_ref()
    }
}

#[derive(Default)]
pub(crate) struct Remove {
    force: bool,
}

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume rm", "volume remove"],
        usage: "[OPTIONS] VOLUME [VOLUME...]",
        about: "Remove volumes",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.force, "-f, --force", "Say nothing about those that are not there");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let query = VolumeRemoveQuery { force: self.force };
        for_each_name(cx, names, move |client, name| {
            let query = query.clone();
            async move { client.volume_remove(&name, &query).await }
        })
        .await
    }
}

#[derive(Default)]
pub(crate) struct Prune {
    all: bool,
    filter: FilterFlag,
    force: bool,
}

impl Command for Prune {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume prune"],
        usage: "[OPTIONS]",
        about: "Remove volumes that no container has",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also those that have a name");
        set.add(&mut self.filter, "--filter", "Only those that match (\"label=name\")");
        set.add(&mut self.force, "-f, --force", "Do not ask");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let warning = match self.all {
            true => "WARNING! This will remove all local volumes not used by at least one container.",
            false => "WARNING! This will remove anonymous local volumes not used by at least one container.",
        };
        if !self.force && !confirm(cx, warning)? {
            return Ok(());
        }
        let mut filters = self.filter.0;
        if self.all {
            filters.add("all", "true");
        }
        let pruned = cx.client()?.volume_prune(&PruneQuery { filters }).await?;
        let mut text = String::new();
        if let Some(deleted) = pruned.volumes_deleted.filter(|deleted| !deleted.is_empty()) {
            text.push_str(&format!("Deleted Volumes:\n{}\n\n", deleted.join("\n")));
        }
        text.push_str(&format!("Total reclaimed space: {}\n", size::human(pruned.space_reclaimed.cast_signed(), 4)));
        cx.print(&text)
    }
}

pub(crate) struct Update {
    availability: String,
}

impl Default for Update {
    fn default() -> Self {
        Self { availability: "active".to_owned() }
    }
}

impl Command for Update {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume update"],
        usage: "[OPTIONS] VOLUME",
        about: "Change a volume of a swarm; those of one machine have nothing that could be changed",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(
            &mut self.availability,
            "--availability",
            "Whether a swarm may use it (\"active\", \"pause\", \"drain\") (default \"active\")",
        );
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        // A typo in the name is told first, as docker does.
        cx.client()?.volume_inspect(&names[0]).await?;
        Err(CommandError::Said(format!("can only update cluster volumes: {} is a volume of this machine", names[0])))
    }
}
