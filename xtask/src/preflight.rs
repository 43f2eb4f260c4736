//! What this machine lacks for hako, one line each, with what to type.
//!
//! Features are tried, not derived from versions: as root, in namespaces that vanish with the trial.

use std::{fs, path::Path, process::Stdio};

use crate::run;

/// One thing that was looked at: fine, or what is missing and what to do.
struct Finding {
    what: &'static str,
    missing: Option<String>,
}

/// `cargo x preflight`
pub(crate) fn preflight(_: &[String]) -> Result<(), String> {
    let findings = findings();
    for finding in &findings {
        match &finding.missing {
            None => println!("ok       {}", finding.what),
            Some(missing) => println!("missing  {}: {missing}", finding.what),
        }
    }
    let missing = findings.iter().filter(|finding| finding.missing.is_some()).count();
    if missing == 0 { Ok(()) } else { Err(format!("{missing} missing")) }
}

/// Prints what is missing and nothing else.
pub(crate) fn report() {
    for finding in findings() {
        if let Some(missing) = finding.missing {
            println!("preflight: {}: {missing}", finding.what);
        }
    }
}

fn findings() -> Vec<Finding> {
    let rights = rights();
    let able = rights.is_none();
    let tried = |script: &str, remedy: &str| if able { attempt(script, remedy) } else { None };
    vec![
        Finding { what: "rights", missing: rights },
        Finding { what: "rustc", missing: rustc() },
        Finding { what: "kernel", missing: kernel() },
        Finding { what: "cgroups", missing: cgroups() },
        Finding { what: "overlay", missing: tried(OVERLAY, "type: modprobe overlay") },
        Finding { what: "veth", missing: tried(VETH, &modules("veth bridge")) },
        Finding { what: "nftables", missing: nftables(able) },
        Finding { what: "tools", missing: tools() },
    ]
}

const OVERLAY: &str = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m && \
    mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt/m";
const VETH: &str = "ip link add one type veth peer name two && ip link add three type bridge";

fn rights() -> Option<String> {
    if run::is_root() {
        return None;
    }
    let mut sudo = run::program("sudo");
    sudo.args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    let without_asking = run::has("sudo") && sudo.status().is_ok_and(|status| status.success());
    (!without_asking).then(|| "containers need root. Type: sudo -v, or run ./x as root".to_owned())
}

fn rustc() -> Option<String> {
    let mut rustc = run::program("rustc");
    rustc.arg("--version").stderr(Stdio::null());
    let text = run::output(rustc).unwrap_or_default();
    let version = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let present = text.split_whitespace().nth(1).and_then(version);
    let wanted = version(env!("CARGO_PKG_RUST_VERSION"));
    (present < wanted)
        .then(|| format!("{} is needed. Type: rustup update stable, or run ./x", env!("CARGO_PKG_RUST_VERSION")))
}

fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (version < (5, 15)).then(|| format!("{} is older than 5.15", release.trim()))
}

fn cgroups() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|line| matches!(line.split(' ').nth(2), Some("cgroup" | "cgroup2")));
    (!mounted).then(|| "no cgroup tree is mounted. Type: mount -t cgroup2 cgroup2 /sys/fs/cgroup".to_owned())
}

fn nftables(able: bool) -> Option<String> {
    if !able || run::find("nft").is_none() {
        // hako needs no `nft`; without it only the module can be looked for.
        let known = ["/sys/module/nf_tables", "/proc/sys/net/netfilter"].iter().any(|path| Path::new(path).exists());
        return (!known).then(|| modules("nf_tables nft_chain_nat"));
    }
    attempt(
        "nft add table inet x && nft 'add chain inet x y { type nat hook prerouting priority 0; }'",
        &modules("nf_tables nft_chain_nat"),
    )
}

/// After an upgrade of the kernel without a reboot, its modules are gone from the disk, and modprobe cannot help.
fn modules(names: &str) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if Path::new("/lib/modules").join(release.trim()).is_dir() || !Path::new("/lib/modules").is_dir() {
        format!("type: modprobe -a {names}")
    } else {
        format!("the modules of the running kernel {} are gone (it was upgraded): reboot", release.trim())
    }
}

fn tools() -> Option<String> {
    let needed =
        [("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2"), ("tar", "tar"), ("curl", "curl")];
    let missing: Vec<&str> =
        needed.iter().filter(|(name, _)| run::find(name).is_none()).map(|(_, package)| *package).collect();
    (!missing.is_empty()).then(|| format!("for the tests. Type: apt-get install {}", missing.join(" ")))
}

/// Tries a script as root in namespaces of its own; `Some(remedy)` where it fails.
fn attempt(script: &str, remedy: &str) -> Option<String> {
    let mut unshare = run::program("unshare");
    // A person's PATH lacks the administrator's programs, and sudo hands it on.
    let script = format!("PATH=$PATH:/usr/sbin:/sbin; {script}");
    unshare.args(["--net", "--mount", "--propagation", "private", "sh", "-c", &script]);
    let mut unshare = run::rooted(unshare);
    unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    (!unshare.status().is_ok_and(|status| status.success())).then(|| remedy.to_owned())
}
