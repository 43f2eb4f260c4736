//! Starting: what comes back, what is refused, what happens when it is asked for twice.

use std::os::fd::AsFd;

use hako_base::ErrorKind;
use hako_keeper::{KeeperError, StdioSpec, Stream, Subject};
use hako_model::{ContainerId, Limits};
use hako_runtime::{
    LaunchPlan, Outcome,
    cgroup::{Cgroup, DeviceRules},
};

use crate::{
    Test,
    host::{CGROUP_PARENT, Host, host_root, pipes, plan, read_all, text},
};

pub(crate) const TESTS: &[Test] = &[
    ("output_and_exit_status_arrive", output_and_exit_status_arrive),
    ("a_signal_is_told_with_its_number", a_signal_is_told_with_its_number),
    ("a_missing_command_is_an_error_and_leaves_nothing", a_missing_command_is_an_error_and_leaves_nothing),
    ("a_start_asked_for_twice_happens_once", a_start_asked_for_twice_happens_once),
    ("two_lives_of_a_container_never_overlap", two_lives_of_a_container_never_overlap),
    ("many_starts_at_once", many_starts_at_once),
    ("a_plan_larger_than_a_message_arrives", a_plan_larger_than_a_message_arrives),
    ("an_exec_runs_beside_its_container", an_exec_runs_beside_its_container),
    ("a_kill_for_want_of_memory_is_told", a_kill_for_want_of_memory_is_told),
    ("limits_and_oom_score_are_not_the_keepers", limits_and_oom_score_are_not_the_keepers),
];

fn output_and_exit_status_arrive() {
    let host = Host::start();
    let (id, mut started) = host.launch("echo out; echo err >&2; exit 7", StdioSpec::default());
    let chunks = read_all(&mut started.ring);
    assert_eq!(text(&chunks, Stream::Stdout), "out\n");
    assert_eq!(text(&chunks, Stream::Stderr), "err\n");
    let subject = Subject::Container(id, 1);
    let status = host.exit_of(subject);
    assert_eq!((status.code, status.signal, status.oom_killed), (7, None, false));
    assert!(started.stdin.is_none() && started.pty.is_none());
    host.keeper.acknowledge(subject).unwrap();
    host.keeper.acknowledge(subject).unwrap();
}

fn a_signal_is_told_with_its_number() {
    let host = Host::start();
    let (id, started) = host.launch("exec sleep 1000", StdioSpec::default());
    let early = host.keeper.acknowledge(Subject::Container(id, 1)).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Conflict, "{early}");
    hako_sys::process::send_signal(started.pidfd.as_fd(), libc::SIGKILL).unwrap();
    let status = host.exit_of(Subject::Container(id, 1));
    assert_eq!((status.code, status.signal), (137, Some(9)));
}

fn a_missing_command_is_an_error_and_leaves_nothing() {
    let mut host = Host::start();
    let mut plan = plan("");
    plan.process.argv = vec!["/bin/no-such-program".to_owned()];
    let id = ContainerId::random();
    let error = host.keeper.launch(id, 1, &plan, vec![host_root()], StdioSpec::default(), Vec::new()).unwrap_err();
    let KeeperError::Launch(error) = error else { panic!("{error}") };
    assert_eq!(error.outcome(), Outcome::NotFound, "{error}");
    assert!(host.reconnect().is_empty());
    // The same start may be tried again.
    host.launch_as(id, 1, "exit 0", StdioSpec::default()).unwrap();
    assert_eq!(host.exit_of(Subject::Container(id, 1)).code, 0);
}

fn a_start_asked_for_twice_happens_once() {
    let host = Host::start();
    let (id, mut first) = host.launch("read line; echo $line", pipes());
    let mut second = host.launch_as(id, 1, "echo never", pipes()).unwrap();
    assert_eq!(first.pid, second.pid);
    rustix::io::write(second.stdin.take().unwrap(), b"once\n").unwrap();
    assert_eq!(text(&read_all(&mut second.ring), Stream::Stdout), "once\n");
    assert!(first.ring.take(1).is_ok());
    assert_eq!(host.exit_of(Subject::Container(id, 1)).code, 0);
    assert!(host.notices.try_recv().is_err());
}

