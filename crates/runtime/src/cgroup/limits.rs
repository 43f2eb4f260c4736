//! Which file a limit goes to: pure, for v1 and v2, tested as text.
//!
//! The numbers are Docker's: `--cpus` is a quota over 100 ms, swap on v2 is without the memory, shares and weights
//! are mapped linearly between the ranges of the two versions.

use std::os::unix::fs::MetadataExt;

use hako_model::{DeviceRate, Limits};

use super::CgroupError;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) file: String,
    pub(crate) value: String,
    /// Whether a host without the file is an error; defaults that nobody asked for are not.
    pub(crate) required: bool,
    /// On refusal, the second setting of the list is tried first and this one again after it.
    pub(crate) retried_last: bool,
}

fn setting(file: &str, value: impl ToString) -> Setting {
    Setting { file: file.to_owned(), value: value.to_string(), required: true, retried_last: false }
}

// For what kernels have or have not by configuration; Docker discards it with a warning.
fn optional(file: &str, value: impl ToString) -> Setting {
    Setting { required: false, ..setting(file, value) }
}

/// Period of `--cpus`, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

// Quota and period, however they were asked for.
pub(crate) fn cpu_quota(limits: &Limits) -> (Option<i64>, Option<u64>) {
    if limits.nano_cpus > 0 {
        let quota = limits.nano_cpus.saturating_mul(CPU_PERIOD_US) / 1_000_000_000;
        return (Some(quota as i64), Some(CPU_PERIOD_US));
    }
    let quota = (limits.cpu_quota_us != 0).then_some(limits.cpu_quota_us);
    (quota, (limits.cpu_period_us != 0).then_some(limits.cpu_period_us))
}

// Memory and swap together; `None`: leave it. The flag says whether a person asked for it.
fn memory_and_swap(limits: &Limits) -> Option<(i64, bool)> {
    match limits.memory_swap_bytes {
        0 if limits.memory_bytes == 0 => None,
        0 => Some(((limits.memory_bytes as i64).saturating_mul(2), false)),
        other => Some((other, true)),
    }
}

/// Settings for one v1 hierarchy.
pub(crate) fn settings_v1(limits: &Limits, controllers: &[String]) -> Result<Vec<Setting>, CgroupError> {
    let mut settings = Vec::new();
    for controller in controllers {
        match controller.as_str() {
            "memory" => memory_v1(limits, &mut settings),
            "cpu" => cpu_v1(limits, &mut settings),
            "cpuset" => cpuset(limits, &mut settings),
            "pids" => pids(limits, &mut settings),
            "blkio" => blkio_v1(limits, &mut settings)?,
            _ => {}
        }
    }
    Ok(settings)
}

fn memory_v1(limits: &Limits, settings: &mut Vec<Setting>) {
    if limits.memory_bytes > 0 {
        settings.push(Setting { retried_last: true, ..setting("memory.limit_in_bytes", limits.memory_bytes) });
    }
    if let Some((bytes, required)) = memory_and_swap(limits) {
        settings.push(Setting { required, ..setting("memory.memsw.limit_in_bytes", bytes) });
    }
    if limits.memory_reservation_bytes > 0 {
        settings.push(setting("memory.soft_limit_in_bytes", limits.memory_reservation_bytes));
    }
    if let Some(swappiness) = limits.memory_swappiness {
        settings.push(setting("memory.swappiness", swappiness));
    }
    if limits.kernel_memory_tcp_bytes > 0 {
        settings.push(optional("memory.kmem.tcp.limit_in_bytes", limits.kernel_memory_tcp_bytes));
    }
    if limits.oom_kill_disable {
        settings.push(setting("memory.oom_control", 1));
    }
}

fn cpu_v1(limits: &Limits, settings: &mut Vec<Setting>) {
    if limits.cpu_shares > 0 {
        settings.push(setting("cpu.shares", limits.cpu_shares));
    }
    let (quota, period) = cpu_quota(limits);
    if let Some(period) = period {
        settings.push(Setting { retried_last: quota.is_some(), ..setting("cpu.cfs_period_us", period) });
    }
    if let Some(quota) = quota {
        settings.push(setting("cpu.cfs_quota_us", quota));
    }
    if limits.cpu_rt_period_us > 0 {
        settings.push(setting("cpu.rt_period_us", limits.cpu_rt_period_us));
    }
    if limits.cpu_rt_runtime_us > 0 {
        settings.push(setting("cpu.rt_runtime_us", limits.cpu_rt_runtime_us));
    }
}

fn cpuset(limits: &Limits, settings: &mut Vec<Setting>) {
    if !limits.cpuset_cpus.is_empty() {
        settings.push(setting("cpuset.cpus", &limits.cpuset_cpus));
    }
    if !limits.cpuset_mems.is_empty() {
        settings.push(setting("cpuset.mems", &limits.cpuset_mems));
    }
}

fn pids(limits: &Limits, settings: &mut Vec<Setting>) {
    match limits.pids_max {
        0 => {}
        1.. => settings.push(setting("pids.max", limits.pids_max)),
        _ => settings.push(setting("pids.max", "max")),
    }
}

fn blkio_v1(limits: &Limits, settings: &mut Vec<Setting>) -> Result<(), CgroupError> {
    if limits.blkio_weight > 0 {
        settings.push(optional("blkio.bfq.weight", limits.blkio_weight));
    }
    for device in &limits.blkio_weight_device {
        settings.push(optional("blkio.bfq.weight_device", format!("{} {}", number(&device.path)?, device.weight)));
    }
    for (file, rates) in [
        ("blkio.throttle.read_bps_device", &limits.read_bps),
        ("blkio.throttle.write_bps_device", &limits.write_bps),
        ("blkio.throttle.read_iops_device", &limits.read_iops),
        ("blkio.throttle.write_iops_device", &limits.write_iops),
    ] {
        for DeviceRate { path, rate } in rates {
            settings.push(setting(file, format!("{} {rate}", number(path)?)));
        }
    }
    Ok(())
}

