//! The published parser fixtures of the Dockerfile language, where they are at hand (they are not ours to ship).
//!
//! Nodes are printed in the fixtures' own form: `(keyword ["flags"] "word" …)`.

use std::path::PathBuf;

use super::{Around, Dockerfile, Ignore, lint, scan, word};

fn fixtures(below: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs/dockerfile").join(below);
    beside.exists().then_some(beside)
}

fn quoted(text: &str) -> String {
    let mut shown = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => shown.push_str("\\\""),
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            '\u{8}' => shown.push_str("\\b"),
            '\u{c}' => shown.push_str("\\f"),
            c if c.is_control() => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown.push('"');
    shown
}

fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

fn print(node: &scan::Node, escape: char) -> Result<String, String> {
    let keyword = node.keyword.to_lowercase();
    let whole = || if node.rest.is_empty() { Vec::new() } else { vec![node.rest.clone()] };
    let spaced = || node.rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut shown = format!("({keyword}");
    if !node.flags.is_empty() {
        let flags: Vec<String> = node.flags.iter().map(|flag| quoted(flag)).collect();
        shown.push_str(&format!(" [{}]", flags.join(" ")));
    }
    let words: Vec<String> = match keyword.as_str() {
        "env" | "label" => pairs(&node.rest, escape)?,
        "arg" => word::raw_words(&node.rest, escape),
        "add" | "copy" | "volume" => json(&node.rest).unwrap_or_else(spaced),
        "cmd" | "entrypoint" | "run" | "shell" => json(&node.rest).unwrap_or_else(whole),
        "from" | "expose" => spaced(),
        "healthcheck" => {
            let (kind, rest) = node.rest.split_once(char::is_whitespace).unwrap_or((&node.rest, ""));
            let kind = (!kind.is_empty()).then(|| kind.to_owned());
            let rest = rest.trim();
            let command =
                if rest.is_empty() { Vec::new() } else { json(rest).unwrap_or_else(|| vec![rest.to_owned()]) };
            kind.into_iter().chain(command).collect()
        }
        "onbuild" => {
            let inner = scan::scan(&node.rest).map_err(|error| error.to_string())?;
            return Ok(format!("(onbuild {})", print(&inner.nodes[0], escape)?));
        }
        _ => whole(),
    };
    for word in words {
        shown.push_str(&format!(" {}", quoted(&word)));
    }
    shown.push(')');
    Ok(shown)
}

fn pairs(rest: &str, escape: char) -> Result<Vec<String>, String> {
    let words = word::raw_words(rest, escape);
    if words.first().is_some_and(|first| first.contains('=')) {
        let mut shown = Vec::new();
        for word in words {
            let (name, value) = word.split_once('=').ok_or("no =")?;
            shown.extend([name.to_owned(), value.to_owned(), "=".to_owned()]);
        }
        return Ok(shown);
    }
    let (name, value) = rest.split_once(char::is_whitespace).ok_or("two arguments")?;
    Ok(vec![name.to_owned(), value.trim_start().to_owned(), String::new()])
}

fn printed(text: &str) -> Result<String, String> {
    let source = scan::scan(text).map_err(|error| error.to_string())?;
    let escape = source.directives.escape;
    let nodes = source.nodes.iter().map(|node| print(node, escape)).collect::<Result<Vec<_>, _>>()?;
    Ok(nodes.join("\n"))
}

#[test]
fn published_dockerfiles_are_read_as_published() {
    let Some(directory) = fixtures("parser/testfiles") else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(path.join("Dockerfile")).unwrap();
        let expected = std::fs::read_to_string(path.join("result")).unwrap();
        assert_eq!(printed(&text).as_deref(), Ok(expected.trim_end()), "{}", path.display());
        count += 1;
    }
    assert!(count > 20, "only {count} fixtures");
}

