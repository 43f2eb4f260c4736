//! Keys and signatures for tests, made as an archive's signer would make them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};

/// When all keys and signatures were made: in April 2023.
pub(crate) const MADE: u32 = 1_680_000_000;

/// Somebody with a key.
pub(crate) struct Forge {
    pair: Ed25519KeyPair,
}

/// What a signature says besides what it signs.
#[derive(Default, Clone)]
pub(crate) struct Says {
    pub(crate) key_expires: Option<u32>,
    pub(crate) expires: Option<u32>,
    pub(crate) flags: Option<u8>,
    pub(crate) embedded: Option<Vec<u8>>,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("randomness");
        Self { pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key") }
    }

    /// The body of the key's packet.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut body = vec![4];
        body.extend(MADE.to_be_bytes());
        body.extend([22, 9, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01]);
        body.extend([0x01, 0x07, 0x40]);
        body.extend(self.pair.public_key().as_ref());
        body
    }

    pub(crate) fn framed(&self) -> Vec<u8> {
        let body = self.key();
        [&[0x99][..], &(body.len() as u16).to_be_bytes(), &body].concat()
    }

    fn fingerprint(&self) -> Vec<u8> {
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.framed()).as_ref().to_vec()
    }

    /// A signature's body.
    pub(crate) fn signature(&self, kind: u8, data: &[u8], says: &Says) -> Vec<u8> {
        let mut inner = subpacket(2, &MADE.to_be_bytes());
        inner.extend(subpacket(33, &[&[4][..], &self.fingerprint()].concat()));
        for (number, value) in [(9, says.key_expires), (3, says.expires)] {
            inner.extend(value.map(|value| subpacket(number, &value.to_be_bytes())).unwrap_or_default());
        }
        inner.extend(says.flags.map(|flags| subpacket(27, &[flags])).unwrap_or_default());
        inner.extend(says.embedded.as_ref().map(|body| subpacket(32, body)).unwrap_or_default());
        let mut body = vec![4, kind, 22, 8];
        body.extend((inner.len() as u16).to_be_bytes());
        body.extend(inner);
        let trailer = [&[4, 0xff][..], &(body.len() as u32).to_be_bytes()].concat();
        let hash = digest::digest(&digest::SHA256, &[data, &body, &trailer].concat());
        body.extend([0, 0]);
        body.extend(&hash.as_ref()[..2]);
        for half in self.pair.sign(hash.as_ref()).as_ref().chunks(32) {
            let zeros = half.iter().take_while(|byte| **byte == 0).count();
            let bits = (32 - zeros) * 8 - half.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
            body.extend((bits as u16).to_be_bytes());
            body.extend(&half[zeros..]);
        }
        body
    }

    /// A keyring with this key, which signs for itself.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.certificate_that(&Says { flags: Some(3), ..Says::default() })
    }

    pub(crate) fn certificate_that(&self, says: &Says) -> Vec<u8> {
        let name = b"A Forge";
        let about = [&self.framed()[..], &[0xb4, 0, 0, 0, name.len() as u8], name].concat();
        [packet(6, &self.key()), packet(13, name), packet(2, &self.signature(0x13, &about, says))].concat()
    }

    /// A message signed in the clear.
    pub(crate) fn sign(&self, text: &str) -> String {
        self.sign_that(text, &Says::default())
    }

    pub(crate) fn sign_that(&self, text: &str, says: &Says) -> String {
        let canonical = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\r\n");
        let signature = packet(2, &self.signature(1, canonical.as_bytes(), says));
        let escaped: String = text
            .lines()
            .map(|line| if line.starts_with('-') { format!("- {line}\n") } else { format!("{line}\n") })
            .collect();
        let armour = BASE64_STANDARD.encode(signature);
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{escaped}-----BEGIN PGP SIGNATURE-----\n\n{armour}\n\
             =AAAA\n-----END PGP SIGNATURE-----\n"
        )
    }
}

pub(crate) fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[0xc0 | tag, 0xff][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

fn subpacket(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[255][..], &(body.len() as u32 + 1).to_be_bytes(), &[kind], body].concat()
}
