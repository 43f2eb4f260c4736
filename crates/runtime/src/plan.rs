//! What to do, as data: the whole of a launch, decided before anything happens.
//!
//! Descriptors travel beside a plan in one list; a plan names them by their place in it. Nothing in a plan is
//! resolved by the runtime from the host's root except what the engine wrote itself (cgroup paths, host devices).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use hako_model::{Propagation, Ulimit};
use serde::{Deserialize, Serialize};

use crate::{
    capability::CapSet,
    external::External,
    extra::{Extra, Special},
    user::User,
};

/// The place of a descriptor in the list that travels with a plan.
pub type Index = usize;

/// A container to be started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaunchPlan {
    pub hostname: String,
    pub domainname: String,
    pub namespaces: Namespaces,
    pub root: Root,
    /// In the order in which they are made; [`arrange_mounts`] puts them in Docker's.
    pub mounts: Vec<Mount>,
    /// Nodes in `/dev`; [`default_devices`] are those that every container has.
    pub devices: Vec<Device>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    /// `net.ipv4.ip_forward` → `1`.
    pub sysctls: BTreeMap<String, String>,
    pub cgroup: CgroupJoin,
    /// The program to run as pid 1 instead of the command, which it then starts (`hako init`).
    pub init: Option<Index>,
    pub process: Process,
    #[serde(default)]
    pub extra: Extra,
    /// The runtime that is to do it in our place.
    #[serde(default)]
    pub external: Option<External>,
}

/// A process to be started in a running container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecPlan {
    /// A pidfd of the container's first process.
    pub target: Index,
    pub cgroup: CgroupJoin,
    pub process: Process,
    /// The runtime whose container it is, if that is not ours.
    #[serde(default)]
    pub external: Option<External>,
}

/// The program, who runs it and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub argv: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// Made if it is missing.
    pub cwd: String,
    pub user: User,
    pub umask: Option<u32>,
    /// Bounding, effective and permitted set; inheritable and ambient are always empty.
    pub capabilities: CapSet,
    pub no_new_privileges: bool,
    /// The memfd of a `seccomp::Program`; `None`: unconfined.
    pub seccomp: Option<Index>,
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: Option<i32>,
    #[serde(default)]
    pub special: Special,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: User::default(),
            umask: None,
            capabilities: CapSet::DEFAULT,
            no_new_privileges: false,
            seccomp: None,
            rlimits: Vec::new(),
            oom_score_adj: None,
            special: Special::default(),
        }
    }
}

/// Where each kind of namespace comes from. The mount namespace is always new.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    pub pid: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub network: Namespace,
    pub cgroup: Namespace,
    pub time: Namespace,
    pub user: UserNamespace,
}

/// Where a namespace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    #[default]
    Host,
    New,
    /// A descriptor of the namespace itself or a pidfd of a process in it.
    Join(Index),
}

/// Where the user namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserNamespace {
    #[default]
    Host,
    New {
        uids: Vec<IdRange>,
        gids: Vec<IdRange>,
    },
    /// A descriptor of the namespace.
    Join(Index),
}

/// `count` ids from `container` on are those from `host` on outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub container: u32,
    pub host: u32,
    pub count: u32,
}

/// The root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Root {
    /// A detached mount (`image::Store::snapshot_mount`).
    pub mount: Index,
    pub read_only: bool,
    /// How mounts travel into the container later; only binds that ask for it need another than the default.
    #[serde(default)]
    pub propagation: Propagation,
}

/// Something to be mounted in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute, as the container sees it; walked inside its root. Made if missing.
    pub target: String,
    pub source: MountSource,
    pub flags: MountFlags,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A detached mount of a file or directory: binds, volumes, anything made by the engine.
    Descriptor(Index),
    /// What the container itself has at a path by then, mounts before this one included. Bits to set and to clear: on
    /// the mount itself, and on it with all that is below. With the ids of a user namespace, if one is named, and whether
    /// also below.
    Own {
        path: std::path::PathBuf,
        recursive: bool,
        set: [u64; 2],
        clear: [u64; 2],
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mapped: Option<(Index, bool)>,
    },
    Proc,
    Sysfs,
    Mqueue,
    /// A new instance, with `/dev/ptmx` and `/dev/console` as the container needs them.
    Devpts,
    /// Options of the file system: `("size", "65536k")`.
    Tmpfs(Vec<(String, String)>),
    /// Any other file system of the kernel.
    Filesystem {
        kind: String,
        /// With a value, or without.
        options: Vec<(String, Option<String>)>,
    },
    /// What is mounted there already, with other attributes (bits to set and to clear).
    Remount {
        set: u64,
        clear: u64,
    },
    /// The container's own cgroups, whatever version the host has.
    Cgroup,
}

