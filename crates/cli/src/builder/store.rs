//! The files of builders, in Buildx's layout, so that both tools know the same builders.
//!
//! ```text
//! $BUILDX_CONFIG, or buildx/ beside config.json
//!   instances/NAME      the builder: its driver, its nodes
//!   activity/NAME       when it built last
//!   current             which builder is used, with which daemon
//!   defaults/HASH       which builder is used with a daemon when nothing else is said
//!   .lock               held while any of them changes
//! ```
//! Documents may hold more than hako knows; it is kept.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use hako_base::{
    clock,
    file::{Durability, write_atomic},
};
use hako_model::Platform;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::CommandError;

/// A stored builder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Record {
    pub name: String,
    #[serde(default)]
    pub driver: String,
    #[serde(default, deserialize_with = "or_nothing")]
    pub nodes: Vec<NodeRecord>,
    #[serde(default)]
    pub dynamic: bool,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One node of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NodeRecord {
    pub name: String,
    #[serde(default)]
    pub endpoint: String,
    #[serde(default, deserialize_with = "or_nothing")]
    pub platforms: Vec<Platform>,
    #[serde(default, deserialize_with = "or_nothing")]
    pub driver_opts: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_nothing")]
    pub flags: Vec<String>,
    /// What is put below `/etc/buildkit`, in base64.
    #[serde(default, deserialize_with = "or_nothing")]
    pub files: BTreeMap<String, String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

// Go writes nothing at all as `null`.
fn or_nothing<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Current {
    key: String,
    name: String,
    #[serde(default)]
    global: bool,
}

/// How a choice is remembered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lasting {
    /// With every daemon.
    pub everywhere: bool,
    /// Also after another one was used with this daemon.
    pub as_default: bool,
}

/// All builders of a person.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// The builders of the directory of `config.json`, unless a variable says otherwise.
    pub(crate) fn new(directory: &Path) -> Self {
        let own = std::env::var_os("BUILDX_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { root: own.unwrap_or_else(|| directory.join("buildx")) }
    }

    /// The configuration that builders get that are given none.
    pub(crate) fn default_configuration(&self) -> PathBuf {
        self.root.join("buildkitd.default.toml")
    }

    /// Held while builders change; the other tool waits for it too.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn lock(&self) -> Result<File, CommandError> {
        let path = self.root.join(".lock");
        let take = || -> io::Result<File> {
            fs::create_dir_all(&self.root)?;
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
            Ok(file)
        };
        take().map_err(CommandError::local(format!("lock {}", path.display())))
    }

    fn instance(&self, name: &str) -> PathBuf {
        self.root.join("instances").join(name)
    }

    /// The builder of that name, if there is one.
    ///
    /// # Errors
    /// A document that is none.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Record>, CommandError> {
        if check_name(name).is_err() {
            return Ok(None);
        }
        let path = self.instance(name);
        let Ok(text) = fs::read(&path) else { return Ok(None) };
        let read = serde_json::from_slice(&text);
        read.map(Some).map_err(|error| CommandError::Said(format!("ERROR: {}: {error}", path.display())))
    }

    /// All stored builders by their names; what cannot be read is left out.
    pub(crate) fn all(&self) -> Vec<Record> {
        let entries = fs::read_dir(self.root.join("instances")).into_iter().flatten().flatten();
        let read = entries.filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok());
        let mut all: Vec<Record> = read.collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    /// Writes a builder.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn put(&self, record: &Record) -> Result<(), CommandError> {
        let text = serde_json::to_vec(record).map_err(io::Error::from);
        text.and_then(|text| self.write("instances", &record.name, &text))
            .map_err(CommandError::local(format!("write the builder {}", record.name)))
    }

    /// Forgets a builder.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn remove(&self, name: &str) -> Result<(), CommandError> {
        for folder in ["instances", "activity", "refs"] {
            let path = self.root.join(folder).join(name);
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CommandError::local(format!("remove {}", path.display()))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The builder that is used with the daemon `key`; nothing: the daemon itself.
    pub(crate) fn current(&self, key: &str) -> Option<String> {
        let read = |path: PathBuf| fs::read(path).ok();
        let current = read(self.root.join("current")).and_then(|text| serde_json::from_slice::<Current>(&text).ok());
        if let Some(current) = current.filter(|current| current.global || current.key == key) {
            if current.name.is_empty() {
                return None;
            }
            if self.instance(&current.name).exists() {
                return Some(current.name);
            }
        }
        let name = String::from_utf8(read(self.root.join("defaults").join(hash(key)))?).ok()?;
        Some(name).filter(|name| check_name(name).is_ok() && self.instance(name).exists())
    }

    /// Uses a builder with the daemon `key` from now on; an empty name: the daemon itself.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn set_current(&self, key: &str, name: &str, lasting: Lasting) -> Result<(), CommandError> {
        let current = Current { key: key.to_owned(), name: name.to_owned(), global: lasting.everywhere };
        let write = || -> io::Result<()> {
            self.write("", "current", &serde_json::to_vec(&current)?)?;
            if lasting.as_default {
                self.write("defaults", &hash(key), name.as_bytes())?;
            }
            Ok(())
        };
        write().map_err(CommandError::local(format!("write in {}", self.root.display())))
    }

    /// When it built last, by RFC 3339.
    pub(crate) fn last_activity(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join("activity").join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// It builds now. Nobody is stopped by a note that cannot be made.
    pub(crate) fn touch(&self, name: &str) {
        let now = clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let _ = self.write("activity", name, now.as_bytes());
    }

    fn write(&self, folder: &str, name: &str, text: &[u8]) -> io::Result<()> {
        let folder = self.root.join(folder);
        fs::create_dir_all(&folder)?;
        write_atomic(&folder.join(name), text, 0o600, Durability::Process)
    }
}

