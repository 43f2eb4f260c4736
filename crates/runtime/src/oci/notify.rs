//! `sd_notify(3)` out of a container: whoever runs the runtime as a service of systemd (or Podman with
//! `--sdnotify=container`) hears when the program inside is ready.
//!
//! The container has a socket of its own, in a directory of its record that is bound into it, read-only. The runtime
//! that starts the program reads it until the program is ready. Nothing else that a container says is passed on: it may
//! not name another main process, keep descriptors or set a status on the host.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::Mode,
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
        SocketType,
    },
    pipe::PipeFlags,
};

use super::{
    config::{Config, Mount},
    error::OciError,
    record::Container,
};

const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";
/// Where the container has the directory; callers of runc know it.
const INSIDE: &str = "/run/notify";
/// How long systemd may take to read what it is told.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// Bytes of one message; sd_notify(3) has no limit, a word that it is ready is short.
const MESSAGE_MAX: usize = 4096;
/// Messages that are read at once.
const BATCH: usize = 64;

/// The socket that a container writes to, and the one that its words go to.
#[derive(Debug)]
pub struct Notify {
    socket: OwnedFd,
    host: PathBuf,
}

/// Shows a container its socket, which need not be there yet.
pub(super) fn show(config: &mut Config, record: &Path) {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    let source = record.join(DIRECTORY).display().to_string();
    config.mounts.push(Mount { destination: INSIDE.to_owned(), source, options, ..Mount::default() });
    if let Some(process) = &mut config.process {
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    }
}

/// Makes the directory that [`show`] shows.
pub(super) fn make_place(container: &Container) -> Result<(), OciError> {
    let path = container.directory.join(DIRECTORY);
    let mode = Mode::from_raw_mode(0o755);
    let made = rustix::fs::mkdir(&path, mode).and_then(|()| rustix::fs::chmod(&path, mode));
    made.map_err(|errno| OciError::Write { path, source: errno.into() })
}

/// Begins to listen, if the container was made with a socket.
///
/// # Errors
/// When there can be none.
pub(super) fn listen(container: &Container, host: &Path) -> Result<Option<Notify>, OciError> {
    let directory = container.directory.join(DIRECTORY);
    if !directory.is_dir() {
        return Ok(None);
    }
    let make = || -> io::Result<OwnedFd> {
        let directory = hako_sys::mount::open_directory(&directory)?;
        // Of a start that was killed.
        let _ = rustix::fs::unlinkat(&directory, SOCKET, rustix::fs::AtFlags::empty());
        // The address of a socket is short; through the descriptor of its directory any path is.
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(SOCKET);
        let socket = datagrams()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&short)?)?;
        // Whoever the program runs as.
        rustix::fs::chmod(&short, Mode::from_raw_mode(0o777))?;
        Ok(socket)
    };
    let path = directory.join(SOCKET);
    let socket = make().map_err(|source| OciError::Write { path, source })?;
    Ok(Some(Notify { socket, host: host.to_owned() }))
}

fn datagrams() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?)
}

impl Notify {
    /// Waits until the program is ready, or has ended, and tells that `pid` is the one to watch.
    ///
    /// # Errors
    /// When nobody could be told.
    pub fn wait(&self, process: BorrowedFd<'_>, pid: u32) -> Result<(), OciError> {
        loop {
            let mut polled =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(process, PollFlags::IN)];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))
                .map_err(|errno| self.failed(errno.into()))?;
            // What a program says at its end is older than the end.
            let ended = !polled[1].revents().is_empty();
            if self.is_ready() {
                return self.tell(pid).and_then(|host| wait_until_read(&host)).map_err(|error| self.failed(error));
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Passes on what has come, for a caller who stays with the program; whether it was the word that is waited for.
    pub fn pass_on(&self, pid: u32) -> bool {
        self.is_ready() && self.tell(pid).is_ok()
    }

    // Reads what there is, though not for ever: a program that goes on writing keeps nobody from its end.
    fn is_ready(&self) -> bool {
        let mut message = [0_u8; MESSAGE_MAX];
        for _ in 0..BATCH {
            let Ok((length, _)) = rustix::net::recv(&self.socket, &mut message[..], RecvFlags::empty()) else { break };
            if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return true;
            }
        }
        false
    }

    fn tell(&self, pid: u32) -> io::Result<OwnedFd> {
        let address = match self.host.as_os_str().as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            path => SocketAddrUnix::new(path)?,
        };
        let host = datagrams()?;
        rustix::net::connect(&host, &address)?;
        rustix::net::send(&host, format!("READY=1\nMAINPID={pid}\n").as_bytes(), SendFlags::NOSIGNAL)?;
        Ok(host)
    }

    fn failed(&self, source: io::Error) -> OciError {
        OciError::Open { what: "tell that the container is ready to", subject: self.host.display().to_string(), source }
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

// systemd looks at who sent a message, who must live until then: the pipe's end that travels with this one is closed when
// all before it has been read (sd_notify_barrier(3)). Others close it unread.
fn wait_until_read(host: &OwnedFd) -> io::Result<()> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let descriptors = [write.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(host, &[IoSlice::new(b"BARRIER=1")], &mut control, SendFlags::NOSIGNAL)?;
    drop(write);
    let mut polled = [PollFd::new(&read, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&PATIENCE)))?;
    Ok(())
}
