//! Which files there are, what they read together, and under which name: from options to one canonical model.
//!
//! Each file is interpolated, put into canonical form, freed of `extends` and `include`, its paths made absolute, and
//! then laid over the ones before it. Standard input is the file `-`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    canonical, defaults, dotenv, environment, extends,
    interpolate::{self, Missing, Variable},
    merge, paths, shape, yaml,
};
use crate::{
    error::{LoadError, Mistake},
    node::{Map, Node, Place, Value},
};

/// The names that are looked for, the preferred one first.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml"];
/// Files that include each other deeper than this do so in a circle that no comparison found.
pub(super) const DEPTH_MAX: usize = 32;

/// What a person asked for.
#[derive(Debug, Clone)]
pub struct Options {
    pub files: Vec<String>,
    pub project_directory: Option<PathBuf>,
    pub project_name: Option<String>,
    pub environment_files: Vec<PathBuf>,
    pub profiles: Vec<String>,
    /// Replace variables.
    pub interpolate: bool,
    /// Fill in what the specification implies.
    pub normalize: bool,
    pub resolve_paths: bool,
    /// Read `env_file` and take variables without a value from the surroundings.
    pub resolve_environment: bool,
    /// Check what several parts say together.
    pub consistency: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            project_directory: None,
            project_name: None,
            environment_files: Vec::new(),
            profiles: Vec::new(),
            interpolate: true,
            normalize: true,
            resolve_paths: true,
            resolve_environment: true,
            consistency: true,
        }
    }
}

/// Where the person stands.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub directory: PathBuf,
    pub home: Option<PathBuf>,
    pub variables: BTreeMap<String, String>,
    /// The text of standard input, for the file `-`.
    pub stdin: Option<String>,
}

