//! The plan in the words of an OCI configuration: pure, tested by translating it back.
//!
//! What travels with a plan as a descriptor is a path here: the driver mounts it below the bundle before the program
//! looks (`drive.rs`). What OCI has no words for (ids of console and ptmx, say) runtimes do by themselves.

use std::path::Path;

use hako_model::{Limits, Propagation};
use serde_json::{Map, Value, json};

use super::MOUNTS;
use crate::{
    cgroup::{DeviceRule, DeviceRules},
    plan::{
        Device, DeviceKind, IdRange, LaunchPlan, Mount, MountFlags, MountSource, Namespace, Process, Rlimit,
        UserNamespace, default_devices,
    },
    program::INIT_NAME,
};

/// The version of the specification that all known runtimes take.
const VERSION: &str = "1.0.2";

/// What a configuration says beside the plan.
#[derive(Debug)]
pub struct Beside<'a> {
    pub bundle: &'a Path,
    /// From the top of every hierarchy.
    pub cgroup: String,
    pub limits: &'a Limits,
    pub devices: &'a DeviceRules,
    pub seccomp: Option<Value>,
    pub terminal: bool,
}

/// The configuration.
pub fn of_plan(plan: &LaunchPlan, beside: &Beside<'_>) -> Value {
    let place = |name: &str| beside.bundle.join(MOUNTS).join(name).display().to_string();
    let mut process = process(&plan.process, beside.terminal);
    let mut mounts: Vec<Value> = plan.mounts.iter().map(|one| mount(one, plan, &place)).collect();
    if let Some(init) = plan.init {
        let words = plan.process.argv.iter().map(String::as_str);
        process["args"] = [INIT_NAME, "--"].into_iter().chain(words).collect();
        let source = place(&descriptor_name(init));
        let options = json!(["bind", "ro", "nosuid", "nodev", "rprivate"]);
        mounts.push(json!({ "destination": INIT_NAME, "type": "bind", "source": source, "options": options }));
    }
    let own: Vec<String> = default_devices().into_iter().map(|device| device.path).collect();
    let devices = plan.devices.iter().filter(|device| !own.contains(&device.path));
    let mut linux = json!({
        "namespaces": namespaces(plan, &place),
        "devices": devices.map(self::device).collect::<Vec<_>>(),
        "cgroupsPath": beside.cgroup,
        "resources": resources(beside.limits, beside.devices),
        "sysctl": plan.sysctls,
        "maskedPaths": plan.masked_paths,
        "readonlyPaths": plan.readonly_paths,
        "rootfsPropagation": match plan.root.propagation {
            Propagation::Private | Propagation::RPrivate => "rprivate",
            Propagation::Slave | Propagation::RSlave => "rslave",
            Propagation::Shared | Propagation::RShared => "rshared",
        },
    });
    if let UserNamespace::New { uids, gids } = &plan.namespaces.user {
        linux["uidMappings"] = uids.iter().map(mapping).collect();
        linux["gidMappings"] = gids.iter().map(mapping).collect();
    }
    if let Some(seccomp) = &beside.seccomp {
        linux["seccomp"] = seccomp.clone();
    }
    json!({
        "ociVersion": VERSION,
        "process": process,
        "root": { "path": place(ROOT), "readonly": plan.root.read_only },
        "hostname": plan.hostname,
        "domainname": plan.domainname,
        "mounts": mounts,
        "linux": linux,
    })
}

/// The name of the root among the mounts of a bundle.
pub(super) const ROOT: &str = "rootfs";

/// The name of a descriptor there.
pub(super) fn descriptor_name(index: usize) -> String {
    format!("d{index}")
}

/// The name of a namespace there.
pub(super) fn namespace_name(kind: &str) -> String {
    format!("ns-{kind}")
}

/// The namespaces of a plan by their names in a configuration.
pub(super) fn kinds(plan: &LaunchPlan) -> [(&'static str, Namespace); 6] {
    let asked = &plan.namespaces;
    [
        ("pid", asked.pid),
        ("ipc", asked.ipc),
        ("uts", asked.uts),
        ("network", asked.network),
        ("cgroup", asked.cgroup),
        ("time", asked.time),
    ]
}

fn namespaces(plan: &LaunchPlan, place: &dyn Fn(&str) -> String) -> Vec<Value> {
    let mut all = vec![json!({ "type": "mount" })];
    for (kind, from) in kinds(plan) {
        match from {
            Namespace::Host => {}
            Namespace::New => all.push(json!({ "type": kind })),
            Namespace::Join(_) => all.push(json!({ "type": kind, "path": place(&namespace_name(kind)) })),
        }
    }
    match &plan.namespaces.user {
        UserNamespace::Host => {}
        UserNamespace::New { .. } => all.push(json!({ "type": "user" })),
        UserNamespace::Join(_) => all.push(json!({ "type": "user", "path": place(&namespace_name("user")) })),
    }
    all
}

/// A process, as `exec --process` takes it as well.
pub fn process(process: &Process, terminal: bool) -> Value {
    let capabilities: Vec<String> = process.capabilities.names().map(|name| prefixed(&name)).collect();
    let user = &process.user;
    let mut value = json!({
        "terminal": terminal,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "args": process.argv,
        "env": process.env,
        "cwd": process.cwd,
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        },
        "rlimits": process.rlimits.iter().map(rlimit).collect::<Vec<_>>(),
        "noNewPrivileges": process.no_new_privileges,
    });
    if let Some(umask) = process.umask {
        value["user"]["umask"] = json!(umask);
    }
    if let Some(score) = process.oom_score_adj {
        value["oomScoreAdj"] = json!(score);
    }
    if !process.special.apparmor.is_empty() {
        value["apparmorProfile"] = json!(process.special.apparmor);
    }
    value
}

