//! The AppArmor profile of containers that name none: its text, and having it in the kernel.
//!
//! The kernel takes policies in a binary form that `apparmor_parser` makes; it is run when a daemon starts, and only if
//! the kernel does not have this very text yet. Applying a profile to a process is in `extra.rs`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::observe;

/// The name of the profile.
pub const DEFAULT: &str = "hako-default";

/// Where Debian, Ubuntu and SUSE have the compiler.
const PARSERS: [&str; 3] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];
/// Names and modes of all profiles of the kernel, one each line.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
/// In the directory of what is remembered until the next boot, as the kernel's own policies are.
const RECORD: &str = "apparmor-profile";

/// Why the profile is not there.
#[derive(Debug, thiserror::Error)]
pub enum ApparmorError {
    #[error("cannot load the AppArmor profile {DEFAULT}: there is no apparmor_parser, install the package apparmor")]
    NoParser,
    #[error("cannot run {path}")]
    Run { path: PathBuf, source: io::Error },
    #[error("apparmor_parser refused the profile {DEFAULT}: {said}")]
    Refused { said: String },
}

/// Has the kernel confine by [`DEFAULT`]; `false` where the kernel has no AppArmor. A profile of an older version is
/// replaced, also for the containers that run under it.
///
/// # Errors
/// As [`ApparmorError`] tells; containers are then confined by everything else.
pub fn ensure_default(remembered: &Path) -> Result<bool, ApparmorError> {
    if !observe::has_apparmor() {
        return Ok(false);
    }
    let (text, record) = (profile(DEFAULT), remembered.join(RECORD));
    let known = fs::read_to_string(&record).is_ok_and(|loaded| loaded == text);
    if !(known && is_loaded(DEFAULT)) {
        load(&text)?;
        // Without it the next start loads the profile once more.
        let _ = hako_base::file::write_atomic(&record, text.as_bytes(), 0o644, hako_base::file::Durability::Process);
    }
    Ok(true)
}

/// Whether the kernel has a profile of this name.
pub fn is_loaded(name: &str) -> bool {
    fs::read_to_string(LOADED).is_ok_and(|text| text.lines().any(|line| is_of(line, name)))
}

// `docker-default (enforce)`; names may have blanks.
fn is_of(line: &str, name: &str) -> bool {
    line.rsplit_once(" (").is_some_and(|(before, _)| before == name)
}

#[expect(clippy::disallowed_methods, reason = "nobody else compiles policies; once after a boot or a new version")]
fn load(text: &str) -> Result<(), ApparmorError> {
    let parser = PARSERS.iter().map(Path::new).find(|path| observe::is_executable(path));
    let path = parser.ok_or(ApparmorError::NoParser)?;
    let failed = |source| ApparmorError::Run { path: path.to_owned(), source };
    let mut command = Command::new(path);
    command.args(["--replace", "--skip-cache", "--quiet"]).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A parser that ends early says why.
        let _ = io::Write::write_all(&mut stdin, text.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(ApparmorError::Refused { said })
}

/// What nobody in a container reads (`r`), writes, links, locks or executes. Left are what processes have of their own, the
/// parameters of their network and of their System V IPC, and the control groups.
const DENIED: [&str; 11] = [
    "/proc/* w",
    "/proc/{kcore,kmem,mem,sysrq-trigger} rwklx",
    "/proc/{acpi,bus,driver,fs,irq,scsi,tty}/** wklx",
    "/proc/sys/{abi,debug,dev,fs,sunrpc,user,vm}/** wklx",
    "/proc/sys/kernel/[^ms]** wklx",
    "/proc/sys/kernel/m[^s]** wklx",
    "/proc/sys/kernel/s[^eh]** wklx",
    "/proc/sys/kernel/se[^m]** wklx",
    "/sys/{block,bus,class,dev,devices,hypervisor,module,power}/** wklx",
    "/sys/{firmware,kernel/security}/** rwklx",
    "/sys/kernel/** wklx",
];

/// The text of the profile. What it denies is denied by other means too, but for the last two lines of its network part:
/// no seccomp filter sees the arguments of `socketcall`, by which programs of 32 bits make sockets.
fn profile(name: &str) -> String {
    let mut lines = vec![
        format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{"),
        "capability, file, umount, network,".to_owned(),
        "deny network alg,".to_owned(),
        "deny network vsock,".to_owned(),
        // Whoever runs the engine may signal and stop; among themselves the processes of containers may all.
        "signal (receive) peer=unconfined,".to_owned(),
        format!("signal (send, receive) peer={name},"),
        format!("ptrace (trace, read, tracedby, readby) peer={name},"),
        "deny mount,".to_owned(),
    ];
    lines.extend(DENIED.iter().map(|rule| format!("deny {rule},")));
    lines.push("}\n".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_one_of_its_name_alone() {
        assert!(is_of("hako-default (enforce)", "hako-default"));
        assert!(is_of("a name (with) blanks (complain)", "a name (with) blanks"));
        assert!(!is_of("hako-default-2 (enforce)", "hako-default"));
        assert!(!is_of("hako-default", "hako-default"));
    }

    #[test]
    fn the_profile_denies_sockets_that_no_filter_sees() {
        let text = profile("one");
        assert!(text.starts_with("profile one flags="));
        for rule in ["deny network alg,", "deny network vsock,", "deny mount,", "signal (send, receive) peer=one,"] {
            assert!(text.lines().any(|line| line == rule), "{rule}: {text}");
        }
    }
}
