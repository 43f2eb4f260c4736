//! The ring against a simple model: whatever the order of writes, reads, commits and deaths of the
//! reader, every byte arrives once and in order, and a ring that lies is an error.

use std::os::fd::{AsFd, OwnedFd};

use proptest::prelude::*;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{
    Chunk, Moved, PAD, RECORD_BYTES, Record, Ring, RingError, RingWriter, Stream,
    header::{HEADER_BYTES, Header},
};
use crate::limits::RING_BYTES_MIN;

/// A writer with a pipe to take from, and what a reader needs to open the same ring again and again.
struct Bench {
    writer: RingWriter,
    reader: OwnedFd,
    source: Option<OwnedFd>,
}

impl Bench {
    fn new() -> Self {
        let (reader, source) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        Self { writer: RingWriter::create(RING_BYTES_MIN, 0).unwrap(), reader, source: Some(source) }
    }

    fn open(&self) -> Ring {
        let fds = self.writer.descriptors().map(|fd| fd.try_clone_to_owned().unwrap());
        Ring::open(fds, Vec::new()).unwrap()
    }

    fn relay(&mut self) -> Moved {
        self.writer.fill_from_pipe(Stream::Stdout, self.reader.as_fd()).unwrap()
    }

    /// Prints as much of `bytes` as the pipe takes.
    fn print(&mut self, bytes: &[u8]) -> usize {
        self.source.as_ref().map_or(0, |source| rustix::io::write(source, bytes).unwrap_or(0))
    }
}

fn is_readable(ring: &Ring) -> bool {
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(ring.event_fd(), rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap() == 1
}

fn bytes_of(chunks: &[Chunk]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.bytes.iter().copied()).collect()
}

#[derive(Debug, Clone)]
enum Event {
    Print(usize),
    Relay,
    Take(usize),
    Commit,
    /// The daemon is killed: what it took and did not commit is forgotten, and a new one opens the ring.
    Die,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1..9000_usize).prop_map(Event::Print),
        Just(Event::Relay),
        Just(Event::Relay),
        (1..20_000_usize).prop_map(Event::Take),
        Just(Event::Commit),
        Just(Event::Die),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(events in proptest::collection::vec(event(), 1..120)) {
        let mut bench = Bench::new();
        let mut ring = bench.open();
        // The log is a vector, cut back after a death as the daemon does with its file.
        let (mut printed, mut log, mut taken) = (0_usize, Vec::new(), Vec::new());
        let pattern = |at: usize| (at % 251) as u8;
        for event in events {
            match event {
                Event::Print(count) => {
                    let bytes: Vec<u8> = (printed..printed + count).map(pattern).collect();
                    printed += bench.print(&bytes);
                }
                Event::Relay => drop(bench.relay()),
                Event::Take(count) => taken.extend(bytes_of(&ring.take(count).unwrap())),
                Event::Commit => {
                    log.append(&mut taken);
                    ring.commit(log.len() as u64).unwrap();
                }
                Event::Die => {
                    // It may have written to the log before it died.
                    log.append(&mut taken);
                    ring = bench.open();
                    log.truncate(ring.log_length() as usize);
                }
            }
        }
        drop(bench.source.take());
        loop {
            let moved = bench.relay();
            let chunks = ring.take(usize::MAX).unwrap();
            taken.extend(bytes_of(&chunks));
            log.append(&mut taken);
            ring.commit(log.len() as u64).unwrap();
            if moved == Moved::End {
                break;
            }
        }
        bench.writer.end().unwrap();
        prop_assert!(ring.take(1).unwrap().is_empty());
        prop_assert!(ring.finished());
        prop_assert_eq!(log.len(), printed);
        prop_assert!(log.iter().enumerate().all(|(at, byte)| *byte == pattern(at)));
    }

    #[test]
    fn a_ring_full_of_nonsense_is_an_error_and_never_a_panic(
        head in any::<u64>(), junk in proptest::collection::vec(any::<u8>(), 64)
    ) {
        let bench = Bench::new();
        let [memory, ..] = bench.writer.descriptors();
        rustix::io::pwrite(memory, &junk, HEADER_BYTES).unwrap();
        Header::map(memory).unwrap().set_head(head);
        let mut ring = bench.open();
        for _ in 0..4 {
            let _ = ring.take(100);
        }
        let _ = ring.commit(1);
    }
}

