//! `--output`: where the result goes.

use std::{collections::HashMap, path::PathBuf};

use hako_client::build::{BuildOption, BuildOutput, OutputTarget};

use super::BuildFlags;
use crate::{builder::site::Site, error::CommandError, parse::csv};

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

/// Who has an image when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    /// The daemon, which builds itself.
    Daemon,
    /// Nobody: images are pushed, or loaded into the daemon if that is said. `loads`: if nothing is said, too.
    Nobody { loads: bool },
}

impl Keeper {
    pub(super) fn of(site: &Site) -> Self {
        if site.is_daemon() { Self::Daemon } else { Self::Nobody { loads: site.loads() } }
    }

    // The kind of an image that the builder itself has.
    fn image(self) -> &'static str {
        if self == Self::Daemon { "moby" } else { "image" }
    }
}

/// All outputs; without any, an image with the daemon if it builds, and nothing if another builder does.
///
/// # Errors
/// An output that makes no sense, or two that this end would have to keep.
pub(super) fn of(flags: &BuildFlags, keeper: Keeper) -> Result<Vec<BuildOutput>, CommandError> {
    let mut outputs = flags.outputs.iter().map(|text| one(text, keeper)).collect::<Result<Vec<_>, _>>()?;
    let image = || image(keeper.image());
    match keeper {
        Keeper::Daemon if flags.push && flags.load && outputs.is_empty() => outputs.push(image()),
        Keeper::Nobody { loads } => {
            let is_loaded = outputs.iter().any(|output| output.target == OutputTarget::Load);
            if (flags.load || (loads && outputs.is_empty() && !flags.push)) && !is_loaded {
                outputs.push(loaded(HashMap::new()));
            }
        }
        Keeper::Daemon => {}
    }
    if flags.push {
        let is_alone = outputs.iter().all(|output| output.target == OutputTarget::Load);
        match outputs.iter_mut().find(|output| is_image(output)) {
            Some(output) => drop(output.option.attributes.insert("push".to_owned(), "true".to_owned())),
            None if is_alone => outputs.push(pushed(image())),
            None => return said("push and this output are not possible together"),
        }
    }
    if outputs.is_empty() && keeper == Keeper::Daemon {
        outputs.push(image());
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
    if outputs.iter().filter(|output| output.target == OutputTarget::Stdout).count() > 1 {
        return said("standard output takes one output: give the others a dest");
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
    matches!(output.option.kind.as_str(), "moby" | "image") && output.target == OutputTarget::Builder
}

fn image(kind: &str) -> BuildOutput {
    BuildOutput {
        option: BuildOption { kind: kind.to_owned(), attributes: HashMap::new() },
        target: OutputTarget::Builder,
    }
}

fn pushed(mut output: BuildOutput) -> BuildOutput {
    output.option.attributes.insert("push".to_owned(), "true".to_owned());
    output
}

// A tar that comes here and goes on to the daemon.
fn loaded(attributes: HashMap<String, String>) -> BuildOutput {
    BuildOutput { option: BuildOption { kind: "docker".to_owned(), attributes }, target: OutputTarget::Load }
}

fn one(text: &str, keeper: Keeper) -> Result<BuildOutput, CommandError> {
    // A word alone is a directory; `-` a tar on standard output.
    let mut option = option(text, ("local", "dest"))?;
    if option.kind == "local" && option.attributes.get("dest").is_some_and(|dest| dest == "-") {
        option.kind = "tar".to_owned();
    }
    let dest = option.attributes.remove("dest");
    let target = match (option.kind.as_str(), dest) {
        ("local", None) => return said("dest is required for local output"),
        ("local", Some(dest)) => OutputTarget::Directory(PathBuf::from(dest)),
        ("docker", None) if keeper != Keeper::Daemon => return Ok(loaded(option.attributes)),
        ("docker", None) => {
            option.kind = "moby".to_owned();
            OutputTarget::Builder
        }
        ("image" | "moby", _) => {
            keeper.image().clone_into(&mut option.kind);
            OutputTarget::Builder
        }
        ("registry", _) => {
            keeper.image().clone_into(&mut option.kind);
            option.attributes.insert("push".to_owned(), "true".to_owned());
            OutputTarget::Builder
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

    fn flags(outputs: &[&str], tags: &[&str], push: bool) -> BuildFlags {
        let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        BuildFlags { outputs: all(outputs), tags: all(tags), push, ..BuildFlags::default() }
    }

    fn check(outputs: &[&str], tags: &[&str], push: bool, expected: &str) {
        check_with(flags(outputs, tags, push), Keeper::Daemon, expected);
    }

    fn check_with(flags: BuildFlags, keeper: Keeper, expected: &str) {
        let shown = |output: BuildOutput| {
            let mut attributes: Vec<_> =
                output.option.attributes.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
            attributes.sort();
            format!("{} {} {:?}", output.option.kind, attributes.join(" "), output.target)
        };
        let got = match of(&flags, keeper) {
            Ok(outputs) => outputs.into_iter().map(shown).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{:?}", flags.outputs);
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
        check(&[], &["a", "b:1"], false, "moby name=a,b:1 Builder");
        check(&["out"], &["a"], false, "local  Directory(\"out\")");
        check(&["type=tar,dest=x.tar"], &[], false, "tar  File(\"x.tar\")");
        check(&["type=registry"], &["h/a"], false, "moby name=h/a push=true Builder");
        check(&["type=image,name=x"], &["h/a"], true, "moby name=x push=true Builder");
        check(&[], &["h/a"], true, "moby name=h/a push=true Builder");
        check(&["type=docker,dest=x.tar"], &["a"], false, "docker name=a File(\"x.tar\")");
        check(
            &["type=odd"],
            &[],
            false,
            "invalid output type \"odd\": expected image, registry, docker, oci, tar or local",
        );
        check(&["type=local"], &[], false, "dest is required for local output");
        check(&["x", "type=tar,dest=y"], &[], false, "local  Directory(\"x\"); tar  File(\"y\")");
        check(&["-", "type=oci,dest=-"], &[], false, "standard output takes one output: give the others a dest");
    }

    #[test]
    fn what_another_builder_makes_goes_where_it_is_told() {
        let nobody = Keeper::Nobody { loads: false };
        let check = |flags: BuildFlags, expected: &str| check_with(flags, nobody, expected);
        check(flags(&[], &["a"], false), "");
        check(BuildFlags { load: true, ..flags(&[], &["a"], false) }, "docker name=a Load");
        check(flags(&["type=docker"], &["a"], false), "docker name=a Load");
        check(flags(&["type=registry"], &["h/a"], false), "image name=h/a push=true Builder");
        check(flags(&[], &["h/a"], true), "image name=h/a push=true Builder");
        check(
            BuildFlags { load: true, ..flags(&[], &["h/a"], true) },
            "docker name=h/a Load; image name=h/a push=true Builder",
        );
        check_with(flags(&[], &["a"], false), Keeper::Nobody { loads: true }, "docker name=a Load");
        check_with(flags(&["out"], &["a"], false), Keeper::Nobody { loads: true }, "local  Directory(\"out\")");
    }
}
