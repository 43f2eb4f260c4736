//! Names of images, as Docker normalises them: `debian` is `docker.io/library/debian:latest`.
//!
//! The grammar is that of the distribution project's reference package: a domain is recognised by
//! a dot, a colon, upper-case letters or `localhost`; everything else is a path on Docker Hub.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Digest;

/// The longest name (domain and path) that registries accept.
const NAME_BYTES_MAX: usize = 255;
const HUB: &str = "docker.io";

/// Why a text is not an image's name. The sentences are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    UpperCase { name: String },
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId { name: String },
}

/// A normalised image name: domain, path and, perhaps, tag and digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, `docker.io` if none was named.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository on that host, `library/debian` for `debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was named.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same name with `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// When `tag` is not one: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Format);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag: what a registry knows an image by.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository as people write it: without `docker.io/` and `library/`.
    pub fn familiar_name(&self) -> String {
        if self.domain != HUB {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix("library/") {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as people write it: `debian:bookworm`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    /// The normalised form: `docker.io/library/debian:bookworm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(ReferenceError::LooksLikeId { name: text.to_owned() });
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(|_| ReferenceError::Format)?)),
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Format);
        }
        let (domain, path) = split_domain(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase { name: path });
        }
        if !is_domain(&domain) || !path.split('/').all(is_component) {
            return Err(ReferenceError::Format);
        }
        if domain.len() + 1 + path.len() > NAME_BYTES_MAX {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { domain, path, tag: tag.map(str::to_owned), digest })
    }
}

fn split_domain(name: &str) -> (String, String) {
    if let Some((first, rest)) = name.split_once('/') {
        let is_host =
            first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase());
        if is_host {
            if first == "index.docker.io" || first == HUB {
                let library = if rest.contains('/') { "" } else { "library/" };
                return (HUB.to_owned(), format!("{library}{rest}"));
            }
            return (first.to_owned(), rest.to_owned());
        }
        return (HUB.to_owned(), name.to_owned());
    }
    (HUB.to_owned(), format!("library/{name}"))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((inner, rest)) => {
                let v6_good = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return v6_good && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

// Alphanumerics, separated by one dot, one or two underscores, or any number of dashes.
fn is_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    part.split(|c: char| alphanumeric(c as u8) && c.is_ascii())
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match text.parse::<Reference>() {
            Ok(reference) => format!("{reference} = {}", reference.familiar()),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn names_are_normalised_as_docker_does() {
        check("debian", "docker.io/library/debian = debian");
        check("me/debian:x", "docker.io/me/debian:x = me/debian:x");
        check("localhost:5000/a/b:1", "localhost:5000/a/b:1 = localhost:5000/a/b:1");
        check("docker.io/debian", "docker.io/library/debian = debian");
        check("index.docker.io/a/b", "docker.io/a/b = a/b");
        check("ghcr.io/x", "ghcr.io/x = ghcr.io/x");
        check("a__b/c--d.e", "docker.io/a__b/c--d.e = a__b/c--d.e");
    }

    #[test]
    fn what_is_not_a_name_is_told_in_dockers_words() {
        check("Debian", "invalid reference format: repository name (library/Debian) must be lowercase");
        check("", "invalid reference format");
        check("a:", "invalid reference format");
        check("a/../b", "invalid reference format");
        check("a..b", "invalid reference format");
        check("-a", "invalid reference format");
        check("a@sha256:12", "invalid reference format");
        check(
            &"0".repeat(64),
            &format!("invalid repository name ({}), cannot specify 64-byte hexadecimal strings", "0".repeat(64)),
        );
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics_and_printing_round_trips(text in "\\PC{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                assert_eq!(again, reference);
            }
        }
    }
}
