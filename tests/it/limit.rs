//! What a container may use: memory, processes, open files, processors.

use expect_test::expect;
use hako_testkit::{needs, require};

#[test]
fn more_memory_than_allowed_ends_in_a_kill() {
    needs!(require::controller("memory"));
    let host = host!("probe");
    host.run("docker run --name web -m 32m --memory-swap 32m probe memory 100").code(137);
    host.run("docker inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' web").shows(expect![[r#"
        true 137
    "#]]);
    host.run("docker run --rm -m 64m probe memory 16").success();
    host.run("docker run --rm -m 1m probe memory 1").code(125).says("Minimum memory limit allowed is 6MB");
}

#[test]
fn more_processes_than_allowed_cannot_be_made() {
    needs!(require::controller("pids"));
    let host = host!();
    host.run("docker run --rm --pids-limit 5 busybox sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait'")
        .says("can't fork");
}

#[test]
fn ulimits_are_the_containers() {
    let host = host!();
    host.run(
        "docker run --rm --ulimit nofile=100:200 --ulimit core=0 busybox sh -c 'ulimit -Sn; ulimit -Hn; ulimit -c'",
    )
    .shows(expect![[r#"
        100
        200
        0
    "#]]);
    host.run("docker run --rm --ulimit nosuch=1 busybox true").code(125).says("invalid ulimit type: nosuch");
}

#[test]
fn limits_are_readable_inside_as_the_kernel_has_them() {
    needs!(require::controller("memory"));
    let host = host!();
    host.run("docker run --rm -m 64m busybox sh -c 'cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes'").shows(expect![[r#"
        67108864
    "#]]);
    host.run("docker run --rm busybox sh -c 'f=/sys/fs/cgroup/memory.max; test -e $f || f=/sys/fs/cgroup/memory/memory.limit_in_bytes; echo 1 > $f'").code(1);
}

#[test]
fn processors_are_shared_out() {
    needs!(require::controller("cpu"));
    let host = host!();
    host.run("docker run --rm --cpus 0.5 --cpu-shares 512 busybox sh -c 'cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us | xargs'")
        .shows(expect![[r#"
            50000 100000
        "#]]);
    host.run("docker run --rm --cpuset-cpus 0 busybox nproc").shows(expect![[r#"
        1
    "#]]);
    host.run("docker run --rm --cpus 1000 busybox true").code(125).says("ange of CPUs is from 0.01 to");
}

#[test]
fn limits_are_changed_while_it_runs() {
    needs!(require::controller("memory"));
    let host = host!();
    host.run("docker run -d --name web -m 64m --memory-swap 64m busybox sleep 100").success();
    host.run("docker update -m 32m --memory-swap 32m --restart on-failure web").shows(expect![[r#"
        web
    "#]]);
    host.run("docker exec web sh -c 'cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes'")
        .shows(expect![[r#"
            33554432
        "#]]);
    host.run("docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}' web").shows(expect![
        [r#"
            33554432 on-failure
        "#]
    ]);
    // What stays as it was has a say.
    host.run("docker update -m 128m web").code(1).says(
        "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
    );
    host.run("docker update --cpu-period 50000 web").success();
    host.run("docker update --cpus 0.5 web")
        .code(1)
        .says("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set");
}
