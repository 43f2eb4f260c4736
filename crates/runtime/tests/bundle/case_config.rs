//! Properties of the configuration, each seen from inside.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const CASES: &[crate::Case] = &[
    ("default_devices_and_links_are_there", default_devices_and_links_are_there),
    ("a_root_without_mounts_has_devices_too", a_root_without_mounts_has_devices_too),
    ("mounts_have_their_options", mounts_have_their_options),
    ("variables_are_there_once", variables_are_there_once),
    ("the_callers_processors_are_not_inherited", the_callers_processors_are_not_inherited),
    ("a_link_is_no_place_for_the_kernels_file_systems", a_link_is_no_place_for_the_kernels_file_systems),
    ("a_read_only_dev_is_filled_first", a_read_only_dev_is_filled_first),
    ("a_read_only_bind_reaches_below", a_read_only_bind_reaches_below),
    ("mapped_binds_show_other_owners", mapped_binds_show_other_owners),
    ("a_tmpfs_begins_with_what_was_there", a_tmpfs_begins_with_what_was_there),
    ("a_user_namespace_maps_ids", a_user_namespace_maps_ids),
    ("clocks_are_set_apart", clocks_are_set_apart),
    ("sets_of_capabilities_are_as_named", sets_of_capabilities_are_as_named),
    ("limits_scores_and_schedules_are_set", limits_scores_and_schedules_are_set),
    ("paths_are_masked_and_read_only", paths_are_masked_and_read_only),
    ("calls_are_answered_as_the_filter_says", calls_are_answered_as_the_filter_says),
    ("calls_are_handed_to_the_listener", calls_are_handed_to_the_listener),
    ("devices_are_made_or_refused", devices_are_made_or_refused),
    ("namespaces_are_joined", namespaces_are_joined),
    ("what_cannot_be_granted_is_an_error", what_cannot_be_granted_is_an_error),
];

fn default_devices_and_links_are_there() {
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
                  for l in fd stdin ptmx; do readlink /dev/$l; done; ip link show lo | grep -o UP | head -1; ls / | grep -c rootfs";
    let ran = Bundle::new(script).run();
    assert_eq!(ran.output, "/proc/self/fd\n/proc/self/fd/0\npts/ptmx\nUP\n0\n", "{}", ran.error);
}

fn a_root_without_mounts_has_devices_too() {
    let bundle = Bundle::new("test -c /dev/null && readlink /dev/stdout && echo x > /dev/null && echo ok");
    let proc = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
    bundle.set("/mounts", proc).run().says("/proc/self/fd/1\nok\n");
}

fn mounts_have_their_options() {
    let tmpfs = json!({ "destination": "/tmp", "type": "tmpfs", "source": "t",
        "options": ["nosuid", "noexec", "noatime", "size=1m", "mode=700"] });
    let bundle = Bundle::new("grep ' /tmp ' /proc/mounts; grep ' /proc ' /proc/mounts")
        .push("/mounts", tmpfs)
        .push("/mounts", json!({ "destination": "/proc", "options": ["remount", "nosuid", "nodev"] }));
    let ran = bundle.run();
    let lines: Vec<&str> = ran.output.lines().collect();
    assert!(lines[0].starts_with("t /tmp tmpfs rw,nosuid,noexec,noatime,size=1024k,mode=700"), "{ran:?}");
    assert!(lines[1].contains("rw,nosuid,nodev,"), "{ran:?}");
}

fn variables_are_there_once() {
    let env = json!(["PATH=/bin", "HOME=", "ONE=1", "ONE=2"]);
    Bundle::new("echo $HOME $ONE; env | grep -c ONE").set("/process/env", env).run().says("/root 2\n1\n");
}

fn the_callers_processors_are_not_inherited() {
    let bundle = Bundle::new("grep Cpus_allowed_list /proc/self/status");
    bundle.write();
    let all = bundle.call("run", &[]).output;
    let call = format!(
        "exec {0}/hako-runtime --root {0}/records run --bundle {0} {1}",
        bundle.directory.display(),
        bundle.name
    );
    let arguments = ["-c", "0", "/bin/sh", "-c", &call].map(str::to_owned);
    crate::bundle::run("/usr/bin/taskset".as_ref(), &arguments).says(&all);
}

