//! What is to be built: the targets that were asked for, whole, with what the command line sets. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    definition::{Definition, Group},
    language::escaped,
    target::Target,
};

/// What is to be built.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Resolved {
    pub groups: BTreeMap<String, Group>,
    pub targets: BTreeMap<String, Target>,
    /// Names, in the order in which they were asked for.
    pub order: Vec<String>,
    /// A word of this run alone: another may build the same at the same time.
    pub run: String,
}

/// What `--set` says of one target: values by key, and whether they are added.
type Set = BTreeMap<String, Vec<(String, Vec<String>, bool)>>;

impl Definition {
    /// The targets that are wanted, by their names, patterns, or those of groups.
    ///
    /// # Errors
    /// Where one is not there, needs itself, or is set to what cannot be.
    pub(crate) fn resolve(&self, names: &[String], sets: &[String]) -> Result<Resolved, String> {
        let mut asked: Vec<String> = Vec::new();
        for name in names {
            let found = self.matching(&name.replace('.', "_"))?;
            asked.extend(found);
        }
        once(&mut asked);
        let set = self.sets(sets)?;
        let mut resolved = Resolved::default();
        for name in &asked {
            let (mut targets, mut groups) = (Vec::new(), Vec::new());
            self.members(name, &mut targets, &mut groups, 0)?;
            for target in targets {
                if !resolved.targets.contains_key(&target) {
                    resolved.targets.insert(target.clone(), self.whole(&target, &set)?);
                    resolved.order.push(target);
                }
            }
            for (group, _) in groups {
                resolved.groups.insert(group.clone(), self.groups[&group].clone());
            }
        }
        // What was asked for is the default of what is printed.
        for name in &asked {
            if name != "default" {
                resolved.groups.entry("default".to_owned()).or_default().targets.push(name.clone());
            }
        }
        if let Some(default) = resolved.groups.get_mut("default") {
            once(&mut default.targets);
        }
        let mut done = BTreeSet::new();
        for name in resolved.order.clone() {
            self.link(&name, &set, &mut resolved, (&mut Vec::new(), &mut done))?;
        }
        Ok(resolved)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>, String> {
        if !pattern.contains(['*', '?', '[', ']']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let all = self.groups.keys().chain(self.targets.keys());
        let found: Vec<String> = all.filter(|name| matches(pattern, name)).cloned().collect();
        if found.is_empty() {
            return Err(format!("could not find any target matching {pattern:?}"));
        }
        Ok(found)
    }

    // Targets of a group and of those in it, and the groups themselves, with whether they are being looked at.
    fn members(
        &self,
        name: &str,
        targets: &mut Vec<String>,
        groups: &mut Vec<(String, bool)>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("group {name}: more than {DEPTH_MAX} groups are within each other"));
        }
        let Some(group) = self.groups.get(name) else {
            targets.push(name.to_owned());
            return Ok(());
        };
        // A group that names itself means a target of that name.
        if let Some(is_open) = groups.iter().find(|one| one.0 == name).map(|one| one.1) {
            targets.extend(is_open.then(|| name.to_owned()));
            return Ok(());
        }
        let at = groups.len();
        groups.push((name.to_owned(), true));
        group.targets.iter().try_for_each(|member| self.members(member, targets, groups, depth + 1))?;
        groups[at].1 = false;
        Ok(())
    }

    fn missing(&self, name: &str) -> String {
        let known = self.targets.keys().chain(self.groups.keys()).map(String::as_str);
        match hako_compose::suggest::nearest(name, known) {
            Some(meant) => format!("failed to find target {name} (did you mean {meant}?)"),
            None => format!("failed to find target {name}"),
        }
    }

    fn whole(&self, name: &str, set: &Set) -> Result<Target, String> {
        let mut whole = self.inherited(name, set, &mut BTreeMap::new())?.unwrap_or_default();
        let beside = whole.beside.take();
        whole.context.get_or_insert_with(|| beside.unwrap_or_else(|| ".".to_owned()));
        if whole.dockerfile.as_ref().is_none_or(String::is_empty) {
            whole.dockerfile = Some("Dockerfile".to_owned());
        }
        Ok(whole)
    }

