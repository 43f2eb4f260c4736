//! `container top`: the processes of a container, from the kernel's tables. No `ps` is executed; its options are read
//! here as far as people give them: the usual bundles (`-ef`, `aux`, `-F`, …) and lists of columns (`-o`, `-eo`, `axo`).

use hako_runtime::observe::{self, ProcessStat, Processors};
use jiff::Timestamp;

use crate::{Engine, EngineError, view::TopView};

impl Engine {
    /// The processes of a running container in the columns of `ps -ef`, or those that the options ask for.
    ///
    /// # Errors
    /// No such container, one that does not run, or options that are not understood.
    pub async fn container_top(&self, name: &str, options: &str) -> Result<TopView, EngineError> {
        let container = self.containers.find(name)?;
        let columns = choose(options)?;
        let record = container.record();
        let top = crate::blocking(move || {
            let pids = match container.live.lock().as_ref() {
                Some(live) => live.cgroup.pids().map_err(|error| EngineError::mechanism(error.kind(), &error))?,
                None => return Err(EngineError::conflict(format!("container {} is not running", container.id))),
            };
            let host =
                Host { processors: observe::processors(), users: observe::users(), now: hako_base::clock::now() };
            let stats = pids.iter().filter_map(|pid| observe::stat(*pid).ok());
            let row = |stat: ProcessStat| columns.iter().map(|column| (column.value)(&stat, &host)).collect();
            Ok(TopView {
                titles: columns.iter().map(|column| column.title.to_owned()).collect(),
                processes: stats.map(row).collect(),
            })
        })
        .await?;
        self.publish_container("top", &record, []);
        Ok(top)
    }
}

/// What a value is held against.
struct Host {
    processors: Processors,
    users: std::collections::BTreeMap<u32, String>,
    now: Timestamp,
}

/// A column that can be shown.
#[derive(Clone, Copy)]
struct Column {
    /// As `-o` calls it; several names may mean the same.
    names: &'static [&'static str],
    title: &'static str,
    value: fn(&ProcessStat, &Host) -> String,
}

const COLUMNS: &[Column] = &[
    Column { names: &["pid", "tgid"], title: "PID", value: |stat, _| stat.pid.to_string() },
    Column { names: &["ppid"], title: "PPID", value: |stat, _| stat.ppid.to_string() },
    Column { names: &["user", "euser", "uname"], title: "USER", value: |stat, host| user(stat.uid, host) },
    Column { names: &["uid", "euid"], title: "UID", value: |stat, _| stat.uid.to_string() },
    Column { names: &["c"], title: "C", value: |stat, _| stat.cpu_percent.to_string() },
    Column { names: &["pcpu", "%cpu"], title: "%CPU", value: |stat, host| percent(cpu_share(stat, host)) },
    Column { names: &["pmem", "%mem"], title: "%MEM", value: |stat, host| percent(memory_share(stat, host)) },
    Column { names: &["rss", "rssize", "rsz"], title: "RSS", value: |stat, _| (stat.rss_bytes / 1024).to_string() },
    Column { names: &["vsz", "vsize"], title: "VSZ", value: |stat, _| (stat.virtual_bytes / 1024).to_string() },
    Column { names: &["stat", "state", "s"], title: "STAT", value: |stat, _| stat.state.to_string() },
    Column { names: &["stime", "start_time"], title: "STIME", value: |stat, _| clock(stat, "%H:%M") },
    Column { names: &["start", "bsdstart"], title: "STARTED", value: |stat, _| clock(stat, "%H:%M:%S") },
    Column { names: &["lstart"], title: "STARTED", value: |stat, _| clock(stat, "%a %b %e %H:%M:%S %Y") },
    Column { names: &["etime"], title: "ELAPSED", value: |stat, host| elapsed(age_s(stat, host)) },
    Column { names: &["etimes"], title: "ELAPSED", value: |stat, host| age_s(stat, host).to_string() },
    Column { names: &["time", "cputime"], title: "TIME", value: |stat, _| long_time(stat.cpu_seconds) },
    Column { names: &["bsdtime"], title: "TIME", value: |stat, _| short_time(stat.cpu_seconds) },
    Column { names: &["tty", "tt", "tname"], title: "TTY", value: |stat, _| terminal(stat.tty) },
    Column { names: &["nlwp", "thcount"], title: "NLWP", value: |stat, _| stat.threads.to_string() },
    Column { names: &["ni", "nice"], title: "NI", value: |stat, _| stat.nice.to_string() },
    Column { names: &["comm", "ucmd", "ucomm"], title: "COMMAND", value: |stat, _| stat.name.clone() },
    Column { names: &["args", "command"], title: "COMMAND", value: |stat, _| stat.command_line.clone() },
    Column { names: &["cmd"], title: "CMD", value: |stat, _| stat.command_line.clone() },
];

