//! One image that is to be built: what files and `--set` say of it, merged.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{
    entry::{Entry, Of, without_twins},
    language::{Kind, Value},
};
use crate::{
    build::is_remote,
    parse::{csv, path},
};

type Texts = BTreeMap<String, String>;

/// The fields are in the order in which Buildx prints them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Target {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing)]
    pub inherits: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attest: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile_inline: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: Texts,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Texts,
    #[serde(skip_serializing_if = "is_unsaid")]
    pub tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<Entry>,
    #[serde(skip_serializing_if = "is_unsaid")]
    pub cache_to: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Entry>,
    #[serde(skip_serializing_if = "is_unsaid")]
    pub platforms: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_unsaid")]
    pub output: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_cache: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_cache_filter: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_hosts: Texts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<Entry>,
    /// It is built because another takes files from it, and kept nowhere.
    #[serde(skip)]
    pub is_linked: bool,
    /// The directory that is the context if none is said.
    #[serde(skip)]
    pub beside: Option<String>,
}

// An empty list replaces what was inherited, and is not printed.
fn is_unsaid<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// Everything that a target may say, for suggestions.
pub(crate) const ATTRIBUTES: [&str; 31] = [
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "inherits",
    "labels",
    "matrix",
    "name",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "policy",
    "pull",
    "resources",
    "secret",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// Limits that `resources` knows, in the order in which they are printed.
pub(crate) const RESOURCES: [&str; 7] =
    ["memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems"];

/// What kind of value an attribute of a block has.
pub(crate) fn kind_of(block: &str, attribute: &str) -> Option<Kind> {
    let list = || Some(Kind::List(Box::new(Kind::Text)));
    let map = || Some(Kind::Map(Box::new(Kind::Text)));
    match (block, attribute) {
        ("group", "targets") => list(),
        (_, "description") => Some(Kind::Text),
        ("target", attribute) => match attribute {
            "context" | "dockerfile" | "dockerfile-inline" | "target" | "network" | "shm-size" | "call" => {
                Some(Kind::Text)
            }
            "inherits" | "annotations" | "tags" | "platforms" | "no-cache-filter" | "ulimits" | "entitlements" => {
                list()
            }
            "contexts" | "args" | "labels" | "extra-hosts" | "resources" => map(),
            "pull" | "no-cache" => Some(Kind::Truth),
            "attest" | "cache-from" | "cache-to" | "output" | "policy" | "secret" | "ssh" => Some(Kind::Any),
            _ => None,
        },
        _ => None,
    }
}

impl Target {
    /// Puts in what a block says of one attribute, which is of its kind.
    ///
    /// # Errors
    /// Where it says what cannot be.
    pub(crate) fn put(&mut self, attribute: &str, value: Value) -> Result<(), String> {
        if value == Value::Null {
            return Ok(());
        }
        match attribute {
            "description" => self.description = value.to_text().filter(|text| !text.is_empty()),
            "context" => self.context = value.to_text(),
            "dockerfile" => self.dockerfile = value.to_text(),
            "dockerfile-inline" => self.dockerfile_inline = value.to_text(),
            "target" => self.target = value.to_text(),
            "network" => self.network = value.to_text(),
            "shm-size" => self.shm_size = value.to_text(),
            "call" => self.call = value.to_text(),
            "inherits" => self.inherits = list(value)?,
            "annotations" => self.annotations = list(value)?,
            "tags" => self.tags = Some(list(value)?),
            "platforms" => self.platforms = Some(list(value)?),
            "no-cache-filter" => self.no_cache_filter = list(value)?,
            "ulimits" => self.ulimits = list(value)?,
            "entitlements" => self.entitlements = list(value)?,
            "contexts" => self.contexts = map(value),
            "args" => self.args = map(value),
            "labels" => self.labels = map(value),
            "extra-hosts" => self.extra_hosts = map(value),
            "resources" => {
                self.resources = map(value);
                self.resources.keys().try_for_each(|key| known_resource(key))?;
            }
            "pull" => self.pull = Some(value == Value::Truth(true)),
            "no-cache" => self.no_cache = Some(value == Value::Truth(true)),
            "attest" => self.attest = entries(Of::Attestation, &value)?,
            "cache-from" => self.cache_from = entries(Of::Cache, &value)?,
            "cache-to" => self.cache_to = Some(entries(Of::Cache, &value)?),
            "output" => self.output = Some(entries(Of::Output, &value)?),
            "policy" => self.policy = entries(Of::Policy, &value)?,
            "secret" => self.secret = entries(Of::Secret, &value)?,
            "ssh" => self.ssh = entries(Of::Agent, &value)?,
            _ => {}
        }
        Ok(())
    }

    /// Directories are those beside the file of this name.
    pub(crate) fn stand_beside(&mut self, file: &str) {
        let Some(directory) = Path::new(file).parent().filter(|_| file != "-") else { return };
        let beside = |place: &mut String| {
            let is_here = !["cwd://", "target:", "docker-image:", "oci-layout:"].iter().any(|it| place.starts_with(it));
            if is_here && !place.is_empty() && !is_remote(place) {
                *place = path::clean(&directory.join(&*place).to_string_lossy());
            }
        };
        self.context.iter_mut().chain(self.contexts.values_mut()).for_each(beside);
        self.beside = Some(path::clean(&directory.to_string_lossy()));
    }

    /// What another says goes before what this one says. Maps are merged; lists are replaced, but for those that only
    /// ever add.
    pub(crate) fn overridden_by(mut self, other: Self) -> Self {
        self.inherits.extend(other.inherits);
        self.args.extend(other.args);
        self.labels.extend(other.labels);
        self.contexts.extend(other.contexts);
        self.extra_hosts.extend(other.extra_hosts);
        self.resources.extend(other.resources);
        self.annotations.extend(other.annotations);
        self.entitlements.extend(other.entitlements);
        self.no_cache_filter.extend(other.no_cache_filter);
        self.ulimits.extend(other.ulimits);
        self.attest.extend(other.attest);
        self.cache_from.extend(other.cache_from);
        self.secret.extend(other.secret);
        self.ssh.extend(other.ssh);
        self.policy.extend(other.policy);
        Self {
            description: other.description.or(self.description),
            context: other.context.or(self.context),
            dockerfile: other.dockerfile.or(self.dockerfile),
            dockerfile_inline: other.dockerfile_inline.or(self.dockerfile_inline),
            tags: other.tags.or(self.tags),
            cache_to: other.cache_to.or(self.cache_to),
            call: other.call.or(self.call),
            network: other.network.or(self.network),
            no_cache: other.no_cache.or(self.no_cache),
            output: other.output.or(self.output),
            platforms: other.platforms.or(self.platforms),
            pull: other.pull.or(self.pull),
            shm_size: other.shm_size.or(self.shm_size),
            target: other.target.or(self.target),
            beside: other.beside.or(self.beside),
            ..self
        }
    }

    /// What is said twice is said once; what is empty is not said.
    pub(crate) fn normalized(mut self) -> Self {
        if self.network.as_deref() == Some("host") {
            self.entitlements.push("network.host".to_owned());
        }
        for all in [&mut self.annotations, &mut self.no_cache_filter, &mut self.ulimits, &mut self.entitlements]
            .into_iter()
            .chain(self.tags.as_mut())
            .chain(self.platforms.as_mut())
        {
            once(all);
        }
        for all in [&mut self.attest, &mut self.cache_from, &mut self.secret, &mut self.ssh, &mut self.policy]
            .into_iter()
            .chain(self.cache_to.as_mut())
            .chain(self.output.as_mut())
        {
            *all = without_twins(std::mem::take(all));
        }
        self.contexts.retain(|_, place| !place.is_empty());
        self
    }

    /// One `--set`. Of several values for a list the first replaces what files say, unless it is added to that.
    pub(crate) fn set(&mut self, key: &str, values: &[String], adds: bool) -> Result<(), String> {
        let value = values.last().cloned().unwrap_or_default();
        let truth = || csv::parse_bool(&value).ok_or_else(|| format!("invalid value {value} for boolean key {key}"));
        let named = |name: &str| {
            if name.is_empty() { Err(format!("invalid key {key}, it requires a name")) } else { Ok(name.to_owned()) }
        };
        let texts = |before: Option<Vec<String>>| {
            let mut all = if adds { before.unwrap_or_default() } else { Vec::new() };
            all.extend(values.iter().cloned());
            all
        };
        let entries = |of: Of, before: Option<Vec<Entry>>, adds: bool| -> Result<Vec<Entry>, String> {
            let mut all = if adds { before.unwrap_or_default() } else { Vec::new() };
            for text in values.iter().filter(|text| !text.is_empty()) {
                all.push(Entry::parse(of, text)?);
            }
            Ok(all)
        };
        match key.split_once('.') {
            Some(("args", name)) => drop(self.args.insert(named(name)?, value)),
            Some(("labels", name)) => drop(self.labels.insert(named(name)?, value)),
            Some(("contexts", name)) => drop(self.contexts.insert(named(name)?, value)),
            Some(("extra-hosts", name)) => drop(self.extra_hosts.insert(named(name)?, value)),
            Some(("resources", name)) => {
                known_resource(name)?;
                self.resources.insert(name.to_owned(), value);
            }
            Some(("secret", id)) => self.set_secret(id, &value)?,
            Some((key, _)) => return Err(unknown(key)),
            None => match key {
                "context" => self.context = Some(value),
                "dockerfile" => self.dockerfile = Some(value),
                "target" => self.target = Some(value),
                "network" => self.network = Some(value),
                "call" => self.call = Some(value),
                "shm-size" => self.shm_size = Some(value),
                "no-cache" => self.no_cache = Some(truth()?),
                "pull" => self.pull = Some(truth()?),
                "push" => self.push(truth()?),
                "load" => self.load(truth()?),
                "tags" => self.tags = Some(texts(self.tags.take())),
                "platform" | "platforms" => self.platforms = Some(texts(self.platforms.take())),
                "no-cache-filter" => self.no_cache_filter = texts(Some(std::mem::take(&mut self.no_cache_filter))),
                "ulimits" => self.ulimits = texts(Some(std::mem::take(&mut self.ulimits))),
                // These only ever add.
                "entitlements" => self.entitlements.extend(values.iter().cloned()),
                "annotations" => self.annotations.extend(values.iter().cloned()),
                "attest" => self.attest = entries(Of::Attestation, Some(std::mem::take(&mut self.attest)), true)?,
                "cache-from" => self.cache_from = entries(Of::Cache, Some(std::mem::take(&mut self.cache_from)), adds)?,
                "cache-to" => self.cache_to = Some(entries(Of::Cache, self.cache_to.take(), adds)?),
                "output" => self.output = Some(entries(Of::Output, self.output.take(), adds)?),
                "policy" => self.policy = entries(Of::Policy, Some(std::mem::take(&mut self.policy)), adds)?,
                "secrets" => self.secret = entries(Of::Secret, Some(std::mem::take(&mut self.secret)), adds)?,
                "ssh" => self.ssh = entries(Of::Agent, Some(std::mem::take(&mut self.ssh)), adds)?,
                other => return Err(unknown(other)),
            },
        }
        Ok(())
    }

    fn set_secret(&mut self, id: &str, value: &str) -> Result<(), String> {
        let mut wanted = Entry::parse(Of::Secret, value)?;
        if let Some(other) = wanted.get("id").filter(|other| *other != id) {
            return Err(format!("secret override id {other:?} does not match declared secret {id:?}"));
        }
        let declared = self.secret.iter_mut().find(|secret| secret.get("id") == Some(id));
        let declared = declared.ok_or_else(|| format!("secret {id:?} must be declared before it can be overridden"))?;
        wanted.set("id", id);
        *declared = wanted;
        Ok(())
    }

    // Images go to the registry; files do not.
    fn push(&mut self, pushes: bool) {
        let outputs = self.output.get_or_insert_default();
        if !pushes {
            outputs.retain(|output| output.kind() != "registry");
        }
        for output in outputs.iter_mut().filter(|output| output.kind() == "image") {
            output.set("push", if pushes { "true" } else { "false" });
        }
        if pushes && outputs.iter().all(|output| output.kind() == "docker") {
            let mut image = Entry::of_type(Of::Output, "image");
            image.set("push", "true");
            outputs.push(image);
        }
    }

    // Images are left with the daemon, too; files are not.
    fn load(&mut self, loads: bool) {
        let outputs = self.output.get_or_insert_default();
        let is_there = |output: &Entry| match output.kind() {
            "docker" => output.get("dest").is_none(),
            "image" | "registry" | "oci" => false,
            _ => true,
        };
        if loads && !outputs.iter().any(is_there) {
            outputs.push(Entry::of_type(Of::Output, "docker"));
        }
    }

    /// As it is printed: a bake file that says the same.
    pub(crate) fn escaped(&self) -> Self {
        let escape = |text: &String| text.replace("${", "$${").replace("%{", "%%{");
        let values = |all: &Texts| all.iter().map(|(key, value)| (key.clone(), escape(value))).collect::<Texts>();
        Self {
            annotations: self.annotations.iter().map(escape).collect(),
            dockerfile_inline: self.dockerfile_inline.as_ref().map(escape),
            args: values(&self.args),
            labels: values(&self.labels),
            extra_hosts: values(&self.extra_hosts),
            ..self.clone()
        }
    }
}

fn unknown(key: &str) -> String {
    let mut text = format!("unknown key: {key}");
    if let Some(meant) = hako_compose::suggest::nearest(key, ATTRIBUTES) {
        text += &format!(" (did you mean {meant}?)");
    }
    text
}

fn known_resource(name: &str) -> Result<(), String> {
    if RESOURCES.contains(&name) {
        Ok(())
    } else {
        Err(format!("unknown resource {name:?}, expected one of {}", RESOURCES.join(", ")))
    }
}

fn list(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Sequence(_, all) => {
            let text = |one: Value| one.to_text().ok_or_else(|| "an element must not be null".to_owned());
            all.into_iter().map(text).collect()
        }
        _ => Ok(Vec::new()),
    }
}

// Null says nothing: what is inherited, or what the Dockerfile says, holds.
fn map(value: Value) -> Texts {
    match value {
        Value::Mapping(_, all) => all.into_iter().filter_map(|(key, value)| Some((key, value.to_text()?))).collect(),
        _ => Texts::new(),
    }
}

fn entries(of: Of, value: &Value) -> Result<Vec<Entry>, String> {
    match value {
        Value::Sequence(_, all) => {
            let said = |one: &&Value| !matches!(one, Value::Text(text) if text.is_empty()) && **one != Value::Null;
            all.iter().filter(said).map(|one| Entry::read(of, one)).collect()
        }
        other => Err(format!("a list is required, not a {}", other.name())),
    }
}

fn once(all: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|text| !text.is_empty() && seen.insert(text.clone()));
}
