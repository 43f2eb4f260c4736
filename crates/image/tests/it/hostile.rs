//! Archives that mean harm, and archives that are merely odd: each ends in a stated tree or a stated sentence,
//! and a failed one leaves nothing behind.

use crate::fixture::{Fixture, listing, may_run, tar};
use crate::reader::{record, with_records};
use hako_base::error::chain;
use hako_image::{
    ImportOptions,
    tar::{Entry, Kind, Writer},
};

// Imports a tar and shows the layer's tree, or the error; outside of the layer nothing may change. However odd the tar is,
// what is saved is the same.
fn check(name: &str, bytes: &[u8], expected: &str) {
    let fixture = Fixture::new();
    let before = fixture.leftovers();
    let got = match fixture.store.import(bytes, &ImportOptions::default(), &mut |_| {}) {
        Ok(id) => {
            let is_compressed = bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5]);
            assert!(is_compressed || fixture.saved_layer(id) == bytes, "{name} is saved as something else");
            listing(&fixture.layer(id))
        }
        Err(error) => {
            assert_eq!(fixture.leftovers(), before, "{name} left something behind");
            chain(&error)
        }
    };
    assert_eq!(got, expected, "{name}");
}

const SUBJECT: &str = "cannot unpack the root filesystem archive: ";

#[test]
fn names_cannot_leave_the_root() {
    if !may_run() {
        return;
    }
    check("climbs", &tar("f ../evil x"), &format!("{SUBJECT}entry \"../evil\" lies outside of its root"));
    check(
        "climbs late",
        &tar("f a/../../evil x"),
        &format!("{SUBJECT}entry \"a/../../evil\" lies outside of its root"),
    );
    check("absolute", &tar("f /etc/evil x"), "etc/ 755\netc/evil \"x\"");
    check("dots inside", &tar("d a\nf a/./../b x"), "a/ 755\nb \"x\"");
    check(
        "a link to the host's root is followed inside only",
        &tar("l out /\nf out/tmp/evil x"),
        "out -> /\ntmp/ 755\ntmp/evil \"x\"",
    );
    check(
        "a climbing link stops at the root",
        &tar("l out ../../../..\nf out/evil x"),
        "evil \"x\"\nout -> ../../../..",
    );
    check("a link is replaced, not written through", &tar("l a /etc/passwd\nf a x"), "a \"x\"");
    check("a directory becomes a link", &tar("d t\nd a\nf a/b x\nl a /t\nf a/evil y"), "a -> /t\nt/ 755\nt/evil \"y\"");
    check(
        "a link to nothing is no directory",
        &tar("l a /tmp\nf a/evil y"),
        &format!("{SUBJECT}cannot make the directories of \"a/evil\": no such file or directory"),
    );
    check("root is no file", &tar("f . x"), &format!("{SUBJECT}entry \".\" lies outside of its root"));
    check(
        "links in a circle",
        &tar("l a b\nl b a\nf a/x y"),
        &format!("{SUBJECT}cannot reach \"a/x\": too many levels of symbolic links"),
    );
    check(
        "a file as a directory",
        &tar("f a x\nf a/b y"),
        &format!("{SUBJECT}cannot make the directories of \"a/b\": not a directory"),
    );
}

#[test]
fn hard_links_cannot_leave_the_root() {
    if !may_run() {
        return;
    }
    check("inside", &tar("f a x\nh b a\nh c /a"), "a \"x\"\nb \"x\"\nc \"x\"");
    check(
        "climbs",
        &tar("h a ../../etc/passwd"),
        &format!("{SUBJECT}entry \"a\" is a hard link to \"../../etc/passwd\", which lies outside of its root"),
    );
    check(
        "absolute means inside",
        &tar("h a /etc/shadow"),
        &format!("{SUBJECT}cannot find the target of the hard link \"a\": no such file or directory"),
    );
    check(
        "through a link",
        &tar("l e /etc\nh a e/shadow"),
        &format!("{SUBJECT}cannot find the target of the hard link \"a\": no such file or directory"),
    );
    check("to a link is to the link itself", &tar("l a /etc/shadow\nh b a"), "a -> /etc/shadow\nb -> /etc/shadow");
}

#[test]
fn whiteouts_become_marks() {
    if !may_run() {
        return;
    }
    check("plain", &tar("d a\nf a/.wh.b "), "a/ 755\na/b whiteout");
    check("opaque", &tar("d a\nf a/.wh..wh..opq \nf a/b x"), "a/ 755 opaque\na/b \"x\"");
    check("then a file", &tar("f .wh.a \nf a x"), "a \"x\"");
    check("then a directory, which hides", &tar("f .wh.a \nd a\nf a/b x"), "a/ 755 opaque\na/b \"x\"");
    check("after the directory", &tar("d a\nf a/b x\nf .wh.a "), "a/ 755 opaque\na/b \"x\"");
    check("then an implied directory", &tar("f .wh.a \nf a/b x"), "a/ 755 opaque\na/b \"x\"");
    check("of the parent", &tar("f .wh... x"), &format!("{SUBJECT}entry \".wh...\" lies outside of its root"));
    check("of nothing", &tar("f a/.wh. x"), &format!("{SUBJECT}entry \"a/.wh.\" lies outside of its root"));
    check("aufs's own", &tar("f .wh..wh.plnk x\nf a y"), "a \"y\"");
}

#[test]
fn nodes_and_odd_things() {
    if !may_run() {
        return;
    }
    check("devices", &tar("c null 1 3\np pipe"), "null device 1:3\npipe fifo");
    check("nothing", &tar(""), "");
    check("no bytes at all", b"", "");
    check("repeated", &tar("f a x\nf a y\nd b 700\nd b 711"), "a \"y\"\nb/ 711");
    check("a directory gives way to a file", &tar("d a\nf a/b x\nf a y"), "a \"y\"");
}

