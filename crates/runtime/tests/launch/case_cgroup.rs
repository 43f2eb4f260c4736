//! Cgroups on this host, whatever version it has: made, joined, limited, frozen, counted, removed.

use std::{fs, os::fd::AsFd, path::Path};

use hako_model::Limits;
use hako_runtime::{
    cgroup::{Cgroup, DeviceRules, Layout},
    plan::{self, ExecPlan, Namespace},
};
use hako_sys::process;

use crate::{
    Case,
    place::{Place, process_of, says},
};

pub(crate) const CASES: &[Case] = &[
    ("a_container_joins_its_cgroup_in_every_hierarchy", joins),
    ("limits_reach_the_kernel_and_change", limits),
    ("a_frozen_container_stands_still", freezes),
    ("devices_that_are_not_allowed_are_refused", devices),
    ("a_container_sees_its_own_cgroup_only", mounted),
    ("removing_ends_what_runs_in_it", removes),
    ("paths_that_leave_the_hierarchy_are_refused", paths),
];

/// A cgroup under a parent of its own, both removed at the end.
struct Group {
    parent: String,
    cgroup: Cgroup,
}

impl Group {
    fn new(limits: &Limits) -> Self {
        let parent = format!("hako-runtime-{}", hako_base::random::hex(6));
        let cgroup = Cgroup::create(&format!("/{parent}"), "one", limits, &DeviceRules::default()).unwrap();
        Self { parent, cgroup }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let removed = self.cgroup.remove().and_then(|()| Cgroup::open("/", &self.parent)?.remove());
        if let Err(error) = removed {
            eprintln!("left behind: {}", hako_base::error::chain(&error));
        }
    }
}

fn joins() {
    let place = Place::new();
    let group = Group::new(&Limits::default());
    let mut plan = place.plan("cat /proc/self/cgroup");
    plan.cgroup = group.cgroup.join_plan();
    let ran = place.run(&plan).unwrap();
    let path = group.cgroup.path();
    let mut lines = ran.output.lines().filter(|line| !line.is_empty()).peekable();
    assert!(lines.peek().is_some());
    lines.for_each(|line| assert!(line.ends_with(&path), "{line} is not in {path}"));

    // Exec joins too, and a cgroup namespace has the container's own cgroup as its root.
    let mut plan = place.plan("cat /proc/self/cgroup | grep -v ':/$' | wc -l; sleep 100");
    plan.cgroup = group.cgroup.join_plan();
    plan.namespaces.cgroup = Namespace::New;
    let mut running = place.start(&plan).unwrap();
    running.hear();
    let process = process_of(&["sh", "-c", "cat /proc/self/cgroup | grep -v ':/$' | wc -l"]);
    let exec = ExecPlan { target: 0, cgroup: group.cgroup.join_plan(), process, external: None };
    says(running.exec(&exec, false), "0\n");
    // Its shell may have children at this moment, with higher numbers.
    assert_eq!(group.cgroup.pids().unwrap().first(), Some(&running.child.pid));
    assert!(running.kill().output.starts_with("0\n"));
}

fn limits() {
    let asked = Limits { memory_bytes: 64 << 20, pids_max: 50, nano_cpus: 500_000_000, ..Limits::default() };
    let group = Group::new(&asked);
    let stats = group.cgroup.stats();
    assert_eq!((stats.memory.limit_bytes, stats.pids.limit), (Some(64 << 20), Some(50)));
    let more = Limits { memory_bytes: 256 << 20, pids_max: -1, ..Limits::default() };
    group.cgroup.update(&more).unwrap();
    let stats = group.cgroup.stats();
    assert_eq!((stats.memory.limit_bytes, stats.pids.limit), (Some(256 << 20), None));
    let error = group.cgroup.update(&Limits { cpuset_cpus: "9999".to_owned(), ..Limits::default() }).unwrap_err();
    assert!(error.to_string().starts_with("cannot set \"9999\" in "), "{error}");

    // More memory than there is: the kernel kills, and counts it.
    let place = Place::new();
    let group = Group::new(&Limits { memory_bytes: 8 << 20, memory_swap_bytes: 8 << 20, ..Limits::default() });
    let mut plan = place.plan("x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo ${#x}");
    std::os::unix::fs::symlink("busybox", place.root.join("bin/tr")).unwrap();
    plan.cgroup = group.cgroup.join_plan();
    assert_ne!(place.run(&plan).unwrap().output, "64000000\n");
    assert!(group.cgroup.oom_kills() > 0);
    assert!(group.cgroup.stats().cpu.usage_ns > 0);
}

fn freezes() {
    let place = Place::new();
    let group = Group::new(&Limits::default());
    let mut plan = place.plan("while :; do :; done");
    plan.cgroup = group.cgroup.join_plan();
    let running = place.start(&plan).unwrap();
    group.cgroup.freeze().unwrap();
    let before = group.cgroup.stats().cpu.usage_ns;
    assert_eq!(group.cgroup.stats().cpu.usage_ns, before);
    group.cgroup.thaw().unwrap();
    assert!(process::peek_exit(running.child.pidfd.as_fd()).unwrap().is_none());
    running.kill();
}

fn devices() {
    let place = Place::new();
    let group = Group::new(&Limits::default());
    // Making the node is allowed, as with Docker; opening it is not.
    std::os::unix::fs::symlink("busybox", place.root.join("bin/mknod")).unwrap();
    let mut plan = place.plan("mknod /dev/kmsg c 1 11 && (cat /dev/kmsg 2>&1 | head -c 60 | grep -o 'Operation.*'); head -c 1 /dev/zero | wc -c");
    plan.cgroup = group.cgroup.join_plan();
    says(place.run(&plan), "Operation not permitted\n1\n");
}

fn mounted() {
    let place = Place::new();
    let group = Group::new(&Limits::default());
    let mut plan = place.plan("");
    plan.cgroup = group.cgroup.join_plan();
    plan.mounts = plan::default_mounts(1 << 20, false);
    let file = if Layout::of_host().version() == 1 { "pids/cgroup.procs" } else { "cgroup.procs" };
    plan.namespaces.cgroup = Namespace::New;
    let script = format!(
        "head -n 1 /sys/fs/cgroup/{file}; (echo 1 > /sys/fs/cgroup/{file}) 2>/dev/null || echo refused; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused"
    );
    plan.process = process_of(&["sh", "-c", &script]);
    says(place.run(&plan), "1\nrefused\nrefused\n");
}

fn removes() {
    let place = Place::new();
    let group = Group::new(&Limits::default());
    let mut plan = place.plan("sleep 100 & sleep 100 & wait");
    plan.cgroup = group.cgroup.join_plan();
    let running = place.start(&plan).unwrap();
    let nested = group.cgroup.join_plan();
    let directories: Vec<_> = nested.hierarchies.iter().map(|(_, path)| path).chain(nested.unified.iter()).collect();
    directories.iter().for_each(|path| fs::create_dir(path.join("nested")).unwrap());
    group.cgroup.remove().unwrap();
    assert!(!directories.iter().any(|path| path.exists()));
    assert_eq!(running.finish().code, 137);
    // Once more: what is gone is removed.
    group.cgroup.remove().unwrap();
}

fn paths() {
    for (parent, name) in [("/../x", "y"), ("/x", ".."), ("/x", "a/b"), ("/x", "")] {
        assert!(Cgroup::open(parent, name).is_err(), "{parent} {name}");
    }
    assert!(Path::new("/sys/fs/cgroup").exists());
}
