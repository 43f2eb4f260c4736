//! What a service's processes find in their environment: `env_file`, then `environment`, then the surroundings for
//! names without a value. Labels of `label_file` are read the same way.

use std::{collections::BTreeMap, fs, path::Path};

use super::{
    dotenv::{self, Pairs},
    interpolate::Missing,
    load::Model,
};
use crate::{
    error::{LoadError, Mistake},
    node::{Map, Node, Value},
};

/// Reads the files and fills in the values.
///
/// # Errors
/// When a required file is not there, or cannot be read.
pub(super) fn resolve(model: &mut Model) -> Result<(), LoadError> {
    let (variables, profiles) = (model.variables.clone(), model.profiles.clone());
    let mut missing = Missing::new();
    let Some(services) = model.tree.get_mut("services").and_then(Node::as_map_mut) else { return Ok(()) };
    for (_, service) in &mut services.0 {
        // The files of a service that will not run may be missing.
        if is_enabled(service, &profiles) {
            resolve_service(service, &variables, &mut missing)?;
        }
    }
    model
        .warnings
        .extend(missing.iter().map(|name| format!("The {name:?} variable is not set. Defaulting to a blank string.")));
    Ok(())
}

/// Whether these profiles include a service.
pub fn is_enabled(service: &Node, profiles: &[String]) -> bool {
    match service.get("profiles").and_then(Node::as_list) {
        None | Some([]) => true,
        Some(own) => own.iter().filter_map(Node::as_str).any(|own| profiles.iter().any(|it| it == own || it == "*")),
    }
}

/// Reads the files of one service and fills in the values.
///
/// # Errors
/// When a required file is not there, or cannot be read.
pub fn resolve_service(
    service: &mut Node,
    variables: &BTreeMap<String, String>,
    missing: &mut Missing,
) -> Result<(), LoadError> {
    let place = service.place.clone();
    let Some(map) = service.as_map_mut() else { return Ok(()) };
    if let Some(files) = map.remove("env_file") {
        let mut read = Map::default();
        for file in files.as_list().unwrap_or_default() {
            for (name, value) in environment_file(file, variables, &read, missing)? {
                let value = value.map_or(Value::Null, Value::Text);
                read.set(&name, Node::new(value, &file.place));
            }
        }
        let own = map.get("environment").and_then(Node::as_map).cloned().unwrap_or_default();
        for (name, node) in own.0 {
            read.set(&name, node);
        }
        if !read.0.is_empty() {
            map.set("environment", Node::new(Value::Map(read), &place));
        }
    }
    if let Some(environment) = map.get_mut("environment").and_then(Node::as_map_mut) {
        fill(environment, variables);
    }
    if let Some(arguments) = map.get_mut("build").and_then(|build| build.get_mut("args")).and_then(Node::as_map_mut) {
        fill(arguments, variables);
        arguments.0.retain(|(_, node)| !node.is_null());
    }
    if let Some(files) = map.remove("label_file") {
        let mut labels = Map::default();
        for file in files.as_list().unwrap_or_default() {
            let path = Path::new(file.as_str().unwrap_or_default());
            for (name, value) in read_pairs(file, path, "", variables, &labels, missing)? {
                labels.set(&name, Node::text(value.unwrap_or_default(), &file.place));
            }
        }
        for (name, node) in map.get("labels").and_then(Node::as_map).cloned().unwrap_or_default().0 {
            labels.set(&name, node);
        }
        map.set("labels", Node::new(Value::Map(labels), &place));
    }
    Ok(())
}

fn fill(map: &mut Map, variables: &BTreeMap<String, String>) {
    for (name, node) in &mut map.0 {
        if node.is_null()
            && let Some(value) = variables.get(name.as_str())
        {
            node.value = Value::Text(value.clone());
        }
    }
}

fn environment_file(
    file: &Node,
    variables: &BTreeMap<String, String>,
    before: &Map,
    missing: &mut Missing,
) -> Result<Pairs, LoadError> {
    let path = Path::new(file.str_at("path").unwrap_or_default());
    let required = !matches!(file.get("required"), Some(Node { value: Value::Bool(false), .. }));
    if !required && !path.exists() {
        return Ok(Vec::new());
    }
    read_pairs(file, path, file.str_at("format").unwrap_or_default(), variables, before, missing)
}

fn read_pairs(
    named: &Node,
    path: &Path,
    format: &str,
    variables: &BTreeMap<String, String>,
    before: &Map,
    missing: &mut Missing,
) -> Result<Pairs, LoadError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mistake = Mistake::new(&named.place, "", format!("env file {} not found", path.display()));
            return Err(mistake.hint("\"required: false\" would do without it").into());
        }
        Err(source) => return Err(LoadError::Read { path: path.to_owned(), source }),
    };
    let lookup = |name: &str| {
        variables.get(name).cloned().or_else(|| before.get(name).and_then(|node| node.as_str().map(str::to_owned)))
    };
    let pairs = match format {
        "raw" => dotenv::parse_raw(&text, &lookup),
        "" => dotenv::parse(&text, &lookup, missing),
        other => {
            let message = format!("unsupported env_file format {other:?}; only \"raw\" is known");
            return Err(Mistake::new(&named.place, "", message).into());
        }
    };
    pairs.map_err(|bad| LoadError::Dotenv { file: path.display().to_string(), line: bad.line, message: bad.message })
}
