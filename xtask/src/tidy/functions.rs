//! A function fits one screen. rustfmt puts a function's closing brace below the `f` line's indentation, which is
//! all this needs to know.

use super::Tree;

const LINES_MAX: usize = 70;

pub(super) fn lengths(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in tree.rust() {
        for (start, length, name) in functions(&source.code) {
            if length > LINES_MAX {
                complaints.push(format!("{}:{start}: `{name}` has {length} lines (at most {LINES_MAX})", source.path));
            }
        }
    }
    complaints
}

/// Every function: its first line, how many lines it has, its name.
fn functions(code: &str) -> Vec<(usize, usize, String)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = name_of_function(line) else { continue };
        let indentation = line.len() - line.trim_start().len();
        let closes =
            |line: &&str| line.len() - line.trim_start().len() == indentation && line.trim_start().starts_with('}');
        let declares_only = lines[at..].iter().find(|line| line.contains('{') || line.trim_end().ends_with(';'));
        if declares_only.is_some_and(|line| !line.contains('{')) || line.trim_end().ends_with('}') {
            continue;
        }
        if let Some(length) = lines[at..].iter().position(closes) {
            found.push((at + 1, length + 1, name));
        }
    }
    found
}

fn name_of_function(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub")
            || matches!(*word, "const" | "async" | "unsafe" | "extern" | "crate)" | "super)")
            || word.trim().is_empty()
    });
    if words.next() != Some("fn") {
        return None;
    }
    let name: String = words.next()?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_71_lines_is_too_long() {
        let body = "    x();\n".repeat(69);
        let long =
            format!("impl A {{\n    pub(crate) async fn long(&self) {{\n    {body}    }}\n}}\nfn short() {{\n}}\n");
        let complaints = lengths(&Tree::of(&[("a.rs", &long)]));
        assert_eq!(complaints, ["a.rs:2: `long` has 71 lines (at most 70)"]);
    }

    #[test]
    fn declarations_have_no_length() {
        assert_eq!(functions("trait A {\n    fn f(&self);\n    fn g(&self) {}\n}\n"), []);
    }
}