fn a_link_is_no_place_for_the_kernels_file_systems() {
    for place in ["proc", "sys"] {
        let bundle = Bundle::new("true");
        let root = bundle.directory.join("rootfs");
        fs::remove_dir(root.join(place)).unwrap();
        std::os::unix::fs::symlink("/data", root.join(place)).unwrap();
        bundle.run().fails_with("must be mounted on ordinary directory");
    }
}

fn a_read_only_dev_is_filled_first() {
    let mut bundle = Bundle::new("grep -c '^tmpfs /dev tmpfs ro,' /proc/mounts; test -c /dev/null && ls -d /dev/pts");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
    dev["options"].as_array_mut().unwrap().push(json!("ro"));
    bundle.run().says("1\n/dev/pts\n");
}

fn a_read_only_bind_reaches_below() {
    let run = |option: &str| {
        let bundle =
            Bundle::new("touch /data/a 2>/dev/null && echo top; touch /data/inner/a 2>/dev/null && echo inner; true");
        let source = bundle.directory.join("source");
        fs::create_dir_all(source.join("inner")).unwrap();
        // The tree to bind is made of two mounts, in a namespace of this thread alone.
        let source_text = source.display().to_string();
        let bundle = bundle
            .push("/mounts", json!({ "destination": "/data", "source": source_text, "options": ["rbind", option] }));
        bundle.write();
        let call = format!(
            "mount -t tmpfs x {source_text}/inner && exec {0}/hako-runtime --root {0}/records run --bundle {0} {1}",
            bundle.directory.display(),
            bundle.name
        );
        crate::bundle::run("/usr/bin/unshare".as_ref(), &["-m".to_owned(), "/bin/sh".to_owned(), "-c".to_owned(), call])
    };
    run("rw").says("top\ninner\n");
    run("ro").says("inner\n");
    run("rro").says("");
}

fn mapped_binds_show_other_owners() {
    let bundle = Bundle::new("stat -c %u:%g /data/x; touch /data/y");
    let source = bundle.directory.join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("x"), "").unwrap();
    std::os::unix::fs::chown(source.join("x"), Some(1000), Some(1000)).unwrap();
    std::os::unix::fs::chown(&source, Some(1000), Some(1000)).unwrap();
    let mapping = json!([{ "containerID": 1000, "hostID": 0, "size": 1 }]);
    let bind = json!({ "destination": "/data", "source": source.display().to_string(),
        "options": ["bind", "idmap"], "uidMappings": mapping, "gidMappings": mapping });
    let bundle = bundle.push("/mounts", bind);
    bundle.run().says("0:0\n");
    // Also of what an earlier mount brought.
    let bundle = Bundle::new("stat -c %u:%g /data/x /tmp/x");
    let place = bundle.directory.join("rootfs/data").display().to_string();
    let own = json!({ "destination": "/tmp", "source": place, "options": ["bind"],
        "uidMappings": mapping, "gidMappings": mapping });
    let plain = json!({ "destination": "/data", "source": source.display().to_string(), "options": ["bind"] });
    bundle.push("/mounts", plain).push("/mounts", own).run().says("1000:1000\n0:0\n");
    // The ids of a user namespace that is joined are known by it alone.
    let mapping = json!([{ "containerID": 0, "hostID": 200_000, "size": 2000 }]);
    let owner = Bundle::new("exec sleep 1000")
        .push("/linux/namespaces", json!({ "type": "user" }))
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping);
    std::os::unix::fs::chown(owner.directory.join("rootfs"), Some(200_000), Some(200_000)).unwrap();
    owner.write();
    owner.call("run", &["-d"]).succeeds();
    let path = format!("/proc/{}/ns/user", owner.pid());
    let bind = json!({ "destination": "/data", "source": source.display().to_string(), "options": ["bind", "idmap"] });
    Bundle::new("stat -c %u:%g /data/x")
        .push("/linux/namespaces", json!({ "type": "user", "path": path }))
        .push("/mounts", bind)
        .run()
        .says("1000:1000\n");
}

fn a_tmpfs_begins_with_what_was_there() {
    let bundle = Bundle::new("cat /data/deep/x; stat -c %a /data/deep");
    let deep = bundle.directory.join("rootfs/data/deep");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("x"), "was there\n").unwrap();
    fs::set_permissions(&deep, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    let tmpfs = json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] });
    bundle.push("/mounts", tmpfs).run().says("was there\n750\n");
}

