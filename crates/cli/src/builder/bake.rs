//! `buildx bake`: the images that a file describes, JSON or Compose.
//!
//! A target is what `hako build` would be told; one is built after the other, those first that others take files from.
//! HCL is refused by name.

mod file; // what bake files say

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Map;

use super::site::Site;
use crate::{
    build::{self, BuildFlags, Mode},
    command::{Arguments, Command, Shape},
    compose,
    context::Context,
    error::CommandError,
    flag::FlagSet,
};
use file::{Definition, Listed, Resolved, Scalar, Target};

/// Files that are looked for, all that are there are read.
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const JSON: [&str; 2] = ["docker-bake.json", "docker-bake.override.json"];
const HCL: [&str; 2] = ["docker-bake.hcl", "docker-bake.override.hcl"];

#[derive(Default)]
pub(crate) struct Bake {
    allow: Vec<String>,
    builder: Option<String>,
    call: Option<String>,
    check: bool,
    files: Vec<String>,
    list: Option<String>,
    load: bool,
    metadata_file: Option<String>,
    no_cache: bool,
    print: bool,
    progress: Option<String>,
    provenance: Option<String>,
    pull: bool,
    push: bool,
    sbom: Option<String>,
    sets: Vec<String>,
    variables: Vec<String>,
}

impl Command for Bake {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx bake", "buildx f"],
        usage: "[OPTIONS] [TARGET...]",
        about: "Build what a file describes",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.allow, "--allow", "Allow what reaches the host (network.host, security.insecure)")
            .kind("stringArray");
        set.add(&mut self.builder, "--builder", "Builder that makes them (default: what is in use)");
        set.add(&mut self.call, "--call", "build, check, outline or targets (default \"build\")");
        set.add(&mut self.check, "--check", "Look for mistakes in the Dockerfiles, and build nothing");
        set.add(&mut self.files, "-f, --file", "The file (docker-bake.json, compose.yaml, …)").kind("stringArray");
        set.add(&mut self.list, "--list", "List targets or groups (type=targets)");
        set.add(&mut self.load, "--load", "Leave the images with the daemon, which is the default");
        set.add(&mut self.metadata_file, "--metadata-file", "Write what is known of the results to this file");
        set.add(&mut self.no_cache, "--no-cache", "Do everything anew");
        set.add(&mut self.print, "--print", "Print what would be built, and build nothing");
        set.add(&mut self.progress, "--progress", "auto, plain, tty, quiet or rawjson (default \"auto\")");
        set.add(&mut self.provenance, "--provenance", "Shorthand for --set=*.attest=type=provenance");
        set.add(&mut self.pull, "--pull", "Ask registries for newer base images");
        set.add(&mut self.push, "--push", "Shorthand for --set=*.output=type=registry");
        set.add(&mut self.sbom, "--sbom", "Shorthand for --set=*.attest=type=sbom");
        set.add(&mut self.sets, "--set", "Set something of targets (target.key=value)").kind("stringArray");
        set.add(&mut self.variables, "--var", "Set a variable (NAME=value)").kind("stringArray");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let definition = self.read(cx)?;
        if let Some(list) = &self.list {
            return cx.print(&listing(&definition, list)?);
        }
        let mut resolved = definition.resolve(&names, &self.sets).map_err(said)?;
        for target in resolved.targets.values_mut() {
            self.override_all(target);
        }
        if self.print {
            return cx.print_line(&resolved.json());
        }
        let mode = Mode::parse(self.progress.as_deref().unwrap_or_default())?;
        let (mut answers, mut is_well) = (Map::new(), true);
        for name in in_order(&resolved)? {
            let flags = self.flags_of(&resolved, &name);
            let context = resolved.targets[&name].context.clone().unwrap_or_default();
            let named = |error: CommandError| said(format!("target {name}: {error}"));
            let site = Site::find(cx, self.builder.as_deref(), &flags.platforms).await.map_err(named)?;
            is_possible(&site, &resolved.targets[&name]).map_err(named)?;
            let wanted = build::wanted(cx, &site, &flags, &context).map_err(named)?;
            let built = build::build(cx, &site, wanted, mode).await.map_err(named)?;
            if let Some(said) = built.said(&flags) {
                cx.print(&said.text)?;
                is_well &= said.is_well;
                continue;
            }
            answers.insert(name.clone(), built.metadata_value());
        }
        if let Some(path) = &self.metadata_file {
            let text = serde_json::to_string_pretty(&answers).unwrap_or_default();
            fs::write(path, text).map_err(CommandError::local(format!("write {path}")))?;
        }
        if is_well { Ok(()) } else { Err(CommandError::Exit(1)) }
    }
}

