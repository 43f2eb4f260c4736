//! What the runtime tells: processes and numbers of a container, its own features, a configuration to begin with.
//!
//! The shapes are runc's and the specification's; whoever prints them is the command line.

use serde::Serialize;
use serde_json::{Value, json};

use super::{error::OciError, mount_option, record::Container};
use crate::{
    capability::CapSet,
    cgroup::{IoEntry, Layout, Stats},
    plan, seccomp,
};

/// The processes of a container, by the host's numbers.
///
/// # Errors
/// [`OciError::Cgroup`].
pub fn pids(container: &Container) -> Result<Vec<u32>, OciError> {
    Ok(container.cgroup()?.pids()?)
}

/// What it has used, as `events --stats` prints it.
///
/// # Errors
/// [`OciError::NotRunning`].
pub fn stats(container: &Container) -> Result<String, OciError> {
    container.process().ok_or(OciError::NotRunning)?;
    Ok(event("stats", container, Some(data(&container.cgroup()?.stats()))))
}

/// A line of `events`, in runc's order: there are readers who take the text apart.
pub fn event(kind: &'static str, container: &Container, data: Option<Value>) -> String {
    #[derive(Serialize)]
    struct Event<'a> {
        r#type: &'static str,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Value>,
    }
    serde_json::to_string(&Event { r#type: kind, id: &container.record.id, data }).unwrap_or_default()
}

/// How many processes the kernel has killed because memory ran out.
///
/// # Errors
/// [`OciError::Cgroup`].
pub fn oom_kills(container: &Container) -> Result<u64, OciError> {
    Ok(container.cgroup()?.oom_kills())
}

/// Whether it still lives.
pub fn lives(container: &Container) -> bool {
    container.process().is_some()
}

fn data(stats: &Stats) -> Value {
    let (cpu, memory) = (&stats.cpu, &stats.memory);
    let entries = |list: &[IoEntry]| {
        let entry =
            |one: &IoEntry| json!({ "major": one.major, "minor": one.minor, "op": one.operation, "value": one.value });
        list.iter().map(entry).collect::<Vec<_>>()
    };
    let mut usage = json!({ "total": cpu.usage_ns, "kernel": cpu.system_ns, "user": cpu.user_ns });
    if !cpu.per_cpu_ns.is_empty() {
        usage["percpu"] = json!(cpu.per_cpu_ns);
    }
    json!({
        "cpu": {
            "usage": usage,
            "throttling": {
                "periods": cpu.periods, "throttledPeriods": cpu.throttled_periods, "throttledTime": cpu.throttled_ns,
            },
        },
        "memory": {
            "usage": {
                "limit": memory.limit_bytes.unwrap_or(u64::MAX), "usage": memory.usage_bytes,
                "max": memory.max_usage_bytes, "failcnt": memory.failures,
            },
            "raw": memory.detail,
        },
        "pids": { "current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0) },
        "blkio": {
            "ioServiceBytesRecursive": entries(&stats.io_service_bytes),
            "ioServicedRecursive": entries(&stats.io_serviced),
        },
        "hugetlb": {},
        "intel_rdt": {},
    })
}

/// The features structure of the specification.
pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": super::state::OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mount_option::names(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": CapSet::known().collect::<Vec<_>>(),
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                ],
                "archs": seccomp::ARCHITECTURES,
                "knownFlags": FILTER_FLAGS,
                "supportedFlags": FILTER_FLAGS,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": false },
        },
        "annotations": { "io.hako.version": env!("CARGO_PKG_VERSION") },
    })
}

const FILTER_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// A configuration to begin with: a shell in a root beside it. `rootless`: for a person without rights, by number.
pub fn template(rootless: Option<(u32, u32)>) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut spaces = vec!["pid", "network", "ipc", "uts", "mount"];
    // As runc: where v1 is in use as well, its paths say more than the namespace hides.
    if Layout::of_host().version() == 2 {
        spaces.push("cgroup");
    }
    let mut mounts = template_mounts();
    let mut linux = json!({
        "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        "maskedPaths": plan::default_masked_paths(),
        "readonlyPaths": plan::default_readonly_paths(),
    });
    if let Some((uid, gid)) = rootless {
        spaces.retain(|kind| *kind != "network");
        spaces.push("user");
        linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
        linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
        linux["resources"] = Value::Null;
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup" && mount["destination"] != "/sys");
        let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
        mounts.push(json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": options }));
    }
    linux["namespaces"] = spaces.iter().map(|kind| json!({ "type": kind })).collect();
    json!({
        "ociVersion": super::state::OCI_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "hako",
        "mounts": mounts,
        "linux": linux,
    })
}

fn template_mounts() -> Vec<Value> {
    let data = ["nosuid", "noexec", "nodev"];
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &data),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}
