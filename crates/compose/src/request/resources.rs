//! What a container may use of the machine.

use hako_api::container::{DeviceMapping, DeviceRequest, Resources, ThrottleDevice, Ulimit, WeightDevice};

use crate::service::{self, Amounts, BlkioRate, Service};

pub(super) fn resources(service: &Service) -> Resources {
    let deploy = service.deploy.clone().unwrap_or_default();
    let limits = deploy.resources.limits.unwrap_or_default();
    let reserved = deploy.resources.reservations.unwrap_or_default();
    let cpus = if limits.cpus > 0.0 { limits.cpus } else { service.cpus };
    let pids = if limits.pids != 0 { limits.pids } else { service.pids_limit };
    let or = |first: i64, second: i64| if first != 0 { first } else { second };
    let blkio = service.blkio_config.clone().unwrap_or_default();
    let weights = blkio.weight_device.iter().map(|it| WeightDevice { path: it.path.clone(), weight: it.weight });
    Resources {
        cpu_shares: service.cpu_shares,
        memory: or(limits.memory, service.mem_limit),
        nano_cpus: (cpus * 1e9).round() as i64,
        cgroup_parent: service.cgroup_parent.clone(),
        blkio_weight: blkio.weight,
        blkio_weight_device: Some(weights.collect()),
        blkio_device_read_bps: rates(&blkio.device_read_bps),
        blkio_device_write_bps: rates(&blkio.device_write_bps),
        blkio_device_read_iops: rates(&blkio.device_read_iops),
        blkio_device_write_iops: rates(&blkio.device_write_iops),
        cpu_period: service.cpu_period,
        cpu_quota: service.cpu_quota,
        cpu_realtime_period: service.cpu_rt_period,
        cpu_realtime_runtime: service.cpu_rt_runtime,
        cpuset_cpus: service.cpuset.clone(),
        devices: Some(service.devices.iter().map(device).collect()),
        device_cgroup_rules: Some(service.device_cgroup_rules.clone()),
        device_requests: Some(requests(service, &reserved)),
        memory_reservation: or(reserved.memory, service.mem_reservation),
        memory_swap: service.memswap_limit,
        memory_swappiness: service.mem_swappiness.as_ref().and_then(|text| text.parse().ok()),
        oom_kill_disable: service.oom_kill_disable.then_some(true),
        pids_limit: (pids != 0).then_some(pids),
        ulimits: Some(service.ulimits.iter().map(|(name, limit)| ulimit(name, limit)).collect()),
        cpu_count: service.cpu_count,
        cpu_percent: service.cpu_percent as i64,
        ..Resources::default()
    }
}

fn rates(rates: &[BlkioRate]) -> Option<Vec<ThrottleDevice>> {
    let rate = |it: &BlkioRate| ThrottleDevice { path: it.path.clone(), rate: it.rate.unsigned_abs() };
    Some(rates.iter().map(rate).collect())
}

fn device(device: &service::Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: device.source.clone(),
        path_in_container: device.target.clone(),
        cgroup_permissions: device.permissions.clone(),
    }
}

fn ulimit(name: &str, limit: &service::Limit) -> Ulimit {
    let (soft, hard) = match limit {
        service::Limit::Both(value) => (*value, *value),
        service::Limit::Each { soft, hard } => (*soft, *hard),
    };
    Ulimit { name: name.to_owned(), soft, hard }
}

fn requests(service: &Service, reserved: &Amounts) -> Vec<DeviceRequest> {
    let is_gpu = |list: &[String]| if list.is_empty() { vec!["gpu".to_owned()] } else { list.to_vec() };
    let all = reserved.devices.iter().map(|it| (it, it.capabilities.clone()));
    let all = all.chain(service.gpus.iter().map(|it| (it, is_gpu(&it.capabilities))));
    all.map(|(it, capabilities)| DeviceRequest {
        driver: it.driver.clone(),
        count: match &it.count {
            Some(serde_json::Value::Number(count)) => count.as_i64().unwrap_or(-1),
            Some(_) => -1,
            None if it.device_ids.is_empty() => -1,
            None => 0,
        },
        device_ids: (!it.device_ids.is_empty()).then(|| it.device_ids.clone()),
        capabilities: Some(vec![capabilities]),
        options: (!it.options.is_empty()).then(|| it.options.clone()),
    })
    .collect()
}
