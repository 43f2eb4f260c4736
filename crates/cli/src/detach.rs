//! The keys that detach from a container: `ctrl-p,ctrl-q`, or what the person chose.
//!
//! The keys are held back until it is clear whether the whole sequence comes; if not, they go to
//! the container after all.

/// A detach sequence and how much of it was typed.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

/// What became of typed bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// What the container is to get.
    pub pass: Vec<u8>,
    /// Whether the sequence is complete.
    pub detach: bool,
}

impl DetachKeys {
    /// Reads `ctrl-a,b,c`.
    ///
    /// # Errors
    /// Names the key that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut sequence = Vec::new();
        for key in text.split(',') {
            let byte = match key.strip_prefix("ctrl-").map(str::as_bytes) {
                Some([letter @ b'a'..=b'z']) => letter - b'a' + 1,
                Some([b'@']) => 0,
                Some([symbol @ b'['..=b'_']) => symbol - b'[' + 27,
                None if key.len() == 1 && key.is_ascii() => key.as_bytes()[0],
                _ => return Err(format!("unknown character: '{key}'")),
            };
            sequence.push(byte);
        }
        Ok(Self { sequence, matched: 0 })
    }

    /// Takes typed bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Typed {
        let mut pass = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte == self.sequence[self.matched] {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return Typed { pass, detach: true };
                }
                continue;
            }
            pass.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(*byte == self.sequence[0]);
            if self.matched == 0 {
                pass.push(*byte);
            }
        }
        Typed { pass, detach: false }
    }
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self { sequence: vec![16, 17], matched: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_sequence_goes_to_the_container() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.feed(b"a\x10"), Typed { pass: b"a".to_vec(), detach: false });
        assert_eq!(keys.feed(b"b"), Typed { pass: b"\x10b".to_vec(), detach: false });
        assert_eq!(keys.feed(b"\x10\x10"), Typed { pass: b"\x10".to_vec(), detach: false });
        assert_eq!(keys.feed(b"\x11more"), Typed { pass: Vec::new(), detach: true });
    }

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        assert_eq!(DetachKeys::parse("ctrl-a,d,ctrl-[,ctrl-@").unwrap().sequence, [1, b'd', 27, 0]);
        assert_eq!(DetachKeys::parse("foo").unwrap_err(), "unknown character: 'foo'");
        assert_eq!(DetachKeys::parse("ctrl-1").unwrap_err(), "unknown character: 'ctrl-1'");
    }
}
