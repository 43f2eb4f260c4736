//! `cargo x tidy`: keeps the invariants of ARCHITECTURE.md and the house rules of CONTRIBUTING.md.
//!
//! Each rule is a file with a pure function from the tree to complaints, and a unit test with a sample that must fail.
//! A complaint starts with `path:line:`, so that editors can jump there.

mod advisories; // docs/security-advisories.md names tests that exist
mod attributes; // lints are silenced with `expect` and a reason
mod code; // Rust text with strings and comments blanked out
mod functions; // a function fits one screen
mod heads; // every file says what lives in it, and fits one sitting
mod layers; // imports go down the table of ARCHITECTURE.md
mod places; // no path of one machine, no drawer names
pub(crate) mod routes; // every endpoint that is built has a handler, a client method and a test
pub(crate) mod rows; // what users expect, row by row, and the test of each
mod sleeps; // waiting is for an event, by a deadline
mod unsafety; // `unsafe` lives in `sys`, and says why it is sound

use std::{fs, path::Path};

use crate::run;

/// One text file of the tree.
pub(crate) struct Source {
    /// Relative to the checkout, with `/`.
    path: String,
    text: String,
    /// `text` with strings and comments blanked out, for Rust; the same lines, the same columns.
    code: String,
}

/// All text files of the checkout that a person wrote.
pub(crate) struct Tree {
    sources: Vec<Source>,
}

type Rule = fn(&Tree) -> Vec<String>;

const RULES: &[Rule] = &[
    heads::heads,
    heads::sizes,
    functions::lengths,
    layers::layers,
    unsafety::unsafety,
    sleeps::sleeps,
    attributes::attributes,
    places::drawers,
    places::machines,
    routes::routes,
    advisories::advisories,
    rows::rows,
];

pub(crate) fn tidy(_: &[String]) -> Result<(), String> {
    let tree = Tree::read(&run::root())?;
    let complaints: Vec<String> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        count => Err(format!("{count} to mend")),
    }
}

impl Tree {
    fn read(root: &Path) -> Result<Self, String> {
        let mut sources = Vec::new();
        collect(root, root, &mut sources).map_err(|error| format!("cannot read the checkout: {error}"))?;
        sources.sort_by(|left: &Source, right| left.path.cmp(&right.path));
        Ok(Self { sources })
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        Self { sources: files.iter().map(|(path, text)| Source::new((*path).to_owned(), (*text).to_owned())).collect() }
    }

    fn rust(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.path.ends_with(".rs"))
    }

    fn get(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let code = if path.ends_with(".rs") { code::only(&text) } else { text.clone() };
        Self { path, text, code }
    }

    /// The lines of code that contain `word` as a whole word, numbered from 1.
    fn lines_with_word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        self.code.lines().zip(1..).filter(move |(line, _)| has_word(line, word)).map(|(line, number)| (number, line))
    }
}

fn has_word(line: &str, word: &str) -> bool {
    let inside = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next()))
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == ".git" || name == "Cargo.lock" || name.starts_with("target") {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(root, &path, sources)?;
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            sources.push(Source::new(relative, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_whole() {
        assert!(has_word("thread::sleep(x)", "sleep"));
        assert!(!has_word("asleep(x)", "sleep"));
        assert!(!has_word("sleep_ms(x)", "sleep"));
    }
}
