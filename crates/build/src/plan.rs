//! From a Dockerfile to stages: which there are, what each stands on, which of them are needed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hako_model::{Platform, PlatformError};

use crate::{
    error::BuildError,
    language::{self, Dockerfile, Instruction, Kind, Mount, SyntaxError},
};

/// The stages of a file, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub stages: Vec<Stage>,
    /// The stage whose image is wanted.
    pub target: usize,
    /// The stages that are needed for it, itself included.
    pub needed: BTreeSet<usize>,
    /// `ARG`s before the first `FROM`, with their values.
    pub globals: BTreeMap<String, String>,
    pub escape: char,
    /// Build arguments that no instruction takes.
    pub unused: Vec<String>,
}

impl Plan {
    /// That of a build without a Dockerfile.
    pub(crate) fn none() -> Self {
        let (stages, needed, globals) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Self { stages, target: 0, needed, globals, escape: '\\', unused: Vec::new() }
    }
}

/// One stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    pub name: Option<String>,
    pub base: Base,
    pub platform: Option<Platform>,
    /// The `FROM` line.
    pub from: Instruction,
    pub instructions: Vec<Instruction>,
}

/// What a stage stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    Scratch,
    Stage(usize),
    Image(String),
    /// A context that was named so.
    Context(String),
}

/// What the plan needs to know of the request.
#[derive(Debug, Clone)]
pub struct Wishes<'w> {
    pub arguments: &'w BTreeMap<String, Option<String>>,
    pub target: Option<&'w str>,
    pub platform: &'w Platform,
    pub contexts: BTreeSet<String>,
    /// Images that stand for a name.
    pub images: &'w BTreeMap<String, String>,
}

/// Arguments that exist without an `ARG`.
pub(crate) const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Plans a build.
///
/// # Errors
/// An instruction before the first `FROM`, a stage that there is none of, a variable that cannot be replaced.
pub fn plan(file: &Dockerfile, wishes: &Wishes<'_>) -> Result<Plan, SyntaxError> {
    let escape = file.directives.escape;
    let mut globals = platform_arguments(wishes);
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in &file.instructions {
        match (&instruction.kind, stages.last_mut()) {
            (Kind::From { .. }, _) => {
                let stage = stage(instruction, &stages, &globals, wishes, escape)?;
                stages.push(stage);
            }
            (Kind::Arg(arguments), None) => {
                for (name, default) in arguments {
                    let given = wishes.arguments.get(name).cloned().flatten();
                    let value = match (given, default) {
                        (Some(value), _) => Some(value),
                        (None, Some(default)) => Some(expand(instruction, default, &globals, escape)?),
                        (None, None) => None,
                    };
                    if let Some(value) = value {
                        globals.insert(name.clone(), value);
                    }
                }
            }
            (_, Some(stage)) => stage.instructions.push(instruction.clone()),
            (_, None) => {
                let word = instruction.original.split_whitespace().next().unwrap_or_default();
                let error = SyntaxError::new(instruction.lines, "no build stage in current context");
                return Err(error.bare().words(word).hint("the first instruction is FROM (or ARG)"));
            }
        }
    }
    if stages.is_empty() {
        return Err(SyntaxError::new((1, 1), "no build stage in current context").bare());
    }
    let target = target(&stages, wishes.target)?;
    if let Some(Stage { name, .. }) = stages.get_mut(target) {
        globals.insert("TARGETSTAGE".to_owned(), name.clone().unwrap_or_else(|| "default".to_owned()));
    }
    let needed = needed(&stages, target);
    let unused = unused(file, wishes);
    Ok(Plan { stages, target, needed, globals, escape, unused })
}

fn platform_arguments(wishes: &Wishes<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (prefix, platform) in [("TARGET", wishes.platform), ("BUILD", &Platform::host())] {
        // The build machine's variant goes without saying.
        let variant = platform.variant.clone().unwrap_or_default();
        found.insert(format!("{prefix}PLATFORM"), platform_text(platform));
        found.insert(format!("{prefix}OS"), platform.os.clone());
        found.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        found.insert(format!("{prefix}VARIANT"), variant);
        found.insert(format!("{prefix}OSVERSION"), String::new());
    }
    found
}

