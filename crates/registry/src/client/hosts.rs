//! `hosts.toml`, as containerd reads it: by which servers a registry's content is had, in which order, and how each of
//! them is spoken to. It lies beside Docker's certificates, in `certs.d/HOST[:PORT]/`.
//!
//! What it says is a list of [`Place`]s; asking them one after the other is `pull`'s business. Pure but for the reading.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hako_tls::Pair;
use hyper::header::{HeaderName, HeaderValue};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::{
    HUB, HUB_REGISTRY, RegistryError,
    origin::{HostTrust, Origin, Scheme},
};

/// One server that a repository can be asked of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) origin: Origin,
    /// What stands before the repository in paths: `/v2`.
    pub(crate) base: String,
    /// The registry's name, for a server that stands for several.
    pub(crate) namespace: Option<String>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) capabilities: Vec<Capability>,
}

/// What a server may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Capability {
    /// Content by its digest.
    Pull,
    /// What a tag stands for.
    Resolve,
    Push,
    Referrers,
}

const ALL: [Capability; 4] = [Capability::Pull, Capability::Resolve, Capability::Push, Capability::Referrers];

/// The file. At its top stands what holds for `server`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: Ordered,
    capabilities: Option<Vec<Capability>>,
    ca: Option<OneOrMany>,
    client: Option<Shown>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    dial_timeout: Option<String>,
}

/// What is said of one server.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    capabilities: Option<Vec<Capability>>,
    ca: Option<OneOrMany>,
    client: Option<Shown>,
    skip_verify: bool,
    override_path: bool,
    header: BTreeMap<String, OneOrMany>,
    dial_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A certificate with its key in one file, or in two; of several the first that can be shown is shown.
#[derive(Deserialize)]
#[serde(untagged)]
enum Shown {
    One(String),
    Pairs(Vec<Vec<String>>),
    Many(Vec<String>),
}

/// Tables in the order in which they stand, which is the order in which servers are asked.
#[derive(Default)]
struct Ordered(Vec<(String, Table)>);

impl<'d> Deserialize<'d> for Ordered {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        struct Tables;
        impl<'d> Visitor<'d> for Tables {
            type Value = Ordered;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tables of hosts")
            }
            fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Ordered(all))
            }
        }
        from.deserialize_map(Tables)
    }
}

/// What the folders say of a registry (`HOST[:PORT]`, as it stands in names); `None` if they say nothing.
///
/// # Errors
/// A file that cannot be read or makes no sense.
pub(crate) fn read(folders: &[PathBuf], domain: &str) -> Result<Option<Vec<Place>>, RegistryError> {
    // containerd's other spelling is for file systems that do not take a colon.
    let names = [domain.to_owned(), domain.replacen(':', "_", 1) + "_", "_default".to_owned()];
    for folder in names.iter().flat_map(|name| folders.iter().map(move |above| above.join(name))) {
        let path = folder.join("hosts.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(error) => return Err(RegistryError::Invalid(format!("cannot read {}: {error}", path.display()))),
        };
        let bad = |why: String| RegistryError::Invalid(format!("{}: {why}", path.display()));
        return parse(&text, &folder, domain).map(Some).map_err(bad);
    }
    Ok(None)
}

// `folder`: what relative paths are relative to.
fn parse(text: &str, folder: &Path, domain: &str) -> Result<Vec<Place>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', "; "))?;
    let own = if domain == HUB { HUB_REGISTRY } else { domain };
    let mut places = Vec::new();
    let File { server, host, capabilities, ca, client, skip_verify, override_path, header, dial_timeout } = file;
    for (host, table) in host.0 {
        places.push(place(&host, table, folder, domain, own)?);
    }
    let table = Table { capabilities, ca, client, skip_verify, override_path, header, dial_timeout };
    places.push(place(server.as_deref().unwrap_or(own), table, folder, domain, own)?);
    Ok(places)
}

