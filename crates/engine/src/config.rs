//! What the daemon's flags and configuration file tell the engine. Reading them is `hako`'s work.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use hako_model::Ulimit;
use ipnet::IpNet;

use crate::limits;

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
    /// Name of the default bridge; empty: one named after the instance.
    pub bridge: String,
    /// Address of the default bridge with its prefix length (`--bip`).
    pub bridge_address: Option<IpNet>,
    /// `--bridge none`: there is no default bridge.
    pub bridge_disabled: bool,
    pub ipv6: bool,
    pub mtu: u32,
    pub icc: bool,
    pub masquerade: bool,
    pub ip_forward: bool,
    /// `--iptables=false`: no firewall rule is written.
    pub firewall: bool,
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
}

impl EngineConfig {
    /// Docker's defaults with these two roots.
    pub fn new(data_root: PathBuf, exec_root: PathBuf) -> Self {
        Self {
            data_root,
            exec_root,
            cgroup_parent: String::new(),
            keeper: (PathBuf::from("/proc/self/exe"), vec!["keeper".to_owned()]),
            bridge: String::new(),
            bridge_address: None,
            bridge_disabled: false,
            ipv6: false,
            mtu: 1500,
            icc: true,
            masquerade: true,
            ip_forward: true,
            firewall: true,
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
            sandboxes: 8,
        }
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
