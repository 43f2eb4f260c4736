//! `buildx bake`: the images that files describe, in HCL, JSON or as Compose services.
//!
//! A target is what `hako build` would be told; one is built after the other, those first that others take files from.

mod definition; // what all files say together
mod entry; // outputs, caches, secrets: a flag's words or an object
mod flags; // a target as what `hako build` is told
mod grant; // what files may reach
mod language; // HCL and JSON, evaluated
mod list; // `--list`
mod remote; // files that are elsewhere
mod resolve; // the targets that were asked for, whole
mod services; // Compose files
mod target; // one image to be built

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read as _},
    path::Path,
};

use hako_api::query::ImageRemoveQuery;
use serde_json::Map;

use super::site::Site;
use crate::{
    build::{self, Mode, is_remote},
    command::{Arguments, Command, Shape},
    config::default_platform,
    context::Context,
    error::CommandError,
    flag::FlagSet,
    parse::{csv, path},
};
use definition::Definition;
use grant::Granted;
use language::{FILE_BYTES_MAX, Source};
use remote::Remote;
use resolve::Resolved;
use target::Target;

/// Files that are looked for, all that are there are read.
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OWN: [&str; 4] = ["docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"];

#[derive(Default)]
pub(crate) struct Bake {
    allow: Vec<String>,
    builder: Option<String>,
    call: Option<String>,
    check: bool,
    debug: bool,
    files: Vec<String>,
    list: Option<String>,
    load: bool,
    metadata_file: Option<String>,
    no_cache: Option<bool>,
    policy: Vec<String>,
    print: bool,
    progress: Option<String>,
    provenance: Option<String>,
    pull: Option<bool>,
    push: bool,
    sbom: Option<String>,
    sets: Vec<String>,
    variables: Vec<String>,
}

impl Command for Bake {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx bake", "buildx f", "bake"],
        usage: "[OPTIONS] [TARGET...]",
        about: "Build what a file describes",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.allow, "--allow", "Allow what reaches the host (network.host, fs.read=/path, ssh, …)")
            .kind("stringArray");
        set.add(&mut self.builder, "--builder", "Builder that makes them (default: what is in use)");
        set.add(&mut self.call, "--call", "build, check, outline or targets (default \"build\")");
        set.add(&mut self.check, "--check", "Look for mistakes in the Dockerfiles, and build nothing");
        set.add(&mut self.debug, "-D, --debug", "Of Buildx: it tells more").hide();
        set.add(&mut self.files, "-f, --file", "The file (docker-bake.hcl, docker-bake.json, compose.yaml, …)")
            .kind("stringArray");
        set.add(&mut self.list, "--list", "List targets or variables (targets, type=variables,format=json)");
        set.add(&mut self.load, "--load", "Leave the images with the daemon, which is the default");
        set.add(&mut self.metadata_file, "--metadata-file", "Write what is known of the results to this file");
        set.add(&mut self.no_cache, "--no-cache", "Do everything anew");
        set.add(&mut self.policy, "--policy", "Policies are not built; disabled=true says that none is wanted")
            .kind("stringArray");
        set.add(&mut self.print, "--print", "Print what would be built, and build nothing");
        set.add(&mut self.progress, "--progress", "auto, plain, tty, quiet or rawjson (default \"auto\")");
        set.add(&mut self.provenance, "--provenance", "Shorthand for --set=*.attest=type=provenance");
        set.add(&mut self.pull, "--pull", "Ask registries for newer base images");
        set.add(&mut self.push, "--push", "Shorthand for --set=*.output=type=registry");
        set.add(&mut self.sbom, "--sbom", "Shorthand for --set=*.attest=type=sbom");
        set.add(&mut self.sets, "--set", "Set something of targets (target.key=value)").kind("stringArray");
        set.add(&mut self.variables, "--var", "Set a variable (NAME=value)").kind("stringArray");
    }

    async fn run(self, cx: &mut Context, mut names: Vec<String>) -> Result<(), CommandError> {
        if self.print && self.list.is_some() {
            return Err(said("--print and --list are mutually exclusive"));
        }
        let remote = Remote::take(&mut names);
        let definition = self.read(cx, remote.as_ref()).await?;
        if let Some(asked) = &self.list {
            return cx.print(&list::list(&definition, asked).map_err(said)?);
        }
        if names.is_empty() {
            names.push("default".to_owned());
        }
        let mut resolved = definition.resolve(&names, &self.all_sets()).map_err(said)?;
        resolved.targets.values_mut().try_for_each(|target| placed(target, remote.as_ref())).map_err(said)?;
        if self.print {
            return cx.print_line(&resolved.json());
        }
        let granted = Granted::read(&self.allow).map_err(said)?;
        let missing = granted.missing(&resolved).map_err(said)?;
        if !missing.is_empty() {
            return Err(said(asking(&missing)));
        }
        resolved.run = hako_base::random::hex(6);
        let result = self.build(cx, &resolved, &granted).await;
        self.forget(cx, &resolved).await;
        result
    }
}

