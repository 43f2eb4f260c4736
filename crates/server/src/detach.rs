//! The keys that leave a terminal without ending what runs in it: `ctrl-p,ctrl-q`, or what the
//! client says.

use crate::{error::Failure, limits};

/// ctrl-p, ctrl-q
const DEFAULT: [u8; 2] = [16, 17];

/// A sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// From the client's text, `ctrl-p,ctrl-q` or `a,b`; the default when it says nothing.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self(DEFAULT.to_vec())) };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        match keys {
            Some(keys) if keys.len() <= limits::DETACH_KEYS_MAX => Ok(Self(keys)),
            _ => Err(Failure::invalid(format!("Invalid detach keys ({text}) provided"))),
        }
    }

    /// The bytes that the keys send.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn key(name: &str) -> Option<u8> {
    if let [byte] = name.as_bytes() {
        return Some(*byte);
    }
    match name.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [sign @ b'['..=b'_'] => Some(sign - b'[' + 27),
        _ => None,
    }
}

/// Looks for the keys in what is typed, and holds back what may become them.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: DetachKeys,
    matched: usize,
}

/// What to do with what was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Pass this on.
    Pass(Vec<u8>),
    /// Pass this on and leave.
    Leave(Vec<u8>),
}

impl Watch {
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self { keys, matched: 0 }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Typed {
        let mut pass = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte != self.keys.0[self.matched] {
                // What was held back was not the beginning of the keys; this byte may be.
                pass.extend_from_slice(&self.keys.0[..self.matched]);
                self.matched = 0;
            }
            if *byte != self.keys.0[self.matched] {
                pass.push(*byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.0.len() {
                return Typed::Leave(pass);
            }
        }
        Typed::Pass(pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_dockers() {
        for (text, expected) in [
            (None, &[16, 17][..]),
            (Some(""), &[16, 17]),
            (Some("ctrl-p,ctrl-q"), &[16, 17]),
            (Some("ctrl-a,a"), &[1, b'a']),
            (Some("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_"), &[0, 27, 28, 29, 30, 31]),
        ] {
            assert_eq!(DetachKeys::parse(text).unwrap().bytes(), expected, "{text:?}");
        }
        for text in ["ctrl-", "ctrl-A1", "ab", ",", "ctrl-é"] {
            let message = DetachKeys::parse(Some(text)).unwrap_err().message;
            assert_eq!(message, format!("Invalid detach keys ({text}) provided"));
        }
    }

    #[test]
    fn keys_are_found_however_they_are_cut() {
        let feed = |pieces: &[&[u8]]| {
            let mut watch = Watch::new(DetachKeys(vec![16, 17]));
            let mut passed = Vec::new();
            for piece in pieces {
                match watch.feed(piece) {
                    Typed::Pass(bytes) => passed.extend(bytes),
                    Typed::Leave(bytes) => {
                        passed.extend(bytes);
                        return (passed, true);
                    }
                }
            }
            (passed, false)
        };
        assert_eq!(feed(&[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(feed(&[b"ab\x10", b"\x11"]), (b"ab".to_vec(), true));
        assert_eq!(feed(&[b"\x10", b"x\x11"]), (b"\x10x\x11".to_vec(), false));
        assert_eq!(feed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(feed(&[b"\x10"]), (Vec::new(), false));
    }
}
