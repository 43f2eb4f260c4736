//! `builder history ls`, `logs`, `inspect`, `rm`: builds that a builder remembers.
//!
//! A build is meant by its id or the beginning of it, by `^N` for the last but N, or not at all for the last.

use hako_api::build::BuildRecord;
use hako_base::clock;
use hako_client::build::Builder;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::chosen;
use crate::{
    build::{Mode, show},
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{duration, table},
};

/// News that wait for a slow terminal.
const NEWS_QUEUED: usize = 64;

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// What a build is called: what it says itself, or what it was made of.
fn name(record: &BuildRecord) -> String {
    let attribute = |key: &str| record.attributes.get(key).map_or("", String::as_str);
    if !attribute("build-arg:BUILDKIT_BUILD_NAME").is_empty() {
        return attribute("build-arg:BUILDKIT_BUILD_NAME").to_owned();
    }
    let context = match attribute("hako.name") {
        "" => attribute("context"),
        name => name,
    };
    let parts = [context, attribute("filename"), attribute("target")];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty() && *part != "Dockerfile").collect();
    if parts.is_empty() { "build".to_owned() } else { parts.join("/") }
}

fn status(record: &BuildRecord) -> &'static str {
    match (record.completed.is_empty(), record.error.as_str()) {
        (true, _) => "Running",
        (false, "") => "Completed",
        (false, "the build was cancelled") => "Canceled",
        (false, _) => "Error",
    }
}

fn seconds(record: &BuildRecord) -> String {
    let end = time(&record.completed).unwrap_or_else(clock::now);
    let took = time(&record.created).map_or(0.0, |from| end.duration_since(from).as_secs_f64());
    format!("{took:.1}s")
}

/// A build, and who remembers it.
struct Remembered {
    builder: Builder,
    record: BuildRecord,
}

/// Every build that the nodes of the builder remember, the oldest first.
async fn remembered(cx: &Context, asked: Option<&str>) -> Result<Vec<Remembered>, CommandError> {
    let mut all = Vec::new();
    for node in &chosen::chosen(cx, asked)?.nodes {
        let builder = node.builder()?;
        let records = builder.history().await?.into_iter();
        all.extend(records.map(|record| Remembered { builder: builder.clone(), record }));
    }
    all.sort_by_key(|one| time(&one.record.created));
    Ok(all)
}

/// The build that a person means.
fn meant<'r>(records: &'r [Remembered], text: Option<&str>) -> Result<&'r Remembered, CommandError> {
    let missing = |what: &str| CommandError::Said(format!("ERROR: no record found for {what:?}"));
    let text = text.unwrap_or("^0");
    if let Some(back) = text.strip_prefix('^') {
        let back: usize = back.parse().map_err(|_| missing(text))?;
        return records.iter().rev().nth(back).ok_or_else(|| missing(text));
    }
    let mut found = records.iter().filter(|one| one.record.reference.starts_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(missing(text)),
        (Some(_), Some(_)) => Err(CommandError::Said(format!("ERROR: several builds begin with {text:?}"))),
    }
}

#[derive(Default)]
pub(crate) struct List {
    builder: Option<String>,
    format: Option<String>,
    no_trunc: bool,
}

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["builder history ls", "buildx history ls"],
        usage: "[OPTIONS]",
        about: "List builds, the last first",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.builder, "--builder", "Builder that remembers them");
        set.add(&mut self.format, "--format", "\"table\" or \"json\"");
        set.add(&mut self.no_trunc, "--no-trunc", "Accepted, without effect").hide();
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let records = remembered(cx, self.builder.as_deref()).await?;
        let json = match self.format.as_deref() {
            None | Some("table") => false,
            Some("json") => true,
            Some(other) => {
                return Err(CommandError::Said(format!("unsupported format {other:?}: expected table or json")));
            }
        };
        let mut rows = String::from("BUILD ID\tNAME\tSTATUS\tCREATED AT\tDURATION\n");
        let mut lines = String::new();
        for Remembered { record, .. } in records.iter().rev() {
            let ago = time(&record.created).map_or_else(String::new, |at| duration::ago(at.as_second(), clock::now()));
            let (name, status, took) = (name(record), status(record), seconds(record));
            rows.push_str(&format!("{}\t{name}\t{status}\t{ago}\t{took}\n", record.reference));
            lines.push_str(&format!("{}\n", serde_json::to_string(record).unwrap_or_default()));
        }
        cx.print(&if json { lines } else { table::align(&rows) })
    }
}

#[derive(Default)]
pub(crate) struct Logs {
    builder: Option<String>,
    progress: Option<String>,
}

