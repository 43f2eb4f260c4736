//! The daemon's flags: dockerd's own names.
//!
//! Those that mean nothing here are taken with a remark in the log, so that unit files written for
//! dockerd go on working; those whose absence would change what a person relies on are refused.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use hako_base::telemetry::LogFormat;
use hako_engine::{RuntimeProgram, Runtimes};
use hako_network::address::PoolRange;
use hako_registry::client::{Proxies, Settings};
use ipnet::IpNet;

/// hako's engine: containers, images, networks, volumes and Docker's API
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "hako daemon",
    bin_name = "hako daemon",
    version,
    disable_help_subcommand = true,
    args_override_self = true
)]
pub(crate) struct DaemonFlags {
    /// Directory of images, containers and volumes
    #[arg(long, default_value = "/var/lib/hako", alias = "graph")]
    pub(crate) data_root: PathBuf,
    /// Directory of sockets and of what only matters until the host restarts
    #[arg(long, default_value = "/run/hako")]
    pub(crate) exec_root: PathBuf,
    /// Socket to listen on: unix://PATH, tcp://ADDRESS:PORT or fd:// (repeatable)
    #[arg(short = 'H', long = "host", value_name = "SOCKET")]
    pub(crate) hosts: Vec<String>,
    /// Offer Docker's own socket too: auto (when nobody else has it), off, or a path
    #[arg(long, default_value = "auto", value_name = "auto|off|PATH")]
    pub(crate) docker_socket: String,
    /// Group that may use the unix sockets
    #[arg(short = 'G', long, default_value = "docker")]
    pub(crate) group: String,
    /// Configuration file
    #[arg(long, default_value = "/etc/hako/daemon.json")]
    pub(crate) config_file: PathBuf,
    /// Check the configuration and exit
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) validate: bool,
    /// File to write the daemon's process id to
    #[arg(short = 'p', long)]
    pub(crate) pidfile: Option<PathBuf>,
    /// Log everything
    #[arg(short = 'D', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) debug: bool,
    /// Level of the daemon's log: debug, info, warn, error, fatal
    #[arg(short = 'l', long, default_value = "info")]
    pub(crate) log_level: String,
    /// How the daemon's log is written: text, or json with one object a line
    #[arg(long, default_value = "text", value_name = "text|json")]
    pub(crate) log_format: LogFormat,
    /// Serve the engine's figures to Prometheus here, as http://ADDRESS:PORT/metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// Use TLS on TCP sockets; --tls=false means that anybody who reaches them may use them
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) tls: Option<bool>,
    /// Use TLS, and let in only clients with a certificate of --tlscacert
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) tlsverify: bool,
    /// Certificates of the authorities that clients' certificates must be of
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscacert: Option<PathBuf>,
    /// The daemon's certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) tlskey: Option<PathBuf>,
    /// Name of the default bridge, or none
    #[arg(short = 'b', long, default_value = "")]
    pub(crate) bridge: String,
    /// Address of the default bridge with its prefix length
    #[arg(long)]
    pub(crate) bip: Option<IpNet>,
    /// Range that subnets are taken from when none is named: base=SUBNET,size=BITS (repeatable)
    #[arg(long = "default-address-pool", value_name = "base=SUBNET,size=BITS")]
    pub(crate) default_address_pools: Vec<PoolRange>,
    /// Give the default bridge IPv6 addresses
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) ipv6: bool,
    /// MTU of the default bridge
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
    /// Let containers of the default bridge talk to each other
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) icc: bool,
    /// Let containers reach the outside with the host's address
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) ip_masq: bool,
    /// Switch on forwarding in the kernel
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) ip_forward: bool,
    /// Keep a firewall table
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) iptables: bool,
    /// Publish ports to everyone, whatever the host's own input rules say
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) publish_past_firewall: bool,
    /// Address that ports are published on when none is named
    #[arg(long)]
    pub(crate) ip: Option<IpAddr>,
    /// Name server for containers (repeatable)
    #[arg(long)]
    pub(crate) dns: Vec<IpAddr>,
    /// Resolver option for containers (repeatable)
    #[arg(long = "dns-opt")]
    pub(crate) dns_options: Vec<String>,
    /// Search domain for containers (repeatable)
    #[arg(long)]
    pub(crate) dns_search: Vec<String>,
    /// Default log driver
    #[arg(long, default_value = "json-file")]
    pub(crate) log_driver: String,
    /// Option of the default log driver, KEY=VALUE (repeatable)
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub(crate) log_options: Vec<String>,
    /// cgroup below which every container gets its own
    #[arg(long, default_value = "")]
    pub(crate) cgroup_parent: String,
    /// Default size of /dev/shm
    #[arg(long, default_value = "64M")]
    pub(crate) default_shm_size: String,
    /// Default ulimit, NAME=SOFT[:HARD] (repeatable)
    #[arg(long = "default-ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub(crate) default_ulimits: Vec<String>,
    /// Part of the bridge's subnet (--bip) that containers get addresses from
    #[arg(long, value_name = "SUBNET")]
    pub(crate) fixed_cidr: Option<IpNet>,
    /// IPv6 subnet of the default bridge
    #[arg(long, value_name = "SUBNET")]
    pub(crate) fixed_cidr_v6: Option<IpNet>,
    /// Where the default route of the default bridge's containers leads, if not to the bridge (needs --bip)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) default_gateway: Option<IpAddr>,
    /// The same for IPv6 (needs --fixed-cidr-v6)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) default_gateway_v6: Option<IpAddr>,
    /// What "host-gateway" of --add-host stands for, if not the default bridge's address (repeatable)
    #[arg(long = "host-gateway-ip", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) host_gateways: Vec<IpAddr>,
    /// Option of new networks that do not say otherwise: DRIVER=KEY=VALUE (repeatable)
    #[arg(long = "default-network-opt", value_name = "DRIVER=KEY=VALUE")]
    pub(crate) default_network_options: Vec<String>,
    /// Folder of device descriptions (CDI); the same device in a later one counts (repeatable) [default: /etc/cdi,
    /// /var/run/cdi]
    #[arg(long = "cdi-spec-dir", value_name = "DIRECTORY")]
    pub(crate) cdi_folders: Option<Vec<String>>,
    /// Switch a feature on or off: NAME, NAME=true or NAME=false (repeatable); `cdi` is one
    #[arg(long = "feature", value_name = "NAME[=BOOL]")]
    pub(crate) features: Vec<String>,
    /// Seconds that a container has to end, unless it or the caller says otherwise; negative: as long as it takes
    #[arg(long, default_value_t = 10, allow_negative_numbers = true, value_name = "SECONDS")]
    pub(crate) default_stop_timeout: i64,
    /// cgroup namespace of containers that do not say: private or host
    #[arg(long, default_value = "")]
    pub(crate) default_cgroupns_mode: String,
    /// IPC namespace of containers that do not say: private or shareable
    #[arg(long, default_value = "private")]
    pub(crate) default_ipc_mode: String,
    /// seccomp profile of containers that do not say: builtin, unconfined, or a file
    #[arg(long, default_value = "builtin", value_name = "builtin|unconfined|FILE")]
    pub(crate) seccomp_profile: String,
    /// Oldest version of the API that clients may speak
    #[arg(long, default_value = "", value_name = "VERSION")]
    pub(crate) min_api_version: String,
    /// Run an init in every container
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) init: bool,
    /// Set no-new-privileges for every container
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) no_new_privileges: bool,
    /// Label of this daemon, KEY=VALUE (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Network namespaces prepared ahead: as many starts at once do not wait for one [default: 56]
    #[arg(long, value_name = "COUNT")]
    pub(crate) sandboxes: Option<usize>,
    /// Users of the host that those of containers are: default, USER[:GROUP] or UID[:GID]
    #[arg(long, default_value = "", value_name = "default|USER[:GROUP]")]
    pub(crate) userns_remap: String,
    /// Another runtime that containers may be started with: NAME=PROGRAM (repeatable)
    #[arg(long = "add-runtime", value_name = "NAME=PROGRAM")]
    pub(crate) add_runtimes: Vec<String>,
    /// The same from the file, with arguments.
    #[arg(skip)]
    pub(crate) runtimes: BTreeMap<String, RuntimeProgram>,
    /// Runtime of containers that do not say
    #[arg(long, default_value = "hako", value_name = "NAME")]
    pub(crate) default_runtime: String,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
    #[command(flatten)]
    pub(crate) ignored: IgnoredFlags,
}

