//! What the host does for a container: `HostConfig` and [`HostSpec`].

use hako_api::{
    StringList,
    container::{self, HostConfig, LogConfig},
};
use hako_model::{
    HostSpec, NetworkMode, RestartPolicy,
    container::{DeviceMapping, DeviceRequest},
};

use crate::{
    convert::{limits, mount, port, some_list},
    error::Failure,
};

// What Docker shows as masked and read-only where nobody said otherwise.
const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The host's half of a request.
pub(crate) fn host_spec(from: HostConfig) -> Result<HostSpec, Failure> {
    refuse_what_is_not_built(&from)?;
    let mut limits = limits::limits(&from.resources)?;
    limits.oom_score_adj = i32::try_from(from.oom_score_adj)
        .map_err(|_| Failure::invalid("Invalid value, range for oom score adj is [-1000, 1000]"))?;
    let resources = from.resources;
    Ok(HostSpec {
        network_mode: NetworkMode::parse(&from.network_mode),
        port_bindings: port::bindings(&from.port_bindings.unwrap_or_default())?,
        publish_all: from.publish_all_ports,
        restart: restart_policy(&from.restart_policy)?,
        auto_remove: from.auto_remove,
        mounts: mount::mounts(&from.binds.unwrap_or_default(), &from.mounts, &from.tmpfs)?,
        volumes_from: from.volumes_from.unwrap_or_default(),
        volume_driver: from.volume_driver,
        cap_add: from.cap_add.unwrap_or_default().0,
        cap_drop: from.cap_drop.unwrap_or_default().0,
        privileged: from.privileged,
        read_only: from.readonly_rootfs,
        security_opt: from.security_opt.unwrap_or_default(),
        group_add: from.group_add.unwrap_or_default(),
        masked_paths: from.masked_paths,
        readonly_paths: from.readonly_paths,
        init: from.init,
        pid_mode: from.pid_mode,
        ipc_mode: from.ipc_mode,
        uts_mode: from.uts_mode,
        userns_mode: from.userns_mode,
        cgroupns_mode: from.cgroupns_mode,
        isolation: from.isolation,
        cgroup_parent: resources.cgroup_parent,
        devices: resources.devices.unwrap_or_default().into_iter().map(device).collect(),
        device_cgroup_rules: resources.device_cgroup_rules.unwrap_or_default(),
        device_requests: resources.device_requests.unwrap_or_default().into_iter().map(device_request).collect(),
        limits,
        shm_size_bytes: u64::try_from(from.shm_size)
            .map_err(|_| Failure::invalid("SHM size can not be less than 0".to_owned()))?,
        sysctls: from.sysctls,
        dns: from.dns.unwrap_or_default().iter().map(|text| dns(text)).collect::<Result<_, _>>()?,
        dns_options: from.dns_options.unwrap_or_default(),
        dns_search: from.dns_search.unwrap_or_default(),
        extra_hosts: from.extra_hosts.unwrap_or_default(),
        links: from.links.unwrap_or_default(),
        log_driver: from.log_config.kind,
        log_options: from.log_config.config.unwrap_or_default(),
        runtime: from.runtime,
        annotations: from.annotations,
        storage_options: from.storage_opt,
        console_size: (from.console_size[0], from.console_size[1]),
        container_id_file: from.container_id_file,
    })
}

/// Fields that Docker acts on and the engine has no word for yet.
fn refuse_what_is_not_built(from: &HostConfig) -> Result<(), Failure> {
    if !from.cgroup.is_empty() {
        return Err(Failure::not_built("HostConfig.Cgroup is not built yet"));
    }
    if !matches!(from.isolation.as_str(), "" | "default") {
        return Err(Failure::invalid(format!(
            "Invalid isolation: {:?} - linux only supports 'default'",
            from.isolation
        )));
    }
    Ok(())
}