impl Command for Logs {
    const SHAPE: &'static Shape = &Shape {
        paths: &["builder history logs", "buildx history logs"],
        usage: "[OPTIONS] [ID]",
        about: "Show what a build has told",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.builder, "--builder", "Builder that remembers them");
        set.add(&mut self.progress, "--progress", "plain, tty or rawjson (default \"plain\")");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let mode = Mode::parse(self.progress.as_deref().unwrap_or("plain"))?;
        let records = remembered(cx, self.builder.as_deref()).await?;
        let Remembered { builder, record } = meant(&records, words.first().map(String::as_str))?;
        let (send, news) = mpsc::channel(NEWS_QUEUED);
        let (told, board) = tokio::join!(builder.history_logs(&record.reference, send), show(news, mode));
        let failure = board.failure();
        if mode != Mode::Json && !failure.is_empty() {
            cx.remark(failure.trim_end_matches('\n'));
        }
        Ok(told?)
    }
}

#[derive(Default)]
pub(crate) struct Inspect {
    builder: Option<String>,
    format: Option<String>,
}

impl Command for Inspect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["builder history inspect", "buildx history inspect"],
        usage: "[OPTIONS] [ID]",
        about: "Show what is known of a build",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.builder, "--builder", "Builder that remembers them");
        set.add(&mut self.format, "--format", "\"pretty\" or \"json\"");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let records = remembered(cx, self.builder.as_deref()).await?;
        let record = &meant(&records, words.first().map(String::as_str))?.record;
        match self.format.as_deref() {
            None | Some("pretty") => cx.print(&described(record)),
            Some("json") => cx.print_line(&serde_json::to_string_pretty(record).unwrap_or_default()),
            Some(other) => Err(CommandError::Said(format!("unsupported format {other:?}: expected pretty or json"))),
        }
    }
}

fn described(record: &BuildRecord) -> String {
    let mut rows = format!("Name:\t{}\nStarted:\t{}\nDuration:\t{}\n", name(record), record.created, seconds(record));
    let cached = format!("{} ({} cached)", record.steps, record.cached_steps);
    rows.push_str(&format!("Status:\t{}\nBuild Steps:\t{cached}\n", status(record)));
    if record.warnings > 0 {
        rows.push_str(&format!("Warnings:\t{}\n", record.warnings));
    }
    for (key, value) in &record.attributes {
        if let Some(name) = key.strip_prefix("build-arg:") {
            rows.push_str(&format!("Build Argument:\t{name}={value}\n"));
        }
    }
    if let Some(image) = record.result.get("containerimage.digest") {
        rows.push_str(&format!("Image:\t{image}\n"));
    }
    if !record.error.is_empty() {
        rows.push_str(&format!("Error:\t{}\n", record.error));
    }
    table::align(&rows)
}

#[derive(Default)]
pub(crate) struct Remove {
    builder: Option<String>,
    all: bool,
}

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["builder history rm", "buildx history rm"],
        usage: "[OPTIONS] [ID...]",
        about: "Forget builds",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.builder, "--builder", "Builder that remembers them");
        set.add(&mut self.all, "--all", "Every build that is over");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        if self.all != words.is_empty() {
            return Err(CommandError::Said("builds to be forgotten are named, or --all is given".to_owned()));
        }
        let records = remembered(cx, self.builder.as_deref()).await?;
        let meant: Vec<&Remembered> = if self.all {
            records.iter().filter(|one| !one.record.completed.is_empty()).collect()
        } else {
            words.iter().map(|word| meant(&records, Some(word))).collect::<Result<_, _>>()?
        };
        for Remembered { builder, record } in meant {
            builder.history_remove(&record.reference).await?;
            cx.print_line(&record.reference)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(reference: &str, attributes: &[(&str, &str)]) -> BuildRecord {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        BuildRecord { reference: reference.to_owned(), attributes, ..BuildRecord::default() }
    }

    #[test]
    fn a_build_is_meant_by_its_id_or_its_place() {
        let builder = || Builder::Remote { host: "unix:///nowhere".parse().unwrap(), tls: None };
        let records =
            ["abc", "abd", "xyz"].map(|reference| Remembered { builder: builder(), record: record(reference, &[]) });
        let check = |text: Option<&str>, expected: &str| {
            let got = meant(&records, text).map_or_else(|error| error.to_string(), |one| one.record.reference.clone());
            assert_eq!(got, expected);
        };
        check(None, "xyz");
        check(Some("^1"), "abd");
        check(Some("abc"), "abc");
        check(Some("x"), "xyz");
        check(Some("ab"), "ERROR: several builds begin with \"ab\"");
        check(Some("^7"), "ERROR: no record found for \"^7\"");
        check(Some("q"), "ERROR: no record found for \"q\"");
    }

    #[test]
    fn a_build_has_a_name() {
        assert_eq!(name(&record("a", &[])), "build");
        assert_eq!(name(&record("a", &[("hako.name", "app"), ("filename", "Dockerfile"), ("target", "t")])), "app/t");
        assert_eq!(name(&record("a", &[("build-arg:BUILDKIT_BUILD_NAME", "mine"), ("target", "t")])), "mine");
    }
}
