//! What a Dockerfile can be asked for without building it: its targets, and the parameters of one (`--call`). Pure.
//!
//! Descriptions are comments that stand right above a `FROM` or an `ARG` and begin with its name.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    language::{Dockerfile, Instruction, Kind, Mount, MountKind},
    plan::Plan,
};

/// An answer, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) json: String,
}

#[derive(Debug, Serialize)]
struct Outline {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Needed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Needed>,
    sources: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Argument {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    location: Location,
}

#[derive(Debug, Serialize)]
struct Needed {
    name: String,
    #[serde(skip_serializing_if = "is_false")]
    required: bool,
    location: Location,
}

#[derive(Debug, Serialize)]
struct Targets {
    targets: Vec<Target>,
    sources: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "is_false")]
    default: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    base: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    platform: String,
    location: Location,
}

/// Where it stands: lines from 1, in the first of the sources.
#[derive(Debug, Clone, Serialize)]
struct Location {
    ranges: Vec<Range>,
}

#[derive(Debug, Clone, Serialize)]
struct Range {
    start: Line,
    end: Line,
}

#[derive(Debug, Clone, Serialize)]
struct Line {
    line: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn place(instruction: &Instruction) -> Location {
    let (first, last) = instruction.lines;
    Location { ranges: vec![Range { start: Line { line: first }, end: Line { line: last } }] }
}

/// Bytes as Go's JSON has them.
pub(crate) fn in_base64(source: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(source)
}

/// The comment right above an instruction, if it begins with this name: what stands after it.
pub(crate) fn description(source: &str, line: usize, name: &str) -> Option<String> {
    let above = comment_above(source, line)?;
    let (first, rest) = above.split_once(char::is_whitespace)?;
    (!name.is_empty() && first.eq_ignore_ascii_case(name)).then(|| rest.trim().to_owned())
}

/// The comment on the line above.
pub(crate) fn comment_above(source: &str, line: usize) -> Option<&str> {
    let above = source.lines().nth(line.checked_sub(2)?)?;
    above.trim().strip_prefix('#').map(str::trim)
}

/// All stages that can be built.
pub(crate) fn targets(plan: &Plan, source: &str) -> Answer {
    let last = plan.stages.len().saturating_sub(1);
    let mut targets = Vec::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        let Kind::From { image, platform, .. } = &stage.from.kind else { continue };
        let name = stage.name.clone().unwrap_or_default();
        targets.push(Target {
            description: description(source, stage.from.lines.0, &name).unwrap_or_default(),
            name,
            default: index == last,
            base: image.clone(),
            platform: platform.clone().unwrap_or_default(),
            location: place(&stage.from),
        });
    }
    let rows = targets.iter().enumerate().map(|(index, target)| {
        let name = if target.name.is_empty() { index.to_string() } else { target.name.clone() };
        let name = if target.default { format!("{name} (default)") } else { name };
        vec![name, target.description.clone()]
    });
    let text = table(&["TARGET", "DESCRIPTION"], rows);
    let sources = vec![in_base64(source)];
    let json = serde_json::to_string_pretty(&Targets { targets, sources }).unwrap_or_default();
    Answer { text, json }
}

/// What the target takes: arguments, secrets, agents.
pub(crate) fn outline(file: &Dockerfile, plan: &Plan, source: &str) -> Answer {
    let target = &plan.stages[plan.target];
    let name = target.name.clone().unwrap_or_default();
    let mut found = Found::default();
    let is_global = |instruction: &&Instruction| instruction.lines.0 < plan.stages[0].from.lines.0;
    for instruction in file.instructions.iter().filter(is_global) {
        found.instruction(instruction, source);
    }
    for index in &plan.needed {
        for instruction in &plan.stages[*index].instructions {
            found.instruction(instruction, source);
        }
    }
    let outline = Outline {
        description: description(source, target.from.lines.0, &name).unwrap_or_default(),
        name,
        args: found.arguments,
        secrets: found.secrets.into_values().collect(),
        ssh: found.agents.into_values().collect(),
        sources: vec![in_base64(source)],
    };
    let json = serde_json::to_string_pretty(&outline).unwrap_or_default();
    Answer { text: outline.text(), json }
}

#[derive(Default)]
struct Found {
    arguments: Vec<Argument>,
    secrets: BTreeMap<String, Needed>,
    agents: BTreeMap<String, Needed>,
}

