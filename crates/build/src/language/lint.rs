//! Build checks: what a Dockerfile says that is legal and still likely not meant. Rules have Docker's names.
//!
//! `# check=skip=RULE,…` (or `skip=all`) silences them, `# check=error=true` makes them errors.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::{SyntaxError, suggest},
    instruction::{Command, Dockerfile, Instruction, Kind},
};

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
                Some(("error", value)) => wish.error = value.trim().eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        wish
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

    /// The line that the finding is about.
    pub fn line(&self, source: &str) -> usize {
        SyntaxError::new(self.lines, "").words(self.words.clone()).place(source).0
    }
}

/// All findings, in the order of the file.
pub fn lint(file: &Dockerfile) -> Vec<Finding> {
    let wish = file.directives.check.as_deref().map(CheckWish::parse).unwrap_or_default();
    let mut lint = Lint { found: Vec::new() };
    lint.casing(file);
    lint.stages(file);
    for instruction in &file.instructions {
        lint.instruction(instruction);
    }
    lint.variables(file);
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

struct Lint {
    found: Vec<Finding>,
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
            Kind::Cmd(Command::Shell(_)) | Kind::Entrypoint(Command::Shell(_)) => {
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
        let found = lint(&Dockerfile::parse(text).unwrap());
        let shown: Vec<String> = found.iter().map(|one| format!("{} {}", one.line(text), one.rule)).collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn what_is_likely_not_meant_is_found() {
        check("FROM a AS Base\nCMD [\"x\"]", &["1 StageNameCasing"]);
        check("FROM a as b\nfrom c\nRUN d", &["1 FromAsCasing", "2 ConsistentInstructionCasing"]);
        check("FROM a AS b\nFROM c AS b\nFROM d AS scratch", &["2 DuplicateStageName", "3 ReservedStageName"]);
        check("FROM a\nCMD x\nCMD [\"y\"]", &["2 MultipleInstructionsDisallowed", "2 JSONArgsRecommended"]);
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
