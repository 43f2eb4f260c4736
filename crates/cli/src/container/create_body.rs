//! From the flags of `run` and `create` to the body of the request, byte for byte what docker's
//! CLI sends for them.
//!
//! Flags were checked one by one where they stood; what they say together is judged here, in the
//! order in which docker judges it. Empty lists differ from absent ones (`[]`, `null`) as there:
//! programs that record requests compare them. Networks, mounts and ports have their own half in
//! `create_wiring`.

use std::fs;

use hako_api::{
    Map,
    container::{
        ContainerConfig, ContainerCreateRequest, DeviceMapping, DeviceRequest, HealthConfig, HostConfig, LogConfig,
        Resources, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice,
    },
};

use super::{
    create_flags::{BlockIo, CreateFlags, Health, Identity, Memory, NetworkFlags, Process, Security},
    create_wiring::{self, Wiring},
};
use crate::{
    format::json,
    parse::{
        device::{self, Device},
        env_file, limit, name,
    },
};

/// What the body says besides the flags.
pub(super) struct Surroundings<'w> {
    pub image: &'w str,
    pub command: &'w [String],
    /// Variables for proxies, from `config.json`.
    pub proxies: Vec<String>,
    /// Rows and columns of the terminal.
    pub console: [u16; 2],
    /// The daemon's socket, where it has one, for `--use-api-socket`.
    pub socket: Option<String>,
    /// Nothing is attached, whatever `-i` and `-a` say: `run --detach`.
    pub detach: bool,
}

/// Puts the request together.
///
/// # Errors
/// When flags contradict each other or name files that cannot be read, in docker's words.
pub(super) fn build(flags: &CreateFlags, around: Surroundings<'_>) -> Result<ContainerCreateRequest, String> {
    check_ranges(flags)?;
    let wiring = create_wiring::wire(flags, around.socket.as_deref())?;
    let devices = devices(&flags.storage.devices)?;
    let config = ContainerConfig {
        exposed_ports: wiring.exposed.clone(),
        env: environment(&flags.process, &around.proxies)?,
        labels: Some(labels(&flags.identity)?),
        healthcheck: healthcheck(&flags.health)?,
        image: around.image.to_owned(),
        volumes: Some(wiring.volumes.clone()),
        hostname: flags.network.hostname.clone(),
        domainname: flags.network.domainname.clone(),
        ..process_config(flags.process.clone(), around.command, around.detach)
    };
    let host_config = HostConfig { console_size: around.console, ..host_config(flags, &wiring, devices)? };
    Ok(ContainerCreateRequest { host_config: Some(host_config), networking_config: Some(wiring.networks), config })
}

fn host_config(flags: &CreateFlags, wiring: &Wiring, devices: Devices) -> Result<HostConfig, String> {
    let (identity, storage, rights) = (&flags.identity, &flags.storage, &flags.security);
    check_namespaces(rights)?;
    let restart = limit::restart(&identity.restart)?;
    let log_config = log_config(identity)?;
    let security = security_options(&rights.options)?;
    let storage_opt = storage_options(&storage.options)?;
    if identity.remove && !matches!(restart.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
    }
    Ok(HostConfig {
        container_id_file: identity.cidfile.clone(),
        log_config,
        restart_policy: RestartPolicy { name: restart.name, maximum_retry_count: restart.retries_max },
        auto_remove: identity.remove,
        annotations: annotations(identity, &flags.health),
        runtime: identity.runtime.clone(),
        isolation: identity.isolation.clone(),
        group_add: list(flags.process.groups.clone()),
        init: flags.process.init,
        volume_driver: storage.volume_driver.clone(),
        volumes_from: list(storage.volumes_from.clone()),
        readonly_rootfs: storage.read_only,
        storage_opt,
        security_opt: security.options,
        masked_paths: security.all_paths.then(Vec::new),
        readonly_paths: security.all_paths.then(Vec::new),
        oom_score_adj: flags.memory.oom_score,
        shm_size: flags.memory.shm.0,
        resources: resources(flags, devices),
        ..rights_config(rights, wired_config(&flags.network, wiring))
    })
}

