//! What the engine's operations take and give: options and answers, in the engine's words.
//!
//! Nothing here knows JSON's spelling of it (that is `api`) nor how it comes about (that is the
//! operation's own file).

pub use crate::view_anatomy::{FileNote, ImageDiffView, LayerCheckView, LayerCostView};

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use bytes::Bytes;
pub use hako_image::Places;
use hako_model::{
    ContainerId, ContainerSpec, ContainerState, Digest, EndpointSpec, ExecId, Filters, ImageConfig, MountKind,
    NetworkId, NetworkSpec, Platform, PortBinding, PortKey, Propagation, Signal,
};
pub use hako_runtime::{
    cgroup::{IoEntry, Stats},
    observe::LinkCounters,
};
use jiff::Timestamp;
use tokio::sync::mpsc;

/// The answer to `create`.
#[derive(Debug, Clone)]
pub struct Created {
    pub id: ContainerId,
    pub warnings: Vec<String>,
}

/// How to stop; `None` means the container's own setting.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopOptions {
    pub signal: Option<Signal>,
    /// Seconds before SIGKILL; negative: never.
    pub timeout_s: Option<i64>,
}

/// How to remove a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

/// A path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathView {
    pub name: String,
    pub size: u64,
    /// Kind and permissions, as in `stat(2)`.
    pub mode: u32,
    pub modified: Timestamp,
    /// Where a link leads in the end; empty for anything else.
    pub link_target: String,
}

/// How an archive is put into a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct ArchiveOptions {
    /// Refuse to put a directory in the place of something else, or the reverse.
    pub keep_kind: bool,
    /// Everything belongs to the container's user, if it has one.
    pub owner_of_user: bool,
}

/// Ports, labels and options of the log to change.
#[derive(Debug, Clone, Default)]
pub struct EditOptions {
    pub publish: BTreeMap<PortKey, Vec<PortBinding>>,
    pub unpublish: Vec<PortChoice>,
    pub labels: BTreeMap<String, String>,
    pub unlabel: Vec<String>,
    /// Of the log: those that say how much is kept.
    pub log_options: BTreeMap<String, String>,
}

/// A published port: all of a container's port, or where it is at one port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortChoice {
    pub container: PortKey,
    /// 0: any.
    pub host: u16,
}

/// Which containers to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    pub all: bool,
    /// The newest so many, whatever their state; 0: no such limit.
    pub limit: usize,
    pub size: bool,
    pub filters: Filters,
}

/// One container of a list.
#[derive(Debug, Clone)]
pub struct ContainerSummary {
    pub id: ContainerId,
    pub name: String,
    /// What containers that are linked to it call it: `web/db`.
    pub link_names: Vec<String>,
    /// The image as typed, or its id when the name went to another image.
    pub image: String,
    pub image_id: Digest,
    pub command: String,
    pub created: Timestamp,
    pub ports: Vec<PortView>,
    pub labels: BTreeMap<String, String>,
    pub state: ContainerState,
    /// `Up 5 minutes (healthy)`, `Exited (0) 2 hours ago`
    pub status: String,
    pub network_mode: String,
    pub annotations: BTreeMap<String, String>,
    pub networks: BTreeMap<String, EndpointView>,
    pub mounts: Vec<MountView>,
    pub size: Option<SizeView>,
}

/// Bytes a container takes.
#[derive(Debug, Clone, Copy)]
pub struct SizeView {
    pub rw: u64,
    pub root_fs: u64,
}

/// One port of a list: published when it has a public side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortView {
    pub address: Option<String>,
    pub private: u16,
    pub public: Option<u16>,
    pub protocol: &'static str,
}

/// A mount as it was carried out.
#[derive(Debug, Clone)]
pub struct MountView {
    pub kind: MountKind,
    /// The volume's name.
    pub name: String,
    pub source: String,
    pub target: String,
    pub driver: String,
    pub mode: String,
    pub writable: bool,
    pub propagation: Option<Propagation>,
}

