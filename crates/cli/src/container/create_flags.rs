//! The flags that describe a new container: those that `run` and `create` share, by subject.
//!
//! Each value is checked where it stands (`parse`); what the flags say together is judged in
//! `create_body`, which turns them into the request.

use crate::{
    config::default_platform,
    flag::{Bytes, Cpus, FlagSet, GoDuration, KeyValue},
    parse::{
        device::{BytesPerSecond, CgroupRule, OperationsPerSecond, WeightDevice},
        gpu::GpuRequest,
        limit::{SwapBytes, Sysctl, Ulimits},
        mount::Mount,
        name::{DnsSearch, DnsServer, ExtraHost, Label, Link, Stream, Variable},
        network::Attachment,
    },
};

/// All that describes a new container.
#[derive(Default)]
pub(crate) struct CreateFlags {
    pub identity: Identity,
    pub process: Process,
    pub health: Health,
    pub cpu: Cpu,
    pub memory: Memory,
    pub block_io: BlockIo,
    pub network: NetworkFlags,
    pub storage: Storage,
    pub security: Security,
}

impl CreateFlags {
    /// Binds all of them.
    pub(crate) fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        self.identity.bind(set);
        self.process.bind(set);
        self.health.bind(set);
        self.cpu.bind(set);
        self.memory.bind(set);
        self.block_io.bind(set);
        self.network.bind(set);
        self.storage.bind(set);
        self.security.bind(set);
    }
}

/// What the container is called and how the daemon keeps it.
pub(crate) struct Identity {
    pub name: String,
    pub labels: Vec<Label>,
    pub label_files: Vec<String>,
    pub annotations: Vec<KeyValue>,
    pub cidfile: String,
    pub platform: Option<String>,
    pub pull: String,
    pub quiet: bool,
    pub remove: bool,
    pub restart: String,
    pub runtime: String,
    pub isolation: String,
    pub log_driver: String,
    pub log_options: Vec<String>,
    pub trust_disabled: bool,
    pub use_api_socket: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            name: String::new(),
            labels: Vec::new(),
            label_files: Vec::new(),
            annotations: Vec::new(),
            cidfile: String::new(),
            platform: default_platform(),
            pull: "missing".to_owned(),
            quiet: false,
            remove: false,
            restart: "no".to_owned(),
            runtime: String::new(),
            isolation: String::new(),
            log_driver: String::new(),
            log_options: Vec::new(),
            trust_disabled: true,
            use_api_socket: false,
        }
    }
}

impl Identity {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.name, "--name", "Name of the container");
        set.add(&mut self.labels, "-l, --label", "Label (name=value)");
        set.add(&mut self.label_files, "--label-file", "File of labels, one a line");
        set.add(&mut self.annotations, "--annotation", "Note for the runtime (name=value)");
        set.add(&mut self.cidfile, "--cidfile", "File to write the container's id to");
        set.add(&mut self.platform, "--platform", "Platform of the image (os/architecture)");
        set.add(&mut self.pull, "--pull", "When to pull the image: always, missing or never (default \"missing\")");
        set.add(&mut self.quiet, "-q, --quiet", "Say nothing while pulling");
        set.add(&mut self.remove, "--rm", "Remove the container and its unnamed volumes when it ends");
        set.add(
            &mut self.restart,
            "--restart",
            "When to start it again: no, on-failure[:MAX], always or unless-stopped (default \"no\")",
        );
        set.add(&mut self.runtime, "--runtime", "Runtime to start it with");
        set.add(&mut self.isolation, "--isolation", "Kind of isolation");
        set.add(&mut self.log_driver, "--log-driver", "Where its output goes");
        set.add(&mut self.log_options, "--log-opt", "Option of the log driver (name=value)");
        set.add(&mut self.trust_disabled, "--disable-content-trust", "Accepted, without effect").hide();
        set.add(&mut self.use_api_socket, "--use-api-socket", "Give it the daemon's socket");
    }
}