fn two_lives_of_a_container_never_overlap() {
    let host = Host::start();
    let (id, started) = host.launch("exec sleep 1000", StdioSpec::default());
    let error = host.launch_as(id, 2, "exit 0", StdioSpec::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    hako_sys::process::send_signal(started.pidfd.as_fd(), libc::SIGKILL).unwrap();
    host.exit_of(Subject::Container(id, 1));
    host.launch_as(id, 2, "exit 0", StdioSpec::default()).unwrap();
    host.exit_of(Subject::Container(id, 2));
    let error = host.launch_as(id, 0, "exit 0", StdioSpec::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "a start of the past: {error}");
}

fn many_starts_at_once() {
    let host = Host::start();
    std::thread::scope(|scope| {
        for number in 0..40 {
            let keeper = &host.keeper;
            scope.spawn(move || {
                let script = format!("echo {number}; exit {number}");
                let started = keeper.launch(
                    ContainerId::random(),
                    number,
                    &plan(&script),
                    vec![host_root()],
                    StdioSpec::default(),
                    Vec::new(),
                );
                let chunks = read_all(&mut started.unwrap().ring);
                assert_eq!(text(&chunks, Stream::Stdout), format!("{number}\n"));
            });
        }
    });
    for _ in 0..40 {
        let notice = host.notices.recv_timeout(crate::host::PATIENCE).unwrap();
        let hako_keeper::Notice::Exited { subject: Subject::Container(_, number), status } = notice else {
            panic!("{notice:?}")
        };
        assert_eq!(status.code as u64, number);
    }
}

fn a_plan_larger_than_a_message_arrives() {
    let host = Host::start();
    let mut large = plan("echo ${#A0}");
    // A single string of an environment may have 128 KiB; together they are more than any packet.
    large.process.env.extend((0..8).map(|index| format!("A{index}={}", "x".repeat(100_000))));
    let kept: Vec<_> =
        (0..300).map(|_| rustix::event::eventfd(7, rustix::event::EventfdFlags::CLOEXEC).unwrap()).collect();
    let id = ContainerId::random();
    let mut started = host.keeper.launch(id, 1, &large, vec![host_root()], StdioSpec::default(), kept).unwrap();
    assert_eq!(text(&read_all(&mut started.ring), Stream::Stdout), "100000\n");
    let mut host = host;
    let adopted = host.reconnect();
    assert_eq!(adopted[0].kept.len(), 300);
    let mut number = [0; 8];
    rustix::io::read(&adopted[0].kept[299], &mut number).unwrap();
    assert_eq!(u64::from_ne_bytes(number), 7);
}

fn an_exec_runs_beside_its_container() {
    let host = Host::start();
    let (id, container) = host.launch("exec sleep 1000", StdioSpec::default());
    let (exec, mut started) = host.exec((id, &container), "read line; echo got $line; exit 3", pipes());
    rustix::io::write(started.stdin.take().unwrap(), b"this\n").unwrap();
    assert_eq!(text(&read_all(&mut started.ring), Stream::Stdout), "got this\n");
    assert_eq!(host.exit_of(Subject::Exec(exec)).code, 3);
    host.keeper.acknowledge(Subject::Exec(exec)).unwrap();
}

fn a_kill_for_want_of_memory_is_told() {
    let limits = Limits { memory_bytes: 16 << 20, memory_swap_bytes: 16 << 20, ..Limits::default() };
    let name = ContainerId::random().to_string();
    let cgroup = match Cgroup::create(CGROUP_PARENT, &name, &limits, &DeviceRules::All) {
        Ok(cgroup) => cgroup,
        Err(error) => return println!("  skipped: {}", hako_base::error::chain(&error)),
    };
    let host = Host::start();
    for (script, oom_killed) in [("true", false), ("head -c 100000000 /dev/zero | tail -c 90000000 >/dev/null", true)] {
        let plan = LaunchPlan { cgroup: cgroup.join_plan(), ..plan(script) };
        let id = ContainerId::random();
        let started = host.keeper.launch(id, 1, &plan, vec![host_root()], StdioSpec::default(), Vec::new());
        drop(started.unwrap());
        let status = host.exit_of(Subject::Container(id, 1));
        assert_eq!((status.oom_killed, status.code), (oom_killed, if oom_killed { 137 } else { 0 }));
    }
    cgroup.remove().unwrap();
}

fn limits_and_oom_score_are_not_the_keepers() {
    let host = Host::start();
    let (_, mut started) = host.launch("ulimit -Sn; cat /proc/self/oom_score_adj", StdioSpec::default());
    assert_eq!(text(&read_all(&mut started.ring), Stream::Stdout), "1024\n0\n");
}
