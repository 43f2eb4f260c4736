//! The labels by which docker compose, and therefore hako too, finds what belongs to a project.

use std::collections::BTreeMap;

use crate::{
    project::{Project, Resource},
    service::Service,
};

pub const PROJECT: &str = "com.docker.compose.project";
pub const SERVICE: &str = "com.docker.compose.service";
pub const NUMBER: &str = "com.docker.compose.container-number";
pub const ONE_OFF: &str = "com.docker.compose.oneoff";
pub const HASH: &str = "com.docker.compose.config-hash";
pub const IMAGE: &str = "com.docker.compose.image";
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
pub const DIRECTORY: &str = "com.docker.compose.project.working_dir";
pub const FILES: &str = "com.docker.compose.project.config_files";
pub const NETWORK: &str = "com.docker.compose.network";
pub const VOLUME: &str = "com.docker.compose.volume";
pub const REPLACE: &str = "com.docker.compose.replace";
pub const SLUG: &str = "com.docker.compose.slug";
pub const VERSION: &str = "com.docker.compose.version";

/// The version whose labels and hashes these are.
pub const COMPOSE_VERSION: &str = "2.26.1";

/// All labels of a container of this service.
pub fn container(
    project: &Project,
    service: &Service,
    number: u32,
    hash: &str,
    image_id: &str,
) -> BTreeMap<String, String> {
    let mut labels = service.labels.clone();
    let depends: Vec<String> = service
        .depends_on
        .iter()
        .map(|(name, dependency)| format!("{name}:{}:{}", dependency.condition.name(), dependency.restart))
        .collect();
    let files: Vec<String> = project.files.iter().map(|file| file.display().to_string()).collect();
    for (key, value) in [
        (PROJECT, project.name.clone()),
        (SERVICE, service.name.clone()),
        (NUMBER, number.to_string()),
        (ONE_OFF, "False".to_owned()),
        (HASH, hash.to_owned()),
        (IMAGE, image_id.to_owned()),
        (DEPENDS_ON, depends.join(",")),
        (DIRECTORY, project.directory.display().to_string()),
        (FILES, files.join(",")),
        (VERSION, COMPOSE_VERSION.to_owned()),
    ] {
        labels.insert(key.to_owned(), value);
    }
    labels
}

/// All labels of a network or volume; `kind` is [`NETWORK`] or [`VOLUME`].
pub fn resource(project: &str, kind: &str, key: &str, resource: &Resource) -> BTreeMap<String, String> {
    let mut labels = resource.labels.clone();
    labels.insert(PROJECT.to_owned(), project.to_owned());
    labels.insert(kind.to_owned(), key.to_owned());
    labels.insert(VERSION.to_owned(), COMPOSE_VERSION.to_owned());
    labels
}
