//! From the text of Compose files to one tree in canonical form.

pub mod load; // which files, laid over each other, under which name

pub mod canonical; // checked, long forms
mod defaults; // what is implied
pub mod dotenv; // `.env`, env_file
pub mod environment; // what processes find in their environment
mod extends; // services that begin as copies
pub mod interpolate; // `${VARIABLES}`
pub mod merge; // one tree over another
pub mod paths; // relative paths become absolute
pub mod shape; // what may stand where
mod short; // short forms
pub mod size; // `64m`, `1m30s`
pub mod time; // dates without quotes
pub mod words; // command lines
pub mod yaml; // text to tree

use std::path::Path;

use crate::{
    error::Mistake,
    node::{Node, Place, Value},
    service::{Mount, Port},
};

/// Ports and mounts in their short forms, as `run -p` and `run -v` take them.
///
/// # Errors
/// When one of them is no such short form.
pub fn parts(ports: &[String], mounts: &[String], directory: &Path) -> Result<(Vec<Port>, Vec<Mount>), Box<Mistake>> {
    let place = Place::start_of("command line");
    let list =
        |texts: &[String]| Node::new(Value::List(texts.iter().map(|text| Node::text(text, &place)).collect()), &place);
    let mut service = Node::map(&place);
    if let Some(map) = service.as_map_mut() {
        map.set("ports", list(ports));
        map.set("volumes", list(mounts));
    }
    let mut service = canonical::tree(service, &shape::SERVICE, false)?;
    paths::resolve_service(&mut service, directory, None);
    let typed: crate::service::Service =
        serde_json::from_value(service.to_json()).map_err(|error| Mistake::new(&place, "", error.to_string()))?;
    Ok((typed.ports, typed.volumes))
}
