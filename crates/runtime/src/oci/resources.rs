//! `linux.resources` as writes to cgroup files: pure, for v1 and v2, tested as text.
//!
//! What a host cannot enforce is an error, as the specification demands, except for kernel memory, which kernels have
//! given up. Numbers of v1 that v2 has in another form are converted as the kernel's documentation relates them.

use super::{
    config::{BlockIo, Cpu, DeviceRule as Rule, Memory, RateDevice, Resources},
    error::OciError,
};
use crate::{
    cgroup::{DeviceRule, DeviceRules, Setting},
    plan::DeviceKind,
};

fn set(file: impl Into<String>, value: impl ToString) -> Setting {
    Setting { file: file.into(), value: value.to_string(), required: true, retried_last: false }
}

/// The controllers that are asked for. Each stands for the names that it has on v1 and v2.
pub(super) fn wanted(resources: &Resources) -> Vec<&'static str> {
    let cpu = &resources.cpu;
    let quota = cpu.shares.or(cpu.period).or(cpu.burst).or(cpu.realtime_period).is_some()
        || cpu.quota.or(cpu.realtime_runtime).or(cpu.idle).is_some();
    [
        (
            "memory",
            resources.memory != Memory { disable_oom_killer: None, ..Memory::default() } && asks(&resources.memory),
        ),
        ("cpu", quota),
        ("cpuset", !cpu.cpus.is_empty() || !cpu.mems.is_empty()),
        ("pids", resources.pids.limit.is_some()),
        ("io", resources.block_io != BlockIo::default() && resources.block_io.weight != Some(0)),
        ("hugetlb", !resources.hugepage_limits.is_empty()),
        ("rdma", !resources.rdma.is_empty()),
        ("net_cls", resources.network.class_id.is_some_and(|class| class > 0)),
        ("net_prio", !resources.network.priorities.is_empty()),
    ]
    .into_iter()
    .filter(|(_, wanted)| *wanted)
    .map(|(name, _)| name)
    .collect()
}

fn asks(memory: &Memory) -> bool {
    let Memory { limit, reservation, swap, swappiness, disable_oom_killer, .. } = memory;
    limit.or(*reservation).or(*swap).is_some() || swappiness.is_some() || *disable_oom_killer == Some(true)
}

/// The name that a controller has on v1.
pub(super) fn name_v1(controller: &str) -> &str {
    if controller == "io" { "blkio" } else { controller }
}

/// Writes for one v1 hierarchy.
pub(super) fn settings_v1(resources: &Resources, controllers: &[String]) -> Vec<Setting> {
    let mut settings = Vec::new();
    for controller in controllers {
        match controller.as_str() {
            "memory" => memory_v1(&resources.memory, &mut settings),
            "cpu" => cpu_v1(&resources.cpu, &mut settings),
            "cpuset" => cpuset(&resources.cpu, &mut settings),
            "pids" => pids(resources, &mut settings),
            "blkio" => block_v1(&resources.block_io, &mut settings),
            "hugetlb" => {
                for one in &resources.hugepage_limits {
                    let file = |kind: &str| format!("hugetlb.{}.{kind}limit_in_bytes", one.page_size);
                    settings.push(set(file(""), one.limit));
                    // Reservations are accounted since Linux 5.7.
                    settings.push(Setting { required: false, ..set(file("rsvd."), one.limit) });
                }
            }
            "rdma" => rdma(resources, &mut settings),
            "net_cls" => settings.extend(resources.network.class_id.map(|class| set("net_cls.classid", class))),
            "net_prio" => {
                let line = |one: &super::config::Priority| format!("{} {}", one.name, one.priority);
                settings.extend(resources.network.priorities.iter().map(|one| set("net_prio.ifpriomap", line(one))));
            }
            _ => {}
        }
    }
    settings
}

