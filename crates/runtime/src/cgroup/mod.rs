//! What a container may use of the machine, and what it has used.
//!
//! A container has one directory of the same name in every hierarchy that the host has: v1, v2, or both at once
//! (hybrid). Which file a limit goes to is decided in `limits.rs` (pure), which hierarchies there are in
//! `layout.rs`; this file makes, opens, empties and removes the directories.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use hako_base::{ErrorKind, backoff};
use hako_model::Limits;
use hako_sys::{bpf, mount, process};

use crate::plan::CgroupJoin;

pub mod cpuset; // lists of processors and nodes
mod delegate; // whose a group is
mod devices; // which devices a container may use
mod layout; // which hierarchies the host has
mod limits; // which file a limit goes to
mod stats; // what was used

pub(crate) use limits::cpu_quota;
#[cfg(test)]
pub(crate) use {layout::parse as parse_layout, stats::parse_counters};

pub use devices::{DeviceRule, DeviceRules, InvalidDeviceRule};
pub use layout::{Hierarchy, Layout};
pub(crate) use limits::Setting;
pub use stats::{CpuStats, IoEntry, MemoryStats, PidsStats, Stats};

/// How long a cgroup may take to freeze, or to become empty once everything in it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the processes of a cgroup namespace's root go when controllers must be handed down from it.
pub const NAMESPACE_LEAF: &str = "init";

/// What went wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("invalid cgroup path {path:?}")]
    Path { path: String },
    #[error("this host has no cgroup hierarchy mounted")]
    None,
    #[error("cannot create cgroup {path}")]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot set {value:?} in {file}")]
    Setting { file: PathBuf, value: String, source: io::Error },
    #[error("cannot find out the number of device {path}")]
    Device { path: String, source: io::Error },
    #[error("cannot load the device filter of cgroup {path}")]
    DeviceFilter { path: PathBuf, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cgroup {path} does not become {state}")]
    State { path: PathBuf, state: &'static str },
    #[error("cannot give {path} to user {user}")]
    Give { path: PathBuf, user: u32, source: io::Error },
    #[error("cannot remove cgroup {path}")]
    Remove { path: PathBuf, source: io::Error },
    #[error("this host has no freezer")]
    NoFreezer,
}

impl CgroupError {
    /// The kind, for the layers above.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Path { .. } | Self::Device { .. } => ErrorKind::InvalidInput,
            Self::Setting { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => ErrorKind::InvalidInput,
            Self::Setting { source, .. } if source.raw_os_error() == Some(libc::EBUSY) => ErrorKind::Conflict,
            _ => ErrorKind::Internal,
        }
    }
}

/// The cgroup of one container, in every hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    layout: &'static Layout,
    /// Below the top of every hierarchy, without a leading slash.
    relative: PathBuf,
}

impl Cgroup {
    /// Makes `parent/name` in every hierarchy, with limits and device rules. What was made is removed if it fails.
    ///
    /// # Errors
    /// As [`CgroupError`] tells; [`CgroupError::Setting`] names the limit that the kernel refused.
    pub fn create(parent: &str, name: &str, limits: &Limits, devices: &DeviceRules) -> Result<Self, CgroupError> {
        let cgroup = Self::open(parent, name)?;
        let made = cgroup.make(limits, devices);
        if made.is_err() {
            // The first error is the one that matters.
            let _ = cgroup.remove();
        }
        made.map(|()| cgroup)
    }

    /// The cgroup `parent/name`, whether it exists or not.
    ///
    /// # Errors
    /// [`CgroupError::Path`] for a path that leaves the hierarchy, [`CgroupError::None`] without one.
    pub fn open(parent: &str, name: &str) -> Result<Self, CgroupError> {
        let layout = Layout::of_host();
        if layout.unified.is_none() && layout.hierarchies.is_empty() {
            return Err(CgroupError::None);
        }
        let relative: PathBuf = format!("{parent}/{name}").split('/').filter(|part| !part.is_empty()).collect();
        let plain = |part: &std::ffi::OsStr| part != ".." && part != ".";
        if name.is_empty() || name.contains('/') || !relative.iter().all(plain) {
            return Err(CgroupError::Path { path: format!("{parent}/{name}") });
        }
        Ok(Self { layout, relative })
    }

