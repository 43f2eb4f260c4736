//! Texts signed in the clear, and ASCII armour.
//!
//! Nothing may stand before, between or after the parts: what is not signed is not read by anybody (CVE-2018-12020 and
//! its kin were readers who took unsigned lines for signed ones).

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::SignatureError;

const MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";

/// A message in its parts.
pub(super) struct Clear {
    pub(super) text: String,
    /// What a signature of a text is over: lines without spaces at their ends, and with CR LF between them.
    pub(super) canonical: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

pub(super) fn parse(message: &str) -> Result<Clear, SignatureError> {
    let bad = SignatureError::NotClear;
    let mut lines = message.lines();
    if lines.next().map(str::trim_end) != Some(MESSAGE) {
        return Err(bad("it does not begin with a signed message"));
    }
    loop {
        match lines.next().map(str::trim_end) {
            Some("") => break,
            Some(header) if header.starts_with("Hash: ") => {}
            _ => return Err(bad("its headers are no headers")),
        }
    }
    let (mut text, mut canonical) = (String::new(), Vec::new());
    let armour = loop {
        let line = lines.next().ok_or(bad("its signature is missing"))?;
        let line = match line.strip_prefix("- ") {
            Some(escaped) => escaped,
            None if line.starts_with('-') => break line,
            None => line,
        };
        if !text.is_empty() {
            canonical.extend_from_slice(b"\r\n");
        }
        canonical.extend_from_slice(line.trim_end_matches([' ', '\t', '\r']).as_bytes());
        text.push_str(line);
        text.push('\n');
    };
    let rest: String = std::iter::once(armour).chain(lines).flat_map(|line| [line, "\n"]).collect();
    let signature = dearmor_all(&rest, "SIGNATURE")?;
    Ok(Clear { text, canonical, signature })
}

/// All blocks of one kind, one after the other; nothing may stand around them.
pub(super) fn dearmor_all(text: &str, kind: &str) -> Result<Vec<u8>, SignatureError> {
    let (begin, end) = (format!("-----BEGIN PGP {kind}-----"), format!("-----END PGP {kind}-----"));
    let bad = SignatureError::Malformed;
    let mut bytes = Vec::new();
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        if line != begin {
            return Err(bad("something stands beside its armour"));
        }
        let mut encoded = String::new();
        loop {
            match lines.next() {
                Some(line) if line == end => break,
                // A checksum, which is for accidents; headers, which say nothing.
                Some(line) if line.starts_with('=') || (encoded.is_empty() && line.contains(": ")) => {}
                Some(line) => encoded.push_str(line),
                None => return Err(bad("armour without an end")),
            }
        }
        bytes.extend(BASE64_STANDARD.decode(encoded).map_err(|_| bad("armour that is not base64"))?);
    }
    if bytes.is_empty() { Err(bad("armour with nothing in it")) } else { Ok(bytes) }
}