fn a_user_namespace_maps_ids() {
    let mapping = json!([{ "containerID": 0, "hostID": 200_000, "size": 1000 }]);
    let bundle =
        Bundle::new("id -u; head -1 /proc/self/uid_map; cat /proc/self/setgroups; echo x > /data/x; test -c /dev/null")
            .push("/linux/namespaces", json!({ "type": "user" }))
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping);
    let root = bundle.directory.join("rootfs");
    for place in [&root, &root.join("data")] {
        std::os::unix::fs::chown(place, Some(200_000), Some(200_000)).unwrap();
    }
    let ran = bundle.run();
    let words: Vec<&str> = ran.output.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "200000", "1000", "allow"], "{ran:?}");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(root.join("data/x")).unwrap()), 200_000);
}

fn clocks_are_set_apart() {
    let offsets = json!({ "monotonic": { "secs": 1000, "nanosecs": 5 }, "boottime": { "secs": 864_000 } });
    let bundle = Bundle::new("cat /proc/self/timens_offsets; cat /proc/uptime")
        .push("/linux/namespaces", json!({ "type": "time" }))
        .set("/linux/timeOffsets", offsets);
    let ran = bundle.run();
    let words: Vec<&str> = ran.output.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "1000", "5", "boottime", "864000", "0"], "{ran:?}");
    assert!(words[6].parse::<f64>().unwrap() > 864_000.0, "{ran:?}");
}

fn sets_of_capabilities_are_as_named() {
    let sets = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NOSUCH"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"],
    });
    let bundle = Bundle::new("grep Cap /proc/self/status")
        .set("/process/capabilities", sets)
        .set("/process/user", json!({ "uid": 33, "gid": 33, "additionalGids": [5, 6], "umask": 0o77 }));
    let ran = bundle.run();
    let sets: Vec<u64> = ran
        .output
        .lines()
        .map(|line| u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap())
        .collect();
    // CapInh, CapPrm, CapEff, CapBnd, CapAmb of a program without file capabilities: what is ambient remains.
    assert_eq!(sets, [0x20, 0x20, 0x20, 0x21, 0x20], "{ran:?}");
    assert!(ran.error.contains("capability \\\"CAP_NOSUCH\\\" cannot be granted"), "{ran:?}");
}

fn limits_scores_and_schedules_are_set() {
    let script = "grep 'open files' /proc/self/limits; cat /proc/self/oom_score_adj; uname -m; cat /proc/self/stat; \
                  ionice -p 1; grep NoNewPrivs /proc/self/status";
    let bundle = Bundle::new(script)
        .set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]))
        .set("/process/oomScoreAdj", json!(77))
        .set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 3 }))
        .set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }))
        .set("/linux/personality", json!({ "domain": "LINUX32" }));
    let ran = bundle.run();
    let text = ran.output.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.starts_with("Max open files 100 200 files 77 "), "{ran:?}");
    assert!(text.contains("idle") && text.ends_with("NoNewPrivs: 1"), "{ran:?}");
    // Field 41 of proc_pid_stat(5): 3 is SCHED_BATCH.
    let stat = ran.output.lines().find(|line| line.contains("(cat)")).unwrap();
    assert_eq!(stat.split(' ').nth(40), Some("3"), "{ran:?}");
    if cfg!(target_arch = "x86_64") {
        assert!(text.contains(" i686 "), "{ran:?}");
    }
}

fn paths_are_masked_and_read_only() {
    let bundle = Bundle::new("cat /data/secret; ls /etc/dir | grep -c .; grep -c ' /etc/dir ' /proc/mounts; touch /tmp/x 2>/dev/null || echo denied")
        .set("/linux/maskedPaths", json!(["/data/secret", "/etc/dir", "/nosuch", "/etc/dir"]))
        .set("/linux/readonlyPaths", json!(["/tmp", "/nosuch"]));
    let root = bundle.directory.join("rootfs");
    fs::write(root.join("data/secret"), "secret").unwrap();
    fs::create_dir(root.join("etc/dir")).unwrap();
    fs::write(root.join("etc/dir/x"), "").unwrap();
    let ran = bundle.run();
    assert_eq!(ran.output, "0\n1\ndenied\n", "{ran:?}");
}

