//! xz (the .xz file format, version 1.2.1): the container is read here, so that what it asks for meets a limit before it
//! is given; LZMA2, which is inside, is `lzma-rust2`'s.
//!
//! ```text
//!   stream = header, block …, index, footer;   block = header, LZMA2, padding, check
//! ```
//! Several streams may follow on each other. Filters before LZMA2 (for machine code) are refused: archives have none.

use std::io::{self, Read};

use lzma_rust2::Lzma2Reader;
use ring::digest::{Context, SHA256};

use crate::limits;

/// How every stream begins.
pub(crate) const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER: [u8; 2] = *b"YZ";
/// The filter that is LZMA2.
const LZMA2: u64 = 0x21;
const PIECE: u64 = 4;

/// The plain bytes of a file in this format.
pub(crate) struct Decoder<R: Read> {
    state: State<R>,
    check: u8,
    blocks: u64,
}

enum State<R: Read> {
    Start(R),
    /// A block or the index comes.
    Between(R),
    Block {
        reader: Box<Lzma2Reader<Counted<R>>>,
        check: Check,
    },
    /// It is over, or failed.
    End,
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { state: State::Start(input), check: 0, blocks: 0 }
    }

    fn step(&mut self, state: State<R>, buffer: &mut [u8]) -> io::Result<(State<R>, Option<usize>)> {
        match state {
            State::Start(mut input) => {
                let mut magic = [0; 6];
                input.read_exact(&mut magic)?;
                self.begin(magic, &mut input)?;
                Ok((State::Between(input), None))
            }
            State::Between(mut input) => match byte(&mut input)? {
                0 => {
                    index(&mut input, self.blocks)?;
                    self.footer(&mut input)?;
                    match next_stream(&mut input)? {
                        None => Ok((State::End, Some(0))),
                        Some(magic) => {
                            self.begin(magic, &mut input)?;
                            Ok((State::Between(input), None))
                        }
                    }
                }
                length => {
                    let dictionary = block_header(&mut input, length)?;
                    self.blocks += 1;
                    let reader = Box::new(Lzma2Reader::new(Counted { input, count: 0 }, dictionary, None));
                    Ok((State::Block { reader, check: Check::of(self.check)? }, None))
                }
            },
            State::Block { mut reader, mut check } => match reader.read(buffer)? {
                0 => {
                    let Counted { mut input, count } = reader.into_inner();
                    padding(&mut input, count)?;
                    check.verify(&mut input)?;
                    Ok((State::Between(input), None))
                }
                count => {
                    check.update(&buffer[..count]);
                    Ok((State::Block { reader, check }, Some(count)))
                }
            },
            State::End => Ok((State::End, Some(0))),
        }
    }

    // The rest of a stream's header.
    fn begin(&mut self, magic: [u8; 6], input: &mut R) -> io::Result<()> {
        let mut rest = [0; 6];
        input.read_exact(&mut rest)?;
        if magic != MAGIC || crc32(&rest[..2]) != number(&rest[2..]) || rest[0] != 0 || rest[1] > 0x0f {
            return Err(wrong("its header is damaged"));
        }
        (self.check, self.blocks) = (rest[1], 0);
        Ok(())
    }

    fn footer(&self, input: &mut R) -> io::Result<()> {
        let mut footer = [0; 12];
        input.read_exact(&mut footer)?;
        let is_right =
            crc32(&footer[4..10]) == number(&footer[..4]) && footer[8..10] == [0, self.check] && footer[10..] == FOOTER;
        if is_right { Ok(()) } else { Err(wrong("its footer is damaged")) }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let state = std::mem::replace(&mut self.state, State::End);
            let (state, count) = self.step(state, buffer)?;
            self.state = state;
            if let Some(count) = count {
                return Ok(count);
            }
        }
    }
}

/// Counts what is read of a block.
struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// What a block's bytes are checked by.
enum Check {
    None,
    Crc32(flate2::Crc),
    Crc64(u64),
    Sha256(Box<Context>),
}