// Ten bytes of SHA-256, as the other tool has it.
fn hash(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    hako_base::random::encode_hex(&digest.as_ref()[..10])
}

/// Whether a builder may be called so; its name is that of a file.
///
/// # Errors
/// Buildx's sentences.
pub(crate) fn check_name(name: &str) -> Result<(), CommandError> {
    let said = |text: String| Err(CommandError::Said(text));
    if name == "default" {
        return said("ERROR: default is a reserved name and cannot be used to identify builder instance".to_owned());
    }
    let is_first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if is_first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Ok(());
    }
    said(format!(
        "ERROR: invalid name {name}, name needs to start with a letter and may not contain symbols, except ._-"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store { root: std::env::temp_dir().join(format!("hako-builders-{}", hako_base::random::hex(8))) }
    }

    #[test]
    fn what_buildx_writes_is_read_and_kept() {
        let store = store();
        let text = r#"{"Name":"p","Driver":"docker-container","Nodes":[{"Name":"p0","Endpoint":"ctx","Platforms":[{"architecture":"arm","os":"linux","variant":"v7"}],"DriverOpts":{"env.A":"b"},"Flags":["--x"],"Files":{},"New":1}],"Dynamic":false}"#;
        store.write("instances", "p", text.as_bytes()).unwrap();
        let record = store.get("p").unwrap().unwrap();
        assert_eq!(record.nodes[0].platforms[0].to_string(), "linux/arm/v7");
        store.put(&record).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(store.instance("p")).unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(text).unwrap());
        let text = r#"{"Name":"q","Driver":"remote","Nodes":[{"Name":"q0","Endpoint":"tcp://h:1","Platforms":null,"DriverOpts":null,"Flags":null,"Files":null}],"Dynamic":false}"#;
        store.write("instances", "q", text.as_bytes()).unwrap();
        assert_eq!(store.all().iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["p", "q"]);
        assert_eq!(store.get("../p").unwrap(), None);
        store.remove("p").unwrap();
        assert_eq!(store.get("p").unwrap(), None);
        fs::remove_dir_all(&store.root).unwrap();
    }

    #[test]
    fn a_choice_is_for_one_daemon_or_for_all() {
        let store = store();
        for name in ["a", "b"] {
            store.put(&Record { name: name.to_owned(), ..Record::default() }).unwrap();
        }
        let choose = |key: &str, name: &str, everywhere: bool, as_default: bool| {
            store.set_current(key, name, Lasting { everywhere, as_default }).unwrap();
        };
        let check = |key: &str, expected: Option<&str>| assert_eq!(store.current(key).as_deref(), expected, "{key}");
        check("k", None);
        choose("k", "a", false, true);
        check("k", Some("a"));
        check("other", None);
        choose("k", "b", true, false);
        check("other", Some("b"));
        // What is said of this daemon comes before its default.
        choose("k", "", false, false);
        check("k", None);
        choose("other", "b", false, false);
        check("k", Some("a"));
        store.remove("a").unwrap();
        check("k", None);
        assert_eq!(hash("ctx1"), "8f9d61fac39402898f83");
        fs::remove_dir_all(&store.root).unwrap();
    }

    #[test]
    fn names_are_those_of_files() {
        assert!(["a", "a.b-c_9"].iter().all(|name| check_name(name).is_ok()));
        assert!(["", "9a", "a b", "../x", "a/b", "default"].iter().all(|name| check_name(name).is_err()));
    }
}
