//! What bake files say: groups, targets, variables; inherited, overridden, printed. Pure.
//!
//! A key that is not known is an error with its target: a misspelt `tag` would else make an image without a name.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that the files say, merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Definition {
    pub groups: BTreeMap<String, Vec<String>>,
    pub targets: BTreeMap<String, Target>,
}

/// One image to be built.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Target {
    #[serde(skip_serializing)]
    pub inherits: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile_inline: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Option<Scalar>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<Scalar>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attest: Vec<Listed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<Listed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_to: Vec<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_hosts: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_cache: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_cache_filter: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<Listed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret: Vec<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<String>,
}

/// A value that may be written as a number or a truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Value")]
pub(crate) struct Scalar(pub String);

impl From<Value> for Scalar {
    fn from(value: Value) -> Self {
        Self(match value {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }
}

/// What flags write as `type=…,key=value`, which may be written as an object too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Value")]
pub(crate) struct Listed(pub String);

impl From<Value> for Listed {
    fn from(value: Value) -> Self {
        let Value::Object(pairs) = value else { return Self(Scalar::from(value).0) };
        let (first, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| key == "type");
        let pair = |(key, value): (String, Value)| format!("{key}={}", Scalar::from(value).0);
        Self(first.into_iter().chain(rest).map(pair).collect::<Vec<_>>().join(","))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    group: BTreeMap<String, Group>,
    target: BTreeMap<String, Value>,
    variable: BTreeMap<String, Variable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Group {
    targets: Vec<String>,
    description: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Variable {
    default: Option<Value>,
    description: Option<String>,
}

impl Target {
    /// What another says goes before what this one says. Maps are merged; lists are replaced, but for those that only
    /// ever add.
    fn overridden_by(mut self, other: Self) -> Self {
        let one = |mine: Option<String>, its: Option<String>| its.or(mine);
        fn list<T>(mine: Vec<T>, its: Vec<T>) -> Vec<T> {
            if its.is_empty() { mine } else { its }
        }
        self.args.extend(other.args);
        self.labels.extend(other.labels);
        self.contexts.extend(other.contexts);
        self.extra_hosts.extend(other.extra_hosts);
        self.annotations.extend(other.annotations);
        self.attest.extend(other.attest);
        self.entitlements.extend(other.entitlements);
        // One of the two is the Dockerfile.
        if other.dockerfile.is_some() || other.dockerfile_inline.is_some() {
            (self.dockerfile, self.dockerfile_inline) = (None, None);
        }
        Self {
            inherits: list(self.inherits, other.inherits),
            description: one(self.description, other.description),
            context: one(self.context, other.context),
            dockerfile: one(self.dockerfile, other.dockerfile),
            dockerfile_inline: one(self.dockerfile_inline, other.dockerfile_inline),
            tags: list(self.tags, other.tags),
            cache_from: list(self.cache_from, other.cache_from),
            cache_to: list(self.cache_to, other.cache_to),
            call: one(self.call, other.call),
            network: one(self.network, other.network),
            no_cache: other.no_cache.or(self.no_cache),
            no_cache_filter: list(self.no_cache_filter, other.no_cache_filter),
            output: list(self.output, other.output),
            platforms: list(self.platforms, other.platforms),
            pull: other.pull.or(self.pull),
            secret: list(self.secret, other.secret),
            shm_size: one(self.shm_size, other.shm_size),
            ssh: list(self.ssh, other.ssh),
            target: one(self.target, other.target),
            ulimits: list(self.ulimits, other.ulimits),
            ..self
        }
    }

    /// One `--set`.
    fn set(&mut self, key: &str, value: &str, adds: bool) -> Result<(), String> {
        let boolean = |text: &str| match text {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            other => Err(format!("{key}={other}: expected true or false")),
        };
        fn put<T>(list: &mut Vec<T>, value: T, adds: bool) {
            if !adds {
                list.clear();
            }
            list.push(value);
        }
        let scalar = || Some(Scalar(value.to_owned()));
        let listed = || Listed(value.to_owned());
        match key.split_once('.') {
            Some(("args", name)) => drop(self.args.insert(name.to_owned(), scalar())),
            Some(("labels", name)) => drop(self.labels.insert(name.to_owned(), scalar())),
            Some(("contexts", name)) => drop(self.contexts.insert(name.to_owned(), value.to_owned())),
            Some(("extra-hosts", name)) => drop(self.extra_hosts.insert(name.to_owned(), value.to_owned())),
            Some(_) => return Err(format!("unknown key: {key}")),
            None => match key {
                "context" => self.context = Some(value.to_owned()),
                "dockerfile" => self.dockerfile = Some(value.to_owned()),
                "target" => self.target = Some(value.to_owned()),
                "network" => self.network = Some(value.to_owned()),
                "call" => self.call = Some(value.to_owned()),
                "shm-size" => self.shm_size = Some(value.to_owned()),
                "no-cache" => self.no_cache = boolean(value)?,
                "pull" => self.pull = boolean(value)?,
                "tags" => put(&mut self.tags, value.to_owned(), adds),
                "platform" | "platforms" => put(&mut self.platforms, value.to_owned(), adds),
                "no-cache-filter" => put(&mut self.no_cache_filter, value.to_owned(), adds),
                "ulimits" => put(&mut self.ulimits, value.to_owned(), adds),
                "entitlements" => put(&mut self.entitlements, value.to_owned(), adds),
                "annotations" => put(&mut self.annotations, value.to_owned(), adds),
                "cache-from" => put(&mut self.cache_from, listed(), adds),
                "cache-to" => put(&mut self.cache_to, listed(), adds),
                "output" => put(&mut self.output, listed(), adds),
                "secrets" | "secret" => put(&mut self.secret, listed(), adds),
                "ssh" => put(&mut self.ssh, listed(), adds),
                "attest" => put(&mut self.attest, listed(), adds),
                other => return Err(format!("unknown key: {other}")),
            },
        }
        Ok(())
    }
}

/// Replaces `${NAME}` in every text of a file.
fn replace(value: &mut Value, variables: &BTreeMap<String, String>) -> Result<(), String> {
    match value {
        Value::String(text) => *text = replaced(text, variables)?,
        Value::Array(all) => all.iter_mut().try_for_each(|one| replace(one, variables))?,
        Value::Object(all) => all.values_mut().try_for_each(|one| replace(one, variables))?,
        _ => {}
    }
    Ok(())
}

fn replaced(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let (mut made, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        let end = after.find('}').ok_or_else(|| format!("{text:?}: a }} is missing"))?;
        let name = &after[..end];
        if let Some(escaped) = before.strip_suffix('$') {
            made += &format!("{escaped}${{{name}}}");
        } else {
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            if !is_name {
                return Err(format!("{text:?}: expressions other than a variable's name are not built yet"));
            }
            let value = variables.get(name).ok_or_else(|| format!("{text:?}: there is no variable {name}"))?;
            made += before;
            made += value;
        }
        rest = &after[end + 1..];
    }
    Ok(made + rest)
}

impl Definition {
    /// Adds what a JSON file says; `environment` gives variables other values than their defaults.
    pub(crate) fn add(&mut self, text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut variables = BTreeMap::new();
        for (name, variable) in file.variable {
            let default = variable.default.map_or_else(String::new, |value| Scalar::from(value).0);
            let value = environment(&name).unwrap_or(default);
            variables.insert(name, value);
        }
        for (name, group) in file.group {
            self.groups.insert(name, group.targets);
        }
        for (name, mut value) in file.target {
            replace(&mut value, &variables).map_err(|why| format!("target {name}: {why}"))?;
            let target: Target = serde_json::from_value(value).map_err(|error| format!("target {name}: {error}"))?;
            let before = self.targets.remove(&name).unwrap_or_default();
            self.targets.insert(name, before.overridden_by(target));
        }
        Ok(())
    }

    /// The targets that are wanted, whole: by their names or those of groups; none named: `default`.
    pub(crate) fn resolve(&self, names: &[String], sets: &[String]) -> Result<Resolved, String> {
        let default = ["default".to_owned()];
        let names = if names.is_empty() { &default[..] } else { names };
        let mut wanted = Vec::new();
        for name in names {
            self.collect(name, &mut wanted, &mut BTreeSet::new())?;
        }
        let mut targets = BTreeMap::new();
        for name in &wanted {
            targets.insert(name.clone(), self.whole(name, &mut Vec::new())?);
        }
        let mut touched = BTreeSet::new();
        for text in sets {
            apply(&mut targets, text, &mut touched)?;
        }
        let mut groups: BTreeMap<String, Vec<String>> =
            self.groups.iter().filter(|(name, _)| names.contains(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
        // What was asked for is the default of what is printed.
        groups.entry("default".to_owned()).or_insert_with(|| names.to_vec());
        Ok(Resolved { groups, targets, order: wanted })
    }

    fn collect(&self, name: &str, wanted: &mut Vec<String>, above: &mut BTreeSet<String>) -> Result<(), String> {
        let Some(members) = self.groups.get(name) else {
            let known = self.targets.contains_key(name);
            if !known {
                return Err(format!("failed to find target {name}"));
            }
            if !wanted.iter().any(|one| one == name) {
                wanted.push(name.to_owned());
            }
            return Ok(());
        };
        if !above.insert(name.to_owned()) {
            return Err(format!("the group {name} is a part of itself"));
        }
        members.iter().try_for_each(|member| self.collect(member, wanted, above))?;
        above.remove(name);
        Ok(())
    }

    fn whole(&self, name: &str, above: &mut Vec<String>) -> Result<Target, String> {
        if above.iter().any(|one| one == name) {
            return Err(format!("infinite loop from {name}: it inherits itself"));
        }
        let own = self.targets.get(name).ok_or_else(|| format!("failed to find target {name}"))?.clone();
        above.push(name.to_owned());
        let mut whole = Target::default();
        for parent in &own.inherits {
            whole = whole.overridden_by(self.whole(parent, above)?);
        }
        above.pop();
        let mut whole = whole.overridden_by(own);
        whole.inherits.clear();
        whole.context.get_or_insert_with(|| ".".to_owned());
        if whole.dockerfile_inline.is_none() {
            whole.dockerfile.get_or_insert_with(|| "Dockerfile".to_owned());
        }
        Ok(whole)
    }
}

/// What is to be built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    pub groups: BTreeMap<String, Vec<String>>,
    pub targets: BTreeMap<String, Target>,
    /// Names, in the order in which they were asked for.
    pub order: Vec<String>,
}

#[derive(Serialize)]
struct Printed<'r> {
    group: BTreeMap<&'r String, BTreeMap<&'static str, &'r Vec<String>>>,
    target: &'r BTreeMap<String, Target>,
}

impl Resolved {
    /// As `--print` has it.
    pub(crate) fn json(&self) -> String {
        let members = |(name, targets)| (name, BTreeMap::from([("targets", targets)]));
        let group = self.groups.iter().map(members).collect();
        serde_json::to_string_pretty(&Printed { group, target: &self.targets }).unwrap_or_default()
    }
}

// `PATTERN.KEY=VALUE`, or `PATTERN.KEY+=VALUE` to add to a list.
fn apply(
    targets: &mut BTreeMap<String, Target>,
    text: &str,
    touched: &mut BTreeSet<(String, String)>,
) -> Result<(), String> {
    let malformed = || format!("invalid override {text}, expected target.name=value");
    let (path, value) = text.split_once('=').ok_or_else(malformed)?;
    let (path, adds) = path.strip_suffix('+').map_or((path, false), |path| (path, true));
    let (pattern, key) = path.split_once('.').ok_or_else(malformed)?;
    let matching: Vec<String> = targets.keys().filter(|name| matches(pattern, name)).cloned().collect();
    if matching.is_empty() {
        return Err(format!("could not find any target matching '{pattern}'"));
    }
    for name in matching {
        // The first of several replaces what the file says, the others add to it.
        let again = !touched.insert((name.clone(), key.to_owned()));
        if let Some(target) = targets.get_mut(&name) {
            target.set(key, value, adds || again).map_err(|why| format!("{text}: {why}"))?;
        }
    }
    Ok(())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => {
            let Some(tail) = name.strip_prefix(start) else { return false };
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| matches(rest, &tail[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "variable": {"TAG": {"default": "latest"}},
        "group": {"default": {"targets": ["web", "all"]}, "all": {"targets": ["tool"]}},
        "target": {
            "base": {"args": {"A": 1, "B": null}, "labels": {"l": "x"}, "platforms": ["linux/amd64"]},
            "web": {"inherits": ["base"], "tags": ["web:${TAG}"], "args": {"A": "2"}, "cache-from": [{"type": "local", "src": "x"}]},
            "tool": {"context": "tool", "dockerfile-inline": "FROM $${x}"}
        }
    }"#;

    fn read(names: &[&str], sets: &[&str]) -> Result<Resolved, String> {
        let mut definition = Definition::default();
        definition.add(FILE, &|name| (name == "TAG").then(|| "v1".to_owned()))?;
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        definition.resolve(&owned(names), &owned(sets))
    }

    #[test]
    fn targets_inherit_and_are_overridden() {
        let resolved = read(&[], &["web.args.B=3", "*.tags=a", "*.tags=b", "web.cache-from+=type=gha"]).unwrap();
        assert_eq!(resolved.order, ["web", "tool"]);
        let web = &resolved.targets["web"];
        let args: Vec<_> = web.args.iter().map(|(key, value)| (key.as_str(), value.clone().unwrap().0)).collect();
        assert_eq!(args, [("A", "2".to_owned()), ("B", "3".to_owned())]);
        assert_eq!((&web.tags[..], web.platforms.len()), (&["a".to_owned(), "b".to_owned()][..], 1));
        assert_eq!(
            web.cache_from.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(),
            ["type=local,src=x", "type=gha"]
        );
        assert_eq!(resolved.targets["tool"].dockerfile_inline.as_deref(), Some("FROM ${x}"));
        assert_eq!(read(&["web"], &[]).unwrap().targets["web"].tags, ["web:v1"]);
    }

    #[test]
    fn mistakes() {
        assert_eq!(read(&["nosuch"], &[]).unwrap_err(), "failed to find target nosuch");
        assert_eq!(read(&[], &["x.tags=a"]).unwrap_err(), "could not find any target matching 'x'");
        assert_eq!(read(&[], &["web.tag=a"]).unwrap_err(), "web.tag=a: unknown key: tag");
        let add = |text: &str| Definition::default().add(text, &|_| None).unwrap_err();
        assert!(add(r#"{"target": {"a": {"tag": ["x"]}}}"#).starts_with("target a: unknown field `tag`"));
        assert!(add(r#"{"target": {"a": {"tags": ["${X}"]}}}"#).ends_with("there is no variable X"));
        let mut looped = Definition::default();
        looped.add(r#"{"target": {"a": {"inherits": ["b"]}, "b": {"inherits": ["a"]}}}"#, &|_| None).unwrap();
        assert!(looped.resolve(&["a".to_owned()], &[]).unwrap_err().contains("inherits itself"));
    }
}
