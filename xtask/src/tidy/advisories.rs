//! docs/security-advisories.md names tests that exist, and says something about every advisory.

use super::{Source, Tree};

const PAGE: &str = "docs/security-advisories.md";

/// Each row names tests that there are, or says why there is none.
pub(super) fn advisories(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.get(PAGE) else { return Vec::new() };
    let rows = page.text.lines().enumerate().filter(|(_, line)| line.starts_with("| CVE-"));
    rows.flat_map(|(number, line)| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let place = format!("{PAGE}:{}", number + 1);
        let [_, _, test] = cells[..] else { return vec![format!("{place}: expected advisory, defence and test")] };
        let names = tests(test);
        if names.is_empty() && !["cannot apply", "no test"].iter().any(|words| test.contains(words)) {
            return vec![format!("{place}: name the test, or say why this cannot apply (or \"no test\")")];
        }
        let missing = names.iter().filter(|name| !tree.rust().any(|source| has(source, name)));
        missing.map(|name| format!("{place}: there is no test {name}")).collect()
    })
    .collect()
}

/// Words that are names of tests: of several words with underscores.
fn tests(cell: &str) -> Vec<&str> {
    let words = cell.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.matches('_').count() >= 2).collect()
}

/// As a function, or as the name of a case.
fn has(source: &Source, name: &str) -> bool {
    source.text.contains(&format!("fn {name}(")) || source.text.contains(&format!("\"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_needs_a_test_that_exists_or_a_reason() {
        let check = |test: &str| {
            let page = format!("| CVE-1 | walls | {test} |\n");
            advisories(&Tree::of(&[(PAGE, &page), ("tests/it/a.rs", "fn it_is_tried_hard() {}\n")]))
        };
        assert_eq!(check("`tests/it/a.rs` it_is_tried_hard"), Vec::<String>::new());
        assert_eq!(check("cannot apply: there is none"), Vec::<String>::new());
        assert_eq!(check("it_is_not_there"), ["docs/security-advisories.md:1: there is no test it_is_not_there"]);
        assert_eq!(check("somewhere").len(), 1);
    }
}
