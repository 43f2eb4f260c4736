//! Resources reach the kernel, are changed by `update`, and go with the container.

use std::fs;

use hako_runtime::cgroup::Cgroup;
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const CASES: &[crate::Case] = &[
    ("limits_are_set_and_updated", limits_are_set_and_updated),
    ("every_resource_is_where_the_kernel_looks", every_resource_is_where_the_kernel_looks),
    ("devices_are_filtered", devices_are_filtered),
    ("a_limit_that_nobody_enforces_is_an_error", a_limit_that_nobody_enforces_is_an_error),
    ("two_containers_do_not_share_a_cgroup", two_containers_do_not_share_a_cgroup),
    ("a_cgroup_of_somebody_else_stays", a_cgroup_of_somebody_else_stays),
    ("who_may_write_to_a_cgroup_may_divide_it", who_may_write_to_a_cgroup_may_divide_it),
];

fn path(bundle: &Bundle) -> String {
    bundle.config["linux"]["cgroupsPath"].as_str().unwrap().to_owned()
}

// The files of the container's group that hold these limits, whatever version the host has.
fn read(bundle: &Bundle, v1: (&str, &str), v2: &str) -> String {
    let join = Cgroup::at(&path(bundle)).unwrap().join_plan();
    let found = join.hierarchies.iter().find(|(name, _)| name.split(',').any(|one| one == v1.0));
    let file = found.map_or_else(|| join.unified.unwrap().join(v2), |(_, directory)| directory.join(v1.1));
    fs::read_to_string(file).unwrap().trim().to_owned()
}

fn limits_are_set_and_updated() {
    let bundle = Bundle::new("exec sleep 1000")
        .set("/linux/resources/memory", json!({ "limit": 33_554_432 }))
        .set("/linux/resources/pids", json!({ "limit": 20 }));
    bundle.write();
    bundle.call("create", &[]).succeeds();
    assert_eq!(read(&bundle, ("memory", "memory.limit_in_bytes"), "memory.max"), "33554432");
    assert_eq!(read(&bundle, ("pids", "pids.max"), "pids.max"), "20");
    bundle.call("update", &["--memory=67108864", "--pids-limit=30"]).succeeds();
    assert_eq!(read(&bundle, ("memory", "memory.limit_in_bytes"), "memory.max"), "67108864");
    assert_eq!(read(&bundle, ("pids", "pids.max"), "pids.max"), "30");
    bundle.call("delete", &[]).succeeds();
    assert!(!Cgroup::at(&path(&bundle)).unwrap().exists());
}

// The first disk, whose numbers the kernel takes for limits of rates.
fn disk() -> (i64, i64) {
    let table = fs::read_to_string("/proc/partitions").unwrap();
    let line = table.lines().nth(2).expect("a machine has a disk");
    let mut numbers = line.split_whitespace().map(|field| field.parse::<i64>().unwrap_or_default());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn every_resource_is_where_the_kernel_looks() {
    let (major, minor) = disk();
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let bundle = Bundle::new("exec sleep 1000").set(
        "/linux/resources",
        json!({
            "memory": { "limit": 33_554_432, "reservation": 16_777_216 },
            "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0" },
            "pids": { "limit": -1 },
            "blockIO": { "throttleReadBpsDevice": rate(1_048_576), "throttleWriteIOPSDevice": rate(500) },
        }),
    );
    bundle.write();
    bundle.call("create", &[]).succeeds();
    let own = |v1, v2| read(&bundle, v1, v2);
    assert_eq!(own(("memory", "memory.soft_limit_in_bytes"), "memory.low"), "16777216");
    assert!(["512", "20"].contains(&own(("cpu", "cpu.shares"), "cpu.weight").as_str()));
    assert!(["50000", "50000 100000"].contains(&own(("cpu", "cpu.cfs_quota_us"), "cpu.max").as_str()));
    assert_eq!(own(("cpuset", "cpuset.cpus"), "cpuset.cpus"), "0");
    assert_eq!(own(("cpuset", "cpuset.mems"), "cpuset.mems"), "0");
    assert_eq!(own(("pids", "pids.max"), "pids.max"), "max");
    let read_rate = own(("blkio", "blkio.throttle.read_bps_device"), "io.max");
    assert!(read_rate.starts_with(&format!("{major}:{minor} ")) && read_rate.contains("1048576"), "{read_rate}");
    assert!(own(("blkio", "blkio.throttle.write_iops_device"), "io.max").contains("500"));
}