    /// The cgroup at a path below the top of every hierarchy, whether it exists or not.
    ///
    /// # Errors
    /// As [`Cgroup::open`].
    pub fn at(path: &str) -> Result<Self, CgroupError> {
        let path = path.trim_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Self::open(parent, name)
    }

    /// Whether it is there: in the hierarchies by which its processes are known and stopped. Names that are looked up in
    /// vain cost the kernel as much as a third of making them.
    pub fn exists(&self) -> bool {
        let places = [Some(self.main_directory()), self.v1("freezer"), self.unified()];
        places.iter().flatten().any(|path| path.is_dir())
    }

    /// Whether it is still because somebody wanted it so.
    pub fn is_frozen(&self) -> bool {
        let says = |path: PathBuf, word: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == word);
        match self.v1("freezer") {
            Some(path) => says(path.join("freezer.state"), "FROZEN"),
            None => self.unified().is_some_and(|path| says(path.join("cgroup.freeze"), "1")),
        }
    }

    /// The hierarchies of the host.
    pub(crate) fn layout(&self) -> &'static Layout {
        self.layout
    }

    /// Makes it with settings that somebody else has worked out for each hierarchy. `None`: leave devices alone.
    pub(crate) fn make_with<E: From<CgroupError>>(
        &self,
        settings: &Settings<'_, E>,
        devices: Option<&DeviceRules>,
    ) -> Result<(), E> {
        self.make_v1_with(settings, devices)?;
        self.make_v2_with(settings, devices)
    }

    /// The part of it that a process joins.
    pub(crate) fn make_v1_with<E: From<CgroupError>>(
        &self,
        settings: &Settings<'_, E>,
        devices: Option<&DeviceRules>,
    ) -> Result<(), E> {
        for hierarchy in &self.layout.hierarchies {
            let path = self.make_in(hierarchy)?;
            self.apply(&path, &(settings.v1)(&hierarchy.controllers)?)?;
            if let Some(devices) = devices.filter(|_| hierarchy.has("devices")) {
                write_lines(&path, &devices.lines_v1())?;
            }
        }
        Ok(())
    }

    /// The part of it that a process is born in.
    pub(crate) fn make_v2_with<E: From<CgroupError>>(
        &self,
        settings: &Settings<'_, E>,
        devices: Option<&DeviceRules>,
    ) -> Result<(), E> {
        let Some(path) = self.make_unified()? else { return Ok(()) };
        self.apply(&path, &(settings.v2)(&self.layout.unified_controllers)?)?;
        // Where v1 has the devices, one filter is enough.
        let filtered = self.layout.hierarchies.iter().any(|hierarchy| hierarchy.has("devices"));
        if let Some(devices) = devices.filter(|devices| !filtered && !devices.allows_all()) {
            filter_devices(&path, devices).map_err(|source| CgroupError::DeviceFilter { path, source })?;
        }
        Ok(())
    }

    /// Changes settings of one that exists.
    pub(crate) fn change<E: From<CgroupError>>(&self, settings: &Settings<'_, E>) -> Result<(), E> {
        for hierarchy in &self.layout.hierarchies {
            self.apply(&hierarchy.path.join(&self.relative), &(settings.v1)(&hierarchy.controllers)?)?;
        }
        match self.unified() {
            Some(path) => Ok(self.apply(&path, &(settings.v2)(&self.layout.unified_controllers)?)?),
            None => Ok(()),
        }
    }

    /// The path below the top of every hierarchy: `/hako/4711…`, as `docker inspect` and `/proc/PID/cgroup` show it.
    pub fn path(&self) -> String {
        format!("/{}", self.relative.display())
    }

    /// What a process must do to be born in it.
    pub fn join_plan(&self) -> CgroupJoin {
        let hierarchies = self.layout.hierarchies.iter();
        CgroupJoin {
            unified: self.unified(),
            hierarchies: hierarchies.map(|one| (one.name.clone(), one.path.join(&self.relative))).collect(),
        }
    }

    /// Changes limits while it is in use; those that are zero or `None` stay as they are.
    ///
    /// # Errors
    /// [`CgroupError::Setting`] for the first one that the kernel refuses.
    pub fn update(&self, limits: &Limits) -> Result<(), CgroupError> {
        self.change(&settings_of(limits))
    }

    /// Stops everything in it where it is.
    ///
    /// # Errors
    /// [`CgroupError::State`] when it does not become still, [`CgroupError::NoFreezer`].
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)
    }

    /// Lets everything in it go on.
    ///
    /// # Errors
    /// As [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    /// The processes in it and below, by the caller's numbers.
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    pub fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        let mut pids = Vec::new();
        let directory = self.main_directory();
        collect_pids(&directory, &mut pids).map_err(|source| CgroupError::Read { path: directory, source })?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// How many processes are in it itself, not below; none where it does not exist.
    pub fn own_pids(&self) -> usize {
        let text = fs::read_to_string(self.main_directory().join("cgroup.procs")).unwrap_or_default();
        text.lines().count()
    }

    /// How many processes in it the kernel has killed because memory ran out.
    pub fn oom_kills(&self) -> u64 {
        stats::oom_kills(self)
    }

    /// What it has used so far. Whatever the host does not count is zero.
    pub fn stats(&self) -> Stats {
        stats::read(self)
    }

    /// The same, but of processor time alone.
    pub fn cpu_stats(&self) -> Stats {
        stats::read_cpu(self)
    }

    /// Kills every process in it and below. They may take a moment to be gone.
    ///
    /// # Errors
    /// [`CgroupError::Read`] when its processes cannot be listed.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        if let Some(unified) = self.unified() {
            // One write does it since Linux 5.14, and nothing can fork away from it.
            if fs::write(unified.join("cgroup.kill"), "1").is_ok() {
                return Ok(());
            }
        }
        // Without it: signals, again and again until a look finds nobody new.
        for _ in 0..64 {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                if let Ok(pidfd) = process::open_pidfd(pid) {
                    let _ = process::send_signal(pidfd.as_fd(), libc::SIGKILL);
                }
            }
        }
        Ok(())
    }

    /// Removes it and what was made below it, in every hierarchy; kills what still runs in it. Absent is removed.
    ///
    /// # Errors
    /// [`CgroupError::Remove`] when it is still in use after ten seconds.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut killed = false;
        for path in self.directories() {
            let outcome = backoff::wait_for(PATIENCE, || match remove_tree(&path) {
                Ok(()) => Some(Ok(())),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    if !killed {
                        // A frozen process does not die on v1 before it is thawed.
                        let _ = self.thaw();
                        let _ = self.kill_all();
                        killed = true;
                    }
                    None
                }
                Err(error) => Some(Err(error)),
            });
            let done = outcome.unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::EBUSY)));
            done.map_err(|source| CgroupError::Remove { path, source })?;
        }
        Ok(())
    }

    fn make(&self, limits: &Limits, devices: &DeviceRules) -> Result<(), CgroupError> {
        self.make_with(&settings_of(limits), Some(devices))
    }

    fn make_in(&self, hierarchy: &Hierarchy) -> Result<PathBuf, CgroupError> {
        let path = hierarchy.path.join(&self.relative);
        make_below(&hierarchy.path, &self.relative, |above, made| {
            // A new cpuset has no processors and no memory, and nothing can join it before it has both. The kernel copies
            // them by itself below one that says so, for less than two writes cost.
            match made && hierarchy.has("cpuset") {
                true => cpuset::inherit(above).and_then(|()| write(&above.join("cgroup.clone_children"), "1")),
                false => Ok(()),
            }
        })?;
        if hierarchy.has("cpuset") {
            cpuset::inherit(&path)?;
        }
        Ok(path)
    }

    // Every directory above must hand the controllers down; the container's own is a leaf and hands down nothing.
    fn make_unified(&self) -> Result<Option<PathBuf>, CgroupError> {
        let Some(top) = &self.layout.unified else { return Ok(None) };
        let (path, controllers) = (top.join(&self.relative), &self.layout.unified_controllers);
        make_below(top, &self.relative, |_, _| Ok(()))?;
        // To write what is so already costs the kernel as much as to change it.
        if !controllers.is_empty() && !has_all(&path, controllers) {
            let mut above = top.clone();
            hand_down(&above, controllers);
            for part in self.relative.parent().into_iter().flat_map(Path::iter) {
                above.push(part);
                hand_down(&above, controllers);
            }
        }
        Ok(Some(path))
    }

    fn apply(&self, directory: &Path, settings: &[limits::Setting]) -> Result<(), CgroupError> {
        for (index, setting) in settings.iter().enumerate() {
            let file = directory.join(&setting.file);
            match write(&file, &setting.value) {
                Ok(()) => {}
                Err(CgroupError::Setting { source, .. })
                    if !setting.required && matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EACCES)) => {}
                // Memory may not exceed memory and swap, nor a quota in its period the group's above: when both change, the
                // second may have to go first.
                Err(_) if setting.retried_last => {
                    self.apply(directory, settings.get(index + 1..index + 2).unwrap_or_default())?;
                    write(&file, &setting.value)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        if let Some(path) = self.v1("freezer") {
            let state = if frozen { "FROZEN" } else { "THAWED" };
            let file = path.join("freezer.state");
            // Asked for again and again: a process that is just being made can keep a v1 freezer from finishing.
            let done = backoff::wait_for(PATIENCE, || {
                fs::write(&file, state).ok()?;
                fs::read_to_string(&file).ok().filter(|now| now.trim() == state)
            });
            return done.map(drop).ok_or(CgroupError::State { path, state: if frozen { "frozen" } else { "thawed" } });
        }
        let path = self.unified().ok_or(CgroupError::NoFreezer)?;
        write(&path.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        let wanted = if frozen { "frozen 1" } else { "frozen 0" };
        let done = backoff::wait_for(PATIENCE, || {
            let events = fs::read_to_string(path.join("cgroup.events")).ok()?;
            events.lines().any(|line| line == wanted).then_some(())
        });
        done.ok_or(CgroupError::State { path, state: if frozen { "frozen" } else { "thawed" } })
    }

    pub(crate) fn unified(&self) -> Option<PathBuf> {
        self.layout.unified.as_ref().map(|top| top.join(&self.relative))
    }

    pub(crate) fn v1(&self, controller: &str) -> Option<PathBuf> {
        let hierarchy = self.layout.hierarchies.iter().find(|hierarchy| hierarchy.has(controller))?;
        Some(hierarchy.path.join(&self.relative))
    }

    fn directories(&self) -> Vec<PathBuf> {
        let v1 = self.layout.hierarchies.iter().map(|hierarchy| hierarchy.path.join(&self.relative));
        v1.chain(self.unified()).collect()
    }

    // The one whose list of processes is believed.
    fn main_directory(&self) -> PathBuf {
        self.v1("pids").or_else(|| self.unified()).or_else(|| self.directories().pop()).unwrap_or_default()
    }
}

type ForHierarchy<'a, E> = Box<dyn Fn(&[String]) -> Result<Vec<Setting>, E> + 'a>;

/// What to write, given the controllers of a hierarchy.
pub(crate) struct Settings<'a, E> {
    pub(crate) v1: ForHierarchy<'a, E>,
    pub(crate) v2: ForHierarchy<'a, E>,
}

