//! Every endpoint that the route table calls built has a handler, a client method and a black-box test.
//!
//! The search is by name, which is one in every layer. The tests are named in tests/it/coverage.txt, a line for each
//! operation: `container_stop lifecycle::stop_gives_the_process_time_to_leave`. `cargo x test coverage` shows that
//! such a test fails when its route is made to fail.

use super::{Tree, has_word};

const TABLE: &str = "crates/api/src/route.rs";
const COVERAGE: &str = "tests/it/coverage.txt";

pub(super) fn routes(tree: &Tree) -> Vec<String> {
    let Some(table) = tree.get(TABLE) else { return Vec::new() };
    let coverage = tree.get(COVERAGE).map(|source| covered(&source.text)).unwrap_or_default();
    let mut complaints = Vec::new();
    for row in built(&table.text) {
        let mut lacks = |what: &str| complaints.push(format!("{TABLE}:{}: `{}` has no {what}", row.line, row.name));
        // A handler is reached by the name of the enum's variant or of the function.
        if !mentioned(tree, "crates/server/src/", &[&row.variant, &row.name]) {
            lacks("handler in crates/server");
        }
        if !mentioned(tree, "crates/client/src/", &[&format!("fn {}", row.name)]) {
            lacks("method of Client");
        }
        match coverage.iter().find(|(operation, _)| *operation == row.name) {
            None => lacks("line in tests/it/coverage.txt"),
            Some((_, test)) if !exists(tree, test) => {
                lacks(&format!("test `{test}`, which tests/it/coverage.txt names"))
            }
            Some(_) => {}
        }
    }
    complaints
}

/// A row of the table whose state is `Built`.
pub(crate) struct Row {
    pub(crate) name: String,
    variant: String,
    pub(crate) method: String,
    pub(crate) path: String,
    line: usize,
}

/// `ContainerStop = "container_stop", Post "/containers/{name}/stop", since 0, Built;`
pub(crate) fn built(table: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (text, line) in table.lines().zip(1..) {
        let Some(row) = text.trim().strip_suffix(", Built;") else { continue };
        let mut quoted = row.split('"');
        let (Some(variant), Some(name), Some(method), Some(path)) =
            (quoted.next(), quoted.next(), quoted.next(), quoted.next())
        else {
            continue;
        };
        rows.push(Row {
            name: name.to_owned(),
            variant: variant.trim_end_matches([' ', '=']).to_owned(),
            method: method.trim_matches([' ', ',']).to_uppercase(),
            path: path.to_owned(),
            line,
        });
    }
    rows
}

/// Operations and the tests that judge them.
pub(crate) fn covered(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect()
}

fn mentioned(tree: &Tree, folder: &str, names: &[&str]) -> bool {
    tree.rust()
        .filter(|source| source.path.starts_with(folder))
        .any(|source| source.code.lines().any(|line| names.iter().any(|name| has_word(line, name))))
}

/// `lifecycle::stop_works` is the function `stop_works` in tests/it/lifecycle.rs.
fn exists(tree: &Tree, test: &str) -> bool {
    let Some((file, function)) = test.split_once("::") else { return false };
    let declaration = format!("fn {function}");
    tree.get(&format!("tests/it/{file}.rs"))
        .is_some_and(|source| source.code.lines().any(|line| has_word(line, &declaration)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "    ContainerStop = \"container_stop\", Post \"/containers/{name}/stop\", since 0, Built;\n    \
        ContainerTop = \"container_top\", Get \"/x\", since 3, NotBuilt;\n";

    fn check(server: &str, client: &str, coverage: &str) -> Vec<String> {
        routes(&Tree::of(&[
            (TABLE, ROW),
            ("crates/server/src/route.rs", server),
            ("crates/client/src/lib.rs", client),
            (COVERAGE, coverage),
            ("tests/it/life.rs", "fn stops() {}\n"),
        ]))
    }

    #[test]
    fn a_row_with_all_three_is_fine() {
        let all =
            check("Operation::ContainerStop => x", "pub async fn container_stop(", "container_stop life::stops\n");
        assert_eq!(all, [""; 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            check("", "", "# nothing\n"),
            [
                "crates/api/src/route.rs:1: `container_stop` has no handler in crates/server",
                "crates/api/src/route.rs:1: `container_stop` has no method of Client",
                "crates/api/src/route.rs:1: `container_stop` has no line in tests/it/coverage.txt",
            ]
        );
        let wrong = check("container_stop()", "fn container_stop()", "container_stop life::ends\n");
        assert_eq!(
            wrong,
            ["crates/api/src/route.rs:1: `container_stop` has no test `life::ends`, which tests/it/coverage.txt names"]
        );
    }

    #[test]
    fn rows_are_read_whole() {
        let rows = built(ROW);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].method.as_str(), rows[0].path.as_str()), ("POST", "/containers/{name}/stop"));
    }
}