    // Each parent once; one that is being looked at already says nothing more.
    fn inherited(
        &self,
        name: &str,
        set: &Set,
        seen: &mut BTreeMap<String, Option<Target>>,
    ) -> Result<Option<Target>, String> {
        if let Some(before) = seen.get(name) {
            return Ok(before.clone());
        }
        seen.insert(name.to_owned(), None);
        let own = self.targets.get(name).ok_or_else(|| self.missing(name))?.clone();
        if seen.len() > DEPTH_MAX {
            return Err(format!("target {name} inherits from more than {DEPTH_MAX} others"));
        }
        let mut whole = Target::default();
        for parent in &own.inherits {
            if let Some(parent) = self.inherited(parent, set, seen)? {
                whole = whole.overridden_by(parent);
            }
        }
        let mut whole = whole.overridden_by(own);
        for (key, values, adds) in set.get(name).into_iter().flatten() {
            whole.set(key, values, *adds).map_err(|why| format!("{name}.{key}: {why}"))?;
        }
        let mut whole = whole.normalized();
        whole.inherits.clear();
        seen.insert(name.to_owned(), Some(whole.clone()));
        Ok(Some(whole))
    }

    // `PATTERN.KEY=VALUE`, or `PATTERN.KEY+=VALUE` to add to a list.
    fn sets(&self, texts: &[String]) -> Result<Set, String> {
        let mut set = Set::new();
        for text in texts {
            let (path, value) = text.split_once('=').map_or((text.as_str(), None), |(path, value)| (path, Some(value)));
            let (path, adds) = path.strip_suffix('+').map_or((path, false), |path| (path, true));
            let malformed = || format!("invalid override {text}, expected target.name=value");
            let (pattern, key) = path.split_once('.').ok_or_else(malformed)?;
            let value = match (value, key.strip_prefix("args.")) {
                (Some(value), _) => value.to_owned(),
                (None, Some(name)) => match std::env::var(name) {
                    Ok(value) => value,
                    Err(_) => continue,
                },
                (None, None) => return Err(malformed()),
            };
            let found: Vec<&String> = match self.targets.get_key_value(pattern) {
                Some((name, _)) => vec![name],
                None => self.targets.keys().filter(|name| matches(pattern, name)).collect(),
            };
            if found.is_empty() {
                return Err(format!("could not find any target matching '{pattern}'"));
            }
            for name in found {
                let all = set.entry(name.clone()).or_default();
                match all.iter_mut().find(|one| one.0 == key) {
                    Some(one) => {
                        one.1.push(value.clone());
                        one.2 = adds;
                    }
                    None => all.push((key.to_owned(), vec![value.clone()], adds)),
                }
            }
        }
        Ok(set)
    }

    // Targets that others take files from are built, too.
    fn link(
        &self,
        name: &str,
        set: &Set,
        resolved: &mut Resolved,
        (above, done): (&mut Vec<String>, &mut BTreeSet<String>),
    ) -> Result<(), String> {
        if done.contains(name) {
            return Ok(());
        }
        if above.len() > DEPTH_MAX {
            return Err(format!("target {name}: more than {DEPTH_MAX} targets take files from each other"));
        }
        above.push(name.to_owned());
        let places: Vec<String> = resolved.targets[name].contexts.values().cloned().collect();
        for other in places.iter().filter_map(|place| place.strip_prefix("target:")) {
            if other == name {
                return Err(format!("target {other} cannot link to itself"));
            }
            if above.iter().any(|one| one == other) {
                return Err(format!("infinite loop from {name} to {other}"));
            }
            if !resolved.targets.contains_key(other) {
                let mut linked = self.whole(other, set)?;
                linked.output = None;
                linked.is_linked = true;
                resolved.targets.insert(other.to_owned(), linked);
            }
            self.link(other, set, resolved, (above, done))?;
            let needed = resolved.targets[other].entitlements.clone();
            if let Some(target) = resolved.targets.get_mut(name) {
                target.entitlements.extend(needed);
                once(&mut target.entitlements);
            }
            let (its, own) = (&resolved.targets[other].platforms, &resolved.targets[name].platforms);
            if let (Some(its), Some(own)) = (its, own)
                && its.len() > 1
                && own.iter().any(|platform| !its.contains(platform))
                && own.len() > 1
            {
                return Err(format!(
                    "target {other} can't be used by {name} because its platforms [{}] are not a subset of [{}]",
                    own.join(" "),
                    its.join(" ")
                ));
            }
        }
        above.pop();
        done.insert(name.to_owned());
        Ok(())
    }
}

/// Targets that one inherits from, or takes files from; groups within each other.
const DEPTH_MAX: usize = 256;

fn once(all: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    all.retain(|text| seen.insert(text.clone()));
}

