//! A project: which of the model's services take part, and each of them with types.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    check,
    error::LoadError,
    file::{
        environment,
        interpolate::Variable,
        load::{self, Model, Options, Surroundings},
        shape,
    },
    hash,
    node::{Map, Node, Value},
    print::{self, Notation},
    remark,
    service::Service,
    suggest,
};

/// A project that can be planned.
#[derive(Debug, Clone)]
pub struct Project {
    pub name: String,
    /// Between the parts of names: `-`, or `_` with `--compatibility`.
    pub separator: char,
    /// Variables for proxies (`NAME=value`) that containers and builds get, where services do not say otherwise.
    pub proxies: Vec<String>,
    pub directory: PathBuf,
    pub files: Vec<PathBuf>,
    pub warnings: Vec<String>,
    pub variables: BTreeMap<String, String>,
    pub mentioned: Vec<Variable>,
    /// Every service that takes part, by name.
    pub services: BTreeMap<String, Service>,
    pub networks: BTreeMap<String, Resource>,
    pub volumes: BTreeMap<String, Resource>,
    pub secrets: BTreeMap<String, Resource>,
    pub configs: BTreeMap<String, Resource>,
    /// All services of the files, those left out too: none of their containers is an orphan.
    pub all_services: BTreeSet<String>,
    /// All profiles that the files mention.
    pub all_profiles: BTreeSet<String>,
    /// The canonical tree of what takes part.
    pub tree: Node,
}

/// A network, volume, secret or config as the file declares it.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Resource {
    pub name: String,
    pub driver: String,
    pub driver_opts: BTreeMap<String, String>,
    pub external: bool,
    pub labels: BTreeMap<String, String>,
    pub internal: bool,
    pub attachable: bool,
    pub enable_ipv4: Option<bool>,
    pub enable_ipv6: bool,
    pub ipam: Ipam,
    pub file: Option<PathBuf>,
    pub environment: Option<String>,
    pub content: Option<String>,
}

/// Addresses of a network.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Ipam {
    pub driver: String,
    pub options: BTreeMap<String, String>,
    pub config: Vec<Subnet>,
}

/// One subnet.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Subnet {
    pub subnet: String,
    pub gateway: String,
    pub ip_range: String,
    pub aux_addresses: BTreeMap<String, String>,
}

/// Which services are wanted.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// None: all whose profiles are on.
    pub services: Vec<String>,
    /// Only these, without what they depend on.
    pub alone: bool,
    /// Also networks, volumes, secrets and configs that none of them uses.
    pub all_resources: bool,
}

/// Reads files and takes what is wanted of them.
///
/// # Errors
/// When a file is wrong, or a wanted service is in none.
pub fn read(options: &Options, surroundings: &Surroundings, selection: &Selection) -> Result<Project, LoadError> {
    let model = load::load(options, surroundings)?;
    select(model, selection, options.consistency && options.normalize)
}

/// Takes what is wanted of a model.
///
/// # Errors
/// When a wanted service is not there, or the parts do not fit together.
pub fn select(mut model: Model, selection: &Selection, consistent: bool) -> Result<Project, LoadError> {
    let all = model.tree.get("services").and_then(Node::as_map).cloned().unwrap_or_default();
    for name in &selection.services {
        let Some(service) = all.get(name) else {
            let hint = suggest::nearest(name, all.keys()).map(|meant| format!("did you mean {meant:?}?"));
            return Err(LoadError::NoService { name: name.clone(), hint });
        };
        // Who names a service means it, whatever its profile.
        if !environment::is_enabled(service, &model.profiles) {
            model.profiles.extend(profiles_of(service));
        }
    }
    let enabled: Map =
        Map(all.0.iter().filter(|(_, node)| environment::is_enabled(node, &model.profiles)).cloned().collect());
    if consistent {
        check::services(&model, &all, &enabled)?;
    }
    let wanted = wanted(&enabled, selection);
    let services = Map(enabled.0.iter().filter(|(name, _)| wanted.contains(name)).cloned().collect());
    let place = model.tree.place.clone();
    if let Some(top) = model.tree.as_map_mut() {
        top.set("services", Node::new(Value::Map(services.clone()), &place));
        if !selection.all_resources {
            keep_used(top, &services);
        }
        top.remove("name");
        top.0.insert(0, ("name".to_owned(), Node::text(model.name.clone(), &place)));
    }
    if consistent {
        check::resources(&model)?;
    }
    typed(model, &all, &services)
}

fn profiles_of(service: &Node) -> Vec<String> {
    let list = service.get("profiles").and_then(Node::as_list).unwrap_or_default();
    list.iter().filter_map(|node| node.as_str().map(str::to_owned)).collect()
}

fn wanted(enabled: &Map, selection: &Selection) -> BTreeSet<String> {
    if selection.services.is_empty() {
        return enabled.keys().map(str::to_owned).collect();
    }
    let mut wanted = BTreeSet::new();
    let mut open = selection.services.clone();
    while let Some(name) = open.pop() {
        if enabled.contains(&name) && wanted.insert(name.clone()) && !selection.alone {
            let depends = enabled.get(&name).and_then(|node| node.get("depends_on")).and_then(Node::as_map);
            open.extend(depends.into_iter().flat_map(|map| map.keys().map(str::to_owned)));
        }
    }
    wanted
}

