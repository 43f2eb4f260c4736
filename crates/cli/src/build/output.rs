//! `--output`: where the result goes.

use std::{collections::HashMap, path::PathBuf};

use hako_client::build::{BuildOption, BuildOutput, OutputTarget};

use super::BuildFlags;
use crate::{error::CommandError, parse::csv};

fn said<T>(text: impl Into<String>) -> Result<T, CommandError> {
    Err(CommandError::Said(text.into()))
}

/// `type=registry,ref=x` as a kind and its attributes; a word alone is `default`'s value.
///
/// # Errors
/// What is no record of `key=value`.
pub(super) fn option(text: &str, default: (&str, &str)) -> Result<BuildOption, CommandError> {
    let fields = csv::fields(text).map_err(CommandError::Said)?;
    if let [word] = fields.as_slice()
        && !word.contains('=')
    {
        let attributes = HashMap::from([(default.1.to_owned(), word.clone())]);
        return Ok(BuildOption { kind: default.0.to_owned(), attributes });
    }
    let mut option = BuildOption::default();
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            return said(format!("invalid value {field}: expected key=value"));
        };
        match key.to_lowercase().as_str() {
            "type" => value.clone_into(&mut option.kind),
            key => drop(option.attributes.insert(key.to_owned(), value.to_owned())),
        }
    }
    if option.kind.is_empty() {
        return said(format!("type is required in {text:?}"));
    }
    Ok(option)
}

/// All outputs; without any, an image with the daemon.
///
/// # Errors
/// An output that makes no sense, or two that this end would have to keep.
pub(super) fn of(flags: &BuildFlags) -> Result<Vec<BuildOutput>, CommandError> {
    let mut outputs = flags.outputs.iter().map(|text| one(text)).collect::<Result<Vec<_>, _>>()?;
    if flags.push && flags.load && outputs.is_empty() {
        outputs.push(image("moby"));
    }
    if flags.push {
        let is_empty = outputs.is_empty();
        match outputs.iter_mut().find(|output| is_image(output)) {
            Some(output) => drop(output.option.attributes.insert("push".to_owned(), "true".to_owned())),
            None if is_empty => outputs.push(pushed(image("moby"))),
            None => return said("push and this output are not possible together"),
        }
    }
    if outputs.is_empty() {
        outputs.push(image("moby"));
    }
    let names = flags.tags.join(",");
    for output in &mut outputs {
        if !names.is_empty() && !matches!(output.option.kind.as_str(), "local" | "tar") {
            output.option.attributes.entry("name".to_owned()).or_insert_with(|| names.clone());
        }
        for text in &flags.annotations {
            output.option.attributes.extend(annotation(text)?);
        }
    }
    if outputs.iter().filter(|output| output.target != OutputTarget::Daemon).count() > 1 {
        return said("more than one output of this machine (local, tar, docker, oci with dest) is not built");
    }
    Ok(outputs)
}

// `[KIND[PLATFORM][,KIND…]:]KEY=VALUE` as the attributes of an output: which documents carry it, and what.
fn annotation(text: &str) -> Result<Vec<(String, String)>, CommandError> {
    let invalid = || CommandError::Said(format!("invalid annotation {text:?}: expected [kind:]key=value"));
    let (head, value) = text.split_once('=').ok_or_else(invalid)?;
    let is_kind = |word: &str| {
        let kind = word.split('[').next().unwrap_or_default();
        matches!(kind, "manifest" | "index" | "manifest-descriptor" | "index-descriptor")
    };
    let (kinds, key) = match head.split_once(':') {
        Some((kinds, key)) if kinds.split(',').all(is_kind) => (kinds, key),
        _ => ("manifest", head),
    };
    if key.is_empty() {
        return Err(invalid());
    }
    Ok(kinds.split(',').map(|kind| (format!("annotation-{kind}.{key}"), value.to_owned())).collect())
}

fn is_image(output: &BuildOutput) -> bool {
    matches!(output.option.kind.as_str(), "moby" | "image") && output.target == OutputTarget::Daemon
}

fn image(kind: &str) -> BuildOutput {
    BuildOutput {
        option: BuildOption { kind: kind.to_owned(), attributes: HashMap::new() },
        target: OutputTarget::Daemon,
    }
}

