//! Daemons that die: the next one finds every container, exit status, byte of output and descriptor.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
};

use hako_base::backoff::wait_for;
use hako_keeper::{Adopted, Keeper, Ring, StdioSpec, Stream, Subject};
use hako_model::ContainerId;

use crate::{
    Test,
    host::{Host, PATIENCE, command, connect, host_root, pipes, plan, read_all, read_until, text, wait_readable},
};

pub(crate) const TESTS: &[Test] = &[
    ("exits_are_remembered_until_they_are_acknowledged", exits_are_remembered_until_they_are_acknowledged),
    (
        "a_daemon_killed_at_random_loses_no_line_and_repeats_none",
        a_daemon_killed_at_random_loses_no_line_and_repeats_none,
    ),
    ("input_ends_with_the_daemon_only_if_asked", input_ends_with_the_daemon_only_if_asked),
    ("a_terminal_comes_back", a_terminal_comes_back),
    ("descriptors_are_kept_and_given_back", descriptors_are_kept_and_given_back),
    ("an_upgrade_in_place_is_not_noticed", an_upgrade_in_place_is_not_noticed),
    ("a_bad_upgrade_changes_nothing", a_bad_upgrade_changes_nothing),
];

fn exits_are_remembered_until_they_are_acknowledged() {
    let mut host = Host::start();
    let (id, started) = host.launch("echo last words; exit 9", StdioSpec::default());
    drop(started);
    let subject = Subject::Container(id, 1);
    host.exit_of(subject);
    for _ in 0..2 {
        let mut adopted = host.reconnect();
        assert_eq!(adopted.len(), 1);
        assert_eq!((adopted[0].subject, adopted[0].exited.as_ref().unwrap().code), (subject, 9));
        // Taken, never committed: it comes again.
        let chunks = adopted[0].ring.take(usize::MAX).unwrap();
        assert_eq!(text(&chunks, Stream::Stdout), "last words\n");
    }
    host.keeper.acknowledge(subject).unwrap();
    assert!(host.reconnect().is_empty());
}

/// Lines that a container prints; each is checked to be there once, in order.
const LINES: usize = 60_000;

fn a_daemon_killed_at_random_loses_no_line_and_repeats_none() {
    let mut host = Host::start();
    let log = host.root.join("container.log");
    let script = format!("i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); done");
    let (id, started) = host.launch(&script, StdioSpec { ring_bytes: 32 << 10, ..StdioSpec::default() });
    drop(started);
    let mut kills = 0;
    let program = std::env::current_exe().unwrap();
    let finished = || File::open(log.with_extension("end")).is_ok();
    while !finished() {
        let child = hako_sys::process::spawn(&hako_sys::process::Spawn {
            program: program.as_os_str(),
            arguments: vec!["daemon".into(), host.root.clone().into(), log.clone().into()],
            ..Default::default()
        })
        .unwrap();
        // Some bytes more than before, then the end of it, wherever it is.
        let length = || log.metadata().map_or(0, |found| found.len());
        let (before, more) = (length(), u64::from(hako_base::random::bytes::<2>()[0]) * 400);
        wait_for(PATIENCE, || (length() > before + more || finished()).then_some(())).expect("it goes on");
        if !finished() {
            hako_sys::process::send_signal(child.pidfd.as_fd(), libc::SIGKILL).unwrap();
            kills += 1;
        }
        hako_sys::process::reap(child.pidfd.as_fd()).unwrap();
    }
    let mut written = String::new();
    File::open(&log).unwrap().read_to_string(&mut written).unwrap();
    let expected: String = (0..LINES).map(|number| format!("line {number}\n")).collect();
    assert_eq!(written.len(), expected.len(), "after {kills} kills");
    assert!(written == expected);
    println!("  {kills} daemons were killed");
    let adopted = host.reconnect();
    assert_eq!(adopted[0].subject, Subject::Container(id, 1));
}

/// The daemon that is killed: adopts what there is, cuts the log back, writes and commits in small steps.
pub(crate) fn daemon(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (root, log) = (PathBuf::from(arguments.next().unwrap()), PathBuf::from(arguments.next().unwrap()));
    let (keeper, _notices, mut adopted) = connect(&root).unwrap();
    write_log(&mut adopted[0].ring, &log);
    File::create(log.with_extension("end")).unwrap();
    drop(keeper);
    ExitCode::SUCCESS
}

fn write_log(ring: &mut Ring, log: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(log).unwrap();
    file.set_len(ring.log_length()).unwrap();
    let mut length = ring.log_length();
    while !ring.finished() {
        let chunks = ring.take(1000).unwrap();
        if chunks.is_empty() {
            assert!(ring.finished() || wait_readable(ring.event_fd()));
            continue;
        }
        for chunk in chunks {
            file.write_all(&chunk.bytes).unwrap();
            length += chunk.bytes.len() as u64;
        }
        ring.commit(length).unwrap();
    }
}

fn only(mut adopted: Vec<Adopted>) -> Adopted {
    assert_eq!(adopted.len(), 1);
    adopted.remove(0)
}

