//! From flags to what the client takes: the attributes that BuildKit's Dockerfile front end reads, secrets, agents.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_client::{
    Client,
    build::{
        BuildOption, BuildOutput, BuildSecret, BuildSource, ImageBuild, OutputTarget, layout_context, layout_digest,
    },
};
use hako_model::Reference;

use super::{BuildFlags, actions, commit, output, s3, source, token::Keeper};
use crate::{
    builder::site::Site,
    context::Context,
    credentials::{self, Credentials},
    error::CommandError,
    parse::csv,
};

/// How a context that is an OCI layout begins.
const LAYOUT: &str = "oci-layout://";

fn said<T>(text: impl Into<String>) -> Result<T, CommandError> {
    Err(CommandError::Said(text.into()))
}

/// The build that the flags describe.
///
/// # Errors
/// What makes no sense, before anything is sent.
pub(crate) fn wanted(cx: &Context, site: &Site, flags: &BuildFlags, context: &str) -> Result<ImageBuild, CommandError> {
    question(flags)?;
    for name in &flags.tags {
        if let Err(error) = name.parse::<Reference>() {
            return said(format!("ERROR: invalid tag {name:?}: {error}"));
        }
    }
    let mut found = source::of(context, flags.file.as_deref(), flags.inline.as_deref())?;
    let mut attributes = std::mem::take(&mut found.attributes);
    attributes.extend(attributes_of(flags)?);
    // The daemon knows the commit of a repository that it fetches itself.
    let commit = || match &found.directory {
        None if source::is_remote(context) => None,
        directory => Some(directory.as_deref().and_then(commit::time).unwrap_or_default()),
    };
    if let Some(epoch) = epoch(flags, commit) {
        attributes.insert("build-arg:SOURCE_DATE_EPOCH".to_owned(), epoch);
    }
    let (mut sources, mut layouts) = (found.sources, BTreeMap::new());
    for text in &flags.contexts {
        let Some((name, place)) = text.split_once('=') else {
            return said(format!("invalid context value: {text}, expected key=value"));
        };
        let value = match place.strip_prefix(LAYOUT) {
            Some(place) => {
                let store = hako_base::random::hex(13);
                let (directory, value) = layout(name, place, &store)?;
                layouts.insert(store, directory);
                value
            }
            None => {
                let (value, source) = named_context(name, place)?;
                sources.extend(source);
                value
            }
        };
        attributes.insert(format!("context:{name}"), value);
    }
    let directory = cx.directory.clone();
    let known = Arc::new(Credentials::read(&directory)?);
    let keeper = Keeper::new(&directory, known.clone());
    if let Some(directory) = found.directory.as_ref().and_then(|directory| directory.file_name()) {
        // What `builder history` calls it.
        attributes.insert("hako.name".to_owned(), directory.to_string_lossy().into_owned());
    }
    let (outputs, daemon) = kept(cx, site, flags)?;
    let shared = found.directory.map(|directory| directory.display().to_string()).unwrap_or_default();
    Ok(ImageBuild {
        attributes,
        sources,
        upload: found.upload,
        layouts,
        secrets: flags.secrets.iter().map(|text| secret(text)).collect::<Result<_, _>>()?,
        agents: flags.ssh.iter().map(|text| agent(text)).collect::<Result<_, _>>()?,
        credentials: Arc::new(move |domain| known.find(&credentials::key_of(domain))),
        tokens: Some(Arc::new(keeper)),
        outputs,
        daemon,
        entitlements: entitlements(flags)?,
        cache_from: cache_from(cx, &flags.cache_from)?,
        cache_to: cache(cx, &flags.cache_to)?,
        // Whose directory it is: another machine may have one of the same name.
        shared_key: format!("{}:{shared}", host_name()),
    })
}