#[test]
fn names_need_not_be_text() {
    if !may_run() {
        return;
    }
    use std::os::unix::ffi::OsStrExt;
    let mut writer = Writer::new(Vec::new());
    writer.whole(&Entry { path: b"caf\xe9".to_vec(), ..Entry::new("x", Kind::File) }, b"x").unwrap();
    let fixture = Fixture::new();
    let id = fixture.import("odd", &writer.finish().unwrap());
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    assert!(fixture.layer(id).join(name).is_file());
    // And so it goes out and comes back.
    let mut archive = Vec::new();
    fixture.store.save(&["odd".to_owned()], &mut archive).unwrap();
    let other = Fixture::new();
    other.store.load(&archive[..], &[], &mut |_| {}).unwrap();
    assert!(other.layer(id).join(name).is_file());
}

#[test]
fn a_hole_takes_no_room_however_large_it_says_it_is() {
    if !may_run() {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    // What a layer may hold is counted with its holes.
    let records = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "holes")];
    let records: String = records.iter().map(|(key, value)| record(key, value)).collect();
    let mut map = b"0\n".to_vec();
    map.resize(512, 0);
    let hole =
        |size: u64| with_records(&(records.clone() + &record("GNU.sparse.realsize", &size.to_string())), 512, &map);
    let fixture = Fixture::new();
    let id = fixture.import("holes", &hole(100 << 30));
    let found = std::fs::metadata(fixture.layer(id).join("holes")).unwrap();
    assert_eq!((found.len(), found.blocks()), (100 << 30, 0));
    check("a hole too large", &hole(2 << 40), &format!("{SUBJECT}the archive has bytes beyond 1099511627776"));
}

#[test]
fn a_bomb_takes_no_memory() {
    if !may_run() {
        return;
    }
    use std::io::Read;
    let resident = || -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
        line.split(' ').next().unwrap().parse().unwrap()
    };
    // A file of 256 MiB of zeros, which gzip makes a hundredth of, or less.
    let size = 256 << 20;
    let mut head = Vec::new();
    Writer::new(&mut head).entry(&Entry { size, ..Entry::new("zeros", Kind::File) }).unwrap();
    let plain = std::io::Cursor::new(head).chain(std::io::repeat(0).take(size + 1024));
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(plain, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    assert!(packed.len() < 8 << 20, "{}", packed.len());
    let fixture = Fixture::new();
    let (before, mut most) = (resident(), 0);
    fixture.store.import(&packed[..], &ImportOptions::default(), &mut |_| most = most.max(resident())).unwrap();
    // Others of this ring run beside it.
    assert!(most.saturating_sub(before) < 100 << 10, "{} KiB more than before", most.saturating_sub(before));
}

#[test]
fn broken_bytes_are_told_with_their_place() {
    if !may_run() {
        return;
    }
    let whole = tar("d a\nf a/b 0123456789");
    check("in a header", &whole[..700], &format!("{SUBJECT}the archive ends in the middle of a header"));
    check("in a file", &whole[..1030], &format!("{SUBJECT}the archive ends in the middle of a/b"));
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    check("a flipped bit", &flipped, &format!("{SUBJECT}not a tar header at byte 0: its check sum is wrong"));
    check("garbage", &[b'x'; 4096], &format!("{SUBJECT}not a tar header at byte 0: its check sum is wrong"));
    check("short garbage", b"hello", &format!("{SUBJECT}the archive ends in the middle of a header"));
    let mut gzip = flate2::read::GzEncoder::new(&whole[..], flate2::Compression::fast());
    let mut packed = Vec::new();
    std::io::Read::read_to_end(&mut gzip, &mut packed).unwrap();
    check("gzip", &packed, "a/ 755\na/b \"0123456789\"");
    check(
        "half a gzip",
        &packed[..packed.len() / 2],
        &format!("{SUBJECT}cannot read the archive: incomplete deflate stream"),
    );
    let packed = zstd::encode_all(&whole[..], 3).unwrap();
    check("zstd", &packed, "a/ 755\na/b \"0123456789\"");
    check("half a zstd", &packed[..packed.len() / 2], &format!("{SUBJECT}cannot read the archive: incomplete frame"));
}

#[test]
fn a_full_disk_ends_in_a_sentence_and_leaves_nothing() {
    if !may_run() {
        return;
    }
    // A detached tmpfs is a disk of 6 MiB that no mount table knows; the database stays elsewhere.
    let attributes = hako_sys::mount::MountAttributes::default();
    let disk = hako_sys::mount::tmpfs(&[("size", "6m")], attributes).unwrap();
    let root = std::path::PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&disk)));
    let fixture = Fixture::new();
    let database = std::sync::Arc::new(hako_base::database::Database::create(fixture.root.join("other.redb")).unwrap());
    let store = hako_image::Store::open(&root, database).unwrap();
    let used = || rustix::fs::fstatvfs(&disk).unwrap().f_bfree;
    let before = used();
    let mut seed = 1_u32;
    let noise: String = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + (seed >> 24) as u8 % 90)
    })
    .take(9 << 20)
    .collect();
    let error = store.import(&tar(&format!("f big {noise}"))[..], &ImportOptions::default(), &mut |_| {}).unwrap_err();
    let text = chain(&error);
    assert!(text.starts_with("cannot ") && text.ends_with("no space left on device"), "{text}");
    assert_eq!(error.kind(), hako_base::ErrorKind::Internal);
    assert_eq!(used(), before);
}
