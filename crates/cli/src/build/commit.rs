//! When the commit was made that a working directory has checked out: the time that `--reproducible` gives an image.
//!
//! Read from the repository's own files: `HEAD`, references, and the commit, loose or in a pack. Where that leads
//! nowhere (no repository, a commit that is stored as a difference to another) there is no such time.

use std::{
    fs::{self, File},
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use flate2::read::ZlibDecoder;

/// A commit: its head and the beginning of its message are all that is read.
const COMMIT_BYTES_MAX: u64 = 64 << 10;
/// References that lead to references.
const REFERENCES_MAX: usize = 8;
/// How an index of a pack begins, of the version that git has written since 2008.
const INDEX_MAGIC: &[u8] = &[0xff, b't', b'O', b'c', 0, 0, 0, 2];
/// Objects are sorted by their first byte, with a count for each.
const FANOUT_BYTES: u64 = 256 * 4;
const PACKED_COMMIT: u8 = 1;

/// Seconds since 1970 of the commit that is checked out in a directory or above it.
pub(super) fn time(directory: &Path) -> Option<i64> {
    let repository = directory.ancestors().find_map(|above| repository(&above.join(".git")))?;
    // A further working tree shares what the first one has.
    let shared = fs::read_to_string(repository.join("commondir")).ok();
    let shared = shared.map_or_else(|| repository.clone(), |path| repository.join(path.trim()));
    let id = head(&repository, &shared)?;
    committed(&commit(&shared, &id)?)
}

fn repository(place: &Path) -> Option<PathBuf> {
    if place.is_dir() {
        return Some(place.to_owned());
    }
    let text = fs::read_to_string(place).ok()?;
    let path = text.strip_prefix("gitdir:")?.trim();
    Some(place.parent()?.join(path))
}

// The id of the commit that `HEAD` leads to.
fn head(repository: &Path, shared: &Path) -> Option<String> {
    let mut text = fs::read_to_string(repository.join("HEAD")).ok()?;
    for _ in 0..REFERENCES_MAX {
        let Some(name) = text.trim().strip_prefix("ref: ").map(str::to_owned) else {
            let id = text.trim();
            return (id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned());
        };
        // Names of references are no paths that lead out.
        if name.split('/').any(|part| part == "..") || !name.starts_with("refs/") {
            return None;
        }
        let loose = fs::read_to_string(repository.join(&name)).or_else(|_| fs::read_to_string(shared.join(&name)));
        text = match loose {
            Ok(text) => text,
            Err(_) => packed(&fs::read_to_string(shared.join("packed-refs")).ok()?, &name)?,
        };
    }
    None
}

fn packed(list: &str, name: &str) -> Option<String> {
    list.lines().filter_map(|line| line.split_once(' ')).find(|(_, known)| *known == name).map(|(id, _)| id.to_owned())
}

// The text of a commit.
fn commit(shared: &Path, id: &str) -> Option<String> {
    let objects = shared.join("objects");
    if let Ok(file) = File::open(objects.join(&id[..2]).join(&id[2..])) {
        let text = inflated(file)?;
        let (head, body) = text.split_once('\0')?;
        return head.starts_with("commit ").then(|| body.to_owned());
    }
    let packs = fs::read_dir(objects.join("pack")).ok()?;
    let indexes = packs
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "idx"));
    let id = bytes(id)?;
    indexes.into_iter().find_map(|index| from_pack(&index, &id))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

fn from_pack(index: &Path, id: &[u8]) -> Option<String> {
    let offset = offset_in(&mut BufReader::new(File::open(index).ok()?), id)?;
    let mut pack = BufReader::new(File::open(index.with_extension("pack")).ok()?);
    pack.seek(SeekFrom::Start(offset)).ok()?;
    // Three bits of kind, and a size that goes on while the highest bit is set.
    let mut byte = [0];
    pack.read_exact(&mut byte).ok()?;
    let kind = (byte[0] >> 4) & 7;
    while byte[0] & 0x80 != 0 {
        pack.read_exact(&mut byte).ok()?;
    }
    if kind == PACKED_COMMIT { inflated(pack) } else { None }
}

// Where a pack has an object: magic, counts by first byte, ids, checksums, places of four bytes, places of eight.
fn offset_in(index: &mut (impl Read + Seek), id: &[u8]) -> Option<u64> {
    let mut magic = [0; 8];
    index.read_exact(&mut magic).ok()?;
    if magic != INDEX_MAGIC {
        return None;
    }
    let mut counts = vec![0; usize::try_from(FANOUT_BYTES).ok()?];
    index.read_exact(&mut counts).ok()?;
    let count = |byte: usize| -> u64 {
        let at = byte * 4;
        u32::from_be_bytes([counts[at], counts[at + 1], counts[at + 2], counts[at + 3]]).into()
    };
    let (all, first) = (count(255), usize::from(*id.first()?));
    let (mut low, mut high) = (if first == 0 { 0 } else { count(first - 1) }, count(first));
    let ids = 8 + FANOUT_BYTES;
    while low < high {
        let middle = low.midpoint(high);
        let mut found = [0; 20];
        index.seek(SeekFrom::Start(ids + middle * 20)).ok()?;
        index.read_exact(&mut found).ok()?;
        match found[..].cmp(id) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => {
                let places = ids + all * 24;
                let mut place = [0; 4];
                index.seek(SeekFrom::Start(places + middle * 4)).ok()?;
                index.read_exact(&mut place).ok()?;
                let place = u32::from_be_bytes(place);
                if place >> 31 == 0 {
                    return Some(place.into());
                }
                let mut large = [0; 8];
                index.seek(SeekFrom::Start(places + all * 4 + u64::from(place & 0x7fff_ffff) * 8)).ok()?;
                index.read_exact(&mut large).ok()?;
                return Some(u64::from_be_bytes(large));
            }
        }
    }
    None
}

fn inflated(input: impl Read) -> Option<String> {
    let mut whole = Vec::new();
    ZlibDecoder::new(input).take(COMMIT_BYTES_MAX).read_to_end(&mut whole).ok()?;
    Some(String::from_utf8_lossy(&whole).into_owned())
}

// `committer Name <address> 1700000000 +0100`
fn committed(text: &str) -> Option<i64> {
    let line = text.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("committer "))?;
    line.rsplit(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_commit_is_its_committers() {
        let text = "tree 1\nauthor A <a> 5 +0000\ncommitter B C <b> 1700000000 +0100\n\ncommitter D <d> 7 +0000\n";
        assert_eq!(committed(text), Some(1_700_000_000));
        assert_eq!(committed("tree 1\n\ncommitter D <d> 7 +0000\n"), None);
    }

    #[test]
    fn references_are_found_in_their_list() {
        let list = "# pack-refs with: peeled\nabc refs/heads/main\n^def\n123 refs/tags/v1\n";
        assert_eq!(packed(list, "refs/heads/main").as_deref(), Some("abc"));
        assert_eq!(packed(list, "refs/heads/ma"), None);
    }
}
