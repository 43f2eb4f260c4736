//! The digests that registries name content by: SHA-256, as nearly everybody, or SHA-512.
//!
//! The server keeps both. An image in the store is SHA-256 only, so the client asks [`ContentDigest::sha256`].

use std::{fmt, str::FromStr};

use hako_model::Digest;
use ring::digest::{Context, SHA256, SHA512};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How a digest is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Sha256,
    Sha512,
}

/// What names some content. Never a path by itself: only digits get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ContentDigest {
    Sha256(Digest),
    Sha512([u8; 64]),
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DigestError {
    #[error("invalid digest {0:?}: expected an algorithm, a colon and hexadecimal digits")]
    Malformed(String),
    /// It is one, and names nothing that could be here.
    #[error("digest {0:?} is of an algorithm that is not supported: sha256 and sha512 are")]
    Unsupported(String),
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// A running hash.
    pub(crate) fn hasher(self) -> Hasher {
        let context = match self {
            Self::Sha256 => Context::new(&SHA256),
            Self::Sha512 => Context::new(&SHA512),
        };
        Hasher { algorithm: self, context }
    }

    /// The digest of these bytes.
    pub(crate) fn of(self, bytes: &[u8]) -> ContentDigest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.digest()
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::Unsupported(text.to_owned())),
        }
    }
}

/// The hash of what has come so far.
pub(crate) struct Hasher {
    pub(crate) algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn digest(&self) -> ContentDigest {
        let hash = self.context.clone().finish();
        match self.algorithm {
            Algorithm::Sha256 => {
                let mut bytes = [0; 32];
                bytes.copy_from_slice(hash.as_ref());
                ContentDigest::Sha256(Digest::from_sha256(bytes))
            }
            Algorithm::Sha512 => {
                let mut bytes = [0; 64];
                bytes.copy_from_slice(hash.as_ref());
                ContentDigest::Sha512(bytes)
            }
        }
    }
}

impl ContentDigest {
    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The digits without the algorithm.
    pub(crate) fn hex(self) -> String {
        match self {
            Self::Sha256(digest) => digest.hex(),
            Self::Sha512(bytes) => hako_base::random::encode_hex(&bytes),
        }
    }

    /// The digest as the image store has it.
    pub(crate) fn sha256(self) -> Option<Digest> {
        match self {
            Self::Sha256(digest) => Some(digest),
            Self::Sha512(_) => None,
        }
    }
}

impl From<Digest> for ContentDigest {
    fn from(digest: Digest) -> Self {
        Self::Sha256(digest)
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), self.hex())
    }
}

impl FromStr for ContentDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(text.to_owned());
        let (algorithm, encoded) = text.split_once(':').ok_or_else(malformed)?;
        match algorithm {
            "sha256" => text.parse().map(Self::Sha256).map_err(|_| malformed()),
            "sha512" => decode(encoded).map(Self::Sha512).ok_or_else(malformed),
            _ if is_algorithm(algorithm) && is_encoded(encoded) => Err(DigestError::Unsupported(text.to_owned())),
            _ => Err(malformed()),
        }
    }
}

fn decode(text: &str) -> Option<[u8; 64]> {
    let digits = text.as_bytes();
    if digits.len() != 128 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; 64];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

// The grammar of image-spec's descriptors: `[a-z0-9]+([+._-][a-z0-9]+)*` and `[a-zA-Z0-9=_-]+`.
fn is_algorithm(text: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.split(['+', '.', '_', '-']).all(plain)
}

fn is_encoded(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-'))
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentDigest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_known_unsupported_or_none() {
        let check = |text: &str, expected: &str| {
            let got = match text.parse::<ContentDigest>() {
                Ok(digest) => {
                    assert_eq!(digest.to_string(), text);
                    digest.algorithm().name().to_owned()
                }
                Err(DigestError::Malformed(_)) => "malformed".to_owned(),
                Err(DigestError::Unsupported(_)) => "unsupported".to_owned(),
            };
            assert_eq!(got, expected, "{text}");
        };
        check(&format!("sha256:{}", "0f".repeat(32)), "sha256");
        check(&format!("sha512:{}", "0f".repeat(64)), "sha512");
        check(&format!("sha512:{}", "0F".repeat(64)), "malformed");
        check("sha256:12", "malformed");
        check("blake3:abc", "unsupported");
        check("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8", "unsupported");
        check("a:../../x", "malformed");
        check("nothing", "malformed");
        check("sha512:../", "malformed");
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        assert!(Algorithm::Sha512.of(b"").to_string().starts_with("sha512:cf83e1357eefb8bdf1542850d66d8007d620e405"));
        assert!(Algorithm::Sha256.of(b"").to_string().starts_with("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4"));
    }
}