fn pushed(mut output: BuildOutput) -> BuildOutput {
    output.option.attributes.insert("push".to_owned(), "true".to_owned());
    output
}

fn one(text: &str) -> Result<BuildOutput, CommandError> {
    // A word alone is a directory; `-` a tar on standard output.
    let mut option = option(text, ("local", "dest"))?;
    if option.kind == "local" && option.attributes.get("dest").is_some_and(|dest| dest == "-") {
        option.kind = "tar".to_owned();
    }
    let dest = option.attributes.remove("dest");
    let target = match (option.kind.as_str(), dest) {
        ("local", None) => return said("dest is required for local output"),
        ("local", Some(dest)) => OutputTarget::Directory(PathBuf::from(dest)),
        ("docker", None) => {
            option.kind = "moby".to_owned();
            OutputTarget::Daemon
        }
        ("image" | "moby", _) => {
            option.kind = "moby".to_owned();
            OutputTarget::Daemon
        }
        ("registry", _) => {
            option.kind = "moby".to_owned();
            option.attributes.insert("push".to_owned(), "true".to_owned());
            OutputTarget::Daemon
        }
        ("tar" | "oci", None) => return to_stdout(option),
        ("tar" | "oci" | "docker", Some(dest)) if dest == "-" => return to_stdout(option),
        ("tar" | "oci" | "docker", Some(dest)) => OutputTarget::File(PathBuf::from(dest)),
        (other, _) => {
            return said(format!("invalid output type {other:?}: expected image, registry, docker, oci, tar or local"));
        }
    };
    Ok(BuildOutput { option, target })
}

fn to_stdout(option: BuildOption) -> Result<BuildOutput, CommandError> {
    if crate::terminal::stdout_is_terminal() {
        return said("dest is required when standard output is a terminal");
    }
    Ok(BuildOutput { option, target: OutputTarget::Stdout })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outputs: &[&str], tags: &[&str], push: bool, expected: &str) {
        let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let flags = BuildFlags { outputs: all(outputs), tags: all(tags), push, ..BuildFlags::default() };
        let shown = |output: BuildOutput| {
            let mut attributes: Vec<_> =
                output.option.attributes.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
            attributes.sort();
            format!("{} {} {:?}", output.option.kind, attributes.join(" "), output.target)
        };
        let got = match of(&flags) {
            Ok(outputs) => outputs.into_iter().map(shown).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{outputs:?}");
    }

    #[test]
    fn annotations_go_to_the_documents_that_they_name() {
        let check = |text: &str, expected: &str| {
            let got = match annotation(text) {
                Ok(all) => all.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expected);
        };
        check("a.b=c=d", "annotation-manifest.a.b=c=d");
        check("index,manifest[linux/arm64]:a=b", "annotation-index.a=b annotation-manifest[linux/arm64].a=b");
        check("urn:a=b", "annotation-manifest.urn:a=b");
        check("index:=b", "invalid annotation \"index:=b\": expected [kind:]key=value");
        check("a", "invalid annotation \"a\": expected [kind:]key=value");
    }

    #[test]
    fn results_go_where_they_are_wanted() {
        check(&[], &["a", "b:1"], false, "moby name=a,b:1 Daemon");
        check(&["out"], &["a"], false, "local  Directory(\"out\")");
        check(&["type=tar,dest=x.tar"], &[], false, "tar  File(\"x.tar\")");
        check(&["type=registry"], &["h/a"], false, "moby name=h/a push=true Daemon");
        check(&["type=image,name=x"], &["h/a"], true, "moby name=x push=true Daemon");
        check(&[], &["h/a"], true, "moby name=h/a push=true Daemon");
        check(&["type=docker,dest=x.tar"], &["a"], false, "docker name=a File(\"x.tar\")");
        check(
            &["type=odd"],
            &[],
            false,
            "invalid output type \"odd\": expected image, registry, docker, oci, tar or local",
        );
        check(&["type=local"], &[], false, "dest is required for local output");
        check(
            &["x", "type=tar,dest=y"],
            &[],
            false,
            "more than one output of this machine (local, tar, docker, oci with dest) is not built",
        );
    }
}