/// A container's place in one network.
#[derive(Debug, Clone, Default)]
pub struct EndpointView {
    pub spec: EndpointSpec,
    pub network_id: String,
    pub endpoint_id: String,
    pub gateway: Option<Ipv4Addr>,
    pub address: Option<Ipv4Addr>,
    pub prefix: u8,
    pub gateway6: Option<Ipv6Addr>,
    pub address6: Option<Ipv6Addr>,
    pub prefix6: u8,
    pub mac: Option<[u8; 6]>,
    pub dns_names: Vec<String>,
}

/// Everything about one container.
#[derive(Debug, Clone)]
pub struct ContainerView {
    pub id: ContainerId,
    pub name: String,
    pub created: Timestamp,
    pub spec: Arc<ContainerSpec>,
    /// The spec with the image's settings filled in, as `inspect` shows it under `Config`.
    pub config: ImageConfig,
    pub path: String,
    pub args: Vec<String>,
    pub image: Digest,
    pub platform: String,
    pub state: StateView,
    pub restart_count: u32,
    pub mounts: Vec<MountView>,
    pub networks: BTreeMap<String, EndpointView>,
    pub ports: BTreeMap<PortKey, Vec<PortBinding>>,
    pub sandbox_id: String,
    pub sandbox_key: String,
    pub hostname: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub resolv_conf_path: String,
    pub log_path: String,
    pub exec_ids: Vec<ExecId>,
    /// Where its root file system is on the disk.
    pub places: Places,
    pub size: Option<SizeView>,
    pub apparmor_profile: String,
}

/// The state of a container.
#[derive(Debug, Clone)]
pub struct StateView {
    pub status: ContainerState,
    pub pid: u32,
    pub exit_code: i32,
    pub error: String,
    pub oom_killed: bool,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub health: Option<HealthView>,
}

/// How well a container is.
#[derive(Debug, Clone)]
pub struct HealthView {
    /// `starting`, `healthy` or `unhealthy`
    pub status: &'static str,
    pub failing_streak: u32,
    /// The last looks, oldest first.
    pub log: Vec<HealthLook>,
}

/// One look at how well a container is.
#[derive(Debug, Clone)]
pub struct HealthLook {
    pub start: Timestamp,
    pub end: Timestamp,
    pub exit_code: i32,
    pub output: String,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// That it does not run (at once if it does not).
    #[default]
    NotRunning,
    /// The next time it ends.
    NextExit,
    /// That it is gone.
    Removed,
}

/// What `wait` found.
#[derive(Debug, Clone)]
pub struct WaitOutcome {
    pub code: i32,
    pub error: Option<String>,
}

/// Which streams to attach, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttachOptions {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// First what the log holds.
    pub logs: bool,
    /// Then what comes.
    pub stream: bool,
}

/// The stream that some output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// Some output.
#[derive(Debug, Clone)]
pub struct OutputChunk {
    pub stream: OutputStream,
    pub bytes: Bytes,
}

/// A connection to a process: write to `stdin`, read `output` until it ends.
#[derive(Debug)]
pub struct Attachment {
    pub tty: bool,
    pub stdin: Option<crate::stdio::StdinWriter>,
    pub output: mpsc::Receiver<OutputChunk>,
}

/// Which part of a log to read.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub timestamps: bool,
    /// The last so many lines; `None`: all.
    pub tail: Option<usize>,
    /// The attributes chosen by `--log-opt labels/env` before each line.
    pub details: bool,
}

/// A log being read.
#[derive(Debug)]
pub struct LogStream {
    pub tty: bool,
    pub output: mpsc::Receiver<OutputChunk>,
}

/// What `exec` shall run.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub user: String,
    pub working_dir: String,
    pub tty: bool,
    pub privileged: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub detach_keys: String,
    /// Rows, columns.
    pub console_size: Option<(u16, u16)>,
}

