//! `--change` of `import` and `commit`: Dockerfile instructions that change an image's configuration.
//!
//! The eleven instructions that make no layer are known, in both their forms; the error sentences are
//! Docker's. A whole Dockerfile is `build`'s matter.

use std::collections::BTreeMap;

use hako_model::{HealthSpec, ImageConfig, PortKey};

mod word;

use word::{expand, words};

/// Why an instruction was not understood. The sentences are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(String);

fn error<T>(text: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError(text.into()))
}

/// Applies `changes`, in order, to `config`. On an error `config` is as it was.
///
/// # Errors
/// When an instruction is unknown or malformed.
pub fn apply(config: &mut ImageConfig, changes: &[String]) -> Result<(), ChangeError> {
    let mut changed = config.clone();
    let mut cmd_given = false;
    for line in changes.iter().flat_map(|change| logical_lines(change)) {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        one(&mut changed, &instruction.to_uppercase(), rest.trim(), &mut cmd_given)?;
    }
    *config = changed;
    Ok(())
}

// One change may hold several lines; a backslash at the end joins, `#` at the beginning comments.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match line.trim_end().strip_suffix('\\') {
            Some(start) => open.push_str(start),
            None => {
                open.push_str(line);
                lines.push(std::mem::take(&mut open).trim().to_owned());
            }
        }
    }
    lines.push(open.trim().to_owned());
    lines.retain(|line| !line.is_empty());
    lines
}

fn one(config: &mut ImageConfig, instruction: &str, rest: &str, cmd_given: &mut bool) -> Result<(), ChangeError> {
    match instruction {
        "CMD" => {
            config.cmd = command(config, rest);
            *cmd_given = true;
        }
        "ENTRYPOINT" => {
            config.entrypoint = command(config, rest).filter(|words| !words.is_empty());
            // A CMD of the base belongs to the base's entrypoint.
            if !*cmd_given {
                config.cmd = None;
            }
        }
        "ENV" => {
            for (key, value) in pairs(instruction, rest, config)? {
                let start = format!("{key}=");
                let text = format!("{start}{value}");
                match config.env.iter_mut().find(|known| known.starts_with(&start)) {
                    Some(known) => *known = text,
                    None => config.env.push(text),
                }
            }
        }
        "LABEL" => config.labels.extend(pairs(instruction, rest, config)?),
        "EXPOSE" => expose(config, rest)?,
        "VOLUME" => volume(config, rest)?,
        "USER" => config.user = single(instruction, rest, config)?,
        "STOPSIGNAL" => config.stop_signal = Some(stop_signal(single(instruction, rest, config)?)?),
        "WORKDIR" => config.working_dir = join(&config.working_dir, &single(instruction, rest, config)?),
        "ONBUILD" => config.on_build.push(on_build(rest)?),
        "HEALTHCHECK" => config.health = Some(health(rest)?),
        other => return error(format!("{other} is not a valid change command")),
    }
    Ok(())
}

// `["a", "b"]` is the program itself; anything else is a line for the shell.
fn command(config: &ImageConfig, rest: &str) -> Option<Vec<String>> {
    if rest.is_empty() {
        return Some(Vec::new());
    }
    if let Ok(words) = serde_json::from_str::<Vec<String>>(rest) {
        return Some(words);
    }
    let shell = config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
    Some(shell.into_iter().chain([rest.to_owned()]).collect())
}

fn single(instruction: &str, rest: &str, config: &ImageConfig) -> Result<String, ChangeError> {
    if rest.is_empty() {
        return error(format!("{instruction} requires exactly one argument"));
    }
    expand(rest, &config.env).map_err(ChangeError)
}

// `KEY=VALUE …` with quotes, or the old form `KEY VALUE` where the value is the rest of the line.
fn pairs(instruction: &str, rest: &str, config: &ImageConfig) -> Result<BTreeMap<String, String>, ChangeError> {
    let parts = words(rest);
    let Some(first) = parts.first() else {
        return error(format!("{instruction} requires at least one argument"));
    };
    let expand = |text: &str| expand(text, &config.env).map_err(ChangeError);
    if !first.contains('=') {
        let Some((key, value)) = rest.split_once(char::is_whitespace) else {
            return error(format!("{instruction} must have two arguments"));
        };
        return Ok(BTreeMap::from([(expand(key)?, expand(value.trim())?)]));
    }
    let mut found = BTreeMap::new();
    for part in &parts {
        let Some((key, value)) = part.split_once('=') else {
            return error(format!("Syntax error - can't find = in {part:?}. Must be of the form: name=value"));
        };
        let key = expand(key)?;
        if key.is_empty() {
            return error(format!("{instruction} names can not be blank"));
        }
        found.insert(key, expand(value)?);
    }
    Ok(found)
}

