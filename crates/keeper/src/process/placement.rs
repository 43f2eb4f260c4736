//! Where the keeper lives: a session of its own, a cgroup of its own in every hierarchy, out of reach of
//! what happens to the daemon.
//!
//! systemd ends a service by killing everything in its cgroup; a terminal ends a session by hanging up.
//! Neither may reach the keeper. Started by its own unit it is placed already and none of this is asked for.

use std::{
    ffi::{CString, OsString},
    fs, io,
    os::{
        fd::AsFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use hako_model::Limits;
use hako_runtime::cgroup::{Cgroup, DeviceRules, Layout, NAMESPACE_LEAF};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_child_subreaper, set_dumpable_behavior, setrlimit,
};

use super::log::say;

/// Executes this program again, from a read-only clone of its file, so that nothing in a container can ever write to
/// it (CVE-2019-5736): processes on their way into a container are copies of this one, and `/proc/PID/exe` of those
/// can be opened there by whoever has `CAP_SYS_PTRACE`. Returns when that is done already, or cannot be.
pub(super) fn run_read_only() {
    if !matches!(hako_sys::executable::is_read_only(), Ok(false)) {
        return;
    }
    let program = fs::read_link("/proc/self/exe").unwrap_or_default();
    let words = std::env::args_os().chain(["--program".into(), program.into()]);
    let words = words.filter_map(|word| CString::new(word.into_vec()).ok()).collect::<Vec<_>>();
    let error = match hako_sys::executable::read_only() {
        Ok(clone) => hako_sys::process::execute_descriptor(clone.as_fd(), &words, &environment()),
        Err(error) => error,
    };
    say(format_args!("cannot run from a read-only clone: {error}"));
}

/// The environment, for the next program.
pub(super) fn environment() -> Vec<CString> {
    let line = |(name, value): (OsString, OsString)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat());
    std::env::vars_os().filter_map(|pair| line(pair).ok()).collect()
}

/// Makes this process hard to kill by accident and impossible to look into.
pub(super) fn harden() -> io::Result<()> {
    // Started by `/proc/self/exe` it would be called "exe" in every list of processes.
    rustix::thread::set_name(c"hako-keeper")?;
    // A container that joins us through /proc must find nothing to read or write (CVE-2019-5736).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Orphans of containers in the host's pid namespace, and of other runtimes, come to us.
    set_child_subreaper(Some(rustix::process::getpid()))?;
    // Seven descriptors a container; a thousand containers are more than the usual 1,024.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-999") {
        say(format_args!("cannot lower the out-of-memory score: {error}"));
    }
    Ok(())
}

/// Moves this process into the cgroup `parent/name` of every hierarchy. What cannot be is said and left: a
/// hierarchy may be read-only.
pub(super) fn enter_cgroup(parent: &str, name: &str) {
    if let Err(error) = Cgroup::create(parent, name, &Limits::default(), &DeviceRules::All) {
        say(format_args!("{}", hako_base::error::chain(&error)));
    }
    for directory in directories(parent, name) {
        if let Err(error) = join(&directory) {
            say(format_args!("cannot enter cgroup {}: {error}", directory.display()));
        }
    }
}

/// Leaves that cgroup for the top of each hierarchy and removes it, where that is possible.
pub(super) fn leave_cgroup(parent: &str, name: &str) {
    let layout = Layout::of_host();
    let tops = layout.hierarchies.iter().map(|hierarchy| &hierarchy.path).chain(&layout.unified);
    for top in tops {
        // Only a directory that we are out of is removed: removing is not killing. The root of a namespace takes nobody
        // once it hands controllers down.
        let _ = join(top).or_else(|_| join(&top.join(NAMESPACE_LEAF)));
    }
    for directory in directories(parent, name) {
        let _ = fs::remove_dir(directory);
    }
}

fn directories(parent: &str, name: &str) -> Vec<PathBuf> {
    let join = Cgroup::open(parent, name).map(|cgroup| cgroup.join_plan()).unwrap_or_default();
    join.hierarchies.into_iter().map(|(_, directory)| directory).chain(join.unified).collect()
}

fn join(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("cgroup.procs"), "0")
}
