//! The host and the daemon: info, events, progress.

use hako_api::{
    image::PushResult,
    progress::{ProgressDetail, ProgressMessage},
    system::{
        DeviceInfo, EventActor, EventMessage, FirewallInfo, IndexInfo, PluginsInfo, RegistryServiceConfig, RuntimeInfo,
        SwarmInfo, SystemInfo,
    },
};
use hako_base::clock;
use hako_engine::view::{InfoView, Progress};
use hako_model::{Event, EventKind};

use crate::convert::{inspect::STORAGE_DRIVER, signed};

const INDEX: &str = "https://index.docker.io/v1/";

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

pub(crate) fn info(view: InfoView, version: &str) -> SystemInfo {
    let count = |number: usize| signed(number as u64);
    let features = view.cgroup_features;
    SystemInfo {
        id: view.id,
        containers: count(view.containers),
        containers_running: count(view.running),
        containers_paused: count(view.paused),
        containers_stopped: count(view.stopped),
        images: count(view.images),
        driver: STORAGE_DRIVER.to_owned(),
        driver_status: view.driver_status.into_iter().map(<[String; 2]>::from).collect(),
        plugins: plugins(),
        memory_limit: features.memory,
        swap_limit: features.swap,
        cpu_cfs_period: features.cpu_quota,
        cpu_cfs_quota: features.cpu_quota,
        cpu_shares: features.cpu_shares,
        cpu_set: features.cpuset,
        pids_limit: features.pids,
        ipv4_forwarding: view.ipv4_forwarding,
        debug: view.debug,
        file_descriptors: count(view.file_descriptors),
        oom_kill_disable: features.oom_kill_disable,
        tasks: count(view.tasks),
        system_time: clock::rfc3339_nano(clock::now()),
        logging_driver: view.log_driver,
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: view.cgroup_version.to_string(),
        event_listeners: count(view.event_listeners),
        kernel_version: view.kernel,
        operating_system: view.operating_system,
        os_version: view.os_version,
        os_type: "linux".to_owned(),
        architecture: view.architecture,
        index_server_address: INDEX.to_owned(),
        registry_config: Some(registries()),
        cpus: count(view.cpus),
        mem_total: signed(view.memory_bytes),
        docker_root_dir: view.data_root,
        name: view.name,
        labels: view.labels,
        server_version: version.to_owned(),
        runtimes: view
            .runtimes
            .into_iter()
            .map(|(name, program)| {
                let path = program.path.display().to_string();
                (name, RuntimeInfo { path, runtime_args: program.arguments })
            })
            .chain([("hako".to_owned(), RuntimeInfo { path: "hako".to_owned(), runtime_args: Vec::new() })])
            .collect(),
        default_runtime: view.default_runtime,
        swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
        // Containers outlive the daemon always; there is no other mode.
        live_restore_enabled: true,
        init_binary: "hako".to_owned(),
        security_options: view.security_options,
        cdi_spec_dirs: view.cdi_folders,
        discovered_devices: view
            .cdi_devices
            .into_iter()
            .map(|id| DeviceInfo { source: "cdi".to_owned(), id })
            .collect(),
        firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), info: Vec::new() }),
        warnings: Some(view.warnings).filter(|warnings| !warnings.is_empty()),
        ..SystemInfo::default()
    }
}

fn plugins() -> PluginsInfo {
    PluginsInfo {
        volume: strings(&["local"]),
        network: strings(&["bridge", "host", "ipvlan", "macvlan", "null"]),
        authorization: None,
        log: strings(&["journald", "json-file", "local", "syslog"]),
    }
}

fn registries() -> RegistryServiceConfig {
    let hub = IndexInfo { name: "docker.io".to_owned(), mirrors: Vec::new(), secure: true, official: true };
    RegistryServiceConfig {
        insecure_registry_cidrs: strings(&["::1/128", "127.0.0.0/8"]),
        index_configs: [("docker.io".to_owned(), hub)].into(),
        mirrors: None,
    }
}

/// An event, with the fields of before 1.22 that were still sent until 1.51.
pub(crate) fn event(from: Event) -> EventMessage {
    let legacy = matches!(from.kind, EventKind::Container | EventKind::Image);
    EventMessage {
        status: if legacy { from.action.clone() } else { String::new() },
        id: if legacy { from.actor.clone() } else { String::new() },
        from: match from.kind {
            EventKind::Container => from.attributes.get("image").cloned().unwrap_or_default(),
            _ => String::new(),
        },
        kind: from.kind.name().to_owned(),
        action: from.action,
        actor: EventActor { id: from.actor, attributes: from.attributes },
        scope: "local".to_owned(),
        time: from.at.as_second(),
        time_nano: i64::try_from(from.at.as_nanosecond()).unwrap_or(i64::MAX),
    }
}

pub(crate) fn progress(from: Progress) -> ProgressMessage {
    let known = from.current > 0 || from.total > 0;
    ProgressMessage {
        // A step without numbers has an empty object, which clients take for "no bar".
        progress_detail: (!from.status.is_empty() && !from.id.is_empty())
            .then(|| if known { ProgressDetail::new(from.current, from.total) } else { ProgressDetail::default() }),
        aux: from.pushed.and_then(|pushed| {
            let size = signed(pushed.size);
            serde_json::to_value(PushResult { tag: pushed.tag, digest: pushed.digest, size }).ok()
        }),
        stream: from.stream,
        status: from.status,
        id: from.id,
        ..ProgressMessage::default()
    }
}
