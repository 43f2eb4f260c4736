//! What a cgroup has used: the numbers behind `docker stats`, in one form for both versions.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::Path};

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::Cgroup;

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub pids: PidsStats,
    /// Bytes by device and direction.
    pub io_service_bytes: Vec<IoEntry>,
    /// Operations by device and direction.
    pub io_serviced: Vec<IoEntry>,
}

/// Processor time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuStats {
    pub usage_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// By processor; empty on v2, which does not count it.
    pub per_cpu_ns: Vec<u64>,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryStats {
    pub usage_bytes: u64,
    /// The most it ever was; 0 where it is not known.
    pub max_usage_bytes: u64,
    /// `None`: no limit of its own.
    pub limit_bytes: Option<u64>,
    pub failures: u64,
    /// `memory.stat` as it is.
    pub detail: BTreeMap<String, u64>,
}

impl MemoryStats {
    /// What `docker stats` shows as used: without the page cache that could be given back at once.
    pub fn used_bytes(&self) -> u64 {
        let inactive = self.detail.get("total_inactive_file").or_else(|| self.detail.get("inactive_file"));
        let inactive = inactive.copied().unwrap_or(0);
        if inactive < self.usage_bytes { self.usage_bytes - inactive } else { self.usage_bytes }
    }
}

/// Processes and threads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PidsStats {
    pub current: u64,
    /// `None`: no limit.
    pub limit: Option<u64>,
}

/// One number about one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoEntry {
    pub major: u64,
    pub minor: u64,
    /// `read`, `write`, and on v1 the others that the kernel counts.
    pub operation: String,
    pub value: u64,
}

pub(super) fn read_cpu(cgroup: &Cgroup) -> Stats {
    let mut stats = Stats::default();
    match cgroup.v1("cpuacct") {
        Some(directory) => cpu_v1(cgroup, &Folder::open(&directory), &mut stats.cpu),
        None => cgroup.unified().iter().for_each(|directory| cpu_v2(&Folder::open(directory), &mut stats.cpu)),
    }
    stats
}

pub(super) fn read(cgroup: &Cgroup) -> Stats {
    let mut stats = read_cpu(cgroup);
    let unified = cgroup.unified();
    match cgroup.v1("memory") {
        Some(directory) => memory_v1(&Folder::open(&directory), &mut stats.memory),
        None => unified.iter().for_each(|directory| memory_v2(&Folder::open(directory), &mut stats.memory)),
    }
    if let Some(directory) = cgroup.v1("pids").or_else(|| unified.clone()) {
        let folder = Folder::open(&directory);
        stats.pids.current = folder.number("pids.current").unwrap_or(0);
        stats.pids.limit = folder.number("pids.max");
    }
    match cgroup.v1("blkio") {
        Some(directory) => {
            let folder = Folder::open(&directory);
            stats.io_service_bytes = io_v1(&folder.text("blkio.throttle.io_service_bytes_recursive"));
            stats.io_serviced = io_v1(&folder.text("blkio.throttle.io_serviced_recursive"));
        }
        None => {
            let lines = unified.iter().map(|directory| Folder::open(directory).text("io.stat")).collect::<String>();
            (stats.io_service_bytes, stats.io_serviced) = io_v2(&lines);
        }
    }
    stats
}

pub(super) fn oom_kills(cgroup: &Cgroup) -> u64 {
    let lines = match cgroup.v1("memory") {
        Some(directory) => pairs(&Folder::open(&directory).text("memory.oom_control")),
        None => {
            cgroup.unified().map(|directory| pairs(&Folder::open(&directory).text("memory.events"))).unwrap_or_default()
        }
    };
    lines.get("oom_kill").copied().unwrap_or(0)
}

/// A control group's directory, open: a sample reads fifteen files, and walking the whole way to each of them cost more
/// than reading it. A directory that is gone has empty files.
struct Folder(Option<OwnedFd>);

impl Folder {
    fn open(path: &Path) -> Self {
        Self(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok())
    }

    /// A counter's text. The kernel writes such a file in one piece, so that one read is all there is unless it fills
    /// the room.
    fn text(&self, file: &str) -> String {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = self.0.as_ref().and_then(|folder| rustix::fs::openat(folder, file, flags, Mode::empty()).ok());
        let Some(opened) = opened else { return String::new() };
        let (mut bytes, mut length) = (vec![0; 8192], 0);
        while let Ok(count @ 1..) = rustix::io::read(&opened, &mut bytes[length..]) {
            length += count;
            if length < bytes.len() {
                break;
            }
            bytes.resize(length * 2, 0);
        }
        bytes.truncate(length);
        String::from_utf8(bytes).unwrap_or_default()
    }

