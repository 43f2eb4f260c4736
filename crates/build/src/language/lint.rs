//! Build checks: what a Dockerfile says that is legal and still likely not meant. Rules have Docker's names.
//!
//! `# check=skip=RULE,…` (or `skip=all`) silences them, `# check=error=true` makes them errors.

use std::collections::{BTreeMap, BTreeSet};

use hako_archive::Ignore;

use super::{
    error::{SyntaxError, suggest},
    instruction::{Command, Dockerfile, Instruction, Kind},
    word::expand,
};
use crate::outline::{comment_above, description};

/// Something that is likely not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    pub text: String,
    /// First and last line of the instruction.
    pub lines: (usize, usize),
    words: String,
}

/// What `# check=` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckWish {
    skip: Vec<String>,
    /// Rules that are asked for by name only.
    experimental: Vec<String>,
    /// Findings fail the build.
    pub error: bool,
}

impl CheckWish {
    /// Reads the directive: `skip=A,B;error=true`.
    pub fn parse(text: &str) -> Self {
        let mut wish = Self::default();
        for part in text.split(';') {
            match part.trim().split_once('=') {
                Some(("skip", rules)) => wish.skip = rules.split(',').map(|rule| rule.trim().to_owned()).collect(),
                Some(("experimental", rules)) => {
                    wish.experimental = rules.split(',').map(|rule| rule.trim().to_owned()).collect();
                }
                Some(("error", value)) => wish.error = value.trim().eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        wish
    }

    fn tries(&self, rule: &str) -> bool {
        self.experimental.iter().any(|one| one == "all" || one.eq_ignore_ascii_case(rule))
    }

    fn skips(&self, rule: &str) -> bool {
        self.skip.iter().any(|skip| skip == "all" || skip.eq_ignore_ascii_case(rule))
    }
}

impl Finding {
    /// The finding with the lines around it, for people.
    pub fn shown(&self, name: &str, source: &str) -> String {
        let place = SyntaxError::new(self.lines, "").words(self.words.clone());
        format!("WARNING: {}\n{}\n{}", self.rule, self.text, place.excerpt(name, source))
    }

    /// The finding for programs.
    pub(crate) fn json(&self, source: &str) -> serde_json::Value {
        let line = self.line(source);
        serde_json::json!({
            "ruleName": self.rule,
            "description": "",
            "detail": self.text,
            "location": { "ranges": [{ "start": { "line": line }, "end": { "line": line } }] },
        })
    }

    /// The line that the finding is about.
    pub fn line(&self, source: &str) -> usize {
        SyntaxError::new(self.lines, "").words(self.words.clone()).place(source).0
    }
}

/// Looks up the environment of an image.
pub type Environments<'a> = &'a dyn Fn(&str) -> Option<Vec<String>>;

/// What is known beside the Dockerfile.
#[derive(Default, Clone, Copy)]
pub struct Around<'a> {
    /// The text of the file, for its comments.
    pub source: &'a str,
    /// What `.dockerignore` leaves out.
    pub ignore: Option<&'a Ignore>,
    /// The environment of an image; `None` where it is not known, and then nothing is said about its variables.
    pub environment: Option<Environments<'a>>,
}

/// All findings, in the order of the file.
pub fn lint(file: &Dockerfile, around: Around<'_>) -> Vec<Finding> {
    let wish = file.directives.check.as_deref().map(CheckWish::parse).unwrap_or_default();
    let mut lint = Lint::default();
    lint.casing(file);
    lint.stages(file);
    for instruction in &file.instructions {
        lint.instruction(instruction);
    }
    lint.variables(file);
    lint.bases(file);
    lint.undefined(file, around);
    if let Some(ignore) = around.ignore {
        lint.ignored(file, ignore);
    }
    if wish.tries("InvalidDefinitionDescription") {
        lint.descriptions(file, around.source);
    }
    for (line, text) in &file.warnings {
        lint.found.push(Finding {
            rule: "NoEmptyContinuation",
            text: text.clone(),
            lines: (*line, *line),
            words: String::new(),
        });
    }
    let mut found = lint.found;
    found.retain(|finding| !wish.skips(finding.rule));
    found.sort_by_key(|finding| finding.lines);
    found
}

#[derive(Default)]
struct Lint {
    found: Vec<Finding>,
    /// The stages that say which shell they want, and the one that is being read.
    shells: BTreeSet<String>,
    stage: String,
    chose_shell: bool,
}

fn keyword(instruction: &Instruction) -> &str {
    instruction.original.split_whitespace().next().unwrap_or_default()
}

fn rest(instruction: &Instruction) -> &str {
    instruction.original.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim())
}

