//! What a container may use of the machine. Zero and `None` mean "as the host has it".

use serde::{Deserialize, Serialize};

/// Limits that become cgroup settings, and process limits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub memory_bytes: u64,
    pub memory_reservation_bytes: u64,
    /// Memory and swap together; −1 unlimited, 0 twice the memory.
    pub memory_swap_bytes: i64,
    /// 0 to 100 (cgroup v1 only).
    pub memory_swappiness: Option<u8>,
    pub kernel_memory_tcp_bytes: u64,
    pub oom_kill_disable: bool,
    pub oom_score_adj: i32,
    /// Billionths of a CPU: `--cpus 1.5` is 1,500,000,000.
    pub nano_cpus: u64,
    pub cpu_shares: u64,
    pub cpu_period_us: u64,
    pub cpu_quota_us: i64,
    pub cpu_rt_period_us: u64,
    pub cpu_rt_runtime_us: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    /// 0: nothing was said; [`Limits::PIDS_UNLIMITED`]: a limit was taken away.
    pub pids_max: i64,
    pub blkio_weight: u16,
    pub blkio_weight_device: Vec<DeviceWeight>,
    pub read_bps: Vec<DeviceRate>,
    pub write_bps: Vec<DeviceRate>,
    pub read_iops: Vec<DeviceRate>,
    pub write_iops: Vec<DeviceRate>,
    pub ulimits: Vec<Ulimit>,
}

impl Limits {
    /// As many processes as the host allows, said in so many words.
    pub const PIDS_UNLIMITED: i64 = -1;
}

/// The share of I/O time that a container gets of one device (a path on the host).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    pub path: String,
    pub weight: u16,
}

/// Bytes or operations a second on one device (a path on the host).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    pub path: String,
    pub rate: u64,
}

/// `--ulimit nofile=1024:2048`; −1 is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As in `setrlimit(2)`, lower case, without `RLIMIT_`.
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}
