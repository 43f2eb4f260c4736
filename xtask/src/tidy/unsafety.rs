//! `unsafe` lives in `sys` and nowhere else, and each use says why it is sound.

use super::{Source, Tree};

pub(super) fn unsafety(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in tree.rust() {
        for (number, _) in source.lines_with_word("unsafe") {
            if !source.path.starts_with("crates/sys/") {
                complaints.push(format!("{}:{number}: `unsafe` belongs in `sys`, behind a safe function", source.path));
            } else if !explained(source, number) {
                complaints
                    .push(format!("{}:{number}: say above it, in a `// SAFETY:` line, who upholds what", source.path));
            }
        }
        complaints.extend(unlocked(source));
    }
    complaints
}

/// Whether a `SAFETY:` comment stands in the comment or attributes above the line, or in the statement it belongs to.
fn explained(source: &Source, number: usize) -> bool {
    let lines: Vec<&str> = source.text.lines().collect();
    let from = number.saturating_sub(12);
    lines[from..number].iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

/// A crate other than `sys` forbids it in its root, so that the compiler says so before we do.
fn unlocked(source: &Source) -> Option<String> {
    let is_root = source.path.starts_with("crates/")
        && (source.path.ends_with("/src/lib.rs") || source.path.ends_with("/src/main.rs"));
    let locked = source.code.contains("#![forbid(unsafe_code)]") || source.path.starts_with("crates/sys/");
    (is_root && !locked).then(|| format!("{}:1: write #![forbid(unsafe_code)] below the head", source.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_outside_sys_is_refused_wherever_it_stands() {
        let tree = Tree::of(&[("crates/image/src/a.rs", "fn f() { unsafe { g() } }\n")]);
        assert_eq!(unsafety(&tree), ["crates/image/src/a.rs:1: `unsafe` belongs in `sys`, behind a safe function"]);
    }

    #[test]
    fn in_sys_it_must_say_why() {
        let tree = Tree::of(&[
            ("crates/sys/src/a.rs", "// SAFETY: the pointer is ours.\nlet x = unsafe { g() };\n"),
            ("crates/sys/src/b.rs", "let x = unsafe { g() };\n"),
        ]);
        assert_eq!(unsafety(&tree).len(), 1);
        assert!(unsafety(&tree)[0].starts_with("crates/sys/src/b.rs:1:"));
    }

    #[test]
    fn words_and_strings_are_not_code() {
        let tree = Tree::of(&[("crates/image/src/a.rs", "// unsafe\nlet x = \"unsafe\";\n")]);
        assert_eq!(unsafety(&tree), [""; 0]);
    }

    #[test]
    fn a_crate_root_forbids_it() {
        let tree = Tree::of(&[("crates/image/src/lib.rs", "//! x\n"), ("crates/sys/src/lib.rs", "//! x\n")]);
        assert_eq!(unsafety(&tree).len(), 1);
    }
}
