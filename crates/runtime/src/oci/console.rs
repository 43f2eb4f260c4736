//! Standard streams, terminals and sockets of whoever called the runtime.
//!
//! A terminal's other side goes to the caller's socket; in the foreground it is relayed here, byte by byte, with the
//! caller's own terminal in raw mode. A filter's listener goes to whoever answers its calls.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use hako_sys::{
    process::{self, Child},
    pty,
    signal::{self, SignalSet},
};
use rustix::{
    event::{PollFd, PollFlags},
    fs::{Mode, OFlags},
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    },
    termios::{OptionalActions, Termios},
};
use serde_json::json;

use super::{error::OciError, notify::Notify, state::OCI_VERSION};
use crate::{launch::Stdio, seccomp::Listener};

fn failed(what: &'static str, subject: &Path, source: io::Error) -> OciError {
    OciError::Open { what, subject: subject.display().to_string(), source }
}

/// The caller's own streams, for a process without a terminal.
pub(super) fn own_streams() -> Result<Stdio, OciError> {
    let copy = |stream: BorrowedFd<'static>| match stream.try_clone_to_owned() {
        Ok(copy) => Ok(copy),
        // Closed by whoever called: nothing is there.
        Err(_) => rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()),
    };
    let streams = || -> io::Result<Stdio> {
        let stdin = copy(rustix::stdio::stdin())?;
        Ok(Stdio::Streams { stdin, stdout: copy(rustix::stdio::stdout())?, stderr: copy(rustix::stdio::stderr())? })
    };
    streams().map_err(|error| failed("copy the standard streams of", Path::new("the caller"), error))
}

/// The size of the caller's terminal; 0 without one.
pub(super) fn own_size() -> (u16, u16) {
    rustix::termios::tcgetwinsize(rustix::stdio::stdin()).map_or((0, 0), |size| (size.ws_row, size.ws_col))
}

/// Waits until there is something to read, or nothing will ever be.
pub(super) fn wait_readable(descriptor: BorrowedFd<'_>) -> Result<(), OciError> {
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))
        .map(drop)
        .map_err(|errno| failed("wait for", Path::new("the container"), errno.into()))
}

/// Gives a terminal's other side to whoever listens at a socket.
pub(super) fn send(socket: &Path, terminal: &OwnedFd) -> Result<(), OciError> {
    let give = || -> io::Result<()> {
        let stream = connect(socket)?;
        send_all(&stream, b"/dev/ptmx", terminal.as_fd())
    };
    give().map_err(|error| failed("send the terminal to", socket, error))
}

/// Tells whoever answers calls about a process whose calls they are to answer.
pub(super) fn send_process_state(whom: &Listener, listener: &OwnedFd, pid: u32, state: &str) -> Result<(), OciError> {
    let mut text = json!({ "ociVersion": OCI_VERSION, "fds": ["seccompFd"], "pid": pid });
    text["state"] = serde_json::from_str(state).unwrap_or_default();
    if !whom.metadata.is_empty() {
        text["metadata"] = json!(whom.metadata);
    }
    let path = Path::new(&whom.path);
    let tell = || -> io::Result<()> { send_all(&connect(path)?, text.to_string().as_bytes(), listener.as_fd()) };
    tell().map_err(|error| failed("send the seccomp listener to", path, error))
}

// The address of a socket is short; through the descriptor of its directory any path is.
fn connect(path: &Path) -> io::Result<OwnedFd> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = hako_sys::mount::open_directory(parent)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(short)?)?;
    Ok(socket)
}

// The descriptor travels with the first bytes.
fn send_all(socket: &OwnedFd, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let mut sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    while sent < bytes.len() {
        sent += rustix::net::send(socket, &bytes[sent..], SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Stays with a process in the foreground until it ends: signals go to it, its terminal is relayed. Returns how it ended,
/// as a shell counts. When the program says that it is ready, whoever waits to hear it is told, with this very process as
/// the one to watch.
///
/// # Errors
/// When it cannot be waited for.
pub fn accompany(child: &Child, terminal: Option<&OwnedFd>, notify: Option<&Notify>) -> Result<i32, OciError> {
    let at = |error: io::Error| failed("wait for", Path::new("the container's process"), error);
    let signals = SignalSet::all();
    signals.block().map_err(at)?;
    let signals = signals.descriptor().map_err(at)?;
    let raw = terminal.and_then(|_| Raw::enter());
    let mut relay = Relay { terminal, input: terminal.is_some(), output: terminal.is_some(), notify };
    loop {
        let ended = relay.turn(child, &signals).map_err(at)?;
        while let Ok(Some(number)) = signal::take(signals.as_fd()) {
            pass_on(number, child, terminal);
        }
        if ended {
            let exit = process::reap(child.pidfd.as_fd()).map_err(at)?;
            relay.drain();
            drop(raw);
            return Ok(exit.code());
        }
    }
}

/// Whether the caller has a terminal. A file or a pipe wants the lines as the program writes them, as with runc.
pub fn is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdin())
}

fn pass_on(number: i32, child: &Child, terminal: Option<&OwnedFd>) {
    match (number, terminal) {
        (libc::SIGCHLD | libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU | libc::SIGURG, _) => {}
        (libc::SIGWINCH, Some(terminal)) => {
            let (rows, columns) = own_size();
            let _ = pty::resize(terminal, rows, columns);
        }
        // One that has just ended needs none.
        _ => drop(process::send_signal(child.pidfd.as_fd(), number)),
    }
}

struct Relay<'a> {
    terminal: Option<&'a OwnedFd>,
    input: bool,
    output: bool,
    notify: Option<&'a Notify>,
}

impl Relay<'_> {
    // Waits for anything and relays what there is; whether the process has ended.
    fn turn(&mut self, child: &Child, signals: &OwnedFd) -> io::Result<bool> {
        let stdin = rustix::stdio::stdin();
        let mut polled = vec![PollFd::new(&child.pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        if let Some(terminal) = self.terminal.filter(|_| self.output) {
            polled.push(PollFd::new(terminal, PollFlags::IN));
        }
        if self.input {
            polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        if let Some(notify) = self.notify {
            polled.push(PollFd::new(notify, PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        let mut more = ready[2..].iter();
        if let Some(terminal) = self.terminal.filter(|_| self.output)
            && more.next() == Some(&true)
        {
            self.output = copy(terminal.as_fd(), rustix::stdio::stdout());
        }
        if let Some(terminal) = self.terminal.filter(|_| self.input)
            && more.next() == Some(&true)
        {
            self.input = copy(stdin, terminal.as_fd());
        }
        if let Some(notify) = self.notify
            && ready.last() == Some(&true)
            && notify.pass_on(std::process::id())
        {
            self.notify = None;
        }
        Ok(ready[0])
    }

    // What the last process wrote before it ended; a background process that holds the terminal is not waited for.
    fn drain(&mut self) {
        let Some(terminal) = self.terminal else { return };
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        while self.output {
            let mut polled = [PollFd::new(terminal, PollFlags::IN)];
            if !matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(1..)) {
                return;
            }
            self.output = copy(terminal.as_fd(), rustix::stdio::stdout());
        }
    }
}

// Whether there may be more.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut bytes = [0_u8; 8192];
    let Ok(length @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut bytes)) else { return false };
    let mut rest = &bytes[..length];
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, rest)) {
            Ok(written) => rest = &rest[written..],
            Err(_) => return false,
        }
    }
    true
}

/// The caller's terminal hands over every key as it is, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let before = rustix::termios::tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}