/// `linux/arm/v7`
pub(crate) fn platform_text(platform: &Platform) -> String {
    let variant = platform.variant.as_ref().filter(|variant| !(platform.architecture == "arm64" && *variant == "v8"));
    let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

fn expand(
    instruction: &Instruction,
    text: &str,
    values: &BTreeMap<String, String>,
    escape: char,
) -> Result<String, SyntaxError> {
    language::expand(text, escape, &|name| values.get(name).cloned()).map_err(|error| {
        SyntaxError::new(instruction.lines, format!("failed to process {text:?}: {error}")).words(text)
    })
}

fn stage(
    instruction: &Instruction,
    stages: &[Stage],
    globals: &BTreeMap<String, String>,
    wishes: &Wishes<'_>,
    escape: char,
) -> Result<Stage, SyntaxError> {
    let Kind::From { image, platform, name } = &instruction.kind else {
        return Err(SyntaxError::new(instruction.lines, "no build stage in current context"));
    };
    let base = expand(instruction, image, globals, escape)?;
    if base.is_empty() {
        let error = SyntaxError::new(instruction.lines, format!("base name ({image}) should not be blank"));
        return Err(error.words(image.clone()).hint("give the variable a default, or a value with --build-arg"));
    }
    let platform = match platform {
        Some(text) => {
            let text = expand(instruction, text, globals, escape)?;
            let read =
                text.parse().map_err(|error: PlatformError| SyntaxError::new(instruction.lines, error.to_string()));
            Some(read?)
        }
        None => None,
    };
    let lower = base.to_lowercase();
    let earlier = stages.iter().rposition(|stage| stage.name.as_deref() == Some(lower.as_str()));
    let base = match earlier {
        _ if wishes.contexts.contains(&lower) => Base::Context(lower),
        _ if wishes.images.contains_key(&lower) => Base::Image(wishes.images[&lower].clone()),
        Some(index) => Base::Stage(index),
        None if base == "scratch" => Base::Scratch,
        None => Base::Image(base),
    };
    Ok(Stage { name: name.clone(), base, platform, from: instruction.clone(), instructions: Vec::new() })
}

fn target(stages: &[Stage], wanted: Option<&str>) -> Result<usize, SyntaxError> {
    let last = stages.len() - 1;
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(last) };
    let lower = wanted.to_lowercase();
    let named = stages.iter().rposition(|stage| stage.name.as_deref() == Some(lower.as_str()));
    let numbered = || wanted.parse::<usize>().ok().filter(|index| *index <= last);
    named.or_else(numbered).ok_or_else(|| {
        let names = stages.iter().filter_map(|stage| stage.name.as_deref());
        let error = SyntaxError::new((1, 1), format!("target stage {wanted:?} could not be found")).bare();
        match language::suggest(wanted, names) {
            Some(name) => error.hint(format!("did you mean {name}?")),
            None => error,
        }
    })
}

/// Which stage or image a `--from` speaks of.
pub(crate) fn from_of(stages: &[Stage], current: usize, text: &str) -> Base {
    let lower = text.to_lowercase();
    let before = &stages[..current.min(stages.len())];
    if let Some(index) = before.iter().rposition(|stage| stage.name.as_deref() == Some(lower.as_str())) {
        return Base::Stage(index);
    }
    match text.parse::<usize>() {
        Ok(index) if index < current => Base::Stage(index),
        _ if text == "scratch" => Base::Scratch,
        _ => Base::Image(text.to_owned()),
    }
}

/// What an instruction reads besides what lies below it, as it stands there (variables not replaced).
pub(crate) fn sources(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        Kind::Copy(copy) => copy.flags.from.clone().into_iter().collect(),
        Kind::Run { flags, .. } => flags.mounts.iter().filter_map(|mount| Mount::parse(mount).ok()?.from).collect(),
        Kind::OnBuild(_) => Vec::new(),
        _ => Vec::new(),
    }
}

fn needed(stages: &[Stage], target: usize) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if !needed.insert(index) {
            continue;
        }
        let stage = &stages[index];
        if let Base::Stage(below) = stage.base {
            open.push(below);
        }
        for text in stage.instructions.iter().flat_map(sources) {
            if let Base::Stage(other) = from_of(stages, index, &text) {
                open.push(other);
            }
        }
    }
    needed
}

fn unused(file: &Dockerfile, wishes: &Wishes<'_>) -> Vec<String> {
    let declared: BTreeSet<&str> = file
        .instructions
        .iter()
        .filter_map(|instruction| match &instruction.kind {
            Kind::Arg(arguments) => Some(arguments.iter().map(|(name, _)| name.as_str())),
            _ => None,
        })
        .flatten()
        .collect();
    let known = |name: &str| {
        declared.contains(name)
            || PREDEFINED.contains(&name)
            || name.starts_with("BUILDKIT_")
            || name == "SOURCE_DATE_EPOCH"
    };
    wishes.arguments.keys().filter(|name| !known(name)).cloned().collect()
}

impl From<(SyntaxError, &str, &str)> for BuildError {
    fn from((error, name, source): (SyntaxError, &str, &str)) -> Self {
        let excerpt = error.excerpt(name, source);
        Self::Syntax { error, excerpt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, arguments: &[(&str, &str)], target: Option<&str>, expected: &str) {
        let file = Dockerfile::parse(text).unwrap();
        let arguments = arguments.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
        let platform = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        let wishes = Wishes {
            arguments: &arguments,
            target,
            platform: &platform,
            contexts: BTreeSet::new(),
            images: &BTreeMap::new(),
        };
        let got = match plan(&file, &wishes) {
            Ok(plan) => {
                let bases: Vec<String> = plan.stages.iter().map(|stage| format!("{:?}", stage.base)).collect();
                format!("{} target {} needs {:?} unused {:?}", bases.join(" "), plan.target, plan.needed, plan.unused)
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn stages_stand_on_each_other() {
        check(
            "ARG V=1\nFROM a:$V AS x\nFROM b AS unused\nFROM x\nCOPY --from=0 / /\nRUN --mount=from=c,target=/c true",
            &[],
            None,
            r#"Image("a:1") Image("b") Stage(0) target 2 needs {0, 2} unused []"#,
        );
        check(
            "FROM a AS x\nFROM b AS y",
            &[("Z", "1")],
            Some("X"),
            r#"Image("a") Image("b") target 0 needs {0} unused ["Z"]"#,
        );
        check("FROM scratch", &[], None, "Scratch target 0 needs {0} unused []");
    }

    #[test]
    fn mistakes() {
        check("RUN x", &[], None, "no build stage in current context");
        check("ARG A\nFROM $A", &[], None, "dockerfile parse error on line 2: base name ($A) should not be blank");
        check("FROM a AS web", &[], Some("wbe"), "target stage \"wbe\" could not be found");
    }
}
