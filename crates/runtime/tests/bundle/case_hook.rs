//! The six kinds of hooks: when, where, with what, and what follows when one fails.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const CASES: &[crate::Case] = &[
    ("hooks_run_in_their_order_and_place", hooks_run_in_their_order_and_place),
    ("a_failing_hook_ends_the_container", a_failing_hook_ends_the_container),
    ("a_failing_poststop_hook_is_a_warning", a_failing_poststop_hook_is_a_warning),
];

const MOMENTS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

// Writes its moment and what it reads. All but `startContainer` see the host's paths.
fn hook(log: &str, moment: &str) -> serde_json::Value {
    let script = format!("read -r state; echo \"{moment} $state\" >> {log}; readlink /proc/self/ns/mnt >> {log}");
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }])
}

fn hooks_run_in_their_order_and_place() {
    let bundle = Bundle::new("exec sleep 1000")
        .push("/mounts", json!({ "destination": "/out", "source": "out", "options": ["bind"] }));
    let out = bundle.directory.join("out");
    fs::create_dir(&out).unwrap();
    let host_log = out.join("log").display().to_string();
    let hooks: serde_json::Map<String, serde_json::Value> = MOMENTS
        .iter()
        .map(|moment| {
            let log = if *moment == "startContainer" { "/out/log" } else { &host_log };
            ((*moment).to_owned(), hook(log, moment))
        })
        .collect();
    let bundle = bundle.set("/hooks", json!(hooks)).set("/annotations", json!({ "a": "b" }));
    bundle.write();
    bundle.call("create", &[]).succeeds();
    let seen = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with("mnt:"))
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(&fs::read_to_string(&host_log).unwrap()), MOMENTS[..3]);
    bundle.call("start", &[]).succeeds();
    assert_eq!(seen(&fs::read_to_string(&host_log).unwrap()), MOMENTS[..5]);
    let pid = bundle.pid();
    bundle.call("delete", &["--force"]).succeeds();
    let text = fs::read_to_string(&host_log).unwrap();
    assert_eq!(seen(&text), MOMENTS);
    let own = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        ("creating", pid, true),
        ("creating", pid, true),
        ("created", 1, false),
        ("created", 1, false),
        ("running", pid, true),
        ("stopped", 0, true),
    ];
    for (index, (status, number, on_host)) in expected.into_iter().enumerate() {
        let state = lines[2 * index].split_once(' ').unwrap().1;
        let state: serde_json::Value = serde_json::from_str(state).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(
            (state["status"].as_str(), state["pid"].as_u64()),
            (Some(status), Some(u64::from(number))),
            "{text}"
        );
        assert_eq!(state["annotations"]["a"], "b");
        assert_eq!(lines[2 * index + 1] == own, on_host, "{text}");
    }
}

fn a_failing_hook_ends_the_container() {
    for moment in &MOMENTS[..5] {
        let bundle = Bundle::new("exec sleep 1000");
        let after = bundle.directory.join("after");
        let failing = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"] }]);
        let clean = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("echo x > {}", after.display())] }]);
        let bundle = bundle.set("/hooks", json!({ *moment: failing, "poststop": clean }));
        bundle.write();
        let created = bundle.call("create", &[]);
        let failed = if created.code == 0 { bundle.call("start", &[]) } else { created };
        failed.fails_with(moment);
        failed.fails_with("exit status 3, it said: why");
        if bundle.call("state", &[]).code == 0 {
            bundle.wait_for_status("stopped");
            bundle.call("delete", &[]).succeeds();
        }
        assert!(after.exists(), "{moment}");
    }
}

fn a_failing_poststop_hook_is_a_warning() {
    let bundle = Bundle::new("true");
    let second = bundle.directory.join("second");
    let hooks = json!([
        { "path": "/bin/false" },
        { "path": "/bin/sh", "args": ["sh", "-c", format!("echo x > {}", second.display())] },
    ]);
    let bundle = bundle.set("/hooks", json!({ "poststop": hooks }));
    let ran = bundle.run();
    assert!(ran.code == 0 && ran.error.contains("poststop"), "{ran:?}");
    assert!(second.exists());
}
