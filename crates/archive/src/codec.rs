//! Compression: recognised by the first bytes, never by a name or a media type that lies.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

use crate::{limits, xz};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    Plain,
    Gzip,
    Zstd,
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl Codec {
    /// What a stream that begins with `start` is.
    pub fn of(start: &[u8]) -> Self {
        // A zstd stream may also begin with a skippable frame (`pzstd` does).
        let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
        if start.starts_with(&GZIP) {
            Self::Gzip
        } else if start.starts_with(&ZSTD) || skippable {
            Self::Zstd
        } else {
            Self::Plain
        }
    }

    /// The plain bytes of `input`.
    pub fn decoder<'r, R: BufRead + 'r>(self, input: R) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::Plain => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                decoder.window_log_max(limits::ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// A stream with its first bytes looked at.
pub struct Peeked<R> {
    start: Vec<u8>,
    position: usize,
    rest: R,
}

impl<R: Read> Peeked<R> {
    /// Reads the first `count` bytes, or fewer if there are no more.
    pub fn new(mut rest: R, count: usize) -> io::Result<Self> {
        let mut start = Vec::with_capacity(count);
        rest.by_ref().take(count as u64).read_to_end(&mut start)?;
        Ok(Self { start, position: 0, rest })
    }

    pub fn start(&self) -> &[u8] {
        &self.start
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.start[self.position..];
        if left.is_empty() {
            return self.rest.read(buffer);
        }
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}

/// A stream as it is, but for compressions that archives have and layers do not (bzip2, xz): of those, the plain bytes.
///
/// # Errors
/// Those of the stream.
pub fn without_foreign<'r, R: Read + 'r>(input: R) -> io::Result<Box<dyn Read + 'r>> {
    let peeked = Peeked::new(input, xz::MAGIC.len())?;
    Ok(match peeked.start() {
        start if start.starts_with(b"BZh") => Box::new(bzip2::read::MultiBzDecoder::new(peeked)),
        start if start == xz::MAGIC => {
            Box::new(xz::Decoder::new(BufReader::with_capacity(limits::CHUNK_BYTES, peeked)))
        }
        _ => Box::new(peeked),
    })
}

/// The plain bytes of a stream that may be compressed, and how it was; bzip2 and xz count as plain, since no layer has them.
///
/// # Errors
/// Those of the stream.
pub fn plain<'r, R: Read + 'r>(input: R) -> io::Result<(Codec, impl BufRead + 'r)> {
    let peeked = Peeked::new(without_foreign(input)?, 4)?;
    let codec = Codec::of(peeked.start());
    let decoder = codec.decoder(BufReader::with_capacity(limits::CHUNK_BYTES, peeked))?;
    Ok((codec, BufReader::with_capacity(limits::CHUNK_BYTES, decoder)))
}
