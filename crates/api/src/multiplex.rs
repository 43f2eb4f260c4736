//! Stdout and stderr on one connection: frames of an 8-byte header and a payload.
//!
//! ```text
//! [stream, 0, 0, 0, length (32 bits, big endian)] payload
//! ```

/// Bytes before each payload.
pub const HEADER_BYTES: usize = 8;

/// Docker copies in pieces of 32 KiB; a peer that announces more than this is not one.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Where a payload comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// An error of the daemon itself, after the status line has gone out.
    System = 3,
}

/// Bytes that are not a frame's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    Stream(u8),
    TooLong(usize),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(number) => write!(f, "unrecognized input header: {number}"),
            Self::TooLong(length) => write!(f, "a frame of {length} bytes is too long"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The header of a frame with a payload of `length` bytes.
pub fn header(stream: Stream, length: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Puts one payload into one frame.
pub fn encode(stream: Stream, payload: &[u8], into: &mut Vec<u8>) {
    for piece in payload.chunks(FRAME_BYTES_MAX) {
        into.extend_from_slice(&header(stream, piece.len() as u32));
        into.extend_from_slice(piece);
    }
}

/// Takes frames apart, however the bytes are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Vec<u8>,
    open: Option<(Stream, usize)>,
}

impl Decoder {
    /// Feeds bytes; calls `piece` with each part of a payload as soon as it is there.
    ///
    /// # Errors
    /// When a header is not one; nothing after it can be understood.
    pub fn feed(&mut self, mut bytes: &[u8], mut piece: impl FnMut(Stream, &[u8])) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            if let Some((stream, left)) = self.open {
                let (payload, rest) = bytes.split_at(left.min(bytes.len()));
                piece(stream, payload);
                bytes = rest;
                self.open = (left > payload.len()).then(|| (stream, left - payload.len()));
                continue;
            }
            let (head, rest) = bytes.split_at((HEADER_BYTES - self.partial.len()).min(bytes.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() == HEADER_BYTES {
                self.open = parse_header(&self.partial)?;
                self.partial.clear();
            }
        }
        Ok(())
    }

    /// Whether the bytes so far end between two frames.
    pub fn is_whole(&self) -> bool {
        self.partial.is_empty() && self.open.is_none()
    }
}

fn parse_header(header: &[u8]) -> Result<Option<(Stream, usize)>, FrameError> {
    let stream = match header[0] {
        0 => Stream::Stdin,
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        3 => Stream::System,
        other => return Err(FrameError::Stream(other)),
    };
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    Ok((length > 0).then_some((stream, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        encode(Stream::Stdout, b"hello ", &mut bytes);
        encode(Stream::Stderr, b"", &mut bytes);
        encode(Stream::Stderr, b"oh", &mut bytes);
        encode(Stream::Stdout, b"world", &mut bytes);
        for size in 1..bytes.len() {
            let (mut decoder, mut out, mut err) = (Decoder::default(), Vec::new(), Vec::new());
            for chunk in bytes.chunks(size) {
                let sort = |stream, piece: &[u8]| match stream {
                    Stream::Stdout => out.extend_from_slice(piece),
                    _ => err.extend_from_slice(piece),
                };
                decoder.feed(chunk, sort).unwrap();
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"hello world"[..], &b"oh"[..]), "cut every {size}");
            assert!(decoder.is_whole());
        }
    }

    #[test]
    fn raw_bytes_are_not_taken_for_frames() {
        assert_eq!(Decoder::default().feed(b"HTTP/1.1", |_, _| ()), Err(FrameError::Stream(b'H')));
        let huge = header(Stream::Stdout, u32::MAX);
        assert_eq!(Decoder::default().feed(&huge, |_, _| ()), Err(FrameError::TooLong(u32::MAX as usize)));
    }
}