fn calls_are_answered_as_the_filter_says() {
    let filter = |no_new_privileges: bool| {
        let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }] });
        Bundle::new("mkdir /tmp/x 2>&1")
            .set("/linux/seccomp", seccomp)
            .set("/process/noNewPrivileges", json!(no_new_privileges))
    };
    for no_new_privileges in [true, false] {
        let ran = filter(no_new_privileges).run();
        assert!(ran.output.contains("No space left on device"), "{ran:?}");
    }
    let bundle = filter(true).set("/process/args", json!(["sleep", "1000"]));
    bundle.write();
    bundle.call("run", &["-d"]).succeeds();
    let ran = bundle.call("exec", &["mkdir", "/tmp/y"]);
    assert!(ran.error.contains("No space left on device"), "{ran:?}");
}

/// `SCMP_ACT_NOTIFY`: whoever listens gets the state and a descriptor.
fn calls_are_handed_to_the_listener() {
    let bundle = Bundle::new("mkdir /tmp/x 2>&1");
    let path = bundle.directory.join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path.display().to_string(),
        "listenerMetadata": "words", "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] });
    let bundle = bundle.set("/linux/seccomp", seccomp);
    let heard = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); 64];
        let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0_u8; 4096];
        let received = rustix::net::recvmsg(
            &stream,
            &mut [std::io::IoSliceMut::new(&mut bytes)],
            &mut control,
            rustix::net::RecvFlags::empty(),
        )
        .unwrap();
        // Closing the descriptor answers every call that was handed over with ENOSYS.
        let descriptors = control.drain().count();
        (serde_json::from_slice::<serde_json::Value>(&bytes[..received.bytes]).unwrap(), descriptors)
    });
    let ran = bundle.run();
    let (state, descriptors) = heard.join().unwrap();
    assert!(ran.output.contains("Function not implemented"), "{ran:?}");
    assert_eq!(
        (state["fds"][0].as_str(), state["metadata"].as_str(), descriptors),
        (Some("seccompFd"), Some("words"), 1)
    );
    assert_eq!(state["state"]["id"], bundle.name.as_str());
}

fn devices_are_made_or_refused() {
    let sink =
        json!({ "type": "c", "path": "/data/null", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6 });
    let pipe = json!({ "type": "p", "path": "/data/pipe", "fileMode": 0o622 });
    let devices = json!([sink, pipe]);
    let bundle = Bundle::new("stat -c '%F %a %u:%g' /data/null /data/pipe").set("/linux/devices", devices);
    bundle.run().says("character special file 600 5:6\nfifo 622 0:0\n");
    let bundle = Bundle::new("true").set("/linux/devices", json!([sink]));
    fs::write(bundle.directory.join("rootfs/data/null"), "a file").unwrap();
    bundle.run().fails_with("cannot make device /data/null: another file is there");
}

fn namespaces_are_joined() {
    let first = Bundle::new("echo up > /data/up; exec sleep 1000").set("/hostname", json!("first"));
    first.write();
    first.call("run", &["-d"]).succeeds();
    first.wait_for_file("data/up");
    let pid = first.pid();
    let spaces = ["pid", "network", "ipc", "uts"]
        .map(|kind| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{}", kind.replace("network", "net")) }));
    let mut all = spaces.to_vec();
    all.push(json!({ "type": "mount" }));
    let second = Bundle::new("hostname; ps | grep -c 'sleep 100[0]'")
        .set("/linux/namespaces", json!(all))
        .set("/hostname", json!(""));
    second.run().says("first\n1\n");
    // A path that is of another kind is an error.
    let wrong = json!([{ "type": "mount" }, { "type": "pid", "path": format!("/proc/{pid}/ns/net") }]);
    let third = Bundle::new("true").set("/linux/namespaces", wrong).set("/hostname", json!(""));
    third.run().fails_with("cannot join namespace pid: invalid argument");
}

fn what_cannot_be_granted_is_an_error() {
    let bundle = |pointer: &str, value| Bundle::new("true").set(pointer, value);
    bundle("/process/apparmorProfile", json!("some-profile")).run().fails_with("apparmor");
    bundle("/process/selinuxLabel", json!("a:b:c:s0")).run().fails_with("selinux");
    bundle("/linux/cgroupsPath", json!("system.slice:hako:x")).run().fails_with("systemd");
    bundle("/root/path", json!("nosuch")).run().fails_with("cannot open the root");
    bundle("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 200, "hard": 100 }]))
        .run()
        .fails_with("cannot set rlimit nofile: invalid argument");
}
