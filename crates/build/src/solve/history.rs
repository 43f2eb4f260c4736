//! How instructions are spelled in histories and progress.

use hako_model::HealthSpec;

use crate::{
    error::BuildError,
    language::{Command, Copy, Instruction, Kind},
};

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

/// A list as Go prints it: quoted words without commas.
pub(crate) fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| serde_json::to_string(word).unwrap_or_default()).collect();
    format!("[{}]", words.join(" "))
}

/// What was copied, with every variable replaced.
pub(crate) fn copy(copy: &Copy, expand: &dyn Fn(&str) -> Result<String, BuildError>) -> Result<String, BuildError> {
    let mut words = vec![if copy.is_add { "ADD" } else { "COPY" }.to_owned()];
    for (flag, value) in [("chown", &copy.flags.chown), ("chmod", &copy.flags.chmod)] {
        if let Some(value) = value {
            words.push(format!("--{flag}={}", expand(value)?));
        }
    }
    for source in &copy.sources {
        words.push(expand(source)?);
    }
    words.extend(copy.documents.iter().map(|document| format!("<<{}", document.name)));
    words.push(expand(&copy.target)?);
    Ok(words.join(" "))
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
