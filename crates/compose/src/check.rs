//! Whether the parts of a model fit together: names that are declared, options that exclude each other, circles.

mod values; // what has the right shape, and still means nothing

use crate::{
    error::{LoadError, Mistake},
    file::load::Model,
    node::{Map, Node, Value},
    suggest,
};

/// Checks the services that take part.
///
/// # Errors
/// At the first that does not fit.
pub(crate) fn services(model: &Model, all: &Map, enabled: &Map) -> Result<(), LoadError> {
    for (name, service) in enabled.iter() {
        let key = format!("services.{name}");
        one(service, &key)?;
        values::service(service, &key)?;
        dependencies(service, &key, all, enabled)?;
        references(model, service, &key)?;
    }
    circles(enabled)
}

fn one(service: &Node, key: &str) -> Result<(), LoadError> {
    let says = |field: &str| service.get(field).is_some_and(|node| !node.is_null());
    let has = |field: &str| service.str_at(field).is_some_and(|text| !text.is_empty());
    let bad = |message: &str| Err(Mistake::new(&service.place, key, message).into());
    if !has("image") && !says("build") {
        return bad("has neither an image nor a build context specified");
    }
    if service.at(&["build", "dockerfile_inline"]).is_some() && service.at(&["build", "dockerfile"]).is_some() {
        return bad("declares mutually exclusive `dockerfile` and `dockerfile_inline`");
    }
    health(service, key)?;
    watch(service, key)?;
    if has("network_mode") && service.get("networks").and_then(Node::as_map).is_some_and(|map| !map.0.is_empty()) {
        return bad("declares mutually exclusive `network_mode` and `networks`");
    }
    let number = |path: &[&str]| match service.at(path).map(|node| &node.value) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    };
    let replicas = number(&["deploy", "replicas"]);
    let scale = number(&["scale"]);
    if let (Some(scale), Some(replicas)) = (scale, replicas)
        && scale != replicas
    {
        return bad("can't set distinct values on 'scale' and 'deploy.replicas'");
    }
    if has("container_name") && scale.or(replicas).is_some_and(|count| count > 1) {
        return bad("has a container_name and more than one container; names are unique, so remove one of the two");
    }
    let same = [
        ("cpus", ["limits", "cpus"]),
        ("mem_limit", ["limits", "memory"]),
        ("pids_limit", ["limits", "pids"]),
        ("mem_reservation", ["reservations", "memory"]),
    ];
    for (plain, [kind, amount]) in same {
        let deployed = service.at(&["deploy", "resources", kind, amount]);
        if let (Some(plain_node), Some(deployed)) = (service.get(plain), deployed)
            && plain_node != deployed
        {
            let message = format!("can't set distinct values on '{plain}' and 'deploy.resources.{kind}.{amount}'");
            return Err(Mistake::new(&plain_node.place, key, message).into());
        }
    }
    Ok(())
}

fn health(service: &Node, key: &str) -> Result<(), LoadError> {
    let Some(test) = service.at(&["healthcheck", "test"]) else { return Ok(()) };
    match test.as_list().and_then(<[Node]>::first).and_then(Node::as_str) {
        None | Some("NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(_) => {
            let message = "healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\"";
            Err(Mistake::new(&test.place, format!("{key}.healthcheck.test"), message).into())
        }
    }
}

fn watch(service: &Node, key: &str) -> Result<(), LoadError> {
    let rules = service.at(&["develop", "watch"]).and_then(Node::as_list).unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        let bad = |message: &str| Err(Mistake::new(&rule.place, format!("{key}.develop.watch[{at}]"), message).into());
        let says = |field: &str| rule.str_at(field).is_some_and(|text| !text.is_empty());
        let action = rule.str_at("action").unwrap_or_default();
        match action {
            "" => return bad("action is required: rebuild, restart, sync, sync+restart or sync+exec"),
            _ if !says("path") => return bad("path is required: what is watched"),
            "sync" | "sync+restart" | "sync+exec" if !says("target") => {
                return bad("target is required for non-rebuild actions: where files go in the container");
            }
            "sync+exec" if rule.at(&["exec", "command"]).is_none_or(Node::is_null) => {
                return bad("exec.command is required for sync+exec");
            }
            "rebuild" if service.get("build").is_none_or(Node::is_null) => {
                return bad("rebuild needs a \"build\" of the service");
            }
            _ => {}
        }
    }
    Ok(())
}

fn dependencies(service: &Node, key: &str, all: &Map, enabled: &Map) -> Result<(), LoadError> {
    for (name, node) in service.get("depends_on").and_then(Node::as_map).into_iter().flat_map(Map::iter) {
        let required = !matches!(node.get("required"), Some(Node { value: Value::Bool(false), .. }));
        if enabled.contains(name) || !required {
            continue;
        }
        let mistake = Mistake::new(&node.place, key, format!("depends on undefined service {name:?}"));
        return Err(match suggest::nearest(name, all.keys()) {
            Some(meant) if meant == name => mistake.hint("its profile is not enabled; use --profile").into(),
            Some(meant) => mistake.hint(format!("did you mean {meant:?}?")).into(),
            None => mistake.into(),
        });
    }
    Ok(())
}

