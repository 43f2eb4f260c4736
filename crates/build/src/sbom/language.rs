//! Packages of languages: what Python's installers (`*.dist-info/METADATA`, `*.egg-info/PKG-INFO`) and Node.js's
//! (`node_modules/NAME/package.json`) leave beside the files.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use hako_archive::walk::{self, Visit};
use rustix::fs::{FileType, OFlags};
use serde::Deserialize;

use super::{Kind, Package, Scan, line, whole, word};
use crate::limits;

pub(super) fn scan(root: BorrowedFd<'_>, scan: &mut Scan) -> io::Result<()> {
    walk::tree(root, |visit| -> io::Result<bool> {
        if walk::file_type(visit.stat) != FileType::RegularFile {
            return Ok(!walk::is_whiteout(visit.stat));
        }
        let Some(read) = reader(visit.path) else { return Ok(true) };
        let place = line(visit.path);
        let found = opened(&visit).and_then(whole).and_then(|bytes| read(&bytes, &place));
        scan.add(&place, found);
        if scan.packages.len() > limits::SBOM_PACKAGES_MAX {
            return Err(io::Error::other(format!("there are more than {} packages", limits::SBOM_PACKAGES_MAX)));
        }
        Ok(true)
    })
}

fn opened(visit: &Visit<'_>) -> Result<OwnedFd, String> {
    let opened = walk::open_leaf(visit.parent, visit.leaf, OFlags::RDONLY | OFlags::NONBLOCK);
    opened.map_err(|error| error.to_string())
}

type Read = fn(&[u8], &str) -> Result<Option<Package>, String>;

// How a file is read that tells of a package, by its path.
fn reader(path: &[u8]) -> Option<Read> {
    let mut parts = path.rsplit(|byte| *byte == b'/');
    let (leaf, above) = (parts.next()?, parts.next()?);
    match leaf {
        b"METADATA" if above.ends_with(b".dist-info") => Some(python),
        b"PKG-INFO" if above.ends_with(b".egg-info") || above == b"EGG-INFO" => Some(python),
        b"package.json" => {
            let (higher, highest) = (parts.next()?, parts.next());
            let is_own = higher == b"node_modules" && !above.starts_with(b".");
            let is_scoped = higher.starts_with(b"@") && highest == Some(b"node_modules");
            (is_own || is_scoped).then_some(node)
        }
        _ => None,
    }
}

// Headers as those of mail, to the first empty line.
fn python(bytes: &[u8], place: &str) -> Result<Option<Package>, String> {
    let headers = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty());
    let (mut name, mut version, mut license, mut expression) = (None, None, None, None);
    for header in headers {
        let Some(colon) = header.iter().position(|byte| *byte == b':') else { continue };
        let slot = match header[..colon].to_ascii_lowercase().as_slice() {
            b"name" => &mut name,
            b"version" => &mut version,
            b"license" => &mut license,
            b"license-expression" => &mut expression,
            _ => continue,
        };
        slot.get_or_insert(header[colon + 1..].trim_ascii());
    }
    Ok(Some(Package {
        kind: Kind::PyPi,
        name: normal(&word("name", name.unwrap_or_default())?),
        version: word("version", version.unwrap_or_default())?,
        architecture: String::new(),
        license: line(expression.or(license).unwrap_or_default()),
        place: place.to_owned(),
    }))
}

// One name for all spellings that PyPI takes for the same.
fn normal(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

#[derive(Deserialize)]
struct Manifest {
    name: Option<String>,
    version: Option<String>,
    #[serde(default)]
    license: serde_json::Value,
}

fn node(bytes: &[u8], place: &str) -> Result<Option<Package>, String> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    // Old ones say `{"type": "MIT"}`.
    let license = manifest.license.as_str().or_else(|| manifest.license["type"].as_str()).unwrap_or_default();
    Ok(Some(Package {
        kind: Kind::Npm,
        name: word("name", manifest.name.unwrap_or_default().as_bytes())?,
        version: word("version", manifest.version.unwrap_or_default().as_bytes())?,
        architecture: String::new(),
        license: line(license.as_bytes()),
        place: place.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &str) {
        let got = match reader(path.as_bytes()).map(|read| read(text.as_bytes(), path)) {
            None => "not read".to_owned(),
            Some(Ok(None)) => "none".to_owned(),
            Some(Ok(Some(one))) => {
                format!("{:?} {} {} {}", one.kind, one.name, one.version, one.license).trim().to_owned()
            }
            Some(Err(why)) => why,
        };
        assert_eq!(got, expected, "{path} {text}");
    }

    #[test]
    fn packages_of_python() {
        let path = "usr/lib/python3/site-packages/Flask_Login-0.6.dist-info/METADATA";
        let text = "Metadata-Version: 2.1\r\nName: Flask_Login\r\nVersion: 0.6.3\r\nLicense: MIT\r\n\r\nVersion: 9\r\n";
        check(path, text, "PyPi flask-login 0.6.3 MIT");
        check(
            path,
            "Name: a\nVersion: 1\nLicense-Expression: MIT OR Apache-2.0\nLicense: long\n",
            "PyPi a 1 MIT OR Apache-2.0",
        );
        check(path, "Name: a\n", "its version is none");
        check("usr/x.egg-info/PKG-INFO", "Name: a\nVersion: 1\n", "PyPi a 1");
        check("usr/x/METADATA", "Name: a\nVersion: 1\n", "not read");
    }

    #[test]
    fn packages_of_node() {
        check(
            "app/node_modules/a/package.json",
            r#"{"name":"a","version":"1.0.0","license":{"type":"MIT"}}"#,
            "Npm a 1.0.0 MIT",
        );
        check(
            "node_modules/@s/b/package.json",
            r#"{"name":"@s/b","version":"2.0.0","license":"ISC"}"#,
            "Npm @s/b 2.0.0 ISC",
        );
        check("app/node_modules/a/lib/package.json", "{}", "not read");
        check("app/package.json", "{}", "not read");
        check("node_modules/a/package.json", "{}", "its name is none");
        check("node_modules/a/package.json", "{", "EOF while parsing an object at line 1 column 1");
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_there_is_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = python(&bytes, "p");
            let _ = node(&bytes, "p");
            let _ = reader(&bytes);
        }
    }
}
