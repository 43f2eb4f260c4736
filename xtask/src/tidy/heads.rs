//! Every Rust file opens by saying what lives in it, and is short enough to be read in one sitting.

use super::Tree;

const LINES_MAX: usize = 800;

pub(super) fn heads(tree: &Tree) -> Vec<String> {
    tree.rust()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| {
            format!("{}:1: open with `//!` lines: what lives here, why, what it leaves to others", source.path)
        })
        .collect()
}

pub(super) fn sizes(tree: &Tree) -> Vec<String> {
    tree.rust()
        .filter_map(|source| {
            let lines = source.text.lines().count();
            (lines > LINES_MAX).then(|| {
                format!("{}:{LINES_MAX}: {lines} lines; divide it by subject (at most {LINES_MAX})", source.path)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_head_is_named() {
        let tree = Tree::of(&[("crates/a/src/lib.rs", "//! Says it.\n"), ("crates/a/src/b.rs", "use std::fs;\n")]);
        assert_eq!(heads(&tree).len(), 1);
        assert!(heads(&tree)[0].starts_with("crates/a/src/b.rs:1:"));
    }

    #[test]
    fn a_file_of_801_lines_is_too_long() {
        let long = "//! x\n".repeat(801);
        assert_eq!(sizes(&Tree::of(&[("a.rs", &long), ("b.rs", "//! x\n")])).len(), 1);
    }
}
