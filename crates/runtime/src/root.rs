//! The container's root: what is mounted, which devices there are, what is hidden.
//!
//! All of it is done by descriptor, in the child's own mount namespace: the root is attached over the old one
//! (whose paths keep working for the child until `enter_root`), targets are walked inside it, and kernel files are
//! known by their file system or device number before they are trusted.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use hako_model::Propagation;
use hako_sys::{
    mount::{self, Filesystem, MountAttributes, Spread},
    pty::{self, Pair},
    walk,
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::{
    child::{Job, descriptor, join_late},
    copy::copy_up,
    error::{At, LaunchError, Step},
    extra::PID_PLACE,
    hook,
    launch::Stdio,
    message,
    plan::{Device, DeviceKind, Mount, MountFlags, MountSource, TravelKind},
};

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const PROC_MAGIC: u64 = 0x9fa0;

/// Builds the root and makes it the process's own. Returns the terminal, where one was asked for.
pub(crate) fn build(job: &Job<'_>) -> Result<Option<Pair>, LaunchError> {
    let plan = job.plan;
    // Modes are given exactly; the program's own mask is set at the end.
    rustix::process::umask(Mode::empty());
    let spread = match spread_of(plan.root.propagation) {
        Spread::Private => Spread::Private,
        _ => Spread::Slave,
    };
    mount::set_propagation_of_all(spread).at(Step::Root, || "propagation".to_owned())?;
    let null = host_null()?;
    let root = descriptor(job.descriptors, plan.root.mount)?;
    let mut builder = Builder { job, root, proc: None, devpts: None, dev: None, read_only_last: Vec::new() };
    builder.attach_root()?;
    // What shows the network or the cgroups needs them; all before it is done while others make them, and all that it does
    // not concern.
    let early = plan.mounts.iter().take_while(|entry| entry.source.is_anywhere_the_same()).count();
    let (early, late) = plan.mounts.split_at(early);
    let is_early = |path: &str| plan.extra.is_late() && plan.sysctls.is_empty() && is_apart(path, late);
    for entry in early {
        builder.mount(entry)?;
    }
    if is_early("/dev") {
        builder.devices()?;
    }
    builder.read_only_paths(is_early)?;
    builder.masked_paths(null.as_fd(), is_early)?;
    join_late(job)?;
    for entry in late {
        builder.mount(entry)?;
    }
    if !is_early("/dev") {
        builder.devices()?;
    }
    let terminal = builder.terminal()?;
    builder.hooks()?;
    builder.sysctls()?;
    builder.read_only_paths(|path| !is_early(path))?;
    builder.masked_paths(null.as_fd(), |path| !is_early(path))?;
    let read_only = MountAttributes { read_only: true, ..MountAttributes::default() };
    for mount in &builder.read_only_last {
        mount::set_attributes(mount.as_fd(), read_only).at(Step::Mount, || "read-only".to_owned())?;
    }
    if plan.root.read_only {
        mount::set_attributes(builder.root, read_only).at(Step::Root, || "read-only".to_owned())?;
    }
    mount::enter_root(builder.root).at(Step::PivotRoot, String::new)?;
    Ok(terminal)
}

// Whether mounts that are yet to come are neither below it nor above.
fn is_apart(path: &str, mounts: &[Mount]) -> bool {
    let path = Path::new(path);
    mounts.iter().all(|mount| !path.starts_with(&mount.target) && !Path::new(&mount.target).starts_with(path))
}

fn spread_of(propagation: Propagation) -> Spread {
    match propagation {
        Propagation::RPrivate | Propagation::Private => Spread::Private,
        Propagation::RSlave | Propagation::Slave => Spread::Slave,
        Propagation::RShared | Propagation::Shared => Spread::Shared,
    }
}

fn spread_of_travel(how: TravelKind) -> Spread {
    match how {
        TravelKind::Private => Spread::Private,
        TravelKind::Slave => Spread::Slave,
        TravelKind::Shared => Spread::Shared,
        TravelKind::Unbindable => Spread::Unbindable,
    }
}

// What is at a device's path already must be that device.
fn is_device(directory: BorrowedFd<'_>, name: &std::ffi::OsStr, kind: FileType, number: u64) -> io::Result<()> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_number = kind == FileType::Fifo || stat.st_rdev == number;
    if FileType::from_raw_mode(stat.st_mode) == kind && is_number {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "another file is there"))
}

