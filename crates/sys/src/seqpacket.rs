//! Messages between processes: bytes with boundaries, and descriptors with them (`SOCK_SEQPACKET`).
//!
//! Used between daemon and keeper, and between keeper and the processes it starts. What the messages mean is
//! the business of those who send them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    },
};

/// Descriptors in one message. The kernel takes 253; half of it leaves room and is what the protocol promises.
pub const DESCRIPTORS_MAX: usize = 128;

/// One end of a connection.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// One message, as it came.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of the buffer it fills; 0 means that the other side has closed.
    pub length: usize,
    pub descriptors: Vec<OwnedFd>,
}

/// Who was at the other end when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Channel {
    /// Two ends that know each other.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(left), Self(right)))
    }

    /// Connects to whoever listens at `path`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` when nobody does.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        let directory = Directory::open(path)?;
        rustix::net::connect(&socket, &directory.address()?)?;
        Ok(Self(socket))
    }

    /// Takes a connected socket that came from elsewhere.
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Gives the socket away.
    pub fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Sends one message. The other side may be gone: that is an error, never a signal.
    ///
    /// # Errors
    /// `BrokenPipe`; `WouldBlock` on a non-blocking end; `InvalidInput` for more than [`DESCRIPTORS_MAX`] descriptors.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Receives one message, waiting for it.
    ///
    /// # Errors
    /// `InvalidData` when it was longer than `buffer` or had more descriptors than allowed (those that came are closed).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(buffer, RecvFlags::CMSG_CLOEXEC)
    }

    /// Receives one message if there is one.
    ///
    /// # Errors
    /// As [`Channel::receive`]; `WouldBlock` when there is none.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(buffer, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)
    }

    fn receive_with(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(buffer)], &mut control, flags)
        })?;
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = part {
                descriptors.extend(received);
            }
        }
        if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Received { length: message.bytes, descriptors })
    }

    /// Whether calls on this end wait.
    ///
    /// # Errors
    /// None that is known.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.0, nonblocking)?)
    }

    /// Who is at the other end (`SO_PEERCRED`).
    ///
    /// # Errors
    /// None on a connected socket.
    pub fn peer(&self) -> io::Result<Peer> {
        let who = rustix::net::sockopt::socket_peercred(&self.0)?;
        Ok(Peer { pid: who.pid.as_raw_nonzero().get() as u32, uid: who.uid.as_raw(), gid: who.gid.as_raw() })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A place where others may connect.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens at `path`, replacing a socket that is left from before; only the owner may connect.
    ///
    /// # Errors
    /// Those of the directory.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        let directory = Directory::open(path)?;
        match rustix::fs::unlinkat(&directory.descriptor, &directory.name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // The mode of a bound socket is that of the socket's inode less the umask; this is said before it has a name.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &directory.address()?)?;
        rustix::net::listen(&socket, 128)?;
        Ok(Self(socket))
    }

    /// Takes a listening socket that came from elsewhere.
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// The next connection, waiting for it unless the socket was set not to wait.
    ///
    /// # Errors
    /// When there are no descriptors left; `WouldBlock`.
    pub fn accept(&self) -> io::Result<Channel> {
        Ok(Channel(rustix::io::retry_on_intr(|| rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC))?))
    }

    /// Whether `accept` waits.
    ///
    /// # Errors
    /// None that is known.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.0, nonblocking)?)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

// A socket address holds 107 bytes of path; roots of test daemons are longer. Through the descriptor of its directory
// any path is short.
struct Directory {
    descriptor: OwnedFd,
    name: std::ffi::OsString,
}

impl Directory {
    fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { descriptor: rustix::fs::open(parent, flags, Mode::empty())?, name })
    }

    fn address(&self) -> io::Result<SocketAddrUnix> {
        use std::os::fd::AsRawFd;
        let mut path = std::path::PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()));
        path.push(&self.name);
        Ok(SocketAddrUnix::new(path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_descriptors_arrive_together() {
        let (left, right) = Channel::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        left.send(b"take this", &[writer.as_fd(), reader.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let received = right.receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..received.length], b"take this");
        assert_eq!(received.descriptors.len(), 2);
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error() {
        let (left, right) = Channel::pair().unwrap();
        left.send(b"longer than four", &[]).unwrap();
        assert_eq!(right.receive(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_listener_knows_who_connects_however_long_its_path() {
        let deep = std::env::temp_dir().join(hako_base::random::hex(8)).join("x".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("keeper.sock");
        let listener = Listener::bind(&path).unwrap();
        let _client = Channel::connect(&path).unwrap();
        let server = listener.accept().unwrap();
        assert_eq!(server.peer().unwrap().pid, std::process::id());
        std::fs::remove_dir_all(deep.parent().unwrap()).unwrap();
    }
}