fn input_ends_with_the_daemon_only_if_asked() {
    for (stdin_once, ends) in [(true, true), (false, false)] {
        let mut host = Host::start();
        let (_, mut started) = host.launch("cat; echo end", StdioSpec { stdin_once, ..pipes() });
        rustix::io::write(started.stdin.as_ref().unwrap(), b"one\n").unwrap();
        read_until(&mut started.ring, "one\n");
        started.ring.commit(0).unwrap();
        drop(started);
        let mut adopted = only(host.reconnect());
        assert_eq!(adopted.stdin.is_none(), ends);
        if let Some(stdin) = adopted.stdin.take() {
            rustix::io::write(&stdin, b"two\n").unwrap();
            read_until(&mut adopted.ring, "two\n");
            host.keeper.close_stdin(adopted.subject).unwrap();
        }
        read_until(&mut adopted.ring, "end\n");
    }
}

fn a_terminal_comes_back() {
    let mut host = Host::start();
    let stdio = StdioSpec { tty: Some((24, 80)), stdin: true, ..StdioSpec::default() };
    drop(host.launch("read x; echo got $x", stdio));
    let mut adopted = only(host.reconnect());
    assert!(adopted.pty.is_some());
    rustix::io::write(adopted.stdin.as_ref().unwrap(), b"it\n").unwrap();
    let all = text(&read_all(&mut adopted.ring), Stream::Stdout);
    assert!(all.ends_with("got it\r\n"), "{all:?}");
}

fn descriptors_are_kept_and_given_back() {
    let mut host = Host::start();
    let event = |value| rustix::event::eventfd(value, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    host.keeper.keep("old", &[event(1)]).unwrap();
    host.keeper.keep("many", &(0..300).map(event).collect::<Vec<_>>()).unwrap();
    host.keeper.keep("none", &Vec::<OwnedFd>::new()).unwrap();
    host.keeper.keep("gone", &[event(3)]).unwrap();
    host.keeper.keep("old", &[event(2)]).unwrap();
    host.keeper.discard("gone").unwrap();
    host.keeper.discard("gone").unwrap();
    host.reconnect();
    let kept = host.keeper.kept().unwrap();
    let names: Vec<_> = kept.iter().map(|(name, list)| format!("{name} {}", list.len())).collect();
    assert_eq!(names, ["many 300", "none 0", "old 1"]);
    let value = |fd: &std::os::fd::OwnedFd| {
        let mut number = [0; 8];
        rustix::io::read(fd, &mut number).unwrap();
        u64::from_ne_bytes(number)
    };
    assert_eq!((value(&kept[0].1[299]), value(&kept[2].1[0])), (299, 2));
}

fn an_upgrade_in_place_is_not_noticed() {
    let mut host = Host::start();
    let pid = host.keeper_pid();
    host.reconnect();
    host.keeper.keep("port", &[host_root()]).unwrap();
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; read x; exit $x";
    let kept = vec![host_root(), host_root()];
    let id = ContainerId::random();
    let mut started = host.keeper.launch(id, 1, &plan(script), vec![host_root()], pipes(), kept).unwrap();
    let (ended, _ended) = host.launch("exit 5", StdioSpec::default());
    host.exit_of(Subject::Container(ended, 1));
    let pidfd = hako_sys::process::open_pidfd(pid).unwrap();
    for by_signal in [false, true, false, true] {
        match by_signal {
            true => hako_sys::process::send_signal(pidfd.as_fd(), libc::SIGHUP).unwrap(),
            false => host.keeper.upgrade(&command()).unwrap(),
        }
        read_some(&mut started.ring, &host.keeper);
    }
    rustix::io::write(started.stdin.take().unwrap(), b"6\n").unwrap();
    started.ring = only_running(host.reconnect(), Subject::Container(id, 1));
    let all = text(&read_all(&mut started.ring), Stream::Stdout);
    let expected: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    assert!(all == expected, "{} bytes of {}", all.len(), expected.len());
    wait_for(PATIENCE, || host.keeper.acknowledge(Subject::Container(id, 1)).ok()).expect("its end is known");
    assert_eq!(host.keeper.kept().unwrap().len(), 1);
    assert_eq!(host.keeper_pid(), pid, "still the same process");
}

/// Reads without committing, so that all of it comes again.
fn read_some(ring: &mut Ring, keeper: &Keeper) {
    assert!(wait_readable(ring.event_fd()));
    drop(ring.take(100).unwrap());
    assert_eq!(keeper.kept().unwrap().len(), 1);
}

fn only_running(adopted: Vec<Adopted>, subject: Subject) -> Ring {
    assert_eq!(adopted.len(), 2);
    let found = adopted.into_iter().find(|one| one.subject == subject).unwrap();
    assert_eq!(found.kept.len(), 2);
    found.ring
}

fn a_bad_upgrade_changes_nothing() {
    let host = Host::start();
    let (id, _started) = host.launch("exec sleep 1000", StdioSpec::default());
    let nowhere = hako_keeper::KeeperCommand { program: "/no/such/keeper".into(), arguments: Vec::new() };
    let error = host.keeper.upgrade(&nowhere).unwrap_err().to_string();
    assert!(error.contains("/no/such/keeper: no such file or directory"), "{error}");
    assert!(host.keeper.acknowledge(Subject::Container(id, 1)).is_err());
}
