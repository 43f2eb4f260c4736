//! `buildx ls` and `buildx version`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    chosen::{self, Chosen},
    driver::{self, State},
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::{FlagSet, GoDuration},
    format::{
        json,
        listing::{self, Row},
    },
};

/// Builders that are asked at once.
const ASKED_AT_ONCE: usize = 20;

/// So many platforms of a node are shown, unless all are wanted.
const PLATFORMS_SHOWN: usize = 8;

#[derive(Default)]
pub(crate) struct List {
    debug: bool,
    format: String,
    no_trunc: bool,
    timeout: Option<GoDuration>,
}

const SHAPE: listing::Shape = listing::Shape {
    columns: &[
        ("Name", "NAME/NODE"),
        ("DriverEndpoint", "DRIVER/ENDPOINT"),
        ("LastActivity", "LAST ACTIVITY"),
        ("Status", "STATUS"),
        ("Buildkit", "BUILDKIT"),
        ("Platforms", "PLATFORMS"),
        ("Error", "ERROR"),
        // An object, which has no title.
        ("Builder", ""),
    ],
    table: "{{.Name}}\t{{.DriverEndpoint}}\t{{.Status}}\t{{.Buildkit}}\t{{.Platforms}}",
};

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx ls"],
        usage: "[OPTIONS]",
        about: "List builders; the daemon of each context is one",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.debug, "-D, --debug", "Accepted, without effect").hide();
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.no_trunc, "--no-trunc", "All platforms of each node");
        set.add(&mut self.timeout, "--timeout", "How long a builder may take to answer (default 20s)");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let current = chosen::current(cx).map(|chosen| chosen.name).unwrap_or_default();
        let patience =
            self.timeout.as_ref().map_or(driver::PATIENCE, |it| Duration::from_nanos(it.nanos.max(0).cast_unsigned()));
        let all = chosen::all(cx);
        let mut states = Vec::new();
        for batch in all.chunks(ASKED_AT_ONCE) {
            let asked: Vec<_> = batch.iter().cloned().map(|it| tokio::spawn(states_within(it, patience))).collect();
            for task in asked {
                states.push(task.await.unwrap_or_default());
            }
        }
        if self.format == "json" {
            let lines = all.iter().zip(&states).map(|(chosen, states)| format!("{}\n", object(chosen, states)));
            return cx.print(&lines.collect::<String>());
        }
        let is_table = self.format.is_empty() || self.format.starts_with("table");
        let mut rows = Vec::new();
        for (chosen, states) in all.iter().zip(&states) {
            rows.extend(rows_of(chosen, states, is_table, chosen.name == current, self.no_trunc));
        }
        cx.print(&listing::render(&SHAPE, &self.format, &rows)?)?;
        for row in rows.iter().filter(|row| is_table && !row.error.is_empty()) {
            cx.remark(&format!("\nCannot load builder {}: {}", row.builder, row.error));
        }
        Ok(())
    }
}

/// What each node of a builder does.
pub(super) async fn states(chosen: &Chosen) -> Vec<State> {
    states_within(chosen.clone(), driver::PATIENCE).await
}

async fn states_within(chosen: Chosen, patience: Duration) -> Vec<State> {
    let mut states = Vec::new();
    for node in &chosen.nodes {
        let state = tokio::time::timeout(patience, driver::state(&chosen.driver, node)).await;
        let late = || State { word: "error", error: Some("it does not answer".to_owned()), info: None };
        states.push(state.unwrap_or_else(|_| late()));
    }
    states
}

