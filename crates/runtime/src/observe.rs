//! What the host and its processes are doing, read from `/proc` and by small calls.
//!
//! The engine asks here, since it never calls the kernel itself. Nothing here changes anything but a
//! terminal's size and, by [`signal`], what a process is told.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use hako_model::Signal;
use jiff::Timestamp;

use crate::cgroup::Layout;

/// The most that is read of one file under `/proc`; a command line may be long.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Sends a signal to the process of a pidfd.
///
/// # Errors
/// `ESRCH` once the process has ended.
pub fn signal(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    hako_sys::process::send_signal(pidfd.as_fd(), signal.number())
}

/// Tells a terminal its size.
///
/// # Errors
/// Those of the ioctl.
pub fn resize(terminal: &OwnedFd, rows: u16, columns: u16) -> io::Result<()> {
    hako_sys::pty::resize(terminal, rows, columns)
}

/// Whether a file of the host may be executed by us.
pub fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether the kernel confines by AppArmor profiles.
pub fn has_apparmor() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        fs::read_to_string("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.trim_start().starts_with('Y'))
    })
}

/// The host's name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The root directory of a running process, by the kernel's own link: what the container sees.
///
/// # Errors
/// The process has ended, or may not be looked at.
pub fn root_of(pid: u32) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let path = format!("/proc/{pid}/root");
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The user namespace of a running process.
///
/// # Errors
/// As [`root_of`].
pub fn user_namespace_of(pid: u32) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    Ok(rustix::fs::open(format!("/proc/{pid}/ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The same as a mount that can be copied.
///
/// # Errors
/// As [`root_of`].
pub fn root_to_copy(pid: u32) -> io::Result<hako_sys::copies::Original> {
    hako_sys::copies::Original::root_of(pid)
}

/// One process, as `ps` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessStat {
    pub pid: u32,
    pub ppid: u32,
    pub uid: u32,
    pub name: String,
    pub command_line: String,
    pub state: char,
    /// Device number of its terminal; 0: none.
    pub tty: u32,
    pub cpu_seconds: u64,
    pub cpu_percent: u64,
    pub started: Timestamp,
    pub rss_bytes: u64,
    pub virtual_bytes: u64,
    pub threads: u64,
    pub nice: i64,
}

/// Looks at one process.
///
/// # Errors
/// It has ended.
pub fn stat(pid: u32) -> io::Result<ProcessStat> {
    let directory = Path::new("/proc").join(pid.to_string());
    let text = read_text(&directory.join("stat"))?;
    let uid = {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(&directory)?.uid()
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not understood"));
    let mut stat = parse_stat(&text, boot_time()?).ok_or_else(damaged)?;
    stat.uid = uid;
    let raw = read_text(&directory.join("cmdline"))?;
    let words: Vec<&str> = raw.split('\0').filter(|word| !word.is_empty()).collect();
    stat.command_line = if words.is_empty() { format!("[{}]", stat.name) } else { words.join(" ") };
    Ok(stat)
}

/// `proc_pid_stat(5)`: the name stands in parentheses and may contain them.
fn parse_stat(text: &str, boot_s: i64) -> Option<ProcessStat> {
    let (head, rest) = text.rsplit_once(')')?;
    let (pid, name) = head.split_once(" (")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second();
    let cpu_seconds = (number(11)? + number(12)?) / ticks;
    let started_s = boot_s + i64::try_from(number(19)? / ticks).ok()?;
    let started = Timestamp::from_second(started_s).ok()?;
    let age_s = u64::try_from(hako_base::clock::now().as_second() - started_s).unwrap_or(0).max(1);
    Some(ProcessStat {
        pid: pid.parse().ok()?,
        ppid: u32::try_from(number(1)?).ok()?,
        uid: 0,
        name: name.to_owned(),
        command_line: String::new(),
        state: fields.first()?.chars().next()?,
        tty: fields.get(4)?.parse::<i64>().ok().and_then(|tty| u32::try_from(tty).ok()).unwrap_or(0),
        cpu_seconds,
        cpu_percent: (cpu_seconds * 100 / age_s).min(99),
        started,
        rss_bytes: number(21)? * rustix::param::page_size() as u64,
        virtual_bytes: number(20)?,
        threads: number(17)?,
        nice: fields.get(16)?.parse().ok()?,
    })
}

fn boot_time() -> io::Result<i64> {
    let text = read_text(Path::new("/proc/stat"))?;
    let found = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/stat has no btime"))
}

fn read_text(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The users that the host knows, by number: what `ps` calls them.
pub fn users() -> std::collections::BTreeMap<u32, String> {
    let text = read_text(Path::new("/etc/passwd")).unwrap_or_default();
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first line of a number counts, as for the C library.
    text.lines().rev().filter_map(user).collect()
}

/// The host, for `info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub kernel: String,
    pub operating_system: String,
    pub os_version: String,
    pub cpus: usize,
    pub memory_bytes: u64,
    pub ipv4_forwarding: bool,
    /// Open descriptors of this process.
    pub own_descriptors: usize,
}

/// Looks at the host. What cannot be read is empty.
pub fn host() -> Host {
    let release = read_text(Path::new("/etc/os-release")).unwrap_or_default();
    let memory = read_text(Path::new("/proc/meminfo")).unwrap_or_default();
    let memory_kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    let forwarding = read_text(Path::new("/proc/sys/net/ipv4/ip_forward")).unwrap_or_default();
    Host {
        name: hostname(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        operating_system: release_field(&release, "PRETTY_NAME"),
        os_version: release_field(&release, "VERSION_ID"),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_bytes: memory_kib * 1024,
        ipv4_forwarding: forwarding.trim() == "1",
        own_descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
    }
}

fn release_field(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// Which limits the host's cgroups can enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CgroupFeatures {
    pub memory: bool,
    pub swap: bool,
    pub oom_kill_disable: bool,
    pub cpu: bool,
    pub cpuset: bool,
    pub pids: bool,
    pub blkio_weight: bool,
}

/// Looks at the hierarchies of the host.
pub fn cgroup_features() -> CgroupFeatures {
    let layout = Layout::of_host();
    let v1 = |controller: &str| layout.hierarchies.iter().find(|hierarchy| hierarchy.has(controller));
    let has = |controller: &str| {
        v1(controller).is_some() || layout.unified_controllers.iter().any(|known| known == controller)
    };
    let memory_v1 = v1("memory").map(|hierarchy| hierarchy.path.clone());
    let swap = match &memory_v1 {
        Some(path) => path.join("memory.memsw.limit_in_bytes").exists(),
        // The top of the v2 tree has no such file; every kernel that has the controller and swap has it below.
        None => has("memory") && Path::new("/proc/swaps").exists(),
    };
    CgroupFeatures {
        memory: has("memory"),
        swap,
        oom_kill_disable: memory_v1.is_some_and(|path| path.join("memory.oom_control").exists()),
        cpu: has("cpu"),
        cpuset: has("cpuset"),
        pids: has("pids"),
        blkio_weight: blkio_weight(layout),
    }
}

// Shares of I/O time are what a scheduler offers (BFQ, or CFQ before Linux 5). The top has no share of its own, so that
// the files are looked for one below.
fn blkio_weight(layout: &Layout) -> bool {
    let v1 = layout.hierarchies.iter().find(|hierarchy| hierarchy.has("blkio")).map(|hierarchy| &hierarchy.path);
    let tops = v1.into_iter().chain(layout.unified.iter());
    let below = tops.filter_map(|top| fs::read_dir(top).ok()?.flatten().find(|entry| entry.path().is_dir()));
    below
        .flat_map(|entry| {
            ["blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight"].map(|file| entry.path().join(file))
        })
        .any(|file| file.exists())
}

/// What the host's processors and memory are, to hold a container's use against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processors {
    pub online: u32,
    /// Time that all of them together have had since the host was started, busy or not.
    pub total_ns: u64,
    pub memory_bytes: u64,
}

/// Looks at the host's processors. The sums in `/proc/stat` are in hundredths of a second; time since the start of the
/// host, for each of them, says the same in nanoseconds.
pub fn processors() -> Processors {
    // Once: the library reads the daemon's own control groups and mounts for it, which costs more than the rest of a
    // sample.
    static ONLINE: OnceLock<u32> = OnceLock::new();
    let info = rustix::system::sysinfo();
    let online = *ONLINE.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u32);
    let since_boot_ns = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX);
    Processors {
        online,
        total_ns: since_boot_ns.saturating_mul(u64::from(online)),
        memory_bytes: info.totalram.saturating_mul(u64::from(info.mem_unit)),
    }
}

// `/proc/uptime` once, to a hundredth of a second; from then on by the clock.
fn since_boot() -> Duration {
    static ORIGIN: OnceLock<(Duration, Instant)> = OnceLock::new();
    let (uptime, at) = ORIGIN.get_or_init(|| {
        let text = read_text(Path::new("/proc/uptime")).unwrap_or_default();
        let seconds = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
        (Duration::from_secs_f64(seconds), Instant::now())
    });
    *uptime + at.elapsed()
}

/// What went over one link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkCounters {
    pub name: String,
    pub received: Traffic,
    pub sent: Traffic,
}

