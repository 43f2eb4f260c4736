//! Bearer tokens: JSON Web Tokens that a token service signed, in the form that registries agreed on.
//!
//! A token is believed if a trusted key signed it with an algorithm that fits that key, the right service issued it for
//! us, and it holds now. What it lets its bearer do is in its claim `access`. Keys come from certificates (whose chain
//! a token may bring along, ending at one of them) and from a JSON Web Key Set.

use std::{fs, io::Read, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject};
use serde::Deserialize;

use super::{ServeError, access::Grant, settings::TokenSettings};
use crate::limits;

/// What checks tokens.
pub(crate) struct Tokens {
    pub(crate) realm: String,
    pub(crate) service: String,
    issuer: String,
    roots: Vec<CertificateDer<'static>>,
    keys: Vec<(Option<String>, Key)>,
}

/// A public key, as ring takes it.
enum Key {
    /// The DER of a PKCS #1 `RSAPublicKey`.
    Rsa(Vec<u8>),
    RsaParts {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
    /// An uncompressed point of P-384.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    x5c: Vec<String>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: Audience,
    exp: Option<i64>,
    nbf: Option<i64>,
    #[serde(default)]
    access: Option<Vec<Grant>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<WebKey>,
}

#[derive(Deserialize)]
struct WebKey {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Tokens {
    pub(crate) fn open(settings: &TokenSettings) -> Result<Self, ServeError> {
        let (mut roots, mut keys) = (Vec::new(), Vec::new());
        if let Some(path) = &settings.bundle {
            let bad = |why: String| ServeError::Tokens(format!("{}: {why}", path.display()));
            for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
                let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                let key = key_of(&certificate).ok_or_else(|| bad("a certificate has a key of no known kind".into()))?;
                keys.push((None, key));
                roots.push(certificate);
            }
        }
        if let Some(path) = &settings.jwks {
            let set: KeySet = serde_json::from_slice(&read(path)?)
                .map_err(|error| ServeError::Tokens(format!("{} is no key set: {error}", path.display())))?;
            keys.extend(set.keys.iter().filter_map(|key| Some((key.kid.clone(), web_key(key)?))));
        }
        if keys.is_empty() {
            return Err(ServeError::Tokens("no key to check tokens with is in the files that were named".to_owned()));
        }
        let TokenSettings { realm, service, issuer, .. } = settings.clone();
        Ok(Self { realm, service, issuer, roots, keys })
    }

    /// What a token lets its bearer do; `None` for a token that is not to be believed.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Option<Vec<Grant>> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if !self.is_signed(&header, signed.as_bytes(), &decode(signature)?, now) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let is_for_us = match &claims.aud {
            Audience::One(one) => *one == self.service,
            Audience::Several(all) => all.contains(&self.service),
        };
        let leeway = limits::TOKEN_LEEWAY_SECONDS;
        let holds = claims.exp.is_some_and(|until| now < until.saturating_add(leeway))
            && claims.nbf.is_none_or(|from| now >= from.saturating_sub(leeway));
        (claims.iss == self.issuer && is_for_us && holds).then(|| claims.access.unwrap_or_default())
    }

    fn is_signed(&self, header: &Header, signed: &[u8], signature: &[u8], now: i64) -> bool {
        if let Some(leaf) = header.x5c.first() {
            let chain: Option<Vec<CertificateDer<'static>>> =
                header.x5c.iter().take(limits::TOKEN_CHAIN_MAX).map(|one| certificate(one)).collect();
            let Some(chain) = chain.filter(|_| !leaf.is_empty()) else { return false };
            return self.is_trusted(&chain, now)
                && key_of(&chain[0]).is_some_and(|key| key.verifies(&header.alg, signed, signature));
        }
        let named = |key: &&(Option<String>, Key)| key.0.is_some() && key.0 == header.kid;
        match self.keys.iter().find(named) {
            Some((_, key)) => key.verifies(&header.alg, signed, signature),
            // Certificates have no names that all token services agree on.
            None => self.keys.iter().any(|(_, key)| key.verifies(&header.alg, signed, signature)),
        }
    }

    // Whether a chain ends at one of our certificates, or begins with one.
    fn is_trusted(&self, chain: &[CertificateDer<'static>], now: i64) -> bool {
        if self.roots.contains(&chain[0]) {
            return true;
        }
        let anchors: Vec<_> =
            self.roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
        let Ok(leaf) = webpki::EndEntityCert::try_from(&chain[0]) else { return false };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now).unwrap_or(0)));
        let usage = webpki::KeyUsage::client_auth();
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain[1..], now, usage, None, None).is_ok()
    }
}

impl Key {
    // Only the algorithms that belong to a kind of key, never the one that a token wishes for.
    fn verifies(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        let check = |by: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(by, key).verify(signed, signature).is_ok()
        };
        match (self, algorithm) {
            (Self::Rsa(key), "RS256") => check(&signature::RSA_PKCS1_2048_8192_SHA256, key),
            (Self::Rsa(key), "RS384") => check(&signature::RSA_PKCS1_2048_8192_SHA384, key),
            (Self::Rsa(key), "RS512") => check(&signature::RSA_PKCS1_2048_8192_SHA512, key),
            (Self::RsaParts { modulus, exponent }, "RS256" | "RS384" | "RS512") => {
                let by = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA512,
                };
                signature::RsaPublicKeyComponents { n: modulus, e: exponent }.verify(by, signed, signature).is_ok()
            }
            (Self::P256(key), "ES256") => check(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::P384(key), "ES384") => check(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Self::Ed25519(key), "EdDSA") => check(&signature::ED25519, key),
            _ => false,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ServeError> {
    let failed = |source| ServeError::Access { path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limits::DOCUMENT_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn certificate(text: &str) -> Option<CertificateDer<'static>> {
    BASE64_STANDARD.decode(text).ok().map(CertificateDer::from)
}

// The public key in a certificate: an algorithm, its parameters and a string of bits (RFC 5280, 4.1).
fn key_of(certificate: &CertificateDer<'_>) -> Option<Key> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let spki = parsed.subject_public_key_info();
    let (_, body, _) = element(&spki)?;
    let (_, algorithm, rest) = element(body)?;
    let (_, bits, _) = element(rest)?;
    let (_, kind, parameters) = element(algorithm)?;
    let key = bits.strip_prefix(&[0])?.to_vec();
    match kind {
        RSA => Some(Key::Rsa(key)),
        ED25519 => Some(Key::Ed25519(key)),
        EC => match element(parameters)?.1 {
            P256 => Some(Key::P256(key)),
            P384 => Some(Key::P384(key)),
            _ => None,
        },
        _ => None,
    }
}

// The first element of some DER: its tag, what is in it, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
        _ => return None,
    };
    Some((tag, rest.get(..length)?, rest.get(length..)?))
}

fn web_key(key: &WebKey) -> Option<Key> {
    let part = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_deref()?.trim_end_matches('=')).ok();
    let point = || Some([&[4], &part(&key.x)?[..], &part(&key.y)?[..]].concat());
    match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => Some(Key::RsaParts { modulus: part(&key.n)?, exponent: part(&key.e)? }),
        ("EC", Some("P-256")) => point().map(Key::P256),
        ("EC", Some("P-384")) => point().map(Key::P384),
        ("OKP", Some("Ed25519")) => part(&key.x).map(Key::Ed25519),
        _ => None,
    }
}
