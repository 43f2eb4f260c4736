//! Running programs: as oneself, and as root through sudo; and where things are in the checkout.
//!
//! Every other file of the tools starts programs through here, so that a failure always names the whole command.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The checkout: cargo says which, and it need not be the one that this program was built in.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// A program to be run in the checkout.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the tools exist to run programs; the product does not")]
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// Cargo, the one that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

pub(crate) fn is_root() -> bool {
    // The owner of /proc/self is the effective user, which saves the tools a library.
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc is mounted")) == 0
}

/// The same program as root: itself where we are root, else through sudo with our environment.
pub(crate) fn rooted(command: Command) -> Command {
    if is_root() {
        return command;
    }
    let mut sudo = program("sudo");
    if let Some(directory) = command.get_current_dir() {
        sudo.current_dir(directory);
    }
    // sudo drops what it is not told to keep; `env` carries it over in plain sight.
    sudo.arg("env");
    for name in ["PATH", "HOME", "CARGO", "CARGO_TARGET_DIR", "RUST_BACKTRACE", "HAKO_LOG"] {
        if let Ok(value) = std::env::var(name) {
            sudo.arg(format!("{name}={value}"));
        }
    }
    for (name, value) in command.get_envs() {
        if let (Some(name), Some(value)) = (name.to_str(), value.and_then(|value| value.to_str())) {
            sudo.arg(format!("{name}={value}"));
        }
    }
    sudo.arg(command.get_program()).args(command.get_args());
    sudo
}

/// Runs it and demands success; what it prints goes to the terminal.
pub(crate) fn succeed(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot run {}: {error}", shown(&command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", shown(&command))) }
}

/// Runs it, demands success and returns what it printed on standard output.
pub(crate) fn output(mut command: Command) -> Result<String, String> {
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", shown(&command)))?;
    if !done.status.success() {
        return Err(format!("{} failed ({})", shown(&command), done.status));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Whether a program of that name is on the PATH.
pub(crate) fn has(name: &str) -> bool {
    find(name).is_some()
}

/// The program of that name on the PATH, or where Debian keeps the administrator's.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())
}

/// Installs a Debian package if `name` is missing and that is possible; says whether it is there now.
pub(crate) fn have_or_install(name: &str, package: &str) -> bool {
    has(name) || (install(package) && has(name))
}

/// Installs a Debian package; says whether that worked.
pub(crate) fn install(package: &str) -> bool {
    if !has("apt-get") {
        return false;
    }
    println!("installing {package} from the distribution");
    let attempt = || {
        let mut install = program("apt-get");
        install.args(["install", "-q", "-y", "--no-install-recommends", package]);
        install.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        rooted(install).status().is_ok_and(|status| status.success())
    };
    let refresh = || {
        let mut update = program("apt-get");
        update.args(["update", "-q"]).stdout(Stdio::null());
        rooted(update).status().is_ok_and(|status| status.success())
    };
    // On a fresh machine the lists are empty until the first update.
    attempt() || (refresh() && attempt())
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
