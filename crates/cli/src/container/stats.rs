//! `container stats`: what containers use, as a table that is drawn again and again, or once.
//!
//! The daemon sends one sample a second for each container; what is shown is computed here, as Docker's clients do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hako_api::{
    Filters,
    query::{ContainerListQuery, ContainerStatsQuery},
    stats::ContainerStats,
};
use hako_client::{Client, ClientError};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{
        listing::{self, Row},
        size,
    },
};

/// Between two drawings; samples come once a second.
const DRAWING: Duration = Duration::from_millis(500);
/// Home, and nothing below: what was drawn before is drawn over.
const CLEAR: &str = "\x1b[H\x1b[J";

#[derive(Default)]
pub(crate) struct Stats {
    all: bool,
    format: Option<String>,
    no_stream: bool,
    no_trunc: bool,
}

const COLUMNS: &[listing::Column] = &[
    ("BlockIO", "BLOCK I/O"),
    ("CPUPerc", "CPU %"),
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("MemPerc", "MEM %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("Name", "NAME"),
    ("NetIO", "NET I/O"),
    ("PIDs", "PIDS"),
];
const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

impl Command for Stats {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container stats", "stats"],
        usage: "[OPTIONS] [CONTAINER...]",
        about: "Show what containers use",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also those that do not run");
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.no_stream, "--no-stream", "One look, then end");
        set.add(&mut self.no_trunc, "--no-trunc", "Shorten nothing");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let client = cx.client()?;
        if self.no_stream {
            let names = if names.is_empty() { self.everybody(&client).await? } else { names };
            let samples = once(&client, &names).await?;
            return cx.print(&self.draw(cx, &samples)?);
        }
        self.watch(cx, &client, names).await
    }
}

/// What was asked for by name, and the last sample of it.
type Samples = Vec<(String, Option<ContainerStats>)>;

impl Stats {
    async fn everybody(&self, client: &Client) -> Result<Vec<String>, CommandError> {
        let query = ContainerListQuery { all: self.all, limit: None, size: false, filters: Filters::default() };
        let list = client.container_list(&query).await?;
        Ok(list.into_iter().map(|container| container.id.chars().take(12).collect()).collect())
    }

    fn draw(&self, cx: &Context, samples: &Samples) -> Result<String, CommandError> {
        let rows: Vec<StatsRow<'_>> = samples
            .iter()
            .map(|(asked, stats)| StatsRow { asked, stats: stats.as_ref(), whole: self.no_trunc })
            .collect();
        let shape = listing::Shape { columns: COLUMNS, table: TABLE };
        let format = self.format.as_deref().unwrap_or(&cx.config.stats_format);
        Ok(listing::render(&shape, format, &rows)?)
    }

    /// Draws until everything that was named is gone; without names until it is interrupted.
    async fn watch(&self, cx: &Context, client: &Client, names: Vec<String>) -> Result<(), CommandError> {
        let follows_all = names.is_empty();
        let mut samples: Samples = Vec::new();
        let mut known = BTreeSet::new();
        let mut readers = JoinSet::new();
        let (send, mut receive) = mpsc::channel::<(String, ContainerStats)>(64);
        let mut wanted = names;
        loop {
            if follows_all {
                wanted = self.everybody(client).await?;
                samples.retain(|(name, _)| wanted.contains(name));
                known.retain(|name| wanted.contains(name));
            }
            for name in &wanted {
                if known.insert(name.clone()) {
                    samples.push((name.clone(), None));
                    readers.spawn(read(client.clone(), name.clone(), send.clone()));
                }
            }
            let drawing = async {
                while let Some((name, stats)) = receive.recv().await {
                    if let Some(place) = samples.iter_mut().find(|(known, _)| *known == name) {
                        place.1 = Some(stats);
                    }
                }
            };
            let _ = tokio::time::timeout(DRAWING, drawing).await;
            while let Some(ended) = readers.try_join_next() {
                match ended {
                    Ok((_, Err(error))) if !follows_all => return Err(error.into()),
                    Ok((name, _)) if !follows_all => samples.retain(|(known, _)| *known != name),
                    _ => {}
                }
            }
            cx.print(&format!("{CLEAR}{}", self.draw(cx, &samples)?))?;
            if !follows_all && samples.is_empty() {
                return Ok(());
            }
        }
    }
}