fn said(text: impl Into<String>) -> CommandError {
    CommandError::Said(format!("ERROR: {}", text.into()))
}

impl Bake {
    fn read(&self, cx: &mut Context) -> Result<Definition, CommandError> {
        let is_there = |name: &&str| Path::new(name).exists();
        let files: Vec<String> = if self.files.is_empty() {
            let compose = COMPOSE.iter().copied().find(is_there);
            let json = JSON.iter().chain(&HCL).copied().filter(is_there);
            compose.into_iter().chain(json).map(str::to_owned).collect()
        } else {
            self.files.clone()
        };
        if files.is_empty() {
            return Err(said("couldn't find a bake definition (compose.yaml, docker-bake.json, …)"));
        }
        let mut definition = Definition::default();
        for file in &files {
            match Path::new(file).extension().and_then(|extension| extension.to_str()) {
                Some("yml" | "yaml") => from_compose(cx, file, &mut definition)?,
                Some("hcl") => {
                    return Err(said(format!("{file}: bake files in HCL are not built yet: write it in JSON")));
                }
                _ => {
                    let text = fs::read_to_string(file).map_err(CommandError::local(format!("read {file}")))?;
                    definition.add(&text, &|name| self.variable(name)).map_err(|why| said(format!("{file}: {why}")))?;
                }
            }
        }
        Ok(definition)
    }

    fn variable(&self, name: &str) -> Option<String> {
        let given = self.variables.iter().filter_map(|text| text.split_once('=')).find(|(key, _)| *key == name);
        given.map(|(_, value)| value.to_owned()).or_else(|| std::env::var(name).ok())
    }

    // What the command line says of all targets.
    fn override_all(&self, target: &mut Target) {
        if self.no_cache {
            target.no_cache = Some(true);
        }
        if self.pull {
            target.pull = Some(true);
        }
        if self.push {
            target.output = vec![Listed("type=registry".to_owned())];
        }
        for (kind, value) in [("provenance", &self.provenance), ("sbom", &self.sbom)] {
            if let Some(value) = value {
                let said = match value.as_str() {
                    "false" => format!("type={kind},disabled=true"),
                    "true" => format!("type={kind}"),
                    other => format!("type={kind},{other}"),
                };
                target.attest.push(Listed(said));
            }
        }
    }

    fn flags_of(&self, resolved: &Resolved, name: &str) -> BuildFlags {
        let target = &resolved.targets[name];
        let texts = |list: &[Listed]| list.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
        let pairs = |map: &BTreeMap<String, Option<Scalar>>| -> Vec<String> {
            let pair = |(key, value): (&String, &Option<Scalar>)| match value {
                Some(Scalar(value)) => format!("{key}={value}"),
                None => key.clone(),
            };
            map.iter().map(pair).collect()
        };
        let context = target.context.clone().unwrap_or_default();
        BuildFlags {
            add_hosts: target.extra_hosts.iter().map(|(host, address)| format!("{host}={address}")).collect(),
            allow: self.allow.iter().chain(&target.entitlements).cloned().collect(),
            annotations: target.annotations.clone(),
            attest: texts(&target.attest),
            arguments: pairs(&target.args),
            contexts: target
                .contexts
                .iter()
                .map(|(name, place)| format!("{name}={}", of_target(resolved, place)))
                .collect(),
            cache_from: texts(&target.cache_from),
            cache_to: texts(&target.cache_to),
            call: self.call.clone().or_else(|| target.call.clone()),
            check: self.check,
            file: dockerfile(&context, target.dockerfile.as_deref()),
            inline: target.dockerfile_inline.clone(),
            labels: pairs(&target.labels),
            load: self.load,
            network: target.network.clone(),
            no_cache: target.no_cache.unwrap_or(false),
            no_cache_filter: target.no_cache_filter.clone(),
            outputs: texts(&target.output),
            platforms: target.platforms.clone(),
            pull: target.pull.unwrap_or(false),
            secrets: texts(&target.secret),
            ssh: texts(&target.ssh),
            tags: tags(name, target, resolved),
            target: target.target.clone(),
            ulimits: target.ulimits.clone(),
            ..BuildFlags::default()
        }
    }
}

// A target is a context as an image, which only the daemon has when it was built.
fn is_possible(site: &Site, target: &Target) -> Result<(), CommandError> {
    match target.contexts.values().find(|place| place.starts_with("target:")) {
        Some(place) if !site.is_daemon() => Err(CommandError::Said(format!(
            "the context {place} is not built with the {} driver: the daemon's own builder has it",
            site.driver()
        ))),
        _ => Ok(()),
    }
}