fn said(text: impl Into<String>) -> CommandError {
    CommandError::Said(format!("ERROR: {}", text.into()))
}

fn asking(missing: &[(String, String)]) -> String {
    let meanings: String = missing.iter().map(|(_, meaning)| format!(" - {meaning}\n")).collect();
    let words = missing.iter().map(|(word, _)| format!("--allow={word}")).collect::<Vec<_>>().join(" ");
    format!(
        "additional privileges requested: the files want what the command line has to allow\n{meanings}pass {words:?} to allow it"
    )
}

// Where a target's files are, as it is printed.
fn placed(target: &mut Target, remote: Option<&Remote>) -> Result<(), String> {
    let context = target.context.take().unwrap_or_default();
    target.context = Some(match remote {
        Some(remote) => remote.place(&context)?,
        None if is_remote(&context) => context,
        None => path::clean(flags::here(&context)),
    });
    if let Some(remote) = remote {
        for place in target.contexts.values_mut() {
            *place = remote.place(place)?;
        }
    }
    if let (false, Ok(epoch)) = (target.args.contains_key(EPOCH), env::var(EPOCH))
        && !epoch.is_empty()
    {
        target.args.insert(EPOCH.to_owned(), epoch);
    }
    Ok(())
}

const EPOCH: &str = "SOURCE_DATE_EPOCH";

impl Bake {
    async fn read(&self, cx: &mut Context, remote: Option<&Remote>) -> Result<Definition, CommandError> {
        let mut definition = Definition::default();
        let mut sources = Vec::new();
        let mut files = self.files(remote.is_some())?;
        if let Some(remote) = remote {
            let (local, named): (Vec<String>, Vec<String>) =
                files.into_iter().partition(|file| file.starts_with("cwd://"));
            let looked_for: Vec<&str> = COMPOSE.iter().chain(&OWN).copied().collect();
            let fetched = remote.fetch(cx, self.builder.as_deref(), &named, &looked_for).await?;
            let mut compose = false;
            for (name, at) in &fetched.files {
                let is_second =
                    named.is_empty() && COMPOSE.contains(&name.as_str()) && std::mem::replace(&mut compose, true);
                if !is_second {
                    add(cx, (name, at), &mut sources, &mut definition)?;
                }
            }
            files = local;
            if fetched.files.is_empty() && files.is_empty() {
                return Err(said(format!("couldn't find a bake definition at {remote}")));
            }
        }
        for file in files {
            let file = file.strip_prefix("cwd://").unwrap_or(&file);
            add(cx, (file, Path::new(file)), &mut sources, &mut definition)?;
        }
        let platform = default_platform().unwrap_or_else(|| hako_model::Platform::host().to_string());
        let given = [
            ("BAKE_CMD_CONTEXT", remote.map_or("cwd://", |remote| &remote.command).to_owned()),
            ("BAKE_LOCAL_PLATFORM", platform),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let set = self.variables()?;
        let is_alone = switch("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP");
        let environment = |name: &str| match set.get(name) {
            Some(value) => Some(value.clone()),
            None if is_alone => None,
            None => env::var(name).ok(),
        };
        let is_relative = switch("BUILDX_BAKE_FILE_RELATIVE_PATHS");
        definition.add(&sources, &given, &environment, is_relative).map_err(CommandError::Said)?;
        Ok(definition)
    }

    // What is named, by flags or the environment; else what is there.
    fn files(&self, is_remote: bool) -> Result<Vec<String>, CommandError> {
        if !self.files.is_empty() {
            return Ok(self.files.clone());
        }
        if let Ok(named) = env::var("BUILDX_BAKE_FILE") {
            let separator = env::var("BUILDX_BAKE_PATH_SEPARATOR").ok().filter(|it| !it.is_empty());
            let all = named.split(separator.as_deref().unwrap_or(":")).map(str::trim).filter(|name| !name.is_empty());
            let all: Vec<String> = all.map(str::to_owned).collect();
            if !all.is_empty() {
                return Ok(all);
            }
        }
        if is_remote {
            return Ok(Vec::new());
        }
        let is_there = |name: &&str| Path::new(name).exists();
        let compose = COMPOSE.iter().copied().find(is_there);
        let found: Vec<String> =
            compose.into_iter().chain(OWN.iter().copied().filter(is_there)).map(str::to_owned).collect();
        if found.is_empty() {
            return Err(said("couldn't find a bake definition (compose.yaml, docker-bake.hcl, docker-bake.json, …)"));
        }
        Ok(found)
    }

    fn variables(&self) -> Result<BTreeMap<String, String>, CommandError> {
        let mut set = BTreeMap::new();
        for text in self.variables.iter().filter(|text| !text.is_empty()) {
            let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) = pair.ok_or_else(|| said(format!("invalid variable {text:?}, expected key=value")))?;
            set.insert(name.to_owned(), value.to_owned());
        }
        Ok(set)
    }