fn references(model: &Model, service: &Node, key: &str) -> Result<(), LoadError> {
    let declared = |section: &str, name: &str, node: &Node| -> Result<(), LoadError> {
        let known = model.tree.get(section).and_then(Node::as_map);
        if known.is_some_and(|map| map.contains(name)) {
            return Ok(());
        }
        let kind = section.trim_end_matches('s');
        let mistake = Mistake::new(&node.place, key, format!("refers to undefined {kind} {name}"));
        Err(match known.and_then(|map| suggest::nearest(name, map.keys())) {
            Some(meant) => mistake.hint(format!("did you mean {meant:?}?")).into(),
            None => mistake.hint(format!("declare it below \"{section}:\" at the top")).into(),
        })
    };
    for (name, node) in service.get("networks").and_then(Node::as_map).into_iter().flat_map(Map::iter) {
        declared("networks", name, node)?;
    }
    let contexts = service.at(&["build", "additional_contexts"]).and_then(Node::as_map);
    for (name, node) in contexts.into_iter().flat_map(Map::iter) {
        let Some(other) = node.as_str().and_then(|text| text.strip_prefix("service:")) else { continue };
        if model.tree.at(&["services", other, "build"]).is_none_or(Node::is_null) {
            let message = format!("declares non-buildable service {other:?} as additional contexts {name}");
            return Err(Mistake::new(&node.place, key, message).into());
        }
    }
    let listed = |field: &str| service.get(field).and_then(Node::as_list).unwrap_or_default();
    for mount in listed("volumes") {
        if mount.str_at("type") == Some("volume")
            && let Some(source) = mount.str_at("source").filter(|source| !source.is_empty())
        {
            declared("volumes", source, mount)?;
        }
    }
    for section in ["secrets", "configs"] {
        for node in listed(section) {
            declared(section, node.str_at("source").unwrap_or_default(), node)?;
        }
    }
    Ok(())
}

fn circles(services: &Map) -> Result<(), LoadError> {
    fn visit<'m>(
        services: &'m Map,
        name: &'m str,
        path: &mut Vec<&'m str>,
        done: &mut Vec<&'m str>,
    ) -> Result<(), LoadError> {
        if let Some(at) = path.iter().position(|known| *known == name) {
            let circle = path[at..].iter().chain([&name]).copied().collect::<Vec<_>>().join(" -> ");
            let message = format!("dependency cycle detected: {circle}");
            let last = path.last().and_then(|last| services.get(last)).and_then(|node| node.at(&["depends_on", name]));
            return Err(match last {
                Some(node) => Mistake::new(&node.place, format!("services.{}", path[path.len() - 1]), message).into(),
                None => LoadError::Project(message),
            });
        }
        if done.contains(&name) {
            return Ok(());
        }
        path.push(name);
        let depends = services.get(name).and_then(|node| node.get("depends_on")).and_then(Node::as_map);
        for next in depends.into_iter().flat_map(Map::keys) {
            visit(services, next, path, done)?;
        }
        path.pop();
        done.push(name);
        Ok(())
    }
    let mut done = Vec::new();
    services.keys().try_for_each(|name| visit(services, name, &mut Vec::new(), &mut done))
}

/// Checks what is declared beside services.
///
/// # Errors
/// When something external is also described, or an address is none.
pub(crate) fn resources(model: &Model) -> Result<(), LoadError> {
    for section in ["networks", "volumes", "secrets", "configs"] {
        for (name, node) in model.tree.get(section).and_then(Node::as_map).into_iter().flat_map(Map::iter) {
            let is_external = matches!(node.get("external"), Some(Node { value: Value::Bool(true), .. }));
            let key = format!("{section}.{name}");
            if section == "networks" {
                values::network(node, &key)?;
            }
            let told = node.as_map().into_iter().flat_map(Map::keys);
            let extra = told.into_iter().find(|key| !matches!(*key, "name" | "external") && !key.starts_with("x-"));
            // Compose passes over what is said of networks, secrets and configs that are somebody else's.
            let extra = extra.filter(|_| section == "volumes");
            if let (true, Some(extra)) = (is_external, extra) {
                let message = format!("conflicting parameters \"external\" and {extra:?} specified");
                return Err(Mistake::new(&node.place, key, message).into());
            }
            let sources = ["file", "environment", "content"].iter().filter(|key| node.get(key).is_some()).count();
            if matches!(section, "secrets" | "configs") && !is_external && sources != 1 {
                let message = "exactly one of file, environment, content or external says where it comes from";
                return Err(Mistake::new(&node.place, key, message).into());
            }
        }
    }
    Ok(())
}
