//! Keyrings: the keys that may sign, each with what its owner says of it.
//!
//! A file of keys may come from a server that anybody can add packets to, so nothing in it is believed but what the
//! primary key signed: its own capabilities and end, and its subkeys, which must have agreed.

use ring::digest;

use super::{
    SignatureError, clear,
    packet::{self, Cursor, Packet},
    signature::{DIRECT, KEY_REVOKED, PRIMARY_BINDING, SUBKEY_BINDING, SUBKEY_REVOKED, Signature},
};

/// "May sign data", in a key's flags.
const MAY_SIGN: u8 = 0x02;

/// Who made a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Of the primary key, in hexadecimal.
    pub fingerprint: String,
    pub name: String,
}

/// A public key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) fingerprint: [u8; 20],
    pub(super) material: Material,
    created: u64,
    /// As it is hashed where it is signed.
    framed: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ed25519(Vec<u8>),
}

/// A key that may sign, until it may not.
#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) key: Key,
    pub(super) signer: Signer,
    expires: Option<u64>,
}

/// Keys whose signatures count.
#[derive(Debug)]
pub struct Keyring(Vec<SigningKey>);

impl Keyring {
    /// Reads a keyring, plain or in ASCII armour. Keys of unknown kinds are left out.
    ///
    /// # Errors
    /// When it is none, or nothing in it may sign.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let plain = if bytes.trim_ascii_start().starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----") {
            let text = std::str::from_utf8(bytes).map_err(|_| SignatureError::Malformed("armour that is no text"))?;
            clear::dearmor_all(text, "PUBLIC KEY BLOCK")?
        } else {
            bytes.to_vec()
        };
        let packets = packet::packets(&plain).collect::<Result<Vec<_>, _>>()?;
        let starts: Vec<usize> = (0..packets.len()).filter(|at| packets[*at].tag == packet::PUBLIC_KEY).collect();
        let mut keys = Vec::new();
        for (number, start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(packets.len());
            keys.extend(signing_keys(&packets[*start..end]));
        }
        if keys.is_empty() { Err(SignatureError::NoKeys) } else { Ok(Self(keys)) }
    }

    /// The key that a signature names, if it was good when it signed and is now.
    pub(super) fn find(&self, signature: &Signature<'_>, now: u64) -> Option<&SigningKey> {
        let is_alive =
            |key: &&SigningKey| key.expires.is_none_or(|end| now < end) && key.key.created <= signature.created;
        self.0.iter().filter(|key| signature.names(&key.key)).find(is_alive)
    }
}

impl Key {
    fn parse(body: &[u8]) -> Result<Self, SignatureError> {
        let mut cursor = Cursor(body);
        match cursor.byte()? {
            4 => {}
            number => return Err(SignatureError::Unsupported { what: "a key of version", number }),
        }
        let created = cursor.number(4)? as u64;
        let material = match cursor.byte()? {
            1 => Material::Rsa { modulus: cursor.integer()?.to_vec(), exponent: cursor.integer()?.to_vec() },
            22 => Material::Ed25519(edwards(&mut cursor)?),
            number => return Err(SignatureError::Unsupported { what: "a key of algorithm", number }),
        };
        let length = u16::try_from(body.len()).map_err(|_| SignatureError::Malformed("a key that is too long"))?;
        let framed = [&[0x99][..], &length.to_be_bytes(), body].concat();
        // The fingerprint is a name, which is how it is used here; what is believed is the key.
        let hashed = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &framed);
        let mut fingerprint = [0; 20];
        fingerprint.copy_from_slice(hashed.as_ref());
        Ok(Self { fingerprint, material, created, framed })
    }
}

/// A point of Ed25519: the curve's name, and 32 bytes behind a mark.
fn edwards(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, SignatureError> {
    const ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
    let length = usize::from(cursor.byte()?);
    if cursor.take(length)? != ED25519 {
        return Err(SignatureError::Malformed("a curve other than Ed25519"));
    }
    match cursor.integer()? {
        [0x40, point @ ..] if point.len() == 32 => Ok(point.to_vec()),
        _ => Err(SignatureError::Malformed("a point that is none")),
    }
}

/// A primary key with all that its file says of it.
struct Certificate<'b> {
    primary: Key,
    is_revoked: bool,
    name: Option<String>,
    /// The latest of what the key says of itself.
    said: Option<Signature<'b>>,
    subkeys: Vec<Subkey<'b>>,
    /// What the signatures that follow are about, as it is hashed; `None` for what says nothing of keys.
    about: Option<(u8, Vec<u8>)>,
}

