//! `man DIRECTORY`: a manual page for every command, from the tables that commands and their help come from.
//!
//! The pages are roff of the `man(7)` macros: one for the program, one for each group, one for each command.

use std::{fs, path::Path};

use crate::{
    command::{Arguments, Command, Entry, Shape},
    commands::{self, GROUPS},
    context::Context,
    error::CommandError,
};

#[derive(Default)]
pub(crate) struct Manual;

impl Command for Manual {
    const SHAPE: &'static Shape = &Shape {
        paths: &["man"],
        usage: "DIRECTORY",
        about: "Write manual pages of all commands into a directory",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let directory = Path::new(&words[0]);
        let failed = || CommandError::local(format!("write manual pages to {}", directory.display()));
        fs::create_dir_all(directory).map_err(failed())?;
        for (name, text) in pages(cx.program) {
            fs::write(directory.join(name), text).map_err(failed())?;
        }
        Ok(())
    }
}

/// Every page: its file's name and its text.
fn pages(program: &str) -> Vec<(String, String)> {
    let mut pages = vec![(format!("{program}.1"), top(program))];
    pages.extend(GROUPS.iter().map(|(name, about)| (format!("{program}-{name}.1"), group(program, name, about))));
    for entry in commands::all() {
        let name = format!("{program}-{}", entry.shape.paths[0].replace(' ', "-"));
        pages.push((format!("{name}.1"), command(program, &name, entry)));
        // Other ways to call it lead to its page.
        for other in &entry.shape.paths[1..] {
            let file = format!("{program}-{}.1", other.replace(' ', "-"));
            pages.push((file, format!(".so man1/{name}.1\n")));
        }
    }
    pages
}

fn head(program: &str, name: &str, about: &str) -> String {
    format!(
        ".TH \"{}\" 1 \"\" \"hako {}\" \"{program} manual\"\n.SH NAME\n{} \\- {}\n",
        escape(&name.to_uppercase()),
        env!("CARGO_PKG_VERSION"),
        escape(name),
        escape(about)
    )
}

fn top(program: &str) -> String {
    let mut text = head(program, program, "containers, images, networks and volumes of this machine");
    text.push_str(&format!(".SH SYNOPSIS\n.B {program}\n[OPTIONS] COMMAND [ARG...]\n.SH COMMANDS\n"));
    let mut rows: Vec<(&str, &str)> = commands::all()
        .flat_map(|entry| entry.shape.paths.iter().map(|path| (*path, entry.shape.about)))
        .filter(|(path, _)| !path.contains(' '))
        .chain(GROUPS.iter().copied())
        .collect();
    rows.sort_unstable();
    for (path, about) in rows {
        text.push_str(&row(&format!("{program}-{path}"), about));
    }
    text
}

fn group(program: &str, name: &str, about: &str) -> String {
    let mut text = head(program, &format!("{program}-{name}"), about);
    text.push_str(&format!(".SH SYNOPSIS\n.B {program} {name}\nCOMMAND\n.SH COMMANDS\n"));
    for entry in commands::all() {
        let member = entry.shape.paths.iter().find(|path| path.starts_with(&format!("{name} ")));
        if let Some(path) = member {
            text.push_str(&row(&format!("{program}-{}", path.replace(' ', "-")), entry.shape.about));
        }
    }
    text
}

fn row(page: &str, about: &str) -> String {
    format!(".TP\n.BR {} (1)\n{}\n", escape(page), escape(about))
}

fn command(program: &str, name: &str, entry: &Entry) -> String {
    let shape = entry.shape;
    let mut text = head(program, name, shape.about);
    text.push_str(&format!(
        ".SH SYNOPSIS\n.B {program} {}\n{}\n.SH DESCRIPTION\n{}.\n",
        shape.paths[0],
        escape(shape.usage),
        escape(shape.about)
    ));
    let mut options = String::new();
    (entry.show_flags)(&mut |set| {
        for flag in set.flags().iter().filter(|flag| !flag.hidden) {
            let kind = flag.kind_name();
            let kind = if kind.is_empty() { String::new() } else { format!(" \\fI{}\\fR", escape(kind)) };
            options.push_str(&format!(".TP\n\\fB{}\\fR{kind}\n{}\n", escape(flag.spec), escape(flag.help)));
        }
    });
    if !options.is_empty() {
        text.push_str(&format!(".SH OPTIONS\n{options}"));
    }
    if shape.paths.len() > 1 {
        let others: Vec<String> = shape.paths[1..].iter().map(|path| format!("{program} {path}")).collect();
        text.push_str(&format!(".SH ALSO CALLED\n{}\n", escape(&others.join(", "))));
    }
    text.push_str(&format!(".SH SEE ALSO\n.BR {program} (1)\n"));
    text
}

/// Text in which roff sees nothing of its own.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages("hako");
        let find = |name: &str| &pages.iter().find(|(file, _)| file == name).unwrap().1;
        assert!(find("hako-container-ls.1").contains("\\fB\\-a, \\-\\-all\\fR\n"));
        assert_eq!(find("hako-ps.1"), ".so man1/hako-container-ls.1\n");
        assert!(find("hako-container.1").contains(".BR hako\\-container\\-ls (1)"));
        assert!(find("hako.1").contains("hako\\-run"));
        assert_eq!(commands::paths().count() + GROUPS.len() + 1, pages.len());
    }

    #[test]
    fn nothing_in_a_text_is_taken_for_a_macro() {
        assert_eq!(escape(".x a-b \\n"), "\\&.x a\\-b \\en");
    }
}
