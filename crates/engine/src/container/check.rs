//! Whether a spec makes sense on this host, before anything is made. Docker's sentences.

use std::net::IpAddr;

use hako_model::{ContainerSpec, NetworkMode, Platform, RestartPolicy};
use hako_runtime::{
    cgroup::cpuset::{self, Units},
    sysctl::{self, Owner},
};

use super::plan::{Apparmor, DOCKERS_PROFILE, Security};
use crate::{Engine, EngineError};

/// The least memory a container can be given (Docker's).
const MEMORY_BYTES_MIN: u64 = 6 << 20;

/// The least part of a processor: 1 ms of the 100 ms over which the kernel counts.
const NANO_CPUS_MIN: u64 = 10_000_000;

/// Checks everything about `spec` that can be known before it is carried out; answers with warnings.
///
/// # Errors
/// The first thing that makes no sense, or that is not built yet, by name.
pub(crate) fn spec(spec: &ContainerSpec, engine: &Engine) -> Result<Vec<String>, EngineError> {
    let mut warnings = discarded(spec);
    restart(spec)?;
    memory(spec)?;
    cpus(spec)?;
    modes(spec)?;
    sysctls(spec)?;
    engine.check_runtime(&spec.host)?;
    networks(spec, engine)?;
    names(spec)?;
    security(spec)?;
    if !spec.host.port_bindings.is_empty() && spec.host.network_mode == NetworkMode::Host {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    Ok(warnings)
}

/// Whether the image is for the machine that was asked for; a warning where it is for another than this one.
///
/// # Errors
/// `NotFound` where it is not, in Docker's words: clients then try to pull the right one.
pub(crate) fn platform(spec: &ContainerSpec, actual: &Platform) -> Result<Option<String>, EngineError> {
    let text = |platform: &Platform| format!("{}/{}", platform.os, platform.architecture);
    if let Some(wanted) = &spec.platform {
        if !wanted.takes(actual) {
            return Err(EngineError::Mechanism {
                kind: hako_base::ErrorKind::NotFound,
                text: format!(
                    "image with reference {} was found but does not match the specified platform: wanted {wanted}, actual: {}",
                    spec.image,
                    text(actual)
                ),
            });
        }
        return Ok(None);
    }
    let host = Platform::host();
    let foreign = !actual.architecture.is_empty() && actual.architecture != host.architecture;
    Ok(foreign.then(|| {
        format!(
            "The requested image's platform ({}) does not match the detected host platform ({}) and no specific platform was requested",
            text(actual),
            text(&host)
        )
    }))
}

/// What the kernel will not do, though it was asked for.
fn discarded(spec: &ContainerSpec) -> Vec<String> {
    let (limits, features) = (&spec.host.limits, hako_runtime::observe::cgroup_features());
    let mut warnings = Vec::new();
    let mut warn = |when: bool, text: &str| {
        if when {
            warnings.push(text.to_owned());
        }
    };
    warn(
        (limits.blkio_weight > 0 || !limits.blkio_weight_device.is_empty()) && !features.blkio_weight,
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
    );
    warn(
        limits.oom_kill_disable && !features.oom_kill_disable,
        "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
    );
    warn(
        limits.oom_kill_disable && features.oom_kill_disable && limits.memory_bytes == 0,
        "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
    );
    warn(
        limits.memory_swappiness.is_some() && !features.oom_kill_disable,
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
    );
    warn(
        limits.memory_bytes > 0 && !features.swap,
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
    );
    let profile = Security::parse(&spec.host).map(|security| security.apparmor).unwrap_or_default();
    if let Apparmor::Named(profile) = profile
        && profile != DOCKERS_PROFILE
        && !hako_runtime::observe::has_apparmor()
    {
        warnings.push(format!("Your kernel does not have AppArmor. Profile {profile} discarded."));
    }
    warnings
}

fn restart(spec: &ContainerSpec) -> Result<(), EngineError> {
    if spec.host.auto_remove && spec.host.restart != RestartPolicy::No {
        return Err(EngineError::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    if spec.host.auto_remove && crate::health::restarts(&spec.host) {
        return Err(EngineError::invalid(format!(
            "conflicting options: --rm and --restart-unhealthy (annotation {})",
            crate::health::RESTART_ANNOTATION
        )));
    }
    // Ours are refused at once; what Docker takes and never runs gets a warning.
    let ours =
        |health: &&hako_model::HealthSpec| health.test.first().is_some_and(|kind| kind == "HTTP" || kind == "TCP");
    match spec.health.as_ref().filter(ours) {
        Some(health) => crate::health::Check::parse(health, &hako_model::ImageConfig::default()).map(drop),
        None => Ok(()),
    }
}

fn memory(spec: &ContainerSpec) -> Result<(), EngineError> {
    let limits = &spec.host.limits;
    let memory = limits.memory_bytes;
    if memory > 0 && memory < MEMORY_BYTES_MIN {
        return Err(EngineError::invalid("Minimum memory limit allowed is 6MB"));
    }
    if limits.memory_swap_bytes > 0 {
        if memory == 0 {
            return Err(EngineError::invalid(
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ));
        }
        if limits.memory_swap_bytes.unsigned_abs() < memory {
            return Err(EngineError::invalid("Minimum memoryswap limit should be larger than memory limit, see usage"));
        }
    }
    if limits.memory_swappiness.is_some_and(|swappiness| swappiness > 100) {
        return Err(EngineError::invalid("Invalid value: valid memory swappiness range is 0-100"));
    }
    if (1..MEMORY_BYTES_MIN).contains(&limits.memory_reservation_bytes) {
        return Err(EngineError::invalid("Minimum memory reservation allowed is 6MB"));
    }
    if limits.memory_reservation_bytes > 0 && memory > 0 && memory < limits.memory_reservation_bytes {
        return Err(EngineError::invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    if !(-1000..=1000).contains(&limits.oom_score_adj) {
        return Err(EngineError::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            limits.oom_score_adj
        )));
    }
    Ok(())
}

fn cpus(spec: &ContainerSpec) -> Result<(), EngineError> {
    let limits = &spec.host.limits;
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    // The kernel takes no quota below a hundredth of a processor.
    if limits.nano_cpus > count * 1_000_000_000 || (1..NANO_CPUS_MIN).contains(&limits.nano_cpus) {
        return Err(EngineError::invalid(format!(
            "Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        )));
    }
    for (given, name) in [(limits.cpu_period_us != 0, "CPU Period"), (limits.cpu_quota_us != 0, "CPU Quota")] {
        if limits.nano_cpus > 0 && given {
            return Err(EngineError::invalid(format!("Conflicting options: Nano CPUs and {name} cannot both be set")));
        }
    }
    if limits.cpu_period_us != 0 && !(1_000..=1_000_000).contains(&limits.cpu_period_us) {
        return Err(EngineError::invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if limits.cpu_quota_us > 0 && limits.cpu_quota_us < 1_000 {
        return Err(EngineError::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    // The kernel's own period is a second where none is given.
    let rt_period = if limits.cpu_rt_period_us == 0 { 1_000_000 } else { limits.cpu_rt_period_us };
    if u64::try_from(limits.cpu_rt_runtime_us).is_ok_and(|runtime| runtime > rt_period) {
        return Err(EngineError::invalid("cpu real-time runtime cannot be higher than cpu real-time period"));
    }
    cpuset::check(Units::Cpus, &limits.cpuset_cpus).map_err(EngineError::invalid)?;
    cpuset::check(Units::Mems, &limits.cpuset_mems).map_err(EngineError::invalid)?;
    if limits.blkio_weight != 0 && !(10..=1000).contains(&limits.blkio_weight) {
        return Err(EngineError::invalid("Range of blkio weight is from 10 to 1000"));
    }
    Ok(())
}

fn modes(spec: &ContainerSpec) -> Result<(), EngineError> {
    let host = &spec.host;
    let known = |what: &str, mode: &str, allowed: &[&str], shares: bool| {
        if mode.is_empty() || allowed.contains(&mode) || (shares && mode.starts_with("container:")) {
            return Ok(());
        }
        Err(EngineError::invalid(format!("invalid {what} mode: {mode}")))
    };
    // Without a name there is nothing to be found, and "No such container: " says nothing.
    for (mode, flag) in [(&host.ipc_mode, "IPC"), (&host.pid_mode, "PID")] {
        if mode == "container:" {
            return Err(EngineError::invalid(format!("invalid {flag} mode: container: names no container")));
        }
    }
    if host.volumes_from.iter().any(|from| matches!(from.split(':').next(), None | Some(""))) {
        return Err(EngineError::invalid("volumes-from specification cannot be an empty string"));
    }
    if host.uts_mode == "host" && !spec.hostname.is_empty() {
        return Err(EngineError::invalid("conflicting options: hostname and the UTS mode"));
    }
    known("PID", &host.pid_mode, &["host", "private"], true)?;
    known("IPC", &host.ipc_mode, &["host", "private", "none", "shareable"], true)?;
    known("UTS", &host.uts_mode, &["host"], false)?;
    known("cgroup namespace", &host.cgroupns_mode, &["host", "private"], false)?;
    if !host.storage_options.is_empty() {
        return Err(EngineError::invalid(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ));
    }
    Ok(())
}

/// A parameter that no namespace of the container owns would be changed for the whole machine. runc's sentences.
fn sysctls(spec: &ContainerSpec) -> Result<(), EngineError> {
    let host = &spec.host;
    for name in host.sysctls.keys() {
        let shared = match sysctl::owner(name) {
            Some(Owner::Network) => {
                (host.network_mode == NetworkMode::Host).then_some("not allowed in host network namespace")
            }
            Some(Owner::Ipc) => (host.ipc_mode == "host").then_some("is not allowed in the hosts ipc namespace"),
            Some(Owner::Uts) if name.ends_with("domainname") => {
                (host.uts_mode == "host").then_some("is not allowed in the hosts UTS namespace")
            }
            Some(Owner::Uts) => Some("is not allowed, use --hostname for it"),
            Some(Owner::User) | None => Some("is not in a separate kernel namespace"),
        };
        if let Some(why) = shared {
            return Err(EngineError::invalid(format!("sysctl {name:?} {why}")));
        }
    }
    Ok(())
}

fn networks(spec: &ContainerSpec, engine: &Engine) -> Result<(), EngineError> {
    let host = &spec.host;
    match &host.network_mode {
        NetworkMode::Container(other) => {
            if other.is_empty() {
                return Err(EngineError::invalid("Invalid network mode: invalid container format container:<name|id>"));
            }
            // Not a 404: the command line would take the image for missing.
            engine.containers.find(other).map_err(|error| EngineError::invalid(error.to_string()))?;
            let refused = |what: &str| Err(EngineError::invalid(format!("conflicting options: {what} network mode")));
            if !spec.hostname.is_empty() {
                return refused("hostname and the");
            }
            if !host.port_bindings.is_empty() || host.publish_all {
                return refused("port publishing and the container type");
            }
            if !spec.exposed_ports.is_empty() {
                return refused("port exposing and the container type");
            }
            if !host.links.is_empty() {
                return Err(EngineError::invalid(
                    "conflicting options: container type network can't be used with links. This would result in undefined behavior",
                ));
            }
            if !host.dns.is_empty() {
                return refused("dns and the");
            }
            if !host.extra_hosts.is_empty() {
                return refused("custom host-to-IP mapping and the");
            }
        }
        NetworkMode::Host if !host.links.is_empty() => {
            return Err(EngineError::invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ));
        }
        _ => {}
    }
    // Looked up now as Docker 28 does not, so that a typo is told before anything is made.
    engine.places(spec)?;
    for entry in &host.extra_hosts {
        let address = entry.split_once(':').map(|(_, address)| address.trim_matches(['[', ']']));
        if address.is_none() {
            return Err(EngineError::invalid(format!("bad format for add-host: {entry:?}")));
        }
        if !address.is_some_and(|address| address == "host-gateway" || address.parse::<IpAddr>().is_ok()) {
            return Err(EngineError::invalid(format!("invalid IP address in add-host: {entry:?}")));
        }
    }
    engine.check_links(&host.links)?;
    Ok(())
}

fn names(spec: &ContainerSpec) -> Result<(), EngineError> {
    let valid_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if spec.hostname.len() > 64 || (!spec.hostname.is_empty() && !spec.hostname.split('.').all(valid_label)) {
        return Err(EngineError::invalid(format!("invalid hostname format: {}", spec.hostname)));
    }
    if spec.host.annotations.contains_key("") {
        return Err(EngineError::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    if let Some(signal) = &spec.stop_signal {
        signal.parse::<hako_model::Signal>().map_err(|error| EngineError::invalid(error.to_string()))?;
    }
    for variable in &spec.env {
        if variable.is_empty() || variable.starts_with('=') || variable.contains('\0') {
            return Err(EngineError::invalid(format!("invalid environment variable: {variable}")));
        }
    }
    Ok(())
}

fn security(spec: &ContainerSpec) -> Result<(), EngineError> {
    super::plan::Security::parse(&spec.host).map(|_| ())?;
    super::plan::capabilities(&spec.host).map(|_| ())
}
