//! Reading a tar from a stream, one entry at a time.
//!
//! The reader is fed by a `BufRead` and hands payload out as slices of its buffer, so that bytes are copied
//! once on their way to the disk. A size in a PAX header wins over the one in the entry's own header, for the
//! entry and for where the next header is looked for (CVE-2025-62518 was a parser that used one of each).

use std::io::{self, BufRead};

use super::{BLOCK, Entry, Kind, TarError, Time, pax, pax::Overrides, sparse};
use crate::limits;

/// Reads entries from `input`.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes taken from `input` so far.
    offset: u64,
    /// Payload of the present entry not yet taken, and the padding after it.
    payload: u64,
    padding: u64,
    /// The present entry, for messages.
    path: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Starts at the first header.
    pub fn new(input: R) -> Self {
        Self { input, offset: 0, payload: 0, padding: 0, path: Vec::new() }
    }

    /// The stream below, which stands behind the last byte that was taken.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next entry; payload of the one before that was not taken is skipped. `None` at the end.
    ///
    /// # Errors
    /// When the bytes are not a tar, end too early, or exceed a limit.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_payload()?;
        let mut overrides = Overrides::default();
        for extensions in 0.. {
            let at = self.offset;
            let Some(block) = self.header()? else {
                if extensions > 0 {
                    return Err(TarError::Truncated { at: "the entry after an extension header".to_owned() });
                }
                return Ok(None);
            };
            if extensions >= limits::TAR_EXTENSIONS_IN_A_ROW_MAX {
                return Err(TarError::Header { offset: at, why: "too many extension headers in a row" });
            }
            match block[156] {
                b'x' | b'X' => {
                    let data = self.extension(&block, at)?;
                    overrides.read(&data, at)?;
                }
                // Global headers are comments of the tool that made them (git archive); Docker ignores them.
                b'g' => drop(self.extension(&block, at)?),
                b'L' => overrides.path = Some(self.long_name(&block, at)?),
                b'K' => overrides.link = Some(self.long_name(&block, at)?),
                _ => return self.entry(&block, at, overrides).map(Some),
            }
        }
        unreachable!("the loop over extension headers only returns")
    }

    /// The next bytes of the present entry's payload; empty at its end.
    ///
    /// # Errors
    /// When the stream fails or ends too early.
    pub fn payload(&mut self) -> Result<&[u8], TarError> {
        if self.payload == 0 {
            return Ok(&[]);
        }
        let path = &self.path;
        let most = usize::try_from(self.payload).unwrap_or(usize::MAX);
        let chunk = fill(&mut self.input)?;
        if chunk.is_empty() {
            return Err(TarError::Truncated { at: String::from_utf8_lossy(path).into_owned() });
        }
        Ok(&chunk[..chunk.len().min(most)])
    }

    /// Marks `count` bytes of what [`Self::payload`] gave as taken.
    pub fn advance(&mut self, count: usize) {
        self.input.consume(count);
        self.offset += count as u64;
        self.payload -= count as u64;
    }

    /// Hands every byte of the payload to `sink`.
    ///
    /// # Errors
    /// Those of the stream and, as they are, those of `sink`.
    pub fn copy_payload<E: From<TarError>>(&mut self, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        loop {
            let chunk = self.payload()?;
            if chunk.is_empty() {
                return Ok(());
            }
            let count = chunk.len();
            sink(chunk)?;
            self.advance(count);
        }
    }

    fn skip_payload(&mut self) -> Result<(), TarError> {
        self.payload += self.padding;
        self.padding = 0;
        self.copy_payload(|_| Ok(()))
    }

    fn read_exact(&mut self, buffer: &mut [u8], at: &str) -> Result<(), TarError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let chunk = fill(&mut self.input)?;
            if chunk.is_empty() {
                return Err(TarError::Truncated { at: at.to_owned() });
            }
            let count = chunk.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&chunk[..count]);
            self.input.consume(count);
            self.offset += count as u64;
            filled += count;
        }
        Ok(())
    }

    // The next header block, or `None` at the end: zero blocks, or (as Go's and GNU's tar allow) just no more bytes.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        if fill(&mut self.input)?.is_empty() {
            return Ok(None);
        }
        let at = self.offset;
        let mut block = [0; BLOCK];
        self.read_exact(&mut block, "a header")?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        check_sum(&block, at)?;
        Ok(Some(block))
    }

    fn extension(&mut self, block: &[u8; BLOCK], at: u64) -> Result<Vec<u8>, TarError> {
        let size = size(block, at)?;
        if size > limits::TAR_EXTENSION_BYTES_MAX {
            return Err(TarError::Limit {
                what: format!("the extension header at byte {at}"),
                found: size,
                limit: limits::TAR_EXTENSION_BYTES_MAX,
            });
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let mut data = vec![0; length.next_multiple_of(BLOCK)];
        self.read_exact(&mut data, "an extension header")?;
        data.truncate(length);
        Ok(data)
    }

    fn long_name(&mut self, block: &[u8; BLOCK], at: u64) -> Result<Vec<u8>, TarError> {
        let data = self.extension(block, at)?;
        pax::name(until_zero(&data), at, "long name")
    }

    fn entry(&mut self, block: &[u8; BLOCK], at: u64, mut overrides: Overrides) -> Result<Entry, TarError> {
        let path = header_path(block);
        let kind = kind(block[156], &path, overrides.path.as_deref())?;
        let mut entry = Entry {
            link: until_zero(&block[157..257]).to_vec(),
            mode: u32::try_from(number(&block[100..108], at, "mode")?).unwrap_or(0) & 0o7777,
            modified: Time { seconds: number(&block[136..148], at, "mtime")?, nanoseconds: 0 },
            ..Entry::new(path, kind)
        };
        // A PAX record stands in for a field that is too small for its number: then the field is not read.
        if overrides.uid.is_none() {
            entry.uid = owner(&block[108..116], at, "uid")?;
        }
        if overrides.gid.is_none() {
            entry.gid = owner(&block[116..124], at, "gid")?;
        }
        if matches!(kind, Kind::Character | Kind::Block) {
            entry.device = (device(&block[329..337], at)?, device(&block[337..345], at)?);
        }
        // Only files have payload, whatever the header of another kind says (as Go's reader has it).
        if kind == Kind::File {
            entry.size = overrides.size.map_or_else(|| size(block, at), Ok)?;
        }
        self.path.clone_from(&entry.path);
        self.payload = entry.size;
        self.padding = entry.size.wrapping_neg() % BLOCK as u64;
        if kind == Kind::File {
            entry.sparse = self.sparse(block, at, &overrides, &mut entry.size)?;
        }
        overrides.apply(&mut entry);
        self.path.clone_from(&entry.path);
        Ok(entry)
    }

    fn sparse(
        &mut self,
        block: &[u8; BLOCK],
        at: u64,
        overrides: &Overrides,
        size: &mut u64,
    ) -> Result<Option<super::Sparse>, TarError> {
        let records = &overrides.sparse;
        let (numbers, length) = if block[156] == b'S' {
            let mut numbers = sparse::header_map(block, at)?;
            let mut more = block[482] != 0;
            while more {
                let mut extra = [0; BLOCK];
                // The map's continuation stands between the header and the payload and is not counted in the size.
                let waiting = (self.payload, self.padding);
                self.read_exact(&mut extra, "a sparse map")?;
                (self.payload, self.padding) = waiting;
                sparse::continue_map(&mut numbers, &extra, at)?;
                more = extra[504] != 0;
            }
            (numbers, size_field(&block[483..495], at)?)
        } else if records.major == Some(1) && records.minor == Some(0) {
            let length = records.length.ok_or(TarError::Header { offset: at, why: "a sparse file without a size" })?;
            (self.leading_map(at)?, length)
        } else if let (false, Some(length)) = (records.numbers.is_empty(), records.length) {
            (records.numbers.clone(), length)
        } else {
            return Ok(None);
        };
        *size = self.payload;
        sparse::pieces(&numbers, length, *size, at).map(Some)
    }

    // Version 1.0: the payload begins with decimal lines, a count and then pairs, padded to a block.
    fn leading_map(&mut self, at: u64) -> Result<Vec<u64>, TarError> {
        let malformed = TarError::Header { offset: at, why: "a sparse map is malformed" };
        let mut wanted = None;
        let mut numbers = Vec::new();
        let mut line = Vec::new();
        loop {
            let mut block = [0; BLOCK];
            let Some(rest) = self.payload.checked_sub(BLOCK as u64) else { return Err(malformed) };
            self.read_exact(&mut block, "a sparse map")?;
            self.payload = rest;
            for byte in block {
                if byte != b'\n' {
                    if line.len() > 20 {
                        return Err(malformed);
                    }
                    line.push(byte);
                    continue;
                }
                let Some(value) = pax::decimal(&line) else { return Err(malformed) };
                line.clear();
                match wanted {
                    None if value > limits::SPARSE_PIECES_MAX as u64 => return Err(malformed),
                    None => wanted = Some(value * 2),
                    Some(_) => numbers.push(value),
                }
                if wanted == Some(numbers.len() as u64) {
                    return Ok(numbers);
                }
            }
        }
    }
}

