//! Waiting is for an event, by a deadline. Only the places that carry the loops may sleep: the product's, the tests', the tools'.

use super::Tree;

const PLACES: [&str; 3] = ["crates/base/src/backoff.rs", "crates/testkit/src/wait.rs", "xtask/src/wait.rs"];

pub(super) fn sleeps(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in tree.rust().filter(|source| !PLACES.contains(&source.path.as_str())) {
        for (number, line) in source.lines_with_word("sleep") {
            if line.contains("sleep(") {
                complaints.push(format!(
                    "{}:{number}: wait for the event instead, with base::backoff or testkit::wait",
                    source.path
                ));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_refused_outside_its_places() {
        let text = "std::thread::sleep(pause);\n";
        let tree = Tree::of(&[("crates/engine/src/a.rs", text), ("crates/base/src/backoff.rs", text)]);
        assert_eq!(sleeps(&tree).len(), 1);
        assert!(sleeps(&tree)[0].starts_with("crates/engine/src/a.rs:1:"));
    }

    #[test]
    fn the_command_of_that_name_may_be_mentioned() {
        assert_eq!(sleeps(&Tree::of(&[("tests/it/a.rs", "host.run(\"docker run busybox sleep 5\");\n")])), [""; 0]);
    }
}
