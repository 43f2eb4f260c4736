//! AppArmor, where the kernel has it: the profile that hako loads, who has it, and what it denies by itself.

use std::{fs, path::Path};

use hako_testkit::require;

// The host's kernel is the test machine's too.
fn can_confine() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if !enabled.starts_with('Y') {
        require::skip("needs a kernel with AppArmor");
        return false;
    }
    if !Path::new("/sbin/apparmor_parser").exists() {
        require::skip("needs apparmor_parser");
        return false;
    }
    true
}

#[test]
fn a_container_has_hakos_profile_and_no_other_is_needed() {
    if !can_confine() {
        return;
    }
    let host = host!("busybox");
    host.run("docker info --format '{{json .SecurityOptions}}'").says("name=apparmor");
    host.run("docker run --rm busybox cat /proc/self/attr/current").says("hako-default (enforce)");
    host.run("docker run -d --name web busybox sleep 1000").success();
    host.run("docker inspect --format '{{.AppArmorProfile}}' web").says("hako-default");
    host.run("docker exec web cat /proc/self/attr/current").says("hako-default (enforce)");
    host.run("docker exec --privileged web cat /proc/self/attr/current").says("hako-default (enforce)");
    // Docker's name for its own, which nobody has loaded here.
    host.run("docker run --rm --security-opt apparmor=docker-default busybox cat /proc/self/attr/current")
        .says("hako-default");
    for flags in ["--privileged", "--security-opt apparmor=unconfined"] {
        host.run(&format!("docker run --rm {flags} busybox cat /proc/self/attr/current")).says("unconfined");
    }
    host.run("docker run --rm --security-opt apparmor=nosuch busybox true").code(127).says("nosuch");
}

#[test]
fn the_profile_denies_what_a_capability_and_a_filter_would_allow() {
    if !can_confine() {
        return;
    }
    let host = host!("busybox");
    let open = "--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt systempaths=unconfined";
    for command in ["mount -t tmpfs none /tmp", "sh -c 'echo 1 > /proc/sys/kernel/core_pattern'"] {
        let refused = host.run(&format!("docker run --rm {open} busybox {command}"));
        assert!(refused.stderr().to_lowercase().contains("permission denied"), "{command}: {refused}");
    }
    host.run(&format!("docker run --rm {open} --security-opt apparmor=unconfined busybox mount -t tmpfs none /tmp"))
        .success();
    // What is the container's own stays so.
    host.run("docker run --rm busybox sh -c 'sleep 100 & kill $! && echo 0 > /proc/self/oom_score_adj && mkdir /x && echo done'")
        .says("done");
}