fn prefixed(name: &str) -> String {
    if name.starts_with("CAP_") { name.to_owned() } else { format!("CAP_{name}") }
}

fn rlimit(limit: &Rlimit) -> Value {
    // `RLIM_INFINITY` is the largest number there is.
    let number = |value: Option<u64>| value.unwrap_or(u64::MAX);
    let name = format!("RLIMIT_{:?}", limit.resource).to_uppercase();
    json!({ "type": name, "soft": number(limit.soft), "hard": number(limit.hard) })
}

fn mount(mount: &Mount, plan: &LaunchPlan, place: &dyn Fn(&str) -> String) -> Value {
    let mut options: Vec<String> = flag_words(mount.flags);
    let (kind, source) = match &mount.source {
        MountSource::Descriptor(index) => {
            options.insert(0, "rbind".to_owned());
            if matches!(plan.root.propagation, Propagation::Private | Propagation::RPrivate) {
                options.push("rprivate".to_owned());
            }
            ("bind".to_owned(), place(&descriptor_name(*index)))
        }
        // Bundles alone ask for it, and they come to this runtime only.
        MountSource::Own { path, .. } => ("bind".to_owned(), path.display().to_string()),
        MountSource::Proc => ("proc".to_owned(), "proc".to_owned()),
        MountSource::Sysfs => ("sysfs".to_owned(), "sysfs".to_owned()),
        MountSource::Mqueue => ("mqueue".to_owned(), "mqueue".to_owned()),
        MountSource::Cgroup => ("cgroup".to_owned(), "cgroup".to_owned()),
        MountSource::Devpts => {
            options.extend(["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"].map(str::to_owned));
            ("devpts".to_owned(), "devpts".to_owned())
        }
        MountSource::Tmpfs(own) => {
            // What it is called in the table of mounts: a parameter for the kernel, another field here.
            let (named, rest): (Vec<_>, Vec<_>) = own.iter().partition(|(name, _)| name == "source");
            options.extend(rest.iter().map(|(name, value)| format!("{name}={value}")));
            let source = named.first().map_or("tmpfs", |(_, value)| value);
            ("tmpfs".to_owned(), source.to_owned())
        }
        MountSource::Filesystem { kind, options: own } => {
            let word = |(name, value): &(String, Option<String>)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            };
            options.extend(own.iter().map(word));
            (kind.clone(), kind.clone())
        }
        MountSource::Remount { .. } => ("none".to_owned(), "none".to_owned()),
    };
    json!({ "destination": mount.target, "type": kind, "source": source, "options": options })
}

fn flag_words(flags: MountFlags) -> Vec<String> {
    let words = [
        (flags.read_only, "ro"),
        (flags.nosuid, "nosuid"),
        (flags.nodev, "nodev"),
        (flags.noexec, "noexec"),
        (flags.strict_atime, "strictatime"),
        (flags.noatime, "noatime"),
        (flags.nodiratime, "nodiratime"),
        (flags.copy_up, "tmpcopyup"),
    ];
    words.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned()).collect()
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": kind_letter(device.kind),
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

fn kind_letter(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Block => "b",
        DeviceKind::Character => "c",
        DeviceKind::Fifo => "p",
    }
}

fn mapping(range: &IdRange) -> Value {
    json!({ "containerID": range.container, "hostID": range.host, "size": range.count })
}

