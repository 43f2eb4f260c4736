//! The keeper's epoll: what is watched, and what an event means.
//!
//! An event carries a token: what kind of thing it is about, and which one. Slots are numbered anew when
//! they are reused, so an event that was already taken when its thing went away is recognised as stale.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};

use super::slots::Key;
use crate::limits::EVENTS_PER_TURN;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Listener,
    Signals,
    /// The daemon's connection, by its number.
    Connection(Key),
    /// A launch that goes on.
    Launch(Key),
    /// The end of a process.
    Exit(Key),
    /// Output of a process: source 0 or 1.
    Source(Key, usize),
    /// Room in a process's ring.
    Space(Key),
}

impl Token {
    fn encode(self) -> u64 {
        let (kind, key) = match self {
            Self::Listener => (0, Key::default()),
            Self::Signals => (1, Key::default()),
            Self::Connection(key) => (2, key),
            Self::Launch(key) => (3, key),
            Self::Exit(key) => (4, key),
            Self::Source(key, 0) => (5, key),
            Self::Source(key, _) => (6, key),
            Self::Space(key) => (7, key),
        };
        kind << 56 | key.encode()
    }

    fn decode(number: u64) -> Option<Self> {
        let key = Key::decode(number & ((1 << 56) - 1));
        Some(match number >> 56 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Connection(key),
            3 => Self::Launch(key),
            4 => Self::Exit(key),
            5 => Self::Source(key, 0),
            6 => Self::Source(key, 1),
            7 => Self::Space(key),
            _ => return None,
        })
    }
}

/// How something is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    Readable,
    /// Told once each time something new comes.
    ReadableEdge,
    ReadableOrWritable,
    /// Nothing but errors and the end.
    Nothing,
}

impl Watch {
    fn flags(self) -> EventFlags {
        match self {
            Self::Readable => EventFlags::IN,
            Self::ReadableEdge => EventFlags::IN | EventFlags::ET,
            Self::ReadableOrWritable => EventFlags::IN | EventFlags::OUT,
            Self::Nothing => EventFlags::empty(),
        }
    }
}

/// The epoll and the events taken from it.
pub(super) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    pub(super) fn add(&self, what: impl AsFd, token: Token, watch: Watch) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, what, EventData::new_u64(token.encode()), watch.flags())?)
    }

    pub(super) fn change(&self, what: impl AsFd, token: Token, watch: Watch) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, what, EventData::new_u64(token.encode()), watch.flags())?)
    }

    /// Must come before the descriptor is closed: a duplicate elsewhere would keep it in the epoll.
    pub(super) fn remove(&self, what: impl AsFd) {
        let _ = epoll::delete(&self.epoll, what);
    }

    /// Waits for events, `patience` at most.
    pub(super) fn wait(&self, patience: Option<Duration>) -> io::Result<Vec<Token>> {
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_PER_TURN);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(events.iter().filter_map(|event| Token::decode(event.data.u64())).collect()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_encoding() {
        let key = Key::decode(0x00ab_cdef_0001_0203);
        for token in [Token::Listener, Token::Launch(key), Token::Source(key, 0), Token::Source(key, 1)] {
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(u64::MAX), None);
    }
}