fn memory_v1(memory: &Memory, settings: &mut Vec<Setting>) {
    // Without a limit of memory one of memory and swap would be what is left of the last update.
    let swap = memory.swap.or_else(|| memory.limit.filter(|limit| *limit == -1));
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        let retried_last = swap.is_some_and(|swap| swap != 0);
        settings.push(Setting { retried_last, ..set("memory.limit_in_bytes", limit) });
    }
    if let Some(swap) = swap.filter(|swap| *swap != 0) {
        // Without swap accounting there is no such file, and unlimited is what there is.
        settings.push(Setting { required: swap > 0, ..set("memory.memsw.limit_in_bytes", swap) });
    }
    if let Some(reservation) = memory.reservation.filter(|bytes| *bytes != 0) {
        settings.push(set("memory.soft_limit_in_bytes", reservation));
    }
    if let Some(swappiness) = memory.swappiness {
        settings.push(set("memory.swappiness", swappiness));
    }
    if let Some(bytes) = memory.kernel_tcp.filter(|bytes| *bytes != 0) {
        settings.push(Setting { required: false, ..set("memory.kmem.tcp.limit_in_bytes", bytes) });
    }
    if memory.disable_oom_killer == Some(true) {
        settings.push(set("memory.oom_control", 1));
    }
}

fn cpu_v1(cpu: &Cpu, settings: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        settings.push(set("cpu.shares", shares));
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        settings.push(set("cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        settings.push(set("cpu.rt_runtime_us", runtime));
    }
    if let Some(period) = cpu.period.filter(|period| *period != 0) {
        let retried_last = cpu.quota.is_some_and(|quota| quota != 0);
        settings.push(Setting { retried_last, ..set("cpu.cfs_period_us", period) });
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        settings.push(set("cpu.cfs_quota_us", quota));
    }
    if let Some(burst) = cpu.burst {
        settings.push(set("cpu.cfs_burst_us", burst));
    }
    if let Some(idle) = cpu.idle {
        settings.push(set("cpu.idle", idle));
    }
}

fn cpuset(cpu: &Cpu, settings: &mut Vec<Setting>) {
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            settings.push(set(file, value));
        }
    }
}

fn pids(resources: &Resources, settings: &mut Vec<Setting>) {
    match resources.pids.limit {
        None => {}
        Some(limit) if limit < 0 => settings.push(set("pids.max", "max")),
        // As runc: none at all would be a container without its own process.
        Some(limit) => settings.push(set("pids.max", limit.max(1))),
    }
}

fn block_v1(io: &BlockIo, settings: &mut Vec<Setting>) {
    // The older scheduler's files first; which of them there are depends on the kernel.
    let weight = |value: u16, suffix: &str, device: &str| {
        let line = format!("{device}{value}");
        let older = Setting { required: false, ..set(format!("blkio.{suffix}"), &line) };
        [older, Setting { required: false, ..set(format!("blkio.bfq.{suffix}"), line) }]
    };
    if let Some(value) = io.weight.filter(|value| *value != 0) {
        settings.extend(weight(value, "weight", ""));
    }
    if let Some(value) = io.leaf_weight.filter(|value| *value != 0) {
        settings.push(Setting { required: false, ..set("blkio.leaf_weight", value) });
    }
    for one in &io.weight_device {
        let device = format!("{}:{} ", one.major, one.minor);
        if let Some(value) = one.weight {
            settings.extend(weight(value, "weight_device", &device));
        }
        if let Some(value) = one.leaf_weight {
            settings.push(Setting { required: false, ..set("blkio.leaf_weight_device", format!("{device}{value}")) });
        }
    }
    for (file, rates, _) in rates(io) {
        settings.extend(
            rates
                .iter()
                .map(|one| set(format!("blkio.throttle.{file}"), format!("{}:{} {}", one.major, one.minor, one.rate))),
        );
    }
}

fn rates(io: &BlockIo) -> [(&'static str, &[RateDevice], &'static str); 4] {
    [
        ("read_bps_device", &io.throttle_read_bps_device, "rbps"),
        ("write_bps_device", &io.throttle_write_bps_device, "wbps"),
        ("read_iops_device", &io.throttle_read_iops_device, "riops"),
        ("write_iops_device", &io.throttle_write_iops_device, "wiops"),
    ]
}

