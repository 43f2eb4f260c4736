//! What users of Docker expect, row by row, and the test that proves each: tests/rows/*.txt are the tables, and
//! docs/coverage holds the pages that are made of them (`cargo x rows`).
//!
//! ```text
//! # Log drivers                    the page's title
//! Words about it, for the page.
//! ## Reading                       a heading
//! `logs --tail` | logs::tail_takes_the_last_lines
//! `awslogs`     | not built: refused by name
//! ```
//!
//! A row names tests that there are (`file::function` of the black box, `crate/file::function` of a crate's own), or says `not built: …` or `no test: …` with the
//! reason. A page that differs from its table is refused, so that nobody edits the wrong one.

use std::{fmt::Write as _, fs};

use super::{Source, Tree, has_word};
use crate::run;

const TABLES: &str = "tests/rows/";
const PAGES: &str = "docs/coverage/";

/// Complaints about tables and their pages.
pub(super) fn rows(tree: &Tree) -> Vec<String> {
    let mut complaints: Vec<String> = tables(tree).flat_map(|table| check(tree, table)).collect();
    for (path, text) in pages(tree) {
        if tree.get(&path).is_none_or(|page| page.text != text) {
            complaints.push(format!("{path}:1: is not what its table says: run `cargo x rows`"));
        }
    }
    complaints
}

/// `cargo x rows`: writes the pages.
pub(crate) fn write(_: &[String]) -> Result<(), String> {
    let root = run::root();
    for (path, text) in pages(&Tree::read(&root)?) {
        let place = root.join(path);
        place.parent().map_or(Ok(()), fs::create_dir_all).map_err(|error| format!("cannot make {PAGES}: {error}"))?;
        fs::write(&place, text).map_err(|error| format!("cannot write {}: {error}", place.display()))?;
    }
    Ok(())
}

fn tables(tree: &Tree) -> impl Iterator<Item = &Source> {
    tree.sources.iter().filter(|source| source.path.starts_with(TABLES) && source.path.ends_with(".txt"))
}

/// What a row says of its proof.
enum Proof<'a> {
    Tests(Vec<&'a str>),
    /// None, and the row says why.
    None,
}

fn proof(text: &str) -> Option<Proof<'_>> {
    if ["not built: ", "no test: "].iter().any(|words| text.starts_with(words)) {
        return Some(Proof::None);
    }
    let tests: Vec<&str> = text.split_whitespace().collect();
    let named = !tests.is_empty() && tests.iter().all(|test| test.contains("::"));
    named.then_some(Proof::Tests(tests))
}

fn row(line: &str) -> Option<(&str, &str)> {
    line.rsplit_once(" | ").map(|(what, proof)| (what.trim(), proof.trim()))
}

fn check(tree: &Tree, table: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, number) in table.text.lines().zip(1..) {
        let Some((what, text)) = row(line) else { continue };
        let place = format!("{}:{number}", table.path);
        match proof(text) {
            None => complaints.push(format!("{place}: name the test of {what}, or say `not built: …` or `no test: …`")),
            Some(Proof::None) => {}
            Some(Proof::Tests(tests)) => {
                let missing = tests.iter().filter(|test| !exists(tree, test));
                complaints.extend(missing.map(|test| format!("{place}: there is no test {test}")));
            }
        }
    }
    complaints
}

/// `logs::tail` is a function in tests/it/logs.rs; `clients::x` one in tests/clients; `image/hostile::x` one in a
/// hostile.rs below crates/image/tests.
fn exists(tree: &Tree, test: &str) -> bool {
    let Some((file, function)) = test.split_once("::") else { return false };
    let declaration = format!("fn {function}");
    let declares = |source: &Source| source.code.lines().any(|line| has_word(line, &declaration));
    if let Some((name, file)) = file.split_once('/') {
        let (above, end) = (format!("crates/{name}/tests/"), format!("/{file}.rs"));
        let of_crate = |source: &&Source| source.path.starts_with(&above) && source.path.ends_with(&end);
        return tree.sources.iter().filter(of_crate).any(declares);
    }
    let (one, folder) = (format!("tests/it/{file}.rs"), format!("tests/{file}/"));
    let of_tests = |source: &&Source| source.path == one || source.path.starts_with(&folder);
    tree.sources.iter().filter(of_tests).any(declares)
}