fn wired_config(network: &NetworkFlags, wiring: &Wiring) -> HostConfig {
    HostConfig {
        binds: list(wiring.binds.clone()),
        tmpfs: wiring.tmpfs.clone(),
        mounts: wiring.mounts.clone(),
        network_mode: wiring.network_mode.clone(),
        port_bindings: Some(wiring.published.clone()),
        publish_all_ports: network.publish_all,
        dns: Some(network.dns.iter().map(|server| server.0.clone()).collect()),
        dns_options: Some(network.dns_options.clone()),
        dns_search: Some(network.dns_search.iter().map(|domain| domain.0.clone()).collect()),
        extra_hosts: list(network.extra_hosts.iter().map(|host| host.0.clone()).collect()),
        links: list(network.links.iter().map(|link| link.0.clone()).collect()),
        ..HostConfig::default()
    }
}

fn rights_config(rights: &Security, rest: HostConfig) -> HostConfig {
    HostConfig {
        privileged: rights.privileged,
        cap_add: name::capabilities(&rights.cap_add).map(Into::into),
        cap_drop: name::capabilities(&rights.cap_drop).map(Into::into),
        sysctls: rights.sysctls.iter().map(|setting| (setting.name.clone(), setting.value.clone())).collect(),
        cgroupns_mode: rights.cgroupns.clone(),
        ipc_mode: rights.ipc.clone(),
        pid_mode: rights.pid.clone(),
        uts_mode: rights.uts.clone(),
        userns_mode: rights.userns.clone(),
        ..rest
    }
}

/// Go's nil slice where there is nothing.
fn list(items: Vec<String>) -> Option<Vec<String>> {
    (!items.is_empty()).then_some(items)
}

fn check_ranges(flags: &CreateFlags) -> Result<(), String> {
    let mac = &flags.network.mac_address;
    if !mac.is_empty() && !name::is_mac_address(mac) {
        return Err(format!("{mac} is not a valid mac address"));
    }
    match flags.memory.swappiness {
        -1..=100 => Ok(()),
        other => Err(format!("invalid value: {other}. Valid memory swappiness range is 0-100")),
    }
}

fn process_config(process: Process, words: &[String], detach: bool) -> ContainerConfig {
    let attached = |stream: &str| !detach && process.attach.iter().any(|given| given.0 == stream);
    // Without -a, output is attached; -i attaches input either way.
    let no_choice = process.attach.is_empty() && !detach;
    let attach_stdin = attached("stdin") || (process.interactive && !detach);
    ContainerConfig {
        attach_stdin,
        attach_stdout: no_choice || attached("stdout"),
        attach_stderr: no_choice || attached("stderr"),
        tty: process.tty,
        open_stdin: process.interactive,
        stdin_once: process.interactive && attach_stdin,
        cmd: list(words.to_vec()).map(Into::into),
        entrypoint: process.entrypoint.map(|program| vec![program].into()),
        user: process.user,
        working_dir: process.workdir,
        stop_signal: process.stop_signal,
        stop_timeout: process.stop_timeout,
        ..ContainerConfig::default()
    }
}

// Files first, then proxies and `-e`, of which a later one replaces an earlier one of that name.
fn environment(process: &Process, proxies: &[String]) -> Result<Option<Vec<String>>, String> {
    let mut variables = Vec::new();
    for path in &process.environment_files {
        variables.extend(env_file::read(path, |name| std::env::var(name).ok())?);
    }
    let name_of = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut given: Vec<String> = Vec::new();
    for variable in &process.environment {
        match given.iter_mut().find(|known| name_of(known) == name_of(&variable.0)) {
            Some(known) => known.clone_from(&variable.0),
            None => given.push(variable.0.clone()),
        }
    }
    for proxy in proxies {
        if !given.iter().any(|known| name_of(known) == name_of(proxy)) {
            given.push(proxy.clone());
        }
    }
    variables.append(&mut given);
    Ok(list(variables))
}

fn labels(identity: &Identity) -> Result<Map, String> {
    let mut lines = Vec::new();
    for path in &identity.label_files {
        // Unlike on the command line, a name alone is no label here.
        lines.extend(env_file::read(path, |_| None)?);
    }
    lines.extend(identity.labels.iter().map(|label| label.0.clone()));
    Ok(lines.iter().map(|line| pair(line)).collect())
}

fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

fn check_namespaces(rights: &Security) -> Result<(), String> {
    let is_container = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if !matches!(rights.pid.as_str(), "" | "host") && !is_container(&rights.pid) {
        return Err("--pid: invalid PID mode".to_owned());
    }
    if !matches!(rights.uts.as_str(), "" | "host") {
        return Err("--uts: invalid UTS mode".to_owned());
    }
    let userns = rights.userns.split(':').next().unwrap_or_default();
    if !matches!(userns, "" | "host" | "private" | "auto") {
        return Err("--userns: invalid USER mode".to_owned());
    }
    if !matches!(rights.cgroupns.as_str(), "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".to_owned());
    }
    Ok(())
}