fn fill<R: BufRead>(input: &mut R) -> Result<&[u8], TarError> {
    // A loop that retries on `Interrupted` would borrow twice; `fill_buf` of our own streams never gives it.
    input.fill_buf().map_err(|source| TarError::Read { source })
}

impl<R: BufRead> io::Read for Reader<R> {
    /// The payload of the present entry as a stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.payload().map_err(|error| match error {
            TarError::Read { source } => source,
            other => io::Error::new(io::ErrorKind::UnexpectedEof, other.to_string()),
        })?;
        let count = chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&chunk[..count]);
        self.advance(count);
        Ok(count)
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

fn header_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_zero(&block[..100]);
    // Only POSIX's ustar has a prefix; GNU keeps times where it would be.
    let prefix = if &block[257..263] == b"ustar\0" { until_zero(&block[345..500]) } else { &[] };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn kind(flag: u8, path: &[u8], long: Option<&[u8]>) -> Result<Kind, TarError> {
    let path = long.unwrap_or(path);
    Ok(match flag {
        // Before POSIX, a directory was a file whose name ends in a slash.
        0 | b'0' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            return Err(TarError::Kind { path: String::from_utf8_lossy(path).into_owned(), kind: char::from(other) });
        }
    })
}

fn check_sum(block: &[u8; BLOCK], offset: u64) -> Result<(), TarError> {
    let why = "its check sum is wrong";
    let Ok(wanted) = number(&block[148..156], offset, "check sum") else {
        return Err(TarError::Header { offset, why });
    };
    let field = 148..156;
    let bytes = block.iter().enumerate().map(|(at, byte)| if field.contains(&at) { b' ' } else { *byte });
    // Some old tars summed signed bytes.
    let (unsigned, signed) =
        bytes.fold((0_i64, 0_i64), |(u, s), byte| (u + i64::from(byte), s + i64::from(byte.cast_signed())));
    if wanted == unsigned || wanted == signed { Ok(()) } else { Err(TarError::Header { offset, why }) }
}