    // What the command line says of all targets is said by `--set`, after what was said of some.
    fn all_sets(&self) -> Vec<String> {
        let mut sets = self.sets.clone();
        sets.extend(self.policy.iter().map(|policy| format!("*.policy+={policy}")));
        let mut all = |key: &str, value: &str| sets.push(format!("*.{key}={value}"));
        if self.push {
            all("push", "true");
        }
        if self.load {
            all("load", "true");
        }
        if let Some(call) =
            if self.check { Some("check") } else { self.call.as_deref().filter(|call| *call != "build") }
        {
            all("call", call);
        }
        if let Some(truth) = self.no_cache {
            all("no-cache", &truth.to_string());
        }
        if let Some(truth) = self.pull {
            all("pull", &truth.to_string());
        }
        for (kind, value) in [("sbom", &self.sbom), ("provenance", &self.provenance)] {
            match value.as_deref() {
                None | Some("") => {}
                Some(value) => match csv::parse_bool(value) {
                    Some(truth) => all("attest", &format!("type={kind},disabled={}", !truth)),
                    None => all("attest", &format!("type={kind},{value}")),
                },
            }
        }
        sets
    }

    async fn build(&self, cx: &mut Context, resolved: &Resolved, granted: &Granted) -> Result<(), CommandError> {
        let mode = Mode::parse(self.progress.as_deref().unwrap_or_default())?;
        let mut answers = Map::new();
        let mut is_well = true;
        for name in resolved.in_order() {
            let target = &resolved.targets[&name];
            let named = |error: CommandError| said(format!("target {name}: {error}"));
            let mut flags = flags::of(resolved, &name).map_err(|why| named(CommandError::Said(why)))?;
            flags.allow.clone_from(&granted.privileges);
            let context = target.context.clone().unwrap_or_default();
            let site = Site::find(cx, self.builder.as_deref(), &flags.platforms).await.map_err(named)?;
            is_possible(&site, target).map_err(named)?;
            let wanted = build::wanted(cx, &site, &flags, &context).map_err(named)?;
            let built = build::build(cx, &site, wanted, mode).await.map_err(named)?;
            if let Some(said) = built.said(&flags) {
                let description = target.description.iter().map(|text| format!("{text}\n")).collect::<String>();
                cx.print(&format!("{name}\n{description}\n{}", said.text))?;
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

    // Images that were for other targets alone lose their names; what was built with them has their layers.
    async fn forget(&self, cx: &Context, resolved: &Resolved) {
        for name in resolved.targets.keys().filter(|name| flags::is_kept(resolved, name)) {
            if let Ok(client) = cx.client() {
                let _ = client.image_remove(&resolved.kept_as(name), &ImageRemoveQuery::default()).await;
            }
        }
    }
}

// A file by its name, read from where it is.
fn add(
    cx: &mut Context,
    (name, at): (&str, &Path),
    sources: &mut Vec<Source>,
    definition: &mut Definition,
) -> Result<(), CommandError> {
    let place = at.display().to_string();
    let source = match Path::new(name).extension().and_then(|it| it.to_str()) {
        Some("yml" | "yaml") => None,
        Some("hcl" | "json") => Some(text(&place)?),
        // By another name it may be any of them.
        _ => Some(text(&place)?).filter(|text| name == "-" || language::is_read(name, text)),
    };
    match source {
        Some(text) => sources.push(Source { name: name.to_owned(), text }),
        None if name == place => services::add(cx, &place, &env::current_dir().unwrap_or_default(), definition)?,
        None => {
            // Directories are those of where it comes from, wherever it is for now.
            let depth = Path::new(&path::clean(name)).components().count();
            services::add(cx, &place, at.ancestors().nth(depth).unwrap_or(at), definition)?;
        }
    }
    Ok(())
}

fn switch(name: &str) -> bool {
    env::var(name).ok().and_then(|text| csv::parse_bool(&text)) == Some(true)
}

// A bake file's text, which is bounded.
fn text(file: &str) -> Result<String, CommandError> {
    let mut text = String::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    let read = if file == "-" {
        io::stdin().take(limit).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|opened| opened.take(limit).read_to_string(&mut text))
    };
    read.map_err(CommandError::local(format!("read {file}")))?;
    Ok(text)
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