fn settings_of(limits: &Limits) -> Settings<'_, CgroupError> {
    Settings {
        v1: Box::new(|controllers| limits::settings_v1(limits, controllers)),
        v2: Box::new(|controllers| limits::settings_v2(limits, controllers)),
    }
}

fn write(file: &Path, value: &str) -> Result<(), CgroupError> {
    // Not `fs::write`, which would make a missing file where a missing controller is meant.
    let open =
        rustix::fs::open(file, rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
    open.and_then(|open| rustix::io::write(&open, value.as_bytes())).map(drop).map_err(|errno| CgroupError::Setting {
        file: file.to_owned(),
        value: value.to_owned(),
        source: errno.into(),
    })
}

/// Writes lines to files of a cgroup, in order. A file that is written several times in a row is opened once: the kernel
/// takes one rule a write.
fn write_lines(directory: &Path, lines: &[(&str, String)]) -> Result<(), CgroupError> {
    use rustix::fs::{Mode, OFlags, open};
    for run in lines.chunk_by(|one, next| one.0 == next.0) {
        let Some((name, first)) = run.first() else { continue };
        let file = directory.join(name);
        let failed = |line: &String, errno: rustix::io::Errno| CgroupError::Setting {
            file: file.clone(),
            value: line.clone(),
            source: errno.into(),
        };
        let open =
            open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| failed(first, errno))?;
        for (_, line) in run {
            rustix::io::write(&open, line.as_bytes()).map_err(|errno| failed(line, errno))?;
        }
    }
    Ok(())
}