/// What runs in it, as whom, and how it is connected.
#[derive(Clone, Default)]
pub(crate) struct Process {
    pub attach: Vec<Stream>,
    pub interactive: bool,
    pub tty: bool,
    pub environment: Vec<Variable>,
    pub environment_files: Vec<String>,
    pub entrypoint: Option<String>,
    pub user: String,
    pub groups: Vec<String>,
    pub workdir: String,
    pub init: Option<bool>,
    pub stop_signal: String,
    pub stop_timeout: Option<i64>,
}

impl Process {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.attach, "-a, --attach", "Attach to STDIN, STDOUT or STDERR");
        set.add(&mut self.interactive, "-i, --interactive", "Keep standard input open");
        set.add(&mut self.tty, "-t, --tty", "Give it a terminal");
        set.add(&mut self.environment, "-e, --env", "Variable (NAME=value, or NAME to pass it on)");
        set.add(&mut self.environment_files, "--env-file", "File of variables, one a line");
        set.add(&mut self.entrypoint, "--entrypoint", "Program to run instead of the image's entrypoint");
        set.add(&mut self.user, "-u, --user", "User to run as (user[:group], by name or number)");
        set.add(&mut self.groups, "--group-add", "Further group of that user");
        set.add(&mut self.workdir, "-w, --workdir", "Working directory");
        set.add(&mut self.init, "--init", "Run a small init that forwards signals and reaps processes");
        set.add(&mut self.stop_signal, "--stop-signal", "Signal that asks it to end");
        set.add(&mut self.stop_timeout, "--stop-timeout", "Seconds it may take to end before it is killed");
    }
}

/// How its health is judged.
#[derive(Default)]
pub(crate) struct Health {
    pub command: String,
    pub http: String,
    pub tcp: String,
    pub restart: bool,
    pub interval: Option<GoDuration>,
    pub timeout: Option<GoDuration>,
    pub start_period: Option<GoDuration>,
    pub start_interval: Option<GoDuration>,
    pub retries: i64,
    pub none: bool,
}

impl Health {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.command, "--health-cmd", "Shell command that checks its health");
        set.add(&mut self.http, "--health-http", "URL or :PORT/PATH in it that must answer (needs hako as the daemon)");
        set.add(&mut self.tcp, "--health-tcp", "[ADDRESS]:PORT in it that must accept (needs hako as the daemon)");
        set.add(
            &mut self.restart,
            "--restart-unhealthy",
            "Start it again when it is unhealthy (needs hako as the daemon)",
        );
        set.add(&mut self.interval, "--health-interval", "Time between checks");
        set.add(&mut self.timeout, "--health-timeout", "Longest time a check may take");
        set.add(&mut self.start_period, "--health-start-period", "Time to start up before failed checks count");
        set.add(&mut self.start_interval, "--health-start-interval", "Time between checks while it starts up");
        set.add(&mut self.retries, "--health-retries", "Failed checks in a row that make it unhealthy");
        set.add(&mut self.none, "--no-healthcheck", "Ignore the image's health check");
    }
}

/// Processor time.
#[derive(Default)]
pub(crate) struct Cpu {
    pub shares: i64,
    pub cpus: Cpus,
    pub period: i64,
    pub quota: i64,
    pub rt_period: i64,
    pub rt_runtime: i64,
    pub set_cpus: String,
    pub set_mems: String,
    pub count: i64,
    pub percent: i64,
}

impl Cpu {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.shares, "-c, --cpu-shares", "Share of processor time, relative to others");
        set.add(&mut self.cpus, "--cpus", "Number of processors");
        set.add(&mut self.period, "--cpu-period", "Length of a scheduling period in microseconds");
        set.add(&mut self.quota, "--cpu-quota", "Microseconds of processor time in a period");
        set.add(&mut self.rt_period, "--cpu-rt-period", "Length of a real-time period in microseconds");
        set.add(&mut self.rt_runtime, "--cpu-rt-runtime", "Microseconds of real-time in a period");
        set.add(&mut self.set_cpus, "--cpuset-cpus", "Processors it may run on (0-3, 0,1)");
        set.add(&mut self.set_mems, "--cpuset-mems", "Memory nodes it may use (0-3, 0,1)");
        set.add(&mut self.count, "--cpu-count", "Number of processors (Windows only)").hide();
        set.add(&mut self.percent, "--cpu-percent", "Percentage of processors (Windows only)").hide();
    }
}