fn place(host: &str, table: Table, folder: &Path, domain: &str, own: &str) -> Result<Place, String> {
    let (scheme, rest) = host.split_once("://").unwrap_or(("https", host));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" if table.skip_verify => Scheme::Unverified,
        "https" => Scheme::Https,
        other => return Err(format!("host {host:?}: {other:?} is no scheme: expected http or https")),
    };
    let mut origin = Origin::new(scheme, authority).ok_or_else(|| format!("host {host:?} is no address"))?;
    let path = path.trim_end_matches('/');
    let base = match (table.override_path, path) {
        (true, path) => format!("/{path}").trim_end_matches('/').to_owned(),
        (false, "") => "/v2".to_owned(),
        (false, path) if path == "v2" || path.ends_with("/v2") => format!("/{path}"),
        (false, path) => format!("/{path}/v2"),
    };
    let absolute = |path: String| folder.join(path);
    let trust = HostTrust {
        roots: table.ca.map(OneOrMany::all).unwrap_or_default().into_iter().map(absolute).collect(),
        own: table.client.and_then(|shown| pair(shown, folder)),
        dial: table
            .dial_timeout
            .as_deref()
            .map(|text| duration(text).ok_or(format!("{text:?} is no duration")))
            .transpose()?,
    };
    if trust != HostTrust::default() {
        origin.trust = Some(Arc::new(trust));
    }
    let mut headers = Vec::new();
    for (name, values) in table.header {
        let known: HeaderName = name.parse().map_err(|_| format!("{name:?} is no name of a header"))?;
        for value in values.all() {
            HeaderValue::from_str(&value).map_err(|_| format!("header {name:?} has characters that cannot be sent"))?;
            headers.push((known.clone(), value));
        }
    }
    let is_own = Origin::new(scheme, own).is_some_and(|own| (own.host, own.port) == (origin.host.clone(), origin.port));
    Ok(Place {
        base,
        namespace: (!is_own).then(|| domain.to_owned()),
        headers,
        capabilities: table.capabilities.unwrap_or_else(|| ALL.to_vec()),
        origin,
    })
}

fn pair(shown: Shown, folder: &Path) -> Option<Pair> {
    let of = |files: &[String]| {
        let certificate = files.first()?;
        // Without a second file the key is in the first.
        let key = files.get(1).filter(|key| !key.is_empty()).unwrap_or(certificate);
        Some(Pair { certificate: folder.join(certificate), key: folder.join(key) })
    };
    match shown {
        Shown::One(file) => of(&[file]),
        Shown::Many(files) => of(&files[..files.len().min(1)]),
        Shown::Pairs(pairs) => of(pairs.first()?),
    }
}

// Go's spelling, of one unit.
fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = (text[..at].parse::<u64>().ok()?, &text[at..]);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

impl Place {
    pub(crate) fn allows(&self, wanted: &[Capability]) -> bool {
        wanted.iter().all(|one| self.capabilities.contains(one))
    }

    /// Whether it is the registry that the name names, which alone is told the person's password.
    pub(crate) fn is_registry(&self) -> bool {
        self.namespace.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, domain: &str) -> String {
        match parse(text, Path::new("/c"), domain) {
            Ok(places) => places
                .iter()
                .map(|place| {
                    let trust = place.origin.trust.as_deref();
                    let trust =
                        trust.map(|trust| format!(" {:?} {:?}", trust.roots, trust.own.as_ref().map(|own| &own.key)));
                    format!(
                        "{}{} {}{:?}{}\n",
                        place.origin,
                        place.base,
                        place.namespace.as_deref().map(|ns| format!("ns={ns} ")).unwrap_or_default(),
                        place.capabilities,
                        trust.unwrap_or_default()
                    )
                })
                .collect(),
            Err(why) => why,
        }
    }

    #[test]
    fn servers_are_asked_in_the_order_of_the_file() {
        let text = r#"
            server = "https://registry-1.docker.io"
            [host."https://z.test"]
              capabilities = ["pull", "resolve"]
              ca = "z.crt"
              client = [["z.cert", "z.key"]]
            [host."http://a.test:5000/proxy"]
              capabilities = ["pull"]
            [host."https://b.test/v2/hub"]
              override_path = true
              skip_verify = true
        "#;
        assert_eq!(
            shown(text, "docker.io"),
            "https://z.test/v2 ns=docker.io [Pull, Resolve] [\"/c/z.crt\"] Some(\"/c/z.key\")\n\
             http://a.test:5000/proxy/v2 ns=docker.io [Pull]\n\
             https://b.test/v2/hub ns=docker.io [Pull, Resolve, Push, Referrers]\n\
             https://registry-1.docker.io/v2 [Pull, Resolve, Push, Referrers]\n"
        );
        assert_eq!(shown("", "r.test:5000"), "https://r.test:5000/v2 [Pull, Resolve, Push, Referrers]\n");
        assert_eq!(
            shown("capabilities = ['pull']\nca = ['a', '/b']", "r.test"),
            "https://r.test/v2 [Pull] [\"/c/a\", \"/b\"] None\n"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("serer = 'x'", "serer"),
            ("[host.'https://x']\ncapabilities = ['fetch']", "fetch"),
            ("[host.'ftp://x']", "\"ftp\" is no scheme"),
            ("server = 'https://'", "is no address"),
            ("[host.'x'.header]\n'a b' = 'c'", "is no name of a header"),
            ("dial_timeout = 'soon'", "is no duration"),
        ] {
            let got = shown(text, "r.test");
            assert!(got.contains(expected), "{text}: {got}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "\\PC{0,80}") {
            let _ = parse(&text, Path::new("/"), "r.test");
        }
    }
}
