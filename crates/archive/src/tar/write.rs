//! Writing a tar: ustar where it suffices, a PAX header before the entry where it does not.
//!
//! The same entries give the same bytes, on every machine and at any time: no names of users, no times but the
//! entry's own (in whole seconds, as Docker's layers have them).

use std::io::{self, Write};

use super::{BLOCK, Entry, Kind};

/// Writes entries to `output`.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    /// Payload that the present entry still needs, and the padding after it.
    payload: u64,
    padding: u64,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(output: W) -> Self {
        Self { output, payload: 0, padding: 0 }
    }

    /// Writes an entry's header; its payload of `entry.size` bytes must follow by [`Self::payload`].
    ///
    /// # Errors
    /// Those of the output, and `InvalidInput` when the entry before it lacks payload.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        if self.payload != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the entry before lacks payload"));
        }
        let records = pax_records(entry);
        if !records.is_empty() {
            let mut header = Entry::new(pax_name(&entry.path), Kind::File);
            header.mode = 0o644;
            header.size = records.len() as u64;
            self.output.write_all(&block(&header, b'x'))?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.output.write_all(&block(entry, flag(entry.kind)))?;
        self.payload = entry.size;
        self.padding = entry.size.wrapping_neg() % BLOCK as u64;
        Ok(())
    }

    /// Some of the present entry's payload.
    ///
    /// # Errors
    /// Those of the output, and `InvalidInput` for more than the header announced.
    pub fn payload(&mut self, bytes: &[u8]) -> io::Result<()> {
        let rest = self.payload.checked_sub(bytes.len() as u64);
        self.payload =
            rest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "more payload than announced"))?;
        self.output.write_all(bytes)?;
        if self.payload == 0 {
            let padding = std::mem::take(&mut self.padding);
            self.output.write_all(&[0; BLOCK][..usize::try_from(padding).unwrap_or(0)])?;
        }
        Ok(())
    }

    /// How much payload the present entry still needs.
    pub fn missing(&self) -> u64 {
        self.payload
    }

    /// An entry with its payload at hand.
    ///
    /// # Errors
    /// Those of [`Self::entry`].
    pub fn whole(&mut self, entry: &Entry, payload: &[u8]) -> io::Result<()> {
        self.entry(&Entry { size: payload.len() as u64, ..entry.clone() })?;
        if payload.is_empty() { Ok(()) } else { self.payload(payload) }
    }

    /// Writes the end mark and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        Ok(self.output)
    }

    fn pad(&mut self, written: u64) -> io::Result<()> {
        let padding = usize::try_from(written.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.output.write_all(&[0; BLOCK][..padding])
    }
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Character => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

const OCTAL_7_MAX: u64 = 0o7_777_777;
const OCTAL_11_MAX: u64 = 0o77_777_777_777;

fn pax_records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    if split_path(&entry.path).is_none() {
        record(&mut records, b"path", &entry.path);
    }
    if entry.link.len() > 100 {
        record(&mut records, b"linkpath", &entry.link);
    }
    for (key, value) in [(&b"uid"[..], u64::from(entry.uid)), (b"gid", u64::from(entry.gid))] {
        if value > OCTAL_7_MAX {
            record(&mut records, key, value.to_string().as_bytes());
        }
    }
    if entry.size > OCTAL_11_MAX {
        record(&mut records, b"size", entry.size.to_string().as_bytes());
    }
    if !u64::try_from(entry.modified.seconds).is_ok_and(|seconds| seconds <= OCTAL_11_MAX) {
        record(&mut records, b"mtime", entry.modified.seconds.to_string().as_bytes());
    }
    for (key, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &key[..]].concat(), value);
    }
    records
}

// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn pax_name(path: &[u8]) -> Vec<u8> {
    let leaf = path.split(|byte| *byte == b'/').rfind(|part| !part.is_empty()).unwrap_or(b"");
    let mut name = b"PaxHeaders.0/".to_vec();
    name.extend_from_slice(&leaf[..leaf.len().min(80)]);
    name
}

// Name and prefix of a ustar header, if the path fits them.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((path, &[]));
    }
    let first = path.len().checked_sub(101)?;
    let slash = (first..path.len().min(156)).find(|at| path[*at] == b'/' && *at > 0 && *at + 1 < path.len())?;
    Some((&path[slash + 1..], &path[..slash]))
}

fn block(entry: &Entry, flag: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let (name, prefix) = split_path(&entry.path).unwrap_or((&entry.path[..entry.path.len().min(100)], &[]));
    block[..name.len()].copy_from_slice(name);
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    let link = &entry.link[..entry.link.len().min(100)];
    block[157..157 + link.len()].copy_from_slice(link);
    octal(&mut block[100..108], u64::from(entry.mode));
    octal(&mut block[108..116], if u64::from(entry.uid) > OCTAL_7_MAX { 0 } else { u64::from(entry.uid) });
    octal(&mut block[116..124], if u64::from(entry.gid) > OCTAL_7_MAX { 0 } else { u64::from(entry.gid) });
    octal(&mut block[124..136], if entry.size > OCTAL_11_MAX { 0 } else { entry.size });
    let seconds = u64::try_from(entry.modified.seconds).unwrap_or(0);
    octal(&mut block[136..148], if seconds > OCTAL_11_MAX { 0 } else { seconds });
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    if matches!(entry.kind, Kind::Character | Kind::Block) {
        octal(&mut block[329..337], u64::from(entry.device.0));
        octal(&mut block[337..345], u64::from(entry.device.1));
    }
    block[148..156].copy_from_slice(b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    let text = format!("{value:0width$o}");
    field[..width].copy_from_slice(&text.as_bytes()[text.len() - width..]);
}

#[cfg(test)]
mod tests {
    use super::super::{Reader, Time};
    use super::*;

    fn round_trip(entry: Entry, payload: &[u8]) {
        let mut writer = Writer::new(Vec::new());
        writer.whole(&entry, payload).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = Reader::new(&bytes[..]);
        let read = reader.next_entry().unwrap().unwrap();
        assert_eq!(read, Entry { size: payload.len() as u64, ..entry });
        let mut copy = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut copy).unwrap();
        assert_eq!(copy, payload);
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn what_ustar_cannot_say_is_said_in_pax() {
        round_trip(Entry { mode: 0o644, ..Entry::new("a", Kind::File) }, b"hello");
        round_trip(Entry::new(format!("{}/{}", "d".repeat(120), "f".repeat(90)), Kind::File), &[7; 1024]);
        round_trip(Entry::new("x".repeat(300), Kind::Directory), b"");
        let mut entry = Entry::new("l", Kind::Symlink);
        entry.link = vec![b't'; 200];
        entry.uid = 4_000_000_000;
        entry.gid = 2_097_152;
        entry.modified = Time { seconds: -5, nanoseconds: 0 };
        entry.xattrs = vec![(b"security.capability".to_vec(), vec![0, b'\n', b'=', 255])];
        round_trip(entry, b"");
        let device = Entry { device: (1, 3), mode: 0o4755, ..Entry::new("null", Kind::Character) };
        round_trip(device, b"");
    }

    #[test]
    fn payload_must_be_as_long_as_announced() {
        let mut writer = Writer::new(Vec::new());
        writer.entry(&Entry { size: 3, ..Entry::new("a", Kind::File) }).unwrap();
        assert!(writer.payload(b"abcd").is_err());
        assert!(writer.entry(&Entry::new("b", Kind::File)).is_err());
        assert_eq!(writer.missing(), 3);
    }
}
