//! Compression: recognised by the first bytes, never by a name or a media type that lies.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

use crate::limits;

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

/// Compressions that Docker knows and hako does not.
const UNKNOWN: [(&str, &[u8]); 2] = [("bzip2", b"BZh"), ("xz", &[0xfd, b'7', b'z', b'X'])];

/// The plain bytes of a stream that may be compressed, and how it was.
///
/// # Errors
/// Those of the stream; `InvalidData` for a compression that hako does not read.
pub fn plain<'r, R: Read + 'r>(input: R) -> io::Result<(Codec, impl BufRead + 'r)> {
    let peeked = Peeked::new(input, 4)?;
    if let Some((name, _)) = UNKNOWN.iter().find(|(_, magic)| peeked.start().starts_with(magic)) {
        let text = format!("it is compressed with {name}: plain, gzip and zstd archives are read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let codec = Codec::of(peeked.start());
    let decoder = codec.decoder(BufReader::with_capacity(limits::CHUNK_BYTES, peeked))?;
    Ok((codec, BufReader::with_capacity(limits::CHUNK_BYTES, decoder)))
}