async fn read(
    client: Client,
    name: String,
    send: mpsc::Sender<(String, ContainerStats)>,
) -> (String, Result<(), ClientError>) {
    let reading = async {
        let mut stream =
            client.container_stats(&name, &ContainerStatsQuery { stream: Some(true), one_shot: false }).await?;
        while let Some(stats) = stream.next().await? {
            if send.send((name.clone(), stats)).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let ended = reading.await;
    (name, ended)
}

/// One sample of each, all asked at once; in the order they were asked for.
async fn once(client: &Client, names: &[String]) -> Result<Samples, CommandError> {
    let mut asked = JoinSet::new();
    for name in names {
        let (client, name) = (client.clone(), name.clone());
        asked.spawn(async move {
            let query = ContainerStatsQuery { stream: Some(false), one_shot: false };
            let sample = async { client.container_stats(&name, &query).await?.next().await }.await;
            (name, sample)
        });
    }
    let mut found = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        let Ok((name, sample)) = answer else { continue };
        found.insert(name, sample?);
    }
    Ok(names.iter().map(|name| (name.clone(), found.remove(name).flatten())).collect())
}

/// One container; until its first sample has come there are dashes.
struct StatsRow<'a> {
    asked: &'a str,
    stats: Option<&'a ContainerStats>,
    whole: bool,
}

impl Row for StatsRow<'_> {
    fn column(&self, name: &str) -> String {
        let Some(stats) = self.stats else {
            return match name {
                "Container" => self.asked.to_owned(),
                "MemUsage" | "NetIO" | "BlockIO" => "-- / --".to_owned(),
                _ => "--".to_owned(),
            };
        };
        match name {
            "Container" => self.asked.to_owned(),
            "ID" if self.whole => stats.id.clone(),
            "ID" => stats.id.chars().take(12).collect(),
            "Name" => stats.name.trim_start_matches('/').to_owned(),
            "CPUPerc" => format!("{:.2}%", cpu_percent(stats)),
            "MemUsage" => format!("{} / {}", binary(memory_used(stats)), binary(stats.memory_stats.limit)),
            "MemPerc" => format!("{:.2}%", memory_percent(stats)),
            "NetIO" => {
                let sum =
                    |of: fn(&hako_api::stats::NetworkStats) -> u64| decimal(stats.networks.values().map(of).sum());
                format!("{} / {}", sum(|link| link.rx_bytes), sum(|link| link.tx_bytes))
            }
            "BlockIO" => format!("{} / {}", decimal(io_bytes(stats, 'r')), decimal(io_bytes(stats, 'w'))),
            "PIDs" => stats.pids_stats.current.to_string(),
            _ => String::new(),
        }
    }
}

fn binary(bytes: u64) -> String {
    size::binary(i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn decimal(bytes: u64) -> String {
    size::human(i64::try_from(bytes).unwrap_or(i64::MAX), 3)
}

/// The share of one processor: 200 % is two of them.
fn cpu_percent(stats: &ContainerStats) -> f64 {
    let (now, before) = (&stats.cpu_stats, &stats.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let all = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        cpus => f64::from(cpus),
    };
    if used > 0.0 && all > 0.0 { used / all * cpus * 100.0 } else { 0.0 }
}

/// Without the part of the page cache that can be given back at once.
fn memory_used(stats: &ContainerStats) -> u64 {
    let memory = &stats.memory_stats;
    let cache = memory.stats.get("total_inactive_file").or_else(|| memory.stats.get("inactive_file"));
    let cache = cache.copied().unwrap_or_default();
    if cache < memory.usage { memory.usage - cache } else { memory.usage }
}

fn memory_percent(stats: &ContainerStats) -> f64 {
    match stats.memory_stats.limit {
        0 => 0.0,
        limit => memory_used(stats) as f64 / limit as f64 * 100.0,
    }
}

fn io_bytes(stats: &ContainerStats, operation: char) -> u64 {
    let entries = stats.blkio_stats.io_service_bytes_recursive.iter().flatten();
    entries.filter(|entry| entry.op.to_ascii_lowercase().starts_with(operation)).map(|entry| entry.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_those_of_docker() {
        let text = r#"{"name":"/web","id":"0123456789abcdef","pids_stats":{"current":3},
            "cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":3145728,"limit":4194304,"stats":{"inactive_file":1048576}},
            "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":1000},{"op":"write","value":2}]},
            "networks":{"eth0":{"rx_bytes":5,"tx_bytes":6},"eth1":{"rx_bytes":1}}}"#;
        let stats: ContainerStats = serde_json::from_str(text).unwrap();
        let row = StatsRow { asked: "web", stats: Some(&stats), whole: false };
        let shown: Vec<String> = COLUMNS.iter().map(|(name, _)| row.column(name)).collect();
        assert_eq!(shown.join("|"), "1kB / 2B|40.00%|web|0123456789ab|50.00%|2MiB / 4MiB|web|6B / 6B|3");
        let row = StatsRow { asked: "web", stats: None, whole: false };
        assert_eq!((row.column("Container"), row.column("MemUsage")), ("web".to_owned(), "-- / --".to_owned()));
    }
}
