//! Repositories, tags and what stands for a manifest, as the paths of the protocol have them.
//!
//! A [`Repository`] is valid because it has this type: it can be a path below the storage root, since no part of it
//! begins with a dot or an underscore.

use std::{fmt, str::FromStr};

use crate::digest::ContentDigest;

/// The longest name that registries accept.
const NAME_BYTES_MAX: usize = 255;

/// `library/debian`: lower-case parts joined by slashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Repository(String);

impl Repository {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Repository {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let good = text.len() <= NAME_BYTES_MAX && text.split('/').all(is_part);
        if good { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

/// What stands for a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Tag(String),
    Digest(ContentDigest),
}

impl FromStr for Target {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Digest(digest));
        }
        if is_tag(text) { Ok(Self::Tag(text.to_owned())) } else { Err(()) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
pub(crate) fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

// Alphanumerics, separated by one dot, one or two underscores, or any number of dashes.
fn is_part(part: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes
            .split(plain)
            .filter(|separator| !separator.is_empty())
            .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_other_paths_are_none() {
        for (text, expected) in [
            ("debian", true),
            ("a/b--c/d__e.f", true),
            ("", false),
            ("a//b", false),
            ("../a", false),
            ("a/..", false),
            ("_uploads", false),
            ("a/_manifests", false),
            ("A", false),
            ("a..b", false),
            ("a\u{e9}b", false),
        ] {
            assert_eq!(text.parse::<Repository>().is_ok(), expected, "{text}");
        }
        assert!("x".repeat(256).parse::<Repository>().is_err());
    }

    #[test]
    fn a_target_is_a_tag_or_a_digest() {
        assert_eq!("latest".parse(), Ok(Target::Tag("latest".to_owned())));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(digest.parse(), Ok(Target::Digest(digest.parse().unwrap())));
        assert_eq!("sha256:12".parse::<Target>(), Err(()));
        assert_eq!(".a".parse::<Target>(), Err(()));
    }
}
