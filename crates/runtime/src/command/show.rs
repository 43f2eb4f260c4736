//! What `hako runtime` prints: JSON with runc's spacing, tables with its columns, a stream of events.

use std::{io::Write, time::Duration};

use crate::{
    observe,
    oci::{Container, OciError, show as facts, state},
};
use serde::Serialize;
use serde_json::json;

use super::flags::{EventsFlags, ListFlags};

/// Bytes that nobody reads any more are no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

pub(super) fn pretty_text(value: &impl Serialize) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default())
}

pub(super) fn pretty(value: &impl Serialize) {
    print(&pretty_text(value));
}

pub(super) fn list(containers: &[Container], flags: &ListFlags) {
    if flags.quiet {
        return containers.iter().for_each(|one| print(&format!("{}\n", one.record.id)));
    }
    let states: Vec<_> = containers.iter().map(state::full).collect();
    if flags.format == "json" {
        return print(&serde_json::to_string(&states).unwrap_or_default());
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(states.into_iter().map(|one| {
        [one.id.to_owned(), one.pid.to_string(), one.status.word().to_owned(), one.bundle, one.created, one.owner]
    }));
    table(&rows);
}

pub(super) fn processes(pids: &[u32], format: &str) {
    if format == "json" {
        return print(&format!("{}\n", json!(pids)));
    }
    let users = observe::users();
    let mut rows = vec![["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned)];
    for stat in pids.iter().filter_map(|pid| observe::stat(*pid).ok()) {
        let user = users.get(&stat.uid).cloned().unwrap_or_else(|| stat.uid.to_string());
        let (minutes, seconds) = (stat.cpu_seconds / 60, stat.cpu_seconds % 60);
        let time = format!("{:02}:{:02}:{seconds:02}", minutes / 60, minutes % 60);
        let started = stat.started.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string();
        // Terminals of containers are ptys, whose major numbers begin at 136.
        let terminal = if stat.tty == 0 { "?".to_owned() } else { format!("pts/{}", stat.tty & 0xff) };
        let (pid, parent, share) = (stat.pid.to_string(), stat.ppid.to_string(), stat.cpu_percent.to_string());
        rows.push([user, pid, parent, share, started, terminal, time, stat.command_line]);
    }
    table(&rows);
}

fn table<const N: usize>(rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        print(&format!("{}\n", cells.join("   ").trim_end()));
    }
}

/// Numbers once, or again and again with a line whenever memory ran out, until the container has ended.
pub(super) fn events(container: &Container, flags: &EventsFlags) -> Result<(), OciError> {
    print(&format!("{}\n", facts::stats(container)?));
    if flags.stats {
        return Ok(());
    }
    let nanos = hako_base::duration::parse_go(&flags.interval).ok().and_then(|nanos| u64::try_from(nanos).ok());
    let interval = Duration::from_nanos(nanos.filter(|nanos| *nanos > 0).unwrap_or(5_000_000_000));
    let mut kills = facts::oom_kills(container)?;
    while facts::lives(container) {
        // Looks often whether it has ended; prints as often as was asked.
        hako_base::backoff::wait_for(interval, || (!facts::lives(container)).then_some(()));
        let now = facts::oom_kills(container).unwrap_or(kills);
        if now > kills {
            print(&format!("{}\n", facts::event("oom", container, None)));
        }
        kills = now;
        match facts::stats(container) {
            Ok(stats) => print(&format!("{stats}\n")),
            Err(_) => break,
        }
    }
    Ok(())
}