#[test]
fn the_event_is_readable_exactly_while_there_is_something() {
    let mut bench = Bench::new();
    let mut ring = bench.open();
    assert!(!is_readable(&ring));
    assert!(ring.take(1).unwrap().is_empty());
    bench.print(b"one");
    bench.relay();
    assert!(is_readable(&ring));
    assert_eq!(bytes_of(&ring.take(100).unwrap()), b"one");
    assert!(ring.take(100).unwrap().is_empty());
    assert!(!is_readable(&ring));
    bench.print(b"two");
    bench.relay();
    assert!(is_readable(&ring));
    // A daemon that died after it was woken: the next one is woken too.
    let mut ring = bench.open();
    assert!(is_readable(&ring));
    assert_eq!(bytes_of(&ring.take(100).unwrap()), b"onetwo", "what was not committed comes again");
    assert!(ring.take(100).unwrap().is_empty());
    bench.writer.end().unwrap();
    assert!(is_readable(&ring) && ring.finished());
    assert!(ring.take(100).unwrap().is_empty());
    assert!(is_readable(&ring), "the end stays readable");
}

#[test]
fn a_full_ring_wakes_the_keeper_when_there_is_room() {
    let mut bench = Bench::new();
    let mut ring = bench.open();
    while bench.relay() != Moved::Full {
        bench.print(&[b'x'; 4096]);
    }
    assert!(bench.writer.wait_for_room().unwrap());
    let space = bench.writer.space_event().try_clone_to_owned().unwrap();
    assert!(rustix::io::read(&space, &mut [0; 8]).is_err(), "not before there is room");
    while !ring.take(usize::MAX).unwrap().is_empty() {}
    assert!(rustix::io::read(&space, &mut [0; 8]).is_err(), "taking alone makes no room");
    ring.commit(0).unwrap();
    assert!(rustix::io::read(&space, &mut [0; 8]).is_ok());
    assert!(matches!(bench.relay(), Moved::Bytes(_)));
}

#[test]
fn a_ring_without_output_has_no_memory() {
    let bench = Bench::new();
    let mut ring = bench.open();
    assert!(ring.take(1).unwrap().is_empty() && !ring.finished());
    ring.commit(0).unwrap();
    assert_eq!(rustix::fs::fstat(bench.writer.descriptors()[0]).unwrap().st_blocks, 0);
}

#[test]
fn the_length_of_an_older_log_is_remembered_before_any_output() {
    let bench = Bench::new();
    bench.open().commit(4711).unwrap();
    assert_eq!(bench.open().log_length(), 4711);
    let mut bench = Bench { writer: RingWriter::create(RING_BYTES_MIN, 42).unwrap(), ..Bench::new() };
    assert_eq!(bench.open().log_length(), 42, "said at the launch");
    bench.print(b"new");
    bench.relay();
    assert_eq!(bytes_of(&bench.open().take(100).unwrap()), b"new");
}

#[test]
fn a_record_that_leads_outside_is_refused() {
    let bench = Bench::new();
    let [memory, ..] = bench.writer.descriptors();
    let lie = Record { length: u32::MAX, stream: PAD, at_ns: 0 };
    rustix::io::pwrite(memory, &lie.encode(), HEADER_BYTES).unwrap();
    Header::map(memory).unwrap().set_head(RECORD_BYTES * 4);
    let error = bench.open().take(1).unwrap_err();
    assert!(matches!(error, RingError::Corrupt { .. }), "{error}");
}

#[test]
fn memory_that_is_not_sealed_is_refused() {
    let bench = Bench::new();
    let [_, data, space] = bench.writer.descriptors().map(|fd| fd.try_clone_to_owned().unwrap());
    let memory = rustix::fs::memfd_create("loose", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, HEADER_BYTES + 65_536).unwrap();
    assert!(Ring::open([memory, data, space], Vec::new()).is_err());
}
