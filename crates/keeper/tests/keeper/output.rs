//! Output and input: pipes, terminals, a ring that is full, an end that somebody holds back.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use hako_base::backoff::wait_for;
use hako_keeper::{StdioSpec, Stream, Subject};

use crate::{
    Test,
    host::{Host, PATIENCE, pipes, read_all, read_until, text},
};

pub(crate) const TESTS: &[Test] = &[
    ("the_end_of_output_is_there_when_the_exit_is_told", the_end_of_output_is_there_when_the_exit_is_told),
    ("a_full_ring_makes_the_writer_wait", a_full_ring_makes_the_writer_wait),
    ("a_full_ring_in_non_blocking_mode_drops_and_counts", a_full_ring_in_non_blocking_mode_drops_and_counts),
    ("a_reader_that_does_not_read_does_not_delay_the_exit", a_reader_that_does_not_read_does_not_delay_the_exit),
    ("a_grandchild_in_the_background_does_not_delay_the_end", a_grandchild_in_the_background_does_not_delay_the_end),
    ("input_reaches_the_process_and_ends_when_told", input_reaches_the_process_and_ends_when_told),
    ("a_terminal_is_a_terminal", a_terminal_is_a_terminal),
    ("a_terminal_that_was_left_may_be_opened_again", a_terminal_that_was_left_may_be_opened_again),
    ("output_that_nobody_wants_goes_nowhere", output_that_nobody_wants_goes_nowhere),
];

fn the_end_of_output_is_there_when_the_exit_is_told() {
    let host = Host::start();
    for _ in 0..20 {
        let (id, mut started) = host.launch("head -c 100000 /dev/zero; echo end >&2", StdioSpec::default());
        host.exit_of(Subject::Container(id, 1));
        let chunks = started.ring.take(usize::MAX).unwrap();
        assert_eq!(chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>(), 100_004);
        assert!(started.ring.finished());
    }
}

fn a_full_ring_makes_the_writer_wait() {
    let host = Host::start();
    let script = "head -c 3000000 /dev/zero; touch $0.done; echo done >&2";
    let mark = host.root.join("mark");
    let script = script.replace("$0", mark.to_str().unwrap());
    let (_, mut started) = host.launch(&script, StdioSpec { ring_bytes: 64 << 10, ..StdioSpec::default() });
    // It must come to rest with the ring full, without having finished.
    let mut last = 0;
    wait_for(PATIENCE, || {
        let written = started.ring.unread_bytes();
        let resting = written > 60_000 && written == std::mem::replace(&mut last, written);
        resting.then_some(())
    })
    .expect("the ring fills up");
    assert!(!mark.with_extension("done").exists());
    let chunks = read_all(&mut started.ring);
    let zeros = chunks.iter().filter(|chunk| chunk.stream == Stream::Stdout).map(|chunk| chunk.bytes.len());
    assert_eq!(zeros.sum::<usize>(), 3_000_000);
    assert_eq!(text(&chunks, Stream::Stderr), "done\n");
    assert_eq!(started.ring.dropped_bytes(), 0);
}

fn a_full_ring_in_non_blocking_mode_drops_and_counts() {
    let host = Host::start();
    let stdio = StdioSpec { ring_bytes: 64 << 10, non_blocking_output: true, ..StdioSpec::default() };
    let (id, mut started) = host.launch("head -c 3000000 /dev/zero", stdio);
    assert_eq!(host.exit_of(Subject::Container(id, 1)).code, 0);
    let kept: usize = read_all(&mut started.ring).iter().map(|chunk| chunk.bytes.len()).sum();
    assert!(kept > 40_000, "{kept}");
    assert_eq!(kept as u64 + started.ring.dropped_bytes(), 3_000_000);
}