fn log_config(identity: &Identity) -> Result<LogConfig, String> {
    if identity.log_driver == "none" && !identity.log_options.is_empty() {
        return Err("invalid logging opts for driver none".to_owned());
    }
    let options = identity.log_options.iter().map(|option| pair(option)).collect();
    Ok(LogConfig { kind: identity.log_driver.clone(), config: Some(options) })
}

struct SecurityOptions {
    options: Option<Vec<String>>,
    /// Neither masked nor read-only paths: `systempaths=unconfined`.
    all_paths: bool,
}

// The daemon cannot read a profile that lies here, so its text is sent.
fn security_options(given: &[String]) -> Result<SecurityOptions, String> {
    let mut options = Vec::new();
    let mut all_paths = false;
    for option in given {
        let parts = option.split_once('=').or_else(|| option.split_once(':'));
        match parts {
            None if option != "no-new-privileges" => {
                return Err(format!("Invalid --security-opt: {}", crate::flag::go_quote(option)));
            }
            Some(("seccomp", profile)) if !matches!(profile, "unconfined" | "builtin") => {
                options.push(format!("seccomp={}", seccomp_profile(profile)?));
            }
            _ if option == "systempaths=unconfined" => all_paths = true,
            _ => options.push(option.clone()),
        }
    }
    Ok(SecurityOptions { options: (!given.is_empty()).then_some(options), all_paths })
}

fn seccomp_profile(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| {
        let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
        format!("opening seccomp profile ({path}) failed: open {path}: {why}")
    })?;
    json::compact(&text).map_err(|error| format!("compacting json for seccomp profile ({path}) failed: {error}"))
}

fn storage_options(given: &[String]) -> Result<Map, String> {
    let pairs = given.iter().map(|option| match option.contains('=') {
        true => Ok(pair(option)),
        false => Err("invalid storage option".to_owned()),
    });
    pairs.collect()
}

/// How hako is told to start an unhealthy container again: other clients can say it too.
const RESTART_UNHEALTHY: &str = "hako.restart-unhealthy";

fn annotations(identity: &Identity, health: &Health) -> Map {
    let own = health.restart.then(|| (RESTART_UNHEALTHY.to_owned(), "true".to_owned()));
    let given = identity.annotations.iter().map(|pair| (pair.key.clone(), pair.value.clone()));
    given.chain(own).collect()
}

fn healthcheck(health: &Health) -> Result<Option<HealthConfig>, String> {
    let nanos = |duration: Option<crate::flag::GoDuration>| duration.unwrap_or_default().nanos;
    let (interval, timeout) = (nanos(health.interval), nanos(health.timeout));
    let (start_period, start_interval) = (nanos(health.start_period), nanos(health.start_interval));
    let durations = [
        ("interval", interval),
        ("timeout", timeout),
        ("start-period", start_period),
        ("start-interval", start_interval),
    ];
    let asked = [("CMD-SHELL", &health.command), ("HTTP", &health.http), ("TCP", &health.tcp)];
    let mut asked = asked.into_iter().filter(|(_, text)| !text.is_empty());
    let test = asked.next();
    if asked.next().is_some() {
        return Err("--health-cmd, --health-http and --health-tcp exclude each other".to_owned());
    }
    let said_nothing = test.is_none() && health.retries == 0 && durations.iter().all(|(_, nanos)| *nanos == 0);
    if health.none {
        let none = HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() };
        return match said_nothing {
            true => Ok(Some(none)),
            false => Err("--no-healthcheck conflicts with --health-* options".to_owned()),
        };
    }
    if said_nothing {
        return Ok(None);
    }
    if let Some((name, _)) = durations.iter().find(|(_, nanos)| *nanos < 0) {
        return Err(format!("--health-{name} cannot be negative"));
    }
    if health.retries < 0 {
        return Err("--health-retries cannot be negative".to_owned());
    }
    let test = test.map(|(kind, text)| vec![kind.to_owned(), text.clone()]).unwrap_or_default();
    Ok(Some(HealthConfig { test, interval, timeout, start_period, start_interval, retries: health.retries }))
}

struct Devices {
    nodes: Vec<DeviceMapping>,
    by_name: Vec<String>,
}