fn rdma(resources: &Resources, settings: &mut Vec<Setting>) {
    for (device, limit) in &resources.rdma {
        let handles = limit.hca_handles.map(|count| format!(" hca_handle={count}")).unwrap_or_default();
        let objects = limit.hca_objects.map(|count| format!(" hca_object={count}")).unwrap_or_default();
        settings.push(set("rdma.max", format!("{device}{handles}{objects}")));
    }
}

/// Writes for the v2 tree, as far as it has the controllers.
///
/// # Errors
/// For what v2 has not and nothing stands for.
pub(super) fn settings_v2(resources: &Resources, controllers: &[String]) -> Result<Vec<Setting>, OciError> {
    let mut settings = Vec::new();
    for controller in controllers {
        match controller.as_str() {
            "memory" => memory_v2(&resources.memory, &mut settings)?,
            "cpu" => cpu_v2(&resources.cpu, &mut settings)?,
            "cpuset" => cpuset(&resources.cpu, &mut settings),
            "pids" => pids(resources, &mut settings),
            "io" => io_v2(&resources.block_io, &mut settings),
            "hugetlb" => {
                for one in &resources.hugepage_limits {
                    settings.push(set(format!("hugetlb.{}.max", one.page_size), one.limit));
                    let reserved = set(format!("hugetlb.{}.rsvd.max", one.page_size), one.limit);
                    settings.push(Setting { required: false, ..reserved });
                }
            }
            "rdma" => rdma(resources, &mut settings),
            _ => {}
        }
    }
    for (file, value) in &resources.unified {
        let plain = !file.is_empty() && !file.contains('/') && file.contains('.');
        if !plain {
            return Err(OciError::invalid("linux.resources.unified", format!("{file:?} is not a file of a cgroup")));
        }
        // One line a write: `io.max` takes one device at a time.
        settings.extend(value.lines().map(|line| set(file.clone(), line)));
    }
    Ok(settings)
}

fn max_or(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}

fn memory_v2(memory: &Memory, settings: &mut Vec<Setting>) -> Result<(), OciError> {
    let limit = memory.limit.filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        settings.push(set("memory.max", max_or(limit)));
    }
    match (memory.swap.filter(|swap| *swap != 0), limit) {
        (None, Some(limit)) if limit < 0 => settings.push(Setting { required: false, ..set("memory.swap.max", "max") }),
        (None, _) => {}
        (Some(swap), _) if swap < 0 => settings.push(Setting { required: false, ..set("memory.swap.max", "max") }),
        // On v1 the number is memory and swap together.
        (Some(swap), Some(limit)) if limit >= 0 && swap >= limit => settings.push(set("memory.swap.max", swap - limit)),
        (Some(_), _) => {
            return Err(OciError::invalid("linux.resources.memory.swap", "it must be memory and swap together"));
        }
    }
    if let Some(reservation) = memory.reservation.filter(|bytes| *bytes != 0) {
        settings.push(set("memory.low", max_or(reservation)));
    }
    if memory.disable_oom_killer == Some(true) {
        return Err(OciError::unsupported("linux.resources.memory.disableOOMKiller", "cgroup v2 has no such setting"));
    }
    Ok(())
}

