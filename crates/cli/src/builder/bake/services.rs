//! Compose files as bake files: services that are built are targets, and all of them are the default.

use std::{collections::BTreeMap, path::Path};

use super::{
    definition::Definition,
    entry::{Entry, Of},
    target::Target,
};
use crate::{compose, context::Context, error::CommandError, parse::path};

/// Adds what a Compose file says; directories below `base` are called from there.
///
/// # Errors
/// What Compose says of the file, or what a target cannot be.
pub(super) fn add(cx: &mut Context, file: &str, base: &Path, definition: &mut Definition) -> Result<(), CommandError> {
    let default = definition.groups.entry("default".to_owned()).or_default();
    for (name, (context, flags)) in compose::build::recipes(cx, file)? {
        // A service may have a dot in its name, a target may not.
        let name = name.replace('.', "_");
        if !default.targets.contains(&name) {
            default.targets.push(name.clone());
        }
        let pair = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            // Without a value it is the environment's.
            None => (text.clone(), std::env::var(text).unwrap_or_default()),
        };
        let pairs = |list: &[String]| -> BTreeMap<String, String> { list.iter().map(pair).collect() };
        let is_there = |text: &&String| text.contains('=') || std::env::var(text).is_ok();
        let entries = |of: Of, list: &[String]| -> Result<Vec<Entry>, CommandError> {
            list.iter().map(|text| Entry::parse(of, text)).collect::<Result<_, _>>().map_err(super::said)
        };
        let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let target = Target {
            args: flags.arguments.iter().filter(is_there).map(pair).collect(),
            labels: pairs(&flags.labels),
            contexts: pairs(&flags.contexts),
            dockerfile: flags.file.clone(),
            dockerfile_inline: flags.inline.clone(),
            tags: list(&flags.tags),
            target: flags.target.clone(),
            platforms: list(&flags.platforms),
            attest: entries(Of::Attestation, &flags.attest)?,
            cache_from: entries(Of::Cache, &flags.cache_from)?,
            cache_to: Some(entries(Of::Cache, &flags.cache_to)?).filter(|all| !all.is_empty()),
            network: flags.network.clone(),
            no_cache: flags.no_cache.then_some(true),
            pull: flags.pull.then_some(true),
            entitlements: flags.allow.clone(),
            ulimits: flags.ulimits.clone(),
            ssh: entries(Of::Agent, &flags.ssh)?,
            extra_hosts: pairs(&flags.add_hosts),
            context: Some(path::relative(&context, base)),
            ..Target::default()
        };
        let before = definition.targets.remove(&name).unwrap_or_default();
        definition.targets.insert(name, before.overridden_by(target));
    }
    Ok(())
}