// Where results go, and the daemon that takes what is loaded.
fn kept(cx: &Context, site: &Site, flags: &BuildFlags) -> Result<(Vec<BuildOutput>, Option<Client>), CommandError> {
    let outputs = output::of(flags, output::Keeper::of(site))?;
    if outputs.is_empty() && question(flags)?.is_none() {
        cx.remark(&format!(
            "WARNING: No output specified with {} driver. Build result will only remain in the build cache. To push \
             result image into registry use --push or to load image into docker use --load",
            site.driver()
        ));
    }
    let is_loaded = outputs.iter().any(|output| output.target == OutputTarget::Load);
    let daemon = if is_loaded { Some(cx.client()?) } else { None };
    Ok((outputs, daemon))
}

/// What `--call` asks about the Dockerfile, instead of building it.
pub(super) fn question(flags: &BuildFlags) -> Result<Option<&'static str>, CommandError> {
    let call = flags.call.as_deref().unwrap_or_default();
    match call.split(',').next().unwrap_or_default() {
        _ if flags.check => Ok(Some("frontend.lint")),
        "" | "build" => Ok(None),
        "check" | "lint" => Ok(Some("frontend.lint")),
        "outline" => Ok(Some("frontend.outline")),
        "targets" => Ok(Some("frontend.targets")),
        "subrequests.describe" => Ok(Some("frontend.subrequests.describe")),
        other => said(format!("unsupported --call={other}: expected build, check, outline or targets")),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

// A directory's cache is named by the digest of its manifest; without one there is nothing to be had, and the build goes
// on, as in Buildx.
fn cache_from(cx: &Context, texts: &[String]) -> Result<Vec<BuildOption>, CommandError> {
    let mut options = cache(cx, texts)?;
    options.retain_mut(|option| {
        if option.kind != "local" || option.attributes.contains_key("digest") {
            return true;
        }
        let directory = option.attributes.get("src").cloned().unwrap_or_default();
        let tag = option.attributes.get("tag").map_or("latest", String::as_str);
        match layout_digest(Path::new(&directory), tag) {
            Ok(digest) => drop(option.attributes.insert("digest".to_owned(), digest)),
            Err(error) => {
                cx.remark(&format!("WARNING: local cache import at {directory} not found due to err: {error}"));
                return false;
            }
        }
        true
    });
    Ok(options)
}

fn cache(cx: &Context, texts: &[String]) -> Result<Vec<BuildOption>, CommandError> {
    let mut options = Vec::new();
    let variable = |name: &str| env::var(name).ok();
    for text in texts {
        let mut option = output::option(text, ("registry", "ref"))?;
        if option.kind == "s3" {
            s3::complete(&mut option, variable, |path| std::fs::read_to_string(path).ok());
        }
        if option.kind != "gha" || actions::complete(&mut option, variable) {
            options.push(option);
        } else {
            cx.remark("WARNING: the cache type=gha is left out: it needs token and url, or the environment of a GitHub Actions runner (ACTIONS_RUNTIME_TOKEN, ACTIONS_RESULTS_URL)");
        }
    }
    Ok(options)
}

fn entitlements(flags: &BuildFlags) -> Result<Vec<String>, CommandError> {
    let mut all = Vec::new();
    for text in &flags.allow {
        match text.as_str() {
            "network.host" | "security.insecure" | "device" => all.push(text.clone()),
            text if text.strip_prefix("device=").is_some_and(|name| !name.is_empty()) => all.push(text.to_owned()),
            other => return said(format!("invalid entitlement: {other}")),
        }
    }
    if flags.network.as_deref() == Some("host") && !all.iter().any(|one| one == "network.host") {
        all.push("network.host".to_owned());
    }
    Ok(all)
}

fn attributes_of(flags: &BuildFlags) -> Result<BTreeMap<String, String>, CommandError> {
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: String| drop(all.insert(key.to_owned(), value));
    for text in &flags.arguments {
        match text.split_once('=') {
            Some((name, value)) => set(&format!("build-arg:{name}"), value.to_owned()),
            // A name alone is the value that the environment has, if it has one.
            None => {
                if let Ok(value) = env::var(text) {
                    set(&format!("build-arg:{text}"), value);
                }
            }
        }
    }
    for text in &flags.labels {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        set(&format!("label:{name}"), value.to_owned());
    }
    if let Some(target) = &flags.target {
        set("target", target.clone());
    }
    if flags.no_cache {
        set("no-cache", String::new());
    } else if !flags.no_cache_filter.is_empty() {
        set("no-cache", flags.no_cache_filter.join(","));
    }
    if flags.pull {
        set("image-resolve-mode", "pull".to_owned());
    }
    if !flags.platforms.is_empty() {
        set("platform", flags.platforms.join(","));
    }
    let hosts = flags.add_hosts.iter().map(|text| host(text)).collect::<Result<Vec<_>, _>>()?;
    if !hosts.is_empty() {
        set("add-hosts", hosts.join(","));
    }
    match flags.network.as_deref() {
        None | Some("" | "default") => {}
        Some(mode) => set("force-network-mode", mode.to_owned()),
    }
    if let Some(parent) = &flags.cgroup_parent {
        set("cgroup-parent", parent.clone());
    }
    if let Some(size) = &flags.shm_size {
        set("shm-size", size.0.to_string());
    }
    if !flags.ulimits.is_empty() {
        set("ulimit", flags.ulimits.join(","));
    }
    for (name, value) in flags.limits() {
        set(&format!("hako.{name}"), value);
    }
    for (kind, value) in attestations(flags)? {
        set(&format!("attest:{kind}"), value);
    }
    if flags.flatten {
        set("hako.flatten", "1".to_owned());
    }
    if flags.reproducible {
        set("hako.reproducible", "1".to_owned());
    }
    if flags.why {
        set("hako.why", "1".to_owned());
    }
    if let Some(question) = question(flags)? {
        set("requestid", question.to_owned());
    }
    Ok(all)
}

// The variable that builds all over the world read, unless it is given as an argument; Buildx passes it on as well.
// Whoever wants the same image every time means the time of what is built, not of the building.
fn epoch(flags: &BuildFlags, commit: impl FnOnce() -> Option<i64>) -> Option<String> {
    if flags.arguments.iter().any(|text| text.split('=').next() == Some("SOURCE_DATE_EPOCH")) {
        return None;
    }
    let said = env::var("SOURCE_DATE_EPOCH").ok().filter(|text| !text.is_empty());
    said.or_else(|| flags.reproducible.then(commit).flatten().map(|time| time.to_string()))
}

fn host(text: &str) -> Result<String, CommandError> {
    // `=` is the newer form, in which addresses may have colons.
    match text.split_once('=').or_else(|| text.split_once(':')) {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Ok(format!("{name}={}", address.trim_matches(['[', ']'])))
        }
        _ => said(format!("invalid host {text}")),
    }
}

