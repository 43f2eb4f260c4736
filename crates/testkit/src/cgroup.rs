//! A control group of the host's own in every hierarchy, and the sweep that removes it, come what may.
//!
//! On v1, directories outlive the processes in them and the namespaces that were rooted there. The name of a group
//! carries the process id of the test program: whatever is found of a program that is dead is swept by the next one.

use std::{
    fs,
    path::{Path, PathBuf},
};

const PREFIX: &str = "hako-test-";

/// One mounted hierarchy, as /proc/self/mounts tells it.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub place: PathBuf,
    /// `cgroup` or `cgroup2`.
    pub kind: String,
    /// What v1 was mounted with: the controllers, or `name=systemd`.
    pub options: String,
}

/// Every mounted hierarchy, v1, hybrid or v2.
pub fn hierarchies() -> Vec<Hierarchy> {
    const GENERIC: [&str; 7] = ["rw", "ro", "nosuid", "nodev", "noexec", "relatime", "nsdelegate"];
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, place, kind @ ("cgroup" | "cgroup2"), options, ..] = fields[..] else { continue };
        let options: Vec<&str> = options.split(',').filter(|option| !GENERIC.contains(option)).collect();
        found.push(Hierarchy { place: place.into(), kind: kind.to_owned(), options: options.join(",") });
    }
    found
}

/// A group of that name in every hierarchy; removed, with all that lives in it, when dropped.
#[derive(Debug)]
pub struct Group {
    name: String,
}

impl Group {
    /// Makes the group; processes may join it at once.
    pub(crate) fn create(serial: usize) -> Self {
        sweep_the_dead();
        let group = Self { name: format!("{PREFIX}{}-{serial}", std::process::id()) };
        for hierarchy in hierarchies() {
            let folder = hierarchy.place.join(&group.name);
            fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
            prepare(&hierarchy.place, &folder);
        }
        group
    }

    /// The files a process is written to so that it joins, one for each hierarchy.
    pub(crate) fn joins(&self) -> Vec<PathBuf> {
        hierarchies().iter().map(|hierarchy| hierarchy.place.join(&self.name).join("cgroup.procs")).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for hierarchy in hierarchies() {
            remove(&hierarchy.place.join(&self.name));
        }
    }
}

/// On v1 a cpuset must be told what it may use before anybody joins; on v2 controllers are handed down.
fn prepare(parent: &Path, folder: &Path) {
    // A machine without one of these files has nothing to prepare.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read_to_string(parent.join(file)) {
            let _ = fs::write(folder.join(file), value.trim());
        }
    }
    let _ = fs::write(folder.join("cgroup.clone_children"), "1");
    let available = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace() {
        let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Removes groups that test programs left which are dead: killed ones could not.
fn sweep_the_dead() {
    for hierarchy in hierarchies() {
        let Ok(entries) = fs::read_dir(&hierarchy.place) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(owner) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
            if !Path::new("/proc").join(owner).exists() {
                remove(&entry.path());
            }
        }
    }
}

/// Kills what is inside and removes the folders, deepest first, until the kernel has let go of them.
fn remove(folder: &Path) {
    let gone = hako_base::backoff::wait_for(std::time::Duration::from_secs(5), || {
        remove_once(folder);
        (!folder.exists()).then_some(())
    });
    if gone.is_none() {
        eprintln!(
            "cannot remove {}; its processes: {:?}",
            folder.display(),
            fs::read_to_string(folder.join("cgroup.procs"))
        );
    }
}

fn remove_once(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_once(&entry.path());
        }
    }
    // A frozen group ignores signals.
    let _ = fs::write(folder.join("freezer.state"), "THAWED");
    let _ = fs::write(folder.join("cgroup.freeze"), "0");
    let inside = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in inside.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let _ = fs::remove_dir(folder);
}
