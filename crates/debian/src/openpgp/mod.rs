//! OpenPGP (RFC 4880, RFC 9580) as far as archives of packages use it: version 4 keys, RSA and Ed25519, SHA-2, texts
//! signed in the clear. The arithmetic is `ring`'s.
//!
//! Everything else is refused by name: no SHA-1, no MD5, no DSA, no version 3, no partial lengths. A key signs for
//! itself or by a subkey that it and the subkey have both bound; keys and signatures that have expired, and keys that
//! were revoked, count for nothing. Why this is not a library: docs/decisions.

mod clear; // texts signed in the clear, and armour
mod key; // keyrings
mod packet; // the packets everything is made of
mod signature; // one signature

pub use key::{Keyring, Signer};

use crate::limits;

/// Why a signature or a keyring is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    #[error("it is not a text signed in the clear: {0}")]
    NotClear(&'static str),
    #[error("malformed OpenPGP data: {0}")]
    Malformed(&'static str),
    #[error("OpenPGP data has {what} {number}, which hako does not take")]
    Unsupported { what: &'static str, number: u8 },
    #[error("the keyring has no key that may sign")]
    NoKeys,
    #[error("the signature by {fingerprint} ({name}) does not match")]
    Bad { fingerprint: String, name: String },
    #[error("no signature by a key of the keyring; it is signed by {}", .signers.join(", "))]
    Unknown { signers: Vec<String> },
}

/// A text, and whose signatures were found good.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    pub text: String,
    pub signers: Vec<Signer>,
}

/// The text in a message signed in the clear, if a key of the ring signed it. `now` is in seconds since 1970.
///
/// # Errors
/// When something stands around it that was not signed, when no key of the ring signed it, and when one is said to
/// have and has not.
pub fn verify(message: &str, keyring: &Keyring, now: u64) -> Result<Verified, SignatureError> {
    let clear = clear::parse(message)?;
    let (mut signers, mut others) = (Vec::new(), Vec::new());
    for (count, packet) in packet::packets(&clear.signature).enumerate() {
        let packet = packet?;
        if count >= limits::SIGNATURES_MAX {
            return Err(SignatureError::Malformed("too many signatures"));
        }
        if packet.tag != packet::SIGNATURE {
            return Err(SignatureError::Malformed("a packet among the signatures is none"));
        }
        // A signature of a kind that we do not know may stand beside one that we do.
        let Ok(signature) = signature::Signature::parse(packet.body) else {
            others.push("an unknown kind of signature".to_owned());
            continue;
        };
        if signature.kind != signature::TEXT {
            others.push("a signature of something else".to_owned());
            continue;
        }
        match keyring.find(&signature, now) {
            Some(key) if signature.is_valid_at(now) => {
                if !signature.matches(&key.key, &[&clear.canonical]) {
                    let (fingerprint, name) = (key.signer.fingerprint.clone(), key.signer.name.clone());
                    return Err(SignatureError::Bad { fingerprint, name });
                }
                signers.push(key.signer.clone());
            }
            _ => others.push(signature.issuer_text()),
        }
    }
    if signers.is_empty() {
        return Err(SignatureError::Unknown { signers: others });
    }
    Ok(Verified { text: clear.text, signers })
}

#[cfg(test)]
pub(crate) mod forge; // keys and signatures for tests

#[cfg(test)]
mod tests;