/// A restart policy; its sentences are Docker's.
pub(crate) fn restart_policy(from: &container::RestartPolicy) -> Result<RestartPolicy, Failure> {
    let count = from.maximum_retry_count;
    let policy = match from.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            let count = u32::try_from(count)
                .map_err(|_| Failure::invalid("invalid restart policy: maximum retry count cannot be negative"))?;
            return Ok(RestartPolicy::OnFailure(count));
        }
        other => {
            return Err(Failure::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    if count == 0 {
        return Ok(policy);
    }
    let negative = if count < 0 { " and cannot be negative" } else { "" };
    Err(Failure::invalid(format!(
        "invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
    )))
}

fn device(from: container::DeviceMapping) -> DeviceMapping {
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    DeviceMapping {
        container: or(from.path_in_container, &from.path_on_host),
        permissions: or(from.cgroup_permissions, "rwm"),
        host: from.path_on_host,
    }
}

fn device_request(from: container::DeviceRequest) -> DeviceRequest {
    DeviceRequest {
        driver: from.driver,
        count: from.count,
        ids: from.device_ids.unwrap_or_default(),
        capabilities: from.capabilities.unwrap_or_default(),
        options: from.options,
    }
}

fn device_request_to_api(request: &DeviceRequest) -> container::DeviceRequest {
    container::DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: some_list(&request.ids),
        capabilities: (!request.capabilities.is_empty()).then(|| request.capabilities.clone()),
        options: request.options.clone(),
    }
}

fn dns(text: &str) -> Result<std::net::IpAddr, Failure> {
    text.parse().map_err(|_| Failure::invalid(format!("invalid DNS server address: {text}")))
}

/// `HostConfig` of `inspect`.
pub(crate) fn host_config(spec: &HostSpec) -> HostConfig {
    let spelled = mount::spell(&spec.mounts);
    let paths = |own: &Option<Vec<String>>, default: &[&str]| match own {
        _ if spec.privileged => None,
        Some(paths) => Some(paths.clone()),
        None => Some(default.iter().map(|path| (*path).to_owned()).collect()),
    };
    HostConfig {
        binds: some_list(&spelled.binds),
        container_id_file: spec.container_id_file.clone(),
        log_config: LogConfig { kind: spec.log_driver.clone(), config: Some(spec.log_options.clone()) },
        // Docker 26 and later show the default by its name.
        network_mode: match &spec.network_mode {
            NetworkMode::Default => "bridge".to_owned(),
            other => other.text(),
        },
        port_bindings: Some(port::bindings_to_api(&spec.port_bindings)),
        restart_policy: restart_policy_to_api(spec.restart),
        auto_remove: spec.auto_remove,
        volume_driver: spec.volume_driver.clone(),
        volumes_from: some_list(&spec.volumes_from),
        console_size: [spec.console_size.0, spec.console_size.1],
        annotations: spec.annotations.clone(),
        cap_add: some_list(&spec.cap_add).map(StringList),
        cap_drop: some_list(&spec.cap_drop).map(StringList),
        cgroupns_mode: spec.cgroupns_mode.clone(),
        dns: Some(spec.dns.iter().map(ToString::to_string).collect()),
        dns_options: Some(spec.dns_options.clone()),
        dns_search: Some(spec.dns_search.clone()),
        extra_hosts: some_list(&spec.extra_hosts),
        group_add: some_list(&spec.group_add),
        ipc_mode: spec.ipc_mode.clone(),
        cgroup: String::new(),
        links: some_list(&spec.links),
        oom_score_adj: i64::from(spec.limits.oom_score_adj),
        pid_mode: spec.pid_mode.clone(),
        privileged: spec.privileged,
        publish_all_ports: spec.publish_all,
        readonly_rootfs: spec.read_only,
        security_opt: some_list(&spec.security_opt),
        storage_opt: spec.storage_options.clone(),
        tmpfs: spelled.tmpfs,
        uts_mode: spec.uts_mode.clone(),
        userns_mode: spec.userns_mode.clone(),
        shm_size: super::signed(spec.shm_size_bytes),
        sysctls: spec.sysctls.clone(),
        runtime: spec.runtime.clone(),
        isolation: spec.isolation.clone(),
        mounts: spelled.mounts,
        masked_paths: paths(&spec.masked_paths, MASKED_PATHS),
        readonly_paths: paths(&spec.readonly_paths, READONLY_PATHS),
        init: spec.init,
        resources: container::Resources {
            cgroup_parent: spec.cgroup_parent.clone(),
            devices: Some(spec.devices.iter().map(device_to_api).collect()),
            device_cgroup_rules: some_list(&spec.device_cgroup_rules),
            device_requests: (!spec.device_requests.is_empty())
                .then(|| spec.device_requests.iter().map(device_request_to_api).collect()),
            ..limits::limits_to_api(&spec.limits)
        },
    }
}

fn restart_policy_to_api(policy: RestartPolicy) -> container::RestartPolicy {
    let maximum_retry_count = match policy {
        RestartPolicy::OnFailure(count) => i64::from(count),
        _ => 0,
    };
    container::RestartPolicy { name: policy.name().to_owned(), maximum_retry_count }
}

