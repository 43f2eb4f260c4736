//! Netlink messages as bytes: an encoder for batches of them, and readers that trust no length.
//!
//! Layout: `include/uapi/linux/netlink.h`. Every message starts with a 16-byte header; attributes
//! are a 4-byte header (length, type) and a value, padded to four bytes.

/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Size of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// Several messages that are sent by one system call.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message; `flags` get `NLM_F_REQUEST` added, the sequence number is set when it is sent.
    pub fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Encoder<'_>)) {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.resize(start + HEADER, 0);
        self.bytes[start + 4..start + 6].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[start + 6..start + 8].copy_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        body(&mut Encoder { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        pad(&mut self.bytes);
    }

    /// How many messages it has.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The messages as they are so far (sequence numbers are zero until sent).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds flags to the last message.
    pub(crate) fn flag_last(&mut self, flags: u16) {
        if let Some(&start) = self.starts.last() {
            add_flags(&mut self.bytes, start, flags);
        }
    }

    /// Numbers the messages from `first` on.
    pub(super) fn number(&mut self, first: u32) {
        for (index, &start) in self.starts.iter().enumerate() {
            let sequence = first.wrapping_add(index as u32);
            self.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
        }
    }
}

fn add_flags(bytes: &mut [u8], start: usize, flags: u16) {
    let old = u16::from_ne_bytes([bytes[start + 6], bytes[start + 7]]);
    bytes[start + 6..start + 8].copy_from_slice(&(old | flags).to_ne_bytes());
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Writes the body of one message.
#[derive(Debug)]
pub struct Encoder<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    /// A fixed header such as `struct ifinfomsg`.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        pad(self.bytes);
    }

    /// An attribute with a value.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        // The length field has 16 bits; what is longer is cut by the caller's own limits (see
        // `nft::Transaction`), and here refused loudly rather than wrapped.
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).expect("a netlink attribute is below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
    }

    /// An attribute whose value is a name with its terminating zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    /// A 32-bit attribute in the machine's byte order (rtnetlink).
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// A 32-bit attribute in network byte order (nfnetlink).
    pub fn u32_be(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// An attribute that contains attributes, with the nested flag.
    pub fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Encoder<'_>)) {
        self.nest(kind | NESTED, body);
    }

    /// An attribute that contains attributes, without the nested flag: some users of rtnetlink's
    /// older attributes compare the type with it (`IFLA_LINKINFO` and below).
    pub fn nested_plain(&mut self, kind: u16, body: impl FnOnce(&mut Encoder<'_>)) {
        self.nest(kind, body);
    }

    fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Encoder<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        body(&mut Encoder { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).expect("a nested netlink attribute is below 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// One message as it came from the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// Port of the socket whose request this answers or reports.
    pub port: u32,
    pub payload: &'a [u8],
}

/// The messages in a buffer; ends at the first that is not whole.
#[derive(Debug, Clone)]
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Received<'a>;

    fn next(&mut self) -> Option<Received<'a>> {
        let length = u32_at(self.0, 0)? as usize;
        let payload = self.0.get(HEADER..length)?;
        let message = Received {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            sequence: u32_at(self.0, 8)?,
            port: u32_at(self.0, 12)?,
            payload,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    }
}

/// The attributes in a payload; ends at the first that is not whole.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Of a value that is attributes only.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Of a payload that starts with a fixed header of `skip` bytes.
    pub fn after(payload: &'a [u8], skip: usize) -> Self {
        Self(payload.get(skip..).unwrap_or(&[]))
    }

    /// The first attribute of this type.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The first attribute of this type, as text without its terminating zero.
    pub fn text_of(&self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        std::str::from_utf8(&value[..end]).ok()
    }

    /// The first attribute of this type, as a number in the machine's byte order.
    pub fn number(&self, kind: u16) -> Option<u32> {
        u32_at(self.get(kind)?, 0)
    }

    /// The first attribute of this type, as a number in network byte order.
    pub fn number_be(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.get(..4)?.try_into().ok()?))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_as_written() {
        let mut batch = Batch::new();
        batch.message(16, 0, |body| {
            body.fixed(&[7; 16]);
            body.text(3, "eth0");
            body.nested(18, |info| info.u32(1, 99));
        });
        let message = Messages(batch.bytes()).next().unwrap();
        assert_eq!(message.kind, 16);
        let attributes = Attributes::after(message.payload, 16);
        assert_eq!(attributes.text_of(3), Some("eth0"));
        assert_eq!(Attributes::new(attributes.get(18).unwrap()).number(1), Some(99));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        // Shorter than its own header, longer than the buffer, and zero.
        for length in [0_u32, 5, 15, 400] {
            let mut bytes = [0_u8; 32];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(Messages(&bytes).next().is_none(), "{length}");
        }
        for length in [0_u16, 3, 99] {
            let mut bytes = [0_u8; 8];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert!(Attributes::new(&bytes).next().is_none(), "{length}");
        }
    }

    #[test]
    fn no_bytes_make_the_readers_fail() {
        // xorshift: the same bytes in every run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let length = (next() % 96) as usize;
            // Small numbers, so that lengths are often nearly right.
            let bytes: Vec<u8> = (0..length).map(|_| (next() % 40) as u8 & (next() % 256) as u8).collect();
            for message in Messages(&bytes) {
                let attributes = Attributes::after(message.payload, 4);
                let _ = (attributes.text_of(3), attributes.number(4), attributes.number_be(5));
                attributes.clone().for_each(|(_, value)| Attributes::new(value).for_each(drop));
            }
        }
    }
}
