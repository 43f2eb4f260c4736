//! What a file says without effect here, told once: options of many machines, of Windows, of what is mounted as it is.

use std::collections::BTreeMap;

use crate::{
    file::load::Model,
    node::{Map, Node, Value},
    service::Service,
};

const ONE_MACHINE: &str = "there is one machine";
const WINDOWS: &str = "only Windows containers have it";
/// Where a key stands below a service, and why it changes nothing.
const WITHOUT_EFFECT: [(&[&str], &str); 14] = [
    (&["credential_spec"], WINDOWS),
    (&["cpu_count"], WINDOWS),
    (&["cpu_percent"], WINDOWS),
    (&["build", "isolation"], WINDOWS),
    (&["deploy", "endpoint_mode"], ONE_MACHINE),
    (&["deploy", "labels"], "they are labels of a swarm's service, not of containers"),
    (&["deploy", "placement"], ONE_MACHINE),
    (&["deploy", "resources", "reservations", "cpus"], "processors are not reserved on one machine"),
    (&["deploy", "resources", "reservations", "generic_resources"], ONE_MACHINE),
    (&["deploy", "restart_policy", "delay"], "the daemon chooses its own growing pauses"),
    (&["deploy", "restart_policy", "window"], "the daemon takes a container for well after ten seconds"),
    (&["deploy", "rollback_config"], "\"up\" replaces containers at once, and takes nothing back"),
    (&["deploy", "update_config"], "\"up\" replaces containers at once"),
    (&["volume_driver"], "named volumes have their driver below \"volumes:\""),
];

/// What the services say without effect.
pub(crate) fn remarks(model: &Model, services: &Map) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for (path, why) in WITHOUT_EFFECT {
        let says = |node: &Node| node.at(path).is_some_and(|node| !is_empty(node));
        let names: Vec<&str> = services.iter().filter(|(_, node)| says(node)).map(|(name, _)| name).collect();
        if !names.is_empty() {
            told.push(format!("{} of {} has no effect: {why}", path.join("."), names.join(", ")));
        }
    }
    let mut jobs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, node) in services.iter() {
        let mode = node.at(&["deploy", "mode"]).and_then(Node::as_str);
        if let Some(mode @ ("replicated-job" | "global-job")) = mode {
            jobs.entry(mode).or_default().push(name);
        }
    }
    for (mode, names) in jobs {
        told.push(format!("deploy.mode {mode} of {} has no effect: they are services like others", names.join(", ")));
    }
    for section in ["secrets", "configs"] {
        for (name, node) in model.tree.get(section).and_then(Node::as_map).into_iter().flat_map(Map::iter) {
            if node.get("template_driver").is_some() || node.get("driver").is_some() {
                told.push(format!("driver and template_driver of {section}.{name} have no effect: a swarm has them"));
            }
        }
    }
    told
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Map(map) => map.0.iter().all(|(_, node)| is_empty(node)),
        Value::List(list) => list.is_empty(),
        Value::Text(text) => text.is_empty(),
        Value::Int(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::Bool(_) => false,
    }
}

/// A file of this machine is mounted as it is; only what is copied can be given to somebody.
pub(crate) fn owners(model: &Model, service: &Service) -> Vec<String> {
    let mut told = Vec::new();
    for (section, references) in [("secrets", &service.secrets), ("configs", &service.configs)] {
        for reference in references {
            let says = !reference.uid.is_empty() || !reference.gid.is_empty() || reference.mode.is_some();
            if says && model.tree.at(&[section, &reference.source, "file"]).is_some() {
                told.push(format!(
                    "services.{}.{section}: uid, gid and mode of {} have no effect, because it is a file that is mounted as it is",
                    service.name, reference.source
                ));
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use crate::file::load::{Options, Surroundings};

    #[test]
    fn what_one_machine_does_not_do_is_told_once() {
        let file = std::env::temp_dir().join(format!("hako-remark-{}.yaml", std::process::id()));
        let deploy = "deploy: {placement: {constraints: [node.role==manager]}, update_config: {}, replicas: 2}";
        let text = format!("name: p\nservices: {{a: {{image: i, {deploy}}}, b: {{image: i, {deploy}}}}}\n");
        std::fs::write(&file, text).unwrap();
        let options = Options { files: vec![file.display().to_string()], ..Options::default() };
        let read = crate::project::read(&options, &Surroundings::default(), &Default::default());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(read.unwrap().warnings, ["deploy.placement of a, b has no effect: there is one machine"]);
    }
}