/// Memory, processes and other limits.
pub(crate) struct Memory {
    pub limit: Bytes,
    pub reservation: Bytes,
    pub swap: Option<SwapBytes>,
    pub swappiness: i64,
    pub kernel: Bytes,
    pub shm: Bytes,
    pub oom_kill_disable: bool,
    pub oom_score: i64,
    pub pids: i64,
    pub ulimits: Ulimits,
    pub cgroup_parent: String,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            limit: Bytes(0),
            reservation: Bytes(0),
            swap: None,
            swappiness: -1,
            kernel: Bytes(0),
            shm: Bytes(0),
            oom_kill_disable: false,
            oom_score: 0,
            pids: 0,
            ulimits: Ulimits::default(),
            cgroup_parent: String::new(),
        }
    }
}

impl Memory {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.limit, "-m, --memory", "Memory it may use at most");
        set.add(&mut self.reservation, "--memory-reservation", "Memory to shrink it to when the host runs short");
        set.add(&mut self.swap, "--memory-swap", "Memory and swap together at most; -1 for no limit");
        set.add(&mut self.swappiness, "--memory-swappiness", "Readiness to swap, 0 to 100 (default -1)");
        set.add(&mut self.kernel, "--kernel-memory", "Accepted, without effect").hide();
        set.add(&mut self.shm, "--shm-size", "Size of /dev/shm");
        set.add(&mut self.oom_kill_disable, "--oom-kill-disable", "Let it wait rather than be killed without memory");
        set.add(&mut self.oom_score, "--oom-score-adj", "Readiness to be killed first, -1000 to 1000");
        set.add(&mut self.pids, "--pids-limit", "Number of processes; -1 for no limit");
        set.add(&mut self.ulimits, "--ulimit", "Limit of its processes (name=soft[:hard])");
        set.add(&mut self.cgroup_parent, "--cgroup-parent", "Control group above its own");
    }
}

/// Block devices' time.
#[derive(Default)]
pub(crate) struct BlockIo {
    pub weight: u16,
    pub weight_devices: Vec<WeightDevice>,
    pub read_bytes: Vec<BytesPerSecond>,
    pub write_bytes: Vec<BytesPerSecond>,
    pub read_operations: Vec<OperationsPerSecond>,
    pub write_operations: Vec<OperationsPerSecond>,
    pub windows_bandwidth: Bytes,
    pub windows_operations: u64,
}

impl BlockIo {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.weight, "--blkio-weight", "Share of block I/O, 10 to 1000, or 0 for none");
        set.add(&mut self.weight_devices, "--blkio-weight-device", "Share of one device (path:weight)");
        set.add(&mut self.read_bytes, "--device-read-bps", "Bytes a second read from a device (path:rate)");
        set.add(&mut self.write_bytes, "--device-write-bps", "Bytes a second written to a device (path:rate)");
        set.add(&mut self.read_operations, "--device-read-iops", "Reads a second from a device (path:rate)");
        set.add(&mut self.write_operations, "--device-write-iops", "Writes a second to a device (path:rate)");
        set.add(&mut self.windows_bandwidth, "--io-maxbandwidth", "Bandwidth of the system drive (Windows only)")
            .hide();
        set.add(&mut self.windows_operations, "--io-maxiops", "Operations of the system drive (Windows only)").hide();
    }
}

/// Its place in networks.
#[derive(Default)]
pub(crate) struct NetworkFlags {
    pub networks: Vec<Attachment>,
    pub aliases: Vec<String>,
    pub links: Vec<Link>,
    pub ipv4: String,
    pub ipv6: String,
    pub link_local: Vec<String>,
    pub mac_address: String,
    pub publish: Vec<String>,
    pub publish_all: bool,
    pub expose: Vec<String>,
    pub hostname: String,
    pub domainname: String,
    pub extra_hosts: Vec<ExtraHost>,
    pub dns: Vec<DnsServer>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<DnsSearch>,
}

