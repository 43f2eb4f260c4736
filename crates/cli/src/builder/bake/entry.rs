//! What flags write as `type=…,key=value` and files as objects, too: outputs, caches, secrets, agents, attestations.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::language::Value;
use crate::parse::csv;

/// What an entry is of; each has its own short form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Output,
    Cache,
    Secret,
    Agent,
    Attestation,
    Policy,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    of: Of,
    pairs: BTreeMap<String, String>,
    /// Sockets and keys of an agent.
    paths: Vec<String>,
}

impl Entry {
    pub(crate) fn of_type(of: Of, kind: &str) -> Self {
        let pairs = BTreeMap::from([("type".to_owned(), kind.to_owned())]);
        Self { of, pairs, paths: Vec::new() }
    }

    /// Reads what a flag would say.
    ///
    /// # Errors
    /// With what is wrong.
    pub(crate) fn parse(of: Of, text: &str) -> Result<Self, String> {
        let mut entry = Self { of, pairs: BTreeMap::new(), paths: Vec::new() };
        if of == Of::Agent {
            let (id, paths) = text.split_once('=').unwrap_or((text, ""));
            entry.put("id", id);
            entry.paths = paths.split(',').filter(|path| !path.is_empty()).map(str::to_owned).collect();
            return Ok(entry);
        }
        let fields = csv::fields(text)?;
        if let ([only], false) = (fields.as_slice(), text.starts_with("type=")) {
            match of {
                Of::Output if only == text => {
                    entry.put("type", if text == "-" { "tar" } else { "local" });
                    entry.put("dest", text);
                    return Ok(entry);
                }
                Of::Cache if !only.contains('=') => {
                    entry.put("type", "registry");
                    entry.put("ref", only);
                    return Ok(entry);
                }
                _ => {}
            }
        }
        for field in &fields {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            entry.put(key.trim().to_lowercase().as_str(), value);
        }
        entry.checked()
    }

    /// Reads what a file says: a text as for a flag, or an object.
    ///
    /// # Errors
    /// With what is wrong.
    pub(crate) fn read(of: Of, value: &Value) -> Result<Self, String> {
        let all = match value {
            Value::Text(text) => return Self::parse(of, text),
            Value::Mapping(_, all) => all,
            other => return Err(format!("a string or an object is required, not a {}", other.name())),
        };
        let mut entry = Self { of, pairs: BTreeMap::new(), paths: Vec::new() };
        for (key, value) in all {
            match value {
                Value::Null => {}
                Value::Sequence(_, paths) if of == Of::Agent && key == "paths" => {
                    let text = |path: &Value| path.to_text().ok_or_else(|| "paths: list of string required".to_owned());
                    entry.paths = paths.iter().map(text).collect::<Result<_, _>>()?;
                }
                other => {
                    let text = other.to_text().ok_or_else(|| format!("{key}: string required"))?;
                    entry.put(key, &text);
                }
            }
        }
        entry.checked()
    }

    fn put(&mut self, key: &str, value: &str) {
        self.pairs.insert(key.to_owned(), value.to_owned());
    }

    fn checked(mut self) -> Result<Self, String> {
        match self.of {
            Of::Secret => {
                if let Some(path) = self.pairs.remove("source") {
                    self.put("src", &path);
                }
                let kind = self.pairs.remove("type");
                match kind.as_deref() {
                    None | Some("file") => {}
                    Some("env") => {
                        if let (false, Some(name)) = (self.pairs.contains_key("env"), self.pairs.remove("src")) {
                            self.put("env", &name);
                        }
                    }
                    Some(other) => return Err(format!("unsupported secret type {other:?}")),
                }
                match self.pairs.keys().find(|key| !["id", "src", "env"].contains(&key.as_str())) {
                    Some(other) => Err(format!("unexpected key '{other}' in a secret")),
                    None => Ok(self),
                }
            }
            Of::Agent => match self.pairs.keys().find(|key| *key != "id") {
                Some(other) => Err(format!("unexpected key '{other}' in an SSH agent")),
                None => Ok(self),
            },
            Of::Policy => Ok(self),
            Of::Output if !self.pairs.contains_key("type") => Err("type is required for output".to_owned()),
            Of::Attestation if !self.pairs.contains_key("type") => Err("attestation type not specified".to_owned()),
            Of::Cache if !self.pairs.contains_key("type") => Err("type required for a cache".to_owned()),
            Of::Attestation if self.get("disabled").is_some_and(|text| csv::parse_bool(text) == Some(false)) => {
                self.pairs.remove("disabled");
                Ok(self)
            }
            _ => Ok(self),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    pub(crate) fn kind(&self) -> &str {
        self.get("type").unwrap_or_default()
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.put(key, value);
    }

    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// What two entries cannot both be: secrets and agents of one id, attestations of one type, else the same twice.
    fn is_same(&self, other: &Self) -> bool {
        match self.of {
            Of::Secret | Of::Agent => self.get("id") == other.get("id"),
            Of::Attestation => self.kind() == other.kind(),
            _ => self == other,
        }
    }

    /// As the flag is written.
    pub(crate) fn flag(&self) -> String {
        if self.of == Of::Agent {
            let id = self.get("id").unwrap_or_default();
            return if self.paths.is_empty() { id.to_owned() } else { format!("{id}={}", self.paths.join(",")) };
        }
        let first = ["type", "dest", "id"].iter().filter_map(|key| Some((*key, self.get(key)?)));
        let rest = self.pairs.iter().filter(|(key, _)| !["type", "dest", "id"].contains(&key.as_str()));
        let pairs = first.chain(rest.map(|(key, value)| (key.as_str(), value.as_str())));
        let field = |(key, value): (&str, &str)| {
            let pair = format!("{key}={value}");
            if pair.contains([',', '"']) { format!("\"{}\"", pair.replace('"', "\"\"")) } else { pair }
        };
        pairs.map(field).collect::<Vec<_>>().join(",")
    }
}

/// What is there once; the later one holds, at the place of the former.
pub(crate) fn without_twins(all: Vec<Entry>) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::with_capacity(all.len());
    for entry in all {
        match kept.iter_mut().find(|one| one.is_same(&entry)) {
            Some(before) => *before = entry,
            None => kept.push(entry),
        }
    }
    kept
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.of {
            Of::Secret => {
                for key in ["id", "src", "env"] {
                    if let Some(value) = self.get(key) {
                        map.serialize_entry(key, value)?;
                    }
                }
            }
            Of::Agent => {
                if let Some(id) = self.get("id") {
                    map.serialize_entry("id", id)?;
                }
                if !self.paths.is_empty() {
                    map.serialize_entry("paths", &self.paths)?;
                }
            }
            _ => {
                for (key, value) in &self.pairs {
                    match (self.of, key.as_str(), csv::parse_bool(value)) {
                        (Of::Attestation, "disabled", Some(truth)) => map.serialize_entry(key, &truth)?,
                        _ => map.serialize_entry(key, value)?,
                    }
                }
            }
        }
        map.end()
    }
}