fn a_reader_that_does_not_read_does_not_delay_the_exit() {
    let host = Host::start();
    let stdio = StdioSpec { ring_bytes: 16 << 10, ..StdioSpec::default() };
    // 16 KiB in the ring, the rest in the pipe.
    let (id, mut started) = host.launch("head -c 70000 /dev/zero", stdio);
    assert_eq!(host.exit_of(Subject::Container(id, 1)).code, 0);
    assert!(!started.ring.finished());
    assert_eq!(read_all(&mut started.ring).iter().map(|chunk| chunk.bytes.len()).sum::<usize>(), 70_000);
}

fn a_grandchild_in_the_background_does_not_delay_the_end() {
    let host = Host::start();
    let begun = Instant::now();
    let (id, mut started) = host.launch("sleep 1000 & echo $!; exit 4", StdioSpec::default());
    let sleeper = text(&read_all(&mut started.ring), Stream::Stdout).trim().parse::<u32>().unwrap();
    assert_eq!(host.exit_of(Subject::Container(id, 1)).code, 4);
    assert!(begun.elapsed() < Duration::from_secs(5));
    // The orphan is the keeper's now, which reaps it.
    let sleeper = hako_sys::process::open_pidfd(sleeper).unwrap();
    hako_sys::process::send_signal(sleeper.as_fd(), libc::SIGKILL).unwrap();
    let gone = || hako_sys::process::send_signal(sleeper.as_fd(), 0).is_err().then_some(());
    wait_for(PATIENCE, gone).expect("an orphan is reaped");
}

fn input_reaches_the_process_and_ends_when_told() {
    let host = Host::start();
    let (id, mut started) = host.launch("cat; echo end", pipes());
    let stdin = started.stdin.take().unwrap();
    rustix::io::write(&stdin, b"one\n").unwrap();
    assert_eq!(read_until(&mut started.ring, "one\n"), "one\n");
    drop(stdin);
    // The keeper has a duplicate until it is told.
    host.keeper.close_stdin(Subject::Container(id, 1)).unwrap();
    assert_eq!(read_until(&mut started.ring, "end"), "end\n");
    assert_eq!(host.exit_of(Subject::Container(id, 1)).code, 0);
}

fn a_terminal_is_a_terminal() {
    let host = Host::start();
    let stdio = StdioSpec { tty: Some((33, 111)), stdin: true, ..StdioSpec::default() };
    let (id, mut started) = host.launch("stty size; tty >/dev/null && echo yes; read x; stty size; echo $x", stdio);
    let first = read_until(&mut started.ring, "yes");
    assert!(first.starts_with("33 111\r\n"), "{first:?}");
    hako_sys::pty::resize(started.pty.as_ref().unwrap(), 24, 80).unwrap();
    rustix::io::write(started.stdin.as_ref().unwrap(), b"word\n").unwrap();
    let rest = text(&read_all(&mut started.ring), Stream::Stdout);
    assert!(rest.contains("24 80\r\nword\r\n"), "{rest:?}");
    assert_eq!(host.exit_of(Subject::Container(id, 1)).code, 0);
}

fn a_terminal_that_was_left_may_be_opened_again() {
    let host = Host::start();
    let stdio = StdioSpec { tty: Some((24, 80)), ..StdioSpec::default() };
    let script =
        "t=$(readlink /proc/self/fd/0); echo before; exec </dev/null >/dev/null 2>&1; sleep 0.3; echo after >$t";
    let (_, mut started) = host.launch(script, stdio);
    let all = text(&read_all(&mut started.ring), Stream::Stdout);
    assert_eq!(all, "before\r\nafter\r\n");
}

fn output_that_nobody_wants_goes_nowhere() {
    let host = Host::start();
    let stdio = StdioSpec { discard_output: true, ..StdioSpec::default() };
    let (id, mut started) = host.launch("head -c 1000000 /dev/zero", stdio);
    assert_eq!(host.exit_of(Subject::Container(id, 1)).code, 0);
    assert!(read_all(&mut started.ring).is_empty());
}
