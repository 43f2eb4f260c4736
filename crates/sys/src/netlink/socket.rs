//! A netlink socket: send a batch and learn what became of it, read a dump, listen to a group.
//!
//! The kernel works a request off inside `sendto`, so its acknowledgements are in the receive queue
//! when the call returns; only dumps and news are waited for. A socket stays in the network
//! namespace it was opened in, wherever its user moves afterwards.
#![expect(unsafe_code, reason = "rustix has no setsockopt for SOL_NETLINK")]

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, sockopt};

use super::message::{Attributes, Batch, Messages, Received, u32_at};

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

/// A request the kernel refused, or could not be given.
#[derive(Debug)]
pub struct NetlinkError {
    errno: i32,
    index: usize,
    detail: String,
}

impl NetlinkError {
    /// The kernel's error number.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// Which message of the batch was refused.
    pub fn index(&self) -> usize {
        self.index
    }

    fn plain(error: rustix::io::Errno) -> Self {
        Self { errno: error.raw_os_error(), index: 0, detail: String::new() }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hako_base::error::errno_text(self.errno))?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail.trim_end_matches('.'))?;
        }
        Ok(())
    }
}

impl std::error::Error for NetlinkError {}

impl From<NetlinkError> for io::Error {
    fn from(error: NetlinkError) -> Self {
        Self::from_raw_os_error(error.errno)
    }
}

/// The default limit of a socket's send buffer is 208 KiB and unprivileged; batches beyond it raise it.
const SEND_BUFFER_USUAL: usize = 200 << 10;
/// One datagram of a dump or of news; the kernel makes none above 32 KiB.
const DATAGRAM_BYTES: usize = 64 << 10;
/// One reply; a link with all its attributes is the largest, some 2 KiB.
const REPLY_BYTES: usize = 16 << 10;
/// One acknowledgement or refusal, with its sentence.
const ANSWER_BYTES: usize = 4 << 10;

/// An open netlink socket.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    port: u32,
    sequence: u32,
}

