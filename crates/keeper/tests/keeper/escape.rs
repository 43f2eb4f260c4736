//! What a container could find of the keeper, tried from inside.
//!
//! A process on its way into a container is a copy of the keeper until it executes the container's program. These tests
//! look at it from a container whose root may look into every process that it can see.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use hako_keeper::{StdioSpec, Stream, Subject};
use hako_model::ContainerId;
use hako_runtime::{
    LaunchPlan,
    capability::CapSet,
    plan::{MountSource, Namespace, default_mounts},
};
use hako_sys::mount;
use rustix::fs::{Mode, OFlags};

use crate::{
    Test,
    host::{Host, pipes, plan, read_all, read_until, text},
};

pub(crate) const TESTS: &[Test] = &[
    ("cve_2019_5736_the_keepers_program_cannot_be_written_to", program_is_read_only),
    ("a_container_does_not_see_the_keeper", keeper_is_not_seen),
    ("what_enters_a_container_has_nothing_of_the_keepers", nothing_comes_along),
];

fn program_is_read_only() {
    let host = Host::start();
    let program = |pid| {
        let path = format!("/proc/{pid}/exe");
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    };
    assert!(mount::is_read_only(program(host.keeper_pid()).as_fd()).unwrap());
    assert!(!mount::is_read_only(program(std::process::id()).as_fd()).unwrap(), "this very file is not read-only");
}

/// The host's root without what is mounted below it, so that `/proc` is the container's own.
fn bare_root() -> OwnedFd {
    mount::clone_tree(Path::new("/"), false).unwrap()
}

/// Its own processes and nothing else in /proc, and root with all that this process itself may.
fn secluded(script: &str) -> LaunchPlan {
    let mut plan = plan(script);
    plan.mounts.extend(default_mounts(1 << 20, true).into_iter().filter(|mount| mount.source == MountSource::Proc));
    plan.namespaces.pid = Namespace::New;
    plan.process.capabilities = CapSet::all();
    plan
}

fn keeper_is_not_seen() {
    let host = Host::start();
    let id = ContainerId::random();
    let plan = secluded("for p in /proc/[0-9]*; do cat $p/comm; done");
    let mut launched = host.keeper.launch(id, 1, &plan, vec![bare_root()], StdioSpec::default(), Vec::new()).unwrap();
    let seen = text(&read_all(&mut launched.ring), Stream::Stdout);
    assert_eq!(seen.lines().collect::<Vec<_>>(), ["sh"], "processes in its /proc");
    host.exit_of(Subject::Container(id, 1));
}

fn nothing_comes_along() {
    const ENTRIES: usize = 40;
    let host = Host::start();
    let script = "echo ready; while read -t 0 line; [ $? != 0 ]; do for p in /proc/[0-9]*; do \
                  [ $p = /proc/1 ] || readlink $p/root $p/cwd $p/fd/* 2>/dev/null; done; done | sort -u; echo done";
    let id = ContainerId::random();
    let mut plan = secluded(script);
    plan.process.argv[0] = "/bin/bash".to_owned();
    if !Path::new("/bin/bash").exists() {
        println!("  skipped: needs bash");
        return;
    }
    let mut watcher = host.keeper.launch(id, 1, &plan, vec![bare_root()], pipes(), Vec::new()).unwrap();
    read_until(&mut watcher.ring, "ready");
    for _ in 0..ENTRIES {
        let (exec, _) = host.exec((id, &watcher), "true", StdioSpec::default());
        assert_eq!(host.exit_of(Subject::Exec(exec)).code, 0);
        host.keeper.acknowledge(Subject::Exec(exec)).unwrap();
    }
    rustix::io::write(watcher.stdin.as_ref().unwrap(), b"stop\n").unwrap();
    let seen = text(&read_all(&mut watcher.ring), Stream::Stdout);
    host.exit_of(Subject::Container(id, 1));
    assert!(seen.ends_with("done\n"), "{seen}");
    for forbidden in ["keeper.", "hako-ring", "[eventpoll]", "[signalfd]", "[eventfd]"] {
        let found = seen.lines().find(|line| line.contains(forbidden));
        assert_eq!(found, None, "in reach from inside");
    }
}
