//! Images: loading, pushing and pulling one of eight layers and a gigabyte, and what memory the engine takes for it.
//!
//! The files are this machine's own below /usr, since what compresses like nothing real measures nothing. Each daemon has
//! a registry (hako's) beside it, in its own network; both pull from one and the same folder.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use hako_testkit::{program, wait};

use crate::{
    measure::{Samples, Table},
    memory,
    network::{daemon, inside, listens},
    subject::Subject,
};

const LAYERS: usize = 8;
const LAYER_BYTES: u64 = 128 << 20;
const ROUNDS: usize = 3;
const PORT: u16 = 5055;
const NAME: &str = "localhost:5055/bench/image:1";

pub(crate) fn image(table: &mut Table, own: &Subject, peer: Option<&Subject>, _: usize, _: usize) {
    let folder = Folder::new();
    let archive = archive(&folder.0);
    let subjects: Vec<&Subject> = [Some(own), peer].into_iter().flatten().collect();
    let mut figures: Vec<Figures> = subjects.iter().map(|_| Figures::default()).collect();
    for round in 0..ROUNDS {
        for (at, subject) in subjects.iter().enumerate() {
            eprintln!("load and push, round {} of {ROUNDS}, {}", round + 1, subject.name);
            // What is pulled later is what the peer has made, which is the gzip that everybody has.
            let keep = (round == 0 && at + 1 == subjects.len()).then(|| folder.0.join("pulled"));
            load_and_push(subject, &archive, &folder.0, keep.as_deref(), &mut figures[at]);
        }
    }
    for round in 0..ROUNDS {
        for (at, subject) in subjects.iter().enumerate() {
            eprintln!("pull, round {} of {ROUNDS}, {}", round + 1, subject.name);
            pull(subject, &folder.0.join("pulled"), &mut figures[at]);
        }
    }
    for subject in subjects {
        subject.try_run(&["rmi", "-f", NAME]);
    }
    show(table, &figures);
}

/// What one daemon took.
#[derive(Default)]
struct Figures {
    load: Samples,
    first_push: Samples,
    other_push: Samples,
    same_push: Samples,
    pull: Samples,
    /// Megabytes at the highest, of any round.
    load_memory: f64,
    push_memory: f64,
    pull_memory: f64,
}

fn show(table: &mut Table, figures: &[Figures]) {
    let (own, peer) = (&figures[0], figures.get(1));
    let megabytes = (LAYERS as u64 * LAYER_BYTES) >> 20;
    let mut times = |what: &str, budget: &str, of: fn(&Figures) -> &Samples| {
        table.times(&format!("{what}, {megabytes} MiB in {LAYERS} layers"), budget, of(own), peer.map(of));
    };
    times("load", "≥ 3×", |figures| &figures.load);
    times("push of what was loaded", "≥ 2×", |figures| &figures.first_push);
    times("push to another registry", "≥ 2×", |figures| &figures.other_push);
    times("push of what is there", "", |figures| &figures.same_push);
    times("pull and unpack", "≥ 3×", |figures| &figures.pull);
    let mut memory = |what: &str, of: fn(&Figures) -> f64| {
        table.amount(what, "≤ 100 MB", "MB", of(own), peer.map(of));
    };
    memory("most memory during load", |figures| figures.load_memory);
    memory("most memory during push", |figures| figures.push_memory);
    memory("most memory during pull", |figures| figures.pull_memory);
}

fn load_and_push(subject: &Subject, archive: &Path, folder: &Path, keep: Option<&Path>, figures: &mut Figures) {
    subject.try_run(&["rmi", "-f", NAME]);
    settle();
    memory::forget_peaks(&subject.processes());
    figures.load.time(|| subject.run(&["load", "-q", "-i", &archive.display().to_string()]));
    figures.load_memory = figures.load_memory.max(peak_megabytes(subject));
    for samples in [&mut figures.first_push, &mut figures.other_push] {
        let root = folder.join("pushed");
        let registry = Registry::start(subject, &root);
        settle();
        memory::forget_peaks(&subject.processes());
        samples.time(|| subject.run(&["push", "-q", NAME]));
        figures.push_memory = figures.push_memory.max(peak_megabytes(subject));
        if let Some(keep) = keep.filter(|keep| !keep.exists()) {
            figures.same_push.time(|| subject.run(&["push", "-q", NAME]));
            drop(registry);
            fs::rename(&root, keep).expect("both are in one folder");
        } else {
            figures.same_push.time(|| subject.run(&["push", "-q", NAME]));
            drop(registry);
            fs::remove_dir_all(&root).expect("the registry's folder can be removed");
        }
    }
}

