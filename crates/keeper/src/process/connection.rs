//! The keeper's end of the daemon's connection: requests in, answers and notices out, never waiting.
//!
//! What a daemon does not take at once waits in the outbox; a daemon that takes nothing for too long
//! loses the connection, not the keeper its memory. Nothing is lost by that: whoever connects next is told
//! everything.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hako_sys::seqpacket::Channel;

use super::{log::say, slots::Key};
use crate::{
    channel::{Message, Packet, PacketError, unpack},
    limits::{MESSAGE_BYTES_MAX, OUTBOX_MESSAGES_MAX, REQUEST_DESCRIPTORS_MAX},
    protocol::{Answer, Ask, Failure},
};

/// A connection.
pub(super) struct Connection {
    pub(super) key: Key,
    channel: Channel,
    outbox: VecDeque<Packet>,
    /// Descriptors that came ahead of their request.
    staged: Option<(u64, Vec<OwnedFd>)>,
    /// It has been told what there is; from now on it gets notices.
    pub(super) greeted: bool,
    /// The socket was full at the last flush.
    pub(super) wants_room: bool,
}

/// What came of looking for a request.
pub(super) enum Incoming {
    Request(Message<Ask>),
    /// Nothing more at present.
    Nothing,
    /// The daemon is gone, or talks nonsense.
    Gone,
}

impl Connection {
    pub(super) fn new(key: Key, channel: Channel) -> Self {
        Self { key, channel, outbox: VecDeque::new(), staged: None, greeted: false, wants_room: false }
    }

    /// The next whole request. `buffer` is only lent, so that a keeper at rest holds none.
    pub(super) fn next_request(&mut self, buffer: &mut Vec<u8>) -> Incoming {
        buffer.resize(MESSAGE_BYTES_MAX, 0);
        loop {
            let received = match self.channel.try_receive(buffer) {
                Ok(received) if received.length > 0 => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Incoming::Nothing,
                Ok(_) | Err(_) => return Incoming::Gone,
            };
            match unpack::<Ask>(&buffer[..received.length], received.descriptors) {
                Ok(message) => match self.gather(message) {
                    Ok(Some(request)) => return Incoming::Request(request),
                    Ok(None) => {}
                    Err(()) => return Incoming::Gone,
                },
                Err(PacketError::Version { id, theirs }) => {
                    let text = format!("this keeper does not speak version {theirs} of the protocol");
                    self.answer(id, Answer::Failed(Failure::Refused(text)), Vec::new());
                }
                Err(error) => {
                    say(format_args!("a message from the daemon: {}", hako_base::error::chain(&error)));
                    return Incoming::Gone;
                }
            }
        }
    }

    /// Joins a request and the descriptors sent ahead of it.
    fn gather(&mut self, mut message: Message<Ask>) -> Result<Option<Message<Ask>>, ()> {
        let mut all = match self.staged.take() {
            Some((id, staged)) if id == message.id => staged,
            Some(_) => return Err(()),
            None => Vec::new(),
        };
        all.append(&mut message.descriptors);
        if all.len() > REQUEST_DESCRIPTORS_MAX {
            return Err(());
        }
        if matches!(message.body, Ask::Stage) {
            self.staged = Some((message.id, all));
            return Ok(None);
        }
        message.descriptors = all;
        Ok(Some(message))
    }

    /// Queues an answer (or, with id 0, a notice). It goes out with the next [`Connection::flush`].
    pub(super) fn answer(&mut self, id: u64, answer: Answer, descriptors: Vec<OwnedFd>) {
        match Packet::new(id, answer, &[], descriptors) {
            Ok(packet) => self.outbox.push_back(packet),
            Err(error) => say(format_args!("an answer cannot be packed: {error}")),
        }
    }

    /// Sends what the socket takes. `true`: everything is out; `false`: more later.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while let Some(packet) = self.outbox.front() {
            match packet.send(&self.channel) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if self.outbox.len() > OUTBOX_MESSAGES_MAX { Err(error) } else { Ok(false) };
                }
                Err(error) => return Err(error),
            }
        }
        self.outbox.shrink_to(16);
        Ok(true)
    }

    /// Whether nothing of a request or an answer is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.outbox.is_empty() && self.staged.is_none()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
