//! What a container shall run: the person's wishes over the image's. A decision, without effects.

use std::collections::BTreeMap;

use hako_model::{ContainerSpec, HealthSpec, ImageConfig, PortKey};

use crate::{EngineError, limits};

/// The result: what `inspect` shows under `Config`, and the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) config: ImageConfig,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
}

/// Fills in what `spec` does not say from `image`.
///
/// # Errors
/// No command at all, in Docker's words; arguments larger than the kernel takes.
pub(crate) fn merge(spec: &ContainerSpec, image: &ImageConfig) -> Result<Merged, EngineError> {
    // An entrypoint of one's own makes the image's command meaningless; `--entrypoint ""` removes it.
    let entrypoint: Option<Vec<String>> = match &spec.entrypoint {
        Some(own) if matches!(own.as_slice(), [only] if only.is_empty()) => None,
        Some(own) => Some(own.clone()),
        None => image.entrypoint.clone(),
    };
    let own_cmd = spec.cmd.as_ref().filter(|cmd| !cmd.is_empty());
    let cmd = match (own_cmd, &spec.entrypoint) {
        (Some(own), _) => Some(own.clone()),
        (None, Some(_)) => None,
        (None, None) => image.cmd.clone(),
    };
    let words: Vec<String> = entrypoint.iter().flatten().chain(cmd.iter().flatten()).cloned().collect();
    let Some((path, args)) = words.split_first() else {
        return Err(EngineError::invalid("no command specified"));
    };
    let config = ImageConfig {
        user: if spec.user.is_empty() { image.user.clone() } else { spec.user.clone() },
        env: merge_env(&image.env, &spec.env),
        entrypoint,
        cmd,
        working_dir: working_dir(if spec.working_dir.is_empty() { &image.working_dir } else { &spec.working_dir })?,
        exposed_ports: exposed(spec, image),
        volumes: union(&image.volumes, &spec.volumes),
        labels: merge_labels(&image.labels, &spec.labels),
        stop_signal: spec.stop_signal.clone().or_else(|| image.stop_signal.clone()),
        health: merge_health(spec.health.as_ref(), image.health.as_ref()),
        on_build: image.on_build.clone(),
        shell: spec.shell.clone().or_else(|| image.shell.clone()),
        args_escaped: image.args_escaped,
    };
    check_size(&words, &config.env)?;
    Ok(Merged { path: path.clone(), args: args.to_vec(), config })
}

fn check_size(words: &[String], env: &[String]) -> Result<(), EngineError> {
    let bytes: usize = words.iter().chain(env).map(|word| word.len() + 1).sum();
    if bytes > limits::ARGUMENT_BYTES_MAX {
        return Err(EngineError::invalid(format!(
            "the command line and environment have {bytes} bytes; the kernel takes {}",
            limits::ARGUMENT_BYTES_MAX
        )));
    }
    Ok(())
}

/// Without dots and doubled slashes, as it will be shown.
fn working_dir(directory: &str) -> Result<String, EngineError> {
    if !directory.is_empty() && !directory.starts_with('/') {
        return Err(EngineError::invalid(format!(
            "the working directory '{directory}' is invalid, it needs to be an absolute path"
        )));
    }
    Ok(if directory.is_empty() { String::new() } else { super::mounts::clean(directory) })
}

/// The image's variables, then the person's; a later one replaces an earlier of the same name. `NAME` alone stays
/// for `inspect` to show; the process does without the variable.
fn merge_env(image: &[String], own: &[String]) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut merged: Vec<String> = Vec::new();
    for variable in image.iter().chain(own) {
        let key = name(variable);
        match merged.iter().position(|known| name(known) == key) {
            Some(place) => merged[place].clone_from(variable),
            None => merged.push(variable.clone()),
        }
    }
    // As Docker shows it: the person's variables first.
    let (mine, theirs): (Vec<String>, Vec<String>) =
        merged.into_iter().partition(|variable| own.iter().any(|wanted| wanted == variable));
    mine.into_iter().chain(theirs).collect()
}

fn merge_labels(image: &BTreeMap<String, String>, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    image.iter().chain(own).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What the person does not say about the check is the image's.
fn merge_health(own: Option<&HealthSpec>, image: Option<&HealthSpec>) -> Option<HealthSpec> {
    let (own, image) = match (own, image) {
        (Some(own), Some(image)) => (own, image),
        (own, image) => return own.or(image).cloned(),
    };
    let or = |own: i64, image: i64| if own == 0 { image } else { own };
    Some(HealthSpec {
        test: if own.test.is_empty() { image.test.clone() } else { own.test.clone() },
        interval_ns: or(own.interval_ns, image.interval_ns),
        timeout_ns: or(own.timeout_ns, image.timeout_ns),
        start_period_ns: or(own.start_period_ns, image.start_period_ns),
        start_interval_ns: or(own.start_interval_ns, image.start_interval_ns),
        retries: or(own.retries, image.retries),
    })
}

fn union(image: &[String], own: &[String]) -> Vec<String> {
    let mut all: Vec<String> = image.iter().chain(own).cloned().collect();
    all.sort();
    all.dedup();
    all
}

fn exposed(spec: &ContainerSpec, image: &ImageConfig) -> Vec<PortKey> {
    let mut ports: Vec<PortKey> =
        image.exposed_ports.iter().chain(&spec.exposed_ports).chain(spec.host.port_bindings.keys()).copied().collect();
    ports.sort();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        Some(text.split_whitespace().map(str::to_owned).collect())
    }

    fn check(entrypoint: Option<&str>, cmd: Option<&str>, expected: &str) {
        let image = ImageConfig { entrypoint: words("/entry"), cmd: words("serve"), ..ImageConfig::default() };
        let spec = ContainerSpec {
            entrypoint: entrypoint.map(|text| if text.is_empty() { vec![String::new()] } else { words(text).unwrap() }),
            cmd: cmd.and_then(words),
            ..ContainerSpec::default()
        };
        let got = match merge(&spec, &image) {
            Ok(merged) => [vec![merged.path], merged.args].concat().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn command_lines_are_put_together_as_docker_does() {
        check(None, None, "/entry serve");
        check(None, Some("other"), "/entry other");
        check(Some("/mine"), None, "/mine");
        check(Some("/mine"), Some("x"), "/mine x");
        check(Some(""), Some("x"), "x");
        check(Some(""), None, "no command specified");
    }

    #[test]
    fn variables_replace_those_of_the_image() {
        let text = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(merge_env(&text(&["A=1", "PATH=/x"]), &text(&["A=2", "B=3"])), text(&["A=2", "B=3", "PATH=/x"]));
        assert_eq!(merge_env(&text(&["A=1"]), &text(&["A"])), text(&["A"]));
    }
}
