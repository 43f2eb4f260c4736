//! What the specification implies where a file says nothing: names, the default network, dependencies that follow from
//! links, the old spellings of version 1 and 2.

use super::load::Model;
use crate::node::{Map, Node, Place, Value};

/// Drops `version`, with a remark.
pub(super) fn version_remark(model: &mut Model) {
    if let Some(version) = model.tree.as_map_mut().and_then(|map| map.remove("version")) {
        model.warnings.push(format!("{}: `version` is obsolete: it is ignored, and may be removed", version.place));
    }
}

/// Fills in everything that is implied.
pub(super) fn fill(model: &mut Model) {
    let (project, directory) = (model.name.clone(), model.directory.display().to_string());
    let place = model.tree.place.clone();
    contexts(&mut model.tree, &directory);
    let Some(top) = model.tree.as_map_mut() else { return };
    let mut uses_default = false;
    if let Some(services) = top.set_default("services", || Node::map(&place)).as_map_mut() {
        for (_, service) in &mut services.0 {
            if service.is_null() {
                *service = Node::map(&place);
            }
            fill_service(service);
            uses_default |= service.at(&["networks", "default"]).is_some();
        }
    }
    if uses_default {
        let networks = top.set_default("networks", || Node::map(&place));
        if networks.is_null() {
            *networks = Node::map(&place);
        }
        if let Some(networks) = networks.as_map_mut() {
            networks.set_default("default", || Node::map(&place));
        }
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        let Some(objects) = top.get_mut(section).and_then(Node::as_map_mut) else { continue };
        for (key, object) in &mut objects.0 {
            if object.is_null() {
                *object = Node::map(&object.place.clone());
            }
            name_object(object, key, &project);
        }
    }
}

/// Builds that name no directory are made from this one: that of the file that included them, or of the project.
pub(super) fn contexts(tree: &mut Node, directory: &str) {
    let Some(services) = tree.get_mut("services").and_then(Node::as_map_mut) else { return };
    for (_, service) in &mut services.0 {
        let Some(build) = service.get_mut("build") else { continue };
        let place = build.place.clone();
        if let Some(build) = build.as_map_mut() {
            build.set_default("context", || Node::text(directory, &place));
        }
    }
}

fn name_object(object: &mut Node, key: &str, project: &str) {
    let place = object.place.clone();
    let Some(map) = object.as_map_mut() else { return };
    let external = map.get("external").map(|node| node.value.clone());
    let outer_name = match external {
        Some(Value::Text(name)) => {
            map.set("external", Node::new(Value::Bool(true), &place));
            Some(name)
        }
        Some(Value::Bool(true)) => Some(key.to_owned()),
        _ => None,
    };
    let written = map.get("name").and_then(Node::as_str).filter(|name| !name.is_empty()).is_some();
    if !written {
        map.set("name", Node::text(outer_name.unwrap_or_else(|| format!("{project}_{key}")), &place));
    }
}

fn fill_service(service: &mut Node) {
    let place = service.place.clone();
    let Some(map) = service.as_map_mut() else { return };
    old_spellings(map, &place);
    if let Some(build) = map.get_mut("build").and_then(Node::as_map_mut)
        && !build.contains("dockerfile_inline")
    {
        build.set_default("dockerfile", || Node::text("Dockerfile", &place));
    }
    if let Some(scale) = map.get("scale").cloned()
        && let Some(deploy) = map.get_mut("deploy").and_then(Node::as_map_mut)
    {
        deploy.set_default("replicas", || scale);
    }
    let attached = map.get("networks").and_then(Node::as_map).is_some_and(|map| !map.0.is_empty());
    if !attached && !map.contains("network_mode") {
        let default = Map(vec![("default".to_owned(), Node::new(Value::Null, &place))]);
        map.set("networks", Node::new(Value::Map(default), &place));
    }
    items(map, "ports", |port| {
        port.set_default("mode", || Node::text("ingress", &place));
        port.set_default("protocol", || Node::text("tcp", &place));
    });
    items(map, "secrets", |secret| {
        let source = secret.get("source").and_then(Node::as_str).unwrap_or_default().to_owned();
        let target = secret.set_default("target", || Node::text(format!("/run/secrets/{source}"), &place));
        if target.as_str().is_some_and(str::is_empty) {
            *target = Node::text(format!("/run/secrets/{source}"), &place);
        }
    });
    if let Some(depends) = map.get_mut("depends_on").and_then(Node::as_map_mut) {
        for (_, node) in &mut depends.0 {
            if node.is_null() {
                *node = Node::map(&place);
            }
            if let Some(node) = node.as_map_mut() {
                node.set_default("condition", || Node::text("service_started", &place));
                node.set_default("required", || Node::new(Value::Bool(true), &place));
            }
        }
    }
    imply_dependencies(map, &place);
}

fn items(map: &mut Map, key: &str, mut change: impl FnMut(&mut Map)) {
    if let Some(Value::List(items)) = map.get_mut(key).map(|node| &mut node.value) {
        items.iter_mut().filter_map(Node::as_map_mut).for_each(&mut change);
    }
}

// What versions 1 and 2 called by other names.
fn old_spellings(map: &mut Map, place: &Place) {
    if let Some(net) = map.remove("net") {
        map.set_default("network_mode", || net);
    }
    let (driver, options) = (map.remove("log_driver"), map.remove("log_opt"));
    if driver.is_some() || options.is_some() {
        let logging = map.set_default("logging", || Node::map(place));
        if let Some(logging) = logging.as_map_mut() {
            for (key, node) in [("driver", driver), ("options", options)] {
                if let Some(node) = node {
                    logging.set_default(key, || node);
                }
            }
        }
    }
    if let Some(dockerfile) = map.remove("dockerfile") {
        let build = map.set_default("build", || Node::map(place));
        if let Some(build) = build.as_map_mut() {
            build.set_default("dockerfile", || dockerfile);
        }
    }
}

// Who shares somebody's namespaces, links or mounts needs it first.
fn imply_dependencies(map: &mut Map, place: &Place) {
    let mut implied: Vec<(String, bool, Place)> = Vec::new();
    let texts = |map: &Map, key: &str| -> Vec<(String, Place)> {
        let list = map.get(key).and_then(Node::as_list).unwrap_or_default();
        list.iter().filter_map(|node| Some((node.as_str()?.to_owned(), node.place.clone()))).collect()
    };
    for (link, place) in texts(map, "links") {
        implied.push((link.split(':').next().unwrap_or_default().to_owned(), true, place));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let Some(node) = map.get(key) else { continue };
        if let Some(name) = node.as_str().and_then(|mode| mode.strip_prefix("service:")) {
            implied.push((name.to_owned(), true, node.place.clone()));
        }
    }
    for (from, place) in texts(map, "volumes_from") {
        if !from.starts_with("container:") {
            implied.push((from.split(':').next().unwrap_or_default().to_owned(), false, place));
        }
    }
    if implied.is_empty() {
        return;
    }
    let depends = map.set_default("depends_on", || Node::map(place));
    let Some(depends) = depends.as_map_mut() else { return };
    for (name, restart, place) in implied {
        depends.set_default(&name, || {
            let mut node = Map::default();
            node.set("condition", Node::text("service_started", &place));
            if restart {
                node.set("restart", Node::new(Value::Bool(true), &place));
            }
            node.set("required", Node::new(Value::Bool(true), &place));
            Node::new(Value::Map(node), &place)
        });
    }
}