/// How registries are spoken to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RegistryFlags {
    /// Registry that may be spoken to without TLS: HOST[:PORT] or ADDRESS/BITS (repeatable)
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    pub(crate) insecure: Vec<String>,
    /// Mirror of Docker Hub that is asked first: http[s]://HOST[:PORT] (repeatable)
    #[arg(long = "registry-mirror", value_name = "ADDRESS")]
    pub(crate) mirrors: Vec<String>,
    /// Layers that come at once
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub(crate) max_concurrent_downloads: usize,
    /// Layers that go at once
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    pub(crate) max_concurrent_uploads: usize,
    /// Times that a download is begun or resumed before it is given up
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    pub(crate) max_download_attempts: usize,
    /// Proxy for what goes without TLS [default: HTTP_PROXY]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http_proxy: Option<String>,
    /// Proxy for what goes by TLS [default: HTTPS_PROXY]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) https_proxy: Option<String>,
    /// Hosts and networks to reach without a proxy [default: NO_PROXY]
    #[arg(long, value_name = "LIST")]
    pub(crate) no_proxy: Option<String>,
}

impl RegistryFlags {
    /// The client's settings; `get` reads the environment.
    pub(crate) fn settings(&self, get: impl Fn(&str) -> Option<String>) -> Settings {
        let environment = Proxies::from_environment(get);
        let chosen = |flag: &Option<String>, variable: String| flag.clone().unwrap_or(variable);
        Settings {
            insecure: self.insecure.clone(),
            mirrors: self.mirrors.iter().map(|mirror| mirror.trim_end_matches('/').to_owned()).collect(),
            certificates: ["/etc/hako/certs.d", "/etc/docker/certs.d"].map(PathBuf::from).to_vec(),
            proxies: Proxies {
                http: chosen(&self.http_proxy, environment.http),
                https: chosen(&self.https_proxy, environment.https),
                none: chosen(&self.no_proxy, environment.none),
            },
            downloads: self.max_concurrent_downloads,
            uploads: self.max_concurrent_uploads,
            attempts: self.max_download_attempts,
            ..Settings::default()
        }
    }
}

