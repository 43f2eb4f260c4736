//! Packages of the system: dpkg's and apk's databases, and what `/etc/os-release` says.
//!
//! Both databases are paragraphs of lines. dpkg's begin with a name and a colon and go on in lines that begin with a space
//! (deb-control(5)); apk's begin with a letter and a colon.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use hako_archive::walk;
use rustix::fs::OFlags;

use super::{Kind, Package, Scan, file_of, line, whole, word};

const DPKG: &str = "var/lib/dpkg/status";
/// Where images without a package manager have a file for each package.
const DPKG_PARTS: &str = "var/lib/dpkg/status.d";
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
const RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

pub(super) fn scan(root: BorrowedFd<'_>, scan: &mut Scan) -> io::Result<()> {
    for path in RELEASE {
        if let Some(Ok(bytes)) = file_of(root, path).map(whole) {
            scan.system = release(&bytes);
            break;
        }
    }
    database(root, DPKG, scan, dpkg);
    if let Ok(parts) = walk::open_in_root(root, DPKG_PARTS.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) {
        for name in walk::names(parts.as_fd())? {
            let name = name.to_string_lossy().into_owned();
            // Beside each file are the digests of what the package brought.
            if !name.ends_with(".md5sums") && !name.ends_with(".preinst") && !name.ends_with(".postinst") {
                database(root, &format!("{DPKG_PARTS}/{name}"), scan, dpkg);
            }
        }
    }
    // The one may be a link to the other.
    if let Some(path) = APK.into_iter().find(|path| file_of(root, path).is_some()) {
        database(root, path, scan, apk);
    }
    Ok(())
}

type Read = fn(&Fields<'_>, &str) -> Result<Option<Package>, String>;

fn database(root: BorrowedFd<'_>, path: &str, scan: &mut Scan, read: Read) {
    let Some(file) = file_of(root, path) else { return };
    match whole(file) {
        Err(why) => scan.unread.push(format!("{path}: {why}")),
        Ok(bytes) => {
            for fields in paragraphs(&bytes) {
                scan.add(path, read(&fields, path));
            }
        }
    }
}

type Fields<'b> = BTreeMap<&'b [u8], &'b [u8]>;

// Of a field that is there twice, the first; lines that go on with one are left out, since no wanted field has any.
fn paragraphs(bytes: &[u8]) -> Vec<Fields<'_>> {
    let (mut all, mut current) = (Vec::new(), Fields::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            all.push(std::mem::take(&mut current));
        } else if !line[0].is_ascii_whitespace()
            && let Some(colon) = line.iter().position(|byte| *byte == b':')
        {
            current.entry(&line[..colon]).or_insert_with(|| line[colon + 1..].trim_ascii());
        }
    }
    all.push(current);
    all.retain(|fields| !fields.is_empty());
    all
}

fn dpkg(fields: &Fields<'_>, place: &str) -> Result<Option<Package>, String> {
    let field = |name: &str| fields.get(name.as_bytes()).copied().unwrap_or_default();
    let status = field("Status");
    // What was removed and left its configuration is none of the image's packages.
    if !status.is_empty() && !status.ends_with(b" installed") {
        return Ok(None);
    }
    Ok(Some(Package {
        kind: Kind::Deb,
        name: word("package", field("Package"))?,
        version: word("version", field("Version"))?,
        architecture: word("architecture", field("Architecture"))?,
        license: String::new(),
        place: place.to_owned(),
    }))
}

fn apk(fields: &Fields<'_>, place: &str) -> Result<Option<Package>, String> {
    let field = |name: &str| fields.get(name.as_bytes()).copied().unwrap_or_default();
    Ok(Some(Package {
        kind: Kind::Apk,
        name: word("package", field("P"))?,
        version: word("version", field("V"))?,
        architecture: word("architecture", field("A"))?,
        license: line(field("L")),
        place: place.to_owned(),
    }))
}

// `NAME=value`, where the value may stand in quotes (os-release(5)).
fn release(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
    let wanted = pairs.filter(|(name, _)| matches!(*name, "ID" | "VERSION_ID" | "PRETTY_NAME"));
    let plain = |value: &str| line(value.trim_matches(['"', '\'']).as_bytes());
    wanted.map(|(name, value)| (name.to_owned(), plain(value))).filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, read: Read, expected: &[&str]) {
        let shown = |found: Result<Option<Package>, String>| match found {
            Ok(Some(one)) => {
                format!("{} {} {} {}", one.name, one.version, one.architecture, one.license).trim().to_owned()
            }
            Ok(None) => "none".to_owned(),
            Err(why) => why,
        };
        let found: Vec<String> = paragraphs(text.as_bytes()).iter().map(|fields| shown(read(fields, "p"))).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn packages_of_dpkg() {
        check(
            "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-2+b1\nDescription: a shell\n \
             .\n Version: 9\n\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
             Package: base-files\nVersion: 1:12.4\nArchitecture: all\n",
            dpkg,
            &["bash 5.2-2+b1 amd64", "none", "base-files 1:12.4 all"],
        );
        check("Package: a b\nVersion: 1\nArchitecture: all", dpkg, &["its package is none"]);
        check("Package: a\nArchitecture: all", dpkg, &["its version is none"]);
        check("Package: a\nVersion: \u{1b}[2J\nArchitecture: all", dpkg, &["its version is none"]);
        check("", dpkg, &[]);
        check("no field at all\n: empty\n", dpkg, &["its package is none"]);
    }

    #[test]
    fn packages_of_apk() {
        check(
            "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT AND BSD-2-Clause\nF:lib\nR:ld.so\n\nP:odd\n",
            apk,
            &["musl 1.2.4-r2 x86_64 MIT AND BSD-2-Clause", "its version is none"],
        );
    }

    #[test]
    fn names_of_systems() {
        let found = release(b"NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n# ID=x\nPRETTY_NAME='Debian 12'\n");
        let found: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(found, ["ID=debian", "PRETTY_NAME=Debian 12", "VERSION_ID=12"]);
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_there_is_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            for fields in paragraphs(&bytes) {
                let _ = dpkg(&fields, "p");
                let _ = apk(&fields, "p");
            }
            release(&bytes);
        }
    }
}