impl Surroundings {
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// Everything that the files say, in canonical form.
#[derive(Debug, Clone)]
pub struct Model {
    pub name: String,
    pub directory: PathBuf,
    pub files: Vec<PathBuf>,
    pub tree: Node,
    /// The surroundings together with `.env`.
    pub variables: BTreeMap<String, String>,
    pub profiles: Vec<String>,
    pub warnings: Vec<String>,
    /// The variables that the files mention.
    pub mentioned: Vec<Variable>,
}

/// Reads what the options name.
///
/// # Errors
/// When there is no file, or one of them is wrong.
pub fn load(options: &Options, surroundings: &Surroundings) -> Result<Model, LoadError> {
    let (files, directory, mut variables) = places(options, surroundings)?;
    let mut texts = Vec::with_capacity(files.len());
    for file in &files {
        texts.push(read(file, surroundings)?);
    }
    let mut reading = Reading {
        missing: Missing::new(),
        interpolate: options.interpolate,
        home: surroundings.home.clone(),
        resolve_paths: options.resolve_paths,
        warnings: Vec::new(),
        mentioned: Vec::new(),
    };
    let mut documents: Vec<Node> = Vec::new();
    for (file, text) in files.iter().zip(&texts) {
        documents.extend(yaml::parse(text, &file.display().to_string())?.into_iter().filter(|node| !node.is_null()));
    }
    if documents.is_empty() {
        return Err(LoadError::Project("empty compose file".to_owned()));
    }
    let name = reading.name(options, &directory, &variables, &documents)?;
    variables.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let scope = Scope { directory: directory.clone(), variables: variables.clone(), chain: Vec::new() };
    let tree = reading.merged(documents, &scope)?;
    let profiles = profiles(options, &variables);
    reading.warnings.extend(
        reading.missing.iter().map(|name| format!("The {name:?} variable is not set. Defaulting to a blank string.")),
    );
    let mut model = Model {
        name,
        directory,
        files,
        tree,
        variables,
        profiles,
        warnings: reading.warnings,
        mentioned: reading.mentioned,
    };
    defaults::version_remark(&mut model);
    if options.normalize {
        defaults::fill(&mut model);
    }
    if options.resolve_environment && options.interpolate {
        environment::resolve(&mut model)?;
    }
    Ok(model)
}

fn profiles(options: &Options, variables: &BTreeMap<String, String>) -> Vec<String> {
    if !options.profiles.is_empty() {
        return options.profiles.clone();
    }
    let listed = variables.get("COMPOSE_PROFILES").map_or("", String::as_str);
    listed.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

type Places = (Vec<PathBuf>, PathBuf, BTreeMap<String, String>);

// Which files, relative to which directory, with which variables.
fn places(options: &Options, surroundings: &Surroundings) -> Result<Places, LoadError> {
    let here = &surroundings.directory;
    let first_directory = match (&options.project_directory, options.files.first()) {
        (Some(directory), _) => paths::join(here, directory),
        (None, Some(file)) if file != "-" => parent(&paths::join(here, file)),
        (None, _) => match found_from(here) {
            Some(files) if options.files.is_empty() => parent(&files[0]),
            _ => here.clone(),
        },
    };
    let mut variables = surroundings.variables.clone();
    add_dotenv(options, surroundings, &first_directory, &mut variables)?;
    let mut files: Vec<PathBuf> = options.files.iter().map(|file| file_path(here, file)).collect();
    if files.is_empty()
        && let Some(listed) = variables.get("COMPOSE_FILE").filter(|listed| !listed.is_empty())
    {
        let separator = variables.get("COMPOSE_PATH_SEPARATOR").map_or(":", String::as_str);
        files = listed.split(separator).map(|file| file_path(here, file)).collect();
    }
    if files.is_empty() {
        let start = options.project_directory.as_ref().map_or_else(|| here.clone(), |it| paths::join(here, it));
        files = found_from(&start).ok_or(LoadError::NoFile { directory: start })?;
    }
    let directory = match &options.project_directory {
        Some(directory) => paths::join(here, directory),
        None if files[0] == Path::new("-") => here.clone(),
        None => parent(&files[0]),
    };
    Ok((files, directory, variables))
}

fn file_path(here: &Path, file: &str) -> PathBuf {
    if file == "-" { PathBuf::from("-") } else { paths::join(here, file) }
}

fn parent(file: &Path) -> PathBuf {
    file.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

// The file in this directory or the nearest one above it, and its override beside it.
fn found_from(start: &Path) -> Option<Vec<PathBuf>> {
    let found = start
        .ancestors()
        .find_map(|directory| NAMES.iter().map(|name| directory.join(name)).find(|path| path.is_file()))?;
    let beside = parent(&found);
    let over = OVERRIDES.iter().map(|name| beside.join(name)).find(|path| path.is_file());
    Some(std::iter::once(found).chain(over).collect())
}

fn add_dotenv(
    options: &Options,
    surroundings: &Surroundings,
    directory: &Path,
    variables: &mut BTreeMap<String, String>,
) -> Result<(), LoadError> {
    let mut files: Vec<(PathBuf, bool)> =
        options.environment_files.iter().map(|file| (paths::join(&surroundings.directory, file), true)).collect();
    if files.is_empty()
        && let Some(listed) = surroundings.variable("COMPOSE_ENV_FILES").filter(|listed| !listed.is_empty())
    {
        files = listed.split(',').map(|file| (paths::join(&surroundings.directory, file), true)).collect();
    }
    let is_off = surroundings.variable("COMPOSE_DISABLE_ENV_FILE").is_some_and(|value| value == "1" || value == "true");
    if files.is_empty() && !is_off {
        files.push((directory.join(".env"), false));
    }
    let mut read = BTreeMap::new();
    for (path, must_exist) in files {
        if !must_exist && !path.is_file() {
            continue;
        }
        dotenv_file(&path, &surroundings.variables, &mut read)?;
    }
    for (name, value) in read {
        variables.entry(name).or_insert(value);
    }
    Ok(())
}

pub(super) fn dotenv_file(
    path: &Path,
    outer: &BTreeMap<String, String>,
    into: &mut BTreeMap<String, String>,
) -> Result<(), LoadError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(LoadError::NoEnvironmentFile { path: path.to_owned() });
        }
        Err(source) => return Err(LoadError::Read { path: path.to_owned(), source }),
    };
    let known = into.clone();
    let lookup = |name: &str| outer.get(name).or_else(|| known.get(name)).cloned();
    let pairs = dotenv::parse(&text, &lookup, &mut Missing::new()).map_err(|bad| LoadError::Dotenv {
        file: path.display().to_string(),
        line: bad.line,
        message: bad.message,
    })?;
    into.extend(pairs.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Ok(())
}

fn read(path: &Path, surroundings: &Surroundings) -> Result<String, LoadError> {
    if path == Path::new("-") {
        return Ok(surroundings.stdin.clone().unwrap_or_default());
    }
    fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

/// What relative paths and variables mean for one file.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub directory: PathBuf,
    pub variables: BTreeMap<String, String>,
    /// The files that led here, against circles.
    pub chain: Vec<String>,
}

/// What is kept while files are read.
pub(super) struct Reading {
    pub missing: Missing,
    pub interpolate: bool,
    pub resolve_paths: bool,
    pub home: Option<PathBuf>,
    pub warnings: Vec<String>,
    pub mentioned: Vec<Variable>,
}

impl Reading {
    /// The documents laid over each other.
    pub(super) fn merged(&mut self, documents: Vec<Node>, scope: &Scope) -> Result<Node, LoadError> {
        let mut whole: Option<Node> = None;
        for document in documents {
            let place = document.place.clone();
            let mut node = self.canonical(document, scope)?;
            let includes = node.as_map_mut().and_then(|map| map.remove("include"));
            extends::resolve(self, &mut node, scope)?;
            if self.resolve_paths {
                paths::resolve(&mut node, &scope.directory, self.home.as_deref());
            }
            let mut merged = match whole.take() {
                Some(base) => merge::merge(base, node, &shape::PROJECT),
                None => merge::reset(node),
            };
            if let Some(includes) = includes {
                self.include(&mut merged, &includes, scope, &place)?;
            }
            whole = Some(merged);
        }
        Ok(whole.unwrap_or_else(|| Node::map(&Place::start_of(""))))
    }

