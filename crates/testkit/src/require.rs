//! What a test needs, and skipping it with a reason where that is missing.
//!
//! A skip is written to the file that `HAKO_TEST_SKIPS` names, which the closing line of `cargo x test` counts; it is
//! never silent.

use std::{fs, io::Write, path::Path};

use crate::settings::{self, Target};

/// What is missing.
pub type Requirement = Result<(), String>;

/// Root, for namespaces and control groups.
///
/// # Errors
/// Where we are somebody else.
pub fn root() -> Requirement {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err("needs root".to_owned()) }
}

/// A program on the PATH.
///
/// # Errors
/// Where there is none of that name.
pub fn program(name: &str) -> Requirement {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(name).is_file());
    if found { Ok(()) } else { Err(format!("needs the program {name}")) }
}

/// An image that `cargo x images` made.
///
/// # Errors
/// Where it could not be made.
pub fn image(name: &str) -> Requirement {
    if crate::image::tar(name).is_some() {
        Ok(())
    } else {
        Err(format!("needs the image {name} (cargo x images {name})"))
    }
}

/// A daemon that this test may kill, configure and look into: hako, started by the test.
///
/// # Errors
/// Where the environment gives another daemon.
pub fn own_daemon() -> Requirement {
    match settings::target() {
        Target::Own(_) => Ok(()),
        Target::Given { .. } => Err("needs a daemon of its own".to_owned()),
    }
}

/// A daemon that is not killed during the test, for what is only in its memory, such as the events of the past, and for
/// how large that is.
///
/// # Errors
/// Where the environment wants daemons to be killed (`HAKO_TEST_KILL`).
pub fn unkilled_daemon() -> Requirement {
    match std::env::var_os("HAKO_TEST_KILL") {
        None => Ok(()),
        Some(_) => Err("asks for the memory of a daemon, which is killed".to_owned()),
    }
}

/// hako's own command line and daemon, for what Docker does not have.
///
/// # Errors
/// Where the environment gives another of either.
pub fn own_cli() -> Requirement {
    if settings::command_line() == settings::binary() {
        own_daemon()
    } else {
        Err("needs hako's own command line".to_owned())
    }
}

/// The kernel's version, for what cannot be probed.
///
/// # Errors
/// Where it is older.
pub fn kernel(major: u32, minor: u32) -> Requirement {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (major, minor) { Ok(()) } else { Err(format!("needs kernel {major}.{minor}")) }
}

/// A cgroup controller, in whichever hierarchy.
///
/// # Errors
/// Where the kernel or the machine's set-up lacks it.
pub fn controller(name: &str) -> Requirement {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let v1 = mounts.lines().any(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        matches!(fields[..], [_, _, "cgroup", options, ..] if options.split(',').any(|option| option == name))
    });
    let v2 = mounts.lines().any(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        matches!(fields[..], [_, place, "cgroup2", ..]
            if fs::read_to_string(Path::new(place).join("cgroup.controllers")).unwrap_or_default().split_whitespace().any(|c| c == name))
    });
    if v1 || v2 { Ok(()) } else { Err(format!("needs the cgroup controller {name}")) }
}

/// Cgroup v2 alone, as on today's distributions.
///
/// # Errors
/// On a v1 or hybrid set-up.
pub fn cgroup_v2() -> Requirement {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        Ok(())
    } else {
        Err("needs a cgroup v2 host".to_owned())
    }
}

/// Writes the skip down. Used by [`crate::needs!`].
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    println!("skipped {name}: {reason}");
    if let Some(file) = std::env::var_os("HAKO_TEST_SKIPS") {
        let written = fs::OpenOptions::new().append(true).create(true).open(&file).and_then(|mut file| {
            // One write, so that tests that run at once do not mix their lines.
            file.write_all(format!("{name}\t{reason}\n").as_bytes())
        });
        written.unwrap_or_else(|error| panic!("cannot write the skip to {}: {error}", Path::new(&file).display()));
    }
}