impl MountSource {
    /// Whether it shows neither the network namespace nor the cgroups of whoever mounts it.
    pub(crate) fn is_anywhere_the_same(&self) -> bool {
        match self {
            Self::Sysfs | Self::Cgroup => false,
            Self::Filesystem { kind, .. } => ["devpts", "mqueue", "proc", "tmpfs"].contains(&kind.as_str()),
            _ => true,
        }
    }
}

/// Flags of one mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MountFlags {
    pub read_only: bool,
    /// `read_only` also for what is mounted below.
    pub recursive: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub strict_atime: bool,
    pub noatime: bool,
    pub nodiratime: bool,
    pub nosymfollow: bool,
    /// Of a new tmpfs: it begins with what was at its place.
    pub copy_up: bool,
    /// How mounts below it travel, when it is not to be private.
    pub travel: Option<Travel>,
}

impl MountFlags {
    /// None of them.
    pub const NONE: Self = Self {
        read_only: false,
        recursive: false,
        nosuid: false,
        nodev: false,
        noexec: false,
        strict_atime: false,
        noatime: false,
        nodiratime: false,
        nosymfollow: false,
        copy_up: false,
        travel: None,
    };
}

/// How mounts below a mount travel between its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Travel {
    pub how: TravelKind,
    pub recursive: bool,
}

/// See `mount_namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TravelKind {
    Private,
    Slave,
    Shared,
    Unbindable,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// In the container.
    pub path: String,
    /// On the host; used instead of a new node where the kernel allows none (user namespaces).
    pub host: String,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The kinds of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    Block,
    Character,
    /// A pipe with a name, which has no numbers.
    Fifo,
}

/// The cgroup directories that the process joins, one for each hierarchy (`cgroup::Cgroup::join_plan`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CgroupJoin {
    /// In the v2 tree, if there is one.
    pub unified: Option<PathBuf>,
    /// In v1 hierarchies: the name of the mount (`cpu,cpuacct`) and the directory.
    pub hierarchies: Vec<(String, PathBuf)>,
}

/// A limit of `setrlimit(2)`; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    pub resource: RlimitResource,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// What `setrlimit(2)` limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RlimitResource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

const RLIMIT_NAMES: [(&str, RlimitResource); 16] = [
    ("as", RlimitResource::As),
    ("core", RlimitResource::Core),
    ("cpu", RlimitResource::Cpu),
    ("data", RlimitResource::Data),
    ("fsize", RlimitResource::Fsize),
    ("locks", RlimitResource::Locks),
    ("memlock", RlimitResource::Memlock),
    ("msgqueue", RlimitResource::Msgqueue),
    ("nice", RlimitResource::Nice),
    ("nofile", RlimitResource::Nofile),
    ("nproc", RlimitResource::Nproc),
    ("rss", RlimitResource::Rss),
    ("rtprio", RlimitResource::Rtprio),
    ("rttime", RlimitResource::Rttime),
    ("sigpending", RlimitResource::Sigpending),
    ("stack", RlimitResource::Stack),
];

impl RlimitResource {
    /// The one of this name: `nofile`.
    pub fn by_name(name: &str) -> Option<Self> {
        RLIMIT_NAMES.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
    }
}

impl TryFrom<&Ulimit> for Rlimit {
    type Error = InvalidUlimit;

    fn try_from(ulimit: &Ulimit) -> Result<Self, InvalidUlimit> {
        let found = RlimitResource::by_name(&ulimit.name);
        let resource = found.ok_or_else(|| InvalidUlimit { name: ulimit.name.clone() })?;
        // Minus one, and any other negative number, is "unlimited".
        Ok(Self { resource, soft: ulimit.soft.try_into().ok(), hard: ulimit.hard.try_into().ok() })
    }
}

/// A `--ulimit` that Linux does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid ulimit type: {name}")]
pub struct InvalidUlimit {
    name: String,
}

const KERNEL_DATA: MountFlags = MountFlags { nosuid: true, nodev: true, noexec: true, ..MountFlags::NONE };

