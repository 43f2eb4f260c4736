//! Identifiers: 32 random bytes for what is made here, a SHA-256 for what is named by its content.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An identifier or digest that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{text:?} is not an id: 64 lower-case hexadecimal digits")]
    Id { text: String },
    #[error("invalid digest {text:?}: expected sha256: and 64 lower-case hexadecimal digits")]
    Digest { text: String },
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0_u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// A new one, from the kernel's randomness. Docker never makes a short form that is all
            /// digits (it could be mistaken for a number); neither does this.
            pub fn random() -> Self {
                loop {
                    let id = Self(hako_base::random::bytes());
                    if id.short().bytes().any(|digit| digit.is_ascii_alphabetic()) {
                        return id;
                    }
                }
            }

            /// The first twelve hexadecimal digits, as tables show it.
            pub fn short(&self) -> String {
                hako_base::random::encode_hex(&self.0[..6])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hako_base::random::encode_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                decode(text).map(Self).ok_or_else(|| IdError::Id { text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// A container's name for life.
    ContainerId
);
id!(
    /// A network's name for life.
    NetworkId
);
id!(
    /// A process started in a running container by `exec`.
    ExecId
);

/// The SHA-256 of some bytes; the only kind of digest hako stores, and never a path by itself
/// (CVE-2024-3727).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From the 32 bytes that a hash function gave.
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 hexadecimal digits without the algorithm.
    pub fn hex(&self) -> String {
        hako_base::random::encode_hex(&self.0)
    }

    /// The first twelve hexadecimal digits, as tables show an image's id.
    pub fn short(&self) -> String {
        hako_base::random::encode_hex(&self.0[..6])
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("sha256:").and_then(decode).map(Self).ok_or_else(|| IdError::Digest { text: text.to_owned() })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_never_a_path() {
        for text in ["sha256:../../etc", "sha256:", "sha512:00", &format!("sha256:{}", "A".repeat(64))] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    }

    #[test]
    fn a_short_id_is_not_a_number() {
        for _ in 0..200 {
            assert!(ContainerId::random().short().parse::<u64>().is_err());
        }
    }
}
