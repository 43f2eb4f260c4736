//! A lint is silenced with `expect`, which complains once it is no longer needed, and with a reason.

use super::Tree;

pub(super) fn attributes(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in tree.rust() {
        for (at, opening) in source.code.match_indices("#[").chain(source.code.match_indices("#![")) {
            let body = &source.code[at + opening.len()..];
            let number = source.code[..at].lines().count().max(1);
            // `lines` counts the line that `at` begins as not yet there.
            let number = if source.code[..at].ends_with('\n') { number + 1 } else { number };
            if body.starts_with("allow(") {
                complaints.push(format!("{}:{number}: write `expect` with a reason instead of `allow`", source.path));
            } else if body.starts_with("expect(") && !body[..body.find(")]").unwrap_or(body.len())].contains("reason") {
                complaints.push(format!("{}:{number}: say the reason: expect(…, reason = \"…\")", source.path));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allow_and_unreasoned_expect_are_refused() {
        let text = "//! x\n#![allow(dead_code)]\n#[expect(clippy::a)]\n#[expect(\n    clippy::b,\n    reason = \"c\"\n)]\nfn f() {}\n";
        assert_eq!(
            attributes(&Tree::of(&[("a.rs", text)])),
            [
                "a.rs:3: say the reason: expect(…, reason = \"…\")",
                "a.rs:2: write `expect` with a reason instead of `allow`"
            ]
        );
    }
}
