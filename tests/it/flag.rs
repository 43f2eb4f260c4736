//! The flags of `run` that no other file is about: each is seen in the kernel or in the container, never only in
//! `inspect`. `docs/coverage/run-flags.md` says where every flag is tested.

use expect_test::expect;
use hako_testkit::{Host, needs, require};

/// The namespaces of a container's first process, by the kernel's names.
fn namespace(host: &Host, container: &str, kind: &str) -> String {
    host.run(&format!("docker exec {container} readlink /proc/1/ns/{kind}")).success().text().to_owned()
}

#[test]
fn ipc_is_private_shared_or_the_hosts() {
    let host = host!();
    host.run("docker run -d --name donor --ipc shareable --shm-size 1m busybox sh -c 'echo shared > /dev/shm/x; exec sleep 1000'").success();
    host.run("docker run -d --name own --ipc private busybox sleep 1000").success();
    host.wait_until("the file", |host| host.run("docker exec donor cat /dev/shm/x"), |shown| shown.text() == "shared");
    host.run("docker run --rm --ipc container:donor busybox sh -c 'cat /dev/shm/x; echo back > /dev/shm/y; readlink /proc/self/ns/ipc'")
        .says(&namespace(&host, "donor", "ipc"))
        .says("shared");
    host.run("docker exec donor cat /dev/shm/y").shows(expect![[r#"
        back
    "#]]);
    assert_ne!(namespace(&host, "own", "ipc"), namespace(&host, "donor", "ipc"));
    host.run("docker run --rm --ipc container:own busybox true")
        .code(125)
        .says("non-shareable IPC (hint: use IpcMode:shareable for the donor container)");
    host.run("docker run --rm --ipc container:nosuch busybox true").code(125).says("No such container: nosuch");
    host.run("docker run --rm --ipc none busybox sh -c 'grep -c /dev/shm /proc/mounts'").code(1);
    host.run("docker run --rm --ipc nonsense busybox true").code(125).says("IPC mode");
    // Docker 26: "cannot join IPC of a non running container"; 28: "failed to join IPC namespace: container … is not running".
    host.run("docker stop -t 0 donor; docker run --rm --ipc container:donor busybox true").says("running");
}

#[test]
fn ipc_of_the_host_is_the_hosts() {
    let host = own_host!();
    let own = host.run("readlink /proc/self/ns/ipc").text().to_owned();
    host.run("docker run --rm --ipc host busybox readlink /proc/self/ns/ipc").says(&own);
}

#[test]
fn processes_are_seen_where_the_namespace_is_shared() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 1234").success();
    host.run("docker run --rm --pid container:web busybox ps -o args").says("sleep 1234");
    assert_eq!(
        host.run("docker run --rm --pid container:web busybox readlink /proc/self/ns/pid").text(),
        namespace(&host, "web", "pid")
    );
    host.run("docker run --rm --pid container:nosuch busybox true").code(125).says("No such container: nosuch");
    host.run("docker run --rm busybox sh -c 'ps -o args | grep -c [s]leep.1234'").code(1);
    host.run("docker run --rm --pid host busybox sh -c 'ps -o args'").says("sleep 1234");
}

#[test]
fn names_and_control_groups_may_be_the_hosts() {
    let host = own_host!();
    for kind in ["uts", "cgroup"] {
        let own = host.run(&format!("readlink /proc/self/ns/{kind}")).text().to_owned();
        let flag = if kind == "uts" { "--uts host" } else { "--cgroupns host" };
        host.run(&format!("docker run --rm {flag} busybox readlink /proc/self/ns/{kind}")).says(&own);
    }
    let own = host.run("readlink /proc/self/ns/cgroup").text().to_owned();
    host.run("docker run --rm --cgroupns private busybox readlink /proc/self/ns/cgroup").success().says_not(&own);
    host.run("docker run --rm --cgroupns private busybox sh -c 'cut -d: -f3 /proc/self/cgroup | sort -u'").shows(
        expect![[r#"
        /
    "#]],
    );
    host.run("docker run --rm --uts host busybox hostname").shows(expect![[r#"
        here
    "#]]);
    host.run("docker run --rm --userns host busybox cat /proc/self/uid_map | xargs").says("0 0 4294967295");
    host.run("docker run --rm --userns nonsense busybox true").code(125).says("user");
    host.run("docker run --rm --domainname example.org busybox sh -c 'cat /proc/sys/kernel/domainname; hostname -f'")
        .says("example.org");
}

#[test]
fn a_control_group_has_the_parent_asked_for() {
    let host = own_host!();
    host.run("docker run -d --name web --cgroup-parent /mine busybox sleep 1000").success();
    let pid = host.run("docker inspect --format '{{.State.Pid}} {{.Id}}' web").text().to_owned();
    let (pid, id) = pid.split_once(' ').expect("a pid and an id");
    host.run(&format!("cat /proc/{pid}/cgroup")).says(&format!("/mine/{id}"));
    host.run("docker rm -f web").success();
}

#[test]
fn devices_are_given_with_their_permissions() {
    let host = host!();
    host.run("docker run --rm --device /dev/zero:/dev/mine:r busybox sh -c 'head -c 3 /dev/mine | wc -c; ls -l /dev/mine | cut -c1'").shows(expect![[r#"
        3
        c
    "#]]);
    // A device that no container has by itself: without the flag, not even a node made by hand opens it.
    let open = "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg 2>&1";
    host.run(&format!("docker run --rm --cap-add SYSLOG busybox sh -c '{open}'")).says("Operation not permitted");
    host.run(&format!("docker run --rm --cap-add SYSLOG --device-cgroup-rule 'c 1:11 r' busybox sh -c '{open}'"))
        .says_not("Operation not permitted");
    host.run("docker run --rm --cap-add SYSLOG --device /dev/kmsg:/dev/kmsg:w busybox sh -c 'exec 3</dev/kmsg'")
        .says("not permitted");
    host.run("docker run --rm --cap-add SYSLOG --device /dev/kmsg:/dev/kmsg:rw busybox sh -c 'exec 3</dev/kmsg && echo open'").shows(
        expect![[r#"
        open
    "#]],
    );
    host.run("docker run --rm --device /dev/nosuch busybox true").says(
        "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory",
    );
    host.run("docker run --rm --device /dev/zero:/dev/x:q busybox true").code(125).says("bad mode specified: q");
    host.run("docker run --rm --device-cgroup-rule 'x 1:1 r' busybox true").code(125).says("device cgroup");
}

#[test]
fn a_folder_of_devices_is_all_that_is_in_it() {
    let host = own_host!();
    host.run("mkdir /run/devices && mknod /run/devices/a c 1 3 && mknod /run/devices/b c 1 5 && docker run --rm --device /run/devices:/dev/mine busybox ls /dev/mine").shows(expect![[r#"
        a
        b
    "#]]);
}

#[test]
fn a_gpu_that_is_not_there_is_said() {
    let host = host!();
    host.run("docker run --rm --gpus all busybox true")
        .code(125)
        .says("could not select device driver \"\" with capabilities: [[gpu]]");
}

#[test]
fn devices_are_injected_as_cdi_describes_them() {
    let host = own_host!();
    host.run("docker run --rm --device vendor.example/thing=one busybox true")
        .code(125)
        .says("CDI device injection failed: unresolvable CDI devices vendor.example/thing=one");
    host.run("mkdir -p /run/cdi /run/libs && echo library > /run/libs/lib.so").success();
    host.write(
        "/run/cdi/vendor.json",
        r#"{"cdiVersion":"0.6.0","kind":"vendor.example/thing","containerEdits":{"env":["THING=all"]},
            "devices":[{"name":"one","containerEdits":{"env":["ONE=1"],
                "deviceNodes":[{"path":"/dev/thing","hostPath":"/dev/zero","permissions":"r"}],
                "mounts":[{"hostPath":"/run/libs","containerPath":"/usr/lib/thing","options":["ro","rbind"]}]}},
              {"name":"hooked","containerEdits":{"hooks":[{"hookName":"createContainer","path":"/bin/true"}]}}]}"#,
    );
    host.run("docker run --rm --device vendor.example/thing=one busybox sh -c 'echo $THING $ONE; head -c 2 /dev/thing | wc -c; cat /usr/lib/thing/lib.so; touch /usr/lib/thing/x'")
        .says("all 1\n2\nlibrary")
        .says("Read-only file system");
    // What was asked for is shown as it was, in words that were not used as in those that were.
    host.run("docker create --name asked --device vendor.example/thing=one busybox").success();
    host.run("docker inspect --format '{{json .HostConfig.DeviceRequests}}' asked").shows(expect![[r#"
        [{"Driver":"cdi","Count":0,"DeviceIDs":["vendor.example/thing=one"],"Capabilities":null,"Options":null}]
    "#]]);
    host.run("docker run --rm --device vendor.example/thing=two busybox true")
        .code(125)
        .says("unresolvable CDI devices vendor.example/thing=two");
    host.run("docker run --rm --device vendor.example/thing=hooked busybox true").code(125).says("hooks");
    // As vendors' programs write them.
    host.write(
        "/run/cdi/other.yaml",
        "---\ncdiVersion: 0.5.0\ncontainerEdits:\n  env:\n  - OTHER=all\ndevices:\n- containerEdits:\n    deviceNodes:\n    - path: /dev/other\n      hostPath: /dev/zero\n      permissions: rw\n      major: 1\n    mounts:\n    - containerPath: /usr/lib/other\n      hostPath: /run/libs\n      options: [ro, nosuid, bind]\n  name: \"0\"\nkind: other.example/thing\n",
    );
    host.write("/run/cdi/broken.yml", "kind: [");
    host.run("docker run --rm --device other.example/thing=0 --device vendor.example/thing=one busybox sh -c 'echo $OTHER $ONE; head -c 2 /dev/other | wc -c; cat /usr/lib/other/lib.so'").shows(
        expect![[r#"
            all 1
            2
            library
        "#]],
    );
}

#[test]
fn the_kernel_sees_sysctls_and_scores() {
    let host = host!();
    host.run("docker run --rm --sysctl net.core.somaxconn=77 --sysctl kernel.msgmax=4096 busybox cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax").shows(expect![[r#"
        77
        4096
    "#]]);
    host.run("docker run --rm --sysctl kernel.hostname=x busybox true").code(125).says("not allowed");
    host.run("docker run --rm --oom-score-adj 321 busybox cat /proc/self/oom_score_adj").shows(expect![[r#"
        321
    "#]]);
    host.run("docker run --rm --oom-score-adj 2000 busybox true").code(125).says("[-1000, 1000]");
    host.run("docker run --rm -u 1000:1000 --group-add 7 --group-add 29 busybox id -G").shows(expect![[r#"
        1000 7 29
    "#]]);
}

/// A file of the container's control group, by its name on v1 (with its controller) or v2.
fn group_file(host: &Host, flags: &str, v1: &str, v2: &str) -> String {
    let line = format!(
        "docker run --rm {flags} busybox sh -c 'cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}'"
    );
    host.run(&line).stdout().trim_end().to_owned()
}

#[test]
fn processor_limits_reach_the_kernel() {
    needs!(require::controller("cpu"));
    needs!(require::controller("cpuset"));
    let host = host!();
    let quota = group_file(&host, "--cpu-period 50000 --cpu-quota 25000", "cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("25000"), "{quota}");
    let shares = group_file(&host, "--cpu-shares 512", "cpu/cpu.shares", "cpu.weight");
    assert!(shares == "512" || shares == "20", "{shares}");
    host.run(
        "docker run --rm --cpuset-cpus 0 --cpuset-mems 0 busybox grep allowed_list /proc/self/status | xargs -n 2",
    )
    .shows(expect![[r#"
        Cpus_allowed_list: 0
        Mems_allowed_list: 0
    "#]]);
    host.run("docker run --rm --cpuset-mems 99 busybox true").code(125);
    host.run("docker run --rm --cpu-period 5 busybox true").code(125).says("CPU cfs period");
    host.run("docker run --rm --cpu-quota 5 busybox true").code(125).says("CPU cfs quota");
    host.run("docker run --rm --cpu-count 2 --cpu-percent 5 --io-maxiops 7 --io-maxbandwidth 8 busybox true")
        .code(1)
        .says("\"--cpu-count\" is only supported on a Docker daemon running on windows");
}

#[test]
fn real_time_periods_reach_the_kernel() {
    needs!(require::controller("cpu"));
    let host = host!();
    let line =
        "docker run --rm --cpu-rt-period 500000 --cpu-rt-runtime 0 busybox cat /sys/fs/cgroup/cpu/cpu.rt_period_us";
    let shown = host.run(line);
    // Kernels without groups of real-time threads have no such file, and say so.
    let is_absent = shown.text().contains("cpu.rt_period_us") && shown.text().contains("o such file");
    assert!(shown.text() == "500000" || is_absent, "{shown:?}");
    // Nobody has given the group above any real time, so that none can be had: that reaches the kernel, too.
    host.run("docker run --rm --cpu-rt-runtime 9500 busybox true").code(125).says("rt_runtime_us");
}

#[test]
fn memory_limits_reach_the_kernel() {
    needs!(require::controller("memory"));
    let host = host!();
    let soft = group_file(&host, "--memory-reservation 32m", "memory/memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(soft, "33554432");
    let hard = group_file(&host, "-m 64m --memory-swap 64m", "memory/memory.memsw.limit_in_bytes", "memory.swap.max");
    assert!(hard == "67108864" || hard == "0", "{hard}");
    let swappiness = group_file(&host, "--memory-swappiness 7", "memory/memory.swappiness", "memory.max");
    assert!(swappiness == "7" || swappiness == "max", "{swappiness}");
    let killer = group_file(&host, "-m 64m --oom-kill-disable", "memory/memory.oom_control", "memory.max");
    assert!(killer.starts_with("oom_kill_disable 1") || killer == "67108864", "{killer}");
    host.run("docker run --rm --oom-kill-disable busybox true").says("WARNING");
    host.run("docker run --rm -m 64m --memory-reservation 128m busybox true")
        .code(125)
        .says("Minimum memory limit can not be less than memory reservation limit");
}

#[test]
fn rates_of_devices_reach_the_kernel() {
    needs!(require::controller("blkio"));
    let host = host!();
    let disks = host.run("cd /dev; for d in *; do test -b $d && stat -c '%n %Hr:%Lr' $d; done").stdout().to_owned();
    // The last one: those before it in the alphabet are loops and the like.
    let Some((disk, number)) = disks.lines().last().and_then(|line| line.split_once(' ')) else { return };
    for (flag, rate, file) in [
        ("--device-read-bps", "1mb", "read_bps_device"),
        ("--device-write-bps", "1mb", "write_bps_device"),
        ("--device-read-iops", "1048576", "read_iops_device"),
        ("--device-write-iops", "1048576", "write_iops_device"),
    ] {
        let line =
            format!("docker run --rm {flag} /dev/{disk}:{rate} busybox cat /sys/fs/cgroup/blkio/blkio.throttle.{file}");
        assert_eq!(host.run(&line).text(), format!("{number} 1048576"), "{flag}");
    }
    host.run("docker run --rm --device-read-bps /dev/nosuch:1mb busybox true").says("/dev/nosuch");
    host.run("docker run --rm --blkio-weight 5 busybox true").code(125).says("ange of blkio weight is from 10 to 1000");
    let weight = host.run("docker run --rm --blkio-weight 300 busybox cat /sys/fs/cgroup/blkio/blkio.bfq.weight");
    assert!(weight.stdout() == "300\n" || weight.stderr().contains("Weight discarded"), "{weight:?}");
}

#[test]
fn the_weight_of_a_device_reaches_the_kernel() {
    needs!(require::controller("blkio"));
    needs!(require::program("losetup"));
    let host = own_host!();
    // A disk of the test's own, with the scheduler that weighs.
    let disk = host.run("truncate -s 8M disk && losetup --find --show disk").text().to_owned();
    let name = disk.trim_start_matches("/dev/").to_owned();
    let weighs =
        host.run(&format!("echo bfq > /sys/block/{name}/queue/scheduler; cat /sys/block/{name}/queue/scheduler"));
    if weighs.text().contains("[bfq]") {
        let number = host.run(&format!("cat /sys/block/{name}/dev")).text().to_owned();
        let file = group_file(
            &host,
            &format!("--blkio-weight-device {disk}:300"),
            "blkio/blkio.bfq.weight_device",
            "io.bfq.weight",
        );
        assert!(file.contains(&format!("{number} 300")), "{file}");
    }
    host.run(&format!("losetup --detach {disk}")).success();
    host.run("docker run --rm --blkio-weight-device nosuch:300 busybox true").code(125).says("nosuch");
}

#[test]
fn who_shares_a_network_has_no_ports_or_links_of_his_own() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    let refused = |flags: &str, sentence: &str| {
        host.run(&format!("docker run --rm --network container:web {flags} busybox true")).code(125).says(sentence);
    };
    refused("--expose 80", "conflicting options: port exposing and the container type network mode");
    refused("-p 80:80", "conflicting options: port publishing and the container type network mode");
    refused("--link web", "conflicting options: container type network can't be used with links");
    refused("-h x", "conflicting options: hostname and the network mode");
}

#[test]
fn a_read_only_root_is_so_but_for_its_mounts() {
    let host = host!();
    host.run("docker run --rm --read-only --tmpfs /tmp busybox sh -c 'touch /tmp/x && echo fine; touch /x'")
        .says("fine")
        .says("Read-only file system");
}

#[test]
fn files_bring_variables_labels_and_take_the_id() {
    let host = host!();
    host.run("printf 'A=1\\n# no\\nB=two words\\nHOME\\n' > env; printf 'tier=front\\n' > labels").success();
    host.run("docker run --rm --env-file env -e B=3 busybox sh -c 'echo $A $B'").shows(expect![[r#"
        1 3
    "#]]);
    host.run(
        "docker run -d --name web --label-file labels --label x=y --annotation note=1 --cidfile id busybox sleep 1000",
    )
    .success();
    host.run("docker ps --filter label=tier=front --filter label=x=y --format '{{.Names}}'; test $(cat id) = $(docker inspect --format '{{.Id}}' web) && echo same").shows(expect![[r#"
        web
        same
    "#]]);
    host.run("docker inspect --format '{{.HostConfig.Annotations}}' web").shows(expect![[r#"
        map[note:1]
    "#]]);
    host.run("docker run --cidfile id busybox true").code(125).says("id");
    host.run("docker run --env-file nosuch busybox true").code(125).says("nosuch");
}

#[test]
fn what_this_host_cannot_do_is_refused_by_name() {
    let host = host!();
    host.run("docker run --rm --isolation default busybox echo fine").shows(expect![[r#"
        fine
    "#]]);
    host.run("docker run --rm --isolation hyperv busybox true").code(125).says("linux only supports 'default'");
    host.run("docker run --rm --runtime nosuch busybox true").code(125).says("unknown or invalid runtime name: nosuch");
    host.run("docker run --rm --storage-opt size=1g busybox true").code(125).says("--storage-opt");
    host.run("docker run --rm --platform linux/s390x --pull never busybox true").code(125).says("linux/s390x");
    host.run("docker run --rm --security-opt nonsense busybox true").code(125).says("nonsense");
    host.run("docker run --rm --log-driver splunk busybox true").code(125).says("splunk");
}

#[test]
fn a_mac_address_is_the_links() {
    let host = host!();
    host.run("docker run --rm --mac-address 02:42:de:ad:be:ef busybox cat /sys/class/net/eth0/address").shows(expect![
        [r#"
        02:42:de:ad:be:ef
    "#]
    ]);
}

#[test]
fn signals_go_to_the_process_unless_told_otherwise() {
    let host = host!();
    let trap = "busybox sh -c 'trap \"echo got it; exit 7\" USR1; echo ready; while :; do usleep 10000; done'";
    let session = host.spawn(&format!("exec docker run --rm --name web {trap}"));
    session.wait_for("ready");
    session.signal(hako_testkit::Signal::USR1);
    session.wait_for("got it");
    session.end().code(7);
    let session = host.spawn(&format!("exec docker run --rm --sig-proxy=false --name web {trap}"));
    session.wait_for("ready");
    session.signal(hako_testkit::Signal::USR1);
    // Long enough for a signal that is passed on to end it.
    host.run("docker exec web sleep 1; docker inspect --format '{{.State.Running}}' web; docker rm -f web")
        .says("true");
    assert!(!session.stdout().contains("got it"), "{}", session.stdout());
}

#[test]
fn who_insists_leaves_a_process_that_heeds_no_signal() {
    let host = host!();
    let session = host.spawn("exec docker run --name web busybox sleep 1000");
    host.wait_for_state("web", "running");
    for _ in 0..3 {
        session.signal(hako_testkit::Signal::INT);
        host.run("docker exec web sleep 1");
    }
    session.wait_for("got 3 SIGTERM/SIGINTs, forcefully exiting");
    session.end().code(1);
    host.run("docker inspect --format '{{.State.Running}}' web && docker rm -f web").says("true");
}

#[test]
fn an_ipv6_address_is_as_asked() {
    let host = host!();
    host.run("docker network create --ipv6 --subnet fd00:6::/64 --subnet 10.66.0.0/24 six").success();
    host.run("docker run --rm --network six --ip6 fd00:6::77 --ip 10.66.0.9 busybox ip -o address show eth0")
        .says("fd00:6::77/64")
        .says("10.66.0.9/24");
    host.run("docker run --rm --network six --ip6 fd00:7::1 busybox true")
        .code(125)
        .says("no configured subnet contains IP address fd00:7::1");
    host.run("docker network rm six").success();
}

#[test]
fn the_daemons_socket_is_given() {
    let host = own_host!();
    host.run("docker run --rm --use-api-socket busybox sh -c 'test -S /var/run/docker.sock && echo a socket'").shows(
        expect![[r#"
        a socket
    "#]],
    );
}

#[test]
fn every_flag_has_its_line() {
    let host = host!();
    let table = include_str!("../rows/run-flags.txt");
    let help = host.run("docker run --help").success().stdout().to_owned();
    let flags = help
        .lines()
        .filter_map(|line| line.trim_start().split("--").nth(1).filter(|_| line.trim_start().starts_with('-')));
    let flags: Vec<&str> =
        flags.filter_map(|rest| rest.split([' ', ',', '=']).next()).filter(|flag| *flag != "help").collect();
    assert!(flags.len() > 90, "{help}");
    for flag in flags {
        assert!(table.contains(&format!("`--{flag}` | ")), "tests/rows/run-flags.txt has no line for --{flag}");
    }
}
