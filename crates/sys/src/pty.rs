//! Pseudo-terminals.
//!
//! A container's terminal belongs to the container's own devpts, so that `ttyname` works inside; so the pair
//! is opened from a descriptor of that file system, never from a path that the container controls.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::OpenptFlags,
    termios::{OptionalActions, OutputModes, Winsize},
};

/// Both ends of a terminal.
#[derive(Debug)]
pub struct Pair {
    /// The side of who shows the terminal.
    pub master: OwnedFd,
    /// The side of the programs in it.
    pub slave: OwnedFd,
}

/// Opens a new pair in the devpts instance behind `devpts` (a descriptor of its root directory).
///
/// # Errors
/// `ENODEV` when it is not a devpts; else those of opening its `ptmx`.
pub fn open_in(devpts: BorrowedFd<'_>) -> io::Result<Pair> {
    const DEVPTS_MAGIC: i64 = 0x1cd1;
    let master = rustix::fs::openat(
        devpts,
        "ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    // A container may have put anything there (CVE-2025-52565): only the kernel's own device will do.
    if rustix::fs::fstatfs(&master)?.f_type != DEVPTS_MAGIC {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    pair(master)
}

/// Opens a new pair in the caller's own devpts.
///
/// # Errors
/// Those of `/dev/ptmx`.
pub fn open() -> io::Result<Pair> {
    pair(rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)
}

fn pair(master: OwnedFd) -> io::Result<Pair> {
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok(Pair { master, slave })
}

/// A line's end stays a line feed, instead of becoming a carriage return and a line feed.
///
/// # Errors
/// Those of `tcsetattr(3)`.
pub fn keep_lines(terminal: &OwnedFd) -> io::Result<()> {
    let mut attributes = rustix::termios::tcgetattr(terminal)?;
    attributes.output_modes.remove(OutputModes::ONLCR);
    Ok(rustix::termios::tcsetattr(terminal, OptionalActions::Now, &attributes)?)
}

/// Sets the size of the window that the terminal is shown in.
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Makes a terminal the controlling one of the calling process, which must lead a session without one.
///
/// # Errors
/// `EPERM` when it does not lead one.
pub fn make_controlling(terminal: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(terminal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_on_one_side_is_read_on_the_other() {
        let pair = open().unwrap();
        resize(&pair.master, 24, 80).unwrap();
        assert_eq!(rustix::termios::tcgetwinsize(&pair.slave).unwrap().ws_col, 80);
        rustix::io::write(&pair.slave, b"hello").unwrap();
        let mut text = [0_u8; 8];
        assert_eq!(rustix::io::read(&pair.master, &mut text).unwrap(), 5);
    }
}
