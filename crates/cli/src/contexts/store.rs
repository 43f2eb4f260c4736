//! The files of contexts, in docker's layout.
//!
//! ```text
//! contexts/meta/SHA256(name)/meta.json         name, description, the daemon's address
//! contexts/tls/SHA256(name)/docker/*.pem       ca.pem, cert.pem, key.pem
//! ```
//!
//! Documents may hold more than hako knows; it is kept.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use hako_base::file::{Durability, write_atomic};
use hako_client::TlsFiles;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::CommandError;

/// The context that is made of flags and variables, and is not stored.
pub(crate) const DEFAULT: &str = "default";

/// What the default context says of itself.
pub(crate) const DEFAULT_DESCRIPTION: &str = "Current DOCKER_HOST based configuration";

/// The files of one endpoint's TLS, in docker's order.
pub(crate) const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// A stored document.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Document {
    pub name: String,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    #[serde(default)]
    pub endpoints: BTreeMap<String, Endpoint>,
}

/// Where a daemon is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    #[serde(rename = "Host", default)]
    pub host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    pub skip_tls_verify: bool,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Document {
    pub(crate) fn new(name: &str, description: &str, endpoint: Endpoint) -> Self {
        let mut document = Self { name: name.to_owned(), ..Self::default() };
        document.set_description(description);
        document.endpoints.insert("docker".to_owned(), endpoint);
        document
    }

    pub(crate) fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn set_description(&mut self, text: &str) {
        match text {
            "" => drop(self.metadata.remove("Description")),
            text => drop(self.metadata.insert("Description".to_owned(), text.into())),
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoints.get("docker").cloned().unwrap_or_default()
    }
}

/// All contexts of a person.
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// The contexts below the directory of `config.json`.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { root: directory.join("contexts") }
    }

    /// Where the context's document is.
    pub(crate) fn meta_directory(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(identifier(name))
    }

    /// Where the context's certificates are.
    pub(crate) fn tls_directory(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(identifier(name))
    }

    /// Reads one context.
    ///
    /// # Errors
    /// When there is none of that name, in docker's words.
    pub(crate) fn get(&self, name: &str) -> Result<Document, CommandError> {
        let path = self.meta_directory(name).join("meta.json");
        let text = fs::read(&path).map_err(|error| {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
            CommandError::Said(format!("context \"{name}\": context not found: open {}: {why}", path.display()))
        })?;
        serde_json::from_slice(&text)
            .map_err(|error| CommandError::Said(format!("context \"{name}\": {}: {error}", path.display())))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.meta_directory(name).join("meta.json").exists()
    }

    /// All stored contexts; unreadable ones are left out.
    pub(crate) fn all(&self) -> Vec<Document> {
        let entries = fs::read_dir(self.root.join("meta")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path().join("meta.json")).ok()?).ok())
            .collect()
    }

    /// Writes a context and its certificates; `None` leaves those that are there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn put(&self, document: &Document, tls: Option<&Material>) -> Result<(), CommandError> {
        let write = || -> io::Result<()> {
            if let Some(tls) = tls {
                self.write_tls(&document.name, tls)?;
            }
            let directory = self.meta_directory(&document.name);
            fs::create_dir_all(&directory)?;
            write_atomic(&directory.join("meta.json"), &serde_json::to_vec(document)?, 0o644, Durability::Process)
        };
        write().map_err(CommandError::local(format!("write the context {}", document.name)))
    }

    fn write_tls(&self, name: &str, tls: &Material) -> io::Result<()> {
        let directory = self.tls_directory(name);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for (endpoint, files) in tls {
            let directory = directory.join(endpoint);
            hako_base::file::make_dir(&self.root, 0o755)?;
            hako_base::file::make_dir(&directory, 0o700)?;
            for (file, bytes) in files {
                write_atomic(&directory.join(file), bytes, 0o600, Durability::Process)?;
            }
        }
        Ok(())
    }

    /// The names of the certificates' files by endpoint, as `inspect` shows them.
    pub(crate) fn tls_names(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let names = |(endpoint, files): (String, BTreeMap<String, Vec<u8>>)| (endpoint, files.into_keys().collect());
        self.tls(name).into_iter().map(names).collect()
    }

    /// The certificates of all endpoints.
    pub(crate) fn tls(&self, name: &str) -> Material {
        let mut all = Material::new();
        for endpoint in fs::read_dir(self.tls_directory(name)).into_iter().flatten().flatten() {
            let files: BTreeMap<_, _> = fs::read_dir(endpoint.path())
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|file| Some((file.file_name().into_string().ok()?, fs::read(file.path()).ok()?)))
                .collect();
            if let (false, Ok(endpoint)) = (files.is_empty(), endpoint.file_name().into_string()) {
                all.insert(endpoint, files);
            }
        }
        all
    }

    /// How to speak TLS with the context's daemon; `None`: not at all.
    pub(crate) fn tls_files(&self, document: &Document) -> Option<TlsFiles> {
        let directory = self.tls_directory(&document.name).join("docker");
        let file = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
        let [authority, certificate, key] = TLS_FILES.map(file);
        let skip = document.endpoint().skip_tls_verify;
        let wanted = skip || authority.is_some() || certificate.is_some() || key.is_some();
        wanted.then_some(TlsFiles { authority, certificate, key, verify: !skip })
    }

    /// Removes a context.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn remove(&self, name: &str) -> Result<(), CommandError> {
        for directory in [self.meta_directory(name), self.tls_directory(name)] {
            match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CommandError::local(format!("remove {}", directory.display()))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Certificates and keys: by endpoint, by file.
pub(crate) type Material = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

fn identifier(name: &str) -> String {
    use std::fmt::Write as _;
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a context may be called so.
///
/// # Errors
/// Docker's sentence.
pub(crate) fn check_name(name: &str) -> Result<(), CommandError> {
    if name == DEFAULT {
        return Err(CommandError::Said(format!("\"{DEFAULT}\" is a reserved context name")));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && name.len() > 1 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte)) {
        return Ok(());
    }
    Err(CommandError::Said(format!(
        "context name \"{name}\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again_and_found_by_docker() {
        let root = std::env::temp_dir().join(format!("hako-contexts-{}", hako_base::random::hex(8)));
        let store = Store::new(&root);
        let endpoint = Endpoint { host: "tcp://h:1".to_owned(), ..Endpoint::default() };
        let tls = Material::from([("docker".to_owned(), BTreeMap::from([("ca.pem".to_owned(), b"x".to_vec())]))]);
        store.put(&Document::new("aa", "words", endpoint), Some(&tls)).unwrap();
        // The SHA-256 of "aa".
        let id = "961b6dd3ede3cb8ecbaacbd68de040cd78eb2ed5889130cceb4c49268ea4d506";
        assert_eq!(
            fs::read_to_string(root.join("contexts/meta").join(id).join("meta.json")).unwrap(),
            r#"{"Name":"aa","Metadata":{"Description":"words"},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#
        );
        assert_eq!(store.get("aa").unwrap().description(), "words");
        let files = store.tls_files(&store.get("aa").unwrap()).unwrap();
        assert_eq!((files.authority, files.verify), (Some(store.tls_directory("aa").join("docker/ca.pem")), true));
        store.remove("aa").unwrap();
        assert_eq!((store.all().len(), store.exists("aa"), store.tls("aa").len()), (0, false, 0));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn names_are_checked() {
        assert!(["aa", "a.b-c_d+e", "0x"].iter().all(|name| check_name(name).is_ok()));
        assert!(["", "a", "a b", "-a", "../x", "default"].iter().all(|name| check_name(name).is_err()));
    }
}