// A target that others take files from has a name by which they find it.
fn tags(name: &str, target: &Target, resolved: &Resolved) -> Vec<String> {
    let place = format!("target:{name}");
    let is_taken_from = resolved.targets.values().any(|other| other.contexts.values().any(|context| *context == place));
    if target.tags.is_empty() && is_taken_from { vec![kept_as(name)] } else { target.tags.clone() }
}

fn kept_as(name: &str) -> String {
    format!("hako-bake-{}:latest", name.to_lowercase())
}

fn of_target(resolved: &Resolved, place: &str) -> String {
    let Some(name) = place.strip_prefix("target:") else { return place.to_owned() };
    let tag = resolved.targets.get(name).and_then(|target| target.tags.first().cloned());
    format!("docker-image://{}", tag.unwrap_or_else(|| kept_as(name)))
}

// A Dockerfile is looked for in its context; one at an address has its own.
fn dockerfile(context: &str, file: Option<&str>) -> Option<String> {
    let file = file?;
    if Path::new(context).is_dir() && !Path::new(file).is_absolute() {
        return Some(PathBuf::from(context).join(file).display().to_string());
    }
    Some(file.to_owned())
}

// Those first that others take files from.
fn in_order(resolved: &Resolved) -> Result<Vec<String>, CommandError> {
    fn visit(
        resolved: &Resolved,
        name: &str,
        above: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) -> Result<(), CommandError> {
        if order.iter().any(|one| one == name) {
            return Ok(());
        }
        let Some(target) = resolved.targets.get(name) else {
            return Err(said(format!("target {name} is a context of another, and is not among those that are built")));
        };
        if !above.insert(name.to_owned()) {
            return Err(said(format!("infinite loop from {name}: it is a context of itself")));
        }
        for other in target.contexts.values().filter_map(|place| place.strip_prefix("target:")) {
            visit(resolved, other, above, order)?;
        }
        above.remove(name);
        order.push(name.to_owned());
        Ok(())
    }
    let mut order = Vec::new();
    resolved.order.iter().try_for_each(|name| visit(resolved, name, &mut BTreeSet::new(), &mut order))?;
    Ok(order)
}

fn listing(definition: &Definition, kind: &str) -> Result<String, CommandError> {
    match kind.trim_start_matches("type=") {
        "targets" => {
            let names = definition
                .targets
                .iter()
                .map(|(name, target)| format!("{name}\t{}\n", target.description.as_deref().unwrap_or_default()));
            Ok(crate::format::table::align(&format!("TARGET\tDESCRIPTION\n{}", names.collect::<String>())))
        }
        other => Err(said(format!("--list={other} is not built yet: type=targets is"))),
    }
}

// Services that are built become targets; all of them are the default.
fn from_compose(cx: &mut Context, file: &str, definition: &mut Definition) -> Result<(), CommandError> {
    let services = compose::build::recipes(cx, file)?;
    let names: Vec<String> = services.keys().cloned().collect();
    let before = definition.groups.entry("default".to_owned()).or_default();
    before.extend(names.into_iter().filter(|name| !before.contains(name)).collect::<Vec<_>>());
    for (name, flags) in services {
        let pairs = |list: &[String]| -> BTreeMap<String, Option<Scalar>> {
            let pair = |text: &String| match text.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(Scalar(value.to_owned()))),
                None => (text.clone(), None),
            };
            list.iter().map(pair).collect()
        };
        let listed = |list: &[String]| list.iter().cloned().map(Listed).collect::<Vec<_>>();
        let (context, flags) = flags;
        let target = Target {
            args: pairs(&flags.arguments),
            labels: pairs(&flags.labels),
            contexts: flags
                .contexts
                .iter()
                .filter_map(|text| text.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            dockerfile: flags.file.clone(),
            dockerfile_inline: flags.inline.clone(),
            tags: flags.tags.clone(),
            target: flags.target.clone(),
            platforms: flags.platforms.clone(),
            cache_from: listed(&flags.cache_from),
            cache_to: listed(&flags.cache_to),
            network: flags.network.clone(),
            no_cache: flags.no_cache.then_some(true),
            pull: flags.pull.then_some(true),
            entitlements: flags.allow.clone(),
            ulimits: flags.ulimits.clone(),
            ssh: listed(&flags.ssh),
            extra_hosts: flags
                .add_hosts
                .iter()
                .filter_map(|text| text.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            context: Some(context),
            ..Target::default()
        };
        definition.targets.insert(name, target);
    }
    Ok(())
}