fn cpu_v2(cpu: &Cpu, settings: &mut Vec<Setting>) -> Result<(), OciError> {
    if cpu.realtime_period.or(cpu.realtime_runtime.map(|_| 1)).is_some_and(|value| value != 0) {
        return Err(OciError::unsupported("linux.resources.cpu.realtimeRuntime", "cgroup v2 has no such setting"));
    }
    if let Some(idle) = cpu.idle {
        settings.push(set("cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        // 2..=262144 onto 1..=10000.
        settings.push(set("cpu.weight", 1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142));
    }
    if let Some(burst) = cpu.burst {
        settings.push(set("cpu.max.burst", burst));
    }
    let (quota, period) = (cpu.quota.filter(|quota| *quota != 0), cpu.period.filter(|period| *period != 0));
    if quota.is_some() || period.is_some() {
        let quota = max_or(quota.unwrap_or(-1));
        let period = period.map(|period| format!(" {period}")).unwrap_or_default();
        settings.push(set("cpu.max", format!("{quota}{period}")));
    }
    Ok(())
}

fn io_v2(io: &BlockIo, settings: &mut Vec<Setting>) {
    // 10..=1000 onto 1..=10000.
    let weight = |value: u16| 1 + (u64::from(value.clamp(10, 1_000)) - 10) * 9_999 / 990;
    if let Some(value) = io.weight.filter(|value| *value != 0) {
        settings.push(Setting { required: false, ..set("io.bfq.weight", value) });
        settings.push(Setting { required: false, ..set("io.weight", format!("default {}", weight(value))) });
    }
    for one in &io.weight_device {
        if let Some(value) = one.weight {
            let line = format!("{}:{} {value}", one.major, one.minor);
            settings.push(Setting { required: false, ..set("io.bfq.weight", line) });
        }
    }
    for (_, rates, key) in rates(io) {
        settings
            .extend(rates.iter().map(|one| set("io.max", format!("{}:{} {key}={}", one.major, one.minor, one.rate))));
    }
}

/// What containers may use whatever their configuration says: the devices that every one has.
const ALWAYS: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// The rules for devices: those of the configuration in their order, then what always holds.
///
/// # Errors
/// For types, numbers and permissions that are none.
pub(super) fn device_rules(rules: &[Rule]) -> Result<DeviceRules, OciError> {
    let mut list = Vec::new();
    for rule in rules {
        translate(rule, &mut list).map_err(|reason| OciError::invalid("linux.resources.devices", reason))?;
    }
    let everything = list.iter().rposition(|rule: &DeviceRule| is_everything(rule));
    if everything == list.len().checked_sub(1) && list.last().is_some_and(|rule| rule.allow) {
        return Ok(DeviceRules::All);
    }
    // Making nodes is not using them, and images unpack with nodes in them.
    for kind in [DeviceKind::Character, DeviceKind::Block] {
        list.push(DeviceRule { read: false, write: false, ..DeviceRule::of(kind, None, None) });
    }
    list.extend(ALWAYS.map(|(major, minor)| DeviceRule::of(DeviceKind::Character, Some(major), minor)));
    Ok(DeviceRules::List(list))
}

fn is_everything(rule: &DeviceRule) -> bool {
    rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && rule.read && rule.write && rule.mknod
}

fn translate(rule: &Rule, list: &mut Vec<DeviceRule>) -> Result<(), String> {
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| format!("{number} is no device number")),
    };
    // `a` is of older configurations and means nothing (runc takes it too); alone it would be a rule about nothing.
    let plain = |letter: char| "rwma".contains(letter);
    if !rule.access.chars().all(plain) || (!rule.access.is_empty() && rule.access.chars().all(|letter| letter == 'a')) {
        return Err(format!("{:?} is not of r, w and m", rule.access));
    }
    let access = if rule.access.is_empty() { "rwm" } else { &rule.access };
    let (major, minor) = (number(rule.major)?, number(rule.minor)?);
    let of = |kind| DeviceRule { allow: rule.allow, ..DeviceRule::of(kind, major, minor).with_permissions(access) };
    match rule.kind.as_str() {
        "c" => list.push(of(DeviceKind::Character)),
        "b" => list.push(of(DeviceKind::Block)),
        "" | "a" => {
            let all = DeviceRule { kind: None, ..of(DeviceKind::Character) };
            // The kernel of v1 takes a line about all kinds as one about everything.
            match is_everything(&all) {
                true => list.push(all),
                false => list.extend([of(DeviceKind::Character), of(DeviceKind::Block)]),
            }
        }
        other => return Err(format!("{other:?} is no type of device")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> Resources {
        serde_json::from_str(json).unwrap()
    }

    fn text(settings: &[Setting]) -> String {
        settings.iter().map(|one| format!("{}={}\n", one.file, one.value)).collect()
    }

    fn check(json: &str, v1: &str, v2: &str) {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let resources = resources(json);
        assert_eq!(
            text(&settings_v1(&resources, &all(&["memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_cls"]))),
            v1
        );
        let got = match settings_v2(&resources, &all(&["memory", "cpu", "cpuset", "pids", "io", "hugetlb"])) {
            Ok(settings) => text(&settings),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, v2);
    }

    #[test]
    fn nothing_asked_is_nothing_written() {
        check("{}", "", "");
        check(
            r#"{"memory":null,"cpu":{},"memory":{"disableOOMKiller":false}}"#.replace("\"memory\":null,", "").as_str(),
            "",
            "",
        );
        assert!(wanted(&resources(r#"{"memory":{"disableOOMKiller":false},"devices":[{"allow":false}]}"#)).is_empty());
    }

    #[test]
    fn memory_with_swap_is_swap_alone_on_v2() {
        check(
            r#"{"memory":{"limit":100,"swap":300,"reservation":50},"pids":{"limit":0}}"#,
            "memory.limit_in_bytes=100\nmemory.memsw.limit_in_bytes=300\nmemory.soft_limit_in_bytes=50\npids.max=1\n",
            "memory.max=100\nmemory.swap.max=200\nmemory.low=50\npids.max=1\n",
        );
        check(
            r#"{"memory":{"limit":-1},"pids":{"limit":-1}}"#,
            "memory.limit_in_bytes=-1\nmemory.memsw.limit_in_bytes=-1\npids.max=max\n",
            "memory.max=max\nmemory.swap.max=max\npids.max=max\n",
        );
    }

    #[test]
    fn processors_are_shared_out() {
        check(
            r#"{"cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1","burst":10}}"#,
            "cpu.shares=1024\ncpu.cfs_period_us=100000\ncpu.cfs_quota_us=50000\ncpu.cfs_burst_us=10\ncpuset.cpus=0-1\n",
            "cpu.weight=39\ncpu.max.burst=10\ncpu.max=50000 100000\ncpuset.cpus=0-1\n",
        );
    }

    #[test]
    fn what_v2_has_not_is_an_error_there() {
        check(
            r#"{"memory":{"disableOOMKiller":true}}"#,
            "memory.oom_control=1\n",
            "linux.resources.memory.disableOOMKiller is not supported: cgroup v2 has no such setting",
        );
        check(r#"{"unified":{"../x":"1"}}"#, "", "invalid linux.resources.unified: \"../x\" is not a file of a cgroup");
    }

    #[test]
    fn the_last_word_about_devices_is_what_every_container_needs() {
        let DeviceRules::List(rules) =
            device_rules(&resources(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).devices).unwrap()
        else {
            panic!("not everything is allowed");
        };
        assert!(!rules[0].allow && rules.iter().skip(1).all(|rule| rule.allow));
        let everything = resources(r#"{"devices":[{"allow":false},{"allow":true,"type":"a","access":"rwm"}]}"#);
        assert_eq!(device_rules(&everything.devices).unwrap(), DeviceRules::All);
        assert!(device_rules(&resources(r#"{"devices":[{"allow":true,"type":"x"}]}"#).devices).is_err());
    }

    #[test]
    fn letters_of_a_device_rule_have_no_order() {
        let rules = |access: &str| {
            let text =
                format!(r#"{{"devices":[{{"allow":true,"type":"c","major":1,"minor":11,"access":"{access}"}}]}}"#);
            device_rules(&resources(&text).devices)
        };
        let usual = rules("rw").unwrap();
        for same in ["wr", "rwr", "rwa", "awar"] {
            assert_eq!(rules(same).unwrap(), usual, "{same}");
        }
        assert_eq!(rules("").unwrap(), rules("mrw").unwrap());
        for wrong in ["a", "aa", "rx", "R", "r,w"] {
            assert!(rules(wrong).is_err(), "{wrong}");
        }
    }
}
