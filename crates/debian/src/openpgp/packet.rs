//! Packets: a tag, a length, a body. Both spellings of the header are read; lengths that are told in parts are not.

use super::SignatureError;
use crate::limits;

pub(super) const SIGNATURE: u8 = 2;
pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const USER_ID: u8 = 13;
pub(super) const PUBLIC_SUBKEY: u8 = 14;

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'b> {
    pub(super) tag: u8,
    pub(super) body: &'b [u8],
}

/// The packets in these bytes; the first error is the last item.
pub(super) fn packets(bytes: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, SignatureError>> {
    let mut cursor = Cursor(bytes);
    let mut count = 0;
    std::iter::from_fn(move || {
        if cursor.0.is_empty() {
            return None;
        }
        count += 1;
        let read = if count > limits::PACKETS_MAX {
            Err(SignatureError::Malformed("too many packets"))
        } else {
            cursor.packet()
        };
        if read.is_err() {
            cursor.0 = &[];
        }
        Some(read)
    })
}

/// Bytes that are taken from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'b>(pub(super) &'b [u8]);

impl<'b> Cursor<'b> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'b [u8], SignatureError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SignatureError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many bytes, the highest first.
    pub(super) fn number(&mut self, bytes: usize) -> Result<usize, SignatureError> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    pub(super) fn byte(&mut self) -> Result<u8, SignatureError> {
        Ok(self.take(1)?[0])
    }

    /// A number of any size, as its bytes without leading zeros.
    pub(super) fn integer(&mut self) -> Result<&'b [u8], SignatureError> {
        let bits = self.number(2)?;
        let bytes = self.take(bits.div_ceil(8))?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok(&bytes[zeros..])
    }

    /// The length of a packet in the new format, or of a subpacket, which differ in what their first byte may be.
    pub(super) fn length(&mut self, two_until: u8) -> Result<usize, SignatureError> {
        match self.byte()? {
            first @ 0..192 => Ok(usize::from(first)),
            first if first < two_until => Ok(((usize::from(first) - 192) << 8) + usize::from(self.byte()?) + 192),
            255 => self.number(4),
            _ => Err(SignatureError::Malformed("a length in parts")),
        }
    }

    fn packet(&mut self) -> Result<Packet<'b>, SignatureError> {
        let head = self.byte()?;
        if head & 0x80 == 0 {
            return Err(SignatureError::Malformed("not a packet"));
        }
        let (tag, length) = if head & 0x40 != 0 {
            (head & 0x3f, self.length(224)?)
        } else {
            let bytes = match head & 3 {
                3 => return Err(SignatureError::Malformed("a packet without a length")),
                size => 1 << size,
            };
            (head >> 2 & 0xf, self.number(bytes)?)
        };
        Ok(Packet { tag, body: self.take(length)? })
    }
}
