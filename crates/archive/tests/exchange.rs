//! Copies out of and into roots that somebody else controls, on a real file system.

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, symlink},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use hako_archive::{
    Ids, UnpackOptions,
    exchange::{CopyError, Extract, Source, extract, leads_to},
    tar::{Entry, Kind, Reader, Writer},
    unpack,
};

struct Root(PathBuf, OwnedFd);

impl Root {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("hako-copy-{}", hako_base::random::hex(8)));
        fs::create_dir_all(path.join("root")).unwrap();
        let fd = fs::File::open(path.join("root")).unwrap().into();
        Self(path, fd)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("root").join(name)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn archive(entries: &[(&str, Kind, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (path, kind, content) in entries {
        let mut entry = Entry { mode: 0o755, uid, gid, ..Entry::new(*path, *kind) };
        if *kind == Kind::File {
            writer.whole(&entry, content).unwrap();
        } else {
            entry.link = content.to_vec();
            writer.entry(&entry).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn names(bytes: &[u8]) -> String {
    let mut reader = Reader::new(bytes);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(entry.shown());
    }
    names.join(" ")
}

fn read(root: &Root, path: &str) -> String {
    let mut bytes = Vec::new();
    match Source::open(root.1.as_fd(), path.as_bytes()) {
        Ok(source) => source.write(|_| false, &Ids::default(), &mut bytes).map(|()| names(&bytes)).unwrap(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_path_names_what_docker_says_it_names() {
    let root = Root::new();
    fs::create_dir_all(root.path("dir/sub")).unwrap();
    fs::write(root.path("dir/sub/file"), "x").unwrap();
    symlink("/dir", root.path("link")).unwrap();
    symlink("link", root.path("twice")).unwrap();
    symlink("../../../nowhere", root.path("dangling")).unwrap();
    symlink("loop", root.path("loop")).unwrap();
    for (path, expected) in [
        ("/dir", "dir/ dir/sub/ dir/sub/file"),
        ("dir/", "dir/ dir/sub/ dir/sub/file"),
        ("/dir/.", "./ ./sub/ ./sub/file"),
        ("/dir/sub/file", "file"),
        ("/link", "link"),
        ("/link/", "link/ link/sub/ link/sub/file"),
        ("/link/sub/file", "file"),
        ("/../dir/../link/sub", "sub/ sub/file"),
        ("/none", "/none: no such file or directory"),
        ("/dir/sub/file/", "lstat /dir/sub/file/: not a directory"),
        ("/loop/x", "/loop/x: too many links"),
    ] {
        assert_eq!(read(&root, path), expected, "{path}");
    }
    let target = |path: &str| Source::open(root.1.as_fd(), path.as_bytes()).unwrap().stat().link_target.clone();
    assert_eq!(target("/twice"), "/dir");
    assert_eq!(target("/dangling"), "/nowhere");
    assert_eq!(leads_to(root.1.as_fd(), b"/twice/../x").unwrap(), b"x");
}

#[test]
fn an_archive_goes_where_links_lead_inside_the_root() {
    let root = Root::new();
    fs::create_dir_all(root.path("real/old")).unwrap();
    fs::write(root.0.join("outside"), "outside").unwrap();
    symlink("/real", root.path("link")).unwrap();
    symlink("/real/old", root.path("real/absolute")).unwrap();
    symlink("../../../..", root.path("real/up")).unwrap();
    let put = |path: &str, bytes: &[u8]| extract(root.1.as_fd(), path.as_bytes(), bytes, Extract::default());
    put("/link", &archive(&[("new", Kind::File, b"n"), ("absolute/deep", Kind::File, b"d")])).unwrap();
    assert_eq!(fs::read(root.path("real/new")).unwrap(), b"n");
    assert_eq!(fs::read(root.path("real/old/deep")).unwrap(), b"d");
    put("/real", &archive(&[("up/planted", Kind::File, b"p")])).unwrap();
    assert!(root.path("planted").exists() && !root.0.join("planted").exists());
    // A hard link counts from where the archive begins, and stays inside.
    put("/real", &archive(&[("twin", Kind::HardLink, b"new")])).unwrap();
    assert_eq!(fs::metadata(root.path("real/twin")).unwrap().nlink(), 2);
    assert!(put("/real", &archive(&[("../x", Kind::File, b"")])).is_err());
    assert!(put("/real", &archive(&[("x", Kind::HardLink, b"../../outside")])).is_err());
    assert!(matches!(put("/none", b""), Err(CopyError::NotFound { .. })));
    assert!(matches!(put("/real/new", b""), Err(CopyError::NoDirectoryToExtractTo)));
}

#[test]
fn kinds_are_kept_when_asked() {
    let root = Root::new();
    fs::create_dir(root.path("dir")).unwrap();
    fs::write(root.path("file"), "").unwrap();
    let put = |entries: &[(&str, Kind, &[u8])], keep_kind| {
        let how = Extract { keep_kind, ..Extract::default() };
        extract(root.1.as_fd(), b"/", &archive(entries)[..], how).map_err(|error| error.to_string())
    };
    assert_eq!(
        put(&[("dir", Kind::File, b"x")], true).unwrap_err(),
        "cannot overwrite directory \"dir\" with non-directory"
    );
    assert_eq!(
        put(&[("file", Kind::Directory, b"")], true).unwrap_err(),
        "cannot overwrite non-directory \"file/\" with directory".replace("file/", "file")
    );
    put(&[("dir", Kind::File, b"x")], false).unwrap();
    assert_eq!(fs::read(root.path("dir")).unwrap(), b"x");
}

#[test]
fn the_topmost_entry_gets_another_name() {
    for (from, entries, expected) in
        [("old", &["old", "old/a", "older"][..], "new new/a older"), (".", &["./", "./a"][..], "new new/a")]
    {
        let root = Root::new();
        let entries: Vec<(&str, Kind, &[u8])> = entries.iter().map(|path| (*path, Kind::Directory, &b""[..])).collect();
        let options = UnpackOptions {
            below: b".".to_vec(),
            rename: Some((from.as_bytes().to_vec(), b"new".to_vec())),
            ..UnpackOptions::default()
        };
        unpack(&archive(&entries)[..], root.1.as_fd(), &options).unwrap();
        let mut found = Vec::new();
        for name in ["new", "new/a", "older", "old", "a"] {
            found.extend(root.path(name).exists().then_some(name));
        }
        assert_eq!(found.join(" "), expected);
    }
}

#[test]
fn whoever_swaps_directories_for_links_leads_nobody_out() {
    let root = Root::new();
    let outside = root.0.join("secret");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "of the host").unwrap();
    let stop = AtomicBool::new(false);
    let bytes = archive(&[("swap/planted", Kind::File, b"p"), ("swap/sub/planted", Kind::File, b"p")]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (swap, aside) = (root.path("swap"), root.path("aside"));
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::create_dir(&swap).and_then(|()| fs::write(swap.join("file"), "of the container"));
                let _ = fs::rename(&swap, &aside);
                for target in [outside.as_path(), Path::new("../../../../../../../../tmp")] {
                    let _ = symlink(target, &swap);
                    let _ = fs::remove_file(&swap);
                }
                let _ = fs::remove_dir_all(&aside);
            }
        });
        for _ in 0..300 {
            let mut read = Vec::new();
            for path in [&b"/swap/"[..], b"/swap/file", b"/"] {
                if let Ok(source) = Source::open(root.1.as_fd(), path) {
                    let _ = source.write(|_| true, &Ids::default(), &mut read);
                }
            }
            assert!(!String::from_utf8_lossy(&read).contains("of the host"));
            let _ = extract(root.1.as_fd(), b"/", &bytes[..], Extract::default());
            let _ = extract(root.1.as_fd(), b"/swap", &bytes[..], Extract::default());
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "of the host");
}