fn devices(given: &[String]) -> Result<Devices, String> {
    let mut devices = Devices { nodes: Vec::new(), by_name: Vec::new() };
    for text in given {
        match device::device(text)? {
            Device::Cdi(name) => devices.by_name.push(name),
            Device::Node { host, container, permissions } => devices.nodes.push(DeviceMapping {
                path_on_host: host,
                path_in_container: container,
                cgroup_permissions: permissions,
            }),
        }
    }
    Ok(devices)
}

fn resources(flags: &CreateFlags, devices: Devices) -> Resources {
    let (cpu, memory) = (&flags.cpu, &flags.memory);
    Resources {
        cpu_shares: cpu.shares,
        nano_cpus: cpu.cpus.0,
        cpu_period: cpu.period,
        cpu_quota: cpu.quota,
        cpu_realtime_period: cpu.rt_period,
        cpu_realtime_runtime: cpu.rt_runtime,
        cpuset_cpus: cpu.set_cpus.clone(),
        cpuset_mems: cpu.set_mems.clone(),
        cpu_count: cpu.count,
        cpu_percent: cpu.percent,
        device_requests: device_requests(flags, devices.by_name),
        devices: Some(devices.nodes),
        device_cgroup_rules: list(flags.storage.device_rules.iter().map(|rule| rule.0.clone()).collect()),
        ..block_io(&flags.block_io, memory_limits(memory))
    }
}

fn memory_limits(memory: &Memory) -> Resources {
    let ulimits = memory.ulimits.0.iter();
    Resources {
        memory: memory.limit.0,
        memory_reservation: memory.reservation.0,
        memory_swap: memory.swap.unwrap_or_default().0,
        memory_swappiness: Some(memory.swappiness),
        oom_kill_disable: Some(memory.oom_kill_disable),
        pids_limit: Some(memory.pids),
        cgroup_parent: memory.cgroup_parent.clone(),
        ulimits: Some(
            ulimits.map(|limit| Ulimit { name: limit.name.clone(), hard: limit.hard, soft: limit.soft }).collect(),
        ),
        ..Resources::default()
    }
}

fn block_io(block_io: &BlockIo, rest: Resources) -> Resources {
    let bytes = |rates: &[device::BytesPerSecond]| {
        Some(rates.iter().map(|rate| ThrottleDevice { path: rate.path.clone(), rate: rate.rate }).collect())
    };
    let operations = |rates: &[device::OperationsPerSecond]| {
        Some(rates.iter().map(|rate| ThrottleDevice { path: rate.path.clone(), rate: rate.rate }).collect())
    };
    let weights = block_io.weight_devices.iter();
    Resources {
        blkio_weight: block_io.weight,
        blkio_weight_device: Some(
            weights.map(|device| WeightDevice { path: device.path.clone(), weight: device.weight }).collect(),
        ),
        blkio_device_read_bps: bytes(&block_io.read_bytes),
        blkio_device_write_bps: bytes(&block_io.write_bytes),
        blkio_device_read_iops: operations(&block_io.read_operations),
        blkio_device_write_iops: operations(&block_io.write_operations),
        io_maximum_bandwidth: u64::try_from(block_io.windows_bandwidth.0).unwrap_or_default(),
        io_maximum_iops: block_io.windows_operations,
        ..rest
    }
}

fn device_requests(flags: &CreateFlags, by_name: Vec<String>) -> Option<Vec<DeviceRequest>> {
    let gpus = flags.storage.gpus.iter().map(|gpu| DeviceRequest {
        driver: gpu.driver.clone(),
        count: gpu.count,
        device_ids: gpu.devices.clone(),
        capabilities: Some(vec![gpu.capabilities.clone()]),
        options: Some(gpu.options.clone()),
    });
    let mut requests: Vec<DeviceRequest> = gpus.collect();
    if !by_name.is_empty() {
        let driver = "cdi".to_owned();
        requests.push(DeviceRequest { driver, device_ids: Some(by_name), ..DeviceRequest::default() });
    }
    (!requests.is_empty()).then_some(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_variable_replaces_an_earlier_one() {
        let variable = |text: &str| name::Variable(text.to_owned());
        let process =
            Process { environment: vec![variable("A=1"), variable("B=2"), variable("A=3")], ..Process::default() };
        let proxies = ["B=proxy".to_owned(), "C=proxy".to_owned()];
        let expected = ["A=3", "B=2", "C=proxy"].map(str::to_owned).to_vec();
        assert_eq!(environment(&process, &proxies), Ok(Some(expected)));
    }
}
