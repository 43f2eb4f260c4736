//! More properties of the configuration, in the order of the specification: names, users, propagation, parameters of the
//! kernel, and what this runtime refuses by name.

use serde_json::{Value, json};

use crate::bundle::Bundle;

pub(crate) const CASES: &[crate::Case] = &[
    ("a_container_has_its_names", a_container_has_its_names),
    ("a_process_has_its_user_and_mask", a_process_has_its_user_and_mask),
    ("a_read_only_root_is_that", a_read_only_root_is_that),
    ("mounts_travel_as_the_configuration_says", mounts_travel_as_the_configuration_says),
    ("parameters_of_the_kernel_are_set_inside", parameters_of_the_kernel_are_set_inside),
    ("a_device_does_not_replace_a_file", a_device_does_not_replace_a_file),
    ("a_path_is_of_the_namespace_that_it_is_given_for", a_path_is_of_the_namespace_that_it_is_given_for),
    ("no_new_privileges_is_said_and_not_assumed", no_new_privileges_is_said_and_not_assumed),
    ("what_is_not_there_is_refused_by_name", what_is_not_there_is_refused_by_name),
];

fn a_container_has_its_names() {
    let bundle = Bundle::new("hostname; cat /proc/sys/kernel/domainname")
        .set("/hostname", json!("first.example"))
        .set("/domainname", json!("second.example"));
    bundle.run().says("first.example\nsecond.example\n");
    let mut bundle = Bundle::new("true").set("/domainname", json!("x"));
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "uts");
    bundle.run().fails_with("without a private UTS namespace");
}

fn a_process_has_its_user_and_mask() {
    let bundle = Bundle::new("id -u; id -g; id -G; umask; pwd")
        .set("/process/user", json!({ "uid": 33, "gid": 7, "additionalGids": [5, 6], "umask": 0o27 }))
        .set("/process/cwd", json!("/made/for/it"));
    bundle.run().says("33\n7\n7 5 6\n0027\n/made/for/it\n");
}

fn a_read_only_root_is_that() {
    let script = "touch /data/x 2>/dev/null || echo closed; touch /dev/shm/x && echo open";
    Bundle::new(script).set("/root/readonly", json!(true)).run().says("closed\nopen\n");
    Bundle::new(script).run().says("open\n");
}

// What mountinfo says of how a mount travels, without the numbers.
fn travels(output: &str, place: &str) -> Vec<String> {
    let line = output.lines().find(|line| line.split(' ').nth(4) == Some(place));
    let fields = line.unwrap_or_else(|| panic!("{place} in {output}")).split(' ').skip(6);
    fields
        .take_while(|field| *field != "-")
        .map(|field| field.split(':').next().unwrap_or_default().to_owned())
        .collect()
}

fn mounts_travel_as_the_configuration_says() {
    const SCRIPT: &str = "cat /proc/self/mountinfo";
    for (word, expected) in [("private", &[][..]), ("rshared", &["shared"]), ("runbindable", &["unbindable"])] {
        let ran = Bundle::new(SCRIPT).set("/linux/rootfsPropagation", json!(word)).run();
        assert_eq!(travels(&ran.output, "/"), expected, "{word}: {ran:?}");
    }
    for (word, expected) in [("rprivate", &[][..]), ("shared", &["shared"]), ("unbindable", &["unbindable"])] {
        let bundle = Bundle::new(SCRIPT);
        let source = bundle.directory.join("rootfs/tmp").display().to_string();
        let bind = json!({ "destination": "/data", "source": source, "options": ["bind", word] });
        let ran = bundle.push("/mounts", bind).run();
        assert_eq!(travels(&ran.output, "/data"), expected, "{word}: {ran:?}");
    }
    Bundle::new("true").set("/linux/rootfsPropagation", json!("sideways")).run().fails_with("linux.rootfsPropagation");
}

fn parameters_of_the_kernel_are_set_inside() {
    let own = json!({ "net.ipv4.ip_forward": "1", "kernel/shm_rmid_forced": "1", "fs.mqueue.msg_max": "20" });
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max";
    Bundle::new(script).set("/linux/sysctl", own).run().says("1\n1\n20\n");
    for name in ["vm.swappiness", "net.ipv4/../../kernel/panic", "kernel.panic"] {
        let reason = "is not in a separate kernel namespace";
        Bundle::new("true").set("/linux/sysctl", json!({ name: "1" })).run().fails_with(reason);
    }
    let unknown = json!({ "net.nosuch": "1" });
    Bundle::new("true").set("/linux/sysctl", unknown).run().fails_with("cannot set sysctl net.nosuch");
}

fn a_device_does_not_replace_a_file() {
    let device = json!([{ "type": "c", "path": "/etc/passwd", "major": 1, "minor": 3 }]);
    let bundle = Bundle::new("true").set("/linux/devices", device);
    bundle.run().fails_with("cannot make device /etc/passwd: another file is there");
    assert!(std::fs::read_to_string(bundle.directory.join("rootfs/etc/passwd")).unwrap().contains("web"));
}

fn a_path_is_of_the_namespace_that_it_is_given_for() {
    let with_path = |path: &str| {
        let mut bundle = Bundle::new("true");
        for one in bundle.config["linux"]["namespaces"].as_array_mut().unwrap() {
            if one["type"] == "ipc" {
                one["path"] = json!(path);
            }
        }
        bundle.run()
    };
    with_path("/proc/self/ns/ipc").succeeds();
    for wrong in ["/proc/self/ns/uts", "/etc/passwd"] {
        with_path(wrong).fails_with("cannot join namespace ipc: invalid argument");
    }
    with_path("/nosuch").fails_with("cannot open the namespace ipc at /nosuch: no such file or directory");
    with_path("proc/self/ns/ipc").fails_with("is not absolute");
}

fn no_new_privileges_is_said_and_not_assumed() {
    for (asked, expected) in [(true, "1"), (false, "0")] {
        let ran = Bundle::new("grep NoNewPrivs /proc/self/status").set("/process/noNewPrivileges", json!(asked)).run();
        assert_eq!(ran.output.split_whitespace().last(), Some(expected), "{ran:?}");
    }
}

fn what_is_not_there_is_refused_by_name() {
    let refused: [(&str, Value, &str); 9] = [
        ("/linux/intelRdt", json!({ "closID": "x" }), "linux.intelRdt is not supported"),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_DEFAULT" }), "linux.memoryPolicy is not supported"),
        ("/linux/netDevices", json!({ "eth0": {} }), "linux.netDevices is not supported"),
        ("/vm", json!({ "kernel": { "path": "/k" } }), "vm is not supported"),
        ("/linux/mountLabel", json!("a:b:c:s0"), "selinux"),
        ("/linux/namespaces", json!([{ "type": "pid" }]), "linux.namespaces without mount is not supported"),
        ("/linux/personality", json!({ "domain": "LINUX", "flags": ["X"] }), "linux.personality.flags"),
        ("/ociVersion", json!("2.0.0"), "ociVersion is not supported"),
        ("/linux/resources/network", json!({ "priorities": [{ "name": "nosuch0", "priority": 1 }] }), "net_prio"),
    ];
    for (pointer, value, words) in refused {
        Bundle::new("true").set(pointer, value).run().fails_with(words);
    }
    let nothing = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": [], "action": "SCMP_ACT_LOG" }] });
    Bundle::new("true").set("/linux/seccomp", nothing).run().fails_with("a rule names no call");
}