impl Socket {
    /// For requests, in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        Self::open_groups(protocol, 0)
    }

    /// For requests and the news of some multicast groups (bit n-1 is group n).
    pub fn open_groups(protocol: Protocol, groups: u32) -> io::Result<Self> {
        let family = match protocol {
            Protocol::Route => None, // number 0
            Protocol::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let descriptor =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, family)?;
        rustix::net::bind(&descriptor, &SocketAddrNetlink::new(0, groups))?;
        let port = SocketAddrNetlink::try_from(rustix::net::getsockname(&descriptor)?)?.pid();
        let socket = Self { descriptor, port, sequence: 1 };
        // Words instead of numbers, and acknowledgements without a copy of the request.
        socket.switch_on(libc::NETLINK_EXT_ACK)?;
        socket.switch_on(libc::NETLINK_CAP_ACK)?;
        if protocol == Protocol::Route {
            // Dumps honour the filters in their header (`RTM_GETROUTE` of one table, …).
            socket.switch_on(libc::NETLINK_GET_STRICT_CHK)?;
        }
        Ok(socket)
    }

    fn switch_on(&self, option: libc::c_int) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open, and pointer and length are those of one live `c_int`.
        let result = unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The number by which news name the socket whose request caused them.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Room for this many bytes of unread news, beyond what unprivileged sockets may have.
    pub fn receive_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_recv_buffer_size_force(&self.descriptor, bytes)?)
    }

    /// Sends a batch and waits until all of it is done; the first refusal is the error. What the
    /// other messages did stays done (rtnetlink has no transactions).
    pub fn transact(&mut self, batch: &mut Batch) -> Result<(), NetlinkError> {
        // Refusals come back by themselves; one acknowledgement, of the last message, says that all
        // were looked at.
        batch.flag_last(libc::NLM_F_ACK as u16);
        self.send(batch, &mut [0; ANSWER_BYTES], |_| {})
    }

    /// [`Self::transact`] for requests that are answered with one message each.
    pub fn query(&mut self, batch: &mut Batch, each: impl FnMut(Received<'_>)) -> Result<(), NetlinkError> {
        batch.flag_last(libc::NLM_F_ACK as u16);
        self.send(batch, &mut [0; REPLY_BYTES], each)
    }

    /// Sends a batch that has an acknowledgement asked for where it needs one.
    pub(crate) fn transact_flagged(&mut self, batch: &mut Batch) -> Result<(), NetlinkError> {
        self.send(batch, &mut [0; ANSWER_BYTES], |_| {})
    }

    fn send(
        &mut self,
        batch: &mut Batch,
        buffer: &mut [u8],
        each: impl FnMut(Received<'_>),
    ) -> Result<(), NetlinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(batch.len() as u32).max(1);
        batch.number(first);
        let bytes = batch.bytes();
        if bytes.len() > SEND_BUFFER_USUAL {
            // The kernel doubles the figure for its own overhead and wants 32 bytes to spare.
            sockopt::set_socket_send_buffer_size_force(&self.descriptor, bytes.len() + 4096)
                .map_err(NetlinkError::plain)?;
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::io::retry_on_intr(|| rustix::net::sendto(&self.descriptor, bytes, SendFlags::empty(), &kernel))
            .map_err(NetlinkError::plain)?;
        self.answers(first, batch.len(), buffer, each)
    }

    // Reads what is there: answers were queued while the kernel worked inside `sendto`.
    fn answers(
        &self,
        first: u32,
        count: usize,
        buffer: &mut [u8],
        mut each: impl FnMut(Received<'_>),
    ) -> Result<(), NetlinkError> {
        let mut refusal = None;
        loop {
            match self.receive(buffer, RecvFlags::DONTWAIT) {
                Ok(bytes) => {
                    for message in Messages(bytes) {
                        let index = message.sequence.wrapping_sub(first) as usize;
                        if index >= count {
                            continue;
                        }
                        if i32::from(message.kind) == libc::NLMSG_ERROR {
                            refusal = refusal.or_else(|| refusal_of(&message, index));
                        } else {
                            each(message);
                        }
                    }
                }
                Err(error) if error == rustix::io::Errno::AGAIN => break,
                Err(error) => return Err(NetlinkError::plain(error)),
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Sends one request that is answered by many messages, and hands each to `each`.
    pub fn dump(&mut self, batch: &mut Batch, mut each: impl FnMut(Received<'_>)) -> Result<(), NetlinkError> {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(1).max(1);
        batch.flag_last(libc::NLM_F_DUMP as u16);
        batch.number(first);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.descriptor, batch.bytes(), SendFlags::empty(), &kernel)
            .map_err(NetlinkError::plain)?;
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let bytes = self.receive(&mut buffer, RecvFlags::empty()).map_err(NetlinkError::plain)?;
            for message in Messages(bytes).filter(|message| message.sequence == first) {
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return refusal_of(&message, 0).map_or(Ok(()), Err),
                    libc::NLMSG_ERROR => return refusal_of(&message, 0).map_or(Ok(()), Err),
                    _ => each(message),
                }
            }
        }
    }

    /// News that are there already (poll the socket for them), or `None`. `ENOBUFS` means that some
    /// were lost.
    pub fn news<'a>(&self, buffer: &'a mut Vec<u8>) -> io::Result<Option<Messages<'a>>> {
        buffer.resize(DATAGRAM_BYTES, 0);
        match self.receive(buffer, RecvFlags::DONTWAIT) {
            Ok(bytes) => Ok(Some(Messages(bytes))),
            Err(error) if error == rustix::io::Errno::AGAIN => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn receive<'a>(&self, buffer: &'a mut [u8], flags: RecvFlags) -> rustix::io::Result<&'a [u8]> {
        let (length, _) = rustix::io::retry_on_intr(|| rustix::net::recv(&self.descriptor, &mut *buffer, flags))?;
        Ok(&buffer[..length])
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

// `struct nlmsgerr` is an errno and, with NETLINK_CAP_ACK, the header of the request; then come the
// attributes NLMSGERR_ATTR_MSG (1) and others. A dump's end carries an errno too.
fn refusal_of(message: &Received<'_>, index: usize) -> Option<NetlinkError> {
    let code = u32_at(message.payload, 0)?.cast_signed();
    if code >= 0 {
        return None;
    }
    let skip = if i32::from(message.kind) == libc::NLMSG_ERROR { 20 } else { 4 };
    let detail = Attributes::after(message.payload, skip).text_of(1).unwrap_or_default().to_owned();
    Some(NetlinkError { errno: -code, index, detail })
}
