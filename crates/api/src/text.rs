//! Times and base64 as the wire spells them.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jiff::Timestamp;

// Go's clients pad, others do not; both are read.
const TOLERANT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, TOLERANT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, TOLERANT);

/// The alphabet of `X-Registry-Auth`, with padding.
pub fn base64_url(bytes: &[u8]) -> String {
    URL.encode(bytes)
}

/// Reads [`base64_url`], and the other alphabet too, which some clients use by mistake.
pub fn base64_url_decode(text: &str) -> Option<Vec<u8>> {
    URL.decode(text).or_else(|_| STANDARD.decode(text)).ok()
}

/// The alphabet of `X-Docker-Container-Path-Stat` and of Go's `[]byte` in JSON.
pub fn base64_standard(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes in a JSON object, as Go writes them.
pub mod bytes {
    use base64::Engine as _;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::base64_standard(bytes))
    }

    /// # Errors
    /// What is no base64.
    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<String>::deserialize(from)?.unwrap_or_default();
        super::STANDARD.decode(text).map_err(D::Error::custom)
    }
}

/// A time in a query string: seconds since 1970 with up to nine digits after the dot. Docker's CLI
/// turns everything else people type into this form.
pub fn parse_unix_time(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 9 || !digits(fraction) || !digits(seconds.strip_prefix('-').unwrap_or(seconds)) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

/// The inverse of [`parse_unix_time`].
pub fn unix_time(at: Timestamp) -> String {
    format!("{}.{:09}", at.as_second(), at.subsec_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_queries_are_seconds_and_nanoseconds() {
        let at = Timestamp::new(1_700_000_000, 120_000_000).unwrap();
        assert_eq!(parse_unix_time("1700000000.12"), Some(at));
        assert_eq!(parse_unix_time("1700000000.120000000"), Some(at));
        assert_eq!(parse_unix_time(&unix_time(at)), Some(at));
        for text in ["", "yesterday", "1.1234567890", "1.x", "1e5", "2024-01-01"] {
            assert_eq!(parse_unix_time(text), None, "{text}");
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for text in ["eyJhIjoxfQ==", "eyJhIjoxfQ"] {
            assert_eq!(base64_url_decode(text).unwrap(), br#"{"a":1}"#);
        }
        assert!(base64_url_decode("{}").is_none());
    }
}
