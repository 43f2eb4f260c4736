//! The tar reader against what others write, and against bytes that nobody would write.

use std::io::Read;

use hako_image::tar::{Entry, Kind, Reader, Time, Writer};
use proptest::prelude::*;

fn entries(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, String> {
    let mut reader = Reader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(|error| hako_base::error::chain(&error))? {
        let mut payload = Vec::new();
        reader.read_to_end(&mut payload).map_err(|error| error.to_string())?;
        found.push((entry, payload));
    }
    Ok(found)
}

#[test]
fn what_the_tar_crate_writes_is_read() {
    let mut builder = tar::Builder::new(Vec::new());
    let long = format!("{}/file", "directory".repeat(30));
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o4755);
    header.set_uid(3_000_000_000);
    header.set_mtime(77);
    builder.append_data(&mut header, &long, &b"hello"[..]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", "target").unwrap();
    let found = entries(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(found.len(), 2);
    let (file, payload) = &found[0];
    assert_eq!((&file.path[..], &payload[..]), (long.as_bytes(), &b"hello"[..]));
    assert_eq!((file.mode, file.uid, file.modified.seconds), (0o4755, 3_000_000_000, 77));
    assert_eq!((found[1].0.kind, &found[1].0.link[..]), (Kind::Symlink, &b"target"[..]));
}

// One header with these PAX records before it, and then a file `behind`.
pub(crate) fn with_records(records: &str, size: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    writer.whole(&Entry::new("PaxHeaders/x", Kind::File), records.as_bytes()).unwrap();
    writer.entry(&Entry { size, ..Entry::new("own", Kind::File) }).unwrap();
    bytes[156] = b'x';
    fix_sum(&mut bytes[..512]);
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let mut writer = Writer::new(&mut bytes);
    writer.whole(&Entry::new("behind", Kind::File), b"end").unwrap();
    bytes
}

// `LENGTH KEY=VALUE\n` for a length of two digits.
pub(crate) fn record(key: &str, value: &str) -> String {
    format!("{} {key}={value}\n", key.len() + value.len() + 5)
}

fn fix_sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn a_pax_size_decides_where_the_next_header_is() {
    // CVE-2025-62518: the payload holds a header that a parser which trusts the wrong size would find.
    let mut smuggled = Vec::new();
    Writer::new(&mut smuggled).whole(&Entry::new("smuggled", Kind::File), b"").unwrap();
    let records = record("size", &smuggled.len().to_string());
    let found = entries(&with_records(&records, 0, &smuggled)).unwrap();
    let names: Vec<_> = found.iter().map(|(entry, _)| entry.shown()).collect();
    assert_eq!(names, ["own", "behind"]);
}

#[test]
fn sparse_files_have_their_holes() {
    let map = |size: &str| {
        let version = record("GNU.sparse.major", "1") + &record("GNU.sparse.minor", "0");
        version + &record("GNU.sparse.name", "thing") + &record("GNU.sparse.realsize", size)
    };
    let mut payload = b"2\n10\n3\n90\n2\n".to_vec();
    payload.resize(512, 0);
    payload.extend_from_slice(b"abcde");
    let found = entries(&with_records(&map("100"), 517, &payload)).unwrap();
    let (entry, bytes) = &found[0];
    let sparse = entry.sparse.as_ref().unwrap();
    assert_eq!((entry.shown().as_str(), entry.size, &bytes[..]), ("thing", 5, &b"abcde"[..]));
    assert_eq!((&sparse.pieces[..], sparse.length), (&[(10, 3), (90, 2)][..], 100));
    assert_eq!(found[1].0.shown(), "behind");
    let claims = with_records(&map("9999999999999999999"), 517, &payload);
    assert!(entries(&claims).unwrap_err().contains("more than"));
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::File),
        Just(Kind::Directory),
        Just(Kind::Symlink),
        Just(Kind::HardLink),
        Just(Kind::Character),
        Just(Kind::Fifo)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_written_is_read_back(
        path in "[a-z.]{1,40}(/[a-zé ]{1,120}){0,3}",
        kind in kinds(),
        link in "[a-z/]{1,150}",
        mode in 0_u32..0o10000,
        uid in 0_u32..u32::MAX,
        seconds in -10_000_000_000_i64..100_000_000_000,
        value in proptest::collection::vec(any::<u8>(), 0..50),
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut entry = Entry { mode, uid, gid: uid / 3, modified: Time { seconds, nanoseconds: 0 }, ..Entry::new(path, kind) };
        if kind == Kind::Directory {
            entry.path.push(b'/');
        }
        if matches!(kind, Kind::Symlink | Kind::HardLink) {
            entry.link = link.into_bytes();
        }
        entry.xattrs = vec![(b"user.x".to_vec(), value)];
        let payload = if kind == Kind::File { payload } else { Vec::new() };
        let mut writer = Writer::new(Vec::new());
        writer.whole(&entry, &payload).unwrap();
        let bytes = writer.finish().unwrap();
        let found = entries(&bytes).unwrap();
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(&found[0].0, &Entry { size: payload.len() as u64, ..entry });
        prop_assert_eq!(&found[0].1, &payload);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_hang(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        flags in proptest::collection::vec(prop_oneof![Just(b'x'), Just(b'S'), Just(b'L'), Just(b'0'), Just(b'g'), any::<u8>()], 6),
    ) {
        // Check sums are made right, so that more than the first look is reached.
        for (block, flag) in bytes.chunks_exact_mut(512).zip(&flags) {
            block[156] = *flag;
            block[124..136].copy_from_slice(b"00000000777\0");
            fix_sum(block);
        }
        let _ = entries(&bytes);
    }

    #[test]
    fn cut_and_bent_archives_never_panic(cut in 0_usize..4000, at in 0_usize..3000, bit in 0_u8..8) {
        let mut writer = Writer::new(Vec::new());
        writer.whole(&Entry::new("x".repeat(200), Kind::File), &[1; 700]).unwrap();
        writer.entry(&Entry::new("d/", Kind::Directory)).unwrap();
        let mut bytes = writer.finish().unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        bytes.truncate(cut);
        let _ = entries(&bytes);
    }
}
