//! What the daemon's flags and configuration file tell the engine. Reading them is `hako`'s work.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use hako_model::Ulimit;
use hako_network::address::PoolRange;
use hako_runtime::plan::Rlimit;
use ipnet::IpNet;

use crate::{EngineError, IdMap, Runtimes, limits, log::LogPlan};

/// The least that IPv4 links must carry (RFC 791), and the most that the kernel lets a bridge have.
const MTU_MIN: u32 = 68;
const MTU_MAX: u32 = 65_535;

/// The engine's settings.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Images, containers, volumes: what is to stay.
    pub data_root: PathBuf,
    /// Sockets and what only matters until the host is restarted.
    pub exec_root: PathBuf,
    /// The cgroup below which every container gets its own; empty: one named after the instance.
    pub cgroup_parent: String,
    /// The command that starts a keeper: program and first arguments.
    pub keeper: (PathBuf, Vec<String>),
    /// The program that is put into containers as their first process for `--init`.
    pub program: PathBuf,
    /// A bridge that is there and is the default one; empty: one of our own, named after the instance.
    pub bridge: String,
    /// Address of the default bridge with its prefix length (`--bip`).
    pub bridge_address: Option<IpNet>,
    /// Where subnets come from that nobody names (`--default-address-pool`); empty: Docker's, and more.
    pub address_pools: Vec<PoolRange>,
    /// The part of the bridge's subnet that containers get addresses from (`--fixed-cidr`); all of it without `--bip`.
    pub bridge_range: Option<IpNet>,
    /// The default bridge's IPv6 subnet (`--fixed-cidr-v6`); `None`: one of the pools'.
    pub bridge_subnet_ipv6: Option<IpNet>,
    /// Where the default routes of the default bridge's containers lead (`--default-gateway`, `--default-gateway-v6`);
    /// `None`: to the bridge.
    pub bridge_gateway: Option<IpAddr>,
    pub bridge_gateway_ipv6: Option<IpAddr>,
    /// What `host-gateway` stands for (`--host-gateway-ip`); empty: the default bridge's address.
    pub host_gateways: Vec<IpAddr>,
    /// Options of new networks that do not say otherwise, by driver (`--default-network-opt`).
    pub network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// Where device descriptions lie (`--cdi-spec-dir`).
    pub cdi_folders: Vec<PathBuf>,
    /// How long a stop waits before SIGKILL, where neither container nor caller says (`--default-stop-timeout`).
    pub stop_timeout_s: i64,
    /// `private` or `host`, where a container does not say (`--default-cgroupns-mode`); empty: as the kernel suggests.
    pub cgroupns_mode: String,
    /// `private` or `shareable`, where a container does not say (`--default-ipc-mode`).
    pub ipc_mode: String,
    /// `--seccomp-profile`: `unconfined`, or the text of a profile; `None`: the one that is built in.
    pub seccomp: Option<String>,
    /// `--bridge none`: there is no default bridge.
    pub bridge_disabled: bool,
    pub ipv6: bool,
    pub mtu: u32,
    pub icc: bool,
    pub masquerade: bool,
    pub ip_forward: bool,
    /// `--iptables=false`: no firewall rule is written.
    pub firewall: bool,
    /// Published ports are open to everyone, whatever the host's input rules say; as Docker's are.
    pub publish_past_firewall: bool,
    /// Address that ports are published on when none is named (`--ip`).
    pub publish_address: Option<IpAddr>,
    pub dns: Vec<IpAddr>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
    pub shm_bytes: u64,
    pub ulimits: Vec<Ulimit>,
    pub init: bool,
    pub no_new_privileges: bool,
    pub labels: Vec<String>,
    pub debug: bool,
    /// Network namespaces prepared ahead; 0: none.
    pub sandboxes: usize,
    /// Which users of the host those of containers are, where a container does not say (`--userns-remap`).
    pub userns_remap: Option<IdMap>,
    /// Other runtimes that containers may be started with.
    pub runtimes: Runtimes,
    /// How registries are spoken to.
    pub registry: hako_registry::client::Settings,
}

/// The settings that a running daemon takes anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloadable {
    pub debug: bool,
    pub labels: Vec<String>,
    pub runtimes: Runtimes,
}

impl EngineConfig {
    /// The part of it that can change while the daemon runs.
    pub fn reloadable(&self) -> Reloadable {
        Reloadable { debug: self.debug, labels: self.labels.clone(), runtimes: self.runtimes.clone() }
    }