fn device_to_api(device: &DeviceMapping) -> container::DeviceMapping {
    container::DeviceMapping {
        path_on_host: device.host.clone(),
        path_in_container: device.container.clone(),
        cgroup_permissions: device.permissions.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let failure = host_spec(serde_json::from_str(text).unwrap()).unwrap_err();
        format!("{} {}", failure.status, failure.message)
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (text, expected) in [
            (r#"{"Isolation":"hyperv"}"#, "400 Invalid isolation: \"hyperv\" - linux only supports 'default'"),
            (r#"{"Cgroup":"container:x"}"#, "501 HostConfig.Cgroup is not built yet"),
            (r#"{"Dns":["one.one"]}"#, "400 invalid DNS server address: one.one"),
            (r#"{"ShmSize":-1}"#, "400 SHM size can not be less than 0"),
            (
                r#"{"RestartPolicy":{"Name":"sometimes"}}"#,
                "400 invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
            ),
            (
                r#"{"RestartPolicy":{"Name":"always","MaximumRetryCount":3}}"#,
                "400 invalid restart policy: maximum retry count can only be used with 'on-failure'",
            ),
            (
                r#"{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-3}}"#,
                "400 invalid restart policy: maximum retry count cannot be negative",
            ),
            (r#"{"MemorySwappiness":101}"#, "400 Invalid value: 101, valid memory swappiness range is 0-100"),
            (r#"{"Memory":-5}"#, "400 Minimum memory limit allowed is 6MB"),
        ] {
            assert_eq!(refusal(text), expected, "{text}");
        }
    }

    #[test]
    fn every_field_survives_both_ways() {
        let text = r#"{"Binds":["/a:/b:ro"],"ContainerIDFile":"/id","LogConfig":{"Type":"json-file","Config":{"max-size":"1m"}},
            "NetworkMode":"front","PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]},
            "RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},"AutoRemove":true,"VolumeDriver":"local",
            "VolumesFrom":["other:ro"],"ConsoleSize":[24,80],"Annotations":{"a":"b"},"CapAdd":["NET_ADMIN"],"CapDrop":["ALL"],
            "CgroupnsMode":"private","Dns":["1.1.1.1"],"DnsOptions":["ndots:1"],"DnsSearch":["x"],"ExtraHosts":["h:1.2.3.4"],
            "GroupAdd":["7"],"IpcMode":"private","Cgroup":"","Links":["db:db"],"OomScoreAdj":-5,"PidMode":"host","Privileged":false,
            "PublishAllPorts":true,"ReadonlyRootfs":true,"SecurityOpt":["no-new-privileges"],"StorageOpt":{"size":"1g"},
            "Tmpfs":{"/t":"size=1m"},"UTSMode":"host","UsernsMode":"host","ShmSize":1024,"Sysctls":{"net.core.somaxconn":"1"},
            "Runtime":"hako","Isolation":"","Mounts":[{"Type":"volume","Source":"v","Target":"/v"}],"MaskedPaths":[],
            "ReadonlyPaths":["/proc/sys"],"Init":true,"CpuShares":1,"Memory":8388608,"NanoCpus":2,"CgroupParent":"/p","BlkioWeight":10,
            "BlkioWeightDevice":[{"Path":"/dev/a","Weight":20}],"BlkioDeviceReadBps":[{"Path":"/dev/a","Rate":1}],
            "BlkioDeviceWriteBps":[{"Path":"/dev/a","Rate":2}],"BlkioDeviceReadIOps":[{"Path":"/dev/a","Rate":3}],
            "BlkioDeviceWriteIOps":[{"Path":"/dev/a","Rate":4}],"CpuPeriod":5,"CpuQuota":6,"CpuRealtimePeriod":7,
            "CpuRealtimeRuntime":8,"CpusetCpus":"0-1","CpusetMems":"0","Devices":[{"PathOnHost":"/dev/a","PathInContainer":"/dev/b",
            "CgroupPermissions":"r"}],"DeviceCgroupRules":["c 1:3 r"],"DeviceRequests":null,"KernelMemoryTCP":9,"MemoryReservation":10,
            "MemorySwap":-1,"MemorySwappiness":11,"OomKillDisable":true,"PidsLimit":12,
            "Ulimits":[{"Name":"nofile","Hard":20,"Soft":10}],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0}"#;
        let asked: serde_json::Value = serde_json::from_str(text).unwrap();
        let spec = host_spec(serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(host_config(&spec)).unwrap(), asked);
    }
}