fn devices_are_filtered() {
    // kmsg is there and may be made, but not opened; the null device always works.
    let kmsg = json!([{ "type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11 }]);
    let script = "(: > /dev/kmsg) 2>/dev/null && echo opened; echo x > /dev/null && echo null";
    let bundle = Bundle::new(script).set("/linux/devices", kmsg.clone());
    bundle.run().says("null\n");
    let bundle = Bundle::new(script).set("/linux/devices", kmsg).set(
        "/linux/resources/devices",
        json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "w" }]),
    );
    bundle.run().says("opened\nnull\n");
}

fn a_limit_that_nobody_enforces_is_an_error() {
    let bundle = Bundle::new("true").set("/linux/resources/rdma", json!({ "mlx5_0": { "hcaHandles": 1 } }));
    // Without the controller, or without the device.
    bundle.run().fails_with("rdma");
    let bundle = Bundle::new("true").set("/linux/resources/unified", json!({ "nosuch.max": "1" }));
    bundle.run().fails_with("linux.resources.unified");
}

fn two_containers_do_not_share_a_cgroup() {
    let first = Bundle::new("exec sleep 1000");
    first.write();
    first.call("run", &["-d"]).succeeds();
    let second = Bundle::new("true").set("/linux/cgroupsPath", json!(path(&first)));
    second.run().fails_with("container's cgroup is not empty: 1 process(es) found");
    assert_eq!(first.status(), "running");
}

/// On v2 alone; with v1 beside it nobody gets anything, since there limits could be changed by who may divide.
fn who_may_write_to_a_cgroup_may_divide_it() {
    use std::os::unix::fs::MetadataExt;
    let mapping = json!([{ "containerID": 0, "hostID": 200_000, "size": 1000 }]);
    let script = "mkdir /sys/fs/cgroup/below 2>/dev/null && echo divided; \
                  { echo 5 > /sys/fs/cgroup/pids.max; } 2>/dev/null && echo changed; echo x > /data/up; exec sleep 1000";
    let mut bundle = Bundle::new(script)
        .push("/linux/namespaces", json!({ "type": "user" }))
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping)
        .set("/linux/resources/pids", json!({ "limit": 20 }));
    for place in ["rootfs", "rootfs/data"] {
        std::os::unix::fs::chown(bundle.directory.join(place), Some(200_000), Some(200_000)).unwrap();
    }
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    mounts
        .push(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"] }));
    let spaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    spaces.retain(|space| space["type"] != "cgroup");
    spaces.push(json!({ "type": "cgroup" }));
    bundle.write();
    let output = bundle.call("run", &["-d"]);
    output.succeeds();
    bundle.wait_for_file("data/up");
    let join = Cgroup::at(&path(&bundle)).unwrap().join_plan();
    let (directory, expected) = match (&join.unified, join.hierarchies.first()) {
        (Some(unified), None) => (unified.clone(), 200_000),
        (_, Some((_, directory))) => (directory.clone(), 0),
        (None, None) => panic!("no cgroup"),
    };
    assert_eq!(fs::metadata(&directory).unwrap().uid(), expected);
    assert_eq!(fs::metadata(directory.join("cgroup.procs")).unwrap().uid(), expected);
    assert_eq!(directory.join("below").exists(), expected != 0, "{output:?}");
    assert_eq!(read(&bundle, ("pids", "pids.max"), "pids.max"), "20");
}

fn a_cgroup_of_somebody_else_stays() {
    let bundle = Bundle::new("true");
    let cgroup = Cgroup::create(
        "hako-runtime-test",
        &bundle.name,
        &hako_model::Limits::default(),
        &hako_runtime::cgroup::DeviceRules::All,
    )
    .unwrap();
    bundle.run().succeeds();
    assert!(cgroup.exists());
    cgroup.remove().unwrap();
}
