//! What the tests of this crate stand on: a store in a directory of its own, and tars written as text.
//!
//! One line an entry: `d PATH MODE`, `f PATH CONTENT`, `l PATH TARGET` (symbolic), `h PATH TARGET` (hard),
//! `c PATH MAJOR MINOR`, `p PATH` (fifo). Paths go into the archive as they stand, hostile ones too.

use std::{
    fs,
    io::Read,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hako_image::{
    ImportOptions, Store,
    tar::{Entry, Kind, Reader, Time, Writer},
};
use hako_model::Digest;

/// A store that goes with the test.
pub(crate) struct Fixture {
    pub(crate) root: PathBuf,
    pub(crate) store: Store,
    pub(crate) database: Arc<hako_base::database::Database>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = std::env::temp_dir().join(format!("hako-image-{}", hako_base::random::hex(8)));
        fs::create_dir(&root).unwrap();
        let database = Arc::new(hako_base::database::Database::create(root.join("state.redb")).unwrap());
        let store = Store::open(&root, database.clone()).unwrap();
        Self { root, store, database }
    }

    /// As after a restart of the daemon.
    pub(crate) fn reopen(&mut self) {
        self.store = Store::open(&self.root, self.database.clone()).unwrap();
    }

    pub(crate) fn import(&self, name: &str, tar: &[u8]) -> Digest {
        let options = ImportOptions { reference: Some(name.parse().unwrap()), ..ImportOptions::default() };
        self.store.import(tar, &options, &mut |_| {}).unwrap()
    }

    /// How many layers, blobs and half-made things there are on disk, when what is in the trash has gone.
    pub(crate) fn leftovers(&self) -> String {
        let empty = || (self.count("snapshots/trash") == 0).then_some(());
        let _ = hako_base::backoff::wait_for(Duration::from_secs(10), empty);
        self.leftovers_now()
    }

    fn count(&self, path: &str) -> usize {
        fs::read_dir(self.root.join(path)).map_or(0, Iterator::count)
    }

    pub(crate) fn leftovers_now(&self) -> String {
        let count = |path: &str| self.count(path);
        format!(
            "layers {} blobs {} staged {} {} trash {}",
            count("snapshots") - 4,
            count("content/sha256"),
            count("content/staging"),
            count("snapshots/staging"),
            count("snapshots/trash")
        )
    }

    /// The tar of the only layer (the top one) of an image, as it is saved.
    pub(crate) fn saved_layer(&self, id: Digest) -> Vec<u8> {
        let mut archive = Vec::new();
        self.store.save(&[id.to_string()], &mut archive).unwrap();
        let image = self.store.image(id).unwrap();
        let wanted = format!("blobs/sha256/{}", image.diff_ids.last().unwrap().hex());
        let mut reader = Reader::new(&archive[..]);
        while let Some(entry) = reader.next_entry().unwrap() {
            if entry.path == wanted.as_bytes() {
                let mut layer = Vec::new();
                reader.read_to_end(&mut layer).unwrap();
                return layer;
            }
        }
        panic!("the archive has no {wanted}");
    }

    /// The files of the only layer (the top one) of an image.
    pub(crate) fn layer(&self, id: Digest) -> PathBuf {
        let chain = self.store.image(id).unwrap().chain_id.unwrap();
        self.root.join("snapshots").join(chain.hex()).join("fs")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Whether the tests may make devices and overlays; says why not.
pub(crate) fn may_run() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root");
    }
    is_root
}

pub(crate) fn tar(lines: &str) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (kind, path, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
        let kind = match kind {
            "d" => Kind::Directory,
            "f" => Kind::File,
            "l" => Kind::Symlink,
            "h" => Kind::HardLink,
            "c" => Kind::Character,
            "p" => Kind::Fifo,
            other => panic!("unknown kind {other}"),
        };
        let mut entry =
            Entry { mode: 0o644, modified: Time { seconds: 1_000_000, nanoseconds: 0 }, ..Entry::new(path, kind) };
        let mut payload = "";
        match kind {
            Kind::Directory => entry.mode = if rest.is_empty() { 0o755 } else { u32::from_str_radix(rest, 8).unwrap() },
            Kind::Symlink | Kind::HardLink => entry.link = rest.as_bytes().to_vec(),
            Kind::Character => {
                let (major, minor) = rest.split_once(' ').unwrap();
                entry.device = (major.parse().unwrap(), minor.parse().unwrap());
            }
            _ => payload = rest,
        }
        writer.whole(&entry, payload.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

/// A directory as text: one line a name, sorted; overlayfs's marks are shown.
pub(crate) fn listing(root: &Path) -> String {
    let mut lines = Vec::new();
    list(root, root, &mut lines);
    lines.sort();
    lines.join("\n")
}

fn list(root: &Path, directory: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display();
        let kind = metadata.file_type();
        lines.push(if kind.is_dir() {
            let mut value = [0_u8; 4];
            let opaque = rustix::fs::getxattr(&path, "trusted.overlay.opaque", &mut value[..]).is_ok();
            format!("{name}/ {:o}{}", metadata.mode() & 0o7777, if opaque { " opaque" } else { "" })
        } else if kind.is_symlink() {
            format!("{name} -> {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_char_device() && metadata.rdev() == 0 {
            format!("{name} whiteout")
        } else if kind.is_char_device() {
            format!("{name} device {}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()))
        } else if kind.is_fifo() {
            format!("{name} fifo")
        } else {
            format!("{name} {:?}", fs::read_to_string(&path).unwrap())
        });
        if kind.is_dir() {
            list(root, &path, lines);
        }
    }
}
