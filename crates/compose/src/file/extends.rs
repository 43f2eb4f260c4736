//! `extends`: a service that begins as a copy of another, of this file or of another one.

use super::{
    load::{DEPTH_MAX, Reading, Scope},
    merge, paths, shape,
};
use crate::{
    error::{LoadError, Mistake},
    node::{Node, Place, Value},
    suggest,
};

/// Replaces every service that extends another by the two merged.
///
/// # Errors
/// When the other is not there, or two extend each other.
pub(super) fn resolve(reading: &mut Reading, tree: &mut Node, scope: &Scope) -> Result<(), LoadError> {
    let names: Vec<String> = tree
        .get("services")
        .and_then(Node::as_map)
        .map(|map| {
            map.iter().filter(|(_, node)| node.get("extends").is_some()).map(|(name, _)| name.to_owned()).collect()
        })
        .unwrap_or_default();
    for name in names {
        let service = resolved(reading, tree, (&name, &tree.place), scope, &mut Vec::new())?;
        if let Some(services) = tree.get_mut("services").and_then(Node::as_map_mut) {
            services.set(&name, service);
        }
    }
    Ok(())
}

fn resolved(
    reading: &mut Reading,
    tree: &Node,
    (name, asked): (&str, &Place),
    scope: &Scope,
    chain: &mut Vec<String>,
) -> Result<Node, LoadError> {
    let services = tree.get("services").and_then(Node::as_map);
    let Some(service) = services.and_then(|map| map.get(name)) else {
        let known = services.map(|map| map.keys().collect::<Vec<_>>()).unwrap_or_default();
        let message = format!("extends service {name:?}, which is not in {}", tree.place.file);
        let mistake = Mistake::new(asked, "", message);
        return Err(match suggest::nearest(name, known) {
            Some(meant) => mistake.hint(format!("did you mean {meant:?}?")).into(),
            None => mistake.into(),
        });
    };
    let mut service = service.clone();
    let Some(extends) = service.as_map_mut().and_then(|map| map.remove("extends")) else {
        return Ok(service);
    };
    let key = format!("services.{name}.extends");
    let here = format!("{}:{name}", service.place.file);
    if chain.contains(&here) || chain.len() > DEPTH_MAX {
        return Err(
            Mistake::new(&extends.place, key, format!("circular reference: {}", chain.join(" extends "))).into()
        );
    }
    chain.push(here);
    let Some(base_name) = extends.str_at("service") else {
        return Err(Mistake::new(&extends.place, key, "expected the name of a service below \"service\"").into());
    };
    let base = match extends.str_at("file") {
        None => resolved(reading, tree, (base_name, &extends.place), scope, chain)?,
        Some(file) => {
            let path = paths::join(&scope.directory, file);
            let directory = path.parent().unwrap_or(&scope.directory).to_owned();
            let inner = Scope { directory: directory.clone(), ..scope.clone() };
            let documents = reading.documents(&path, &extends, &key)?;
            let mut other = Node::map(&extends.place);
            for document in documents {
                let node = reading.canonical(document, &inner)?;
                other = merge::merge(other, node, &shape::PROJECT);
            }
            other.place.file = path.display().to_string().into();
            let mut base = resolved(reading, &other, (base_name, &extends.place), &inner, chain)?;
            if reading.resolve_paths {
                paths::resolve_service(&mut base, &directory, reading.home.as_deref());
            }
            base
        }
    };
    chain.pop();
    let mut merged = merge::merge(merge::reset(base), service, &shape::SERVICE);
    if let Value::Map(map) = &mut merged.value {
        map.remove("extends");
    }
    Ok(merged)
}