fn attestations(flags: &BuildFlags) -> Result<Vec<(String, String)>, CommandError> {
    let mut all = Vec::new();
    let short = [("provenance", &flags.provenance), ("sbom", &flags.sbom)];
    for (kind, value) in short.into_iter().filter_map(|(kind, value)| Some((kind, value.as_deref()?))) {
        match csv::parse_bool(value) {
            Some(false) => {}
            Some(true) => all.push((kind.to_owned(), String::new())),
            None => all.push((kind.to_owned(), value.to_owned())),
        }
    }
    for text in &flags.attest {
        let option = output::option(text, ("", ""))?;
        if option.attributes.get("disabled").is_some_and(|value| value == "true") {
            continue;
        }
        let mut fields: Vec<String> = option.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        fields.sort();
        all.push((option.kind, fields.join(",")));
    }
    Ok(all)
}

// A directory is offered under a name; what the daemon has or fetches is only named.
fn named_context(name: &str, place: &str) -> Result<(String, Option<(String, BuildSource)>), CommandError> {
    let is_elsewhere = place.contains("://") || source::is_remote(place);
    if is_elsewhere && !place.starts_with("file://") {
        return Ok((place.to_owned(), None));
    }
    let path = PathBuf::from(place.trim_start_matches("file://"));
    if !path.is_dir() {
        return said(format!("failed to get build context {name}: {} is no directory", path.display()));
    }
    Ok((format!("local:{name}"), Some((name.to_owned(), BuildSource::Directory(path)))))
}