fn expose(config: &mut ImageConfig, rest: &str) -> Result<(), ChangeError> {
    let parts = words(rest);
    if parts.is_empty() {
        return error("EXPOSE requires at least one argument");
    }
    for part in parts {
        let text = expand(&part, &config.env).map_err(ChangeError)?;
        let (range, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number =
            |port: &str| port.parse::<u16>().map_err(|_| ChangeError(format!("invalid containerPort: {text}")));
        for port in number(first)?..=number(last)? {
            let key: PortKey = format!("{port}/{}", protocol.to_lowercase())
                .parse()
                .map_err(|_| ChangeError(format!("invalid proto: {protocol}")))?;
            if !config.exposed_ports.contains(&key) {
                config.exposed_ports.push(key);
            }
        }
    }
    Ok(())
}

fn volume(config: &mut ImageConfig, rest: &str) -> Result<(), ChangeError> {
    let paths = serde_json::from_str::<Vec<String>>(rest).unwrap_or_else(|_| words(rest));
    if paths.is_empty() {
        return error("VOLUME requires at least one argument");
    }
    for path in paths {
        let path = expand(&path, &config.env).map_err(ChangeError)?;
        if path.trim().is_empty() {
            return error("VOLUME specified can not be an empty string");
        }
        if !config.volumes.contains(&path) {
            config.volumes.push(path);
        }
    }
    Ok(())
}

fn stop_signal(text: String) -> Result<String, ChangeError> {
    match text.parse::<hako_model::Signal>() {
        Ok(_) => Ok(text),
        Err(_) => error(format!("Invalid signal: {text}")),
    }
}

fn on_build(rest: &str) -> Result<String, ChangeError> {
    match rest.split_whitespace().next().unwrap_or_default().to_uppercase().as_str() {
        "" => error("ONBUILD requires at least one argument"),
        "ONBUILD" => error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        trigger @ ("FROM" | "MAINTAINER") => error(format!("{trigger} isn't allowed as an ONBUILD trigger")),
        _ => Ok(rest.to_owned()),
    }
}

fn join(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("/{base}/{path}") };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

fn health(rest: &str) -> Result<HealthSpec, ChangeError> {
    let mut flags = Vec::new();
    let mut rest = rest;
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        flags.push(flag);
        rest = after.trim_start();
    }
    crate::health::parse(flags, rest).or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(changes: &[&str], shown: impl Fn(&ImageConfig) -> String, expected: &str) {
        let mut config =
            ImageConfig { env: vec!["HOME=/root".into()], cmd: Some(vec!["old".into()]), ..ImageConfig::default() };
        let changes: Vec<_> = changes.iter().map(|change| (*change).to_owned()).collect();
        let got = match apply(&mut config, &changes) {
            Ok(()) => shown(&config),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{changes:?}");
    }

    #[test]
    fn both_forms_of_commands() {
        let cmd = |config: &ImageConfig| format!("{:?} {:?}", config.entrypoint, config.cmd);
        check(&["CMD echo hi"], cmd, r#"None Some(["/bin/sh", "-c", "echo hi"])"#);
        check(&[r#"cmd ["echo", "hi"]"#], cmd, r#"None Some(["echo", "hi"])"#);
        check(&[r#"ENTRYPOINT ["x"]"#], cmd, r#"Some(["x"]) None"#);
        check(&["CMD a", r#"ENTRYPOINT ["x"]"#], cmd, r#"Some(["x"]) Some(["/bin/sh", "-c", "a"])"#);
    }

    #[test]
    fn settings() {
        let env = |config: &ImageConfig| format!("{:?}", config.env);
        check(&["ENV A=1 B=\"two words\" HOME=/h"], env, r#"["HOME=/h", "A=1", "B=two words"]"#);
        check(&["ENV A some $HOME ${X:-d}"], env, r#"["HOME=/root", "A=some /root d"]"#);
        check(&["LABEL a=b 'c d'=e\\ f"], |config| format!("{:?}", config.labels), r#"{"a": "b", "c d": "e f"}"#);
        let ports =
            |config: &ImageConfig| config.exposed_ports.iter().map(|p| p.to_string()).collect::<Vec<_>>().join(" ");
        check(&["EXPOSE 80 53/udp 8000-8001"], ports, "80/tcp 53/udp 8000/tcp 8001/tcp");
        check(&["WORKDIR /a", "WORKDIR b/../c"], |config| config.working_dir.clone(), "/a/c");
        check(&["VOLUME /a /b", "VOLUME [\"/c\"]"], |config| config.volumes.join(" "), "/a /b /c");
        check(&["USER me"], |config| config.user.clone(), "me");
        check(&["ONBUILD RUN x"], |config| config.on_build.join(","), "RUN x");
        let health = |config: &ImageConfig| {
            config.health.as_ref().map_or(String::new(), |h| format!("{:?} {} {}", h.test, h.interval_ns, h.retries))
        };
        check(&["HEALTHCHECK --interval=1m30s --retries=3 CMD true"], health, r#"["CMD-SHELL", "true"] 90000000000 3"#);
        check(&["HEALTHCHECK NONE"], health, r#"["NONE"] 0 0"#);
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words() {
        let none = |_: &ImageConfig| "applied".to_owned();
        check(&["RUN x"], none, "RUN is not a valid change command");
        check(&["FOO x"], none, "FOO is not a valid change command");
        check(&["EXPOSE"], none, "EXPOSE requires at least one argument");
        check(&["EXPOSE x"], none, "invalid containerPort: x");
        check(&["ENV A=1 B"], none, "Syntax error - can't find = in \"B\". Must be of the form: name=value");
        check(&["ENV A"], none, "ENV must have two arguments");
        check(&["USER"], none, "USER requires exactly one argument");
        check(&["HEALTHCHECK FOO"], none, "Unknown type \"FOO\" in HEALTHCHECK (try CMD)");
        check(&["ONBUILD ONBUILD RUN x"], none, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    }
}