impl Lint {
    fn add(&mut self, rule: &'static str, instruction: &Instruction, words: &str, text: String) {
        self.found.push(Finding { rule, text, lines: instruction.lines, words: words.to_owned() });
    }

    // Keywords in one way throughout: that of most of them.
    fn casing(&mut self, file: &Dockerfile) {
        let is_upper = |word: &str| word.chars().all(char::is_uppercase);
        let is_lower = |word: &str| word.chars().all(char::is_lowercase);
        let words = || file.instructions.iter().map(keyword);
        let lower = words().filter(|word| is_lower(word)).count() > words().filter(|word| is_upper(word)).count();
        for instruction in &file.instructions {
            let word = keyword(instruction);
            let fits = if lower { is_lower(word) } else { is_upper(word) };
            if !fits {
                let wanted = if lower { "lowercase" } else { "uppercase" };
                let text = format!("Command '{word}' should match the case of the command majority ({wanted})");
                self.add("ConsistentInstructionCasing", instruction, word, text);
            }
        }
    }

    fn stages(&mut self, file: &Dockerfile) {
        let mut names = BTreeSet::new();
        let mut last: BTreeMap<&str, &Instruction> = BTreeMap::new();
        for instruction in &file.instructions {
            match &instruction.kind {
                Kind::From { name, platform, .. } => {
                    last.clear();
                    self.from(instruction, name.as_deref(), platform.as_deref(), &mut names);
                }
                Kind::Cmd(_) | Kind::Entrypoint(_) | Kind::HealthCheck(_) => {
                    let word = match &instruction.kind {
                        Kind::Cmd(_) => "CMD",
                        Kind::Entrypoint(_) => "ENTRYPOINT",
                        _ => "HEALTHCHECK",
                    };
                    if let Some(before) = last.insert(word, instruction) {
                        let text = format!(
                            "Multiple {word} instructions should not be used in the same stage because only the last one will be used"
                        );
                        self.add("MultipleInstructionsDisallowed", before, keyword(before), text);
                    }
                }
                _ => {}
            }
        }
    }