// What no service uses is not made, and not shown.
fn keep_used(top: &mut Map, services: &Map) {
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut add = |section: &'static str, name: Option<&str>| {
        if let Some(name) = name {
            used.entry(section).or_default().insert(name.to_owned());
        }
    };
    for (_, service) in services.iter() {
        for name in service.get("networks").and_then(Node::as_map).into_iter().flat_map(Map::keys) {
            add("networks", Some(name));
        }
        let listed = |key: &str| service.get(key).and_then(Node::as_list).unwrap_or_default();
        for mount in listed("volumes").iter().filter(|mount| mount.str_at("type") == Some("volume")) {
            add("volumes", mount.str_at("source"));
        }
        listed("secrets").iter().for_each(|node| add("secrets", node.str_at("source")));
        listed("configs").iter().for_each(|node| add("configs", node.str_at("source")));
        let building = service.at(&["build", "secrets"]).and_then(Node::as_list).unwrap_or_default();
        building.iter().for_each(|node| add("secrets", node.str_at("source")));
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        let names = used.get(section).cloned().unwrap_or_default();
        let Some(map) = top.get_mut(section).and_then(Node::as_map_mut) else { continue };
        map.0.retain(|(name, _)| names.contains(name));
        if map.0.is_empty() {
            top.remove(section);
        }
    }
}

fn typed(model: Model, all: &Map, services: &Map) -> Result<Project, LoadError> {
    let mut read = BTreeMap::new();
    let mut remarks = remark::remarks(&model, services);
    for (name, node) in services.iter() {
        let mut service: Service = from_node(node, &format!("services.{name}"))?;
        service.name = name.to_owned();
        service.hash = hash::service(node);
        remarks.extend(remark::owners(&model, &service));
        read.insert(name.to_owned(), service);
    }
    let section = |key: &str| -> Result<BTreeMap<String, Resource>, LoadError> {
        let map = model.tree.get(key).and_then(Node::as_map);
        let entries = map.into_iter().flat_map(Map::iter);
        entries.map(|(name, node)| Ok((name.to_owned(), from_node(node, &format!("{key}.{name}"))?))).collect()
    };
    Ok(Project {
        services: read,
        networks: section("networks")?,
        volumes: section("volumes")?,
        secrets: section("secrets")?,
        configs: section("configs")?,
        all_services: all.keys().map(str::to_owned).collect(),
        all_profiles: all.iter().flat_map(|(_, node)| profiles_of(node)).collect(),
        name: model.name,
        separator: '-',
        proxies: Vec::new(),
        directory: model.directory,
        files: model.files,
        warnings: model.warnings.into_iter().chain(remarks).collect(),
        variables: model.variables,
        mentioned: model.mentioned,
        tree: model.tree,
    })
}

fn from_node<T: serde::de::DeserializeOwned>(node: &Node, key: &str) -> Result<T, LoadError> {
    let mut json = node.to_json();
    drop_nulls(&mut json);
    serde_json::from_value(json).map_err(|error| crate::error::Mistake::new(&node.place, key, error.to_string()).into())
}

// A key without a value is a key that is not there, but for variables and names.
fn drop_nulls(json: &mut serde_json::Value) {
    if let serde_json::Value::Object(map) = json {
        map.retain(|key, value| {
            if !matches!(key.as_str(), "environment" | "networks" | "args") {
                drop_nulls(value);
            }
            !value.is_null()
        });
    }
}

impl Project {
    /// A project of which only the name is known: what belongs to it is found by its label.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            separator: '-',
            proxies: Vec::new(),
            directory: PathBuf::new(),
            files: Vec::new(),
            warnings: Vec::new(),
            variables: BTreeMap::new(),
            mentioned: Vec::new(),
            services: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            configs: BTreeMap::new(),
            all_services: BTreeSet::new(),
            all_profiles: BTreeSet::new(),
            tree: Node::map(&crate::node::Place::start_of("")),
        }
    }

    /// The value of a variable that steers the program, of the surroundings or `.env`.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether such a variable says yes.
    pub fn is_set(&self, name: &str) -> bool {
        self.setting(name).is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// The services in an order in which each comes after what it depends on.
    pub fn in_order(&self) -> Vec<&Service> {
        let mut order: Vec<&Service> = Vec::new();
        let mut seen = BTreeSet::new();
        fn visit<'p>(project: &'p Project, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<&'p Service>) {
            let Some(service) = project.services.get(name) else { return };
            if seen.insert(name.to_owned()) {
                service.depends_on.keys().for_each(|name| visit(project, name, seen, order));
                order.push(service);
            }
        }
        self.services.keys().for_each(|name| visit(self, name, &mut seen, &mut order));
        order
    }

    /// The image that a service runs: its own, or what is built for it.
    pub fn image_of(&self, service: &Service) -> String {
        match service.image.is_empty() {
            true => format!("{}{}{}", self.name, self.separator, service.name),
            false => service.image.clone(),
        }
    }

    /// The canonical files as YAML, with dollars doubled so that it can be read again.
    pub fn yaml(&self) -> String {
        print::yaml(&print::arranged(&self.tree, &shape::PROJECT, Notation::Yaml)).replace('$', "$$")
    }

    /// The same as JSON.
    pub fn json(&self) -> String {
        let mut shown = print::arranged(&self.tree, &shape::PROJECT, Notation::Json);
        if let (Some(map), Some(own)) = (shown.as_map_mut(), self.tree.as_map()) {
            map.0.extend(
                own.0
                    .iter()
                    .filter(|(key, _)| key.starts_with("x-"))
                    .map(|(key, node)| (key.clone(), print::arrange_any(node))),
            );
            map.0.sort_by(|(left, _), (right, _)| left.cmp(right));
        }
        print::pretty(&shown).replace('$', "$$")
    }
}