    pub(super) fn canonical(&mut self, mut document: Node, scope: &Scope) -> Result<Node, LoadError> {
        mentioned(&document, &mut self.mentioned);
        if self.interpolate {
            let lookup = |name: &str| scope.variables.get(name).cloned();
            interpolate::tree(&mut document, "", &lookup, &mut self.missing)?;
        }
        Ok(canonical::tree(document, &shape::PROJECT, !self.interpolate)?)
    }

    /// The documents of a file that another one names.
    pub(super) fn documents(&self, path: &Path, from: &Node, key: &str) -> Result<Vec<Node>, LoadError> {
        let text = fs::read_to_string(path)
            .map_err(|error| Mistake::new(&from.place, key, format!("cannot read {}: {error}", path.display())))?;
        Ok(yaml::parse(&text, &path.display().to_string())?.into_iter().filter(|node| !node.is_null()).collect())
    }

    fn include(&mut self, into: &mut Node, includes: &Node, scope: &Scope, place: &Place) -> Result<(), LoadError> {
        for entry in includes.as_list().unwrap_or_default() {
            let included = self.included(entry, scope)?;
            let Value::Map(parts) = included.value else { continue };
            for (section, node) in parts.0 {
                let Value::Map(objects) = node.value else { continue };
                let Some(map) = into.as_map_mut() else { continue };
                let below = map.set_default(&section, || Node::map(place));
                if below.is_null() {
                    *below = Node::map(place);
                }
                let Some(known) = below.as_map_mut() else { continue };
                for (name, object) in objects.0 {
                    match known.get(&name) {
                        Some(old) if *old != object => {
                            let message = format!("conflicts with the imported resource of {}", object.place.file);
                            return Err(Mistake::new(&old.place, format!("{section}.{name}"), message).into());
                        }
                        Some(_) => {}
                        None => known.0.push((name, object)),
                    }
                }
            }
        }
        Ok(())
    }

