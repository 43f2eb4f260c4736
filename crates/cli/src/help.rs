//! Help: one screen for the whole, for a group and for a command, in the layout Docker's users know.
//!
//! Flags are wrapped to the terminal's width, or to 80 columns where there is none.

use crate::{
    command::Shape,
    commands::{self, GROUPS},
    flag::{Flag, FlagSet},
    terminal,
};

/// Below this a description is put on a line of its own.
const TEXT_WIDTH_MIN: usize = 24;

/// The usage line of a command.
pub(crate) fn usage(program: &str, path: &str, shape: &Shape) -> String {
    let gap = if shape.usage.is_empty() { "" } else { " " };
    format!("Usage:  {program} {path}{gap}{}\n", shape.usage)
}

/// A command's help.
pub(crate) fn command(program: &str, path: &str, shape: &Shape, set: &FlagSet<'_>) -> String {
    let mut text = format!("{}\n{}\n", usage(program, path, shape), shape.about);
    if shape.paths.len() > 1 {
        let names: Vec<String> = shape.paths.iter().map(|path| format!("{program} {path}")).collect();
        text.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let options = options(set.flags(), terminal::columns_for_help());
    if !options.is_empty() {
        text.push_str("\nOptions:\n");
        text.push_str(&options);
    }
    text
}

/// The flags of a command, one a line, sorted by name.
pub(crate) fn options(flags: &[Flag<'_>], width: usize) -> String {
    let mut flags: Vec<&Flag<'_>> = flags.iter().filter(|flag| !flag.hidden).collect();
    flags.sort_by_key(|flag| flag.name());
    let left: Vec<String> = flags.iter().map(|flag| left_column(flag)).collect();
    let indent = left.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut text = String::new();
    for (flag, left) in flags.iter().zip(&left) {
        text.push_str(left);
        let (column, gap) = if width < indent + TEXT_WIDTH_MIN {
            text.push('\n');
            (16, 16)
        } else {
            (indent, indent - left.len())
        };
        text.extend(std::iter::repeat_n(' ', gap));
        text.push_str(&wrap(flag.help, column, width));
        text.push('\n');
    }
    text
}

fn left_column(flag: &Flag<'_>) -> String {
    let lead = if flag.spec.starts_with("--") { "      " } else { "  " };
    match flag.kind_name() {
        "" => format!("{lead}{}", flag.spec),
        kind => format!("{lead}{} {kind}", flag.spec),
    }
}

// Later lines begin at `indent`; line ends in the text stay.
fn wrap(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(TEXT_WIDTH_MIN);
    let mut wrapped = String::new();
    for (at, paragraph) in text.split('\n').enumerate() {
        if at > 0 {
            wrapped.push('\n');
            wrapped.extend(std::iter::repeat_n(' ', indent));
        }
        let mut used = 0;
        for word in paragraph.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > room {
                wrapped.push('\n');
                wrapped.extend(std::iter::repeat_n(' ', indent));
                used = 0;
            } else if used > 0 {
                wrapped.push(' ');
                used += 1;
            }
            wrapped.push_str(word);
            used += length;
        }
    }
    wrapped
}

/// A group's help: `hako image --help`.
pub(crate) fn group(program: &str, name: &str, about: &str) -> String {
    let mut text = format!("Usage:  {program} {name} COMMAND\n\n{about}\n\nCommands:\n");
    let mut members: Vec<(&str, &str)> = commands::all()
        .filter_map(|entry| {
            let first = entry.shape.paths.iter().find_map(|path| path.strip_prefix(name)?.strip_prefix(' '))?;
            Some((first, entry.shape.about))
        })
        .collect();
    members.sort_unstable();
    text.push_str(&list(&members));
    text.push_str(&format!("\nRun '{program} {name} COMMAND --help' for more information on a command.\n"));
    text
}

/// The help of the whole: `hako --help`. Commands of plugins bear a star.
pub(crate) fn top(program: &str, globals: &FlagSet<'_>, plugins: &[(String, String)]) -> String {
    let mut text =
        format!("Usage:  {program} [OPTIONS] COMMAND\n\nContainers, images, networks and volumes of this machine\n");
    let about = |name: &str| commands::find(name).map(|entry| entry.shape.about);
    let common: Vec<(&str, &str)> =
        commands::COMMON.iter().filter_map(|name| about(name).map(|about| (*name, about))).collect();
    text.push_str(&format!("\nCommon Commands:\n{}", list(&common)));
    let mut groups: Vec<(&str, &str)> = GROUPS.to_vec();
    groups.extend(plugins.iter().map(|(name, about)| (name.as_str(), about.as_str())));
    groups.sort_unstable();
    text.push_str(&format!("\nManagement Commands:\n{}", list(&groups)));
    // For those who learn the new names: no second ones of what a group has.
    let hide = std::env::var("DOCKER_HIDE_LEGACY_COMMANDS").is_ok_and(|value| !value.is_empty());
    let mut others: Vec<(&str, &str)> = commands::all()
        .filter(|entry| !(hide && entry.shape.paths.iter().any(|path| path.contains(' '))))
        .flat_map(|entry| entry.shape.paths.iter().map(|path| (*path, entry.shape.about)))
        .filter(|(path, _)| !path.contains(' ') && !commands::COMMON.contains(path))
        .collect();
    others.sort_unstable();
    text.push_str(&format!("\nCommands:\n{}", list(&others)));
    text.push_str(&format!("\nGlobal Options:\n{}", options(globals.flags(), terminal::columns_for_help())));
    text.push_str(&format!("\nRun '{program} COMMAND --help' for more information on a command.\n"));
    text
}

fn list(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(9) + 2;
    rows.iter().map(|(name, about)| format!("  {name:width$}{about}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_wrapped_under_themselves() {
        let (mut size, mut all) = (String::new(), false);
        let mut set = FlagSet::default();
        set.add(&mut size, "--size", "How large the thing may become before it is refused");
        set.add(&mut all, "-a, --all", "All of them");
        let expected = "  -a, --all           All of them\n      --size string   How large the thing may\n                      become before it is\n                      refused\n";
        assert_eq!(options(set.flags(), 47), expected);
    }
}
