//! How instructions are spelled in histories and progress.

use hako_model::HealthSpec;

use crate::language::{Command, Instruction, Kind};

/// Whether an instruction may make files; the others only change the configuration.
pub(crate) fn makes_files(kind: &Kind) -> bool {
    matches!(kind, Kind::From { .. } | Kind::Run { .. } | Kind::Copy(_) | Kind::Workdir(_))
}

/// An instruction as progress shows it.
pub(crate) fn title(instruction: &Instruction) -> String {
    let text = instruction.original.split_whitespace().collect::<Vec<_>>().join(" ");
    let (keyword, rest) = text.split_once(' ').unwrap_or((&text, ""));
    format!("{} {rest}", keyword.to_uppercase()).trim_end().to_owned()
}

/// A command in the form that histories have.
pub(crate) fn command(command: &Command, shell: &[String]) -> String {
    match command {
        Command::Shell(text) => format!("{} {text}", shell.join(" ")),
        Command::Exec(words) => words.join(" "),
    }
}

/// A list as JSON.
pub(crate) fn list(words: &[String]) -> String {
    serde_json::to_string(words).unwrap_or_default()
}

/// A health check as histories have it.
pub(crate) fn health(health: &HealthSpec) -> String {
    match health.test.split_first() {
        Some((kind, words)) if kind != "NONE" => format!("HEALTHCHECK CMD {}", words.join(" ")),
        _ => "HEALTHCHECK NONE".to_owned(),
    }
}