#[test]
fn what_is_published_as_wrong_is_refused() {
    let Some(directory) = fixtures("parser/testfiles-negative") else { return };
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // A command that looks like JSON and is none is a shell's, in today's language.
        if path.ends_with("shykes-nested-json") {
            continue;
        }
        let text = std::fs::read_to_string(path.join("Dockerfile")).unwrap();
        assert!(printed(&text).is_err(), "{}", path.display());
    }
}

#[test]
fn published_words_are_replaced_as_published() {
    let Some(file) = fixtures("shell/envVarTest") else { return };
    let lookup = |name: &str| {
        let known = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")];
        known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let mut fields = line.split('|').map(str::trim);
        let (Some("A" | "U"), Some(source), Some(expected)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let got = word::expand(source, '\\', &lookup);
        let got = got.as_deref().map_err(|_| ());
        assert_eq!(got, if expected == "error" { Err(()) } else { Ok(expected) }, "{line}");
    }
}

#[test]
fn published_lines_are_split_as_published() {
    let Some(file) = fixtures("shell/wordsTest") else { return };
    let mut variables: Vec<(String, String)> = Vec::new();
    for line in std::fs::read_to_string(file).unwrap().lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.strip_prefix("ENV ").and_then(|rest| rest.split_once('=')) {
            variables.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let Some((source, expected)) = line.split_once('|') else { continue };
        let lookup =
            |name: &str| variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let got = word::expand_words(source.trim(), '\\', &lookup).ok();
        let expected = expected.strip_prefix(' ').unwrap_or(expected);
        let expected = (expected != "error").then(|| expected.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(got, expected, "{line}");
    }
}

// The examples of a rule's page: whether each is called bad, and its text.
fn examples(page: &str) -> Vec<(bool, String)> {
    let (mut found, mut judged, mut block) = (Vec::new(), None, None::<String>);
    for line in page.lines() {
        match &mut block {
            Some(text) if line.trim() == "```" => {
                found.extend(judged.zip(Some(std::mem::take(text))));
                block = None;
            }
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
            None if line.starts_with("❌") => judged = Some(true),
            None if line.starts_with("✅") => judged = Some(false),
            None if line.trim() == "```dockerfile" => block = Some(String::new()),
            None => {}
        }
    }
    found
}

#[test]
fn published_examples_of_checks_are_judged_as_published() {
    let Some(directory) = fixtures("linter/docs") else { return };
    let ignore = Ignore::of(["tmp"]).unwrap();
    let environment = |image: &str| image.starts_with("python").then(|| vec!["PYTHON_VERSION=3".to_owned()]);
    let none = |_: &str| Some(Vec::new());
    let (mut rules, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let rule = path.file_stem().unwrap().to_string_lossy().into_owned();
        let examples = examples(&std::fs::read_to_string(&path).unwrap());
        rules += usize::from(!examples.is_empty());
        for (is_bad, example) in examples {
            // Two arguments without a value, in today's language.
            if example.contains("ARG foo bar") {
                continue;
            }
            // This one is off unless it is asked for.
            let text = match rule.as_str() {
                "InvalidDefinitionDescription" if !example.contains("check=") => {
                    format!("# check=experimental=all\n{example}")
                }
                _ => example,
            };
            let around = Around {
                source: &text,
                ignore: Some(&ignore),
                environment: Some(if text.contains("python") { &environment } else { &none }),
            };
            let found = Dockerfile::parse(&text).map(|file| lint(&file, around));
            let own = found.iter().flatten().find(|finding| finding.rule == rule);
            // With the lines around it, and the one that it is about marked.
            let shown = own.map(|finding| finding.shown("Dockerfile", &text)).unwrap_or_default();
            let is_shown = shown.contains(" | >>> ") && shown.contains('^');
            if is_bad != own.is_some() || is_bad != is_shown {
                wrong.push(format!("{rule} (bad: {is_bad}):\n{text}{found:?}"));
            }
        }
    }
    assert!(rules >= 21 && wrong.is_empty(), "{rules} rules\n{}", wrong.join("\n\n"));
}
