//! `builder prune`, `buildx prune`, `buildx du`: what the build cache keeps.

use hako_api::{build::BuildCache, query::BuildPruneQuery};
use hako_base::clock;

use super::chosen;
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::{Bytes, FlagSet},
    format::{duration, size, table},
    system::confirm::confirm,
};

#[derive(Default)]
pub(crate) struct Prune {
    all: bool,
    builder: Option<String>,
    filter: FilterFlag,
    force: bool,
    keep_storage: Option<Bytes>,
    max_used: Option<Bytes>,
    min_free: Option<Bytes>,
    reserved: Option<Bytes>,
    verbose: bool,
}

impl Command for Prune {
    const SHAPE: &'static Shape = &Shape {
        paths: &["builder prune", "buildx prune"],
        usage: "[OPTIONS]",
        about: "Remove build cache",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also what images have too");
        set.add(&mut self.builder, "--builder", "Builder whose cache it is");
        set.add(&mut self.filter, "--filter", "Only what matches (\"until=24h\", \"type=exec.cachemount\")");
        set.add(&mut self.force, "-f, --force", "Do not ask");
        set.add(&mut self.keep_storage, "--keep-storage", "So much of what was used last stays");
        set.add(&mut self.max_used, "--max-used-space", "So much of what was used last stays");
        set.add(&mut self.min_free, "--min-free-space", "Until so much of the disk is free");
        set.add(&mut self.reserved, "--reserved-space", "So much stays in any case");
        set.add(&mut self.verbose, "--verbose", "Accepted, without effect").hide();
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let warning = match self.all {
            true => "WARNING! This will remove all build cache.",
            false => "WARNING! This will remove all dangling build cache.",
        };
        if !self.force && !confirm(cx, warning)? {
            return Ok(());
        }
        let bytes = |size: Option<Bytes>| size.map(|size| size.0);
        let query = BuildPruneQuery {
            all: self.all,
            keep_storage: bytes(self.keep_storage),
            reserved_space: bytes(self.reserved),
            max_used_space: bytes(self.max_used),
            min_free_space: bytes(self.min_free),
            filters: self.filter.0,
        };
        let (mut deleted, mut reclaimed) = (Vec::new(), 0);
        for node in &chosen::chosen(cx, self.builder.as_deref())?.nodes {
            let pruned = node.builder()?.prune(&query).await?;
            deleted.extend(pruned.caches_deleted.unwrap_or_default());
            reclaimed += pruned.space_reclaimed;
        }
        let mut text = String::new();
        if !deleted.is_empty() {
            text.push_str(&format!("Deleted build cache objects:\n{}\n\n", deleted.join("\n")));
        }
        text.push_str(&format!("Total reclaimed space: {}\n", size::human(reclaimed.cast_signed(), 4)));
        cx.print(&text)
    }
}

#[derive(Default)]
pub(crate) struct Disk {
    builder: Option<String>,
    verbose: bool,
}

impl Command for Disk {
    const SHAPE: &'static Shape = &Shape {
        paths: &["builder du", "buildx du"],
        usage: "[OPTIONS]",
        about: "Show what the build cache takes up",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.builder, "--builder", "Builder whose cache it is");
        set.add(&mut self.verbose, "--verbose", "All that is known of each record");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let mut records = Vec::new();
        for node in &chosen::chosen(cx, self.builder.as_deref())?.nodes {
            records.extend(node.builder()?.disk_usage().await?);
        }
        cx.print(&if self.verbose { every_word(&records) } else { list(&records) })
    }
}

fn bytes(size: u64) -> String {
    size::human(i64::try_from(size).unwrap_or(i64::MAX), 4)
}

fn used(record: &BuildCache) -> String {
    let at = record.last_used_at.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    at.map_or_else(String::new, |at| duration::ago(at.as_second(), clock::now()))
}

fn list(records: &[BuildCache]) -> String {
    let mut rows = String::from("ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n");
    for record in records {
        rows.push_str(&format!("{}\t{}\t{}\t{}\n", record.id, !record.in_use, bytes(record.size), used(record)));
    }
    let sum =
        |counts: fn(&BuildCache) -> bool| bytes(records.iter().filter(|one| counts(one)).map(|one| one.size).sum());
    let mut text = table::align(&rows);
    text.push_str(&table::align(&format!(
        "Shared:\t{}\nPrivate:\t{}\nReclaimable:\t{}\nTotal:\t{}\n",
        sum(|one| one.shared),
        sum(|one| !one.shared),
        sum(|one| !one.in_use),
        sum(|_| true),
    )));
    text
}

fn every_word(records: &[BuildCache]) -> String {
    let shown = |record: &BuildCache| {
        table::align(&format!(
            "ID:\t{}\nCreated at:\t{}\nMutable:\t{}\nReclaimable:\t{}\nShared:\t{}\nSize:\t{}\nDescription:\t{}\nUsage count:\t{}\nLast used:\t{}\nType:\t{}\n",
            record.id,
            record.created_at,
            record.kind != "regular",
            !record.in_use,
            record.shared,
            bytes(record.size),
            record.description,
            record.usage_count,
            used(record),
            record.kind,
        ))
    };
    records.iter().map(shown).collect::<Vec<_>>().join("\n")
}