/// Lets a v2 directory hand controllers down: all in one write, which nearly always works.
fn hand_down(directory: &Path, controllers: &[String]) {
    if controllers.is_empty() {
        return;
    }
    let file = directory.join("cgroup.subtree_control");
    let all: Vec<String> = controllers.iter().map(|controller| format!("+{controller}")).collect();
    let together = all.join(" ");
    let is_busy = |error: &CgroupError| matches!(error, CgroupError::Setting { source, .. } if source.raw_os_error() == Some(libc::EBUSY));
    match write(&file, &together) {
        Ok(()) => return,
        Err(error) if is_busy(&error) && clear_namespace_root(directory) && write(&file, &together).is_ok() => return,
        Err(_) => {}
    }
    for one in all {
        // One at a time: a controller that cannot be had (in use by v1, a process in the way) spoils no other,
        // and a limit that needs it fails by its own name.
        let _ = write(&file, &one);
    }
}

/// Moves what lives in the root of a cgroup namespace, as in a container, into a leaf of its own, [`NAMESPACE_LEAF`]; whether
/// that was to be done and is done.
///
/// A directory that hands controllers down holds no processes itself ("no internal processes", cgroup-v2.rst). The kernel's
/// own root is exempt, and has no `cgroup.type`; other directories with processes in them are not ours to empty.
fn clear_namespace_root(directory: &Path) -> bool {
    let is_top = Layout::of_host().unified.as_deref() == Some(directory);
    if !is_top || !directory.join("cgroup.type").exists() {
        return false;
    }
    let leaf = directory.join(NAMESPACE_LEAF);
    if make_directory(&leaf).is_err() {
        return false;
    }
    // Again while processes are born in there; a few looks find them all or none will.
    for _ in 0..16 {
        let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        if inside.is_empty() {
            return true;
        }
        for pid in inside.lines() {
            // One that has ended meanwhile is gone as well.
            let _ = write(&leaf.join("cgroup.procs"), pid);
        }
    }
    false
}