#[derive(Serialize)]
struct Printed<'r> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    group: &'r BTreeMap<String, Group>,
    target: BTreeMap<&'r String, Target>,
}

impl Resolved {
    /// As `--print` has it: a bake file that says the same.
    pub(crate) fn json(&self) -> String {
        let target = self.targets.iter().map(|(name, target)| (name, target.escaped())).collect();
        escaped(&serde_json::to_string_pretty(&Printed { group: &self.groups, target }).unwrap_or_default())
    }

    /// The name under which the daemon keeps a target for others.
    pub(crate) fn kept_as(&self, name: &str) -> String {
        format!("hako-bake-{}-{}:latest", name.to_lowercase(), self.run)
    }

    /// The names, those first that others take files from; `resolve` has refused circles.
    pub(crate) fn in_order(&self) -> Vec<String> {
        fn visit(resolved: &Resolved, name: &str, order: &mut Vec<String>) {
            if order.iter().any(|one| one == name) {
                return;
            }
            for other in resolved.targets[name].contexts.values().filter_map(|place| place.strip_prefix("target:")) {
                visit(resolved, other, order);
            }
            order.push(name.to_owned());
        }
        let mut order = Vec::new();
        self.order.iter().for_each(|name| visit(self, name, &mut order));
        order
    }
}

// Shell patterns: `*`, `?`, `[a-z]`, `[^a-z]`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut letters = name.chars();
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let after = rest.as_str();
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| matches(after, &name[at..]))
        }
        Some('?') => letters.next().is_some() && matches(rest.as_str(), letters.as_str()),
        Some('[') => {
            let Some((class, after)) = rest.as_str().split_once(']') else { return false };
            let Some(letter) = letters.next() else { return false };
            in_class(class, letter) && matches(after, letters.as_str())
        }
        Some(other) => letters.next() == Some(other) && matches(rest.as_str(), letters.as_str()),
    }
}

