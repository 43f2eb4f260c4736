//! A pack: the objects that a repository sent, by their ids.
//!
//! The pack stays in its file; what is kept in memory is where each object begins and what it is called. Its own checksum
//! is verified, every object is hashed, and all sizes have limits: it is a stranger's file.

use std::{collections::HashMap, fmt, fs::File, io::Read, os::unix::fs::FileExt};

use flate2::{Crc, Decompress, FlushDecompress, Status};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY as SHA1};

use crate::limits;

/// The name of an object: the SHA-1 of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId(pub(super) [u8; 20]);

impl ObjectId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        if text.len() != 40 || !text.is_ascii() {
            return None;
        }
        for (number, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * number..2 * number + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// How an object is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole(Kind),
    /// As the difference from what begins there.
    From(u64),
    FromId(ObjectId),
}

/// One object of the pack.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) crc: u32,
    pub(super) id: ObjectId,
    data: u64,
    size: u64,
    form: Form,
    kind: Kind,
}

/// A pack, read through once.
#[derive(Debug)]
pub(super) struct Pack {
    file: File,
    /// By offset.
    pub(super) entries: Vec<Entry>,
    pub(super) checksum: [u8; 20],
    by_id: HashMap<ObjectId, usize>,
}

const UNKNOWN: ObjectId = ObjectId([0; 20]);

impl Pack {
    /// Reads a pack from its beginning.
    pub(super) fn open(file: File) -> Result<Self, String> {
        let mut source = Source::new(&file);
        let mut head = [0; 12];
        source.exact(&mut head)?;
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if &head[..4] != b"PACK" || !matches!(number(4), 2 | 3) {
            return Err("it does not begin as a pack does".to_owned());
        }
        let count = number(8);
        if count > limits::GIT_OBJECTS_MAX {
            return Err(format!("it has {count} objects, which is more than {}", limits::GIT_OBJECTS_MAX));
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(source.entry()?);
        }
        let checksum = source.end()?;
        let mut pack = Self { file, entries, checksum, by_id: HashMap::new() };
        pack.name_all()?;
        Ok(pack)
    }

    // Objects that are written as differences get their names, each base inflated once.
    fn name_all(&mut self) -> Result<(), String> {
        let mut on_offset: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut on_id: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        let mut open = 0_usize;
        for (index, entry) in self.entries.iter().enumerate() {
            match entry.form {
                Form::Whole(_) => drop(self.by_id.insert(entry.id, index)),
                Form::From(base) => on_offset.entry(base).or_default().push(index),
                Form::FromId(base) => on_id.entry(base).or_default().push(index),
            }
            open += usize::from(!matches!(entry.form, Form::Whole(_)));
        }
        let mut take = |entry: &Entry| -> Vec<usize> {
            let mut found = on_offset.remove(&entry.offset).unwrap_or_default();
            found.extend(on_id.remove(&entry.id).unwrap_or_default());
            found
        };
        for root in 0..self.entries.len() {
            let Form::Whole(kind) = self.entries[root].form else { continue };
            let waiting = take(&self.entries[root]);
            if waiting.is_empty() {
                continue;
            }
            // Only what lies between a base and the object at hand is in memory.
            let mut path = vec![(self.inflate(root)?, waiting)];
            while let Some((base, waiting)) = path.last_mut() {
                let Some(next) = waiting.pop() else {
                    path.pop();
                    continue;
                };
                let whole = apply(base, &self.inflate(next)?)?;
                let entry = &mut self.entries[next];
                (entry.kind, entry.id) = (kind, name_of(kind, &whole));
                self.by_id.insert(entry.id, next);
                open -= 1;
                let waiting = take(&self.entries[next]);
                if !waiting.is_empty() {
                    path.push((whole, waiting));
                }
            }
        }
        if open > 0 { Err(format!("{open} objects stand on others that were not sent")) } else { Ok(()) }
    }

    // What is written for an object: itself, or a difference.
    fn inflate(&self, index: usize) -> Result<Vec<u8>, String> {
        let entry = &self.entries[index];
        let mut whole = Vec::new();
        let mut inflate = Decompress::new(true);
        let (mut input, mut output) = (vec![0; 16 << 10], vec![0; 64 << 10]);
        let mut at = entry.data;
        loop {
            let count = self.file.read_at(&mut input, at).map_err(|error| error.to_string())?;
            let before = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(&input[..count], &mut output, FlushDecompress::None);
            let status = status.map_err(|error| format!("an object cannot be inflated: {error}"))?;
            at += inflate.total_in() - before.0;
            let produced = usize::try_from(inflate.total_out() - before.1).unwrap_or(0);
            whole.extend_from_slice(&output[..produced]);
            if whole.len() as u64 > entry.size {
                return Err("an object is longer than it says".to_owned());
            }
            match status {
                Status::StreamEnd if whole.len() as u64 == entry.size => return Ok(whole),
                Status::StreamEnd => return Err("an object is shorter than it says".to_owned()),
                _ if count == 0 && produced == 0 => return Err("an object has no end".to_owned()),
                _ => {}
            }
        }
    }

