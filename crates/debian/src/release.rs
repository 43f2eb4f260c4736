//! The `InRelease` of a suite: who signed it, what it is, until when it holds, and which indexes it vouches for.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    DebianError, control,
    index::Proof,
    limits,
    openpgp::{self, Keyring, Signer},
};

/// What a suite's release says, which one of the keyring's keys signed.
#[derive(Debug)]
pub struct Release {
    pub suite: String,
    pub codename: String,
    pub date: Timestamp,
    pub signers: Vec<Signer>,
    /// Whether its files can be asked for by their digests, which are right even while a mirror changes.
    pub by_hash: bool,
    files: BTreeMap<String, Proof>,
}

impl Release {
    /// Believes an `InRelease` if a key of the ring signed it, if it is the suite that was asked for, and if it is not
    /// too old.
    ///
    /// # Errors
    /// When any of that is not so.
    pub fn verify(message: &[u8], suite: &str, keyring: &Keyring, now: Timestamp) -> Result<Self, DebianError> {
        let what = format!("the release of {suite}");
        if message.len() > limits::RELEASE_BYTES_MAX {
            let (found, limit) = (message.len() as u64, limits::RELEASE_BYTES_MAX as u64);
            return Err(DebianError::Limit { what, found, limit });
        }
        let text = std::str::from_utf8(message).map_err(|_| DebianError::malformed(&what, "it is not a text"))?;
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let verified = openpgp::verify(text, keyring, seconds)
            .map_err(|source| DebianError::Signature { what: what.clone(), source })?;
        let release = Self::parse(&verified.text, verified.signers, &what, now)?;
        // A mirror could give an older or another suite, which is signed as well.
        if release.suite != suite && release.codename != suite {
            return Err(DebianError::Other {
                what,
                field: "its suite",
                found: format!("{} ({})", release.suite, release.codename),
                wanted: suite.to_owned(),
            });
        }
        Ok(release)
    }

    fn parse(text: &str, signers: Vec<Signer>, what: &str, now: Timestamp) -> Result<Self, DebianError> {
        let stanza = control::stanzas(text).next().ok_or_else(|| DebianError::malformed(what, "it is empty"))?;
        let needed = |field: &str| {
            stanza.field(field).ok_or_else(|| DebianError::malformed(what, format!("it has no field {field}")))
        };
        if let Some(until) = stanza.field("Valid-Until")
            && instant(until, what)? < now
        {
            return Err(DebianError::Outdated { what: what.to_owned(), until: until.to_owned() });
        }
        let mut files = BTreeMap::new();
        for line in stanza.list("SHA256") {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [digest, size, path] = words[..] else {
                return Err(DebianError::malformed(what, format!("a file is {line:?}")));
            };
            files.insert(path.to_owned(), Proof::parse(digest, size, path)?);
        }
        Ok(Self {
            suite: needed("Suite")?.to_owned(),
            codename: stanza.field("Codename").unwrap_or_default().to_owned(),
            date: instant(needed("Date")?, what)?,
            signers,
            by_hash: stanza.field("Acquire-By-Hash") == Some("yes"),
            files,
        })
    }

    /// The index of the component `main` for an architecture: its path below the suite, and what proves it.
    ///
    /// # Errors
    /// When there is none.
    pub fn packages(&self, architecture: &str) -> Result<(String, &Proof), DebianError> {
        let path = format!("main/binary-{architecture}/Packages.xz");
        match self.files.get(&path) {
            Some(proof) => Ok((path, proof)),
            None => Err(DebianError::malformed(
                format!("the release of {}", self.codename),
                format!("it has no {path}: is {architecture} an architecture of it?"),
            )),
        }
    }

    /// Whether it is a release that Debian mends by updates and security updates, and no moving one.
    pub fn is_stable(&self) -> bool {
        self.suite.ends_with("stable") && self.suite != "unstable"
    }
}

/// `Sat, 11 Jul 2026 10:16:37 UTC`, which mail would call `+0000`.
fn instant(text: &str, what: &str) -> Result<Timestamp, DebianError> {
    let text = text.trim().replace("UTC", "+0000");
    let zoned = jiff::fmt::rfc2822::parse(&text);
    zoned.map(|zoned| zoned.timestamp()).map_err(|error| DebianError::malformed(what, format!("a date: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openpgp::forge::Forge;

    const TEXT: &str = "Suite: stable\nCodename: book\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n \
        1111111111111111111111111111111111111111111111111111111111111111 12 main/binary-amd64/Packages.xz\n";

    fn verify(text: &str, suite: &str) -> Result<Release, String> {
        let forge = Forge::new();
        let keyring = Keyring::parse(&forge.certificate()).expect("a keyring");
        let now = "2026-08-01T00:00:00Z".parse().expect("an instant");
        Release::verify(forge.sign(text).as_bytes(), suite, &keyring, now)
            .map_err(|error| hako_base::error::chain(&error))
    }

    #[test]
    fn a_release_vouches_for_its_indexes() {
        let release = verify(TEXT, "book").expect("it is good");
        assert_eq!(release.date.to_string(), "2026-07-11T10:16:37Z");
        let (path, proof) = release.packages("amd64").expect("there is one");
        assert_eq!((path.as_str(), proof.size), ("main/binary-amd64/Packages.xz", 12));
        assert!(release.is_stable() && release.packages("m68k").is_err());
        verify(TEXT, "stable").expect("it has two names");
    }

    #[test]
    fn another_suite_and_an_old_one_are_refused() {
        let error = verify(TEXT, "trixie").expect_err("another one");
        assert_eq!(error, "the release of trixie says its suite is \"stable (book)\", not \"trixie\"");
        let old = format!("Valid-Until: Sun, 12 Jul 2026 10:16:37 UTC\n{TEXT}");
        let error = verify(&old, "book").expect_err("an old one");
        assert!(error.starts_with("the release of book was valid until Sun, 12 Jul 2026"), "{error}");
    }
}