fn in_class(class: &str, letter: char) -> bool {
    let (negated, class) = class.strip_prefix('^').map_or((false, class), |class| (true, class));
    let class: Vec<char> = class.chars().collect();
    let (mut at, mut found) = (0, false);
    while at < class.len() {
        let is_range = class.get(at + 1) == Some(&'-') && at + 2 < class.len();
        let last = if is_range { class[at + 2] } else { class[at] };
        found |= (class[at]..=last).contains(&letter);
        at += if is_range { 3 } else { 1 };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::{super::language::Source, *};

    const FILE: &str = r#"
        variable "TAG" { default = "latest" }
        group "default" { targets = ["web", "all"] }
        group "all" { targets = ["tool"] }
        target "base" {
          args      = { A = 1, B = null }
          labels    = { l = "x" }
          platforms = ["linux/amd64"]
        }
        target "web" {
          inherits   = ["base"]
          tags       = ["web:${TAG}", "", "web:${TAG}"]
          args       = { A = "2" }
          cache-from = [{ type = "local", src = "x" }, "user/app:cache"]
          secret     = [{ type = "env", id = "KEY" }, "id=file,src=a"]
          ssh        = [{ id = "default", paths = ["/a", "/b"] }]
        }
        target "tool" {
          context           = "tool"
          dockerfile-inline = "FROM $${x}"
          contexts          = { lower = "target:lower" }
        }
        target "lower" { args = { OF = target.web.args.A } }
        target "app" {
          name   = "app-${part}-${replace(version, ".", "-")}"
          matrix = { part = ["a", "b"], version = ["1.0", "2.0"] }
          target = part
        }
    "#;

    fn of(text: &str, names: &[&str], sets: &[&str]) -> Result<Resolved, String> {
        let mut definition = Definition::default();
        let sources = [Source { name: "t.hcl".to_owned(), text: text.to_owned() }];
        definition.add(&sources, &BTreeMap::new(), &|name| (name == "TAG").then(|| "v1".to_owned()), false)?;
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        definition.resolve(&owned(names), &owned(sets))
    }

    fn read(names: &[&str], sets: &[&str]) -> Result<Resolved, String> {
        of(FILE, names, sets)
    }

    #[test]
    fn targets_inherit_and_are_overridden() {
        let sets = ["web.args.B=3", "*.tags=a", "*.tags=b", "web.cache-from+=type=gha", "web.secret.file=env=FILE"];
        let resolved = read(&["default"], &sets).unwrap();
        assert_eq!(resolved.order, ["web", "tool"]);
        let web = &resolved.targets["web"];
        let pair = |(key, value): (&String, &String)| format!("{key}={value}");
        assert_eq!(web.args.iter().map(pair).collect::<Vec<_>>(), ["A=2", "B=3"]);
        assert_eq!(web.tags.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        let flags = |all: &[super::super::entry::Entry]| all.iter().map(|one| one.flag()).collect::<Vec<_>>();
        assert_eq!(flags(&web.cache_from), ["type=local,src=x", "type=registry,ref=user/app:cache", "type=gha"]);
        assert_eq!(flags(&web.secret), ["id=KEY", "id=file,env=FILE"]);
        assert_eq!(flags(&web.ssh), ["default=/a,/b"]);
        assert_eq!(resolved.targets["tool"].dockerfile_inline.as_deref(), Some("FROM ${x}"));
        assert!(resolved.json().contains(r#""dockerfile-inline": "FROM $${x}""#));
        assert_eq!(read(&["web"], &[]).unwrap().targets["web"].tags.as_ref().unwrap(), &["web:v1"]);
    }

    #[test]
    fn what_others_take_files_from_is_built_first() {
        let resolved = read(&["tool"], &[]).unwrap();
        assert_eq!(resolved.in_order(), ["lower", "tool"]);
        assert!(resolved.targets["lower"].is_linked);
        assert_eq!(resolved.targets["lower"].args["OF"], "2");
    }

    #[test]
    fn a_matrix_is_a_group_of_targets() {
        let resolved = read(&["app"], &[]).unwrap();
        assert_eq!(resolved.order, ["app-a-1-0", "app-a-2-0", "app-b-1-0", "app-b-2-0"]);
        assert_eq!(resolved.groups["app"].targets, resolved.order);
        assert_eq!(read(&["app-?-[2-9]*"], &[]).unwrap().order, ["app-a-2-0", "app-b-2-0"]);
    }

    #[test]
    fn pushed_and_loaded_are_images_alone() {
        let outputs = |text: &str, set: &str| {
            let file = format!("target \"a\" {{ output = [{text}] }}");
            let target = of(&file, &["a"], &[set]).unwrap().targets.remove("a").unwrap();
            target.output.iter().flatten().map(|one| one.flag()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(outputs("", "*.push=true"), "type=image,push=true");
        assert_eq!(outputs("\"type=image\"", "*.push=true"), "type=image,push=true");
        assert_eq!(outputs("\"out\"", "*.push=true"), "type=local,dest=out");
        assert_eq!(outputs("\"type=registry\", \"type=image\"", "*.push=false"), "type=image,push=false");
        assert_eq!(outputs("\"type=image\"", "*.load=true"), "type=image type=docker");
        assert_eq!(outputs("\"type=tar,dest=a\"", "*.load=true"), "type=tar,dest=a");
    }

    #[test]
    fn mistakes() {
        let last = |error: String| error.lines().last().unwrap_or_default().to_owned();
        assert_eq!(read(&["nosuch"], &[]).unwrap_err(), "failed to find target nosuch");
        assert_eq!(read(&["wep"], &[]).unwrap_err(), "failed to find target wep (did you mean web?)");
        assert_eq!(read(&["web"], &["x.tags=a"]).unwrap_err(), "could not find any target matching 'x'");
        assert_eq!(read(&["web"], &["web.tag=a"]).unwrap_err(), "web.tag: unknown key: tag (did you mean tags?)");
        assert_eq!(
            last(of("target \"a\" {\n  tag = [\"x\"]\n}", &["a"], &[]).unwrap_err()),
            "ERROR: t.hcl:2,3-6: Unsupported argument; An argument named \"tag\" is not expected here. Did you mean \"tags\"?"
        );
        assert_eq!(
            last(of("target \"a\" {\n  tags = \"x\"\n}", &["a"], &[]).unwrap_err()),
            "ERROR: t.hcl:2,10-13: Unsuitable value type; Inappropriate value for attribute \"tags\": list of string required."
        );
        assert_eq!(
            last(of("target \"a\" {\n  contexts = {b = \"target:a\"}\n}", &["a"], &[]).unwrap_err()),
            "target a cannot link to itself"
        );
        let circle = "target \"a\" { args = {x = target.b.args.x} }\ntarget \"b\" { args = {x = target.a.args.x} }";
        assert!(of(circle, &["a"], &[]).unwrap_err().ends_with("target.a.args → target.b.args → target.a.args"));
    }
}
