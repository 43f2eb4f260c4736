//! One signature: what it says, and whether a key made it.

use ring::{digest, signature};

use super::{
    SignatureError,
    key::{Key, Material},
    packet::Cursor,
};

pub(super) const TEXT: u8 = 0x01;
pub(super) const SUBKEY_BINDING: u8 = 0x18;
pub(super) const PRIMARY_BINDING: u8 = 0x19;
pub(super) const DIRECT: u8 = 0x1f;
pub(super) const KEY_REVOKED: u8 = 0x20;
pub(super) const SUBKEY_REVOKED: u8 = 0x28;

const RSA: u8 = 1;
const EDDSA: u8 = 22;

/// A version 4 signature. Of what is in it only the hashed part is believed, but for what needs no belief: who is said
/// to have made it, and a signature inside, which stands for itself.
#[derive(Debug)]
pub(super) struct Signature<'b> {
    pub(super) kind: u8,
    algorithm: u8,
    hash: Hash,
    /// What of the signature itself is signed.
    hashed: &'b [u8],
    pub(super) created: u64,
    /// Seconds after its creation.
    expires: Option<u64>,
    /// Seconds after the creation of the key that it is about.
    pub(super) key_expires: Option<u64>,
    pub(super) flags: Option<u8>,
    issuer: Vec<u8>,
    pub(super) embedded: Option<&'b [u8]>,
    integers: &'b [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl<'b> Signature<'b> {
    pub(super) fn parse(body: &'b [u8]) -> Result<Self, SignatureError> {
        let mut cursor = Cursor(body);
        match cursor.byte()? {
            4 => {}
            number => return Err(SignatureError::Unsupported { what: "a signature of version", number }),
        }
        let (kind, algorithm) = (cursor.byte()?, cursor.byte()?);
        if !matches!(algorithm, RSA | EDDSA) {
            return Err(SignatureError::Unsupported { what: "a signature by algorithm", number: algorithm });
        }
        let hash = match cursor.byte()? {
            8 => Hash::Sha256,
            9 => Hash::Sha384,
            10 => Hash::Sha512,
            number => return Err(SignatureError::Unsupported { what: "a signature of hash", number }),
        };
        let length = cursor.number(2)?;
        let inner = cursor.take(length)?;
        let length_outer = cursor.number(2)?;
        let outer = cursor.take(length_outer)?;
        // The first two bytes of the hash, for those who want to fail early.
        cursor.take(2)?;
        let mut made = Self {
            kind,
            algorithm,
            hash,
            hashed: &body[..6 + length],
            created: 0,
            expires: None,
            key_expires: None,
            flags: None,
            issuer: Vec::new(),
            embedded: None,
            integers: cursor.0,
        };
        made.subpackets(outer, false)?;
        made.subpackets(inner, true)?;
        if made.created == 0 {
            return Err(SignatureError::Malformed("a signature without a date"));
        }
        Ok(made)
    }

    fn subpackets(&mut self, bytes: &'b [u8], is_hashed: bool) -> Result<(), SignatureError> {
        let mut cursor = Cursor(bytes);
        while !cursor.0.is_empty() {
            let length = cursor.length(255)?;
            let mut body = Cursor(cursor.take(length)?);
            let kind = body.byte()?;
            let (kind, is_critical) = (kind & 0x7f, kind & 0x80 != 0);
            match (kind, is_hashed) {
                (16, _) if self.issuer.is_empty() => self.issuer = body.take(8)?.to_vec(),
                // The version of the key, then its fingerprint, which says more than the id.
                (33, _) if body.byte()? == 4 => self.issuer = body.take(20)?.to_vec(),
                (16 | 33, _) => {}
                (32, _) => self.embedded = Some(body.0),
                (2, true) => self.created = body.number(4)? as u64,
                (3, true) => self.expires = Some(body.number(4)? as u64).filter(|seconds| *seconds > 0),
                (9, true) => self.key_expires = Some(body.number(4)? as u64).filter(|seconds| *seconds > 0),
                (27, true) => self.flags = Some(body.byte().unwrap_or(0)),
                // What does not change who may sign what: preferences, notations' names, reasons, features.
                (4 | 7 | 11 | 20..=26 | 28..=31 | 34 | 35 | 39, _) if !is_critical || kind != 20 => {}
                (_, true) if is_critical => {
                    return Err(SignatureError::Unsupported { what: "a critical subpacket", number: kind });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// It was made before, and is not too old; a clock may be a day behind.
    pub(super) fn is_valid_at(&self, now: u64) -> bool {
        self.created <= now + 24 * 3600 && self.expires.is_none_or(|seconds| now < self.created + seconds)
    }

    /// Whether it says that this key made it.
    pub(super) fn names(&self, key: &Key) -> bool {
        !self.issuer.is_empty() && key.fingerprint.ends_with(&self.issuer)
    }

    pub(super) fn issuer_text(&self) -> String {
        if self.issuer.is_empty() { "nobody by name".to_owned() } else { super::key::hex(&self.issuer) }
    }

    /// Whether this key made it of this data.
    pub(super) fn matches(&self, key: &Key, data: &[&[u8]]) -> bool {
        let length = u32::try_from(self.hashed.len()).unwrap_or(u32::MAX).to_be_bytes();
        let parts = data.iter().copied().chain([self.hashed, &[4, 0xff], &length]);
        let mut integers = Cursor(self.integers);
        match (&key.material, self.algorithm) {
            (Material::Rsa { modulus, exponent }, RSA) => {
                let Ok(integer) = integers.integer() else { return false };
                let parameters = match self.hash {
                    Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                };
                let Some(padded) = padded(integer, modulus.len()) else { return false };
                let public = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
                public.verify(parameters, &parts.collect::<Vec<_>>().concat(), &padded).is_ok()
            }
            (Material::Ed25519(point), EDDSA) => {
                let (Ok(r), Ok(s)) = (integers.integer(), integers.integer()) else { return false };
                let (Some(r), Some(s)) = (padded(r, 32), padded(s, 32)) else { return false };
                let mut context = digest::Context::new(match self.hash {
                    Hash::Sha256 => &digest::SHA256,
                    Hash::Sha384 => &digest::SHA384,
                    Hash::Sha512 => &digest::SHA512,
                });
                parts.for_each(|part| context.update(part));
                let public = signature::UnparsedPublicKey::new(&signature::ED25519, point);
                public.verify(context.finish().as_ref(), &[r, s].concat()).is_ok()
            }
            _ => false,
        }
    }
}

/// A number as so many bytes; `None` if it is larger.
fn padded(integer: &[u8], length: usize) -> Option<Vec<u8>> {
    let zeros = length.checked_sub(integer.len())?;
    Some([&vec![0; zeros][..], integer].concat())
}