// The host's null device, from before the container's root is there, and known to be it (CVE-2025-31133: a container
// that shares a mount may have put a symlink in its place).
fn host_null() -> Result<OwnedFd, LaunchError> {
    let step = || "/dev/null".to_owned();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty()).at(Step::MaskPath, step)?;
    let stat = rustix::fs::fstat(&null).at(Step::MaskPath, step)?;
    let is_character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_character || stat.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(LaunchError::in_words(Step::MaskPath, "/dev/null", "the host's is not the null device"));
    }
    Ok(null)
}

struct Builder<'a> {
    job: &'a Job<'a>,
    root: BorrowedFd<'a>,
    /// The container's own procfs and devpts, from the moment they are mounted.
    proc: Option<OwnedFd>,
    devpts: Option<OwnedFd>,
    /// The container's own `/dev`, a fresh tmpfs to be filled; somebody else's is left as it is.
    dev: Option<OwnedFd>,
    /// What is read-only only when everything is in its place: other mounts may need directories in it.
    read_only_last: Vec<OwnedFd>,
}

impl Builder<'_> {
    fn attach_root(&self) -> Result<(), LaunchError> {
        let extra = &self.job.plan.extra;
        let place = extra.root_place.as_deref().unwrap_or(Path::new("/"));
        let old = mount::open_directory(place).at(Step::Root, || place.display().to_string())?;
        mount::attach(self.root, old.as_fd()).at(Step::Root, || "attach".to_owned())?;
        let asked = spread_of(self.job.plan.root.propagation);
        let spread = if extra.root_unbindable { Spread::Unbindable } else { asked };
        let attributes = MountAttributes { recursive: true, propagation: Some(spread), ..MountAttributes::default() };
        mount::set_attributes(self.root, attributes).at(Step::Root, || "propagation".to_owned())
    }

    fn mount(&mut self, entry: &Mount) -> Result<(), LaunchError> {
        let target = || entry.target.clone();
        if let MountSource::Remount { set, clear } = entry.source {
            return self.remount(entry, set, clear).at(Step::Mount, target);
        }
        self.refuse_link(entry)?;
        let source = self.source(entry).at(Step::Mount, target)?;
        let place = self.place(entry, source.as_fd()).at(Step::Mount, target)?;
        self.refuse_procfs(entry, source.as_fd(), place.as_fd())?;
        if entry.flags.copy_up {
            copy_up(place.as_fd(), source.as_fd()).at(Step::Mount, target)?;
        }
        mount::attach(source.as_fd(), place.as_fd()).at(Step::Mount, target)?;
        if let Some(travel) = entry.flags.travel {
            mount::set_propagation(source.as_fd(), spread_of_travel(travel.how), travel.recursive)
                .at(Step::Mount, target)?;
        }
        if entry.flags.read_only && matches!(entry.source, MountSource::Tmpfs(_)) {
            self.read_only_last.push(source.try_clone().at(Step::Mount, target)?);
        }
        match &entry.source {
            MountSource::Cgroup => self.fill_cgroup(entry, source.as_fd())?,
            MountSource::Proc if entry.target == "/proc" => self.proc = Some(source),
            MountSource::Devpts => self.devpts = Some(source),
            MountSource::Filesystem { kind, .. } if kind == "devpts" => self.devpts = Some(source),
            MountSource::Filesystem { kind, .. } if kind == "proc" && entry.target == "/proc" => {
                self.proc = Some(source)
            }
            MountSource::Tmpfs(_) if entry.target == "/dev" => self.dev = Some(source),
            _ => {}
        }
        Ok(())
    }

    fn source(&self, entry: &Mount) -> io::Result<OwnedFd> {
        let attributes = attributes_of(entry.flags);
        match &entry.source {
            MountSource::Descriptor(index) => {
                let mount = descriptor(self.job.descriptors, *index).map_err(io::Error::other)?;
                mount::set_attributes(mount, attributes)?;
                mount.try_clone_to_owned()
            }
            MountSource::Own { path, recursive, set, clear, mapped } => {
                let source = walk::open_in_root(self.root, path, OFlags::PATH)?;
                let tree = mount::clone_tree_of(source.as_fd(), *recursive)?;
                if let Some((index, below)) = mapped {
                    let namespace = descriptor(self.job.descriptors, *index).map_err(io::Error::other)?;
                    mount::map_ids(tree.as_fd(), namespace, *below)?;
                }
                for (set, clear, below) in [(set[1], clear[1], true), (set[0], clear[0], false)] {
                    if set | clear != 0 {
                        mount::change_attributes(tree.as_fd(), set, clear, below)?;
                    }
                }
                Ok(tree)
            }
            MountSource::Proc => kernel_data("proc", attributes),
            MountSource::Sysfs => kernel_data("sysfs", attributes),
            MountSource::Mqueue => kernel_data("mqueue", attributes),
            MountSource::Devpts => devpts(attributes),
            MountSource::Tmpfs(options) => {
                let inherited = self.mode_for(entry, options);
                let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let options: Vec<_> = options.chain(inherited.as_deref().map(|mode| ("mode", mode))).collect();
                mount::tmpfs(&options, MountAttributes { read_only: false, ..attributes })
            }
            MountSource::Filesystem { kind, options } => {
                let filesystem = Filesystem::new(kind)?;
                for (name, value) in options {
                    filesystem.option(name, value.as_deref())?;
                }
                filesystem.mount(attributes)
            }
            MountSource::Remount { .. } => Err(io::ErrorKind::InvalidInput.into()),
            MountSource::Cgroup if self.job.plan.cgroup.hierarchies.is_empty() => {
                Filesystem::new("cgroup2")?.mount(attributes)
            }
            // Read-only only once it is filled.
            MountSource::Cgroup => mount::tmpfs(&[("mode", "755")], MountAttributes { read_only: false, ..attributes }),
        }
    }

    // A tmpfs of which nobody says the mode has that of the directory that it covers, as with runc; the kernel's own
    // without one.
    fn mode_for(&self, entry: &Mount, options: &[(String, String)]) -> Option<String> {
        if options.iter().any(|(name, _)| name == "mode") {
            return None;
        }
        let place = walk::open_in_root(self.root, Path::new(&entry.target), OFlags::PATH | OFlags::DIRECTORY).ok()?;
        let stat = rustix::fs::fstat(&place).ok()?;
        Some(format!("{:o}", stat.st_mode & 0o7777))
    }

    // What a configuration mounted before, with other attributes.
    fn remount(&self, entry: &Mount, set: u64, clear: u64) -> io::Result<()> {
        let place = walk::open_in_root(self.root, Path::new(&entry.target), OFlags::PATH)?;
        mount::change_attributes(place.as_fd(), set, clear, entry.flags.recursive)
    }

    // Where it goes: inside the root, made if it is missing, a file for a file.
    fn place(&self, entry: &Mount, source: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let path = Path::new(&entry.target);
        if is_directory(source)? {
            walk::make_dirs_in_root(self.root, path, DIRECTORY_MODE)
        } else {
            walk::make_file_in_root(self.root, path, FILE_MODE)
        }
    }

    // A root that has a link where the kernel's own file systems go would lead what is written there later, and what is
    // masked, to another place (CVE-2019-19921).
    fn refuse_link(&self, entry: &Mount) -> Result<(), LaunchError> {
        let kernels = match &entry.source {
            MountSource::Proc | MountSource::Sysfs => true,
            MountSource::Filesystem { kind, .. } => kind == "proc" || kind == "sysfs",
            _ => false,
        };
        if !kernels {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let Ok(there) = walk::open_in_root(self.root, Path::new(&entry.target), flags) else { return Ok(()) };
        if is_directory(there.as_fd()).at(Step::Mount, || entry.target.clone())? {
            return Ok(());
        }
        Err(LaunchError::in_words(Step::Mount, &entry.target, "it must be mounted on ordinary directory"))
    }

    // Whoever covers parts of procfs can fool what this very process writes there later (CVE-2019-16884, CVE-2025-52881).
    fn refuse_procfs(&self, entry: &Mount, source: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), LaunchError> {
        // What lxcfs and the like replace: read-only numbers about the machine.
        const HARMLESS: [&str; 10] = [
            "cpuinfo",
            "diskstats",
            "meminfo",
            "stat",
            "swaps",
            "uptime",
            "loadavg",
            "slabinfo",
            "net/dev",
            "sys/kernel/ns_last_pid",
        ];
        let inside = is_procfs(place).at(Step::Mount, || entry.target.clone())?;
        let harmless = entry.target.strip_prefix("/proc/").is_some_and(|name| HARMLESS.contains(&name));
        let covers = entry.target.trim_end_matches('/') == "/proc"
            && !is_procfs(source).at(Step::Mount, || entry.target.clone())?;
        if (inside && !harmless) || covers {
            let text = "it is inside the proc filesystem, which must stay the kernel's own";
            return Err(LaunchError::in_words(Step::Mount, &entry.target, text));
        }
        Ok(())
    }

    // v1 and hybrid: one bind for each hierarchy, to the container's own directory in it, and Docker's short names.
    fn fill_cgroup(&self, entry: &Mount, tmpfs: BorrowedFd<'_>) -> Result<(), LaunchError> {
        if self.job.plan.cgroup.hierarchies.is_empty() {
            return Ok(());
        }
        let attributes = MountAttributes { recursive: false, ..attributes_of(entry.flags) };
        for (name, path) in &self.job.plan.cgroup.hierarchies {
            let fill = || -> io::Result<()> {
                let tree = mount::clone_tree_as(path, attributes)?;
                rustix::fs::mkdirat(tmpfs, name, DIRECTORY_MODE)?;
                let place = rustix::fs::openat(tmpfs, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                mount::attach(tree.as_fd(), place.as_fd())?;
                for short in name.split(',').filter(|short| short != name) {
                    rustix::fs::symlinkat(name, tmpfs, short)?;
                }
                Ok(())
            };
            fill().at(Step::Mount, || format!("{}/{name}", entry.target))?;
        }
        mount::set_attributes(tmpfs, attributes_of(entry.flags)).at(Step::Mount, || entry.target.clone())
    }

    fn devices(&self) -> Result<(), LaunchError> {
        for device in &self.job.plan.devices {
            self.device(device).at(Step::Device, || device.path.clone())?;
        }
        let Some(dev) = self.dev_to_fill()? else { return Ok(()) };
        for (target, name) in [
            ("/proc/self/fd", "fd"),
            ("/proc/self/fd/0", "stdin"),
            ("/proc/self/fd/1", "stdout"),
            ("/proc/self/fd/2", "stderr"),
            ("/proc/kcore", "core"),
            ("pts/ptmx", "ptmx"),
        ] {
            // Kernels without CONFIG_PROC_KCORE have no such file; runc looks too.
            if name == "core" && !Path::new(target).exists() {
                continue;
            }
            match rustix::fs::symlinkat(target, &dev, name) {
                Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
                Err(error) => return Err(LaunchError::new(Step::Symlink, format!("/dev/{name}"), &error.into())),
            }
        }
        Ok(())
    }

    // The container's `/dev`: a tmpfs of its own or a directory of its root, but not one that was brought along.
    fn dev_to_fill(&self) -> Result<Option<OwnedFd>, LaunchError> {
        let at = || "/dev".to_owned();
        if let Some(dev) = &self.dev {
            return dev.try_clone().at(Step::Device, at).map(Some);
        }
        let brought = |one: &Mount| one.target == "/dev" && matches!(one.source, MountSource::Descriptor(_));
        if self.job.plan.mounts.iter().any(brought) {
            return Ok(None);
        }
        match walk::make_dirs_in_root(self.root, Path::new("/dev"), DIRECTORY_MODE) {
            Ok(dev) => Ok(Some(dev)),
            // A read-only root without one has nothing to put there.
            Err(error) if error.raw_os_error() == Some(libc::EROFS) => Ok(None),
            Err(error) => Err(LaunchError::new(Step::Device, "/dev", &error)),
        }
    }

    fn device(&self, device: &Device) -> io::Result<()> {
        let path = Path::new(&device.path);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let made;
        let directory = match &self.dev {
            // The usual place is at hand.
            Some(dev) if parent == Path::new("/dev") => dev,
            _ => {
                made = walk::make_dirs_in_root(self.root, parent, DIRECTORY_MODE)?;
                &made
            }
        };
        let kind = match device.kind {
            DeviceKind::Block => FileType::BlockDevice,
            DeviceKind::Character => FileType::CharacterDevice,
            DeviceKind::Fifo => FileType::Fifo,
        };
        let number = rustix::fs::makedev(device.major, device.minor);
        match rustix::fs::mknodat(directory, name, kind, Mode::from_raw_mode(device.mode), number) {
            Ok(()) => {}
            // A `/dev` that was brought along has it already.
            Err(rustix::io::Errno::EXIST) => return is_device(directory.as_fd(), name, kind, number),
            // User namespaces may not make devices; the host's own is shown instead.
            Err(rustix::io::Errno::PERM) => return self.bind_device(device),
            Err(error) => return Err(error.into()),
        }
        if device.uid != 0 || device.gid != 0 {
            let (uid, gid) = (rustix::fs::Uid::from_raw(device.uid), rustix::fs::Gid::from_raw(device.gid));
            rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn bind_device(&self, device: &Device) -> io::Result<()> {
        let tree = mount::clone_tree(Path::new(&device.host), false)?;
        let place = walk::make_file_in_root(self.root, Path::new(&device.path), FILE_MODE)?;
        mount::attach(tree.as_fd(), place.as_fd())
    }

    fn terminal(&self) -> Result<Option<Pair>, LaunchError> {
        let Stdio::Terminal { rows, columns, lines_as_written } = self.job.stdio else { return Ok(None) };
        let pair = match &self.devpts {
            Some(devpts) => pty::open_in(devpts.as_fd()),
            // Without one of its own a container gets a terminal of the host, which works but has no name inside.
            None => pty::open(),
        };
        let pair = pair.at(Step::Terminal, || "/dev/pts/ptmx".to_owned())?;
        if rows > 0 || columns > 0 {
            pty::resize(&pair.master, rows, columns).at(Step::Terminal, String::new)?;
        }
        if lines_as_written {
            pty::keep_lines(&pair.master).at(Step::Terminal, String::new)?;
        }
        if let Some(dev) = self.dev_to_fill()? {
            console(dev.as_fd(), pair.slave.as_fd()).at(Step::Console, || "/dev/console".to_owned())?;
        }
        Ok(Some(pair))
    }

    // The caller's first, then those that run in the container's namespaces; both see the container's root at its place.
    fn hooks(&self) -> Result<(), LaunchError> {
        let Some(hooks) = &self.job.plan.extra.hooks else { return Ok(()) };
        if hooks.parent_waits {
            message::send_hooks(&self.job.channel).at(Step::Hook, String::new)?;
            message::wait_for_go(&self.job.channel).at(Step::Hook, String::new)?;
        }
        let state = hooks.state.replace(PID_PLACE, &rustix::process::getpid().as_raw_nonzero().to_string());
        hook::run_all("createContainer", &hooks.create_container, &state)
    }

    fn sysctls(&self) -> Result<(), LaunchError> {
        if self.job.plan.sysctls.is_empty() {
            return Ok(());
        }
        // A procfs of one's own if the container has none: never one that somebody else may have covered.
        let fresh;
        let proc = match &self.proc {
            Some(proc) => proc,
            None => {
                fresh = Filesystem::new("proc")
                    .and_then(|proc| proc.mount(MountAttributes::KERNEL_DATA))
                    .at(Step::Sysctl, || "/proc".to_owned())?;
                &fresh
            }
        };
        for (name, value) in &self.job.plan.sysctls {
            let path = sysctl_path(name);
            walk::open_plain(proc.as_fd(), &path, OFlags::WRONLY)
                .and_then(|file| Ok(rustix::io::write(&file, value.as_bytes())?))
                .at(Step::Sysctl, || name.clone())?;
        }
        Ok(())
    }

    fn read_only_paths(&self, chosen: impl Fn(&str) -> bool) -> Result<(), LaunchError> {
        for path in self.job.plan.readonly_paths.iter().filter(|path| chosen(path)) {
            let Some(place) = self.existing(path, Step::ReadOnlyPath)? else { continue };
            let make = || -> io::Result<()> {
                let read_only = MountAttributes { read_only: true, recursive: true, ..MountAttributes::default() };
                let tree = mount::clone_tree_of_as(place.as_fd(), read_only)?;
                mount::attach(tree.as_fd(), place.as_fd())
            };
            make().at(Step::ReadOnlyPath, || path.clone())?;
        }
        Ok(())
    }

    fn masked_paths(&self, null: BorrowedFd<'_>, chosen: impl Fn(&str) -> bool) -> Result<(), LaunchError> {
        // One empty tmpfs serves all directories.
        let mut empty: Option<OwnedFd> = None;
        let paths = &self.job.plan.masked_paths;
        for (index, path) in paths.iter().enumerate() {
            if paths[..index].contains(path) || !chosen(path) {
                continue;
            }
            let Some(place) = self.existing(path, Step::MaskPath)? else { continue };
            let mut mask = || -> io::Result<()> {
                let cover = if is_directory(place.as_fd())? {
                    empty_directory(&mut empty)?
                } else {
                    mount::clone_tree_of(null, false)?
                };
                mount::attach(cover.as_fd(), place.as_fd())
            };
            mask().at(Step::MaskPath, || path.clone())?;
        }
        Ok(())
    }

    // What is at a path of the container, if anything is.
    fn existing(&self, path: &str, step: Step) -> Result<Option<OwnedFd>, LaunchError> {
        match walk::open_in_root(self.root, Path::new(path), OFlags::PATH) {
            Ok(place) => Ok(Some(place)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(LaunchError::new(step, path, &error)),
        }
    }
}

// The terminal itself, by its descriptor, onto a file that was made just now in a tmpfs that nobody else has seen
// (CVE-2025-52565 was a race on both paths).
fn console(dev: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match rustix::fs::openat(dev, "console", flags, Mode::from_raw_mode(0o620)) {
        // A root that brings one: the file itself, never where a link leads.
        Err(rustix::io::Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = rustix::fs::openat(dev, "console", flags, Mode::empty())?;
            if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) == FileType::Symlink {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            place
        }
        other => other?,
    };
    let tree = mount::clone_tree_of(slave, false)?;
    mount::attach(tree.as_fd(), place.as_fd())
}

fn empty_directory(kept: &mut Option<OwnedFd>) -> io::Result<OwnedFd> {
    let attributes = MountAttributes { read_only: true, ..MountAttributes::KERNEL_DATA };
    if let Some(first) = kept {
        return mount::clone_tree_of(first.as_fd(), false);
    }
    let first = mount::tmpfs(&[("mode", "755"), ("nr_inodes", "2"), ("nr_blocks", "1")], attributes)?;
    *kept = Some(first.try_clone()?);
    Ok(first)
}

fn attributes_of(flags: MountFlags) -> MountAttributes {
    MountAttributes {
        read_only: flags.read_only,
        recursive: flags.recursive,
        nosuid: flags.nosuid,
        nodev: flags.nodev,
        noexec: flags.noexec,
        strict_atime: flags.strict_atime,
        noatime: flags.noatime,
        nodiratime: flags.nodiratime,
        nosymfollow: flags.nosymfollow,
        ..MountAttributes::default()
    }
}

/// A file system of the kernel's own, under its own name in the table of mounts.
fn kernel_data(kind: &str, attributes: MountAttributes) -> io::Result<OwnedFd> {
    Filesystem::new(kind)?.option("source", Some(kind))?.mount(attributes)
}

fn devpts(attributes: MountAttributes) -> io::Result<OwnedFd> {
    let make = |gid: Option<&str>| -> io::Result<OwnedFd> {
        let devpts = Filesystem::new("devpts")?;
        devpts.option("source", Some("devpts"))?.option("ptmxmode", Some("0666"))?.option("mode", Some("0620"))?;
        if let Some(gid) = gid {
            devpts.option("gid", Some(gid))?;
        }
        devpts.mount(attributes)
    };
    // Group 5 is `tty`; a user namespace need not map it.
    make(Some("5")).or_else(|_| make(None))
}

fn is_directory(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode) == FileType::Directory)
}

fn is_procfs(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(descriptor)?.f_type as u64 == PROC_MAGIC)
}

// `net.ipv4.conf.eth0/1.x`: dots separate, unless slashes came first, as in sysctl(8).
fn sysctl_path(name: &str) -> PathBuf {
    let first = name.find(['.', '/']).map(|index| name.as_bytes()[index]);
    let path = match first {
        Some(b'/') => name.to_owned(),
        _ => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    };
    Path::new("sys").join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_is_a_path_below_proc_sys() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), Path::new("sys/net/ipv4/ip_forward"));
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/rp_filter"), Path::new("sys/net/ipv4/conf/eth0.1/rp_filter"));
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.rp_filter"), Path::new("sys/net/ipv4/conf/eth0.1/rp_filter"));
    }
}
