//! `hako runtime` beside runc, where the machine has it: a bundle that runs `true`, and an exec in one that sleeps.
//!
//! Both are called as containerd and Podman call them, by turns, with the same bundle, and remember containers in memory,
//! as in `/run` of a usual host.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use hako_testkit::program;
use serde_json::{Value, json};

use crate::{
    measure::{Samples, Table},
    subject::Subject,
};

pub(crate) fn runtime(table: &mut Table, _: &Subject, _: Option<&Subject>, rounds: usize, _: usize) {
    let name = format!("hako-promise-runtime-{}", std::process::id());
    let folder = std::env::temp_dir().join(&name);
    let states = Path::new("/dev/shm").join(&name);
    let bundles = Bundles::new(&folder);
    let own = Runtime { name: "hako", call: vec![own_binary(), "runtime".into()], state: states.join("hako") };
    let runc = find("runc").map(|path| Runtime { name: "runc", call: vec![path.into()], state: states.join("runc") });
    if runc.is_none() {
        eprintln!("no runc on this machine: only hako's own figures");
    }
    fs::create_dir_all(&states).expect("a folder in memory");
    let runtimes: Vec<&Runtime> = [Some(&own), runc.as_ref()].into_iter().flatten().collect();
    let mut run: Vec<Samples> = runtimes.iter().map(|_| Samples::default()).collect();
    let mut exec: Vec<Samples> = runtimes.iter().map(|_| Samples::default()).collect();
    for runtime in &runtimes {
        runtime.call(&["run", "--detach", "--bundle", &bundles.sleeps, "bench-sleeps"]);
    }
    for round in 0..rounds {
        for (at, runtime) in runtimes.iter().enumerate() {
            let id = format!("bench-{round}");
            run[at].time(|| runtime.call(&["run", "--bundle", &bundles.ends, &id]));
            exec[at].time(|| runtime.call(&["exec", "bench-sleeps", "/bin/true"]));
        }
    }
    for runtime in &runtimes {
        runtime.call(&["delete", "--force", "bench-sleeps"]);
    }
    table.times("runtime: run of a bundle with true", "runc ≥ 5×", &run[0], run.get(1));
    table.times("runtime: exec of true", "runc ≥ 3×", &exec[0], exec.get(1));
    for left in [&folder, &states] {
        let _ = fs::remove_dir_all(left);
    }
}

/// A runtime's command line, and where it keeps its state.
struct Runtime {
    name: &'static str,
    call: Vec<OsString>,
    state: PathBuf,
}

impl Runtime {
    fn call(&self, arguments: &[&str]) {
        let mut command = program(&self.call[0]);
        command.args(&self.call[1..]).arg("--root").arg(&self.state).args(arguments);
        // A container that runs on keeps its output open: nobody may wait for its end.
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "{} {}", self.name, arguments.join(" "));
    }
}

/// Two bundles with one root.
struct Bundles {
    ends: String,
    sleeps: String,
}

impl Bundles {
    fn new(folder: &Path) -> Self {
        let root = folder.join("root");
        fs::create_dir_all(&root).expect("a folder");
        let tar = hako_testkit::image::tar("busybox").expect("cargo x images busybox");
        let unpacked = program("tar").arg("-xf").arg(tar).arg("-C").arg(&root).status();
        assert!(unpacked.is_ok_and(|status| status.success()), "busybox.tar is unpacked");
        let make = |name: &str, arguments: Value| {
            let bundle = folder.join(name);
            fs::create_dir_all(&bundle).expect("a folder");
            let made = program(own_binary()).args(["runtime", "spec"]).current_dir(&bundle).status();
            assert!(made.is_ok_and(|status| status.success()), "a configuration");
            let file = bundle.join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("config.json")).expect("JSON");
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = arguments;
            config["root"] = json!({"path": root, "readonly": true});
            fs::write(&file, config.to_string()).expect("config.json");
            bundle.display().to_string()
        };
        Self { ends: make("ends", json!(["/bin/true"])), sleeps: make("sleeps", json!(["/bin/sleep", "100000"])) }
    }
}

pub(crate) fn own_binary() -> OsString {
    std::env::var_os("HAKO_TEST_BINARY").expect("cargo x bench says which binary")
}

pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