    /// Docker's defaults with these two roots.
    pub fn new(data_root: PathBuf, exec_root: PathBuf) -> Self {
        Self {
            data_root,
            exec_root,
            cgroup_parent: String::new(),
            keeper: (PathBuf::from("/proc/self/exe"), vec!["keeper".to_owned()]),
            program: PathBuf::from("/proc/self/exe"),
            bridge: String::new(),
            bridge_address: None,
            address_pools: Vec::new(),
            bridge_range: None,
            bridge_subnet_ipv6: None,
            bridge_gateway: None,
            bridge_gateway_ipv6: None,
            host_gateways: Vec::new(),
            network_options: BTreeMap::new(),
            cdi_folders: ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).to_vec(),
            stop_timeout_s: limits::STOP_TIMEOUT_S,
            cgroupns_mode: String::new(),
            ipc_mode: "private".to_owned(),
            seccomp: None,
            bridge_disabled: false,
            ipv6: false,
            mtu: 1500,
            icc: true,
            masquerade: true,
            ip_forward: true,
            firewall: true,
            publish_past_firewall: false,
            publish_address: None,
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            log_driver: "json-file".to_owned(),
            log_options: BTreeMap::new(),
            shm_bytes: limits::SHM_BYTES,
            ulimits: Vec::new(),
            init: false,
            no_new_privileges: false,
            labels: Vec::new(),
            debug: false,
            sandboxes: limits::SANDBOXES,
            userns_remap: None,
            runtimes: Runtimes::default(),
            registry: hako_registry::client::Settings::default(),
        }
    }

    /// Whether the settings make sense, as far as that can be known without touching the host: what is wrong is said
    /// when the daemon starts (or by `--validate`), not when the first container does.
    ///
    /// # Errors
    /// The first setting that makes no sense, by the name of its flag.
    pub fn check(&self) -> Result<(), EngineError> {
        if !(MTU_MIN..=MTU_MAX).contains(&self.mtu) {
            return wrong("mtu", &format_args!("{} is not between {MTU_MIN} and {MTU_MAX}", self.mtu));
        }
        self.check_bridge()?;
        if !matches!(self.cgroupns_mode.as_str(), "" | "private" | "host") {
            return wrong("default-cgroupns-mode", &format_args!("{:?}: expected private or host", self.cgroupns_mode));
        }
        if !matches!(self.ipc_mode.as_str(), "private" | "shareable") {
            return wrong("default-ipc-mode", &format_args!("{:?}: expected private or shareable", self.ipc_mode));
        }
        if let Some(driver) = self.network_options.keys().find(|driver| *driver != "bridge") {
            return wrong("default-network-opt", &format_args!("there is no network driver {driver:?} with options"));
        }
        if let Err(error) = LogPlan::new(Path::new("log"), &self.log_driver, &self.log_options) {
            return wrong("log-driver, --log-opt", &error);
        }
        for ulimit in &self.ulimits {
            if let Err(error) = Rlimit::try_from(ulimit) {
                return wrong("default-ulimit", &error);
            }
            // A negative one is "unlimited".
            if ulimit.hard >= 0 && (ulimit.soft < 0 || ulimit.soft > ulimit.hard) {
                return wrong(
                    "default-ulimit",
                    &format_args!(
                        "the soft limit of {} is above the hard one: {} > {}",
                        ulimit.name, ulimit.soft, ulimit.hard
                    ),
                );
            }
        }
        if let Err((flag, why)) = self.runtimes.check() {
            return wrong(flag, &why);
        }
        if let Err(error) = self.registry.check() {
            return wrong(error.setting, &error.why);
        }
        for label in &self.labels {
            if label.split_once('=').is_none_or(|(key, _)| key.is_empty()) {
                return wrong("label", &format_args!("{label:?}: expected KEY=VALUE"));
            }
        }
        Ok(())
    }

    fn check_bridge(&self) -> Result<(), EngineError> {
        if let Some(address) = self.bridge_address
            && let Some(why) = not_a_host(address)
        {
            return wrong("bip", &format_args!("{address} {why}"));
        }
        let subnet = self.bridge_address.or(self.bridge_range).map(|address| address.trunc());
        if let (Some(range), Some(subnet)) = (self.bridge_range, subnet)
            && !subnet.contains(&range.trunc())
        {
            return wrong("fixed-cidr", &format_args!("{range} is not within {subnet}"));
        }
        if let Some(range) = self.bridge_range.filter(|range| !range.addr().is_ipv4()) {
            return wrong("fixed-cidr", &format_args!("{range} is not an IPv4 subnet"));
        }
        if let (Some(range), None) = (self.bridge_range, self.bridge_address)
            && range.prefix_len() > 30
        {
            return wrong("fixed-cidr", &format_args!("{range} leaves no address for containers"));
        }
        if let Some(subnet) = self.bridge_subnet_ipv6.filter(|subnet| !subnet.addr().is_ipv6()) {
            return wrong("fixed-cidr-v6", &format_args!("{subnet} is not an IPv6 subnet"));
        }
        let gateways = [
            (
                "default-gateway",
                self.bridge_gateway,
                subnet,
                "it is a part of the bridge's subnet: --bip has to name that",
            ),
            (
                "default-gateway-v6",
                self.bridge_gateway_ipv6,
                self.bridge_subnet_ipv6,
                "it is in the bridge's subnet: --fixed-cidr-v6 has to name that",
            ),
        ];
        for (flag, gateway, subnet, missing) in gateways {
            match (gateway, subnet) {
                (Some(_), None) => return wrong(flag, &missing),
                (Some(gateway), Some(subnet)) if !subnet.contains(&gateway) => {
                    return wrong(flag, &format_args!("{gateway} is not within {}", subnet.trunc()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Tells this daemon's bridges, tables and cgroups from those of others on the same host: it follows from the
    /// data root, so that the next daemon finds them again.
    pub fn instance(&self) -> hako_network::Instance {
        hako_network::Instance::of(&self.data_root.to_string_lossy())
    }

    /// Whether these are the roots a host has one daemon with; it gets the plain names (`hako0`, `/hako`).
    pub fn is_default_instance(&self) -> bool {
        self.data_root == std::path::Path::new("/var/lib/hako")
    }
}

fn wrong(flag: &str, why: &dyn std::fmt::Display) -> Result<(), EngineError> {
    Err(EngineError::invalid(format!("--{flag}: {why}")))
}

/// Why a bridge cannot have this address, if it cannot.
fn not_a_host(address: IpNet) -> Option<&'static str> {
    match address {
        IpNet::V6(_) => Some("is not an IPv4 address"),
        IpNet::V4(net) if net.prefix_len() > 30 => Some("leaves no address for containers"),
        IpNet::V4(net) if net.addr() == net.network() => Some("is the address of the network, not of a host in it"),
        IpNet::V4(net) if net.addr() == net.broadcast() => Some("is the broadcast address of its network"),
        IpNet::V4(net) if net.addr().is_loopback() || net.addr().is_multicast() || net.addr().is_unspecified() => {
            Some("is not an address that a bridge can have")
        }
        IpNet::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let check = |change: fn(&mut EngineConfig)| {
            let mut config = EngineConfig::new("/data".into(), "/run".into());
            change(&mut config);
            config.check().map_or_else(|error| error.to_string(), |()| "fine".to_owned())
        };
        let bip = |text: &str| not_a_host(text.parse().unwrap());
        assert_eq!(check(|_| ()), "fine");
        assert_eq!(check(|config| config.mtu = 10), "--mtu: 10 is not between 68 and 65535");
        assert_eq!(
            check(|config| config.log_driver = "nosuch".to_owned()),
            "--log-driver, --log-opt: error looking up logging plugin nosuch: plugin \"nosuch\" not found"
        );
        assert_eq!(
            check(|config| config.ulimits.push(Ulimit { name: "nofile".to_owned(), soft: 65, hard: 64 })),
            "--default-ulimit: the soft limit of nofile is above the hard one: 65 > 64"
        );
        assert_eq!(check(|config| config.labels.push("x".to_owned())), "--label: \"x\": expected KEY=VALUE");
        assert_eq!(
            check(|config| {
                config.bridge_address = "10.9.0.1/16".parse().ok();
                config.bridge_range = "10.8.1.0/24".parse().ok();
            }),
            "--fixed-cidr: 10.8.1.0/24 is not within 10.9.0.0/16"
        );
        assert_eq!(
            check(|config| config.bridge_gateway = "10.9.0.2".parse().ok()),
            "--default-gateway: it is a part of the bridge's subnet: --bip has to name that"
        );
        assert_eq!(
            check(|config| {
                config.bridge_subnet_ipv6 = "fd00:9::/64".parse().ok();
                config.bridge_gateway_ipv6 = "fd00:8::1".parse().ok();
            }),
            "--default-gateway-v6: fd00:8::1 is not within fd00:9::/64"
        );
        assert_eq!(
            check(|config| config.ipc_mode = "host".to_owned()),
            "--default-ipc-mode: \"host\": expected private or shareable"
        );
        assert_eq!(bip("172.20.0.1/16"), None);
        assert_eq!(bip("172.20.0.0/16"), Some("is the address of the network, not of a host in it"));
        assert_eq!(bip("172.20.255.255/16"), Some("is the broadcast address of its network"));
        assert_eq!(bip("172.20.0.1/32"), Some("leaves no address for containers"));
        assert_eq!(bip("127.0.0.1/8"), Some("is not an address that a bridge can have"));
        assert_eq!(bip("fd00::1/64"), Some("is not an IPv4 address"));
    }
}
