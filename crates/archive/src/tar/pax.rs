//! PAX records: `LENGTH KEY=VALUE\n`, and what they change about the entry that follows.

use super::{Entry, TarError, Time};
use crate::limits;

/// What the extension headers before an entry said.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    modified: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// The `GNU.sparse.*` records, as they came.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    /// Version 0.0: `offset` and `numbytes` alternate; 0.1: one list in `map`.
    pub(super) numbers: Vec<u64>,
    pub(super) length: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
}

impl Overrides {
    pub(super) fn apply(&mut self, entry: &mut Entry) {
        if let Some(path) = self.sparse.name.take().or_else(|| self.path.take()) {
            entry.path = path;
        }
        if let Some(link) = self.link.take() {
            entry.link = link;
        }
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.modified = self.modified.unwrap_or(entry.modified);
        entry.xattrs = std::mem::take(&mut self.xattrs);
    }

    /// Reads one PAX header's payload. Later records win over earlier ones.
    pub(super) fn read(&mut self, data: &[u8], offset: u64) -> Result<(), TarError> {
        let mut rest = data;
        while !rest.is_empty() {
            let record =
                split_record(&mut rest).ok_or(TarError::Header { offset, why: "a PAX record is malformed" })?;
            self.record(record.0, record.1, offset)?;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8], offset: u64) -> Result<(), TarError> {
        let number = |field| decimal(value).ok_or_else(|| bad(offset, field, value));
        let id = |field| decimal(value).and_then(owner).ok_or_else(|| bad(offset, field, value));
        match key {
            b"path" => self.path = Some(name(value, offset, "path")?),
            b"linkpath" => self.link = Some(name(value, offset, "link path")?),
            // An empty value takes the record back (POSIX pax).
            b"size" => self.size = if value.is_empty() { None } else { Some(number("size")?) },
            b"uid" => self.uid = if value.is_empty() { None } else { Some(id("uid")?) },
            b"gid" => self.gid = if value.is_empty() { None } else { Some(id("gid")?) },
            b"mtime" if value.is_empty() => self.modified = None,
            b"mtime" => self.modified = Some(time(value).ok_or_else(|| bad(offset, "mtime", value))?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse_number(number("sparse map")?)?,
            b"GNU.sparse.map" => {
                self.sparse.numbers.clear();
                for part in value.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
                    self.sparse_number(decimal(part).ok_or_else(|| bad(offset, "sparse map", part))?)?;
                }
            }
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.length = Some(number("sparse size")?),
            b"GNU.sparse.name" => self.sparse.name = Some(name(value, offset, "path")?),
            b"GNU.sparse.major" => self.sparse.major = Some(number("sparse version")?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(number("sparse version")?),
            _ => {
                if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattr(attribute, value)?;
                }
            }
        }
        Ok(())
    }

    fn sparse_number(&mut self, number: u64) -> Result<(), TarError> {
        if self.sparse.numbers.len() >= 2 * limits::SPARSE_PIECES_MAX {
            return Err(limit("a sparse file", "pieces", limits::SPARSE_PIECES_MAX));
        }
        self.sparse.numbers.push(number);
        Ok(())
    }

    fn xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        if self.xattrs.len() >= limits::XATTRS_MAX || value.len() > limits::XATTR_BYTES_MAX {
            return Err(limit("an entry", "extended attributes", limits::XATTRS_MAX));
        }
        self.xattrs.retain(|(known, _)| known != key);
        self.xattrs.push((key.to_vec(), value.to_vec()));
        Ok(())
    }
}

fn limit(what: &str, of: &str, limit: usize) -> TarError {
    TarError::Limit { what: format!("{what} with its {of}"), found: limit as u64 + 1, limit: limit as u64 }
}

fn bad(offset: u64, field: &'static str, value: &[u8]) -> TarError {
    TarError::Field { offset, field, value: String::from_utf8_lossy(&value[..value.len().min(64)]).into_owned() }
}

// Takes `LENGTH KEY=VALUE\n` off the front.
fn split_record<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let space = rest.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&rest[..space])?).ok()?;
    let record = rest.get(space + 1..length)?;
    let (newline, record) = record.split_last()?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    if *newline != b'\n' || equals == 0 {
        return None;
    }
    *rest = &rest[length..];
    Some((&record[..equals], &record[equals + 1..]))
}

/// A name from a header: no zero bytes, not longer than the kernel takes.
pub(super) fn name(value: &[u8], offset: u64, field: &'static str) -> Result<Vec<u8>, TarError> {
    if value.contains(&0) {
        return Err(bad(offset, field, value));
    }
    if value.len() > limits::PATH_BYTES_MAX {
        return Err(TarError::Limit {
            what: format!("{field} at byte {offset}"),
            found: value.len() as u64,
            limit: limits::PATH_BYTES_MAX as u64,
        });
    }
    Ok(value.to_vec())
}

/// A uid or gid that the kernel takes: 32 bits, and not the "no change" of `chown` (CVE-2024-40635).
pub(super) fn owner(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|id| *id != u32::MAX)
}

/// A plain decimal number.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

// `[-]SECONDS[.FRACTION]`; the fraction of a negative time counts down, nanoseconds count up.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let whole = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |sum, at| sum * 10 + u32::from(fraction.get(at).map_or(0, |digit| digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds: whole, nanoseconds },
        (true, 0) => Time { seconds: -whole, nanoseconds: 0 },
        (true, _) => Time { seconds: -whole - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_lie_before_1970_and_have_fractions() {
        assert_eq!(time(b"12.5"), Some(Time { seconds: 12, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"7.1234567899"), Some(Time { seconds: 7, nanoseconds: 123_456_789 }));
        assert_eq!(time(b"1e9"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn a_record_must_be_as_long_as_it_says() {
        for text in [&b"5 a=b\n"[..], b"99 a=b\n", b"6 a=b_", b" a=b\n", b"6 =ab\n", b"1 \n"] {
            assert!(Overrides::default().read(text, 0).is_err(), "{text:?}");
        }
        let mut overrides = Overrides::default();
        overrides.read(b"6 a=b\n10 path=x\n12 uid=4000\n\n", 0).unwrap_err();
        overrides.read(b"10 path=x\n13 size=4000\n", 0).unwrap();
        assert_eq!((overrides.path.unwrap(), overrides.size.unwrap()), (b"x".to_vec(), 4000));
    }

    #[test]
    fn owners_beyond_32_bits_are_refused() {
        for text in [&b"18 uid=4294967296\n"[..], b"18 gid=4294967295\n", b"10 uid=-1\n"] {
            assert!(Overrides::default().read(text, 0).is_err(), "{text:?}");
        }
    }
}
