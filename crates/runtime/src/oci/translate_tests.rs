//! Configurations become plans: what counts is the plan, or the sentence that says why there is none.

use super::*;

fn config(json: &str) -> Config {
    serde_json::from_str(json).unwrap()
}

/// A whole configuration around some properties of `linux`, with some namespaces.
fn with(linux: &str, more: &str) -> Result<Translated, OciError> {
    let text = format!(
        r#"{{"ociVersion":"1.0.2","root":{{"path":"rootfs"}},"process":{{"cwd":"/","args":["true"]}},
            "linux":{{"namespaces":[{{"type":"mount"}},{{"type":"pid"}},{{"type":"uts"}},{{"type":"ipc"}}]{linux}}}{more}}}"#
    );
    translate(&config(&text), Path::new("/b"))
}

fn error(outcome: Result<Translated, OciError>) -> String {
    outcome.map(|done| format!("{:?}", done.plan)).unwrap_err().to_string()
}

#[test]
fn the_least_is_enough() {
    let text =
        r#"{"ociVersion":"1.2.1","root":{"path":"/r","readonly":true},"linux":{"namespaces":[{"type":"mount"}]}}"#;
    let done = translate(&config(text), Path::new("/b")).unwrap();
    assert_eq!(done.needs, [Need::Root { path: "/r".into(), receives: false }]);
    assert!(done.plan.root.read_only && done.plan.process.argv.is_empty());
    assert_eq!(done.plan.devices.len(), 6);
}

#[test]
fn only_the_first_major_version_is_known() {
    for version in ["0.2.0", "2.0.0", "1.0", "x", ""] {
        assert!(check_version(version).is_err(), "{version}");
    }
    for version in ["1.0.0", "1.3.0", "1.0.2-dev", "1.2.0+dev"] {
        check_version(version).unwrap();
    }
}

#[test]
fn a_namespace_is_new_joined_or_the_hosts() {
    let done = with("", r#","hostname":"h""#).unwrap();
    assert_eq!((done.plan.namespaces.pid, done.plan.namespaces.network), (Namespace::New, Namespace::Host));
    let twice =
        r#"{"ociVersion":"1.0.0","root":{"path":"r"},"linux":{"namespaces":[{"type":"mount"},{"type":"mount"}]}}"#;
    assert_eq!(error(translate(&config(twice), Path::new("/b"))), "invalid linux.namespaces: mount is there twice");
    let joined = r#"{"ociVersion":"1.0.0","root":{"path":"r"},
                     "linux":{"namespaces":[{"type":"mount"},{"type":"network","path":"/run/netns/a"}]}}"#;
    let done = translate(&config(joined), Path::new("/b")).unwrap();
    assert_eq!(done.plan.namespaces.network, Namespace::Join(1));
    assert_eq!(done.needs[1], Need::Namespace { kind: "network", path: "/run/netns/a".into() });
}

#[test]
fn mappings_and_clocks_need_their_namespaces() {
    let mapping = r#","uidMappings":[{"containerID":0,"hostID":1,"size":1}]"#;
    assert_eq!(error(with(mapping, "")), "invalid linux.uidMappings: there is no user namespace to map ids of");
    let offset = r#","timeOffsets":{"monotonic":{"secs":5}}"#;
    assert_eq!(error(with(offset, "")), "invalid linux.timeOffsets: there is no new time namespace");
}

#[test]
fn mounts_keep_their_order_and_options() {
    let mounts = r#","mounts":[
        {"destination":"/proc","type":"proc","source":"proc"},
        {"destination":"tmp","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755","ro"]},
        {"destination":"/data","source":"data","options":["rbind","rro","rprivate"]},
        {"destination":"/x","type":"ext4","source":"/dev/sda","options":["sync","journal=1"]}]"#;
    let done = with("", mounts).unwrap();
    let targets: Vec<&str> = done.plan.mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/proc", "/tmp", "/data", "/x"]);
    assert!(done.plan.mounts[1].flags.read_only && done.plan.mounts[1].flags.nosuid);
    assert_eq!(
        done.plan.mounts[1].source,
        MountSource::Tmpfs([("source", "tmpfs"), ("mode", "755")].map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec())
    );
    let Need::Bind(bind) = &done.needs[1] else { panic!("a bind") };
    assert_eq!((bind.source.as_path(), bind.options.below_set), (Path::new("/b/data"), option::RDONLY));
    let MountSource::Filesystem { kind, options } = &done.plan.mounts[3].source else { panic!("a file system") };
    assert_eq!((kind.as_str(), options.len()), ("ext4", 3));
}