// Rates of single devices are left out: the group has them already, and a configuration names devices by number.
fn resources(limits: &Limits, devices: &DeviceRules) -> Value {
    let mut memory = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.map(|value| memory.insert(name.to_owned(), value));
    set("limit", some(limits.memory_bytes));
    set("reservation", some(limits.memory_reservation_bytes));
    set("swap", some(limits.memory_swap_bytes));
    set("swappiness", limits.memory_swappiness.map(Value::from));
    set("disableOOMKiller", limits.oom_kill_disable.then_some(Value::Bool(true)));
    let mut cpu = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.map(|value| cpu.insert(name.to_owned(), value));
    let (quota, period) = crate::cgroup::cpu_quota(limits);
    set("shares", some(limits.cpu_shares));
    set("quota", quota.map(Value::from));
    set("period", period.map(Value::from));
    set("cpus", Some(&limits.cpuset_cpus).filter(|text| !text.is_empty()).map(|text| json!(text)));
    set("mems", Some(&limits.cpuset_mems).filter(|text| !text.is_empty()).map(|text| json!(text)));
    let mut all = json!({ "devices": device_rules(devices) });
    for (name, part) in [("memory", memory), ("cpu", cpu)] {
        if !part.is_empty() {
            all[name] = Value::Object(part);
        }
    }
    if limits.pids_max > 0 {
        all["pids"] = json!({ "limit": limits.pids_max });
    }
    all
}

fn some<T: Into<Value> + PartialEq + Default>(number: T) -> Option<Value> {
    (number != T::default()).then(|| number.into())
}

fn device_rules(rules: &DeviceRules) -> Vec<Value> {
    match rules {
        DeviceRules::All => vec![json!({ "allow": true, "access": "rwm" })],
        DeviceRules::List(rules) => {
            let ground = json!({ "allow": false, "access": "rwm" });
            [ground].into_iter().chain(rules.iter().map(device_rule)).collect()
        }
    }
}

fn device_rule(rule: &DeviceRule) -> Value {
    let letters = [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')];
    let access: String = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
    let mut value = json!({ "allow": rule.allow, "access": access });
    if let Some(kind) = rule.kind {
        value["type"] = json!(kind_letter(kind));
    }
    for (name, number) in [("major", rule.major), ("minor", rule.minor)] {
        if let Some(number) = number {
            value[name] = json!(number);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        oci,
        plan::{Namespaces, default_masked_paths, default_mounts, default_readonly_paths},
    };

    fn plan() -> LaunchPlan {
        let mut mounts = default_mounts(64 << 20, false);
        mounts.push(Mount {
            target: "/data".to_owned(),
            source: MountSource::Descriptor(3),
            flags: MountFlags { read_only: true, ..MountFlags::NONE },
        });
        LaunchPlan {
            hostname: "box".to_owned(),
            namespaces: Namespaces {
                pid: Namespace::New,
                uts: Namespace::New,
                network: Namespace::Join(2),
                ..Namespaces::default()
            },
            mounts,
            devices: default_devices(),
            masked_paths: default_masked_paths(),
            readonly_paths: default_readonly_paths(),
            process: Process { argv: vec!["true".to_owned()], oom_score_adj: Some(0), ..Process::default() },
            ..LaunchPlan::default()
        }
    }

    fn told(plan: &LaunchPlan) -> Value {
        let limits = Limits { memory_bytes: 1 << 26, nano_cpus: 500_000_000, pids_max: 7, ..Limits::default() };
        of_plan(
            plan,
            &Beside {
                bundle: Path::new("/b"),
                cgroup: "/hako/id".to_owned(),
                limits: &limits,
                devices: &DeviceRules::default(),
                seccomp: None,
                terminal: false,
            },
        )
    }

    #[test]
    fn our_own_runtime_reads_back_what_was_meant() {
        let plan = plan();
        let read = oci::plan_of(&told(&plan).to_string(), Path::new("/b")).unwrap();
        assert_eq!(read.process.argv, plan.process.argv);
        let sets = read.process.special.capabilities.unwrap();
        assert_eq!((sets.bounding, sets.effective), (plan.process.capabilities, plan.process.capabilities));
        assert_eq!(read.masked_paths, plan.masked_paths);
        assert_eq!(read.hostname, "box");
        let targets = |plan: &LaunchPlan| plan.mounts.iter().map(|mount| mount.target.clone()).collect::<Vec<_>>();
        assert_eq!(targets(&read), targets(&plan));
    }

    #[test]
    fn limits_and_places_are_said() {
        let told = told(&plan());
        assert_eq!(told["linux"]["resources"]["cpu"], json!({ "quota": 50_000, "period": 100_000 }));
        assert_eq!(told["linux"]["resources"]["memory"], json!({ "limit": 1 << 26 }));
        assert_eq!(told["linux"]["resources"]["pids"], json!({ "limit": 7 }));
        assert_eq!(told["linux"]["namespaces"][3], json!({ "type": "network", "path": "/b/m/ns-network" }));
        assert_eq!(told["mounts"][7]["source"], "/b/m/d3");
        assert_eq!(
            (&told["mounts"][6]["destination"], &told["mounts"][6]["source"]),
            (&json!("/dev/shm"), &json!("shm"))
        );
    }

    #[test]
    fn an_init_comes_first() {
        let mut plan = plan();
        plan.init = Some(9);
        let told = told(&plan);
        assert_eq!(told["process"]["args"], json!([INIT_NAME, "--", "true"]));
        assert_eq!(told["mounts"][8]["source"], "/b/m/d9");
    }
}
