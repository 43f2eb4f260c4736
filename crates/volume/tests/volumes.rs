//! Volumes on a real disk: made, filled, mounted, removed, and found again after a restart.

use std::{
    collections::BTreeMap,
    fs,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_volume::{VolumeError, Volumes, Wish};

struct Fixture {
    root: PathBuf,
    database: Arc<hako_base::database::Database>,
    volumes: Volumes,
}

impl Fixture {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("hako-volume-{}", hako_base::random::hex(8)));
        fs::create_dir(&root).unwrap();
        let database = Arc::new(hako_base::database::Database::create(root.join("state.redb")).unwrap());
        let volumes = Volumes::open(&root, database.clone()).unwrap();
        Self { root, database, volumes }
    }

    fn reopen(&mut self) {
        self.volumes = Volumes::open(&self.root, self.database.clone()).unwrap();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn wish(name: &str, options: &[(&str, &str)]) -> Wish {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Wish {
        name: name.to_owned(),
        options,
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        anonymous: false,
    }
}

// Skips with a reason what only root can do.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root");
    }
    is_root
}

fn path_of(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[test]
fn a_volume_lives_until_it_is_removed() {
    let mut fixture = Fixture::new();
    let made = fixture.volumes.create(&wish("data", &[])).unwrap();
    let again = fixture.volumes.create(&wish("data", &[("type", "tmpfs"), ("device", "tmpfs")])).unwrap();
    assert_eq!(made, again, "a second create answers the first");
    let content = fixture.volumes.open_content("data", "").unwrap();
    fs::write(path_of(&content).join("file"), "12345").unwrap();
    assert_eq!((fixture.volumes.size("data"), fixture.volumes.is_empty("data", "")), (5, false));
    fixture.reopen();
    assert_eq!(fixture.volumes.inspect("data").unwrap(), made);
    assert_eq!(fs::read_to_string(fixture.volumes.path("data").join("file")).unwrap(), "12345");
    fixture.volumes.remove("data").unwrap();
    let error = fixture.volumes.remove("data").unwrap_err();
    assert_eq!(error.to_string(), "get data: no such volume");
    assert_eq!(fs::read_dir(fixture.root.join("volumes")).unwrap().count(), 0);
}

#[test]
fn what_an_interrupted_removal_left_goes_and_copied_data_stays() {
    let mut fixture = Fixture::new();
    fs::create_dir_all(fixture.root.join("volumes/.removing-ab/_data/x")).unwrap();
    fs::create_dir_all(fixture.root.join("volumes/old/_data")).unwrap();
    fs::write(fixture.root.join("volumes/old/_data/x"), "y").unwrap();
    fixture.reopen();
    let names: Vec<_> = fixture.volumes.list().iter().map(|volume| volume.name.clone()).collect();
    assert_eq!(names, ["old"]);
    assert!(!fixture.root.join("volumes/.removing-ab").exists());
}

#[test]
fn a_subpath_cannot_leave_the_volume() {
    let fixture = Fixture::new();
    fixture.volumes.create(&wish("data", &[])).unwrap();
    let content = fixture.volumes.path("data");
    fs::create_dir(content.join("inner")).unwrap();
    symlink("/", content.join("out")).unwrap();
    assert!(fixture.volumes.open_content("data", "inner").is_ok());
    for path in ["out/etc", "../../../etc"] {
        assert!(matches!(fixture.volumes.open_content("data", path), Err(VolumeError::Escapes { .. })), "{path}");
    }
    assert!(matches!(fixture.volumes.open_content("data", "missing"), Err(VolumeError::Subpath { .. })));
}

#[test]
fn a_new_volume_takes_over_what_the_image_has() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let image = fixture.root.join("image");
    fs::create_dir_all(image.join("srv/data/sub")).unwrap();
    symlink("/srv/data", image.join("link")).unwrap();
    fs::write(image.join("srv/data/sub/tool"), "#!").unwrap();
    fs::set_permissions(image.join("srv/data/sub/tool"), PermissionsExt::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(image.join("srv/data"), Some(70), Some(71)).unwrap();
    fs::hard_link(image.join("srv/data/sub/tool"), image.join("srv/data/twin")).unwrap();
    symlink("sub/tool", image.join("srv/data/run")).unwrap();
    let root = OwnedFd::from(fs::File::open(&image).unwrap());
    fixture.volumes.create(&wish("data", &[])).unwrap();
    // The path is resolved in the image: its link does not lead to the host's /srv/data.
    assert!(fixture.volumes.fill("data", "", root.as_fd(), Path::new("/link")).unwrap());
    let content = fixture.volumes.path("data");
    let tool = fs::metadata(content.join("sub/tool")).unwrap();
    assert_eq!((tool.mode() & 0o7777, tool.nlink(), tool.len()), (0o4711, 2, 2));
    assert_eq!(fs::read_link(content.join("run")).unwrap().to_str(), Some("sub/tool"));
    let top = fs::metadata(&content).unwrap();
    assert_eq!((top.uid(), top.gid()), (70, 71));
    // Only an empty volume is filled; a place that the image does not have fills nothing.
    assert!(!fixture.volumes.fill("data", "", root.as_fd(), Path::new("/srv")).unwrap());
    fixture.volumes.create(&wish("other", &[])).unwrap();
    assert!(!fixture.volumes.fill("other", "", root.as_fd(), Path::new("/nothing")).unwrap());
}

#[test]
fn options_are_mounted_when_used() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let host = fixture.root.join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("x"), "y").unwrap();
    let device = host.display().to_string();
    fixture.volumes.create(&wish("bound", &[("type", "none"), ("o", "bind,ro"), ("device", &device)])).unwrap();
    let bound = fixture.volumes.open_content("bound", "").unwrap();
    assert_eq!(fs::read_to_string(path_of(&bound).join("x")).unwrap(), "y");
    assert!(fs::write(path_of(&bound).join("x"), "z").is_err());

    fixture.volumes.create(&wish("memory", &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")])).unwrap();
    let one = fixture.volumes.open_content("memory", "").unwrap();
    let two = fixture.volumes.open_content("memory", "").unwrap();
    fs::write(path_of(&one).join("x"), "shared").unwrap();
    assert_eq!(fs::read_to_string(path_of(&two).join("x")).unwrap(), "shared");
    assert!(fs::write(path_of(&one).join("big"), vec![0; 2 << 20]).is_err(), "the size is kept");
    drop((one, two));
    fixture.volumes.release("memory");
    let fresh = fixture.volumes.open_content("memory", "").unwrap();
    assert_eq!(fs::read_dir(path_of(&fresh)).unwrap().count(), 0);
}

#[test]
fn a_snapshot_is_whole_and_a_restore_happens_at_once() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.volumes.create(&wish("data", &[])).unwrap();
    let content = fixture.volumes.path("data");
    fs::write(content.join("file"), "one").unwrap();
    std::os::unix::fs::chown(content.join("file"), Some(7), Some(8)).unwrap();
    fs::hard_link(content.join("file"), content.join("twin")).unwrap();
    let hole = fs::File::create(content.join("hole")).unwrap();
    hole.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hole, b"end", (64 << 20) - 3).unwrap();
    let copied = fixture.volumes.snapshot_create("data", "first").unwrap();
    assert_eq!(copied.bytes, 3 + (64 << 20));
    fs::write(content.join("file"), "two").unwrap();
    fs::write(content.join("more"), "").unwrap();
    let error = fixture.volumes.snapshot_create("data", "first").unwrap_err();
    assert_eq!(error.to_string(), "volume data has a snapshot first already");

    // What a crash leaves of a copy goes with the next start; the snapshot stays.
    fs::create_dir_all(fixture.root.join("volumes/data/snapshots/.making-ab/_data/x")).unwrap();
    fs::create_dir_all(fixture.root.join("volumes/data/.making-cd")).unwrap();
    fixture.reopen();
    assert_eq!(fs::read_dir(fixture.root.join("volumes/data/snapshots")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(fixture.root.join("volumes/data")).unwrap().count(), 2);

    fixture.volumes.snapshot_restore("data", "first").unwrap();
    let file = fs::metadata(content.join("file")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.nlink()), (7, 8, 2));
    assert_eq!(fs::read_to_string(content.join("twin")).unwrap(), "one");
    assert!(!content.join("more").exists());
    let hole = fs::metadata(content.join("hole")).unwrap();
    assert!(hole.len() == 64 << 20 && hole.blocks() < 1024, "holes stay holes: {} blocks", hole.blocks());
    assert_eq!(fs::read_dir(fixture.root.join("volumes/data")).unwrap().count(), 2);
    fixture.volumes.snapshot_remove("data", "first").unwrap();
    assert!(matches!(fixture.volumes.snapshot_restore("data", "first"), Err(VolumeError::NoSuchSnapshot { .. })));
    assert!(matches!(fixture.volumes.snapshot_restore("data", ".."), Err(VolumeError::NoSuchSnapshot { .. })));
}

#[test]
fn an_archive_that_is_none_leaves_the_volume_as_it_was() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    fixture.volumes.create(&wish("data", &[])).unwrap();
    let content = fixture.volumes.path("data");
    fs::write(content.join("file"), "one").unwrap();
    let mut archive = Vec::new();
    fixture.volumes.export("data", None, &mut archive).unwrap();
    assert!(matches!(fixture.volumes.import("data", false, &archive[..]), Err(VolumeError::NotEmpty { .. })));
    assert!(fixture.volumes.import("data", true, &archive[..700]).is_err());
    assert_eq!(fs::read_to_string(content.join("file")).unwrap(), "one");
    fs::write(content.join("other"), "").unwrap();
    fixture.volumes.import("data", true, &archive[..]).unwrap();
    assert!(content.join("file").exists() && !content.join("other").exists());
    // Data that is somewhere else is not replaced.
    fixture.volumes.create(&wish("memory", &[("type", "tmpfs"), ("device", "tmpfs")])).unwrap();
    assert!(matches!(fixture.volumes.import("memory", true, &archive[..]), Err(VolumeError::Elsewhere { .. })));
}