/// A process started by `exec`.
#[derive(Debug, Clone)]
pub struct ExecView {
    pub id: ExecId,
    pub container: ContainerId,
    pub spec: ExecSpec,
    pub running: bool,
    pub exit_code: Option<i32>,
    pub pid: u32,
    pub can_remove: bool,
}

/// One published port, and who can reach it.
#[derive(Debug, Clone)]
pub struct ExposureView {
    pub container: PortKey,
    pub host: std::net::SocketAddr,
    /// `everyone`, `some`, `this host` or `unknown`.
    pub reach: &'static str,
    /// The rules and circumstances that decide.
    pub reasons: Vec<String>,
    /// Whether the kernel translates it; otherwise the daemon relays.
    pub translated: bool,
}

/// `top`: one row per process.
#[derive(Debug, Clone)]
pub struct TopView {
    pub titles: Vec<String>,
    pub processes: Vec<Vec<String>>,
}

/// What a container used at one moment, and what there was to use.
#[derive(Debug, Clone)]
pub struct Sample {
    pub at: Timestamp,
    pub usage: Stats,
    /// Processor time of the host, idle time included.
    pub host_cpu_ns: u64,
    pub cpus: u32,
    /// The host's memory.
    pub memory_bytes: u64,
    pub networks: Vec<LinkCounters>,
}

/// A sample, and the one before it to compare with; none of a container that does not run.
#[derive(Debug, Clone)]
pub struct StatsView {
    pub id: ContainerId,
    pub name: String,
    pub before: Option<Arc<Sample>>,
    pub sample: Option<Arc<Sample>>,
}

/// One changed path of a container's file system: `0` changed, `1` added, `2` deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeView {
    pub path: String,
    pub kind: u8,
}

/// What a prune removed.
#[derive(Debug, Clone, Default)]
pub struct PruneView {
    pub removed: Vec<String>,
    pub reclaimed: u64,
}

/// One image, as lists and `inspect` need it.
#[derive(Debug, Clone)]
pub struct ImageView {
    pub id: Digest,
    /// `debian:bookworm`
    pub tags: Vec<String>,
    /// `debian@sha256:…`
    pub digests: Vec<String>,
    pub parent: Option<Digest>,
    pub comment: String,
    pub author: String,
    pub created: Option<Timestamp>,
    pub docker_version: String,
    pub config: ImageConfig,
    pub architecture: String,
    pub variant: String,
    pub os: String,
    pub size: u64,
    pub layers: Vec<Digest>,
    pub last_tagged: Option<Timestamp>,
    /// Where its layers are on the disk.
    pub places: Places,
    /// Bytes of layers that other images have, too.
    pub shared: u64,
    /// How many containers use it.
    pub containers: usize,
}

/// One line of what `rmi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoved {
    Untagged(String),
    Deleted(String),
}

/// Progress of a long operation, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// A layer or step that later lines replace; empty for plain text.
    pub id: String,
    /// What is being done: `Loading layer`. Empty when `stream` says it.
    pub status: String,
    /// Bytes done and all bytes, where known.
    pub current: u64,
    pub total: u64,
    /// Text to print as it is.
    pub stream: String,
    /// What a push left at the registry.
    pub pushed: Option<PushedView>,
}

/// What a push left at the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedView {
    pub tag: String,
    pub digest: String,
    pub size: u64,
}

/// What a registry has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributionView {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub platforms: Vec<Platform>,
}

/// Who answers for us there without giving a password away.
pub use hako_registry::client::{Answer, Answers, Holder, Token, TokenAsk, lifetime};
/// Who we are at a registry, and what was found there.
pub use hako_registry::client::{Credentials, SearchResult};
/// What a web server has at an address.
pub use hako_registry::client::{WebAnswer, WebBody, WebRequest, WebSent};
/// What registries keep beside images.
pub use hako_registry::{ArtifactBlob, Manifest};

/// What `import` makes an image of, besides the tar.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// `repo` and `tag` as typed; empty for an image without a name.
    pub repository: String,
    pub tag: String,
    pub message: String,
    pub changes: Vec<String>,
    pub platform: Option<String>,
}

