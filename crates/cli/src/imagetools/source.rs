//! What an image is put together of, as people write it: a name, a digest, or a descriptor in JSON.

use std::collections::BTreeSet;

use hako_model::{Digest, Reference};

use crate::registry::{Descriptor, named};

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Name(Reference),
    Digest(Digest),
    /// With what is to be said of it otherwise than its registry says.
    Descriptor(Digest, Box<Descriptor>),
}

impl Source {
    /// # Errors
    /// When it is none of the three.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = |why: &dyn std::fmt::Display| {
            format!("failed to parse source {text:?}, valid sources are digests, references and descriptors: {why}")
        };
        if text.starts_with('{') {
            let descriptor: Descriptor = serde_json::from_str(text).map_err(|error| wrong(&error))?;
            let digest = descriptor.digest.parse().map_err(|error| wrong(&error))?;
            return Ok(Self::Descriptor(digest, Box::new(descriptor)));
        }
        match text.parse() {
            Ok(digest) => Ok(Self::Digest(digest)),
            Err(_) => named(text).map(Self::Name).map_err(|error| wrong(&error)),
        }
    }

    /// Where it is: a digest is looked for in the one repository that names and tags are of.
    ///
    /// # Errors
    /// When they are of none, or of several.
    pub(super) fn place(&self, repository: &Result<Reference, String>) -> Result<Reference, String> {
        match self {
            Self::Name(name) => Ok(name.clone()),
            Self::Digest(digest) | Self::Descriptor(digest, _) => Ok(repository.clone()?.with_digest(*digest)),
        }
    }
}

/// The repository of all names and tags.
///
/// # Errors
/// When they are of none, or of several.
pub(super) fn repository<'a>(names: impl Iterator<Item = &'a Reference>) -> Result<Reference, String> {
    let all: Vec<&Reference> = names.collect();
    let known: BTreeSet<String> = all.iter().map(|name| name.familiar_name()).collect();
    match (known.len(), all.first()) {
        (1, Some(name)) => Ok((*name).clone()),
        (_, None) => Err("no repositories specified, please set a reference in tag or source".to_owned()),
        _ => {
            let known: Vec<String> = known.into_iter().collect();
            Err(format!("multiple repositories specified, a digest may be in any of them: {}", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_names_digests_and_descriptors() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let check = |text: &str| match Source::parse(text) {
            Ok(Source::Name(name)) => name.to_string(),
            Ok(Source::Digest(_)) => "digest".to_owned(),
            Ok(Source::Descriptor(_, descriptor)) => format!("descriptor of {} bytes", descriptor.size),
            Err(why) => why,
        };
        assert_eq!(check(" box\n"), "docker.io/library/box:latest");
        assert_eq!(check(&digest), "digest");
        assert_eq!(check(&format!("{{\"digest\":\"{digest}\",\"size\":7}}")), "descriptor of 7 bytes");
        for text in ["", "UPPER", "{}", "{", "[]"] {
            assert!(check(text).starts_with("failed to parse source "), "{text}: {}", check(text));
        }
    }

    #[test]
    fn a_digest_is_of_the_one_repository() {
        let names = |texts: &[&str]| -> Vec<Reference> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let check = |texts: &[&str]| repository(names(texts).iter()).map(|name| name.path().to_owned());
        assert_eq!(check(&["a:1", "a:2"]), Ok("library/a".to_owned()));
        assert!(check(&[]).is_err());
        assert!(check(&["a", "b"]).unwrap_err().ends_with("a, b"));
    }
}