/// A numeric field: octal digits among spaces and zeros, or GNU's base 256 with its sign.
pub(super) fn number(field: &[u8], offset: u64, name: &'static str) -> Result<i64, TarError> {
    let bad = || TarError::Field { offset, field: name, value: String::from_utf8_lossy(field).into_owned() };
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { i128::from(field[0] | 0x80) - 256 } else { i128::from(field[0] & 0x7f) };
        let mut value = first;
        for byte in &field[1..] {
            value = value.checked_mul(256).ok_or_else(bad)? + i128::from(*byte);
        }
        return i64::try_from(value).map_err(|_| bad());
    }
    let text = until_zero(field).trim_ascii();
    let mut value = 0_i64;
    for digit in text {
        if !(b'0'..=b'7').contains(digit) {
            return Err(bad());
        }
        value = value.checked_mul(8).and_then(|v| v.checked_add(i64::from(digit - b'0'))).ok_or_else(bad)?;
    }
    Ok(value)
}

/// A size or offset: a number that is not negative.
pub(super) fn size_field(field: &[u8], offset: u64) -> Result<u64, TarError> {
    let value = number(field, offset, "size")?;
    u64::try_from(value).map_err(|_| TarError::Field { offset, field: "size", value: value.to_string() })
}

fn size(block: &[u8; BLOCK], offset: u64) -> Result<u64, TarError> {
    size_field(&block[124..136], offset)
}

fn owner(field: &[u8], offset: u64, name: &'static str) -> Result<u32, TarError> {
    let value = number(field, offset, name)?;
    u64::try_from(value).ok().and_then(pax::owner).ok_or(TarError::Field {
        offset,
        field: name,
        value: value.to_string(),
    })
}

fn device(field: &[u8], offset: u64) -> Result<u32, TarError> {
    let value = number(field, offset, "device")?;
    u32::try_from(value).map_err(|_| TarError::Field { offset, field: "device", value: value.to_string() })
}
