//! The keeper's own log: a line on standard error, which is `keeper.log` for a detached keeper.
//!
//! Only what a person should know is said. A log that cannot be written stops nothing, which is why this
//! is not `eprintln!`: that one panics, and a keeper must not die of a full disk.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

/// Writes a line, with the time.
pub(super) fn say(text: fmt::Arguments<'_>) {
    let line = format!("{} keeper: {text}\n", hako_base::clock::rfc3339_nano(hako_base::clock::now()));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Sends standard error to `keeper.log`, begun anew when it has grown.
pub(super) fn redirect(exec_root: &Path) -> io::Result<()> {
    let path = exec_root.join("keeper.log");
    let full = path.metadata().is_ok_and(|found| found.len() > crate::limits::LOG_BYTES_MAX);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    if full {
        file.set_len(0)?;
    }
    Ok(rustix::stdio::dup2_stderr(file.as_fd())?)
}
