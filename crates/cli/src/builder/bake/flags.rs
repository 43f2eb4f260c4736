//! A target as what `hako build` would be told.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{entry::Entry, resolve::Resolved, target::Target};
use crate::{
    build::{BuildFlags, is_remote},
    flag::FlagSet,
};

/// # Errors
/// Where a limit is none.
pub(super) fn of(resolved: &Resolved, name: &str) -> Result<BuildFlags, String> {
    let target = &resolved.targets[name];
    if !target.policy.is_empty() && !target.policy.iter().all(|policy| policy.get("disabled") == Some("true")) {
        return Err("policies are not built: nothing would hold to them".to_owned());
    }
    let texts = |list: &[Entry]| list.iter().map(Entry::flag).collect::<Vec<_>>();
    let pairs = |(key, value): (&String, &String)| format!("{key}={value}");
    let context = target.context.clone().unwrap_or_default();
    let mut flags = BuildFlags {
        add_hosts: target.extra_hosts.iter().map(pairs).collect(),
        annotations: target.annotations.clone(),
        attest: texts(&target.attest),
        arguments: target.args.iter().map(pairs).collect(),
        contexts: target.contexts.iter().map(|(key, place)| format!("{key}={}", of_target(resolved, place))).collect(),
        cache_from: texts(&target.cache_from),
        cache_to: texts(target.cache_to.as_deref().unwrap_or_default()),
        call: target.call.clone(),
        file: dockerfile(&context, target.dockerfile.as_deref()),
        inline: inline(target)?,
        labels: target.labels.iter().map(pairs).collect(),
        network: target.network.clone(),
        no_cache: target.no_cache.unwrap_or(false),
        no_cache_filter: target.no_cache_filter.clone(),
        outputs: texts(target.output.as_deref().unwrap_or_default()),
        platforms: target.platforms.clone().unwrap_or_default(),
        pull: target.pull.unwrap_or(false),
        secrets: texts(&target.secret),
        ssh: texts(&target.ssh),
        tags: target.tags.clone().unwrap_or_default(),
        target: target.target.clone(),
        ulimits: target.ulimits.clone(),
        ..BuildFlags::default()
    };
    if flags.inline.is_some() {
        flags.file = None;
    }
    if target.is_linked {
        // The image is for the other targets alone.
        flags.outputs.clear();
    }
    if is_kept(resolved, name) {
        flags.tags = vec![resolved.kept_as(name)];
    }
    let mut limits: Vec<String> = target.resources.iter().map(|(key, value)| format!("--{key}={value}")).collect();
    limits.extend(target.shm_size.iter().map(|size| format!("--shm-size={size}")));
    let mut set = FlagSet::default();
    flags.bind(&mut set);
    set.parse(&limits, true).map_err(|error| error.to_string())?;
    drop(set);
    Ok(flags)
}

// A Dockerfile of this machine for a context that is elsewhere goes along.
fn inline(target: &Target) -> Result<Option<String>, String> {
    let own = target.dockerfile.as_deref().and_then(|file| file.strip_prefix("cwd://"));
    match (&target.dockerfile_inline, own, target.context.as_deref().is_some_and(is_remote)) {
        (None, Some(file), true) => {
            fs::read_to_string(file).map(Some).map_err(|error| format!("cannot read {file}: {error}"))
        }
        (inline, ..) => Ok(inline.clone()),
    }
}

/// Whether the daemon keeps a target under a name by which others find it, while they are built.
pub(super) fn is_kept(resolved: &Resolved, name: &str) -> bool {
    let target = &resolved.targets[name];
    target.is_linked || (target.tags.iter().flatten().next().is_none() && is_taken_from(resolved, name))
}

fn is_taken_from(resolved: &Resolved, name: &str) -> bool {
    let place = format!("target:{name}");
    resolved.targets.values().any(|other| other.contexts.values().any(|context| *context == place))
}

fn of_target(resolved: &Resolved, place: &str) -> String {
    let Some(name) = place.strip_prefix("target:") else { return here(place).to_owned() };
    let own = |target: &Target| target.tags.iter().flatten().next().filter(|_| !target.is_linked).cloned();
    let tag = resolved.targets.get(name).and_then(own);
    format!("docker-image://{}", tag.unwrap_or_else(|| resolved.kept_as(name)))
}

/// `cwd://` is the working directory, whatever the file is.
pub(super) fn here(place: &str) -> &str {
    match place.strip_prefix("cwd://") {
        Some("") => ".",
        Some(path) => path,
        None => place,
    }
}

// A Dockerfile is looked for in its context; one at an address has its own.
fn dockerfile(context: &str, file: Option<&str>) -> Option<String> {
    let file = file?;
    if let Some(path) = file.strip_prefix("cwd://") {
        return Some(path.to_owned());
    }
    if Path::new(context).is_dir() && !Path::new(file).is_absolute() {
        return Some(PathBuf::from(context).join(file).display().to_string());
    }
    Some(file.to_owned())
}