/// Flags of dockerd that mean nothing here.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct IgnoredFlags {
    #[arg(long, hide = true)]
    containerd: Option<String>,
    #[arg(long, hide = true)]
    containerd_namespace: Option<String>,
    #[arg(long, hide = true)]
    containerd_plugins_namespace: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    cri_containerd: bool,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    userland_proxy: Option<String>,
    #[arg(long, hide = true)]
    userland_proxy_path: Option<String>,
    #[arg(short = 's', long, hide = true)]
    pub(crate) storage_driver: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    live_restore: bool,
    #[arg(long, hide = true, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    experimental: bool,
    #[arg(long, hide = true)]
    shutdown_timeout: Option<u32>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ip6tables: Option<String>,
    #[arg(long, hide = true)]
    init_path: Option<String>,
    #[arg(long = "storage-opt", hide = true)]
    pub(crate) storage_options: Vec<String>,
    #[arg(long, hide = true)]
    exec_opt: Vec<String>,
    #[arg(long, hide = true)]
    oom_score_adjust: Option<i32>,
    #[arg(long, hide = true, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    raw_logs: bool,
}

impl DaemonFlags {
    /// The runtimes beside our own, however they were named.
    ///
    /// # Errors
    /// One without a name or a program.
    pub(crate) fn other_runtimes(&self) -> Result<Runtimes, String> {
        let mut named = self.runtimes.clone();
        for text in &self.add_runtimes {
            let bad = || format!("--add-runtime {text}: expected NAME=PROGRAM");
            let (name, path) = text.split_once('=').ok_or_else(bad)?;
            let program = RuntimeProgram { path: path.into(), arguments: Vec::new() };
            if named.insert(name.to_owned(), program).is_some() {
                return Err(format!("--add-runtime {text}: runtime {name} is there already"));
            }
        }
        Ok(Runtimes { named, default: self.default_runtime.clone() })
    }

