//! What a command is, and how a line of words becomes one that runs.
//!
//! Every command is a struct of its flags' values with a [`Shape`] that says what it is called; the
//! table in `commands` lists them all. Nothing is built but the flags of the one command that runs.

use std::{future::Future, pin::Pin};

use crate::{
    context::Context,
    error::CommandError,
    flag::{FlagError, FlagSet},
    help,
};

/// How a command is called.
pub(crate) struct Shape {
    /// Every way to call it, the long one first: `container ls`, `ps`.
    pub paths: &'static [&'static str],
    /// What follows the name in its usage line.
    pub usage: &'static str,
    /// One sentence about what it does.
    pub about: &'static str,
    /// How many words it takes besides flags.
    pub arguments: Arguments,
    /// Whether flags may follow the first word (not where that word begins another command).
    pub interspersed: bool,
}

/// How many words a command takes besides its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arguments {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

impl Arguments {
    fn complaint(self, given: usize) -> Option<String> {
        let words = |count: usize| if count == 1 { "argument" } else { "arguments" };
        match self {
            Self::None if given > 0 => Some("accepts no arguments".to_owned()),
            Self::Exactly(count) if given != count => Some(format!("requires {count} {}", words(count))),
            Self::AtLeast(count) if given < count => Some(format!("requires at least {count} {}", words(count))),
            Self::AtMost(count) if given > count => Some(format!("requires at most {count} {}", words(count))),
            Self::Between(least, most) if !(least..=most).contains(&given) => {
                Some(format!("requires at least {least} and at most {most} {}", words(most)))
            }
            _ => None,
        }
    }
}

/// A command: its fields are its flags.
pub(crate) trait Command: Default {
    /// How it is called.
    const SHAPE: &'static Shape;

    /// Binds the fields to flags.
    fn flags<'a>(&'a mut self, _set: &mut FlagSet<'a>) {}

    /// Does it.
    fn run(self, cx: &mut Context, words: Vec<String>) -> impl Future<Output = Result<(), CommandError>>;
}

type Running<'c> = Pin<Box<dyn Future<Output = Result<(), CommandError>> + 'c>>;

type ShowFlags = fn(&mut dyn FnMut(&FlagSet<'_>));

/// One row of the table of commands.
pub(crate) struct Entry {
    pub shape: &'static Shape,
    pub run: for<'c> fn(&'c mut Context, &'c str, Vec<String>) -> Running<'c>,
    /// Shows the command's flags to somebody, for help and completion.
    pub show_flags: ShowFlags,
}

/// The table's row for a command.
pub(crate) const fn entry<C: Command>() -> Entry {
    Entry { shape: C::SHAPE, run: run::<C>, show_flags: show_flags::<C> }
}

fn show_flags<C: Command>(show: &mut dyn FnMut(&FlagSet<'_>)) {
    let mut command = C::default();
    let mut set = FlagSet::default();
    command.flags(&mut set);
    show(&set);
}

fn run<'c, C: Command>(cx: &'c mut Context, path: &'c str, words: Vec<String>) -> Running<'c> {
    Box::pin(async move {
        let mut command = C::default();
        let mut set = FlagSet::default();
        command.flags(&mut set);
        let mut dry_run = false;
        // All of Compose's commands have this flag, as docker compose's have.
        if C::SHAPE.paths[0].starts_with("compose ") {
            set.add(&mut dry_run, "--dry-run", "Tell what would be done, and do nothing");
        }
        let words = match set.parse(&words, C::SHAPE.interspersed) {
            Ok(words) => words,
            Err(FlagError::Help) => return cx.print(&help::command(cx.program, path, C::SHAPE, &set)),
            Err(error) => return Err(flag_error(cx.program, path, C::SHAPE, &error)),
        };
        drop(set);
        cx.compose.dry_run |= dry_run;
        cx.path = path.to_owned();
        if let Some(complaint) = C::SHAPE.arguments.complaint(words.len()) {
            return Err(argument_error(cx.program, path, C::SHAPE, &complaint));
        }
        command.run(cx, words).await
    })
}

// Scripts tell a wrong flag (125) from a wrong number of words (1).
fn flag_error(program: &str, path: &str, shape: &Shape, error: &FlagError) -> CommandError {
    let hint = match error {
        FlagError::Unknown { suggestion: Some(name), .. } => Some(format!("Did you mean --{name}?")),
        FlagError::UnknownShort { meant: Some(meant), .. } => Some(format!("Did you mean {meant}?")),
        FlagError::Invalid { text, .. } if text.ends_with(',') => {
            Some("A space after a comma makes two words of it: type it without, or in quotes".to_owned())
        }
        _ => None,
    };
    CommandError::Usage {
        message: format!(
            "{error}\n\n{}\nRun '{program} {path} --help' for more information",
            help::usage(program, path, shape)
        ),
        hint,
        // As docker compose has it.
        code: if path.starts_with("compose ") { 16 } else { 125 },
    }
}

fn argument_error(program: &str, path: &str, shape: &Shape, complaint: &str) -> CommandError {
    // docker's two words: they are compared in transcripts.
    let verb = if matches!(shape.arguments, Arguments::AtLeast(_)) { "See" } else { "Run" };
    CommandError::Usage {
        message: format!(
            "{program}: '{program} {path}' {complaint}\n\n{}\n{verb} '{program} {path} --help' for more information",
            help::usage(program, path, shape)
        ),
        hint: None,
        code: 1,
    }
}
