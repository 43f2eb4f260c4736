//! gzip by all processors at once: a member for each block of the input.
//!
//! ```text
//!   input ──► blocks of 1 MiB ──► workers: one gzip member each ──► written in order
//! ```
//! Members in a row are one stream (RFC 1952, 2.2), as in every image that can be read lazily (eStargz). They know
//! nothing of each other, which costs less than one per cent of size; so the bytes depend on the input alone, never on
//! how many processors there are, and the digest of a layer is the same wherever it is made.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use libdeflater::{CompressionLvl, Compressor};
use parking_lot::Mutex;

use crate::limits;

/// What becomes a member.
const BLOCK_BYTES: usize = 1 << 20;

/// libdeflate's level 1: measured on a root filesystem, three times as fast as zlib's usual 6 and 4 % larger.
const LEVEL: i32 = 1;

struct Job {
    plain: Vec<u8>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// Compresses all of `input`; blocks for the time it takes.
pub(crate) fn compress(input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(limits::GZIP_WORKERS_MAX);
    let (jobs, queue) = sync_channel(workers);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        // Dropped before the workers are waited for, however this ends: that is what ends them.
        let jobs = jobs;
        for _ in 0..workers {
            thread::Builder::new().name("layer-gzip".to_owned()).spawn_scoped(scope, || work(&queue))?;
        }
        in_order(input, output, &jobs, workers)
    })
}

// Hands blocks out and writes what comes back, in the order of the input.
fn in_order(input: &mut impl Read, output: &mut impl Write, jobs: &SyncSender<Job>, workers: usize) -> io::Result<()> {
    let mut take = |next: Receiver<io::Result<Vec<u8>>>| {
        let member = next.recv().map_err(|_| lost())??;
        output.write_all(&member)
    };
    let mut coming = VecDeque::new();
    let mut is_first = true;
    loop {
        let mut plain = Vec::with_capacity(BLOCK_BYTES);
        input.take(BLOCK_BYTES as u64).read_to_end(&mut plain)?;
        // Of nothing there is one member as well.
        if plain.is_empty() && !is_first {
            break;
        }
        is_first = false;
        let (done, next) = sync_channel(1);
        jobs.send(Job { plain, done }).map_err(|_| lost())?;
        coming.push_back(next);
        if coming.len() > 2 * workers {
            coming.pop_front().map_or(Ok(()), &mut take)?;
        }
    }
    coming.into_iter().try_for_each(&mut take)
}

fn lost() -> io::Error {
    io::Error::other("a worker thread panicked")
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let Ok(level) = CompressionLvl::new(LEVEL) else { return };
    let mut compressor = Compressor::new(level);
    loop {
        let next = queue.lock().recv();
        let Ok(Job { plain, done }) = next else { return };
        // Whoever gave the block may have failed and gone.
        let _ = done.send(member(&mut compressor, &plain));
    }
}

fn member(compressor: &mut Compressor, plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor.gzip_compress(plain, &mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use flate2::bufread::MultiGzDecoder;

    use super::*;

    // Something that compresses, from a seed.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.extend_from_slice(&(state >> 58).to_le_bytes()[..3]);
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn the_members_give_the_input_back_whatever_its_length() {
        for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 77] {
            let plain = sample(length);
            let mut zipped = Vec::new();
            compress(&mut &plain[..], &mut zipped).unwrap();
            let mut back = Vec::new();
            MultiGzDecoder::new(&zipped[..]).read_to_end(&mut back).unwrap();
            assert!(back == plain, "{length} bytes came back otherwise");
            assert_eq!(zipped[..3], [0x1f, 0x8b, 8]);
        }
    }

    #[test]
    fn what_cannot_be_compressed_comes_back_as_well() {
        let mut state = 1_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state >> 56).unwrap()
        };
        let plain: Vec<u8> = (0..2 * BLOCK_BYTES + 5).map(|_| random()).collect();
        let mut zipped = Vec::new();
        compress(&mut &plain[..], &mut zipped).unwrap();
        let mut back = Vec::new();
        MultiGzDecoder::new(&zipped[..]).read_to_end(&mut back).unwrap();
        assert!(back == plain);
        assert!(zipped.len() < plain.len() + plain.len() / 100);
    }

    #[test]
    fn a_failing_output_ends_the_workers_and_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = compress(&mut &sample(20 * BLOCK_BYTES)[..], &mut Full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