// `PATH[:TAG][@DIGEST]`: the directory, and what the daemon is told of it.
fn layout(name: &str, place: &str, store: &str) -> Result<(PathBuf, String), CommandError> {
    let (place, digest) = place.split_once('@').map_or((place, None), |(place, digest)| (place, Some(digest)));
    let (path, tag) = place.split_once(':').unwrap_or((place, ""));
    let tag = if tag.is_empty() { "latest" } else { tag };
    let directory = PathBuf::from(path);
    let digest = match digest {
        Some(digest) => digest.to_owned(),
        None => layout_context(&directory, tag).map_err(|error| {
            CommandError::Said(format!("failed to get build context {name}: the OCI layout {path}: {error}"))
        })?,
    };
    Ok((directory, format!("{LAYOUT}{store}:{tag}@{digest}")))
}

fn secret(text: &str) -> Result<(String, BuildSecret), CommandError> {
    let fields = csv::fields(text).map_err(CommandError::Said)?;
    let (mut id, mut kind, mut file, mut variable) = (None, None, None, None);
    for field in &fields {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("type", value)) => kind = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(value.to_owned()),
            Some(("env", value)) => variable = Some(value.to_owned()),
            _ => return said(format!("invalid field {field:?} in --secret {text}")),
        }
    }
    let Some(id) = id else { return said(format!("--secret {text}: id is missing")) };
    // `type=env` makes a source the name of a variable; without either, a variable of that name comes before a file.
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take();
    }
    if variable.is_none() && file.is_none() && env::var_os(&id).is_some() {
        variable = Some(id.clone());
    }
    if let Some(variable) = variable {
        return match env::var(&variable) {
            Ok(value) => Ok((id, BuildSecret::Value(value.into_bytes()))),
            Err(_) => said(format!("--secret {text}: the environment has no {variable}")),
        };
    }
    let path = PathBuf::from(file.unwrap_or_else(|| id.clone()));
    if !path.exists() {
        return said(format!("ERROR: failed to stat {}: no such file or directory", path.display()));
    }
    Ok((id, BuildSecret::File(path)))
}

fn agent(text: &str) -> Result<(String, PathBuf), CommandError> {
    let (id, path) = text.split_once('=').unwrap_or((text, ""));
    if !path.is_empty() {
        return match Path::new(path).exists() {
            true => Ok((id.to_owned(), PathBuf::from(path))),
            false => said(format!("--ssh {text}: {path} is not there")),
        };
    }
    match env::var("SSH_AUTH_SOCK") {
        Ok(socket) if !socket.is_empty() => Ok((id.to_owned(), PathBuf::from(socket))),
        _ => said("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: BuildFlags, expected: &str) {
        let got = match attributes_of(&flags) {
            Ok(all) => all.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("|"),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    fn all(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn flags_are_attributes() {
        check(
            BuildFlags {
                arguments: all(&["A=1=2"]),
                labels: all(&["l"]),
                target: Some("t".into()),
                ..Default::default()
            },
            "build-arg:A=1=2|label:l=|target=t",
        );
        check(
            BuildFlags { add_hosts: all(&["a:1.2.3.4", "b=::1", "c:[::2]"]), pull: true, ..Default::default() },
            "add-hosts=a=1.2.3.4,b=::1,c=::2|image-resolve-mode=pull",
        );
        check(BuildFlags { no_cache_filter: all(&["a", "b"]), ..Default::default() }, "no-cache=a,b");
        check(
            BuildFlags { provenance: Some("false".into()), sbom: Some("true".into()), ..Default::default() },
            "attest:sbom=",
        );
        check(BuildFlags { add_hosts: all(&["a"]), ..Default::default() }, "invalid host a");
    }
}
