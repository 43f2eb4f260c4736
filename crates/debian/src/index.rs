//! The packages of a suite, from its signed index; and what proves that a file is the one that was signed.

use std::{
    collections::HashMap,
    io::{BufRead, Read},
};

use ring::digest;

use crate::{DebianError, control, limits, version};

/// Size and digest of a file, as a signed text says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub digest: String,
}

impl Proof {
    pub(crate) fn parse(digest: &str, size: &str, of: &str) -> Result<Self, DebianError> {
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match size.parse() {
            Ok(size) if is_digest => Ok(Self { size, digest: digest.to_owned() }),
            _ => Err(DebianError::malformed(of, format!("its size is {size:?} and its SHA-256 {digest:?}"))),
        }
    }

    /// Whether these bytes are that file.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(&self, what: &str, size: u64, digest: &[u8]) -> Result<(), DebianError> {
        let mismatch =
            |property, found, wanted| Err(DebianError::Mismatch { what: what.to_owned(), property, found, wanted });
        if size != self.size {
            return mismatch("size", size.to_string(), self.size.to_string());
        }
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.digest { Ok(()) } else { mismatch("SHA-256", found, self.digest.clone()) }
    }
}

/// A package that can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// Where it is, below the archive's root.
    pub path: String,
    pub proof: Proof,
    /// The archive that has it, by its place among those that were read.
    pub archive: usize,
    pub(crate) is_essential: bool,
    pub(crate) priority: Priority,
    /// Each entry is a choice.
    pub(crate) depends: Vec<Vec<String>>,
    pub(crate) provides: Vec<String>,
}

/// How much a system needs a package, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Required,
    Important,
    Standard,
    Optional,
}

/// What can be had.
#[derive(Debug, Default)]
pub struct Index {
    pub(crate) packages: HashMap<String, Package>,
}

impl Index {
    /// Adds the packages of a compressed index (`Packages.xz`) of one archive. Of two versions the newer one stays.
    ///
    /// # Errors
    /// When the bytes are not those that were signed, or make no sense.
    pub fn add(&mut self, compressed: &[u8], proof: &Proof, archive: usize, what: &str) -> Result<(), DebianError> {
        let digest = digest::digest(&digest::SHA256, compressed);
        proof.check(what, compressed.len() as u64, digest.as_ref())?;
        let mut text = String::new();
        let plain = hako_archive::plain(compressed);
        let read = plain.and_then(|plain| plain.take(limits::INDEX_PLAIN_BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|source| DebianError::Io { what: format!("unpack {what}"), source })?;
        if text.len() as u64 > limits::INDEX_PLAIN_BYTES_MAX {
            let (found, limit) = (text.len() as u64, limits::INDEX_PLAIN_BYTES_MAX);
            return Err(DebianError::Limit { what: what.to_owned(), found, limit });
        }
        self.add_text(&text, archive, what)
    }

    pub(crate) fn add_text(&mut self, text: &str, archive: usize, what: &str) -> Result<(), DebianError> {
        for stanza in control::stanzas(text) {
            let package = package(stanza, archive, what)?;
            match self.packages.get(&package.name) {
                Some(known) if !version::is_newer(&package.version, &known.version) => {}
                _ => drop(self.packages.insert(package.name.clone(), package)),
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }
}

fn package(stanza: control::Stanza<'_>, archive: usize, what: &str) -> Result<Package, DebianError> {
    let needed = |field: &str| {
        stanza.field(field).ok_or_else(|| DebianError::malformed(what, format!("a package has no field {field}")))
    };
    let name = needed("Package")?;
    let path = needed("Filename")?;
    // It becomes part of an address; what was signed should not surprise, but a surprise would be the mirror's gain.
    if path.split('/').any(|part| matches!(part, "" | "." | ".."))
        || !path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
    {
        return Err(DebianError::malformed(what, format!("package {name} is at {path:?}")));
    }
    let relations = |field: &str| stanza.field(field).map(choices).unwrap_or_default();
    Ok(Package {
        name: name.to_owned(),
        version: needed("Version")?.to_owned(),
        path: path.to_owned(),
        proof: Proof::parse(needed("SHA256")?, needed("Size")?, path)?,
        archive,
        is_essential: stanza.field("Essential") == Some("yes"),
        priority: match stanza.field("Priority") {
            Some("required") => Priority::Required,
            Some("important") => Priority::Important,
            Some("standard") => Priority::Standard,
            _ => Priority::Optional,
        },
        depends: [relations("Pre-Depends"), relations("Depends")].concat(),
        provides: relations("Provides").into_iter().flatten().collect(),
    })
}

/// `a (>= 1), b:any | c` as names. Versions are not looked at: inside one release, dependencies hold.
fn choices(text: &str) -> Vec<Vec<String>> {
    let name = |text: &str| text.trim().split([' ', '(', ':', '[']).next().unwrap_or_default().to_owned();
    let choice = |text: &str| text.split('|').map(name).filter(|name| !name.is_empty()).collect::<Vec<_>>();
    text.split(',').map(choice).filter(|choice| !choice.is_empty()).collect()
}

/// Reads a file whole and proves it on the way.
///
/// # Errors
/// Those of the input, and when it is another file.
pub fn proven(mut input: impl BufRead, proof: &Proof, what: &str) -> Result<Vec<u8>, DebianError> {
    let mut bytes = Vec::new();
    let read = input.by_ref().take(proof.size + 1).read_to_end(&mut bytes);
    read.map_err(|source| DebianError::Io { what: format!("read {what}"), source })?;
    let digest = digest::digest(&digest::SHA256, &bytes);
    proof.check(what, bytes.len() as u64, digest.as_ref())?;
    Ok(bytes)
}
