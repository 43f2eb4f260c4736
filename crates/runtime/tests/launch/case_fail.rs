//! Starts that fail say which step, on what and why, and leave no process behind.

use std::{fs, os::unix::fs::PermissionsExt};

use hako_runtime::{
    LaunchPlan, Step,
    plan::{Mount, MountFlags, MountSource, Namespace},
};

use crate::{Case, place::Place};

pub(crate) const CASES: &[Case] = &[
    ("a_command_that_cannot_run_is_told_in_dockers_words", commands),
    ("each_failing_step_is_named", steps),
    ("parts_of_procfs_cannot_be_covered", procfs),
    ("a_failed_start_leaves_no_process", no_process),
];

#[track_caller]
fn fails(place: &Place, plan: &LaunchPlan, step: Step, text: &str, code: i32) {
    let error = place.run(plan).unwrap_err();
    assert_eq!((error.step, error.to_string().as_str(), error.exit_code()), (step, text, code));
}

fn commands() {
    let place = Place::new();
    fs::write(place.root.join("bin/text"), "no script").unwrap();
    fs::set_permissions(place.root.join("bin/text"), fs::Permissions::from_mode(0o755)).unwrap();
    for (command, step, text, code) in [
        ("nosuch", Step::Lookup, "exec: \"nosuch\": executable file not found in $PATH", 127),
        ("/nosuch", Step::Lookup, "exec: \"/nosuch\": stat /nosuch: no such file or directory", 127),
        ("/etc/passwd", Step::Lookup, "exec: \"/etc/passwd\": permission denied", 126),
        ("/etc", Step::Lookup, "exec: \"/etc\": is a directory: permission denied", 126),
    ] {
        fails(&place, &place.plan_of(&[command]), step, text, code);
    }
    // What the kernel refuses to execute has been started: it says so itself.
    fs::write(place.root.join("bin/orphan"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(place.root.join("bin/orphan"), fs::Permissions::from_mode(0o755)).unwrap();
    for (command, text) in
        [("text", "exec /bin/text: exec format error\n"), ("orphan", "exec /bin/orphan: no such file or directory\n")]
    {
        let ran = place.run(&place.plan_of(&[command])).unwrap();
        assert_eq!((ran.output.as_str(), ran.code), (text, 1));
    }
}

fn steps() {
    let place = Place::new();
    let check = |change: &dyn Fn(&mut LaunchPlan), step: Step, text: &str| {
        let mut plan = place.plan("true");
        change(&mut plan);
        // As Docker and its command line see it in the words.
        let missing = text.contains("no such file or directory") || text.contains("not a directory");
        fails(&place, &plan, step, text, if missing { 127 } else { 128 });
    };
    check(
        &|plan| drop(plan.sysctls.insert("kernel.nosuch".to_owned(), "1".to_owned())),
        Step::Sysctl,
        "cannot set sysctl kernel.nosuch: no such file or directory",
    );
    check(&|plan| plan.root.mount = 9, Step::Plan, "cannot carry out the plan: descriptor 9 was not sent (1 were)");
    check(
        &|plan| plan.namespaces.ipc = Namespace::Join(0),
        Step::JoinNamespace,
        "cannot join namespace ipc: bad file descriptor",
    );
    check(
        &|plan| plan.cgroup.hierarchies.push(("x".to_owned(), "/sys/fs/cgroup/nosuch/x".into())),
        Step::JoinCgroup,
        "cannot join cgroup /sys/fs/cgroup/nosuch/x: no such file or directory",
    );
    let mount = |target: &str, options: &[(&str, &str)]| Mount {
        target: target.to_owned(),
        source: MountSource::Tmpfs(options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()),
        flags: MountFlags::default(),
    };
    check(
        &|plan| plan.mounts.push(mount("/etc/passwd", &[])),
        Step::Mount,
        "cannot mount to \"/etc/passwd\": not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type",
    );
    let mut plan = place.plan("true");
    plan.mounts.push(mount("/x", &[("nosuch", "1")]));
    let error = place.run(&plan).unwrap_err();
    assert!(error.to_string().contains("Unknown parameter 'nosuch'"), "{error}");
    check(
        &|plan| plan.process.cwd = "/etc/passwd".to_owned(),
        Step::WorkingDirectory,
        "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory",
    );
}

fn procfs() {
    let place = Place::new();
    for target in ["/proc", "/proc/self/attr", "/proc/sys/kernel"] {
        let mut plan = place.plan("true");
        plan.readonly_paths.clear();
        let flags = MountFlags::default();
        plan.mounts.push(Mount { target: target.to_owned(), source: MountSource::Tmpfs(Vec::new()), flags });
        let text =
            format!("cannot mount to {target:?}: it is inside the proc filesystem, which must stay the kernel's own");
        fails(&place, &plan, Step::Mount, &text, 128);
    }
}

fn no_process() {
    let place = Place::new();
    let children = || fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let before = children();
    assert!(place.run(&place.plan_of(&["nosuch"])).is_err());
    assert_eq!(children(), before);
}
