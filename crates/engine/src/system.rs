//! The host and the daemon: `info`, `events`.

use std::sync::atomic::Ordering;

use hako_model::{Event, EventKind, Filters};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    Engine, EngineError, Reloadable,
    view::{CgroupFeatures, InfoView, MetricsView},
};

impl Engine {
    /// What this daemon and its host are.
    pub fn system_info(&self) -> InfoView {
        let (running, paused, stopped) = self.containers.count();
        let host = hako_runtime::observe::host();
        let cgroup = hako_runtime::observe::cgroup_features();
        let mut warnings = lacking(&cgroup);
        if !host.ipv4_forwarding {
            let why = "containers reach nothing beyond this host (net.ipv4.ip_forward, --ip-forward)";
            warnings.push(format!("WARNING: IPv4 forwarding is disabled: {why}"));
        }
        if let Err(why) = &self.apparmor {
            warnings.push(format!("WARNING: No AppArmor profile for containers: {why}"));
        }
        warnings.extend(self.network.obstacles().iter().map(|obstacle| format!("WARNING: {obstacle}")));
        let reloadable = self.reloadable.read().clone();
        InfoView {
            id: self.id.clone(),
            containers: running + paused + stopped,
            running,
            paused,
            stopped,
            images: self.images.list().len(),
            driver_status: vec![("Supports d_type".to_owned(), "true".to_owned())],
            data_root: self.config.data_root.display().to_string(),
            debug: reloadable.debug,
            started: self.started,
            name: host.name,
            kernel: host.kernel,
            operating_system: host.operating_system,
            os_version: host.os_version,
            architecture: std::env::consts::ARCH.to_owned(),
            cpus: host.cpus,
            memory_bytes: host.memory_bytes,
            cgroup_version: self.cgroup_version(),
            cgroup_features: CgroupFeatures {
                memory: cgroup.memory,
                swap: cgroup.swap,
                oom_kill_disable: cgroup.oom_kill_disable,
                cpu_shares: cgroup.cpu,
                cpu_quota: cgroup.cpu,
                cpuset: cgroup.cpuset,
                pids: cgroup.pids,
            },
            ipv4_forwarding: host.ipv4_forwarding,
            labels: reloadable.labels,
            security_options: self.security_options(),
            file_descriptors: host.own_descriptors,
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            event_listeners: self.events.listeners(),
            warnings,
            cdi_folders: self.config.cdi_folders.iter().map(|folder| folder.display().to_string()).collect(),
            cdi_devices: crate::container::cdi::all(&self.config.cdi_folders),
            default_runtime: reloadable.runtimes.default.clone(),
            runtimes: reloadable.runtimes.named.into_iter().collect(),
            log_driver: self.config.log_driver.clone(),
        }
    }

    /// What is counted for those who watch the engine from outside.
    pub fn metrics(&self) -> MetricsView {
        let (running, paused, stopped) = self.containers.count();
        let host = hako_runtime::observe::host();
        let own = hako_runtime::observe::stat(std::process::id()).ok();
        MetricsView {
            running,
            paused,
            stopped,
            cpus: host.cpus,
            memory_bytes: host.memory_bytes,
            architecture: std::env::consts::ARCH.to_owned(),
            id: self.id.clone(),
            kernel: host.kernel,
            operating_system: host.operating_system,
            os_version: host.os_version,
            events: self.events.count(),
            event_listeners: self.events.listeners(),
            checks: self.checks.made.load(Ordering::Relaxed),
            checks_failed: self.checks.failed.load(Ordering::Relaxed),
            own_cpu_s: own.as_ref().map_or(0, |own| own.cpu_seconds),
            own_memory_bytes: own.as_ref().map_or(0, |own| own.rss_bytes),
            own_descriptors: host.own_descriptors,
            started_s: self.started.as_second(),
        }
    }

    /// Takes the settings that may change while the daemon runs, and tells it as Docker does.
    pub fn reload(&self, settings: Reloadable) {
        let labels: Vec<String> = settings.labels.iter().map(|label| format!("{label:?}")).collect();
        let (debug, labels) = (settings.debug.to_string(), format!("[{}]", labels.join(",")));
        let runtime = settings.runtimes.default.clone();
        let names: Vec<String> = settings.runtimes.named.keys().cloned().collect();
        let names = names.join(" ");
        *self.reloadable.write() = settings;
        let name = hako_runtime::observe::host().name;
        let attributes = [
            ("name", name.as_str()),
            ("debug", debug.as_str()),
            ("labels", labels.as_str()),
            ("default-runtime", runtime.as_str()),
            ("runtimes", names.as_str()),
        ];
        self.events.publish(EventKind::Daemon, "reload", &self.id, attributes);
    }

    /// Tells listeners that the cache of builds has given back `reclaimed` bytes; what it keeps is the builder's.
    pub fn build_cache_pruned(&self, reclaimed: u64) {
        let reclaimed = reclaimed.to_string();
        self.events.publish(EventKind::Builder, "prune", "", [("reclaimed", reclaimed.as_str())]);
    }

    /// What happened since `since` and what happens until `until`.
    ///
    /// # Errors
    /// A filter that there is none of.
    pub fn system_events(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        filters: &Filters,
    ) -> Result<mpsc::Receiver<Event>, EngineError> {
        self.events.watch(since, until, filters)
    }
}

/// What this kernel does not do, in Docker's words, and what that means for whom.
fn lacking(features: &hako_runtime::observe::CgroupFeatures) -> Vec<String> {
    let v1 = hako_runtime::cgroup::Layout::of_host().version() == 1;
    let table = [
        (features.memory, "memory limit", "--memory has no effect (cgroup controller memory; cgroup_enable=memory)"),
        (features.swap, "swap limit", "--memory-swap has no effect (CONFIG_SWAP; swapaccount=1)"),
        (features.oom_kill_disable || !v1, "oom kill disable", "--oom-kill-disable has no effect"),
        (features.cpu, "cpu shares", "--cpu-shares has no effect (cgroup controller cpu)"),
        (features.cpu, "cpu cfs quota", "--cpus and --cpu-quota have no effect (CONFIG_CFS_BANDWIDTH)"),
        (features.cpu, "cpu cfs period", "--cpu-period has no effect (CONFIG_CFS_BANDWIDTH)"),
        (features.cpuset, "cpuset", "--cpuset-cpus and --cpuset-mems have no effect (CONFIG_CPUSETS)"),
        (features.pids, "pids limit", "--pids-limit has no effect (CONFIG_CGROUP_PIDS)"),
    ];
    let missing = table.iter().filter(|(there, ..)| !there);
    missing.map(|(_, what, why)| format!("WARNING: No {what} support: {why}")).collect()
}

impl Engine {
    /// The version of control groups on this host: 1, also where both are mounted, or 2.
    pub fn cgroup_version(&self) -> u8 {
        hako_runtime::cgroup::Layout::of_host().version()
    }

    fn security_options(&self) -> Vec<String> {
        let mut options = Vec::new();
        if hako_runtime::observe::has_apparmor() {
            options.push("name=apparmor".to_owned());
        }
        options.push("name=seccomp,profile=builtin".to_owned());
        if self.config.userns_remap.is_some() {
            options.push("name=userns".to_owned());
        }
        if hako_runtime::cgroup::Layout::of_host().version() == 2 {
            options.push("name=cgroupns".to_owned());
        }
        options
    }
}