/// What there is to be known of a builder.
pub(super) fn object(chosen: &Chosen, states: &[State]) -> Value {
    let nodes = chosen.nodes.iter().zip(states).map(|(node, state)| {
        let record = &node.record;
        let info = state.info.clone().unwrap_or_default();
        let mut object = json!({"Name": record.name, "Endpoint": record.endpoint});
        let mut add = |key: &str, value: Value, is_there: bool| {
            if is_there {
                object[key] = value;
            }
        };
        add("Flags", json!(record.flags), !record.flags.is_empty());
        add("DriverOpts", json!(record.driver_opts), !record.driver_opts.is_empty());
        add("Status", json!(state.word), true);
        add("Err", json!(state.error), state.error.is_some());
        add("Version", json!(info.version), !info.version.is_empty());
        let platforms = platforms(node, state, false);
        add("Platforms", json!(platforms), !platforms.is_empty());
        add("Labels", json!(info.labels), !info.labels.is_empty());
        object
    });
    json!({
        "Name": chosen.name,
        "Driver": chosen.driver.name(),
        // Go's word for never.
        "LastActivity": chosen.last_activity.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
        "Dynamic": false,
        "Nodes": nodes.collect::<Vec<_>>(),
    })
}

/// What a node builds for: what a person has given it, then what it says itself.
pub(super) fn platforms(node: &chosen::Node, state: &State, marked: bool) -> Vec<String> {
    let given: Vec<String> = node.record.platforms.iter().map(ToString::to_string).collect();
    let own = state.info.iter().flat_map(|info| &info.platforms).filter(|platform| !given.contains(platform));
    let mark = if marked { "*" } else { "" };
    given.iter().map(|platform| format!("{platform}{mark}")).chain(own.cloned()).collect()
}

/// A builder or a node of one.
struct BuilderRow {
    builder: String,
    name: String,
    place: String,
    activity: String,
    status: String,
    version: String,
    platforms: String,
    error: String,
    object: gotmpl::Value,
}

fn rows_of(chosen: &Chosen, states: &[State], is_table: bool, is_current: bool, all: bool) -> Vec<BuilderRow> {
    let text = object(chosen, states).to_string();
    let object = serde_json::from_str::<json::Document>(&text).map_or(gotmpl::Value::Nil, |it| it.to_value());
    let mark = if is_table && is_current { "*" } else { "" };
    let branch = if is_table { " \\_ " } else { "" };
    let mut rows = vec![BuilderRow {
        builder: chosen.name.clone(),
        name: format!("{}{mark}", chosen.name),
        place: chosen.driver.name().to_owned(),
        activity: chosen.last_activity.clone().unwrap_or_default(),
        status: String::new(),
        version: String::new(),
        platforms: String::new(),
        error: String::new(),
        object: object.clone(),
    }];
    for (node, state) in chosen.nodes.iter().zip(states) {
        let mut platforms = platforms(node, state, true);
        if platforms.len() > PLATFORMS_SHOWN && is_table && !all {
            let more = platforms.len() - PLATFORMS_SHOWN;
            platforms.truncate(PLATFORMS_SHOWN);
            platforms.push(format!("(+{more})"));
        }
        rows.push(BuilderRow {
            builder: chosen.name.clone(),
            name: format!("{branch}{}", node.record.name),
            place: format!("{branch}{}", node.record.endpoint),
            activity: String::new(),
            status: state.word.to_owned(),
            version: state.info.as_ref().map(|info| info.version.clone()).unwrap_or_default(),
            platforms: platforms.join(", ").replace(", (+", " (+"),
            error: state.error.clone().unwrap_or_default(),
            object: object.clone(),
        });
    }
    rows
}

impl Row for BuilderRow {
    fn column(&self, name: &str) -> String {
        match name {
            "Name" => &self.name,
            "DriverEndpoint" => &self.place,
            "LastActivity" => &self.activity,
            "Status" => &self.status,
            "Buildkit" => &self.version,
            "Platforms" => &self.platforms,
            "Error" => &self.error,
            _ => "",
        }
        .to_owned()
    }

    fn value(&self, name: &str) -> gotmpl::Value {
        match name {
            "Builder" => self.object.clone(),
            name => gotmpl::Value::String(self.column(name).into()),
        }
    }
}

#[derive(Default)]
pub(crate) struct Version;

impl Command for Version {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx version"],
        usage: "",
        about: "Show the version",
        arguments: Arguments::None,
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        cx.print_line(&format!("hako v{}", env!("CARGO_PKG_VERSION")))
    }
}