// Makes `relative` and the directories above it below `top`; `prepare` is told of each of those above, and whether it was
// made now. Nearly always all of them are there, and it is one call.
fn make_below(
    top: &Path,
    relative: &Path,
    prepare: impl Fn(&Path, bool) -> Result<(), CgroupError>,
) -> Result<(), CgroupError> {
    let path = top.join(relative);
    match fs::create_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => return other.map_err(|source| CgroupError::Create { path, source }),
    }
    let mut above = top.to_owned();
    for part in relative.parent().into_iter().flat_map(Path::iter) {
        above.push(part);
        let made = make_directory(&above)?;
        prepare(&above, made)?;
    }
    make_directory(&path).map(drop)
}

// Whether a v2 directory was given all of these.
fn has_all(directory: &Path, controllers: &[String]) -> bool {
    let has = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    controllers.iter().all(|wanted| has.split_ascii_whitespace().any(|one| one == wanted))
}

// Whether it was made now.
fn make_directory(path: &Path) -> Result<bool, CgroupError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(CgroupError::Create { path: path.to_owned(), source }),
    }
}

fn filter_devices(path: &Path, devices: &DeviceRules) -> io::Result<()> {
    let program = bpf::load_device_program(&bpf::device_program(&devices.matches()))?;
    bpf::attach_to_cgroup(mount::open_directory(path)?.as_fd(), program.as_fd())
}

fn collect_pids(directory: &Path, pids: &mut Vec<u32>) -> io::Result<()> {
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
        // A threaded cgroup lists its threads only; its processes are in the one above.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    for child in children(directory)? {
        collect_pids(&child, pids)?;
    }
    Ok(())
}

fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect())
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    // Nearly always it has no children: one call.
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => {}
        Err(error) => return Err(error),
    }
    for child in children(directory)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
