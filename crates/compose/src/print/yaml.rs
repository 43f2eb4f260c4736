//! Trees as YAML, in the style of Go's library: lists indented below their key, quotes only where a reader would
//! otherwise take a text for something else.

use crate::{
    file::time,
    node::{Map, Node, Value, float_text},
};

/// A mapping as a document.
pub fn yaml(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(map) if !map.0.is_empty() => mapping(map, 0, &mut out),
        Value::List(list) if !list.is_empty() => sequence(list, 0, &mut out),
        _ => {
            scalar(node, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(level: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', level));
}

fn mapping(map: &Map, level: usize, out: &mut String) {
    for (at, (key, node)) in map.0.iter().enumerate() {
        // The first key stands behind the dash of a list's entry, which is already there.
        if at > 0 || !out.ends_with("- ") {
            indent(level, out);
        }
        text(key, level, out);
        out.push(':');
        match &node.value {
            Value::Map(map) if !map.0.is_empty() => {
                out.push('\n');
                mapping(map, level + 2, out);
            }
            Value::List(list) if !list.is_empty() => {
                out.push('\n');
                sequence(list, level + 2, out);
            }
            _ => {
                out.push(' ');
                scalar(node, level + 2, out);
                out.push('\n');
            }
        }
    }
}

fn sequence(list: &[Node], level: usize, out: &mut String) {
    for (at, node) in list.iter().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            indent(level, out);
        }
        out.push_str("- ");
        match &node.value {
            Value::Map(map) if !map.0.is_empty() => mapping(map, level + 2, out),
            Value::List(list) if !list.is_empty() => sequence(list, level + 2, out),
            _ => {
                scalar(node, level + 2, out);
                out.push('\n');
            }
        }
    }
}

fn scalar(node: &Node, level: usize, out: &mut String) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&float_text(*value)),
        Value::Text(value) => text(value, level, out),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

fn text(text: &str, level: usize, out: &mut String) {
    // Go's library escapes what lies beyond the first plane too.
    let is_special = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{10000}'..)
    };
    let breaks = text.contains('\n');
    if text.chars().any(is_special) || (text.contains('\t') && !breaks) {
        double_quoted(text, out);
    } else if breaks {
        // A literal's lines cannot end in blanks.
        match text.lines().any(|line| line.ends_with(' ')) {
            true => double_quoted(text, out),
            false => literal(text, level, out),
        }
    } else if text.is_empty() || looks_like_something_else(text) {
        double_quoted(text, out);
    } else if is_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

fn literal(text: &str, level: usize, out: &mut String) {
    let ends = text.len() - text.trim_end_matches('\n').len();
    out.push('|');
    // Where the first line begins with a blank or is empty, a reader must be told how deep the lines stand.
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    out.push_str(match ends {
        0 => "-",
        1 if text.len() > 1 => "",
        _ => "+",
    });
    let body = text.strip_suffix('\n').unwrap_or(text);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(level, out);
            out.push_str(line);
        }
    }
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{1b}' => out.push_str("\\e"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{85}' => out.push_str("\\N"),
            '\u{feff}' => out.push_str("\\uFEFF"),
            c @ '\u{10000}'.. => out.push_str(&format!("\\U{:08X}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn is_plain(text: &str) -> bool {
    let first = text.chars().next().unwrap_or(' ');
    let second = text.chars().nth(1);
    let blank_follows = second.is_none_or(|c| c == ' ');
    let indicator = match first {
        '-' | '?' | ':' => blank_follows,
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => true,
        _ => false,
    };
    !(indicator
        || text.starts_with(' ')
        || text.ends_with(' ')
        || text.ends_with(':')
        || text.contains(": ")
        || text.contains(" #")
        || text.starts_with("---")
        || text.starts_with("..."))
}

// What another reader would take for null, a truth, a number or a time.
fn looks_like_something_else(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let lower = text.to_ascii_lowercase();
    let all_same_case = text == lower || text == text.to_ascii_uppercase() || text[1..] == lower[1..];
    if text == "~" || (WORDS.contains(&lower.as_str()) && all_same_case) {
        return true;
    }
    if matches!(lower.trim_start_matches(['+', '-']), ".inf" | ".nan") {
        return true;
    }
    is_number(text) || is_base_60(text) || time::go_spelling(text).is_some()
}

fn is_number(text: &str) -> bool {
    let digits = text.replace('_', "");
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let radix = |prefix: &str, radix: u32| {
        unsigned.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    if radix("0x", 16) || radix("0o", 8) || radix("0b", 2) {
        return true;
    }
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && unsigned.parse::<f64>().is_ok()
}

// `1:20` was eighty seconds once.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || c == '_');
    rest.peek().is_some()
        && digits(first)
        && rest.all(|part| {
            let part = part.split('.').next().unwrap_or_default();
            part.len() <= 2 && digits(part) && part.parse::<u8>().is_ok_and(|value| value < 60)
        })
}