/// The pages, by their paths: one for each table, and the one that counts.
fn pages(tree: &Tree) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut sums = String::new();
    for table in tables(tree) {
        let name = table.path.trim_start_matches(TABLES).trim_end_matches(".txt");
        let (title, text, [proved, open]) = page(&table.text);
        let _ = writeln!(sums, "| [{title}]({name}.md) | {proved} | {open} |");
        all.push((format!("{PAGES}{name}.md"), text));
    }
    if !all.is_empty() {
        let text = format!(
            "# Coverage, row by row\n\nWritten by `cargo x rows` from tests/rows; do not edit. `cargo x tidy` keeps it: \
             every test that is named exists.\nThe routes of the API are judged by failing them, in \
             [api-coverage.md](../api-coverage.md).\n\n| page | rows with a test | rows without |\n|---|---|---|\n{sums}"
        );
        all.push((format!("{PAGES}README.md"), text));
    }
    all
}

fn page(table: &str) -> (&str, String, [usize; 2]) {
    let (mut title, mut text, mut counts, mut in_table) = ("", String::new(), [0, 0], false);
    for line in table.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            title = name;
            let _ = write!(text, "# {name}\n\nWritten by `cargo x rows` from tests/rows; do not edit.\n\n");
            continue;
        }
        let Some((what, proved)) = row(line) else {
            in_table = false;
            let _ = writeln!(text, "{line}");
            continue;
        };
        if !std::mem::replace(&mut in_table, true) {
            text.push_str("| what | proved by |\n|---|---|\n");
        }
        let shown = match proof(proved) {
            Some(Proof::Tests(tests)) => {
                counts[0] += 1;
                tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(" ")
            }
            _ => {
                counts[1] += 1;
                proved.to_owned()
            }
        };
        let _ = writeln!(text, "| {what} | {shown} |");
    }
    (title, text, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: (&str, &str) = ("tests/it/logs.rs", "fn tail() {}\n");

    fn complaints(table: &str, page: &str) -> Vec<String> {
        let tree = Tree::of(&[TEST, ("tests/rows/logs.txt", table)]);
        let made = pages(&tree);
        let readme = made.last().map_or("", |(_, text)| text.as_str());
        let page = if page.is_empty() { made[0].1.as_str() } else { page };
        rows(&Tree::of(&[
            TEST,
            ("tests/rows/logs.txt", table),
            ("docs/coverage/logs.md", page),
            ("docs/coverage/README.md", readme),
        ]))
    }

    #[test]
    fn a_row_names_a_test_that_exists_or_says_why_not() {
        assert_eq!(complaints("# Logs\n`--tail` | logs::tail\n`x` | not built: refused by name\n", ""), [""; 0]);
        assert_eq!(
            complaints("# Logs\n`--tail` | logs::head\n", ""),
            ["tests/rows/logs.txt:2: there is no test logs::head"]
        );
        assert_eq!(complaints("# Logs\n`--tail` | by hand\n", "").len(), 1);
    }

    #[test]
    fn a_row_may_name_a_test_of_a_crate() {
        let tree = Tree::of(&[("crates/image/tests/it/hostile.rs", "fn climbs() {}\n")]);
        assert!(exists(&tree, "image/hostile::climbs"));
        assert!(!exists(&tree, "image/hostile::falls") && !exists(&tree, "volume/hostile::climbs"));
    }

    #[test]
    fn a_page_is_what_its_table_says() {
        let table = "# Logs\nWords.\n\n## Reading\n`--tail` | logs::tail\n";
        let expected = "# Logs\n\nWritten by `cargo x rows` from tests/rows; do not edit.\n\nWords.\n\n## Reading\n\
                        | what | proved by |\n|---|---|\n| `--tail` | `logs::tail` |\n";
        assert_eq!(page(table), ("Logs", expected.to_owned(), [1, 0]));
        assert_eq!(
            complaints(table, "# Another\n"),
            ["docs/coverage/logs.md:1: is not what its table says: run `cargo x rows`"]
        );
    }
}