/// What `commit` makes an image of, besides the container.
#[derive(Debug, Clone)]
pub struct CommitOptions {
    pub repository: String,
    pub tag: String,
    pub comment: String,
    pub author: String,
    pub pause: bool,
    pub changes: Vec<String>,
    /// Replaces the container's configuration where it says something.
    pub config: Option<ImageConfig>,
}

/// One network.
#[derive(Debug, Clone)]
pub struct NetworkView {
    pub id: NetworkId,
    pub created: Timestamp,
    pub spec: NetworkSpec,
    pub containers: BTreeMap<String, (String, EndpointView)>,
}

/// One volume.
#[derive(Debug, Clone)]
pub struct VolumeView {
    pub name: String,
    pub driver: String,
    pub mountpoint: String,
    pub created: Timestamp,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub anonymous: bool,
    /// Bytes and references, where they were asked for.
    pub usage: Option<(u64, usize)>,
}

/// A copy of a volume that is kept beside it.
#[derive(Debug, Clone)]
pub struct SnapshotView {
    pub name: String,
    pub created: Timestamp,
}

/// A copy of a volume that was made.
#[derive(Debug, Clone)]
pub struct CopyView {
    pub name: String,
    pub bytes: u64,
    /// Bytes that both share on the disk.
    pub shared: u64,
}

/// What `volume create` is asked for.
#[derive(Debug, Clone, Default)]
pub struct VolumeOptions {
    pub name: String,
    pub driver: String,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// The host and the engine, for `info`.
#[derive(Debug, Clone)]
pub struct InfoView {
    pub id: String,
    pub containers: usize,
    pub running: usize,
    pub paused: usize,
    pub stopped: usize,
    pub images: usize,
    pub driver_status: Vec<(String, String)>,
    pub data_root: String,
    pub debug: bool,
    pub started: Timestamp,
    pub name: String,
    pub kernel: String,
    pub operating_system: String,
    pub os_version: String,
    pub architecture: String,
    pub cpus: usize,
    pub memory_bytes: u64,
    pub cgroup_version: u8,
    pub cgroup_features: CgroupFeatures,
    pub ipv4_forwarding: bool,
    pub labels: Vec<String>,
    pub security_options: Vec<String>,
    pub file_descriptors: usize,
    pub tasks: usize,
    pub event_listeners: usize,
    pub warnings: Vec<String>,
    pub cdi_folders: Vec<String>,
    /// `vendor.com/class=name`
    pub cdi_devices: Vec<String>,
    pub default_runtime: String,
    /// Beside our own, which has no program.
    pub runtimes: Vec<(String, crate::RuntimeProgram)>,
    pub log_driver: String,
}

/// What is counted for those who watch the engine from outside.
#[derive(Debug, Clone)]
pub struct MetricsView {
    pub running: usize,
    pub paused: usize,
    pub stopped: usize,
    pub cpus: usize,
    pub memory_bytes: u64,
    pub architecture: String,
    pub id: String,
    pub kernel: String,
    pub operating_system: String,
    pub os_version: String,
    pub events: u64,
    pub event_listeners: usize,
    pub checks: u64,
    pub checks_failed: u64,
    /// Of the daemon's process.
    pub own_cpu_s: u64,
    pub own_memory_bytes: u64,
    pub own_descriptors: usize,
    pub started_s: i64,
}

/// Which limits this host's kernel can enforce.
#[derive(Debug, Clone, Copy, Default)]
pub struct CgroupFeatures {
    pub memory: bool,
    pub swap: bool,
    pub oom_kill_disable: bool,
    pub cpu_shares: bool,
    pub cpu_quota: bool,
    pub cpuset: bool,
    pub pids: bool,
}

/// What takes room on the disk.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    pub layers_bytes: u64,
    pub images: Vec<ImageView>,
    pub containers: Vec<ContainerSummary>,
    pub volumes: Vec<VolumeView>,
}