    fn from(
        &mut self,
        instruction: &Instruction,
        name: Option<&str>,
        platform: Option<&str>,
        names: &mut BTreeSet<String>,
    ) {
        let words: Vec<&str> = instruction.original.split_whitespace().collect();
        // As it was typed: names are kept in lower case.
        let typed = words.last().copied().unwrap_or_default();
        if let Some(name) = name {
            if typed.chars().any(char::is_uppercase) {
                self.add("StageNameCasing", instruction, typed, format!("Stage name '{typed}' should be lowercase"));
            }
            if matches!(name, "scratch" | "context") {
                let text = format!("Stage name should not use the same name as reserved stage: '{name}' is reserved");
                self.add("ReservedStageName", instruction, typed, text);
            }
            if !names.insert(name.to_owned()) {
                let text = format!("Duplicate stage name '{name}', stage names should be unique");
                self.add("DuplicateStageName", instruction, typed, text);
            }
            let between = words.len().checked_sub(2).and_then(|at| words.get(at)).copied().unwrap_or_default();
            let upper = |word: &str| word.chars().all(char::is_uppercase);
            if upper(between) != upper(keyword(instruction)) {
                let text = format!("'{between}' and '{}' keywords' casing do not match", keyword(instruction));
                self.add("FromAsCasing", instruction, between, text);
            }
        }
        match platform {
            Some("$TARGETPLATFORM" | "${TARGETPLATFORM}") => {
                let text = format!(
                    "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                    platform.unwrap_or_default()
                );
                self.add("RedundantTargetPlatform", instruction, platform.unwrap_or_default(), text);
            }
            // A stage whose name says its platform is meant to be for it alone.
            Some(constant) if !constant.contains('$') && !name.is_some_and(|name| names_platform(name, constant)) => {
                let text = format!("FROM --platform flag should not use constant value \"{constant}\"");
                self.add("FromPlatformFlagConstDisallowed", instruction, constant, text);
            }
            _ => {}
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        match &instruction.kind {
            Kind::From { image, name, .. } => {
                self.stage = name.clone().unwrap_or_default();
                self.chose_shell = self.shells.contains(&image.to_lowercase());
            }
            Kind::Shell(_) => self.chose_shell = true,
            // Whoever names a shell means it.
            Kind::Cmd(Command::Shell(_)) | Kind::Entrypoint(Command::Shell(_)) if !self.chose_shell => {
                let word = keyword(instruction).to_uppercase();
                let text = format!(
                    "JSON arguments recommended for {word} to prevent unintended behavior related to OS signals"
                );
                self.add("JSONArgsRecommended", instruction, rest(instruction), text);
            }
            Kind::Maintainer(_) => {
                let text = "Maintainer instruction is deprecated in favor of using label".to_owned();
                self.add("MaintainerDeprecated", instruction, keyword(instruction), text);
            }
            Kind::Env(pairs) => {
                self.legacy(instruction, pairs.len());
                pairs.iter().for_each(|(name, _)| self.secret(instruction, name));
            }
            Kind::Label(pairs) => self.legacy(instruction, pairs.len()),
            Kind::Arg(pairs) => pairs.iter().for_each(|(name, _)| self.secret(instruction, name)),
            Kind::Expose(words) => words.iter().for_each(|word| self.port(instruction, word)),
            _ => {}
        }
        if self.chose_shell {
            self.shells.insert(self.stage.clone());
        }
    }

    fn legacy(&mut self, instruction: &Instruction, pairs: usize) {
        let first = rest(instruction).split_whitespace().next().unwrap_or_default();
        if pairs == 1 && !first.contains('=') {
            let word = keyword(instruction).to_uppercase();
            let text = format!("\"{word} key=value\" should be used instead of legacy \"{word} key value\" format");
            self.add("LegacyKeyValueFormat", instruction, first, text);
        }
    }

    fn secret(&mut self, instruction: &Instruction, name: &str) {
        const WORDS: &[&str] =
            &["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
        let lower = name.to_lowercase();
        let mut parts = lower.split('_');
        if parts.any(|part| WORDS.contains(&part)) && !lower.contains("public") {
            let word = keyword(instruction).to_uppercase();
            let text = format!("Do not use ARG or ENV instructions for sensitive data ({word} \"{name}\")");
            self.add("SecretsUsedInArgOrEnv", instruction, name, text);
        }
    }

    fn port(&mut self, instruction: &Instruction, word: &str) {
        if word.contains('$') {
            return;
        }
        let (port, protocol) = word.split_once('/').unwrap_or((word, ""));
        if port.contains(':') {
            let text =
                format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
            self.add("ExposeInvalidFormat", instruction, word, text);
        }
        if protocol.chars().any(char::is_uppercase) {
            let text = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.add("ExposeProtoCasing", instruction, word, text);
        }
    }

    // Variables that nothing declares, where the base's own environment cannot have them; and relative directories.
    fn variables(&mut self, file: &Dockerfile) {
        let mut globals: BTreeSet<String> = BTreeSet::new();
        let mut directory_is_known = false;
        let mut in_stage = false;
        for instruction in &file.instructions {
            match &instruction.kind {
                Kind::Arg(pairs) if !in_stage => globals.extend(pairs.iter().map(|(name, _)| name.clone())),
                Kind::From { image, .. } => {
                    in_stage = true;
                    directory_is_known = false;
                    for name in names_in(image).filter(|name| !globals.contains(*name) && !is_predefined(name)) {
                        let meant = suggest(name, globals.iter().map(String::as_str));
                        let meant = meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
                        let text = format!("FROM argument '{name}' is not declared{meant}");
                        self.add("UndefinedArgInFrom", instruction, name, text);
                    }
                }
                Kind::Workdir(path) if path.starts_with('/') || path.starts_with('$') => directory_is_known = true,
                Kind::Workdir(path) if !directory_is_known => {
                    let text =
                        format!("Relative workdir {path:?} can have unexpected results if the base image changes");
                    self.add("WorkdirRelativePath", instruction, path, text);
                }
                _ => {}
            }
        }
    }
}

impl Lint {
    // Names of images that are none unless somebody gives an argument.
    fn bases(&mut self, file: &Dockerfile) {
        let defaults = defaults(file);
        for instruction in &file.instructions {
            let Kind::From { image, .. } = &instruction.kind else { continue };
            // Names that nothing declares are another rule's.
            if !names_in(image).any(|name| defaults.contains_key(name)) {
                continue;
            }
            let base = base_name(file, &defaults, image);
            if base.is_some_and(|name| name.parse::<hako_model::Reference>().is_err()) {
                let text = format!("Default value for ARG {image} results in empty or invalid base image name");
                self.add("InvalidDefaultArgInFrom", instruction, image, text);
            }
        }
    }

    // Variables that nothing declares. What a shell replaces is the shell's business.
    fn undefined(&mut self, file: &Dockerfile, around: Around<'_>) {
        let mut stages: Vec<(Option<String>, Option<BTreeSet<String>>)> = Vec::new();
        // What the present stage knows; nothing where its base is not known.
        let mut known: Option<BTreeSet<String>> = None;
        let mut of_environment: Option<BTreeSet<String>> = None;
        let defaults = defaults(file);
        for instruction in &file.instructions {
            if let Kind::From { image, name, .. } = &instruction.kind {
                let lower = image.to_lowercase();
                let earlier = stages.iter().rev().find(|(name, _)| name.as_deref() == Some(lower.as_str()));
                let base = match earlier {
                    Some((_, environment)) => environment.clone(),
                    None if image == "scratch" => Some(BTreeSet::from(["PATH".to_owned()])),
                    None => environment_of(around, base_name(file, &defaults, image)).map(|entries| {
                        let names = entries.iter().filter_map(|entry| entry.split('=').next().map(str::to_owned));
                        names.chain(["PATH".to_owned()]).collect()
                    }),
                };
                stages.push((name.clone(), base.clone()));
                (known, of_environment) = (base.clone(), base);
                continue;
            }
            let Some(names) = &mut known else { continue };
            for text in expanded(&instruction.kind) {
                for name in variables_of(&text) {
                    if names.contains(&name) {
                        continue;
                    }
                    let meant = suggest(&name, names.iter().map(String::as_str));
                    let meant = meant.map(|meant| format!(" (did you mean ${meant}?)")).unwrap_or_default();
                    let text = format!("Usage of undefined variable '${name}'{meant}");
                    self.add("UndefinedVar", instruction, &name, text);
                }
            }
            match &instruction.kind {
                Kind::Arg(pairs) => names.extend(pairs.iter().map(|(name, _)| name.clone())),
                Kind::Env(pairs) => {
                    names.extend(pairs.iter().map(|(name, _)| name.clone()));
                    if let (Some(all), Some((_, kept))) = (&mut of_environment, stages.last_mut()) {
                        all.extend(pairs.iter().map(|(name, _)| name.clone()));
                        *kept = Some(all.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn ignored(&mut self, file: &Dockerfile, ignore: &Ignore) {
        for instruction in &file.instructions {
            let Kind::Copy(copy) = &instruction.kind else { continue };
            let is_here = |source: &&String| !source.contains(['$', '*', '?', '[']) && !source.contains("://");
            for source in copy.sources.iter().filter(is_here).filter(|_| copy.flags.from.is_none()) {
                let parts: Vec<&str> = source.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
                let path = parts.join("/");
                if !path.is_empty() && ignore.excluded_by(&path).is_some() && !ignore.may_return_below(&path) {
                    let text = format!("Attempting to Copy file {source:?} that is excluded by .dockerignore");
                    self.add("CopyIgnoredFile", instruction, source, text);
                }
            }
        }
    }

    fn descriptions(&mut self, file: &Dockerfile, source: &str) {
        for instruction in &file.instructions {
            let names: Vec<&str> = match &instruction.kind {
                Kind::From { name: Some(name), .. } => vec![name],
                Kind::Arg(pairs) => pairs.iter().map(|(name, _)| name.as_str()).collect(),
                _ => continue,
            };
            let line = instruction.lines.0;
            let Some(comment) = comment_above(source, line).filter(|comment| !comment.is_empty()) else { continue };
            let is_directive = ["syntax=", "escape=", "check="].iter().any(|start| comment.starts_with(start));
            if !is_directive && !names.iter().any(|name| description(source, line, name).is_some()) {
                let kind = if matches!(instruction.kind, Kind::Arg(_)) { "arg" } else { "stage" };
                let text = format!(
                    "Comment for build {} should follow the format: `# <{kind} name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
                    if kind == "arg" { "argument" } else { "stage" }
                );
                self.add("InvalidDefinitionDescription", instruction, keyword(instruction), text);
            }
        }
    }
}

// Arguments before the first stage: those that are declared, with their defaults.
fn defaults(file: &Dockerfile) -> BTreeMap<String, Option<String>> {
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    for instruction in &file.instructions {
        let Kind::Arg(pairs) = &instruction.kind else { break };
        for (name, value) in pairs {
            let value = value.as_ref().and_then(|value| base_name(file, &found, value));
            found.insert(name.clone(), value);
        }
    }
    found
}

// A text of `FROM` with the defaults for its variables.
fn base_name(file: &Dockerfile, defaults: &BTreeMap<String, Option<String>>, text: &str) -> Option<String> {
    let value = |name: &str| match defaults.get(name) {
        Some(default) => default.clone(),
        None => is_predefined(name).then(|| "x".to_owned()),
    };
    expand(text, file.directives.escape, &value).ok()
}

fn environment_of(around: Around<'_>, image: Option<String>) -> Option<Vec<String>> {
    around.environment.and_then(|look| look(&image?))
}

// The texts of an instruction in which variables are replaced.
fn expanded(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Arg(pairs) => pairs.iter().filter_map(|(_, value)| value.clone()).collect(),
        Kind::Env(pairs) | Kind::Label(pairs) => pairs.iter().map(|(_, value)| value.clone()).collect(),
        Kind::Copy(copy) => {
            let flags = [&copy.flags.from, &copy.flags.chown, &copy.flags.chmod].into_iter().flatten().cloned();
            copy.sources.iter().cloned().chain([copy.target.clone()]).chain(flags).collect()
        }
        Kind::Workdir(text) | Kind::User(text) | Kind::StopSignal(text) => vec![text.clone()],
        Kind::Volume(texts) | Kind::Expose(texts) => texts.clone(),
        _ => Vec::new(),
    }
}

// Names of variables outside of single quotes, not escaped, and without a default of their own.
fn variables_of(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let (mut single, mut double, mut escaped) = (false, false, false);
    for letter in text.chars() {
        match letter {
            '\\' if !single && !escaped => {
                escaped = true;
                continue;
            }
            '\'' if !double && !escaped => single = !single,
            '"' if !single && !escaped => double = !double,
            '$' if single || escaped => {}
            other => plain.push(other),
        }
        escaped = false;
    }
    names_in(&plain).map(str::to_owned).collect()
}

fn names_platform(name: &str, platform: &str) -> bool {
    platform.split('/').any(|part| name.contains(part))
}

fn is_predefined(name: &str) -> bool {
    name.starts_with("TARGET") || name.starts_with("BUILD")
}

// The variables in a text, without those that bring a default of their own.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).filter_map(|after| {
        let inner = after.strip_prefix('{').unwrap_or(after);
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let has_default = after.starts_with('{') && inner[end..].starts_with([':', '-', '+']);
        (end > 0 && !has_default).then_some(&inner[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let environment = |image: &str| (image == "known").then(|| vec!["HOME=/".to_owned()]);
        let ignore = Ignore::of(["*.log"]).unwrap();
        let around = Around { source: text, ignore: Some(&ignore), environment: Some(&environment) };
        let found = lint(&Dockerfile::parse(text).unwrap(), around);
        let shown: Vec<String> = found.iter().map(|one| format!("{} {}", one.line(text), one.rule)).collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn variables_that_nothing_declares_are_found() {
        check("FROM known\nARG A=1\nENV B=$A C=${D:-x} E='$F' G=\\$H\nCOPY $HOME $PAHT /\nRUN $x", &["4 UndefinedVar"]);
        check("FROM scratch AS a\nENV A=1\nFROM a\nWORKDIR /$A\nARG B=$C", &["5 UndefinedVar"]);
        // Nothing is known of what it has.
        check("FROM unknown\nWORKDIR $X", &[]);
        check("ARG T\nFROM a:$T", &["2 InvalidDefaultArgInFrom"]);
        check("ARG T\nFROM a:${T:-1}", &[]);
        check("ARG T\nFROM a:1$T", &[]);
        check("FROM a\nCOPY x/a.log b.log c /", &["2 CopyIgnoredFile"]);
        check("# check=experimental=all\n\n# odd\nFROM a AS b\n# A is it\nARG A", &["4 InvalidDefinitionDescription"]);
    }

    #[test]
    fn what_is_likely_not_meant_is_found() {
        check("FROM a AS Base\nCMD [\"x\"]", &["1 StageNameCasing"]);
        check("FROM a as b\nfrom c\nRUN d", &["1 FromAsCasing", "2 ConsistentInstructionCasing"]);
        check("FROM a AS b\nFROM c AS b\nFROM d AS scratch", &["2 DuplicateStageName", "3 ReservedStageName"]);
        check("FROM a\nCMD x\nCMD [\"y\"]", &["2 MultipleInstructionsDisallowed", "2 JSONArgsRecommended"]);
        check("FROM a AS b\nSHELL [\"x\"]\nFROM b\nCMD y\nFROM c\nCMD z", &["6 JSONArgsRecommended"]);
        check("FROM a\nENTRYPOINT x\nMAINTAINER me", &["2 JSONArgsRecommended", "3 MaintainerDeprecated"]);
        check("FROM a\nENV k v\nENV A=1 B=2\nLABEL l=1", &["2 LegacyKeyValueFormat"]);
        check("FROM a\nARG DB_PASSWORD\nENV PUBLIC_KEY=1 MONKEY=2", &["2 SecretsUsedInArgOrEnv"]);
        check("FROM a\nEXPOSE 80 127.0.0.1:80:80 81/TCP", &["2 ExposeInvalidFormat", "2 ExposeProtoCasing"]);
        check("ARG VERSION=1\nFROM a:$VERSON\nFROM b:${X:-1}", &["2 UndefinedArgInFrom"]);
        check("FROM a\nWORKDIR b\nWORKDIR /c\nWORKDIR d", &["2 WorkdirRelativePath"]);
        check(
            "FROM --platform=linux/amd64 a\nFROM --platform=$TARGETPLATFORM b",
            &["1 FromPlatformFlagConstDisallowed", "2 RedundantTargetPlatform"],
        );
        check("FROM a\nRUN x \\\n\n  y", &["3 NoEmptyContinuation"]);
        check("# check=skip=all\nFROM a AS B", &[]);
        check("# check=skip=StageNameCasing;error=true\nFROM a AS B", &[]);
    }
}