struct Subkey<'b> {
    key: Key,
    is_revoked: bool,
    binding: Option<Signature<'b>>,
}

/// What of one certificate may sign; nothing, if it was revoked or does not speak for itself.
fn signing_keys(packets: &[Packet<'_>]) -> Vec<SigningKey> {
    let Some(primary) = packets.first().and_then(|packet| Key::parse(packet.body).ok()) else { return Vec::new() };
    let about = Some((packet::PUBLIC_KEY, Vec::new()));
    let mut certificate =
        Certificate { primary, is_revoked: false, name: None, said: None, subkeys: Vec::new(), about };
    packets[1..].iter().for_each(|packet| certificate.take(packet));
    certificate.signing_keys()
}

impl<'b> Certificate<'b> {
    fn take(&mut self, packet: &Packet<'b>) {
        match packet.tag {
            packet::SIGNATURE => self.signature(packet.body),
            packet::USER_ID => {
                let length = u32::try_from(packet.body.len()).unwrap_or(u32::MAX).to_be_bytes();
                self.about = Some((packet.tag, [&[0xb4][..], &length, packet.body].concat()));
                self.name.get_or_insert_with(|| String::from_utf8_lossy(packet.body).into_owned());
            }
            packet::PUBLIC_SUBKEY => {
                self.about = None;
                if let Ok(key) = Key::parse(packet.body) {
                    self.about = Some((packet.tag, key.framed.clone()));
                    self.subkeys.push(Subkey { key, is_revoked: false, binding: None });
                }
            }
            // User attributes, trust: what is signed after them is not about the key.
            _ => self.about = None,
        }
    }

    fn signature(&mut self, body: &'b [u8]) {
        let Some((about, data)) = &self.about else { return };
        let Ok(signature) = Signature::parse(body) else { return };
        // What others say of the key makes nothing of it.
        if !signature.names(&self.primary) || !signature.matches(&self.primary, &[&self.primary.framed, data]) {
            return;
        }
        match (*about, signature.kind) {
            (packet::PUBLIC_KEY, KEY_REVOKED) => self.is_revoked = true,
            (packet::PUBLIC_KEY, DIRECT) | (packet::USER_ID, 0x10..=0x13) => newest(&mut self.said, signature),
            (packet::PUBLIC_SUBKEY, SUBKEY_REVOKED) => {
                self.subkeys.last_mut().into_iter().for_each(|subkey| subkey.is_revoked = true);
            }
            (packet::PUBLIC_SUBKEY, SUBKEY_BINDING) => {
                if let Some(subkey) = self.subkeys.last_mut() {
                    newest(&mut subkey.binding, signature);
                }
            }
            _ => {}
        }
    }

    fn signing_keys(self) -> Vec<SigningKey> {
        let Some(said) = self.said.filter(|_| !self.is_revoked) else { return Vec::new() };
        let primary = self.primary;
        let signer = Signer { fingerprint: hex(&primary.fingerprint), name: self.name.unwrap_or_default() };
        let end = |key: &Key, seconds: Option<u64>| seconds.map(|seconds| key.created + seconds);
        let primary_end = end(&primary, said.key_expires);
        let mut keys = Vec::new();
        for Subkey { key, is_revoked, binding } in self.subkeys {
            let is_good = |binding: &Signature<'_>| !is_revoked && agreed(&primary, &key, binding);
            let Some(binding) = binding.filter(is_good) else { continue };
            let expires = [end(&key, binding.key_expires), primary_end].into_iter().flatten().min();
            keys.push(SigningKey { key, signer: signer.clone(), expires });
        }
        if said.flags.is_none_or(|flags| flags & MAY_SIGN != 0) {
            keys.push(SigningKey { key: primary, signer, expires: primary_end });
        }
        keys
    }
}

/// A subkey may sign if the primary key says so, and if the subkey has signed that it belongs there: else anybody could
/// take another's key for their own.
fn agreed(primary: &Key, subkey: &Key, binding: &Signature<'_>) -> bool {
    let may_sign = binding.flags.is_some_and(|flags| flags & MAY_SIGN != 0);
    let back = binding.embedded.and_then(|body| Signature::parse(body).ok());
    may_sign
        && back.is_some_and(|back| {
            back.kind == PRIMARY_BINDING && back.matches(subkey, &[&primary.framed, &subkey.framed])
        })
}

fn newest<'b>(known: &mut Option<Signature<'b>>, other: Signature<'b>) {
    if known.as_ref().is_none_or(|known| known.created <= other.created) {
        *known = Some(other);
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