    /// An object's bytes, if it is here and of this kind.
    pub(super) fn read(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>, String> {
        let index = *self.by_id.get(&id).ok_or_else(|| format!("the object {id} was not sent"))?;
        if self.entries[index].kind != kind {
            return Err(format!("the object {id} is a {}, not a {}", self.entries[index].kind.name(), kind.name()));
        }
        let (mut differences, mut index) = (Vec::new(), index);
        loop {
            index = match self.entries[index].form {
                Form::Whole(_) => break,
                Form::From(base) => {
                    differences.push(index);
                    let found = self.entries.binary_search_by_key(&base, |entry| entry.offset);
                    found.map_err(|_| "a base is gone".to_owned())?
                }
                Form::FromId(base) => {
                    differences.push(index);
                    *self.by_id.get(&base).ok_or("a base is gone")?
                }
            };
        }
        let mut whole = self.inflate(index)?;
        for difference in differences.into_iter().rev() {
            whole = apply(&whole, &self.inflate(difference)?)?;
        }
        Ok(whole)
    }

    /// What an object is; `None` when it is not here.
    pub(super) fn kind(&self, id: ObjectId) -> Option<Kind> {
        self.by_id.get(&id).map(|index| self.entries[*index].kind)
    }

    /// The file, to be kept.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

fn name_of(kind: Kind, bytes: &[u8]) -> ObjectId {
    let mut hash = Context::new(&SHA1);
    hash.update(format!("{} {}\0", kind.name(), bytes.len()).as_bytes());
    hash.update(bytes);
    finish(hash)
}

fn finish(hash: Context) -> ObjectId {
    let mut id = [0; 20];
    id.copy_from_slice(hash.finish().as_ref());
    ObjectId(id)
}

/// A pack that is read from its beginning to its end, hashed on the way.
struct Source<'f> {
    file: &'f File,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    offset: u64,
    hash: Context,
    crc: Crc,
}

impl<'f> Source<'f> {
    fn new(file: &'f File) -> Self {
        let (buffer, hash) = (vec![0; 64 << 10], Context::new(&SHA1));
        Self { file, buffer, at: 0, filled: 0, offset: 0, hash, crc: Crc::new() }
    }