/// Settings for the v2 tree, as far as it has the controllers.
pub(crate) fn settings_v2(limits: &Limits, controllers: &[String]) -> Result<Vec<Setting>, CgroupError> {
    let mut settings = Vec::new();
    for controller in controllers {
        match controller.as_str() {
            "memory" => memory_v2(limits, &mut settings),
            "cpu" => cpu_v2(limits, &mut settings),
            "cpuset" => cpuset(limits, &mut settings),
            "pids" => pids(limits, &mut settings),
            "io" => io_v2(limits, &mut settings)?,
            _ => {}
        }
    }
    Ok(settings)
}

fn memory_v2(limits: &Limits, settings: &mut Vec<Setting>) {
    if limits.memory_bytes > 0 {
        settings.push(setting("memory.max", limits.memory_bytes));
    }
    if let Some((bytes, required)) = memory_and_swap(limits) {
        let swap = if bytes < 0 { "max".to_owned() } else { (bytes - limits.memory_bytes as i64).max(0).to_string() };
        settings.push(Setting { required, ..setting("memory.swap.max", swap) });
    }
    if limits.memory_reservation_bytes > 0 {
        settings.push(setting("memory.low", limits.memory_reservation_bytes));
    }
}

fn cpu_v2(limits: &Limits, settings: &mut Vec<Setting>) {
    if limits.cpu_shares > 0 {
        // 2..=262144 onto 1..=10000.
        let weight = 1 + (limits.cpu_shares.clamp(2, 262_144) - 2) * 9_999 / 262_142;
        settings.push(setting("cpu.weight", weight));
    }
    let (quota, period) = cpu_quota(limits);
    if quota.is_some() || period.is_some() {
        let quota = quota.filter(|quota| *quota > 0).map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        settings.push(setting("cpu.max", format!("{quota} {}", period.unwrap_or(CPU_PERIOD_US))));
    }
}

fn io_v2(limits: &Limits, settings: &mut Vec<Setting>) -> Result<(), CgroupError> {
    if limits.blkio_weight > 0 {
        // 10..=1000 onto 1..=10000.
        let weight = 1 + (u64::from(limits.blkio_weight.clamp(10, 1_000)) - 10) * 9_999 / 990;
        settings.push(optional("io.weight", format!("default {weight}")));
    }
    for (key, rates) in [
        ("rbps", &limits.read_bps),
        ("wbps", &limits.write_bps),
        ("riops", &limits.read_iops),
        ("wiops", &limits.write_iops),
    ] {
        for DeviceRate { path, rate } in rates {
            settings.push(setting("io.max", format!("{} {key}={rate}", number(path)?)));
        }
    }
    Ok(())
}

// `8:0` for the device node at a path of the host.
fn number(path: &str) -> Result<String, CgroupError> {
    let device =
        std::fs::metadata(path).map_err(|source| CgroupError::Device { path: path.to_owned(), source })?.rdev();
    Ok(format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(settings: &[Setting]) -> String {
        settings.iter().map(|one| format!("{}={}\n", one.file, one.value)).collect()
    }

    fn all(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn check(limits: &Limits, v1: &str, v2: &str) {
        let controllers = all(&["memory", "cpu", "cpuset", "pids", "blkio", "io"]);
        assert_eq!(text(&settings_v1(limits, &controllers).unwrap()), v1);
        assert_eq!(text(&settings_v2(limits, &controllers).unwrap()), v2);
    }

    #[test]
    fn nothing_asked_is_nothing_written() {
        check(&Limits::default(), "", "");
    }

    #[test]
    fn memory_without_swap_is_given_as_much_swap() {
        check(
            &Limits { memory_bytes: 1 << 20, ..Limits::default() },
            "memory.limit_in_bytes=1048576\nmemory.memsw.limit_in_bytes=2097152\n",
            "memory.max=1048576\nmemory.swap.max=1048576\n",
        );
        check(
            &Limits { memory_bytes: 100, memory_swap_bytes: -1, ..Limits::default() },
            "memory.limit_in_bytes=100\nmemory.memsw.limit_in_bytes=-1\n",
            "memory.max=100\nmemory.swap.max=max\n",
        );
    }

    #[test]
    fn cpus_are_a_quota() {
        check(
            &Limits { nano_cpus: 1_500_000_000, cpu_shares: 1024, pids_max: -1, ..Limits::default() },
            "cpu.shares=1024\ncpu.cfs_period_us=100000\ncpu.cfs_quota_us=150000\npids.max=max\n",
            "cpu.weight=39\ncpu.max=150000 100000\npids.max=max\n",
        );
    }

    #[test]
    fn a_hierarchy_only_gets_its_own() {
        let limits = Limits { memory_bytes: 1, pids_max: 5, ..Limits::default() };
        assert_eq!(text(&settings_v1(&limits, &all(&["pids"])).unwrap()), "pids.max=5\n");
    }

    #[test]
    fn a_rate_needs_a_device() {
        let rates = vec![DeviceRate { path: "/dev/nosuch".to_owned(), rate: 1 }];
        let limits = Limits { read_bps: rates, ..Limits::default() };
        assert!(matches!(settings_v2(&limits, &all(&["io"])), Err(CgroupError::Device { .. })));
    }
}
