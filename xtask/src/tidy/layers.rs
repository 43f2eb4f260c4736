//! Imports go down the table of ARCHITECTURE.md and only by its last column.
//!
//! The table is the source of truth: a crate that is not in it, or a dependency its row does not name, is refused.

use super::Tree;

/// A row of the table: the crate and what it may import; `None` stands for "all".
struct Row {
    name: String,
    imports: Option<Vec<String>>,
}

pub(super) fn layers(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.get("ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md:1: is missing, and with it the layer table".to_owned()];
    };
    let rows = rows(&page.text);
    let mut complaints = upward(&rows);
    for source in &tree.sources {
        let Some(name) = crate_of(&source.path) else { continue };
        let Some(row) = rows.iter().find(|row| row.name == name) else {
            complaints.push(format!("{}:1: `{name}` is not in the layer table of ARCHITECTURE.md", source.path));
            continue;
        };
        for (number, dependency) in dependencies(&source.text) {
            let allowed = row.imports.as_ref().is_none_or(|imports| imports.contains(&dependency));
            if !allowed {
                complaints.push(format!(
                    "{}:{number}: `{name}` may not import `{dependency}` (layer table of ARCHITECTURE.md)",
                    source.path
                ));
            }
        }
    }
    complaints.extend(absent(tree, &rows));
    complaints
}

/// Rows that name a crate which stands below them in the table.
fn upward(rows: &[Row]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        for import in row.imports.iter().flatten() {
            if !rows[..at].iter().any(|above| above.name == *import) {
                complaints
                    .push(format!("ARCHITECTURE.md:1: `{}` imports `{import}`, which is no row above it", row.name));
            }
        }
    }
    complaints
}

/// Rows without a package: the page may not claim what is not built.
fn absent(tree: &Tree, rows: &[Row]) -> Vec<String> {
    rows.iter()
        .filter(|row| !tree.sources.iter().any(|source| crate_of(&source.path).is_some_and(|name| name == row.name)))
        .map(|row| format!("ARCHITECTURE.md:1: the layer table has `{}`, which does not exist", row.name))
        .collect()
}

/// `| 3 | `image` | one sentence | sys model base |`
fn rows(page: &str) -> Vec<Row> {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<&str> =
                line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
            let [_, name, _, imports] = cells[..] else { return None };
            let name = name.strip_prefix('`')?.strip_suffix('`')?.to_owned();
            let imports = match imports {
                "all" => None,
                "–" | "-" => Some(Vec::new()),
                list => Some(list.split_whitespace().map(str::to_owned).collect()),
            };
            Some(Row { name, imports })
        })
        .collect()
}

/// The package whose manifest this is, by the folder it lies in.
fn crate_of(path: &str) -> Option<&str> {
    let folder = path.strip_suffix("/Cargo.toml")?;
    Some(folder.strip_prefix("crates/").unwrap_or(folder))
}

/// The crates of this workspace that a manifest's `[dependencies]` name. What only tests import is not bound.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut section = "";
    let mut found = Vec::new();
    for (line, number) in manifest.lines().zip(1..) {
        if line.starts_with('[') {
            section = line.trim();
        } else if section == "[dependencies]" {
            let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if let Some(name) = key.strip_prefix("hako-") {
                found.push((number, name.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "| 0 | `base` | words | – |\n| 2 | `sys` | calls | base |\n| 3 | `image` | layers | sys base |\n";

    fn check(image: &str) -> Vec<String> {
        layers(&Tree::of(&[
            ("ARCHITECTURE.md", PAGE),
            ("crates/base/Cargo.toml", ""),
            ("crates/sys/Cargo.toml", "[dependencies]\nhako-base.workspace = true\n"),
            ("crates/image/Cargo.toml", image),
        ]))
    }

    #[test]
    fn an_import_that_the_table_has_is_fine_and_tests_are_not_bound() {
        assert_eq!(check("[dependencies]\nhako-sys.workspace = true\n[dev-dependencies]\nhako-cli = {}\n"), [""; 0]);
    }

    #[test]
    fn an_import_that_the_table_lacks_is_refused() {
        let complaints = check("[dependencies]\nserde = \"1\"\nhako-engine.workspace = true\n");
        assert_eq!(
            complaints,
            ["crates/image/Cargo.toml:3: `image` may not import `engine` (layer table of ARCHITECTURE.md)"]
        );
    }

    #[test]
    fn the_table_may_not_point_up_nor_name_what_does_not_exist() {
        let page = "| 1 | `low` | x | high |\n| 2 | `high` | x | – |\n";
        let complaints = layers(&Tree::of(&[("ARCHITECTURE.md", page), ("crates/low/Cargo.toml", "")]));
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }
}