impl Check {
    fn of(kind: u8) -> io::Result<Self> {
        match kind {
            0 => Ok(Self::None),
            1 => Ok(Self::Crc32(flate2::Crc::new())),
            4 => Ok(Self::Crc64(!0)),
            10 => Ok(Self::Sha256(Box::new(Context::new(&SHA256)))),
            other => Err(wrong(&format!("its check {other} is not known"))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32(sum) => sum.update(bytes),
            Self::Crc64(sum) => *sum = crc64(*sum, bytes),
            Self::Sha256(sum) => sum.update(bytes),
        }
    }

    fn verify(self, input: &mut impl Read) -> io::Result<()> {
        let expected = match self {
            Self::None => Vec::new(),
            Self::Crc32(sum) => sum.sum().to_le_bytes().to_vec(),
            Self::Crc64(sum) => (!sum).to_le_bytes().to_vec(),
            Self::Sha256(sum) => sum.finish().as_ref().to_vec(),
        };
        let mut found = vec![0; expected.len()];
        input.read_exact(&mut found)?;
        if found == expected { Ok(()) } else { Err(wrong("a block is damaged")) }
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the xz archive cannot be read: {why}"))
}

fn byte(input: &mut impl Read) -> io::Result<u8> {
    let mut one = [0];
    input.read_exact(&mut one)?;
    Ok(one[0])
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

// ECMA-182, reflected; the sum begins and ends inverted.
fn crc64(mut sum: u64, bytes: &[u8]) -> u64 {
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut value = at as u64;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0xc96c_5795_d787_0f42 } else { value >> 1 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    for byte in bytes {
        sum = TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ sum >> 8;
    }
    sum
}

// A number of up to 63 bits, seven at a time.
fn variable(input: &mut impl Read) -> io::Result<u64> {
    let mut value = 0;
    for place in 0..9 {
        let byte = byte(input)?;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(wrong("a number is too long"))
}

fn padding(input: &mut impl Read, count: u64) -> io::Result<()> {
    for _ in 0..count.next_multiple_of(PIECE) - count {
        if byte(input)? != 0 {
            return Err(wrong("its padding is not empty"));
        }
    }
    Ok(())
}

// Reads a block's header; answers the size of its dictionary.
fn block_header(input: &mut impl Read, length: u8) -> io::Result<u32> {
    let mut header = vec![length; (usize::from(length) + 1) * 4];
    input.read_exact(&mut header[1..])?;
    let (said, sum) = header.split_at(header.len() - 4);
    if crc32(said) != number(sum) {
        return Err(wrong("the header of a block is damaged"));
    }
    let (flags, mut rest) = (said[1], &said[2..]);
    for bit in [0x40, 0x80] {
        if flags & bit != 0 {
            variable(&mut rest)?;
        }
    }
    let is_alone = flags & 0x3f == 0 && variable(&mut rest)? == LZMA2 && variable(&mut rest)? == 1;
    if !is_alone {
        return Err(wrong("it has another filter than LZMA2"));
    }
    let bits = byte(&mut rest)?;
    let size = match bits {
        0..=39 => u64::from(2 | bits & 1) << (bits / 2 + 11),
        _ => u64::MAX,
    };
    if rest.iter().any(|byte| *byte != 0) {
        return Err(wrong("the header of a block is damaged"));
    }
    match u32::try_from(size) {
        Ok(size) if size <= limits::XZ_DICTIONARY_BYTES_MAX => Ok(size),
        _ => Err(wrong(&format!("it needs more than {} bytes of memory", limits::XZ_DICTIONARY_BYTES_MAX))),
    }
}

// What was there, again: only its form is of interest, since each block has had its own check.
fn index(input: &mut impl Read, blocks: u64) -> io::Result<()> {
    let mut kept = Kept { input, sum: flate2::Crc::new(), count: 1 };
    kept.sum.update(&[0]);
    if variable(&mut kept)? != blocks {
        return Err(wrong("its index does not fit"));
    }
    for _ in 0..blocks {
        variable(&mut kept)?;
        variable(&mut kept)?;
    }
    let count = kept.count;
    padding(&mut kept, count)?;
    let expected = kept.sum.sum();
    let mut found = [0; 4];
    input.read_exact(&mut found)?;
    if number(&found) == expected { Ok(()) } else { Err(wrong("its index is damaged")) }
}

/// What an index is made of.
struct Kept<'i, R> {
    input: &'i mut R,
    sum: flate2::Crc,
    count: u64,
}

impl<R: Read> Read for Kept<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.sum.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

// How the stream after this one begins, behind empty bytes; nothing if there is none.
fn next_stream(input: &mut impl Read) -> io::Result<Option<[u8; 6]>> {
    let mut four = [0; 4];
    loop {
        let mut filled = 0;
        while filled < 4 {
            match input.read(&mut four[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(wrong("something follows that is none")),
                count => filled += count,
            }
        }
        if four != [0; 4] {
            let mut magic = [0; 6];
            magic[..4].copy_from_slice(&four);
            input.read_exact(&mut magic[4..])?;
            return Ok(Some(magic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // `printf 'some words\n' | xz` with each of its checks; the second one twice, with empty bytes between.
    const CRC64: &str = "fd377a585a000004e6d6b4460200210116000000742fe5a301000a736f6d6520776f7264730a00008cfd2df0e5499a3d0001230bc21bfd091fb6f37d010000000004595a";
    const SHA256: &str = "fd377a585a00000ae1fb0ca10200210116000000742fe5a301000a736f6d6520776f7264730a0000a5a9a794705f990e1cc7b119ee122ba5cbfc0b93e181d70c5955f19d5e9eda0500013b0b9b83e68b189b4b9a01000000000a595a";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    fn check(input: &[u8], expected: &str) {
        let mut text = String::new();
        let got = match Decoder::new(input).read_to_string(&mut text) {
            Ok(_) => text,
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expected), "{got}");
    }

    #[test]
    fn what_is_whole_is_read() {
        check(&bytes(CRC64), "some words\n");
        let twice = [bytes(SHA256), vec![0; 8], bytes(SHA256)].concat();
        check(&twice, "some words\nsome words\n");
    }

    #[test]
    fn what_is_damaged_is_told() {
        let whole = bytes(CRC64);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let mut all = Vec::new();
            assert!(Decoder::new(&damaged[..]).read_to_end(&mut all).is_err(), "byte {at}");
            assert!(Decoder::new(&whole[..at]).read_to_end(&mut all).is_err(), "cut at {at}");
        }
        check(&[whole.clone(), vec![0; 3]].concat(), "something follows");
    }

    #[test]
    fn nobody_gets_more_memory_than_there_is_to_give() {
        // A dictionary of 4 GiB, with a header that is right otherwise.
        let mut greedy = bytes(CRC64);
        greedy[16] = 40;
        let sum = crc32(&greedy[12..20]).to_le_bytes();
        greedy[20..24].copy_from_slice(&sum);
        check(&greedy, "more than");
    }
}
