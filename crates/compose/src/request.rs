//! A service becomes the body of `POST /containers/create`, field by field as docker compose fills it.
//!
//! Pure: whatever the daemon has to be asked first (ids of other containers, of the image) comes in as [`Known`].

mod mounts; // binds, volumes, tmpfs, secrets and configs
mod network; // endpoints, ports, links
mod resources; // limits, devices

use std::collections::BTreeMap;

use hako_api::{
    Empty, StringList,
    container::{ContainerConfig, ContainerCreateRequest, HealthConfig, HostConfig, LogConfig, RestartPolicy},
};

pub use mounts::Injected;

use crate::{
    labels,
    project::Project,
    service::{Healthcheck, Service},
};

/// What must be known of the daemon.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Running containers of services: names for links, ids for `service:` modes.
    pub containers: BTreeMap<String, Vec<(String, String)>>,
    pub image_id: String,
    /// Anonymous volumes of the container that this one replaces: target to name.
    pub inherited: BTreeMap<String, String>,
    /// The id of the container that this one replaces.
    pub replaces: Option<String>,
}

/// A container to be created.
#[derive(Debug, Clone)]
pub struct Creation {
    pub name: String,
    pub platform: Option<String>,
    pub request: ContainerCreateRequest,
    /// Files that are copied in before it starts.
    pub injected: Vec<Injected>,
    pub hash: String,
}

/// The name of a service's container.
pub fn container_name(project: &Project, service: &Service, number: u32) -> String {
    if service.container_name.is_empty() {
        let separator = project.separator;
        format!("{}{separator}{}{separator}{number}", project.name, service.name)
    } else {
        service.container_name.clone()
    }
}

/// What is asked of the daemon for one container.
///
/// # Errors
/// When the service refers to something that is not there.
pub fn creation(project: &Project, service: &Service, number: u32, known: &Known) -> Result<Creation, String> {
    let name = container_name(project, service, number);
    let hash = resolved_hash(project, service, known)?;
    let mut own_labels = labels::container(project, service, number, &hash, &known.image_id);
    if let Some(id) = &known.replaces {
        own_labels.insert(labels::REPLACE.to_owned(), id.clone());
    }
    let mounted = mounts::mounts(project, service, known)?;
    let network = network::network(project, service, &name, known)?;
    let config = ContainerConfig {
        hostname: service.hostname.clone(),
        domainname: service.domainname.clone(),
        user: service.user.clone(),
        attach_stdout: true,
        attach_stderr: true,
        exposed_ports: network.exposed,
        tty: service.tty,
        open_stdin: service.stdin_open,
        env: Some(environment(project, service)),
        cmd: service.command.clone().map(StringList),
        healthcheck: service.healthcheck.as_ref().and_then(health),
        image: project.image_of(service),
        volumes: None,
        working_dir: service.working_dir.clone(),
        entrypoint: service.entrypoint.clone().map(StringList),
        // Where there are networks, one of them has it.
        mac_address: if service.network_mode.is_empty() { String::new() } else { service.mac_address.clone() },
        labels: Some(own_labels),
        stop_signal: service.stop_signal.clone(),
        stop_timeout: service.stop_grace_period.map(|nanos| nanos / 1_000_000_000),
        ..ContainerConfig::default()
    };
    let host = host_config(service, mounted.binds, mounted.mounts, network.mode, network.bindings, network.links);
    let request = ContainerCreateRequest {
        config,
        host_config: Some(HostConfig {
            volumes_from: volumes_from(service, known)?,
            ipc_mode: namespace(&service.ipc, known)?,
            pid_mode: namespace(&service.pid, known)?,
            tmpfs: mounted.tmpfs,
            ..host
        }),
        networking_config: Some(network.networking),
    };
    let platform = Some(service.platform.clone()).filter(|platform| !platform.is_empty());
    Ok(Creation { name, platform, request, injected: mounted.injected, hash })
}

/// The hash with `service:` modes replaced by the containers they mean, as docker compose takes it.
///
/// # Errors
/// When such a container is not there.
pub fn resolved_hash(project: &Project, service: &Service, known: &Known) -> Result<String, String> {
    let modes = [("network_mode", &service.network_mode), ("ipc", &service.ipc), ("pid", &service.pid)];
    if modes.iter().all(|(_, mode)| !mode.starts_with("service:")) && service.volumes_from.is_empty() {
        return Ok(service.hash.clone());
    }
    let Some(node) = project.tree.at(&["services", &service.name]) else { return Ok(service.hash.clone()) };
    let mut node = node.clone();
    let place = node.place.clone();
    let Some(map) = node.as_map_mut() else { return Ok(service.hash.clone()) };
    for (key, mode) in modes {
        if mode.starts_with("service:") {
            map.set(key, crate::node::Node::text(namespace(mode, known)?, &place));
        }
    }
    if !service.volumes_from.is_empty() {
        // docker compose's own list knows no modes.
        let id = |text: String| text.split(':').next().unwrap_or_default().to_owned();
        let from = volumes_from(service, known)?.unwrap_or_default().into_iter().map(id);
        let from = from.map(|text| crate::node::Node::text(text, &place)).collect();
        map.set("volumes_from", crate::node::Node::new(crate::node::Value::List(from), &place));
    }
    Ok(crate::hash::service(&node))
}