    /// Whether a feature was switched on or off; the last word counts.
    ///
    /// # Errors
    /// A value that is neither.
    pub(crate) fn feature(&self, name: &str) -> Result<Option<bool>, String> {
        let mut found = None;
        for text in &self.features {
            let (own, value) = text.split_once('=').unwrap_or((text, "true"));
            let is_on = match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(format!("--feature {text}: expected NAME=true or NAME=false")),
            };
            if own == name {
                found = Some(is_on);
            }
        }
        Ok(found)
    }

    /// What was switched and is no switch here.
    pub(crate) fn idle_features(&self) -> impl Iterator<Item = String> + '_ {
        let names = self.features.iter().map(|text| text.split_once('=').map_or(text.as_str(), |(name, _)| name));
        names.filter(|name| *name != "cdi").map(|name| format!("features: {name} does nothing here"))
    }

    /// How much is logged, in `tracing`'s words.
    pub(crate) fn level(&self) -> &str {
        match self.log_level.as_str() {
            _ if self.debug => "debug",
            "fatal" => "error",
            level => level,
        }
    }
}

impl IgnoredFlags {
    /// The flags that were given, each with the reason why it does nothing.
    ///
    /// # Errors
    /// A flag whose absence would change what a person relies on.
    pub(crate) fn remarks(&self) -> Result<Vec<String>, String> {
        if let Some(driver) = self.storage_driver.as_deref().filter(|driver| !matches!(*driver, "overlay2" | "overlay"))
        {
            return Err(format!("storage driver {driver:?} is not built; overlay2 is"));
        }
        if let Some(option) = self.storage_options.iter().find(|option| {
            !matches!(option.split_once('='), Some(("overlay2.override_kernel_check", "true" | "false" | "1" | "0")))
        }) {
            return Err(format!("--storage-opt {option}: it is not built"));
        }
        let given = [
            (!self.storage_options.is_empty(), "--storage-opt", "the kernel is not asked for its version"),
            (self.containerd.is_some(), "--containerd", "there is no containerd"),
            (self.containerd_namespace.is_some(), "--containerd-namespace", "there is no containerd"),
            (self.containerd_plugins_namespace.is_some(), "--containerd-plugins-namespace", "there is no containerd"),
            (self.cri_containerd, "--cri-containerd", "there is no containerd"),
            (self.userland_proxy.is_some(), "--userland-proxy", "there are no proxy processes"),
            (self.userland_proxy_path.is_some(), "--userland-proxy-path", "there are no proxy processes"),
            (self.storage_driver.is_some(), "--storage-driver", "overlayfs is the only one"),
            (self.live_restore, "--live-restore", "containers always outlive the daemon"),
            (self.experimental, "--experimental", "there is nothing to switch on"),
            (self.shutdown_timeout.is_some(), "--shutdown-timeout", "containers outlive the daemon"),
            (self.ip6tables.is_some(), "--ip6tables", "both families share one table: see --iptables"),
            (self.init_path.is_some(), "--init-path", "hako is its own init"),
            (!self.exec_opt.is_empty(), "--exec-opt", "cgroups are used directly"),
            (self.oom_score_adjust.is_some(), "--oom-score-adjust", "the service manager sets it"),
            (self.raw_logs, "--raw-logs", "the log is coloured on terminals only"),
        ];
        let given = given.iter().filter(|(given, ..)| *given);
        Ok(given.map(|(_, flag, why)| format!("{flag} does nothing here: {why}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parse(line: &str) -> DaemonFlags {
        DaemonFlags::try_parse_from(line.split_whitespace()).unwrap()
    }

    #[test]
    fn a_unit_file_of_dockerd_is_understood() {
        let flags = parse(
            "dockerd -H fd:// --containerd=/run/containerd/containerd.sock --userland-proxy=false --live-restore",
        );
        assert_eq!(flags.hosts, ["fd://"]);
        assert_eq!(
            flags.ignored.remarks().unwrap(),
            [
                "--containerd does nothing here: there is no containerd",
                "--userland-proxy does nothing here: there are no proxy processes",
                "--live-restore does nothing here: containers always outlive the daemon",
            ]
        );
        assert!(parse("dockerd -s btrfs").ignored.remarks().is_err());
    }

    #[test]
    fn switches_can_be_switched_off() {
        let flags =
            parse("hako --icc=false --iptables=false --ip-masq --debug=false --ipv6 --init=true --live-restore=false");
        assert!(!flags.icc && !flags.iptables && flags.ip_masq && flags.ip_forward);
        assert!(!flags.debug && flags.ipv6 && flags.init && !flags.validate);
        assert_eq!(flags.ignored.remarks().unwrap(), [""; 0]);
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let flags = parse("hako --mtu 1400 --mtu=9000 -H unix:///a -H unix:///b");
        assert_eq!((flags.mtu, flags.hosts.len()), (9000, 2));
    }
}
