//! What a container may use of the machine: `Resources` and [`Limits`].

use hako_api::container::{Resources, ThrottleDevice, Ulimit as ApiUlimit, WeightDevice};
use hako_model::{DeviceRate, DeviceWeight, Limits, Ulimit};

use crate::{
    convert::{signed, unsigned},
    error::Failure,
};

/// The limits of a request. Windows' fields (`CpuCount`, `CpuPercent`, `IOMaximum…`) are ignored, as
/// Docker ignores them on Linux.
pub(crate) fn limits(from: &Resources) -> Result<Limits, Failure> {
    // −1 is how clients say "no limit".
    let amount = |what, number: i64| if number == -1 { Ok(0) } else { unsigned(what, number) };
    let swappiness = match from.memory_swappiness {
        None | Some(-1) => None,
        Some(value) => Some(u8::try_from(value).ok().filter(|value| *value <= 100).ok_or_else(|| {
            Failure::invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100"))
        })?),
    };
    Ok(Limits {
        memory_bytes: u64::try_from(from.memory)
            .map_err(|_| Failure::invalid("Minimum memory limit allowed is 6MB".to_owned()))?,
        memory_reservation_bytes: amount("memory reservation", from.memory_reservation)?,
        memory_swap_bytes: from.memory_swap,
        memory_swappiness: swappiness,
        kernel_memory_tcp_bytes: amount("kernel TCP memory limit", from.kernel_memory_tcp)?,
        oom_kill_disable: from.oom_kill_disable.unwrap_or_default(),
        oom_score_adj: 0,
        // Less than none is as far out of range as more than there are, and told in the same words; so is a period.
        nano_cpus: u64::try_from(from.nano_cpus).unwrap_or(u64::MAX),
        cpu_shares: u64::try_from(from.cpu_shares).map_err(|_| {
            Failure::invalid(format!("invalid CPU shares ({}): value must be a positive integer", from.cpu_shares))
        })?,
        cpu_period_us: u64::try_from(from.cpu_period).unwrap_or(u64::MAX),
        cpu_quota_us: from.cpu_quota,
        cpu_rt_period_us: unsigned("CPU real-time period", from.cpu_realtime_period)?,
        cpu_rt_runtime_us: from.cpu_realtime_runtime,
        cpuset_cpus: from.cpuset_cpus.clone(),
        cpuset_mems: from.cpuset_mems.clone(),
        // As Docker: everything below one is no limit.
        pids_max: from.pids_limit.unwrap_or_default().max(0),
        blkio_weight: from.blkio_weight,
        blkio_weight_device: from.blkio_weight_device.iter().flatten().map(weight).collect(),
        read_bps: rates(from.blkio_device_read_bps.as_ref()),
        write_bps: rates(from.blkio_device_write_bps.as_ref()),
        read_iops: rates(from.blkio_device_read_iops.as_ref()),
        write_iops: rates(from.blkio_device_write_iops.as_ref()),
        ulimits: from
            .ulimits
            .iter()
            .flatten()
            .map(|limit| Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
    })
}

fn weight(from: &WeightDevice) -> DeviceWeight {
    DeviceWeight { path: from.path.clone(), weight: from.weight }
}

fn rates(from: Option<&Vec<ThrottleDevice>>) -> Vec<DeviceRate> {
    from.into_iter().flatten().map(|device| DeviceRate { path: device.path.clone(), rate: device.rate }).collect()
}

/// The limits as `inspect` shows them; devices and the cgroup's parent are the caller's.
pub(crate) fn limits_to_api(limits: &Limits) -> Resources {
    let devices = |rates: &[DeviceRate]| {
        Some(rates.iter().map(|device| ThrottleDevice { path: device.path.clone(), rate: device.rate }).collect())
    };
    // Docker writes down what the default comes to.
    let memory_swap = match (limits.memory_bytes, limits.memory_swap_bytes) {
        (memory, 0) if memory > 0 => signed(memory.saturating_mul(2)),
        (_, swap) => swap,
    };
    Resources {
        cpu_shares: signed(limits.cpu_shares),
        memory: signed(limits.memory_bytes),
        nano_cpus: signed(limits.nano_cpus),
        blkio_weight: limits.blkio_weight,
        blkio_weight_device: Some(
            limits
                .blkio_weight_device
                .iter()
                .map(|device| WeightDevice { path: device.path.clone(), weight: device.weight })
                .collect(),
        ),
        blkio_device_read_bps: devices(&limits.read_bps),
        blkio_device_write_bps: devices(&limits.write_bps),
        blkio_device_read_iops: devices(&limits.read_iops),
        blkio_device_write_iops: devices(&limits.write_iops),
        cpu_period: signed(limits.cpu_period_us),
        cpu_quota: limits.cpu_quota_us,
        cpu_realtime_period: signed(limits.cpu_rt_period_us),
        cpu_realtime_runtime: limits.cpu_rt_runtime_us,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        kernel_memory_tcp: signed(limits.kernel_memory_tcp_bytes),
        memory_reservation: signed(limits.memory_reservation_bytes),
        memory_swap,
        memory_swappiness: limits.memory_swappiness.map(i64::from),
        oom_kill_disable: Some(limits.oom_kill_disable),
        // A limit that an update has taken away is 0, one that never was is nothing.
        pids_limit: (limits.pids_max != 0).then_some(limits.pids_max.max(0)),
        ulimits: Some(
            limits
                .ulimits
                .iter()
                .map(|limit| ApiUlimit { name: limit.name.clone(), hard: limit.hard, soft: limit.soft })
                .collect(),
        ),
        ..Resources::default()
    }
}