    fn fill(&mut self) -> Result<(), String> {
        if self.at == self.filled {
            self.at = 0;
            self.filled = self.file.read(&mut self.buffer).map_err(|error| error.to_string())?;
            if self.filled == 0 {
                return Err("it ends too early".to_owned());
            }
        }
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        let bytes = &self.buffer[self.at..self.at + count];
        self.hash.update(bytes);
        self.crc.update(bytes);
        self.at += count;
        self.offset += count as u64;
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.fill()?;
        let byte = self.buffer[self.at];
        self.consume(1);
        Ok(byte)
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        for byte in bytes {
            *byte = self.byte()?;
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<Entry, String> {
        let offset = self.offset;
        self.crc.reset();
        let first = self.byte()?;
        let (mut size, mut shift, mut byte) = (u64::from(first & 15), 4_u32, first);
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            if shift > 56 {
                return Err("an object has no size".to_owned());
            }
            size |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        if size > limits::GIT_OBJECT_BYTES_MAX {
            return Err(format!("an object has {size} bytes, which is more than {}", limits::GIT_OBJECT_BYTES_MAX));
        }
        let form = match (first >> 4) & 7 {
            1 => Form::Whole(Kind::Commit),
            2 => Form::Whole(Kind::Tree),
            3 => Form::Whole(Kind::Blob),
            4 => Form::Whole(Kind::Tag),
            6 => Form::From(self.distance()?.and_then(|back| offset.checked_sub(back)).ok_or("a base lies outside")?),
            7 => {
                let mut id = [0; 20];
                self.exact(&mut id)?;
                Form::FromId(ObjectId(id))
            }
            other => return Err(format!("{other} is no kind of object")),
        };
        let data = self.offset;
        let kind = if let Form::Whole(kind) = form { kind } else { Kind::Blob };
        let id = self.pass_over(size, matches!(form, Form::Whole(_)).then_some(kind))?;
        Ok(Entry { offset, crc: self.crc.sum(), id, data, size, form, kind })
    }

    // How far back a base begins.
    fn distance(&mut self) -> Result<Option<u64>, String> {
        let mut byte = self.byte()?;
        let mut back = Some(u64::from(byte & 0x7f));
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            let next = back.and_then(|back| back.checked_add(1)?.checked_mul(128));
            back = next.map(|back| back | u64::from(byte & 0x7f));
        }
        Ok(back.filter(|back| *back > 0))
    }

    // Inflates what an object has, for its name and its end alone.
    fn pass_over(&mut self, size: u64, kind: Option<Kind>) -> Result<ObjectId, String> {
        let mut hash = Context::new(&SHA1);
        if let Some(kind) = kind {
            hash.update(format!("{} {size}\0", kind.name()).as_bytes());
        }
        let mut inflate = Decompress::new(true);
        let mut output = [0; 16 << 10];
        loop {
            self.fill()?;
            let before = (inflate.total_in(), inflate.total_out());
            let input = &self.buffer[self.at..self.filled];
            let status = inflate.decompress(input, &mut output, FlushDecompress::None);
            let status = status.map_err(|error| format!("an object cannot be inflated: {error}"))?;
            self.consume(usize::try_from(inflate.total_in() - before.0).unwrap_or(0));
            hash.update(&output[..usize::try_from(inflate.total_out() - before.1).unwrap_or(0)]);
            if inflate.total_out() > size {
                return Err("an object is longer than it says".to_owned());
            }
            if status == Status::StreamEnd {
                break;
            }
        }
        if inflate.total_out() != size {
            return Err("an object is shorter than it says".to_owned());
        }
        Ok(if kind.is_some() { finish(hash) } else { UNKNOWN })
    }

    fn end(&mut self) -> Result<[u8; 20], String> {
        let expected = finish(self.hash.clone());
        let mut said = [0; 20];
        self.exact(&mut said)?;
        if said != expected.0 {
            return Err("its checksum is another".to_owned());
        }
        Ok(said)
    }
}

// Applies a difference: pieces of the base, and bytes of its own.
fn apply(base: &[u8], difference: &[u8]) -> Result<Vec<u8>, String> {
    let broken = || "a difference makes no sense".to_owned();
    let mut rest = difference.iter().copied();
    let mut number = || -> Option<u64> {
        let (mut value, mut shift) = (0_u64, 0_u32);
        loop {
            let byte = rest.next()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    };
    let (from, to) = (number().ok_or_else(broken)?, number().ok_or_else(broken)?);
    if from != base.len() as u64 || to > limits::GIT_OBJECT_BYTES_MAX {
        return Err(broken());
    }
    let mut made = Vec::new();
    while let Some(operation) = rest.next() {
        if operation & 0x80 == 0 {
            let own: Vec<u8> = rest.by_ref().take(usize::from(operation)).collect();
            if operation == 0 || own.len() != usize::from(operation) {
                return Err(broken());
            }
            made.extend_from_slice(&own);
            continue;
        }
        let mut piece = [0_usize; 2];
        for bit in 0..7_u32 {
            if operation & (1 << bit) != 0 {
                let byte = usize::from(rest.next().ok_or_else(broken)?);
                let (which, shift) = if bit < 4 { (0, bit * 8) } else { (1, (bit - 4) * 8) };
                piece[which] |= byte << shift;
            }
        }
        let [start, size] = piece;
        let size = if size == 0 { 0x10000 } else { size };
        let end = start.checked_add(size).ok_or_else(broken)?;
        made.extend_from_slice(base.get(start..end).ok_or_else(broken)?);
        if made.len() as u64 > to {
            return Err(broken());
        }
    }
    if made.len() as u64 == to { Ok(made) } else { Err(broken()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_git_names_them() {
        assert_eq!(name_of(Kind::Blob, b"hello\n").to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn differences_stay_within_their_base() {
        assert_eq!(apply(b"abcdef", &[6, 5, 0x91, 2, 3, 2, b'x', b'y']), Ok(b"cdexy".to_vec()));
        // Beyond the base, cut off, of another base, and longer than it says.
        for difference in [&[6, 5, 0x91, 4, 5][..], &[6, 5, 5, b'x'], &[7, 1, 1, b'x'], &[6, 1, 2, b'x', b'y'], &[6]] {
            assert!(apply(b"abcdef", difference).is_err(), "{difference:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_pack_is_none() {
        let path = std::env::temp_dir().join(format!("hako-pack-{}", hako_base::random::hex(8)));
        for bytes in [&b"PACK\0\0\0\x02\0\0\0\x01\x30xxxx"[..], b"nothing", b"PACK\0\0\0\x02\xff\xff\xff\xff"] {
            std::fs::write(&path, bytes).unwrap();
            assert!(Pack::open(File::open(&path).unwrap()).is_err());
        }
        std::fs::remove_file(&path).unwrap();
    }
}
