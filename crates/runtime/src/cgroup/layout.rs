//! Which hierarchies the host has: found in the mount table once, since hosts do not change it while they run.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
    sync::OnceLock,
};

/// The hierarchies of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Where the v2 tree is mounted.
    pub unified: Option<PathBuf>,
    /// The controllers that the v2 tree has (on a hybrid host few or none).
    pub unified_controllers: Vec<String>,
    /// The v1 hierarchies.
    pub hierarchies: Vec<Hierarchy>,
}

/// One v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// The last part of its mount point, which is also its name in a container: `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// `cpu`, `cpuacct`; `name=systemd` for one without controllers.
    pub controllers: Vec<String>,
    pub path: PathBuf,
}

impl Hierarchy {
    /// Whether a controller is attached to it.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|one| one == controller)
    }
}

impl Layout {
    /// That of this host.
    pub fn of_host() -> &'static Self {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        LAYOUT.get_or_init(|| {
            let mut layout = parse(&mounts().unwrap_or_default());
            if let Some(top) = &layout.unified {
                let text = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
                layout.unified_controllers = text.split_whitespace().map(str::to_owned).collect();
            }
            layout
        })
    }

    /// Docker's `CgroupVersion`: 2 only where nothing of v1 is mounted.
    pub fn version(&self) -> u8 {
        if self.hierarchies.is_empty() { 2 } else { 1 }
    }
}

// With room for a usual list, so that it is not read in a dozen pieces.
fn mounts() -> io::Result<String> {
    let mut text = String::with_capacity(16 << 10);
    fs::File::open("/proc/self/mountinfo")?.read_to_string(&mut text)?;
    Ok(text)
}

const KNOWN: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

// Lines of mountinfo: `36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory`.
pub(crate) fn parse(mountinfo: &str) -> Layout {
    let mut layout = Layout::default();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4) else { continue };
        let path = PathBuf::from(point);
        let mut fields = filesystem.split(' ');
        match (fields.next(), fields.nth(1)) {
            (Some("cgroup2"), _) if layout.unified.is_none() => layout.unified = Some(path),
            (Some("cgroup"), Some(options)) => {
                let is_controller = |option: &&str| KNOWN.contains(option) || option.starts_with("name=");
                let controllers: Vec<String> = options.split(',').filter(is_controller).map(str::to_owned).collect();
                let seen = layout.hierarchies.iter().any(|one| one.controllers == controllers);
                if let (false, Some(name)) = (seen || controllers.is_empty(), point.rsplit('/').next()) {
                    layout.hierarchies.push(Hierarchy { name: name.to_owned(), controllers, path });
                }
            }
            _ => {}
        }
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_has_both() {
        let layout = parse(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
             90 31 0:29 / /elsewhere rw,relatime - cgroup cgroup rw,cpu,cpuacct\n",
        );
        assert_eq!(layout.unified, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let names: Vec<&str> = layout.hierarchies.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["cpu,cpuacct", "systemd"]);
        assert!(layout.hierarchies[0].has("cpuacct") && layout.hierarchies[1].has("name=systemd"));
        assert_eq!(layout.version(), 1);
    }

    #[test]
    fn a_v2_host_has_one_tree() {
        let layout = parse("31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!((layout.unified, layout.hierarchies.len()), (Some(PathBuf::from("/sys/fs/cgroup")), 0));
    }
}