/// `ps -ef`; its first column has a name in it under the title `UID`.
const FULL: &[(&str, &str)] = &[
    ("user", "UID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("c", "C"),
    ("stime", "STIME"),
    ("tty", "TTY"),
    ("time", "TIME"),
    ("cmd", "CMD"),
];

/// `ps aux`.
const USERS: &[(&str, &str)] = &[
    ("user", "USER"),
    ("pid", "PID"),
    ("pcpu", "%CPU"),
    ("pmem", "%MEM"),
    ("vsz", "VSZ"),
    ("rss", "RSS"),
    ("tty", "TTY"),
    ("stat", "STAT"),
    ("stime", "START"),
    ("bsdtime", "TIME"),
    ("args", "COMMAND"),
];

/// `ps -e`.
const SHORT: &[(&str, &str)] = &[("pid", "PID"), ("tty", "TTY"), ("time", "TIME"), ("comm", "CMD")];

/// `ps ax`.
const BSD: &[(&str, &str)] =
    &[("pid", "PID"), ("tty", "TTY"), ("stat", "STAT"), ("bsdtime", "TIME"), ("args", "COMMAND")];

/// From the options of `ps`. Which processes are meant is not theirs to say: always the container's.
fn choose(options: &str) -> Result<Vec<Column>, EngineError> {
    let mut words = options.split_whitespace();
    let mut chosen = None;
    let mut bundle = FULL;
    while let Some(word) = words.next() {
        let (list, letters) = split_list(word);
        if word == "--no-headers" || word == "--no-heading" || word.starts_with("--sort") {
            return Err(refuse(word));
        }
        if let Some(list) = list {
            let list = if list.is_empty() { words.next().unwrap_or_default() } else { list };
            let list: Result<Vec<Column>, _> = list.split(',').filter(|name| !name.is_empty()).map(named).collect();
            chosen.get_or_insert_with(Vec::new).extend(list?);
        }
        bundle = match (word.starts_with('-'), letters) {
            (true, letters) if letters.bytes().all(|letter| b"eAafFlwwHT".contains(&letter)) => {
                if letters.contains(['f', 'F', 'l']) { FULL } else { SHORT }
            }
            (false, letters) if letters.bytes().all(|letter| b"axufwwje".contains(&letter)) => {
                if letters.contains('u') { USERS } else { BSD }
            }
            _ => return Err(refuse(word)),
        };
    }
    let columns = chosen.map_or_else(|| bundle.iter().map(|(name, title)| titled(name, title)).collect(), Ok)?;
    // Docker finds the container's processes by it, and says so where it is not there.
    if !columns.iter().any(|column| column.title == "PID") {
        return Err(EngineError::invalid("Couldn't find PID field in ps output"));
    }
    Ok(columns)
}

/// What follows an `o` that asks for columns, and the letters before it.
fn split_list(word: &str) -> (Option<&str>, &str) {
    let letters = word.strip_prefix('-').unwrap_or(word);
    match letters.find(['o', 'O']) {
        Some(at) => (Some(&letters[at + 1..]), &letters[..at]),
        None => (None, letters),
    }
}

fn refuse(word: &str) -> EngineError {
    EngineError::invalid(format!("ps option {word:?} is not understood: -ef, aux and -o LIST are"))
}

fn named(name: &str) -> Result<Column, EngineError> {
    let (name, title) = name.split_once('=').map_or((name, None), |(name, title)| (name, Some(title)));
    if title.is_some() {
        return Err(refuse(name));
    }
    COLUMNS
        .iter()
        .find(|column| column.names.contains(&name))
        .copied()
        .ok_or_else(|| EngineError::invalid(format!("ps: error: unknown user-defined format specifier {name:?}")))
}

fn titled(name: &str, title: &'static str) -> Result<Column, EngineError> {
    named(name).map(|column| Column { title, ..column })
}

fn user(uid: u32, host: &Host) -> String {
    host.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
}

fn percent(share: f64) -> String {
    format!("{share:.1}")
}

fn cpu_share(stat: &ProcessStat, host: &Host) -> f64 {
    stat.cpu_seconds as f64 * 100.0 / age_s(stat, host).max(1) as f64
}

fn memory_share(stat: &ProcessStat, host: &Host) -> f64 {
    stat.rss_bytes as f64 * 100.0 / host.processors.memory_bytes.max(1) as f64
}

fn age_s(stat: &ProcessStat, host: &Host) -> u64 {
    u64::try_from(host.now.duration_since(stat.started).as_secs()).unwrap_or_default()
}

fn clock(stat: &ProcessStat, form: &str) -> String {
    stat.started.to_zoned(jiff::tz::TimeZone::system()).strftime(form).to_string()
}

/// `[DD-]HH:MM:SS`
fn long_time(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let rest = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days > 0 { format!("{days}-{rest}") } else { rest }
}

/// `M:SS`
fn short_time(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// `[[DD-]HH:]MM:SS`
fn elapsed(seconds: u64) -> String {
    if seconds < 3600 { format!("{:02}:{:02}", seconds / 60, seconds % 60) } else { long_time(seconds) }
}

/// Terminals of containers are ptys, whose major numbers begin at 136.
fn terminal(number: u32) -> String {
    if number == 0 { "?".to_owned() } else { format!("pts/{}", number & 0xff) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &str, expected: &str) {
        let got = match choose(options) {
            Ok(columns) => columns.iter().map(|column| column.title).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{options}");
    }

    #[test]
    fn the_options_of_ps_choose_columns() {
        check("", "UID PID PPID C STIME TTY TIME CMD");
        check("-ef", "UID PID PPID C STIME TTY TIME CMD");
        check("-e", "PID TTY TIME CMD");
        check("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        check("ax", "PID TTY STAT TIME COMMAND");
        check("-o pid,comm", "PID COMMAND");
        check("-eo pid,cmd", "PID CMD");
        check("axo pid,args", "PID COMMAND");
        check("-opid -o user", "PID USER");
        check("-o comm", "Couldn't find PID field in ps output");
        check("-o pid,nosuch", "ps: error: unknown user-defined format specifier \"nosuch\"");
        check("--sort=pid", "ps option \"--sort=pid\" is not understood: -ef, aux and -o LIST are");
        check("-q 1", "ps option \"-q\" is not understood: -ef, aux and -o LIST are");
    }

    #[test]
    fn times_are_written_as_ps_writes_them() {
        assert_eq!([long_time(3_661), long_time(90_061)], ["01:01:01", "1-01:01:01"]);
        assert_eq!([elapsed(61), elapsed(3_661), short_time(61)], ["01:01", "01:01:01", "1:01"]);
    }
}