#[test]
fn a_mapped_bind_needs_a_mapping() {
    let mount = r#","mounts":[{"destination":"/d","source":"/d","options":["bind","idmap"]}]"#;
    assert_eq!(
        error(with("", mount)),
        "invalid mounts: idmap without mappings and without a user namespace to take them from"
    );
}

#[test]
fn paths_that_are_closed_are_absolute() {
    assert!(with(r#","maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"]"#, "").is_ok());
    for property in ["maskedPaths", "readonlyPaths"] {
        let text = error(with(&format!(r#","{property}":["/proc/sys","proc/kcore"]"#), ""));
        assert_eq!(text, format!("invalid linux.{property}: path \"proc/kcore\" is not absolute"));
    }
    assert_eq!(error(with("", r#","annotations":{"a":"b","":"c"}"#)), "invalid annotations: a key is empty");
}

#[test]
fn parameters_of_the_host_cannot_be_set() {
    assert!(with(r#","sysctl":{"kernel.msgmax":"1"}"#, "").is_ok());
    for name in ["net.ipv4.ip_forward", "vm.swappiness", "kernel.panic"] {
        let text = error(with(&format!(r#","sysctl":{{"{name}":"1"}}"#), ""));
        assert_eq!(text, format!("invalid linux.sysctl: sysctl {name:?} is not in a separate kernel namespace"));
    }
}

#[test]
fn what_cannot_be_is_said() {
    for (linux, sentence) in [
        (r#","intelRdt":{"closID":"x"}"#, "linux.intelRdt is not supported: this runtime does not manage resctrl"),
        (r#","rootfsPropagation":"x""#, "invalid linux.rootfsPropagation: \"x\" is none"),
        (r#","devices":[{"type":"c","path":"/dev/x"}]"#, "invalid linux.devices: /dev/x has no number"),
        (r#","devices":[{"type":"z","path":"/dev/x"}]"#, "invalid linux.devices: \"z\" is no type of device"),
        (r#","personality":{"domain":"VMS"}"#, "invalid linux.personality.domain: \"VMS\" is none"),
    ] {
        assert_eq!(error(with(linux, "")), sentence);
    }
}

#[test]
fn limits_are_there_once() {
    let process = |limits: &str| {
        let text = format!(
            r#"{{"ociVersion":"1.0.0","root":{{"path":"r"}},"linux":{{"namespaces":[{{"type":"mount"}}]}},
                "process":{{"cwd":"/","args":["x"],"rlimits":[{limits}]}}}}"#
        );
        translate(&config(&text), Path::new("/b"))
    };
    let one = r#"{"type":"RLIMIT_NOFILE","soft":1,"hard":18446744073709551615}"#;
    assert_eq!(process(one).unwrap().plan.process.rlimits[0].hard, None);
    assert_eq!(error(process(&format!("{one},{one}"))), "invalid process.rlimits: RLIMIT_NOFILE is there twice");
    assert_eq!(
        error(process(r#"{"type":"RLIMIT_X","soft":1,"hard":1}"#)),
        "invalid process.rlimits: \"RLIMIT_X\" is none"
    );
}

#[test]
fn the_examples_of_the_specification_are_understood() {
    let minimal = r#"{"ociVersion":"1.0.0","root":{"path":"rootfs"}}"#;
    config(minimal);
    // Keys that nobody knows, and nulls where Go leaves nothing.
    config(
        r#"{"ociVersion":"1.0.0","future":{"a":1},"mounts":null,"process":null,"linux":{"resources":{"memory":null}}}"#,
    );
}

proptest::proptest! {
    /// Foreign bytes end in a plan or an error.
    #[test]
    fn hostile_configurations_end_in_an_answer(
        destination in "[a-z/.]{0,12}", options in proptest::collection::vec("[a-z=]{0,8}", 0..4),
        kind in "(proc|tmpfs|none|bind|[a-z]{0,5})", propagation in "(shared|slave|[a-z]{0,4})", number in proptest::num::i64::ANY,
    ) {
        let text = serde_json::json!({
            "ociVersion": "1.0.0", "root": { "path": "r" },
            "mounts": [{ "destination": destination, "type": kind, "source": "/x", "options": options }],
            "linux": {
                "namespaces": [{ "type": "mount" }], "rootfsPropagation": propagation,
                "devices": [{ "type": "c", "path": "/dev/x", "major": number, "minor": number }],
            },
        });
        if let Ok(done) = translate(&config(&text.to_string()), Path::new("/b")) {
            proptest::prop_assert!(done.plan.mounts.iter().all(|mount| mount.target.starts_with('/')));
        }
    }
}
