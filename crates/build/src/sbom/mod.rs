//! SBOMs: which packages the files of a result belong to, as SPDX documents (`--attest type=sbom`).
//!
//! ```text
//!   root of files ─► databases of package managers, metadata of languages ─► packages ─► SPDX 2.3 as JSON
//! ```
//! Everything that is read here was written by somebody else: each file has a limit, each value is checked, and what makes
//! no sense is named in the document instead of being left out in silence. An image may be named that scans instead of us
//! (`generator=`); running it is the solver's business (`solve/scan.rs`).

mod language; // packages of Python and Node.js
mod spdx; // the document
mod system; // packages of dpkg and apk

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::fd::{BorrowedFd, OwnedFd},
};

use hako_archive::walk;
use rustix::fs::{FileType, OFlags};
use serde_json::Value;

use crate::limits;

pub(crate) use spdx::document;

/// The type of the statement's predicate.
pub(crate) const PREDICATE: &str = "https://spdx.dev/Document";
/// What the result's own document is called; those of stages and of the context follow it.
pub(crate) const CORE: &str = "sbom";
/// The scanner that Docker's tools mean when nobody names one.
const DEFAULT: &str = "docker/buildkit-syft-scanner";

/// What is asked of an SBOM: `generator=IMAGE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The image that scans.
    pub(crate) generator: Option<String>,
}

impl Wish {
    /// Reads what stands behind `type=sbom`; `None`: there is to be none.
    ///
    /// # Errors
    /// What is none of its fields.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, String> {
        let mut wish = Self::default();
        for field in text.split(',').filter(|field| !field.is_empty()) {
            match field.split_once('=').unwrap_or((field, "true")) {
                ("type", "sbom") | ("disabled", "false" | "0") => {}
                ("disabled", "true" | "1") => return Ok(None),
                ("generator", image) if !image.is_empty() => wish.generator = Some(image.to_owned()),
                _ => return Err(format!("invalid {field} in the attestation sbom")),
            }
        }
        Ok(Some(wish))
    }

    /// Whether the scanner is the one that nobody has to name: without it, ours is as good.
    pub(crate) fn is_default(generator: &str) -> bool {
        let name = generator.trim_start_matches("docker.io/");
        name.split(['@', ':']).next() == Some(DEFAULT)
    }
}

/// One document, and what it is called.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sbom {
    pub(crate) name: String,
    pub(crate) document: Value,
}

/// Whose package it is: the type of its package URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Deb,
    Apk,
    PyPi,
    Npm,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    kind: Kind,
    name: String,
    version: String,
    architecture: String,
    /// As its authors say it, which need not be an expression of SPDX.
    license: String,
    /// The file that tells of it.
    place: String,
}

/// What was found below a root.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    packages: Vec<Package>,
    /// `/etc/os-release`
    system: BTreeMap<String, String>,
    /// What could not be read, and why.
    unread: Vec<String>,
}

impl Scan {
    /// Looks at a whole root; blocks.
    ///
    /// # Errors
    /// Those of the disk, and more packages than anybody has.
    pub(crate) fn of(root: BorrowedFd<'_>) -> io::Result<Self> {
        let mut scan = Self::default();
        system::scan(root, &mut scan)?;
        language::scan(root, &mut scan)?;
        if scan.packages.len() > limits::SBOM_PACKAGES_MAX {
            return Err(io::Error::other(format!("there are more than {} packages", limits::SBOM_PACKAGES_MAX)));
        }
        scan.packages.sort();
        scan.unread.sort();
        Ok(scan)
    }

    fn add(&mut self, place: &str, found: Result<Option<Package>, String>) {
        match found {
            Ok(found) => self.packages.extend(found),
            Err(why) => self.unread.push(format!("{place}: {why}")),
        }
    }
}

// A file of the root, wherever links within it lead; `None` where there is none.
fn file_of(root: BorrowedFd<'_>, path: &str) -> Option<OwnedFd> {
    walk::open_in_root(root, path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK).ok()
}

// A regular file as a whole.
fn whole(file: OwnedFd) -> Result<Vec<u8>, String> {
    let stat = rustix::fs::fstat(&file).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(limits::SBOM_FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    match read {
        Err(error) => Err(error.to_string()),
        Ok(count) if count as u64 > limits::SBOM_FILE_BYTES_MAX => Err("it is too large".to_owned()),
        Ok(_) => Ok(bytes),
    }
}

// A name or a version: no spaces, nothing that could end the sentence it stands in.
fn word(what: &str, bytes: &[u8]) -> Result<String, String> {
    let is_word =
        !bytes.is_empty() && bytes.len() <= limits::SBOM_WORD_BYTES_MAX && bytes.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(bytes) {
        Ok(text) if is_word => Ok(text.to_owned()),
        _ => Err(format!("its {what} is none")),
    }
}

// A line of somebody's prose.
fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control()).take(limits::SBOM_WORD_BYTES_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_or_refused() {
        let generator = |text: &str| Wish::parse(text).map(|wish| wish.map(|wish| wish.generator.unwrap_or_default()));
        assert_eq!(generator(""), Ok(Some(String::new())));
        assert_eq!(generator("type=sbom,generator=a/b:c"), Ok(Some("a/b:c".to_owned())));
        assert_eq!(generator("disabled=true"), Ok(None));
        assert_eq!(generator("generator="), Err("invalid generator= in the attestation sbom".to_owned()));
        assert_eq!(generator("mode=max"), Err("invalid mode=max in the attestation sbom".to_owned()));
        assert!(Wish::is_default("docker/buildkit-syft-scanner:stable-1"));
        assert!(Wish::is_default("docker.io/docker/buildkit-syft-scanner"));
        assert!(!Wish::is_default("docker/buildkit-syft-scanner-of-mine"));
    }
}
