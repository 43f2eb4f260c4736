//! `buildx inspect`: a builder and its nodes, in words.

use hako_client::build::CacheRule;
use jiff::Timestamp;

use super::{
    boot,
    chosen::{self, Chosen, Node},
    driver::State,
    list,
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::{FlagSet, GoDuration, go_quote},
    format::{size, table, text},
};

#[derive(Default)]
pub(crate) struct Inspect {
    bootstrap: bool,
    builder: Option<String>,
    debug: bool,
    timeout: Option<GoDuration>,
}

impl Command for Inspect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx inspect"],
        usage: "[NAME]",
        about: "Show a builder",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.bootstrap, "--bootstrap", "Start it first");
        set.add(&mut self.builder, "--builder", "The builder, where none is named");
        set.add(&mut self.debug, "-D, --debug", "Accepted, without effect").hide();
        set.add(&mut self.timeout, "--timeout", "Accepted: a builder has 20 seconds to answer").hide();
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let asked = words.first().or(self.builder.as_ref());
        let chosen = chosen::chosen(cx, asked.map(String::as_str))?;
        if self.bootstrap {
            boot::and_show(cx, &chosen).await?;
        }
        cx.print(&described(&chosen, &list::states(&chosen).await))
    }
}

fn aligned(rows: &str) -> String {
    table::align_with(rows, 0, 1)
}

fn described(chosen: &Chosen, states: &[State]) -> String {
    let mut rows = format!("Name:\t{}\nDriver:\t{}\n", chosen.name, chosen.driver.name());
    if let Some(at) = chosen.last_activity.as_ref().and_then(|at| at.parse::<Timestamp>().ok()) {
        rows.push_str(&format!("Last Activity:\t{}\n", text::go_time(at.as_second())));
    }
    let nodes: Vec<String> = chosen.nodes.iter().zip(states).map(|(node, state)| described_node(node, state)).collect();
    format!("{}\nNodes:\n{}", aligned(&rows), nodes.join("\n"))
}

fn described_node(node: &Node, state: &State) -> String {
    let record = &node.record;
    let mut rows = format!("Name:\t{}\nEndpoint:\t{}\n", record.name, record.endpoint);
    let mut row = |title: &str, value: String| {
        if !value.is_empty() {
            rows.push_str(&format!("{title}:\t{value}\n"));
        }
    };
    let options = record.driver_opts.iter().map(|(key, value)| format!("{key}={}", go_quote(value)));
    row("Driver Options", options.collect::<Vec<_>>().join(" "));
    match &state.error {
        Some(why) => row("Error", why.clone()),
        None => row("Status", state.word.to_owned()),
    }
    row("BuildKit daemon flags", record.flags.join(" "));
    row("BuildKit version", state.info.as_ref().map(|info| info.version.clone()).unwrap_or_default());
    row("Platforms", list::platforms(node, state, true).join(", "));
    let mut all = aligned(&rows);
    let Some(info) = &state.info else { return all };
    if !info.labels.is_empty() {
        let labels: String = info.labels.iter().map(|(key, value)| format!(" {key}:\t{value}\n")).collect();
        all.push_str(&format!("Labels:\n{}", aligned(&labels)));
    }
    for (number, rule) in info.rules.iter().enumerate() {
        all.push_str(&format!("GC Policy rule#{number}:\n{}", aligned(&described_rule(rule))));
    }
    for (name, content) in &record.files {
        let bytes = hako_api::text::base64_url_decode(content).unwrap_or_default();
        let lines = String::from_utf8_lossy(&bytes).lines().map(|line| format!(" > {line}\n")).collect::<String>();
        all.push_str(&format!("File#{name}:\n{lines}"));
    }
    all
}

fn described_rule(rule: &CacheRule) -> String {
    let mut rows = format!(" All:\t{}\n", rule.all);
    if !rule.filters.is_empty() {
        rows.push_str(&format!(" Filters:\t{}\n", rule.filters.join(" ")));
    }
    if rule.keep_s > 0 {
        let (hours, minutes, seconds) = (rule.keep_s / 3600, rule.keep_s / 60 % 60, rule.keep_s % 60);
        rows.push_str(&format!(" Keep Duration:\t{hours}h{minutes}m{seconds}s\n"));
    }
    let spaces = [
        ("Reserved Space", rule.reserved_bytes),
        ("Max Used Space", rule.used_bytes_max),
        ("Min Free Space", rule.free_bytes_min),
    ];
    for (title, bytes) in spaces.into_iter().filter(|(_, bytes)| *bytes > 0) {
        rows.push_str(&format!(" {title}:\t{}\n", size::binary(bytes)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;
    use hako_client::build::BuilderInfo;

    use super::*;
    use crate::builder::{chosen::Driver, store::NodeRecord};

    #[test]
    fn a_builder_is_described() {
        let record = NodeRecord {
            name: "x0".into(),
            endpoint: "ctx".into(),
            platforms: vec!["linux/arm64".parse().unwrap()],
            driver_opts: BTreeMap::from([("env.A".to_owned(), "b c".to_owned())]),
            ..NodeRecord::default()
        };
        let nodes = vec![Node { record, builder: Err(String::new()) }];
        let chosen = Chosen { name: "x".into(), driver: Driver::Container, nodes, last_activity: None };
        let info = BuilderInfo {
            version: "v1".into(),
            platforms: vec!["linux/amd64".into()],
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            rules: vec![CacheRule { keep_s: 172_800, used_bytes_max: 10 << 30, ..CacheRule::default() }],
            ..BuilderInfo::default()
        };
        let state = State { word: "running", info: Some(info), error: None };
        expect![[r#"
            Name:   x
            Driver: docker-container

            Nodes:
            Name:             x0
            Endpoint:         ctx
            Driver Options:   env.A="b c"
            Status:           running
            BuildKit version: v1
            Platforms:        linux/arm64*, linux/amd64
            Labels:
             a: b
            GC Policy rule#0:
             All:            false
             Keep Duration:  48h0m0s
             Max Used Space: 10GiB
        "#]]
        .assert_eq(&described(&chosen, &[state]));
    }
}
