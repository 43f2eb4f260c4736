//! What child and parent say to each other while a launch is under way, one message each, first byte its kind.
//!
//! ```text
//! parent ── G ─────────────────► child    go on: ids are mapped            (user namespaces only)
//! parent ── J ─────────────────► child    the v1 cgroups are there         (made while the child was)
//! parent ── J + namespace ─────► child    join this network                (the same)
//! child  ── C pid + pidfd ─────► parent   the real process exists          (exec, joined pid namespace)
//! child  ── T + master ────────► parent   here is the terminal             (with a terminal)
//! child  ── H ─────────────────► parent   run your hooks, then say go           (bundles with such hooks)
//! child  ── L + listener ──────► parent   calls are handed over here            (filters that notify)
//! child  ── R ─────────────────► parent   all is ready: waits to be started     (with a gate)
//! child  ── X ─────────────────► parent   all is set up, exec comes next
//! child  ── F error as JSON ───► parent   a step failed
//! child  ── end of file ───────► parent   exec has closed the channel: it runs
//! ```

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hako_sys::seqpacket::Channel;

use crate::error::{LaunchError, Step};

/// Bytes of one message. The longest is an error with a path of 4,096 bytes in it.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// A message from the child.
#[derive(Debug)]
pub(crate) enum Message {
    Cloned {
        pid: u32,
        pidfd: OwnedFd,
    },
    Terminal(OwnedFd),
    Hooks,
    Listener(OwnedFd),
    Ready,
    Executing,
    Failed(LaunchError),
    /// Nothing more will come.
    End,
}

/// Says that the real process exists.
pub(crate) fn send_cloned(channel: &Channel, pid: u32, pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let mut bytes = [b'C', 0, 0, 0, 0];
    bytes[1..].copy_from_slice(&pid.to_le_bytes());
    channel.send(&bytes, &[pidfd])
}

/// Hands over the terminal's other side.
pub(crate) fn send_terminal(channel: &Channel, master: BorrowedFd<'_>) -> io::Result<()> {
    channel.send(b"T", &[master])
}

/// Asks the parent to run its hooks.
pub(crate) fn send_hooks(channel: &Channel) -> io::Result<()> {
    channel.send(b"H", &[])
}

/// Hands over the listener of a filter.
pub(crate) fn send_listener(channel: &Channel, listener: BorrowedFd<'_>) -> io::Result<()> {
    channel.send(b"L", &[listener])
}

/// Says that the process waits at its gate. As [`send_executing`], nobody need hear it.
pub(crate) fn send_ready(channel: &Channel) {
    let _ = channel.send(b"R", &[]);
}

/// Says that only exec is left. A failure to say so is not worth stopping for: the parent sees the end of file.
pub(crate) fn send_executing(channel: &Channel) {
    let _ = channel.send(b"X", &[]);
}

/// Says what failed; without a parent there is nobody to tell.
pub(crate) fn send_failed(channel: &Channel, error: &LaunchError) {
    let mut bytes = vec![b'F'];
    if let Ok(json) = serde_json::to_vec(error) {
        bytes.extend(json);
    }
    let _ = channel.send(&bytes, &[]);
}

/// Lets the child go on.
pub(crate) fn send_go(channel: &Channel) -> io::Result<()> {
    channel.send(b"G", &[])
}

/// Hands over what the child joins late.
pub(crate) fn send_late(channel: &Channel, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    channel.send(b"J", descriptors)
}

/// Waits for what is to be joined late.
pub(crate) fn wait_for_late(channel: &Channel) -> io::Result<Vec<OwnedFd>> {
    let received = channel.receive(&mut [0; 4])?;
    if received.length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(received.descriptors) }
}

/// Waits until the parent lets the child go on.
pub(crate) fn wait_for_go(channel: &Channel) -> io::Result<()> {
    let received = channel.receive(&mut [0; 4])?;
    // An end of file: the parent is gone, and nobody wants this process any more.
    if received.length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// The next message, if there is one. Never waits.
pub(crate) fn receive(channel: &Channel) -> Result<Option<Message>, LaunchError> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let received = match channel.try_receive(&mut buffer) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Some(Message::End)),
        Err(error) => return Err(LaunchError::new(Step::Died, "", &error)),
    };
    parse(&buffer[..received.length], received.descriptors).map(Some)
}

fn parse(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Message, LaunchError> {
    let malformed = || LaunchError::in_words(Step::Died, "", "it sent a malformed message");
    let mut descriptors = descriptors.into_iter();
    match bytes {
        [] => Ok(Message::End),
        [b'C', pid @ ..] => {
            let pid = pid.try_into().map(u32::from_le_bytes).map_err(|_| malformed())?;
            Ok(Message::Cloned { pid, pidfd: descriptors.next().ok_or_else(malformed)? })
        }
        [b'T'] => descriptors.next().map(Message::Terminal).ok_or_else(malformed),
        [b'H'] => Ok(Message::Hooks),
        [b'L'] => descriptors.next().map(Message::Listener).ok_or_else(malformed),
        [b'R'] => Ok(Message::Ready),
        [b'X'] => Ok(Message::Executing),
        [b'F', json @ ..] => serde_json::from_slice(json).map(Message::Failed).map_err(|_| malformed()),
        _ => Err(malformed()),
    }
}

/// The descriptor to poll.
pub(crate) fn descriptor(channel: &Channel) -> BorrowedFd<'_> {
    channel.as_fd()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_whole() {
        let (parent, child) = Channel::pair().unwrap();
        let error = LaunchError::in_words(Step::Mount, "/x", "no room");
        send_failed(&child, &error);
        assert!(matches!(receive(&parent).unwrap(), Some(Message::Failed(got)) if got == error));
        assert!(receive(&parent).unwrap().is_none());
        drop(child);
        assert!(matches!(receive(&parent).unwrap(), Some(Message::End)));
    }

    #[test]
    fn nonsense_is_an_error_and_not_a_panic() {
        for bytes in [&b"C12"[..], b"C1234", b"T", b"F{", b"zzz"] {
            assert!(parse(bytes, Vec::new()).is_err(), "{bytes:?}");
        }
    }
}