/// One direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// The links of a process's network, loopback aside.
///
/// # Errors
/// The process has ended.
pub fn network_counters(pid: u32) -> io::Result<Vec<LinkCounters>> {
    Ok(parse_links(&read_text(&Path::new("/proc").join(pid.to_string()).join("net/dev"))?))
}

// Two lines of titles, then `eth0: 646 5 0 0 0 0 0 0 70 1 …`: eight numbers received, eight sent.
fn parse_links(text: &str) -> Vec<LinkCounters> {
    let link = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        let traffic = |from: usize| {
            let number = |index: usize| numbers.get(from + index).copied().unwrap_or(0);
            Traffic { bytes: number(0), packets: number(1), errors: number(2), dropped: number(3) }
        };
        let name = name.trim().to_owned();
        (name != "lo").then(|| LinkCounters { name, received: traffic(0), sent: traffic(8) })
    };
    text.lines().skip(2).filter_map(link).collect()
}

/// Names of the cgroups right below `parent`, in any hierarchy.
pub fn cgroup_children(parent: &str) -> Vec<String> {
    let layout = Layout::of_host();
    let tops = layout.unified.iter().chain(layout.hierarchies.iter().map(|hierarchy| &hierarchy.path));
    let mut names: Vec<String> = tops
        .filter_map(|top| fs::read_dir(top.join(parent.trim_start_matches('/'))).ok())
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_has_parentheses_is_read() {
        let text =
            "42 (a) b (c)) S 1 42 42 34816 42 4194304 100 0 0 0 250 50 0 0 20 0 1 0 1000 4096 10 18446744073709551615";
        let stat = parse_stat(text, 1_000_000).unwrap();
        assert_eq!((stat.pid, stat.ppid, stat.name.as_str(), stat.state), (42, 1, "a) b (c)", 'S'));
        assert_eq!((stat.cpu_seconds, stat.tty, stat.virtual_bytes), (3, 34816, 4096));
    }

    #[test]
    fn links_are_read_without_loopback() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:  646 5 1 2 0 0 0 0 70 3 4 5 0 0 0 0\n";
        let links = parse_links(text);
        assert_eq!((links.len(), links[0].name.as_str()), (1, "eth0"));
        assert_eq!(links[0].received, Traffic { bytes: 646, packets: 5, errors: 1, dropped: 2 });
        assert_eq!(links[0].sent, Traffic { bytes: 70, packets: 3, errors: 4, dropped: 5 });
    }

    #[test]
    fn this_process_is_found() {
        let stat = stat(std::process::id()).unwrap();
        assert_eq!(stat.pid, std::process::id());
        assert!(stat.rss_bytes > 0);
    }

    #[test]
    fn the_name_of_the_system_is_read_without_quotes() {
        assert_eq!(release_field("NAME=x\nPRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME"), "Debian 12");
    }
}