    fn included(&mut self, entry: &Node, scope: &Scope) -> Result<Node, LoadError> {
        let listed = |key: &str| -> Vec<PathBuf> {
            let list = entry.get(key).and_then(Node::as_list).unwrap_or_default();
            list.iter().filter_map(Node::as_str).map(|path| paths::join(&scope.directory, path)).collect()
        };
        let files = listed("path");
        let Some(first) = files.first() else {
            return Err(Mistake::new(&entry.place, "include", "expected a path").into());
        };
        let name = first.display().to_string();
        if scope.chain.contains(&name) || scope.chain.len() > DEPTH_MAX {
            let circle = scope.chain.iter().chain([&name]).cloned().collect::<Vec<_>>().join(" includes ");
            return Err(Mistake::new(&entry.place, "include", format!("include cycle detected: {circle}")).into());
        }
        let directory = match entry.str_at("project_directory") {
            Some(directory) => paths::join(&scope.directory, directory),
            None => parent(first),
        };
        let mut read = BTreeMap::new();
        let environment_files = listed("env_file");
        let default = directory.join(".env");
        if environment_files.is_empty() && default.is_file() {
            dotenv_file(&default, &scope.variables, &mut read)?;
        }
        for file in environment_files {
            dotenv_file(&file, &scope.variables, &mut read)?;
        }
        let mut variables = scope.variables.clone();
        for (name, value) in read {
            variables.entry(name).or_insert(value);
        }
        let mut documents = Vec::new();
        for file in &files {
            documents.extend(self.documents(file, entry, "include")?);
        }
        let mut chain = scope.chain.clone();
        chain.push(name);
        let whole = directory.display().to_string();
        let mut tree = self.merged(documents, &Scope { directory, variables, chain })?;
        defaults::contexts(&mut tree, &whole);
        Ok(tree)
    }

    // `-p`, then the variable, then the last file that has one, then the directory.
    fn name(
        &mut self,
        options: &Options,
        directory: &Path,
        variables: &BTreeMap<String, String>,
        documents: &[Node],
    ) -> Result<String, LoadError> {
        let given = options.project_name.clone().or_else(|| variables.get("COMPOSE_PROJECT_NAME").cloned());
        if let Some(name) = given.filter(|name| !name.is_empty()) {
            return if name == normalized(&name) { Ok(name) } else { Err(LoadError::Name { name }) };
        }
        let lookup = |name: &str| variables.get(name).cloned();
        let written = documents.iter().rev().find_map(|node| Some((node.get("name")?, node.str_at("name")?)));
        let written = written.filter(|(_, text)| !text.is_empty());
        let name = match written {
            Some((node, text)) => interpolate::text(text, &lookup, &mut Missing::new())
                .map_err(|message| Mistake::new(&node.place, "name", message))?,
            None => directory.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        match normalized(&name) {
            name if name.is_empty() => Err(LoadError::NoName),
            name => Ok(name),
        }
    }
}

/// A name with nothing in it that a project's name may not have.
pub fn normalized(name: &str) -> String {
    let kept = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let name: String = name.to_lowercase().chars().filter(kept).collect();
    name.trim_start_matches(['-', '_']).to_owned()
}

fn mentioned(node: &Node, into: &mut Vec<Variable>) {
    match &node.value {
        Value::Text(text) if text.contains('$') => interpolate::variables(text, into),
        Value::List(list) => list.iter().for_each(|node| mentioned(node, into)),
        Value::Map(Map(entries)) => entries.iter().for_each(|(_, node)| mentioned(node, into)),
        _ => {}
    }
}