fn pull(subject: &Subject, root: &Path, figures: &mut Figures) {
    let _registry = Registry::start(subject, root);
    subject.try_run(&["rmi", "-f", NAME]);
    settle();
    memory::forget_peaks(&subject.processes());
    figures.pull.time(|| subject.run(&["pull", "-q", NAME]));
    figures.pull_memory = figures.pull_memory.max(peak_megabytes(subject));
}

fn peak_megabytes(subject: &Subject) -> f64 {
    memory::peak_kb(&subject.processes()) / 1024.0
}

// What one has written must not be on the way to the disk while the other is measured.
fn settle() {
    let _ = program("sync").status();
}

/// hako's registry server in the network of a daemon.
struct Registry(Child);

impl Registry {
    fn start(subject: &Subject, root: &Path) -> Self {
        let hako = std::env::var("HAKO_TEST_BINARY").expect("cargo x bench says which hako to measure");
        let pid = daemon(subject);
        let mut command = inside(pid, &hako);
        let listen = format!("127.0.0.1:{PORT}");
        command.args(["registry", "serve", "--listen", &listen, "--root", &root.display().to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the registry runs");
        wait::until("the registry to listen", || listens(pid, PORT), |listens| *listens);
        Self(child)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A folder on a disk that goes with the measurement.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("hako-bench-images-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for temporary files can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An archive as `docker save` writes it: a tar of tars, a configuration, a manifest.
fn archive(folder: &Path) -> PathBuf {
    eprintln!("packing {LAYERS} layers");
    let files = files();
    let mut next = 0;
    let mut diff_ids = Vec::new();
    for layer in 0..LAYERS {
        let mut list = fs::File::create(folder.join("list")).expect("a list can be written");
        let mut bytes = 0;
        while bytes < LAYER_BYTES {
            // A machine with less is taken again from its first file, in another folder.
            let (path, size) = &files[next % files.len()];
            writeln!(list, "{path}").expect("a list can be written");
            bytes += size;
            next += 1;
        }
        let tar = folder.join(format!("{layer}.tar"));
        let mut command = program("tar");
        command.args(["--create", "--ignore-failed-read", "--hard-dereference", "--file"]).arg(&tar);
        command.arg(format!("--transform=s,^,layer{layer}/,")).args(["--directory=/", "--files-from"]);
        assert!(command.arg(folder.join("list")).stderr(Stdio::null()).status().is_ok_and(|status| status.success()));
        let sum = program("sha256sum").arg(&tar).output().expect("sha256sum runs").stdout;
        diff_ids.push(format!("\"sha256:{}\"", String::from_utf8_lossy(&sum[..64])));
    }
    let layers: Vec<String> = (0..LAYERS).map(|layer| format!("\"{layer}.tar\"")).collect();
    let config = format!(
        "{{\"architecture\":\"{}\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}",
        architecture(),
        diff_ids.join(",")
    );
    let manifest =
        format!("[{{\"Config\":\"config.json\",\"RepoTags\":[\"{NAME}\"],\"Layers\":[{}]}}]", layers.join(","));
    fs::write(folder.join("config.json"), config).expect("a file can be written");
    fs::write(folder.join("manifest.json"), manifest).expect("a file can be written");
    let archive = folder.join("archive.tar");
    let mut command = program("tar");
    command.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(folder);
    command.args(["manifest.json", "config.json"]).args((0..LAYERS).map(|layer| format!("{layer}.tar")));
    assert!(command.status().is_ok_and(|status| status.success()), "the layers cannot be packed");
    for layer in 0..LAYERS {
        let _ = fs::remove_file(folder.join(format!("{layer}.tar")));
    }
    archive
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

// This machine's files below /usr, without the slash at their beginning, and their sizes.
fn files() -> Vec<(String, u64)> {
    let mut find = program("find");
    find.args(["/usr/bin", "/usr/lib", "/usr/share", "-xdev", "-type", "f", "-size", "-64M", "-printf", "%s %p\\n"]);
    let output = find.stderr(Stdio::null()).output().expect("find runs").stdout;
    let mut files: Vec<(String, u64)> = String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| {
            let (size, path) = line.split_once(' ')?;
            Some((path.trim_start_matches('/').to_owned(), size.parse().ok()?))
        })
        .collect();
    files.sort();
    assert!(files.len() > 100, "there are no files below /usr");
    files
}