impl Found {
    fn instruction(&mut self, instruction: &Instruction, source: &str) {
        match &instruction.kind {
            Kind::Arg(pairs) => {
                for (name, value) in pairs {
                    let description = description(source, instruction.lines.0, name).unwrap_or_default();
                    match self.arguments.iter_mut().find(|known| known.name == *name) {
                        // Named again in a stage: it is the same argument.
                        Some(known) if value.is_none() => {
                            if known.description.is_empty() {
                                known.description = description;
                            }
                        }
                        Some(known) => known.value = value.clone().unwrap_or_default(),
                        None => self.arguments.push(Argument {
                            name: name.clone(),
                            description,
                            value: value.clone().unwrap_or_default(),
                            location: place(instruction),
                        }),
                    }
                }
            }
            Kind::Run { flags, .. } => {
                for mount in flags.mounts.iter().filter_map(|text| Mount::parse(text).ok()) {
                    self.mount(instruction, mount);
                }
            }
            _ => {}
        }
    }

    fn mount(&mut self, instruction: &Instruction, mount: Mount) {
        let (known, name) = match mount.kind {
            MountKind::Secret => {
                let named = mount.target.rsplit('/').next().unwrap_or_default().to_owned();
                (&mut self.secrets, mount.id.unwrap_or(named))
            }
            MountKind::Ssh => (&mut self.agents, mount.id.unwrap_or_else(|| "default".to_owned())),
            _ => return,
        };
        let needed = known.entry(name.clone());
        needed.or_insert_with(|| Needed { name, required: false, location: place(instruction) }).required |=
            mount.required;
    }
}

impl Outline {
    fn text(&self) -> String {
        let mut text = String::new();
        if !self.name.is_empty() || !self.description.is_empty() {
            let name = if self.name.is_empty() { "(default)" } else { &self.name };
            let _ = writeln!(text, "TARGET:      {name}");
            if !self.description.is_empty() {
                let _ = writeln!(text, "DESCRIPTION: {}", self.description);
            }
            text.push('\n');
        }
        if !self.args.is_empty() {
            let rows = self.args.iter().map(|one| vec![one.name.clone(), one.value.clone(), one.description.clone()]);
            text += &table(&["BUILD ARG", "VALUE", "DESCRIPTION"], rows);
            text.push('\n');
        }
        for (title, needed) in [("SECRET", &self.secrets), ("SSH", &self.ssh)] {
            if !needed.is_empty() {
                let shown = |one: &Needed| if one.required { "true".to_owned() } else { String::new() };
                text += &table(&[title, "REQUIRED"], needed.iter().map(|one| vec![one.name.clone(), shown(one)]));
                text.push('\n');
            }
        }
        text
    }
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut all = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for row in &all {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        let _ = writeln!(text, "{}", cells.join("   ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hako_model::Platform;

    use super::*;
    use crate::plan::{Wishes, plan};

    const SOURCE: &str = "# VERSION of the compiler\nARG VERSION=1\n# build makes the program\nFROM a:$VERSION AS build\n\
                          ARG DEBUG\nRUN --mount=type=secret,id=key,required=true --mount=type=ssh make\nFROM b AS unused\n\
                          ARG OTHER\n# not a description\nFROM scratch\nCOPY --from=build /x /\n";

    fn read() -> (Dockerfile, Plan) {
        let file = Dockerfile::parse(SOURCE).unwrap();
        let platform = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        let (arguments, images) = (BTreeMap::new(), BTreeMap::new());
        let contexts = BTreeSet::new();
        let wishes = Wishes { arguments: &arguments, target: None, platform: &platform, contexts, images: &images };
        let made = plan(&file, &wishes).unwrap();
        (file, made)
    }

    #[test]
    fn targets_are_listed() {
        let answer = targets(&read().1, SOURCE);
        expect_test::expect![[r"
            TARGET        DESCRIPTION
            build         makes the program
            unused
            2 (default)
        "]]
        .assert_eq(&answer.text);
        assert!(answer.json.contains("\"default\": true"), "{}", answer.json);
    }

    #[test]
    fn what_a_target_takes_is_told() {
        let (file, plan) = read();
        let answer = outline(&file, &plan, SOURCE);
        expect_test::expect![[r"
            BUILD ARG   VALUE   DESCRIPTION
            VERSION     1       of the compiler
            DEBUG

            SECRET   REQUIRED
            key      true

            SSH       REQUIRED
            default

        "]]
        .assert_eq(&answer.text);
        assert!(!answer.json.contains("OTHER\","), "{}", answer.json);
    }
}
