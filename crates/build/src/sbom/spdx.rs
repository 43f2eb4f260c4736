//! A scan as a document of SPDX 2.3 in JSON. The same files give the same bytes: names are made of digests, and the time is
//! the image's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Kind, Package, Scan};
use crate::cache::digest;

const ROOT: &str = "SPDXRef-DocumentRoot";
const NOTHING: &str = "NOASSERTION";

/// The document about a root that is called so.
pub(crate) fn document(name: &str, scan: &Scan, created: Timestamp) -> Value {
    let mut packages: Vec<Value> = vec![described(ROOT, name, None, "CONTAINER")];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", ROOT)];
    if let Some(id) = scan.system.get("ID") {
        let mut system = described("SPDXRef-OperatingSystem", id, scan.system.get("VERSION_ID"), "OPERATING-SYSTEM");
        if let Some(pretty) = scan.system.get("PRETTY_NAME") {
            system["description"] = json!(pretty);
        }
        packages.push(system);
        relations.push(relation(ROOT, "CONTAINS", "SPDXRef-OperatingSystem"));
    }
    // The same package in several places is one; the first of them is told.
    let mut found: BTreeMap<String, &Package> = BTreeMap::new();
    for package in &scan.packages {
        found.entry(address(package, scan)).or_insert(package);
    }
    for (address, package) in found {
        let (id, entry) = entry(package, &address);
        relations.push(relation(ROOT, "CONTAINS", &id));
        packages.push(entry);
    }
    let words = json!([name, packages, scan.unread]);
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:hako:spdx:{}:{}", escaped(name), digest(words.to_string().as_bytes()).hex()),
        "creationInfo": {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "creators": [format!("Tool: hako-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relations,
    });
    if !scan.unread.is_empty() {
        document["comment"] = json!(format!("not read: {}", scan.unread.join("; ")));
    }
    document
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn described(id: &str, name: &str, version: Option<&String>, purpose: &str) -> Value {
    let mut value = json!({
        "SPDXID": id,
        "name": name,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "primaryPackagePurpose": purpose,
    });
    if let Some(version) = version {
        value["versionInfo"] = json!(version);
    }
    value
}

fn entry(package: &Package, address: &str) -> (String, Value) {
    let plain: String = package.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let id = format!("SPDXRef-Package-{}-{plain}-{}", type_of(package.kind), &digest(address.as_bytes()).hex()[..16]);
    let purpose = if matches!(package.kind, Kind::Deb | Kind::Apk) { "APPLICATION" } else { "LIBRARY" };
    let mut value = described(&id, &package.name, Some(&package.version), purpose);
    value["sourceInfo"] = json!(format!("from /{}", package.place));
    value["externalRefs"] =
        json!([{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": address }]);
    if !package.license.is_empty() {
        // What authors write there is seldom one of SPDX's own names.
        value["licenseComments"] = json!(format!("declared as: {}", package.license));
    }
    (id, value)
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Deb => "deb",
        Kind::Apk => "apk",
        Kind::PyPi => "pypi",
        Kind::Npm => "npm",
    }
}

// The package URL.
fn address(package: &Package, scan: &Scan) -> String {
    let system = |key: &str| scan.system.get(key).map(|value| escaped(value));
    let name = package.name.split('/').map(escaped).collect::<Vec<_>>().join("/");
    let version = escaped(&package.version);
    let kind = type_of(package.kind);
    match package.kind {
        Kind::PyPi | Kind::Npm => format!("pkg:{kind}/{name}@{version}"),
        Kind::Deb | Kind::Apk => {
            let usual = if package.kind == Kind::Deb { "debian" } else { "alpine" };
            let vendor = system("ID").unwrap_or_else(|| usual.to_owned());
            let distribution = system("VERSION_ID").map(|version| format!("&distro={vendor}-{version}"));
            let architecture = escaped(&package.architecture);
            format!("pkg:{kind}/{vendor}/{name}@{version}?arch={architecture}{}", distribution.unwrap_or_default())
        }
    }
}

// As package URLs want it: a colon stands for itself.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(kind: Kind, name: &str, version: &str, place: &str) -> Package {
        let (name, version, place) = (name.to_owned(), version.to_owned(), place.to_owned());
        Package { kind, name, version, architecture: "amd64".to_owned(), license: "MIT".to_owned(), place }
    }

    fn scan() -> Scan {
        Scan {
            packages: vec![
                package(Kind::Deb, "libstdc++6", "1:12.2-14+b1", "var/lib/dpkg/status"),
                package(Kind::Npm, "@s/b", "2.0.0", "a/package.json"),
                package(Kind::Npm, "@s/b", "2.0.0", "b/package.json"),
            ],
            system: [("ID", "debian"), ("VERSION_ID", "12")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            unread: vec!["x/package.json: it is too large".to_owned()],
        }
    }

    #[test]
    fn the_same_files_give_the_same_document() {
        let made = document("sbom", &scan(), Timestamp::UNIX_EPOCH);
        assert_eq!(made, document("sbom", &scan(), Timestamp::UNIX_EPOCH));
        let addresses: Vec<&str> = made["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["externalRefs"][0]["referenceLocator"].as_str())
            .collect();
        assert_eq!(
            addresses,
            ["pkg:deb/debian/libstdc%2B%2B6@1:12.2-14%2Bb1?arch=amd64&distro=debian-12", "pkg:npm/%40s/b@2.0.0",]
        );
        assert_eq!(made["creationInfo"]["created"], "1970-01-01T00:00:00Z");
        assert_eq!(made["comment"], "not read: x/package.json: it is too large");
        // Every relation speaks of something that is there.
        let ids: Vec<&Value> = made["packages"].as_array().into_iter().flatten().map(|one| &one["SPDXID"]).collect();
        for relation in made["relationships"].as_array().into_iter().flatten() {
            assert!(ids.contains(&&relation["relatedSpdxElement"]), "{relation}");
        }
        let other = document("sbom", &Scan::default(), Timestamp::UNIX_EPOCH);
        assert_ne!(made["documentNamespace"], other["documentNamespace"]);
    }
}