fn environment(project: &Project, service: &Service) -> Vec<String> {
    let line = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    let is_own = |proxy: &&String| {
        let name = proxy.split('=').next().unwrap_or_default();
        !service.environment.contains_key(name)
    };
    project.proxies.iter().filter(is_own).cloned().chain(service.environment.iter().map(line)).collect()
}

fn health(check: &Healthcheck) -> Option<HealthConfig> {
    if check.disable {
        return Some(HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() });
    }
    Some(HealthConfig {
        test: check.test.clone(),
        interval: check.interval.unwrap_or(0),
        timeout: check.timeout.unwrap_or(0),
        start_period: check.start_period.unwrap_or(0),
        start_interval: check.start_interval.unwrap_or(0),
        retries: check.retries.unwrap_or(0),
    })
}

// `service:db` is the first container of that service.
fn namespace(mode: &str, known: &Known) -> Result<String, String> {
    let Some(name) = mode.strip_prefix("service:") else { return Ok(mode.to_owned()) };
    match known.containers.get(name).and_then(|list| list.first()) {
        Some((_, id)) => Ok(format!("container:{id}")),
        None => Err(format!("{mode} needs a container of service {name}, and there is none")),
    }
}

fn volumes_from(service: &Service, known: &Known) -> Result<Option<Vec<String>>, String> {
    if service.volumes_from.is_empty() {
        return Ok(None);
    }
    let mut from = Vec::new();
    for text in &service.volumes_from {
        if let Some(container) = text.strip_prefix("container:") {
            from.push(container.to_owned());
            continue;
        }
        let (name, mode) = text.split_once(':').map_or((text.as_str(), None), |(name, mode)| (name, Some(mode)));
        let Some((_, id)) = known.containers.get(name).and_then(|list| list.first()) else {
            return Err(format!("volumes_from needs a container of service {name}, and there is none"));
        };
        from.push(mode.map_or_else(|| id.clone(), |mode| format!("{id}:{mode}")));
    }
    Ok(Some(from))
}

fn restart(service: &Service) -> RestartPolicy {
    let policy = service.deploy.as_ref().and_then(|deploy| deploy.restart_policy.as_ref());
    if let Some(policy) = policy {
        let name = match policy.condition.as_str() {
            // Where no condition is named docker compose restarts nothing.
            "" | "none" | "no" => "no",
            "on-failure" => "on-failure",
            "unless-stopped" => "unless-stopped",
            _ => "always",
        };
        let count = if name == "on-failure" { policy.max_attempts.unwrap_or(0) } else { 0 };
        return RestartPolicy { name: name.to_owned(), maximum_retry_count: count };
    }
    let (name, count) = service.restart.split_once(':').unwrap_or((&service.restart, ""));
    RestartPolicy { name: name.to_owned(), maximum_retry_count: count.parse().unwrap_or(0) }
}

fn host_config(
    service: &Service,
    binds: Vec<String>,
    mounts: Vec<hako_api::container::Mount>,
    network_mode: String,
    port_bindings: hako_api::container::PortMap,
    links: Vec<String>,
) -> HostConfig {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let hosts =
        service.extra_hosts.iter().flat_map(|(name, addresses)| addresses.iter().map(move |it| format!("{name}:{it}")));
    let log = service.logging.clone().unwrap_or_default();
    HostConfig {
        binds: Some(binds),
        mounts,
        network_mode,
        port_bindings: Some(port_bindings),
        links: some(&links),
        log_config: LogConfig { kind: log.driver, config: (!log.options.is_empty()).then_some(log.options) },
        restart_policy: restart(service),
        volume_driver: service.volume_driver.clone(),
        annotations: service.annotations.clone(),
        cap_add: some(&service.cap_add).map(StringList),
        cap_drop: some(&service.cap_drop).map(StringList),
        cgroupns_mode: service.cgroup.clone(),
        dns: some(&service.dns),
        dns_options: some(&service.dns_opt),
        dns_search: some(&service.dns_search),
        extra_hosts: Some(hosts.collect()),
        group_add: some(&service.group_add),
        oom_score_adj: service.oom_score_adj,
        privileged: service.privileged,
        readonly_rootfs: service.read_only,
        security_opt: some(&service.security_opt),
        storage_opt: service.storage_opt.clone(),
        uts_mode: service.uts.clone(),
        userns_mode: service.userns_mode.clone(),
        shm_size: service.shm_size,
        sysctls: service.sysctls.clone(),
        runtime: service.runtime.clone(),
        isolation: service.isolation.clone(),
        init: service.init,
        resources: resources::resources(service),
        ..HostConfig::default()
    }
}

/// Ports without a value, as the API wants them.
pub(crate) type Exposed = BTreeMap<String, Empty>;