    // `max` and anything else that is no number is `None`.
    fn number(&self, file: &str) -> Option<u64> {
        self.text(file).trim().parse().ok()
    }
}

/// Everything that reads the kernel's counters.
#[cfg(test)]
pub(crate) fn parse_counters(text: &str) {
    drop((pairs(text), io_v1(text), io_v2(text)));
}

// Lines of `key value`.
fn pairs(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

fn cpu_v1(cgroup: &Cgroup, folder: &Folder, cpu: &mut CpuStats) {
    cpu.usage_ns = folder.number("cpuacct.usage").unwrap_or(0);
    cpu.user_ns = folder.number("cpuacct.usage_user").unwrap_or(0);
    cpu.system_ns = folder.number("cpuacct.usage_sys").unwrap_or(0);
    cpu.per_cpu_ns =
        folder.text("cpuacct.usage_percpu").split_whitespace().filter_map(|value| value.parse().ok()).collect();
    if let Some(directory) = cgroup.v1("cpu") {
        let lines = pairs(&Folder::open(&directory).text("cpu.stat"));
        let get = |key: &str| lines.get(key).copied().unwrap_or(0);
        (cpu.periods, cpu.throttled_periods) = (get("nr_periods"), get("nr_throttled"));
        cpu.throttled_ns = get("throttled_time");
    }
}

fn cpu_v2(folder: &Folder, cpu: &mut CpuStats) {
    let lines = pairs(&folder.text("cpu.stat"));
    let get = |key: &str| lines.get(key).copied().unwrap_or(0);
    cpu.usage_ns = get("usage_usec") * 1_000;
    cpu.user_ns = get("user_usec") * 1_000;
    cpu.system_ns = get("system_usec") * 1_000;
    (cpu.periods, cpu.throttled_periods) = (get("nr_periods"), get("nr_throttled"));
    cpu.throttled_ns = get("throttled_usec") * 1_000;
}

fn memory_v1(folder: &Folder, memory: &mut MemoryStats) {
    memory.usage_bytes = folder.number("memory.usage_in_bytes").unwrap_or(0);
    memory.max_usage_bytes = folder.number("memory.max_usage_in_bytes").unwrap_or(0);
    // Unlimited is the largest multiple of a page that fits.
    memory.limit_bytes = folder.number("memory.limit_in_bytes").filter(|limit| *limit < i64::MAX as u64 - 65_536);
    memory.failures = folder.number("memory.failcnt").unwrap_or(0);
    memory.detail = pairs(&folder.text("memory.stat"));
}

fn memory_v2(folder: &Folder, memory: &mut MemoryStats) {
    memory.usage_bytes = folder.number("memory.current").unwrap_or(0);
    memory.max_usage_bytes = folder.number("memory.peak").unwrap_or(0);
    memory.limit_bytes = folder.number("memory.max");
    memory.failures = pairs(&folder.text("memory.events")).get("max").copied().unwrap_or(0);
    memory.detail = pairs(&folder.text("memory.stat"));
}

// `8:0 Read 4096`, and a line `Total 4096` at the end.
fn io_v1(text: &str) -> Vec<IoEntry> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (major, minor) = fields.next()?.split_once(':')?;
            let operation = fields.next()?.to_lowercase();
            let value = fields.next()?.parse().ok()?;
            Some(IoEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, operation, value })
        })
        .collect()
}

// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`
fn io_v2(text: &str) -> (Vec<IoEntry>, Vec<IoEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut fields = line.split(' ');
        let Some((major, minor)) = fields.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let entry = |operation: &str| IoEntry { major, minor, operation: operation.to_owned(), value };
            match key {
                "rbytes" => bytes.push(entry("read")),
                "wbytes" => bytes.push(entry("write")),
                "rios" => operations.push(entry("read")),
                "wios" => operations.push(entry("write")),
                _ => {}
            }
        }
    }
    (bytes, operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_count_the_same_things() {
        let v1 = io_v1("8:0 Read 4096\n8:0 Write 12\nTotal 4108\n");
        let (bytes, operations) = io_v2("8:0 rbytes=4096 wbytes=12 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n");
        assert_eq!(v1, bytes);
        assert_eq!(operations[1].value, 2);
    }

    #[test]
    fn reclaimable_cache_is_not_used_memory() {
        let detail = pairs("inactive_file 30\nanon 5\n");
        let memory = MemoryStats { usage_bytes: 100, detail, ..MemoryStats::default() };
        assert_eq!(memory.used_bytes(), 70);
    }
}