impl NetworkFlags {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.networks, "--network", "Network to join, or its name with options");
        set.add(&mut self.aliases, "--network-alias", "Further name in the first network");
        set.add(&mut self.links, "--link", "Container to reach by name (container[:alias])");
        set.add(&mut self.ipv4, "--ip", "IPv4 address in the first network");
        set.add(&mut self.ipv6, "--ip6", "IPv6 address in the first network");
        set.add(&mut self.link_local, "--link-local-ip", "Link-local address");
        set.add(&mut self.mac_address, "--mac-address", "Hardware address (92:d0:c6:0a:29:33)");
        set.add(&mut self.publish, "-p, --publish", "Port to open on the host ([[ip:]host:]container[/protocol])");
        set.add(&mut self.publish_all, "-P, --publish-all", "Open every exposed port on the host");
        set.add(&mut self.expose, "--expose", "Port or range that it listens on");
        set.add(&mut self.hostname, "-h, --hostname", "Host name");
        set.add(&mut self.domainname, "--domainname", "NIS domain name");
        set.add(&mut self.extra_hosts, "--add-host", "Line for /etc/hosts (name:address)");
        set.add(&mut self.dns, "--dns", "DNS server");
        set.add(&mut self.dns_options, "--dns-option", "DNS option");
        set.add(&mut self.dns_search, "--dns-search", "DNS search domain");
        set.also("net", "network");
        set.also("net-alias", "network-alias");
        set.also("dns-opt", "dns-option");
    }
}

/// What is mounted and which devices it has.
#[derive(Default)]
pub(crate) struct Storage {
    pub volumes: Vec<String>,
    pub mounts: Vec<Mount>,
    pub tmpfs: Vec<String>,
    pub volumes_from: Vec<String>,
    pub volume_driver: String,
    pub read_only: bool,
    pub options: Vec<String>,
    pub devices: Vec<String>,
    pub device_rules: Vec<CgroupRule>,
    pub gpus: Vec<GpuRequest>,
}

impl Storage {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.volumes, "-v, --volume", "Volume or directory to mount ([source:]target[:options])");
        set.add(&mut self.mounts, "--mount", "File system to mount (type=…,src=…,dst=…)");
        set.add(&mut self.tmpfs, "--tmpfs", "Directory in memory (target[:options])");
        set.add(&mut self.volumes_from, "--volumes-from", "Container whose volumes to mount as well");
        set.add(&mut self.volume_driver, "--volume-driver", "Driver for new volumes");
        set.add(&mut self.read_only, "--read-only", "Mount the root file system read-only");
        set.add(&mut self.options, "--storage-opt", "Option of the storage driver (name=value)");
        set.add(&mut self.devices, "--device", "Device of the host (host[:container[:rwm]])");
        set.add(&mut self.device_rules, "--device-cgroup-rule", "Rule for devices it may use");
        set.add(&mut self.gpus, "--gpus", "GPUs to give it ('all' for all)");
    }
}

/// What it may do, and which namespaces it shares.
#[derive(Default)]
pub(crate) struct Security {
    pub privileged: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub options: Vec<String>,
    pub sysctls: Vec<Sysctl>,
    pub ipc: String,
    pub pid: String,
    pub uts: String,
    pub userns: String,
    pub cgroupns: String,
}

impl Security {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.privileged, "--privileged", "Give it nearly all rights of the host's root");
        set.add(&mut self.cap_add, "--cap-add", "Capability to add");
        set.add(&mut self.cap_drop, "--cap-drop", "Capability to drop");
        set.add(&mut self.options, "--security-opt", "Security option (name=value)");
        set.add(&mut self.sysctls, "--sysctl", "Kernel setting of its namespaces (name=value)");
        set.add(&mut self.ipc, "--ipc", "IPC namespace: private, shareable, host or container:NAME");
        set.add(&mut self.pid, "--pid", "PID namespace: host or container:NAME");
        set.add(&mut self.uts, "--uts", "UTS namespace: host");
        set.add(&mut self.userns, "--userns", "User namespace: host, private or auto[:size=COUNT]");
        set.add(&mut self.cgroupns, "--cgroupns", "Control group namespace: host or private");
    }
}
