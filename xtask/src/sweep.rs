//! Taking a throw-away daemon away: its processes, links, firewall table, control groups and folder; sysctls are put
//! back as they were.
//!
//! A process of its own waits for the end of its input, which is when the command that wanted the daemon has ended,
//! however it did. What is the daemon's is told by its folder's name, by aliases of links, and by what was not there
//! before.

use std::{
    fs,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use crate::{run, wait::wait_for};

/// What a daemon may switch on.
const SYSCTLS: [&str; 5] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/default/forwarding",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
];

/// What tells a folder's daemon from others, on a command line or as a control group.
pub(crate) fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Starts the process that sweeps when its input ends. Everything the daemon makes must be made after this.
pub(crate) fn begin(folder: &Path) -> Result<Child, String> {
    let ourselves = std::env::current_exe().map_err(|error| format!("cannot find ourselves: {error}"))?;
    let mut command = run::program(ourselves);
    command.arg("sweep").arg(folder).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sweeper = command.spawn().map_err(|error| format!("cannot start the sweeper: {error}"))?;
    // Its one line says that it has seen what the machine was like before.
    let mut line = [0_u8; 6];
    let told = sweeper.stdout.take().map(|mut output| output.read_exact(&mut line));
    if matches!(told, Some(Ok(()))) { Ok(sweeper) } else { Err("the sweeper does not answer".to_owned()) }
}

/// `xtask sweep FOLDER`, started by [`begin`].
pub(crate) fn sweep(arguments: &[String]) -> Result<(), String> {
    let [folder] = arguments else { return Err("wants the folder of a throw-away daemon".to_owned()) };
    let folder = PathBuf::from(folder);
    let (sysctls, links, tables) = (sysctls(), links(), tables());
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());

    end_processes(&folder);
    for (file, value) in sysctls {
        if fs::read_to_string(&file).is_ok_and(|now| now != value) {
            let _ = fs::write(file, value);
        }
    }
    for link in self::links().iter().filter(|link| !links.contains(link)) {
        quietly("ip", &["link", "delete", link]);
    }
    for table in self::tables().iter().filter(|table| !tables.contains(table)) {
        let words: Vec<&str> = std::iter::once("delete").chain(table.split(' ')).collect();
        quietly("nft", &words);
    }
    remove_control_groups(&name(&folder));
    fs::remove_dir_all(&folder).map_err(|error| format!("cannot remove {}: {error}", folder.display()))
}

/// The daemon is asked first; its keeper and its containers, which are to outlive daemons, are not.
fn end_processes(folder: &Path) {
    let daemon = fs::read_to_string(folder.join("pid")).unwrap_or_default().trim().to_owned();
    quietly("kill", &["-TERM", &daemon]);
    wait_for(Duration::from_secs(10), || {
        (!Path::new("/proc").join(&daemon).exists() || daemon.is_empty()).then_some(())
    });
    let name = name(folder);
    wait_for(Duration::from_secs(10), || {
        let pids = [processes_of(folder), processes_in(&name)].concat();
        for pid in &pids {
            quietly("kill", &["-KILL", pid]);
        }
        pids.is_empty().then_some(())
    });
}

fn sysctls() -> Vec<(PathBuf, String)> {
    SYSCTLS
        .iter()
        .map(|name| Path::new("/proc/sys").join(name))
        .filter_map(|file| fs::read_to_string(&file).ok().map(|value| (file, value)))
        .collect()
}

/// Links that say in their alias that they are a hako's.
fn links() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries
        .filter(|entry| fs::read_to_string(entry.path().join("ifalias")).is_ok_and(|alias| alias.starts_with("hako ")))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Firewall tables of hakos, as `table inet NAME`; none where there is no `nft` to ask.
fn tables() -> Vec<String> {
    let Some(nft) = run::find("nft") else { return Vec::new() };
    let mut command = run::program(nft);
    command.args(["list", "tables"]);
    let text = run::output(command).unwrap_or_default();
    let is_hakos = |line: &&str| line.split(' ').next_back().is_some_and(|name| name.starts_with("hako"));
    text.lines().filter(is_hakos).map(str::to_owned).collect()
}

/// Processes with the folder on their command line: the keeper, and the daemon below `unshare`. Not ourselves.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let ourselves = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != ourselves)
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&folder) && (line.contains(" keeper ") || line.contains(" daemon "))
        })
        .collect()
}

/// Processes in the daemon's control group: the containers.
fn processes_in(group: &str) -> Vec<String> {
    let mut pids = Vec::new();
    for place in control_groups() {
        let mut find = run::program("find");
        find.arg(place.join(group)).args(["-name", "cgroup.procs", "-exec", "cat", "{}", ";"]).stderr(Stdio::null());
        let output = find.output().map(|output| output.stdout).unwrap_or_default();
        pids.extend(String::from_utf8_lossy(&output).lines().map(str::to_owned));
    }
    pids.sort();
    pids.dedup();
    pids
}

fn remove_control_groups(group: &str) {
    for place in control_groups() {
        // Only folders can be removed there; files go with them.
        let group = place.join(group).display().to_string();
        quietly("find", &[&group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
    }
}

/// Where the hierarchies are mounted.
fn control_groups() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, place, "cgroup" | "cgroup2", ..] => Some(PathBuf::from(place)),
        _ => None,
    });
    places.collect()
}

fn quietly(name: &str, arguments: &[&str]) {
    let mut command = run::program(run::find(name).unwrap_or_else(|| name.into()));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    // What is to be swept may be gone already.
    let _ = command.status();
}