/// What every container has mounted, in Docker's order. `privileged` leaves `/sys` and the cgroups writable.
pub fn default_mounts(shm_size_bytes: u64, privileged: bool) -> Vec<Mount> {
    let data = MountFlags { read_only: !privileged, ..KERNEL_DATA };
    let dev = MountFlags { nosuid: true, strict_atime: true, ..MountFlags::default() };
    let pts = MountFlags { nosuid: true, noexec: true, ..MountFlags::default() };
    let shm = [("source", "shm".to_owned()), ("mode", "1777".to_owned()), ("size", shm_size_bytes.to_string())];
    vec![
        mount("/proc", MountSource::Proc, KERNEL_DATA),
        mount("/dev", tmpfs([("mode", "755".to_owned()), ("size", "65536k".to_owned())]), dev),
        mount("/dev/pts", MountSource::Devpts, pts),
        mount("/sys", MountSource::Sysfs, data),
        mount("/sys/fs/cgroup", MountSource::Cgroup, data),
        mount("/dev/mqueue", MountSource::Mqueue, KERNEL_DATA),
        mount("/dev/shm", tmpfs(shm), KERNEL_DATA),
    ]
}

fn mount(target: &str, source: MountSource, flags: MountFlags) -> Mount {
    Mount { target: target.to_owned(), source, flags }
}

fn tmpfs<const N: usize>(options: [(&str, String); N]) -> MountSource {
    MountSource::Tmpfs(options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Docker's order: the defaults, less those that a person replaced (all of `/dev` when `/dev` itself is replaced), then
/// what was asked for, by depth of the target; equals keep their order.
pub fn arrange_mounts(defaults: Vec<Mount>, mut asked: Vec<Mount>) -> Vec<Mount> {
    let replaced = |target: &str| {
        asked.iter().any(|mount| mount.target == target || (mount.target == "/dev" && target.starts_with("/dev/")))
    };
    let mut mounts: Vec<Mount> = defaults.into_iter().filter(|mount| !replaced(&mount.target)).collect();
    asked.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
    mounts.append(&mut asked);
    mounts
}

/// The device nodes that every container has (console and ptmx come with the terminal).
pub fn default_devices() -> Vec<Device> {
    let node = |name: &str, major, minor| Device {
        path: format!("/dev/{name}"),
        host: format!("/dev/{name}"),
        kind: DeviceKind::Character,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    vec![
        node("null", 1, 3),
        node("zero", 1, 5),
        node("full", 1, 7),
        node("random", 1, 8),
        node("urandom", 1, 9),
        node("tty", 5, 0),
    ]
}

/// What is hidden from a container that is not privileged.
pub fn default_masked_paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend_from_slice(thermal_throttle());
    paths
}

// One per processor, where the hardware has it (GHSA-6fw5-f8r9-fgfm). Processors do not come while a host runs.
fn thermal_throttle() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        // `0-7`: a list of ranges whose last number is the highest.
        let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
        let last = possible.trim().rsplit(['-', ',']).next().and_then(|number| number.parse::<u32>().ok());
        let path = |number: u32| format!("/sys/devices/system/cpu/cpu{number}/thermal_throttle");
        (0..=last.unwrap_or(0)).map(path).filter(|path| Path::new(path).exists()).collect()
    })
}

/// What a container that is not privileged can read and not write.
pub fn default_readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(mounts: &[Mount]) -> String {
        mounts.iter().map(|mount| mount.target.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn asked(targets: &[&str]) -> Vec<Mount> {
        targets.iter().map(|target| mount(target, MountSource::Descriptor(0), MountFlags::default())).collect()
    }

    #[test]
    fn what_a_person_mounts_replaces_a_default_and_comes_by_depth() {
        let mounts = arrange_mounts(default_mounts(1, false), asked(&["/data/deep", "/dev/shm", "/data"]));
        assert_eq!(targets(&mounts), "/proc /dev /dev/pts /sys /sys/fs/cgroup /dev/mqueue /data /data/deep /dev/shm");
        let mounts = arrange_mounts(default_mounts(1, false), asked(&["/dev"]));
        assert_eq!(targets(&mounts), "/proc /sys /sys/fs/cgroup /dev");
    }

    #[test]
    fn a_ulimit_below_zero_is_unlimited_and_an_unknown_one_an_error() {
        let ulimit = |name: &str, soft| Ulimit { name: name.to_owned(), soft, hard: -1 };
        let rlimit = Rlimit::try_from(&ulimit("nofile", 64)).unwrap();
        assert_eq!((rlimit.resource, rlimit.soft, rlimit.hard), (RlimitResource::Nofile, Some(64), None));
        assert_eq!(Rlimit::try_from(&ulimit("x", 1)).unwrap_err().to_string(), "invalid ulimit type: x");
    }
}
