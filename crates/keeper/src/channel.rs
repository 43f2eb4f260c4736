//! How a message becomes a packet: the envelope as JSON, a zero byte, the payload.
//!
//! A payload that makes the packet too large travels in a sealed memfd, the last descriptor of the
//! message. Sizes are checked on both ends before anything is allocated. What the words mean is
//! `protocol`'s matter.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hako_sys::seqpacket::Channel;
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::{
    limits::{MESSAGE_BYTES_MAX, MESSAGE_DESCRIPTORS_MAX, PAYLOAD_BYTES_MAX, PROTOCOL_VERSION},
    protocol::Envelope,
};

/// A message ready to be sent.
#[derive(Debug)]
pub(crate) struct Packet<D = OwnedFd> {
    bytes: Vec<u8>,
    descriptors: Vec<D>,
    /// A payload too large for the message itself; it goes behind the other descriptors.
    large: Option<OwnedFd>,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Message<T> {
    pub(crate) id: u64,
    pub(crate) body: T,
    pub(crate) payload: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// A packet that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("it is of version {theirs} of the protocol")]
    Version { id: u64, theirs: u32 },
    #[error("its envelope is not what it should be")]
    Envelope(#[source] serde_json::Error),
    #[error("its payload is not what it should be")]
    Payload(#[source] io::Error),
}

impl<D: AsFd> Packet<D> {
    /// Packs a message. `descriptors` must be at most [`MESSAGE_DESCRIPTORS_MAX`] less one.
    pub(crate) fn new<T: Serialize>(id: u64, body: T, payload: &[u8], descriptors: Vec<D>) -> io::Result<Self> {
        let length = (payload.len() > MESSAGE_BYTES_MAX / 2).then_some(payload.len() as u64);
        let mut bytes = serde_json::to_vec(&Envelope { v: PROTOCOL_VERSION, id, large: length, body })?;
        let large = length.map(|_| sealed(payload)).transpose()?;
        if large.is_none() && !payload.is_empty() {
            bytes.push(0);
            bytes.extend_from_slice(payload);
        }
        if bytes.len() > MESSAGE_BYTES_MAX || descriptors.len() + usize::from(large.is_some()) > MESSAGE_DESCRIPTORS_MAX
        {
            let text = format!("a message of {} bytes and {} descriptors", bytes.len(), descriptors.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { bytes, descriptors, large })
    }

    /// Sends it whole, or not at all.
    pub(crate) fn send(&self, channel: &Channel) -> io::Result<()> {
        let descriptors: Vec<_> =
            self.descriptors.iter().map(AsFd::as_fd).chain(self.large.as_ref().map(AsFd::as_fd)).collect();
        channel.send(&self.bytes, &descriptors)
    }
}

/// Waits for the next message; `None` is the end of the connection.
pub(crate) fn receive<T: DeserializeOwned>(channel: &Channel, buffer: &mut Vec<u8>) -> io::Result<Option<Message<T>>> {
    buffer.resize(MESSAGE_BYTES_MAX, 0);
    let received = channel.receive(buffer)?;
    // An envelope is never empty, so nothing is the end.
    if received.length == 0 {
        return Ok(None);
    }
    let message = unpack(&buffer[..received.length], received.descriptors);
    message.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, hako_base::error::chain(&error)))
}

/// Understands a packet.
pub(crate) fn unpack<T: DeserializeOwned>(
    bytes: &[u8],
    mut descriptors: Vec<OwnedFd>,
) -> Result<Message<T>, PacketError> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let envelope: Envelope<T> = serde_json::from_slice(&bytes[..end]).map_err(|error| {
        // Words of another version may not parse; say that rather than where.
        match serde_json::from_slice::<Envelope<IgnoredAny>>(&bytes[..end]) {
            Ok(other) if other.v != PROTOCOL_VERSION => PacketError::Version { id: other.id, theirs: other.v },
            _ => PacketError::Envelope(error),
        }
    })?;
    let Envelope { v, id, large, body } = envelope;
    if v != PROTOCOL_VERSION {
        return Err(PacketError::Version { id, theirs: v });
    }
    let payload = match large {
        None => bytes.get(end + 1..).unwrap_or_default().to_vec(),
        Some(length) => descriptors
            .pop()
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            .and_then(|memory| unseal(memory.as_fd(), length))
            .map_err(PacketError::Payload)?,
    };
    Ok(Message { id, body, payload, descriptors })
}

/// Reads a payload out of its memfd, which nobody can change any more.
fn unseal(memory: BorrowedFd<'_>, length: u64) -> io::Result<Vec<u8>> {
    let wanted = SealFlags::WRITE | SealFlags::SHRINK;
    if length > PAYLOAD_BYTES_MAX || !rustix::fs::fcntl_get_seals(memory)?.contains(wanted) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long, or not sealed"));
    }
    let mut payload = vec![0; length as usize];
    let mut filled = 0;
    while filled < payload.len() {
        match rustix::io::pread(memory, &mut payload[filled..], filled as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(payload)
}

fn sealed(payload: &[u8]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("hako-plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = payload;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&memory, rest)?..];
    }
    rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(memory)
}
