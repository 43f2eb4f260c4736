//! Names of files say what is in them, and no file names a path of one person's machine.

use super::Tree;

const DRAWERS: [&str; 6] = ["util", "utils", "helper", "helpers", "common", "misc"];

pub(super) fn drawers(tree: &Tree) -> Vec<String> {
    tree.sources
        .iter()
        .filter(|source| source.path.split(['/', '.']).any(|part| DRAWERS.contains(&part)))
        .map(|source| format!("{}:1: a drawer; what is it for? Name it that", source.path))
        .collect()
}

/// Spelled in two halves, so that this file does not name them either.
const MACHINES: [&str; 5] = [
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/ro", "ot/.cargo"),
    concat!("/ro", "ot/.cache"),
    concat!("/ro", "ot/lab"),
];

pub(super) fn machines(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in &tree.sources {
        for (line, number) in source.text.lines().zip(1..) {
            if let Some(path) = MACHINES.iter().find(|path| line.contains(**path)) {
                complaints.push(format!("{}:{number}: {path} exists on one machine only", source.path));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_are_refused_as_files_and_as_folders() {
        let tree =
            Tree::of(&[("crates/a/src/utils.rs", ""), ("crates/common/src/b.rs", ""), ("crates/a/src/utility.rs", "")]);
        assert_eq!(drawers(&tree).len(), 2);
    }

    #[test]
    fn paths_of_a_machine_are_refused_in_any_text() {
        let tree = Tree::of(&[("docs/a.md", concat!("see\n/wo", "rk/main/x\n")), ("docs/b.md", "see /var/lib/hako\n")]);
        assert_eq!(machines(&tree).len(), 1);
        assert!(machines(&tree)[0].starts_with("docs/a.md:2:"));
    }
}
