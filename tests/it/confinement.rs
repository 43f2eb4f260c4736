//! What a container cannot do: capabilities, seccomp, masked and read-only paths, devices, namespaces.

use expect_test::expect;
use hako_testkit::{needs, require};

#[test]
fn the_capabilities_are_dockers() {
    let host = host!("probe");
    host.run("docker run --rm probe report").shows(expect![[r#"
        Uid: 0 0 0 0
        Gid: 0 0 0 0
        Groups: 0
        CapInh: 0000000000000000
        CapPrm: 00000000a80425fb
        CapEff: 00000000a80425fb
        CapBnd: 00000000a80425fb
        NoNewPrivs: 0
        Seccomp: 2
    "#]]);
    host.run("docker run --rm -u 1000 probe report").shows(expect![[r#"
        Uid: 1000 1000 1000 1000
        Gid: 0 0 0 0
        Groups: 0
        CapInh: 0000000000000000
        CapPrm: 0000000000000000
        CapEff: 0000000000000000
        CapBnd: 00000000a80425fb
        NoNewPrivs: 0
        Seccomp: 2
    "#]]);
    host.run("docker run --rm --cap-drop ALL --cap-add NET_BIND_SERVICE --cap-add cap_chown probe report").shows(
        expect![[r#"
            Uid: 0 0 0 0
            Gid: 0 0 0 0
            Groups: 0
            CapInh: 0000000000000000
            CapPrm: 0000000000000401
            CapEff: 0000000000000401
            CapBnd: 0000000000000401
            NoNewPrivs: 0
            Seccomp: 2
        "#]],
    );
    host.run(
        "docker run --rm --security-opt no-new-privileges --security-opt seccomp=unconfined probe report | tail -2",
    )
    .shows(expect![[r#"
        NoNewPrivs: 1
        Seccomp: 0
    "#]]);
    host.run("docker run --rm --cap-add NOSUCH probe report").code(125).says("CAP_NOSUCH");
}

#[test]
fn privileged_has_everything() {
    let host = host!("busybox", "probe");
    host.run("docker run --rm --privileged probe report | grep Seccomp").shows(expect![[r#"
        Seccomp: 0
    "#]]);
    host.run("docker run --rm --privileged busybox sh -c 'test $(ls /dev | wc -l) -gt 15 && mount -t tmpfs tmpfs /tmp && echo mounted'").shows(expect![[r#"
        mounted
    "#]]);
}

#[test]
fn mounting_and_setting_the_clock_are_refused() {
    let host = host!();
    host.run("docker run --rm busybox mount -t tmpfs tmpfs /mnt").says("permission denied");
    host.run("docker run --rm busybox date -s 2001-01-01").says("Operation not permitted");
    host.run("docker run --rm busybox unshare -r true").says("Operation not permitted");
    host.run("docker run --rm busybox hostname changed").says("Operation not permitted");
    host.run("docker run --rm busybox mknod /disk b 8 0").success();
    host.run("docker run --rm busybox sh -c 'mknod /disk b 8 0; head -c 1 /disk'")
        .code(1)
        .says("Operation not permitted");
}

#[test]
fn kernel_files_are_masked_or_read_only() {
    let host = host!();
    // Not every kernel has it.
    host.run("docker run --rm busybox sh -c 'test ! -e /proc/kcore || test $(cat /proc/kcore | wc -c) = 0'").success();
    host.run("docker run --rm busybox sh -c 'ls /proc/acpi /sys/firmware | wc -l; cat /proc/keys /proc/timer_list 2>/dev/null | wc -c'")
        .shows(expect![[r#"
            3
            0
        "#]]);
    host.run("docker run --rm busybox sh -c 'echo 1 > /proc/sys/kernel/pid_max'").code(1).says("Read-only file system");
    host.run("docker run --rm busybox touch /sys/x").code(1);
}

#[test]
fn the_devices_are_dockers() {
    let host = host!();
    // A kernel with /proc/kcore has /dev/core, a link to it.
    host.run("docker run --rm busybox sh -c 'ls /dev | grep -vx core | xargs; ls -l /dev/null /dev/fd /dev/stdin | awk \"{print \\$1, \\$NF}\"'").shows(expect![[r#"
        fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero
        lrwxrwxrwx /proc/self/fd
        crw-rw-rw- /dev/null
        lrwxrwxrwx /proc/self/fd/0
    "#]]);
    host.run("docker run --rm --device /dev/loop-control:/dev/x:r busybox ls -l /dev/x | cut -c1").success();
}

#[test]
fn namespaces_are_the_containers_own() {
    let host = host!();
    host.run("docker run --rm busybox sh -c 'ps | awk \"NR>1{print \\$1}\" | head -1; ls /proc/self/ns | xargs'")
        .shows(expect![[r#"
            1
            cgroup ipc mnt net pid pid_for_children time time_for_children user uts
        "#]]);
    host.run("docker run -d --name web busybox sleep 100").success();
    host.run("docker run --rm --pid container:web busybox sh -c 'cat /proc/1/comm'").shows(expect![[r#"
        sleep
    "#]]);
    host.run("docker run --rm --pid host busybox sh -c 'test $$ != 1 && echo shared'").shows(expect![[r#"
        shared
    "#]]);
    host.run("docker run --rm --uts host busybox hostname > there; hostname > here; cmp here there || true").success();
}

#[test]
fn sysctls_are_set_inside_only() {
    let host = host!();
    host.run("docker run --rm --sysctl net.ipv4.ip_unprivileged_port_start=7 busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start").shows(expect![[r#"
        7
    "#]]);
    host.run("docker run --rm --sysctl kernel.nosuch=1 busybox true").code(125);
    // Command lines refuse these themselves; other clients do not, and the parameters are the whole machine's.
    let read = || host.run("cat /proc/sys/vm/swappiness /proc/sys/kernel/core_pattern").text().to_owned();
    let before = read();
    for name in ["vm.swappiness", "kernel.core_pattern", "vm/swappiness", "net....vm.swappiness"] {
        let body = format!(r#"{{"Image":"busybox","HostConfig":{{"Privileged":true,"Sysctls":{{"{name}":"1"}}}}}}"#);
        let answer = host.api("POST", "/containers/create", &body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("is not in a separate kernel namespace"), "{}", answer.text());
    }
    assert_eq!(read(), before);
}

#[test]
fn a_seccomp_profile_of_ones_own_is_obeyed() {
    let host = host!();
    host.write(
        "profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
    );
    host.run("docker run --rm --security-opt seccomp=profile.json busybox mkdir /x")
        .code(1)
        .says("No space left on device");
    host.run("docker run --rm --security-opt seccomp=nosuch.json busybox true").code(125).says("nosuch.json");
}

#[test]
fn an_audit_tells_what_is_unusual_and_why() {
    let host = own_host!("busybox");
    host.run("docker run -d --name plain -m 64m busybox sleep 1000").success();
    host.run("docker run -d --name open --cap-add SYS_ADMIN --pid host --security-opt seccomp=unconfined -v /etc:/host:ro busybox sleep 1000").success();
    host.run("hako audit plain")
        .success()
        .says("capabilities      the usual 14")
        .says("memory yes, processes no")
        .says("AF_ALG sockets (CVE-2026-31431)")
        .says("unusual           nothing");
    host.run("hako audit open")
        .success()
        .says("--cap-add SYS_ADMIN: mounts, namespaces")
        .says("--pid host: sees the host's processes")
        .says("--security-opt seccomp=unconfined: no system call is filtered")
        .says("/etc at /host (read-only): reads the host's accounts")
        .says_not("AF_ALG");
    // All that run, a line for each.
    host.run("hako audit --format json | wc -l").says("2");
    let audit = host.run("hako audit --format json open").json();
    assert_eq!(audit["unusual"].as_array().map(Vec::len), Some(4), "{audit}");
    host.run("hako audit nosuch").code(1).says("No such container: nosuch");
    host.run("hako audit --format yaml").code(1).says("expected table or json");
}

#[test]
fn io_uring_is_a_narrow_opt_in() {
    let host = own_host!("busybox");
    host.run("hako run -d --name one --security-opt allow=io_uring busybox sleep 1000").success();
    host.run("docker exec one grep Seccomp: /proc/1/status | tr -d '\t'").says("Seccomp:2");
    host.run("hako audit one")
        .says("--security-opt allow=io_uring: io_uring does what a filter cannot see")
        .says_not("io_uring (CVE");
    let answer = host.api(
        "POST",
        "/containers/create?name=two",
        r#"{"Image":"busybox","HostConfig":{"SecurityOpt":["allow=everything"]}}"#,
    );
    assert_eq!(answer.status, 400);
}

#[test]
fn kernel_files_and_control_groups_are_opened_on_request() {
    needs!(require::controller("memory"));
    let host = host!();
    let covered = |flags: &str| {
        host.run(&format!("docker run --rm {flags} busybox grep -c ' /proc/' /proc/mounts")).stdout().trim() != "0"
    };
    assert!(covered("") && !covered("--security-opt systempaths=unconfined"));
    let made = "busybox sh -c 'cd /sys/fs/cgroup; cd memory 2>/dev/null; mkdir x && echo made && rmdir x'";
    host.run(&format!("docker run --rm {made}")).says("Read-only file system");
    host.run(&format!("docker run --rm --security-opt writable-cgroups=true {made}")).says("made");
}
