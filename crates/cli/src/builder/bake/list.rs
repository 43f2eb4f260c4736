//! `bake --list`: the targets and groups, or the variables.

use serde::Serialize;
use serde_json::json;

use super::{definition::Definition, language::escaped};
use crate::{format::table, parse::csv};

/// What is listed, as it is printed.
///
/// # Errors
/// Where it is not known what shall be listed.
pub(super) fn list(definition: &Definition, asked: &str) -> Result<String, String> {
    let (mut kind, mut format) = (asked.to_owned(), "table".to_owned());
    if asked.contains('=') {
        kind.clear();
        for field in csv::fields(asked)? {
            match field.split_once('=') {
                Some(("type", value)) => value.clone_into(&mut kind),
                Some(("format", value)) => value.clone_into(&mut format),
                _ => return Err(format!("unexpected key '{field}' in '{asked}'")),
            }
        }
    }
    let rows = match kind.as_str() {
        "targets" => targets(definition),
        "variables" => variables(definition),
        other => return Err(format!("invalid list type {other:?}")),
    };
    match format.as_str() {
        "json" => Ok(pretty(&rows.1)),
        "table" => Ok(table::align_with(&rows.0, 1, 3)),
        other => Err(format!("invalid list format {other:?}")),
    }
}

fn pretty(value: &impl Serialize) -> String {
    escaped(&serde_json::to_string_pretty(value).unwrap_or_default()) + "\n"
}

type Rows = (String, Vec<serde_json::Value>);

// What begins with `_` is nobody's business but the file's.
fn targets(definition: &Definition) -> Rows {
    let mut all: Vec<(&String, String, bool)> = Vec::new();
    for (name, target) in &definition.targets {
        all.push((name, target.description.clone().unwrap_or_default(), false));
    }
    for (name, group) in &definition.groups {
        let mut members = group.targets.clone();
        members.sort();
        let members = members.join(", ");
        let description = match &group.description {
            Some(description) if members.is_empty() => description.clone(),
            Some(description) => format!("{description} ({members})"),
            None => members,
        };
        all.push((name, description, true));
    }
    all.retain(|one| !one.0.starts_with('_'));
    all.sort();
    let mut rows = "TARGET\tDESCRIPTION\n".to_owned();
    let mut objects = Vec::new();
    for (name, description, is_group) in all {
        rows += &format!("{name}\t{description}\n");
        let mut object = json!({"name": name});
        if !description.is_empty() {
            object["description"] = description.into();
        }
        if is_group {
            object["group"] = true.into();
        }
        objects.push(object);
    }
    (rows, objects)
}

fn variables(definition: &Definition) -> Rows {
    let mut rows = "VARIABLE\tTYPE\tVALUE\tDESCRIPTION\n".to_owned();
    let mut objects = Vec::new();
    for variable in &definition.variables {
        let value = variable.value.as_deref().unwrap_or("<null>");
        rows += &format!("{}\t{}\t{value}\t{}\n", variable.name, variable.kind, variable.description);
        let mut object = json!({"name": variable.name});
        if !variable.description.is_empty() {
            object["description"] = variable.description.clone().into();
        }
        if !variable.kind.is_empty() {
            object["type"] = variable.kind.clone().into();
        }
        if let Some(value) = &variable.value {
            object["value"] = value.clone().into();
        }
        objects.push(object);
    }
    (rows, objects)
}
